"""`serving.toml` as people get it wrong, and the files that are made from it, read by the programs they are for."""

import contextlib
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.rollout import settings, units
from pipelines.rollout.front import Live, NginxFront, include_text, live_from, shut
from pipelines.rollout.plan import Strategy
from pipelines.rollout.refusals import FrontUnclear, ServingMalformed, StepFailed
from pipelines.rollout.settings import FILE, Address, Nginx
from tests.programs import program
from tests.rollout_world import free_ports

TEAM = """\
format = "tidegate-serving/1"
folder = "/srv/tidegate"

[tiers.team]
node = "box"
strategy = "blue-green"
drain_seconds = 900

[tiers.team.nginx]
includes = "/etc/nginx/tidegate"

[tiers.team.models."demo/tiny"]
listen = "127.0.0.1:8080"
blue = 8101
green = 8102
"""


def test_a_whole_file_is_read_with_its_defaults() -> None:
    team = settings.decode(TEAM.encode()).tier("team")
    assert (Strategy.BLUE_GREEN, "process", "smoke", 900.0) == (
        team.strategy,
        team.runner,
        team.smoke,
        team.drain_seconds,
    )
    assert (8101, 8102) == (team.place("demo/tiny").port("blue"), team.place("demo/tiny").port("green"))
    assert ("nginx", "-t") == team.nginx.test


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tidegate-serving/1", "tidegate-serving/2", "format: this release reads"),
        ('"/srv/tidegate"', '"srv/tidegate"', "folder: must be an absolute path"),
        ('"/srv/tidegate"', '"/srv/../root"', "folder: must be an absolute path"),
        ('"/srv/tidegate"', '"/srv/a b;"', "folder: must be an absolute path"),
        ("drain_seconds", "drain_second", "tiers.team.drain_second: is not a setting"),
        ("900", "-1", "tiers.team.drain_seconds: must be seconds"),
        ("900", "true", "tiers.team.drain_seconds: must be seconds"),
        ("900", "nan", "tiers.team.drain_seconds: must be seconds"),
        ('node = "box"\n', "", "tiers.team.node: is missing"),
        ('"box"', '"Box 1"', "tiers.team.node"),
        ('"blue-green"', '"canary"', "tiers.team.strategy: must be one of blue-green, recreate"),
        ("[tiers.team", "[tiers.Team", "Team"),
        ('includes = "/etc/nginx/tidegate"', 'test = ["nginx"]', "tiers.team.nginx.includes: is missing"),
        ('tidegate"\n\n[tiers.team.m', 'tidegate"\ntest = []\n\n[tiers.team.m', "nginx.test: must name a program"),
        ('"demo/tiny"', '"tiny"', "tiny"),
        ('"127.0.0.1:8080"', '"127.0.0.1"', "listen: must be HOST:PORT"),
        ('"127.0.0.1:8080"', '"a;b:8080"', "listen: must be a host's name"),
        ("8102", "8101", "port 8101 is taken"),
        ("8102", "8080", "port 8080 is taken"),
        ("8102", "70000", "green: must be a number from 1 to 65535"),
        ("[tiers.team]", "[tiers.team", "is not TOML"),
        ('"blue-green"', '"alias-swap"', "tiers.team.daemon: is missing, and alias-swap needs it"),
        ("drain_seconds = 900", "daemon = 8102", "port 8102 is taken by tiers.team.daemon"),
        ("blue = 8101\n", "", "models.demo/tiny.blue: is missing"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place(old: str, new: str, said: str) -> None:
    assert old in TEAM
    with pytest.raises(ServingMalformed) as refusal:
        settings.decode(TEAM.replace(old, new).encode())
    assert said in str(refusal.value)


def test_a_tier_that_nobody_knows_a_missing_file_and_a_folder_in_the_home_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ServingMalformed, match="there is no such file"):
        settings.read(tmp_path, tiers={"team"})
    (tmp_path / FILE).write_text(TEAM)
    with pytest.raises(ServingMalformed, match="no such tier in this home; there are edge, org"):
        settings.read(tmp_path, tiers={"org", "edge"})
    read = settings.read(tmp_path, tiers={"team"})
    with pytest.raises(ServingMalformed, match=r"says nothing of tier org \(it has: team\)"):
        read.tier("org")
    (tmp_path / FILE).write_text(TEAM.replace("/srv/tidegate", f"{tmp_path}/serving"))
    with pytest.raises(ServingMalformed, match="lies inside the home"):
        settings.read(tmp_path, tiers={"team"})


@given(st.binary(max_size=400) | st.text(max_size=400).map(lambda text: (TEAM + text).encode()))
def test_hostile_settings_raise_only_our_error(data: bytes) -> None:
    with contextlib.suppress(ServingMalformed):
        settings.decode(data)


LIVES = st.builds(
    Live,
    slot=st.sampled_from(["blue", "green"]),
    host=st.sampled_from(["127.0.0.1", "::1"]),
    port=st.integers(1, 65535),
    closed=st.booleans(),
    rollout=st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True),
    ref=st.from_regex(r"[a-z]{1,9}/[a-z.]{1,9}@[1-9]", fullmatch=True),
    version=st.just("a" * 64),
    set=st.just("b" * 64),
    profile=st.just("c" * 64),
)


@given(live=LIVES)
def test_what_is_written_for_the_proxy_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, live: Live
) -> None:
    nginx = Nginx(tmp_path_factory.mktemp("includes"), ("true",), ("true",))
    front = NginxFront(nginx, "team", "demo/tiny", Address("127.0.0.1", 8080))
    assert front.live() is None
    front.path.write_text(include_text(live, "team", "demo/tiny"))
    assert live == front.live() == live_from(live.document())
    for damage in (b"", b"# tidegate-front/1 {}\n", front.path.read_bytes() + b"\n", b"\xff" * 9):
        front.path.write_bytes(damage)
        with pytest.raises(FrontUnclear):
            front.live()


def test_models_whose_names_differ_in_a_dot_share_nothing() -> None:
    names = ["a/b.c", "a/b-c", "a/b_c", "a-b/c", "a.b/c"]
    assert len(names) == len({settings.variable("team", name) for name in names})
    assert len(names) == len({settings.label("team", name) for name in names})


def several(folder: Path, includes: Path) -> settings.Serving:
    """Three tiers and four models, in every strategy."""
    ports = iter(free_ports(12))
    text = f'format = "tidegate-serving/1"\nfolder = "{folder}"\n'
    for tier, strategy, models in (
        ("team", "blue-green", ("demo/one", "demo/one.and-a-half")),
        ("edge", "recreate", ("demo/one",)),
        ("org", "alias-swap", ("demo/one",)),
    ):
        daemon = strategy == "alias-swap"
        text += f'[tiers.{tier}]\nnode = "box"\nstrategy = "{strategy}"\nretry_after = 7\n'
        text += f"daemon = {next(ports)}\n" if daemon else ""
        text += f'[tiers.{tier}.nginx]\nincludes = "{includes}"\n'
        for model in models:
            text += f'[tiers.{tier}.models."{model}"]\nlisten = "127.0.0.1:{next(ports)}"\n'
            text += "" if daemon else f"blue = {next(ports)}\ngreen = {next(ports)}\n"
    return settings.decode(text.encode())


def written(serving: settings.Serving, out: Path, includes: Path) -> Path:
    made = units.files(serving, Path("/var/lib/tidegate-home"), program="/bin/true")
    for name, text in made.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)
    shutil.copytree(out / "includes", includes, dirs_exist_ok=True)
    return out


def test_nginx_takes_the_configuration_and_a_file_that_it_refuses_is_put_back(tmp_path: Path) -> None:
    nginx, includes = program("nginx"), tmp_path / "includes"
    serving = several(tmp_path / "serving", includes)
    out = written(serving, tmp_path / "out", includes)
    words = (
        nginx,
        "-t",
        "-q",
        "-p",
        str(tmp_path),
        "-c",
        str(out / "nginx.conf"),
        "-g",
        f"pid {tmp_path}/pid;",
    )
    done = subprocess.run(words, capture_output=True, check=False)
    assert (b"", 0) == (done.stderr, done.returncode)
    team = serving.tier("team")
    place = team.place("demo/one")
    told = Nginx(team.nginx.includes, words, ("true",))
    front = NginxFront(told, "team", "demo/one", place.listen)
    before = front.path.read_bytes()
    unfit = Live(**shut("not a host", 1).document() | {"slot": "blue", "rollout": "r"})
    with pytest.raises(StepFailed, match="invalid parameter"):
        front.point(unfit)
    assert before == front.path.read_bytes(), "what the proxy refuses is not left lying there"


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze on this machine")
    includes = tmp_path / "includes"
    out = written(several(tmp_path / "serving", includes), tmp_path / "out", includes)
    names = sorted(str(path) for path in out.glob("tidegate-*"))
    assert 7 == len(names)
    done = subprocess.run([analyze, "verify", *names], capture_output=True, text=True, check=False)
    assert ("", 0) == (done.stderr, done.returncode)


def test_the_engines_unit_sees_weights_read_only_and_no_keys_and_no_network(tmp_path: Path) -> None:
    serving = settings.decode(TEAM.encode())
    unit = units.files(serving, Path("/var/lib/tidegate-home"), program="tidegate")["tidegate-serve@.service"]
    for line in (
        "InaccessiblePaths=-/var/lib/tidegate-home",
        "ReadOnlyPaths=-/srv/tidegate/store",
        "ProtectSystem=strict",
        "IPAddressDeny=any",
        "IPAddressAllow=localhost",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ExecStart=/bin/sh /srv/tidegate/slots/%i/run",
    ):
        assert line in unit.splitlines()


def test_the_proxys_workers_outlive_the_longest_drain_and_hold_nothing_back() -> None:
    conf = units.nginx_conf(settings.decode(TEAM.encode()))
    for line in (
        "worker_shutdown_timeout 960s;",
        "proxy_buffering off;",
        "keepalive_timeout 0;",
        "proxy_read_timeout 3600s;",
        "proxy_next_upstream off;",
        "add_header Retry-After 60 always;",
    ):
        assert line in conf
