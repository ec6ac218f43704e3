"""systemd units and the proxy's configuration, written for people to read, change and install.

Pure: settings in, files out. Nothing here is installed by Tidegate. Where a site needs something else (TLS, a
group for the accelerator's device files) it is added there, and the include files go on working.
Sources: systemd.exec(5), systemd.resource-control(5); nginx.org/en/docs/http/ngx_http_proxy_module.html.
"""

from collections.abc import Mapping
from pathlib import Path

from pipelines.rollout.front import TOKEN_PATH, include_text, shut
from pipelines.rollout.runners import SCRIPT
from pipelines.rollout.settings import Place, Serving, TierServing, label, variable

USER = "tidegate"
_GRACE = 60  # seconds that the proxy's old workers have beyond the longest drain
_READ_SECONDS = 3600  # a model may think for long between two words


def files(serving: Serving, home: Path, *, program: str) -> Mapping[str, str]:
    """Return every file by its path below the folder that it is written to.

    Args:
        home: no unit of an engine may see it.
        program: how `tidegate` is called on this machine.
    """
    found = {"README": _readme(serving), "tidegate-serve@.service": _engine_unit(serving, home)}
    for tier in serving.tiers.values():
        found[f"tidegate-agent-{tier.tier}.service"] = _agent_unit(tier, home, program)
        found[f"tidegate-agent-{tier.tier}.timer"] = _agent_timer(tier)
        for place in tier.models.values():
            found[f"includes/{label(tier.tier, place.model)}.conf"] = _first_include(tier, place)
    found["nginx.conf"] = nginx_conf(serving)
    return dict(sorted(found.items()))


def _first_include(tier: TierServing, place: Place) -> str:
    nobody = place.green or tier.daemon or place.listen.port  # the gate is shut; a port must stand there
    return include_text(shut(tier.host, nobody), tier.tier, place.model)


def _readme(serving: Serving) -> str:
    includes = sorted({str(tier.nginx.includes) for tier in serving.tiers.values()})
    return "\n".join(
        [
            "Written by `tidegate serving units` from serving.toml. Read each file, then install:",
            "",
            "  tidegate-serve@.service, tidegate-agent-*   to /etc/systemd/system/, then systemctl daemon-reload",
            "  nginx.conf                                  to /etc/nginx/nginx.conf, or its server blocks into yours",
            *(f"  includes/*.conf                             to {folder}/" for folder in includes),
            "",
            f"The engines run as user {USER}, and so must `tidegate rollout` and `tidegate agent`: they share the",
            "folders of the slots. That user may write to the folder of includes, and may start units, test and",
            "reload the proxy; where that takes sudo, say so in serving.toml (systemctl, nginx.test, nginx.reload).",
            "The gates begin shut: the first rollout opens them.",
            "",
        ]
    )


def _engine_unit(serving: Serving, home: Path) -> str:
    stop = max((tier.stop_seconds for tier in serving.tiers.values()), default=30)
    slots = serving.folder / "slots"
    return f"""\
# One serving engine in one slot; the instance's name is the slot's folder below {slots}.
# It reads the weights and writes to its own slot; it talks to this machine only.
[Unit]
Description=Tidegate engine in slot %i
After=network.target

[Service]
Type=exec
User={USER}
WorkingDirectory={slots}/%i
ExecStart=/bin/sh {slots}/%i/{SCRIPT}
KillSignal=SIGTERM
TimeoutStopSec={stop:.0f}
Restart=on-failure
RestartSec=5

# Files: everything is read-only but the slot; homes, and the registry's home with its keys, are not there at all.
ProtectSystem=strict
ProtectHome=yes
InaccessiblePaths=-{home}
ReadOnlyPaths=-{serving.store}
ReadWritePaths={slots}/%i
PrivateTmp=yes
UMask=0077

# Network: the loopback, in both directions.
IPAddressDeny=any
IPAddressAllow=localhost
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK

# Rights: none, and none to be had. An engine compiles kernels for its accelerator while it runs, so memory may
# become executable, and devices stay visible.
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
SystemCallArchitectures=native
LimitCORE=0
LimitMEMLOCK=infinity

[Install]
WantedBy=multi-user.target
"""


def _agent_unit(tier: TierServing, home: Path, program: str) -> str:
    return f"""\
# Asks the engines of tier {tier.tier} what they truly serve and hashes the files; ends with 225 when that is not the pin.
[Unit]
Description=Tidegate: what tier {tier.tier} truly serves

[Service]
Type=oneshot
User={USER}
Environment=TIDEGATE_HOME={home}
ExecStart={program} agent {tier.tier}
ExecStart={program} drift {tier.tier}
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={home}
PrivateTmp=yes
"""


def _agent_timer(tier: TierServing) -> str:
    return f"""\
# Twice within the time after which an observation is too old.
[Unit]
Description=Tidegate: look at tier {tier.tier}

[Timer]
OnBootSec=10min
OnUnitActiveSec={max(tier.observe_hours * 30, 30)}min

[Install]
WantedBy=timers.target
"""


def nginx_conf(serving: Serving) -> str:
    """Return a whole `nginx.conf`: one server per model, each sending where its include file says."""
    tiers = serving.tiers.values()
    longest = max((tier.drain_seconds for tier in tiers), default=0.0)
    servers = "".join(_server(tier, place) for tier in tiers for place in tier.models.values())
    return f"""\
# Written by `tidegate serving units`. Streams in flight live on in the old workers after a reload; they may
# take as long as the longest drain of serving.toml, and then {_GRACE} s.
worker_processes auto;
worker_shutdown_timeout {longest + _GRACE:.0f}s;

events {{
    worker_connections 4096;
}}

http {{
    server_tokens off;
    default_type application/json;
    map_hash_bucket_size 256;
    variables_hash_bucket_size 512;
{servers}}}
"""


def _server(tier: TierServing, place: Place) -> str:
    name = variable(tier.tier, place.model)
    shown = f"{tier.tier} serves no {place.model} at this moment; try again."
    return f"""
    # {place.model} in tier {tier.tier}
    include {tier.nginx.includes}/{label(tier.tier, place.model)}.conf;
    server {{
        listen {place.listen};
        client_max_body_size 256m;
        # A connection per request. A worker that ends at a switch closes idle connections, and a client that is just
        # then using one again would see an error; beside a model's answer a new connection costs nothing.
        keepalive_timeout 0;
        error_page 503 @shut_{name};

        location = {TOKEN_PATH} {{
            default_type text/plain;
            return 200 "$tidegate_token_{name}";
        }}
        location / {{
            if ($tidegate_gate_{name} = "closed") {{
                return 503;
            }}
            proxy_pass http://tidegate_{name};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_next_upstream off;
            proxy_connect_timeout 5s;
            proxy_read_timeout {_READ_SECONDS}s;
            proxy_send_timeout {_READ_SECONDS}s;
            add_header X-Tidegate-Slot $tidegate_slot_{name} always;
        }}
        location @shut_{name} {{
            add_header Retry-After {tier.retry_after} always;
            return 503 '{{"error":{{"message":"{shown}","type":"unavailable"}}}}';
        }}
    }}
"""
