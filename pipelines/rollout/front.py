"""The proxy's side of a rollout: one small file per model says where requests go, or that the gate is shut.

The file is replaced whole, tested by the proxy itself, and believed only when the proxy's new workers answer with
its token: a reload that is said to have worked may not have. What the file says is also how the next command knows
which slot serves. Sources: nginx.org/en/docs/control.html; ngx_http_upstream_module; ngx_http_map_module.
"""

import contextlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.engines.endpoint import Endpoint, EngineTrouble
from pipelines.engines.memory import listeners
from pipelines.rollout.refusals import FrontUnclear, StepFailed
from pipelines.rollout.settings import Address, Nginx, label, variable
from signing.canonical import NotCanonical, canonical_bytes, parse
from signing.durable import write_durably

_MARK = "# tidegate-front/1 "
_MAX_BYTES = 64 << 10
TOKEN_PATH = "/tidegate/front"  # noqa: S105 - where the proxy says which file it has read
_COMMAND_SECONDS = 60.0
_SETTLE_SECONDS = 30.0  # until the new workers answer
_IN_A_ROW = 10  # answers of the new workers: for a moment after a reload both generations take connections
_PAUSE = 0.03  # seconds between them
_ENDING = b"nginx: worker process is shutting down"


@dataclass(frozen=True)
class Live:
    """What serves a model in a tier, as the proxy is told. `closed`: nothing is let through to it."""

    slot: str
    host: str
    port: int
    closed: bool
    rollout: str
    ref: str
    version: str  # digest
    set: str  # digest of the whole pinned set
    profile: str  # digest

    @property
    def token(self) -> str:
        """What the proxy answers when it has read this."""
        return f"{self.rollout}/{self.slot}/{'closed' if self.closed else 'open'}"

    def document(self) -> dict[str, Any]:
        """As it stands in the file and in journals."""
        return asdict(self)


def live_from(value: Any) -> Live | None:
    """Read `Live.document` again; None when it is something else."""
    if not isinstance(value, dict) or set(value) != set(Live.__dataclass_fields__):
        return None
    kinds = {"port": int, "closed": bool}
    if any(type(value[name]) is not kinds.get(name, str) for name in value):
        return None
    return Live(**value)


def include_path(nginx: Nginx, tier: str, model: str) -> Path:
    """The file that a rollout rewrites."""
    return nginx.includes / f"{label(tier, model)}.conf"


def include_text(live: Live, tier: str, model: str) -> str:
    """The file, for `http {}` of nginx: an upstream, and constants that the server block looks at."""
    name = variable(tier, model)
    gate = "closed" if live.closed else "open"
    return f"""\
# Written by `tidegate rollout`, which reads it again; do not edit it.
{_MARK}{canonical_bytes(live.document()).decode()}
upstream tidegate_{name} {{
    server {Address(live.host, live.port)} max_fails=0;
}}
map $host $tidegate_gate_{name} {{ default "{gate}"; }}
map $host $tidegate_token_{name} {{ default "{live.token}"; }}
map $host $tidegate_slot_{name} {{ default "{live.slot}"; }}
"""


def shut(host: str, port: int) -> Live:
    """Nothing was ever rolled out here: the gate is shut. What the generated files begin with."""
    return Live("green", host, port, closed=True, rollout="none", ref="", version="", set="", profile="")


class NginxFront:
    """The proxy in front of one model's slots."""

    def __init__(self, nginx: Nginx, tier: str, model: str, listen: Address) -> None:
        self.nginx, self.tier, self.model, self.listen = nginx, tier, model, listen
        self.path = include_path(nginx, tier, model)

    @property
    def endpoint(self) -> Endpoint:
        """Where clients come, asked from this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.listen.host, self.listen.host)  # noqa: S104
        return Endpoint("http", host, self.listen.port)

    def live(self) -> Live | None:
        """What the file says; None when there is none. Raises `FrontUnclear` for one that we did not write."""
        try:
            with self.path.open("rb") as stream:
                data = stream.read(_MAX_BYTES)
        except FileNotFoundError:
            return None
        line = next((line for line in data.splitlines() if line.startswith(_MARK.encode())), b"")
        try:
            live = live_from(parse(line[len(_MARK) :], max_bytes=_MAX_BYTES, at="its second line"))
        except NotCanonical as exc:
            raise FrontUnclear(str(self.path), str(exc)) from exc
        if live is None or data != include_text(live, self.tier, self.model).encode():
            raise FrontUnclear(str(self.path), "is not what a rollout writes")
        return live

    def point(self, live: Live) -> str:
        """Send requests where `live` says, and wait until the proxy does.

        Raises:
            StepFailed: the proxy refuses the file (the one before is put back), or does not come to speak by it.
        """
        wanted = include_text(live, self.tier, self.model).encode()
        before = self.path.read_bytes() if self.path.exists() else None
        if before == wanted and self._token() == live.token:
            return f"the proxy speaks by {live.token} already"
        write_durably(self.path, wanted)
        try:
            run(self.nginx.test)
        except StepFailed:
            if before is not None:
                write_durably(self.path, before)
            raise
        run(self.nginx.reload)
        self._settle(live.token)
        return f"the proxy speaks by {live.token}"

    def answers(self, live: Live) -> None:
        """Raises `StepFailed` unless the proxy speaks by `live` now."""
        said = self._token()
        if said != live.token:
            raise StepFailed(f"the proxy at {self.listen} speaks by {said or 'nothing'}, not by {live.token}")

    def wait_for_old_workers(self, seconds: float) -> str:
        """Wait for the proxy's workers of before the switch: one that is there still holds somebody's request."""
        deadline = time.monotonic() + seconds
        while any(_ending_workers(self.listen.port)):
            if time.monotonic() >= deadline:
                return f"an old worker of the proxy was still at work after {seconds:.0f} s"
            time.sleep(0.1)
        return "no old worker of the proxy is left"

    def _settle(self, token: str) -> None:
        deadline = time.monotonic() + _SETTLE_SECONDS
        row, said = 0, None
        while row < _IN_A_ROW:
            said = self._token()
            row = row + 1 if said == token else 0
            if time.monotonic() >= deadline:
                raise StepFailed(
                    f"the proxy at {self.listen} speaks by {said or 'nothing'} {_SETTLE_SECONDS:.0f} s after its reload"
                )
            time.sleep(_PAUSE)

    def _token(self) -> str | None:
        try:
            answer = self.endpoint.get(TOKEN_PATH, seconds=5, max_bytes=4096)
        except EngineTrouble:
            return None
        return answer.body.decode("utf-8", "replace").strip() if answer.status == 200 else None


def _ending_workers(port: int) -> Iterator[int]:
    """Workers of the nginx on this port that take nothing new; of every nginx where it cannot be seen which one that is.

    Source: ngx_setproctitle; proc(5).
    """
    masters = set(listeners(port))
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended
                if (entry / "cmdline").read_bytes().startswith(_ENDING) and (
                    not masters or _parent(entry) in masters
                ):
                    yield int(entry.name)


def _parent(process: Path) -> int:
    return int((process / "stat").read_text().rpartition(")")[2].split()[1])


def run(command: Sequence[str], *, seconds: float = _COMMAND_SECONDS) -> str:
    """Run a program of `serving.toml`; return what it printed. Raises `StepFailed` with its last words."""
    shown = " ".join(command)
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise StepFailed(f"{shown}: not done after {seconds:g} s") from exc
    except OSError as exc:
        raise StepFailed(f"{shown}: {exc.strerror}") from exc
    if done.returncode:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()
        raise StepFailed(f"{shown} ended with {done.returncode}: {said[-400:]}")
    return done.stdout.decode("utf-8", "replace")
