"""Writes the nginx configuration that goes in front of the doors: TLS, client certificates, files sent by nginx.

nginx reaches the process over the unix socket alone, and whatever says who asks is set there anew for every request:
a client that sends such a header itself has it overwritten. Everything here was run against a real nginx
(`tests/server/test_serve_nginx.py`). Sources: nginx.org/en/docs, ngx_http_proxy_module and ngx_http_headers_module.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from tidegate.errors import ServerSettingsWrong
from tidegate.server.accounts.fronted import CERTIFICATE, SUBJECT, VERIFIED
from tidegate.server.delivery import PASSED_ON
from tidegate.server.settings import FILE, ServerSettings

_NAME = re.compile(r"[A-Za-z0-9.-]{1,253}|\[[0-9a-fA-F:.]+\]")
_UNQUOTABLE = re.compile(r'["\\$\x00-\x1f\x7f]')


@dataclass(frozen=True)
class Front:
    """What the settings of the doors do not say, and nginx has to know."""

    name: str  # server_name
    port: int  # TCP, with TLS
    certificate: Path
    key: Path
    client_ca: Path | None = None  # PEM of who vouches for clients' certificates; None: none is asked for


def configuration(home: Path, blobs: Path, settings: ServerSettings, front: Front) -> str:
    """Return the file, for `http {}` of nginx (/etc/nginx/conf.d or sites-enabled).

    Args:
        blobs: the folder of the blobs, which nginx's workers must be able to read when `accelerate` is set.

    Raises:
        ServerSettingsWrong: there is no socket, or a name or path that nginx could not be told.
    """
    where = str(home / FILE)
    if settings.socket is None:
        raise ServerSettingsWrong(where, 'nginx needs a socket: write `socket = "/run/tidegate/doors.sock"`')
    if not _NAME.fullmatch(front.name):
        raise ServerSettingsWrong(where, f"{front.name!r} is no name of a server")
    files = {"socket": settings.socket, "blobs": blobs, "certificate": front.certificate, "key": front.key}
    if front.client_ca is not None:
        files["client_ca"] = front.client_ca
    told = {name: _quoted(path.absolute(), where) for name, path in files.items()}
    parts = [_head(told["socket"]), _tls(front, told), _proxied(settings, front)]
    if settings.accelerate is not None:
        parts.append(_sent(settings.accelerate, told["blobs"], where))
    return "\n".join(parts) + "}\n"


def _head(socket: str) -> str:
    address = socket[:1] + "unix:" + socket[1:]
    return f"""\
# Written by `tidegate server nginx` from server.toml; write it anew when that changes.
upstream tidegate_doors {{
    server {address} max_fails=0;
    keepalive 32;
}}
"""


def _tls(front: Front, told: dict[str, str]) -> str:
    lines = [
        f"    listen {front.port} ssl http2;",
        f"    listen [::]:{front.port} ssl http2;",
        f"    server_name {front.name};",
        "    server_tokens off;",
        "",
        f"    ssl_certificate {told['certificate']};",
        f"    ssl_certificate_key {told['key']};",
        "    ssl_protocols TLSv1.2 TLSv1.3;",
        "    ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20;",
        "    ssl_prefer_server_ciphers off;",
        "    ssl_session_cache shared:tidegate:10m;",
        "    ssl_session_tickets off;",
    ]
    if front.client_ca is not None:
        lines += [
            "    # A client without a certificate comes in too, and is asked who it is in another way.",
            f"    ssl_client_certificate {told['client_ca']};",
            "    ssl_verify_client optional;",
            "    ssl_verify_depth 3;",
        ]
    return "server {\n" + "\n".join(lines) + "\n"


def _proxied(settings: ServerSettings, front: Front) -> str:
    fronted = settings.fronted
    ours = fronted is not None and fronted.certificates and front.client_ca is not None
    says = {
        VERIFIED: "$ssl_client_verify" if ours else '""',
        SUBJECT: "$ssl_client_s_dn" if ours else '""',
        CERTIFICATE: "$ssl_client_escaped_cert" if ours else '""',
    }
    for header in (fronted.user_header, fronted.groups_header) if fronted else ():
        if header:
            says[header] = '""'
    lines = [
        f"    client_max_body_size {settings.limits.body_bytes};",
        "",
        "    location / {",
        "        proxy_pass http://tidegate_doors;",
        "        proxy_http_version 1.1;",
        '        proxy_set_header Connection "";',
        "        proxy_set_header Host $http_host;",
        "        proxy_set_header X-Real-IP $remote_addr;",
        "        proxy_set_header X-Forwarded-Proto $scheme;",
        '        proxy_set_header X-Forwarded-For "";',
        '        proxy_set_header Forwarded "";',
        "        # Who asks: set here or emptied here, never taken from the client.",
        *(f"        proxy_set_header {header} {value};" for header, value in says.items()),
        *_of_sign_on(says),
        "        proxy_buffering off;",
        "        proxy_request_buffering off;",
        "        proxy_read_timeout 300s;",
        "    }",
    ]
    return "\n".join(lines) + "\n"


def _of_sign_on(says: dict[str, str]) -> list[str]:
    own = [header for header in says if header not in (VERIFIED, SUBJECT, CERTIFICATE)]
    if not own:
        return []
    return [f"        # Put what your sign-on (auth_request) says in place of the empty {' and '.join(own)}."]


def _sent(prefix: str, blobs: str, where: str) -> str:
    """Headers of the process get lost when nginx takes over, but for a few: they are put again from the answer."""
    if _UNQUOTABLE.search(prefix) or not prefix.endswith("/") or " " in prefix:
        raise ServerSettingsWrong(where, f"accelerate is {prefix!r}; write a path such as /tidegate-blobs/")
    again = [
        f"        add_header {header} $upstream_http_{header.lower().replace('-', '_')} always;"
        for header in PASSED_ON
    ]
    lines = [
        f"    location {prefix} {{",
        "        internal;  # only where the process says so, after it has hashed the file",
        f'        alias {blobs[:-1]}/";',
        "        sendfile on;",
        "        tcp_nopush on;",
        "        etag off;  # ours is the file's SHA-256, and a client's condition is held against it",
        "        if_modified_since off;",
        '        add_header Last-Modified "";',
        *again,
        "    }",
    ]
    return "\n".join(lines) + "\n"


def _quoted(path: Path, where: str) -> str:
    """A path in nginx's quotes; there is no way to write some of them."""
    if _UNQUOTABLE.search(str(path)):
        raise ServerSettingsWrong(where, f"nginx cannot be told the path {str(path)!r}")
    return f'"{path}"'
