"""Engine releases that must not be used: a small document that travels in bundles, and what it says of a release.

Two answers are possible about a release, and not knowing is the worse one: a release that cannot be compared with
a blocked range counts as inside it. An older document of the same name says nothing once a newer one is here.
Sources of the versions' order: PEP 440 (vLLM, transformers), Semantic Versioning (llama.cpp releases), and
llama.cpp's build numbers (`b` and a number, with anything behind).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pipelines.errors import JudgingRefused
from signing.canonical import MAX_INTEGER, NotCanonical, canonical_bytes, parse_canonical

KIND = "advisories"  # of `Document`
FORMAT = "tidegate-advisories/1"
MAX_BYTES = 4 << 20
BLOCK, WARN = "block", "warn"
_MAX_ENTRIES, _MAX_RANGES, _MAX_TEXT = 10_000, 100, 500
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
_BUILD = re.compile(r"b(\d{1,9})(?:[-+].*)?")
_RELEASE = re.compile(
    r"v?(\d{1,9}(?:\.\d{1,9}){0,5})(?:[-._]?(dev|alpha|a|beta|b|rc|post)[-._]?(\d{0,9}))?(?:[-+].*)?"
)
# Where a word puts a release: before the plain one, or after it.
_PLACE = {"dev": -4, "alpha": -3, "a": -3, "beta": -2, "b": -2, "rc": -1, "post": 1}
_ONE_ENGINE = {"llama.cpp": "llama-server", "llama-cpp": "llama-server", "llamacpp": "llama-server"}

_Key = tuple[str, tuple[int, ...]]


class MalformedAdvisories(JudgingRefused):
    """A list of bad engine releases that is not one."""

    exit_code: ClassVar[int] = 224
    next_step: ClassVar[str] = (
        "Correct the list at the place named; one that came in a bundle is its maker's to correct."
    )

    def __init__(self, problem: str, *, at: str) -> None:
        super().__init__(f"advisories, {at}: {problem}")
        self.problem, self.at = problem, at


@dataclass(frozen=True)
class Range:
    """Releases from `first` on, itself included, and below `below`; None leaves that side open."""

    first: str | None
    below: str | None


@dataclass(frozen=True)
class Advisory:
    """One thing that is wrong with some releases of an engine."""

    id: str
    engine: str
    versions: tuple[Range, ...]
    severity: str  # BLOCK or WARN
    title: str
    url: str


@dataclass(frozen=True)
class Advisories:
    """One list. `serial` rises with each issue of the list `name`."""

    name: str
    serial: int
    entries: tuple[Advisory, ...]


@dataclass(frozen=True)
class Hit:
    """An advisory that holds for a release, and why: it lies inside, or cannot be compared."""

    advisory: Advisory
    why: str


def hits(documents: Iterable[Advisories], engine: str, version: str | None) -> list[Hit]:
    """Return everything that the newest issue of each list says of a release, blocking ones first.

    Args:
        engine: as in engine profiles. version: as the engine says it; None if it does not.
    """
    newest: dict[str, Advisories] = {}
    for document in documents:
        if document.name not in newest or document.serial > newest[document.name].serial:
            newest[document.name] = document
    wanted = _ONE_ENGINE.get(engine.lower(), engine.lower())
    found = [
        Hit(entry, why)
        for document in newest.values()
        for entry in document.entries
        if _ONE_ENGINE.get(entry.engine, entry.engine) == wanted and (why := _holds(entry, version))
    ]
    return sorted(found, key=lambda hit: (hit.advisory.severity != BLOCK, hit.advisory.id))


def _holds(entry: Advisory, version: str | None) -> str | None:
    """Why the advisory holds for this release, or None if it does not."""
    key = None if version is None else _key(version)
    inside = [_inside(key, span) for span in entry.versions]
    if True in inside:
        return f"{version} is one of them"
    if None in inside and entry.severity == BLOCK:
        return f"{version or 'a release that the engine does not say'} cannot be compared with them"
    return None


def _inside(key: _Key | None, span: Range) -> bool | None:
    """Whether a release lies in a range; None if that cannot be told: unknown, or numbered in another way."""
    first, below = (None if end is None else _key(end) for end in (span.first, span.below))
    if key is None or any(limit is not None and limit[0] != key[0] for limit in (first, below)):
        return None
    return (first is None or key >= first) and (below is None or key < below)


def _key(version: str) -> _Key | None:
    """Return what releases of one way of numbering are compared by; None for a text that is no release.

    >>> _key("0.18rc1") < _key("0.18.0") < _key("0.18.0.post1") < _key("v0.18.1+cpu")
    True
    """
    if build := _BUILD.fullmatch(version):
        return "build", (int(build[1]),)
    match = _RELEASE.fullmatch(version)
    if match is None:
        return None
    numbers = [int(part) for part in match[1].split(".")]
    numbers += [0] * (6 - len(numbers))
    return "release", (*numbers, _PLACE.get(match[2], 0), int(match[3] or 0))


def encode(document: Advisories) -> bytes:
    """Return the canonical bytes."""
    return canonical_bytes(
        {
            "format": FORMAT,
            "name": document.name,
            "serial": document.serial,
            "entries": [
                {
                    "id": entry.id,
                    "engine": entry.engine,
                    "versions": [{"from": span.first, "below": span.below} for span in entry.versions],
                    "severity": entry.severity,
                    "title": entry.title,
                    "url": entry.url,
                }
                for entry in document.entries
            ],
        }
    )


def decode(data: bytes) -> Advisories:
    """Read untrusted bytes. Raises `MalformedAdvisories`, naming the place, and nothing else."""
    try:
        value = parse_canonical(data, max_bytes=MAX_BYTES)
    except NotCanonical as exc:
        raise MalformedAdvisories(exc.problem, at=exc.at) from exc
    fields = _fields(value, ("format", "name", "serial", "entries"), at="document")
    if fields["format"] != FORMAT:
        raise MalformedAdvisories(f"not {FORMAT}", at="format")
    serial = fields["serial"]
    if not isinstance(serial, int) or isinstance(serial, bool) or not 0 < serial <= MAX_INTEGER:
        raise MalformedAdvisories("not a whole number above 0", at="serial")
    entries = tuple(_entries(_items(fields["entries"], _MAX_ENTRIES, at="entries")))
    return Advisories(_text(fields["name"], at="name", shape=_NAME), serial, entries)


def _entries(values: Sequence[Any]) -> Iterator[Advisory]:
    known: set[str] = set()
    for place, value in enumerate(values):
        entry = _entry(value, at=f"entries[{place}]")
        if entry.id in known:
            raise MalformedAdvisories(f"{entry.id} stands twice", at=f"entries[{place}].id")
        known.add(entry.id)
        yield entry


def _entry(value: Any, *, at: str) -> Advisory:
    fields = _fields(value, ("id", "engine", "versions", "severity", "title", "url"), at=at)
    if fields["severity"] not in (BLOCK, WARN):
        raise MalformedAdvisories(f"not {BLOCK} or {WARN}", at=f"{at}.severity")
    url = _text(fields["url"], at=f"{at}.url")
    if not url.startswith("https://") or " " in url:
        raise MalformedAdvisories("not an https address", at=f"{at}.url")
    ranges = _items(fields["versions"], _MAX_RANGES, at=f"{at}.versions")
    if not ranges:
        raise MalformedAdvisories("names no release", at=f"{at}.versions")
    return Advisory(
        id=_text(fields["id"], at=f"{at}.id", shape=_ID),
        engine=_text(fields["engine"], at=f"{at}.engine", shape=_NAME),
        versions=tuple(_range(one, at=f"{at}.versions[{place}]") for place, one in enumerate(ranges)),
        severity=fields["severity"],
        title=_text(fields["title"], at=f"{at}.title"),
        url=url,
    )


def _range(value: Any, *, at: str) -> Range:
    fields = _fields(value, ("from", "below"), at=at)
    span = Range(fields["from"], fields["below"])
    keys = []
    for name, end in (("from", span.first), ("below", span.below)):
        if end is None:
            continue
        key = _key(_text(end, at=f"{at}.{name}"))
        if key is None:
            raise MalformedAdvisories("not a release, as 0.18.0 or b11434", at=f"{at}.{name}")
        keys.append(key)
    if len(keys) == 2 and (keys[0][0] != keys[1][0] or keys[0] >= keys[1]):
        raise MalformedAdvisories("ends before it begins, or is numbered in two ways", at=at)
    return span


def _fields(value: Any, names: tuple[str, ...], *, at: str) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != set(names):
        raise MalformedAdvisories(f"not an object of exactly {', '.join(names)}", at=at)
    return value


def _items(value: Any, limit: int, *, at: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > limit:
        raise MalformedAdvisories(f"not a list of at most {limit}", at=at)
    return value


def _text(value: Any, *, at: str, shape: re.Pattern[str] | None = None) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT or not value.isprintable():
        raise MalformedAdvisories(f"not a line of 1 to {_MAX_TEXT} characters", at=at)
    if shape is not None and not shape.fullmatch(value):
        raise MalformedAdvisories("has other characters than such a name", at=at)
    return value
