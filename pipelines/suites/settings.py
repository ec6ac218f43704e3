"""The settings of suite.toml, read strictly: an unknown field is refused, because it would promise what no run does."""

import re
import tomllib
from dataclasses import dataclass
from typing import Any

from pipelines.suites.cases import CHAT, SURFACES
from pipelines.suites.fields import exactly, matching, text, whole, yes_or_no
from pipelines.suites.gates import Gate, read_gates
from pipelines.suites.refusals import SuiteMalformed

FORMAT = "tidegate-suite/1"
ENDPOINT, FILES = "endpoint", "files"  # what a suite asks: an engine, or the version's files
MAX_CASES = 10_000
MAX_REPEATS = 32
MAX_CONCURRENCY = 64  # requests in flight at once
MAX_WARMUP = 100
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_NEEDED = {
    "format", "name", "description", "cases", "repeats", "timeout_seconds", "limit_seconds", "gates",
}  # fmt: skip
_OF_AN_ENDPOINT = {"surfaces", "streaming", "concurrency", "python", "warmup"}


@dataclass(frozen=True)
class Settings:
    """suite.toml. `own_tools`: the suite brings the tools that it offers, rather than taking the contract's."""

    name: str
    description: str
    kind: str
    cases: int
    repeats: int
    timeout_seconds: int  # one request
    limit_seconds: int  # the whole run
    seed: int
    own_tools: bool
    gates: tuple[Gate, ...]
    surfaces: tuple[str, ...]
    streaming: tuple[bool, ...]
    concurrency: int
    python: bool
    warmup: int  # requests to each side before anything counts


def read_settings(source: str) -> Settings:
    """Decode suite.toml. Raises `SuiteMalformed`, naming the field."""
    at = "suite.toml"
    try:
        raw = tomllib.loads(source)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise SuiteMalformed(f"not readable as TOML ({exc})", at=at) from exc
    kind = raw.get("kind", ENDPOINT)
    if kind not in (ENDPOINT, FILES):
        raise SuiteMalformed(f"'{ENDPOINT}' or '{FILES}'", at=f"{at}: kind")
    own = _OF_AN_ENDPOINT if kind == ENDPOINT else set()
    item = exactly(raw, _NEEDED, {"seed", "tools", "kind"} | own, at=at)
    if item["format"] != FORMAT:
        raise SuiteMalformed(f"this release reads {FORMAT!r}", at=f"{at}: format")
    return Settings(
        name=matching(
            item["name"], _NAME, "a-z, 0-9 and '-', beginning with a letter, at most 63", at=f"{at}: name"
        ),
        description=text(item["description"], 2000, at=f"{at}: description"),
        kind=kind,
        cases=whole(item["cases"], 1, MAX_CASES, at=f"{at}: cases"),
        repeats=whole(item["repeats"], 1, MAX_REPEATS if kind == ENDPOINT else 1, at=f"{at}: repeats"),
        timeout_seconds=whole(item["timeout_seconds"], 1, 3600, at=f"{at}: timeout_seconds"),
        limit_seconds=whole(item["limit_seconds"], 1, 86_400, at=f"{at}: limit_seconds"),
        seed=whole(item.get("seed", 7), 0, 2**31 - 1, at=f"{at}: seed"),
        own_tools=_own_tools(item.get("tools"), kind, at=f"{at}: tools"),
        gates=read_gates(item["gates"], at=f"{at}: gates"),
        **_asking(item, at=at),
    )


def _asking(item: dict[str, Any], *, at: str) -> dict[str, Any]:
    """How an endpoint is asked; the defaults are one chat request at a time, not streamed."""
    streaming = {"no": False, "yes": True}
    chosen = _some(item.get("streaming", ["no"]), tuple(streaming), at=f"{at}: streaming")
    return {
        "surfaces": _some(item.get("surfaces", [CHAT]), SURFACES, at=f"{at}: surfaces"),
        "streaming": tuple(streaming[word] for word in chosen),
        "concurrency": whole(item.get("concurrency", 1), 1, MAX_CONCURRENCY, at=f"{at}: concurrency"),
        "python": yes_or_no(item.get("python", False), f"{at}: python"),
        "warmup": whole(item.get("warmup", 0), 0, MAX_WARMUP, at=f"{at}: warmup"),
    }


def _some(value: Any, known: tuple[str, ...], *, at: str) -> tuple[str, ...]:
    if (
        not isinstance(value, list)
        or not value
        or not all(isinstance(item, str) and item in known for item in value)
        or len(set(value)) != len(value)
    ):
        raise SuiteMalformed(f"a list of some of {', '.join(known)}, each once", at=at)
    return tuple(value)


def _own_tools(value: Any, kind: str, *, at: str) -> bool:
    if kind == FILES:
        if value is not None:
            raise SuiteMalformed("a suite of kind 'files' offers no tools", at=at)
        return False
    if value not in (None, "own", "contract"):
        raise SuiteMalformed("'own' or 'contract'", at=at)
    return bool(value != "contract")
