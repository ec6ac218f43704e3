"""The audit log's vocabulary and its replay: what was recorded against what the tables say.

Pure: rows and leaves in, differences out. The log itself is written by `registry.store` in the transaction
of the change that it records. Leaf bytes are canonical JSON; the tree is RFC 6962 (`signing.merkle`). Names and free
text stand in a leaf as salted digests (`registry.salted`); leaves of older releases hold everything in the clear.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from registry import salted
from signing.canonical import NotCanonical, canonical_bytes, parse_canonical
from signing.tiles import MAX_ENTRY

LEAF_FORMAT = "tidegate-event/2"
_PLAIN_FORMAT = "tidegate-event/1"  # of older releases: nothing salted, and up to 1 MiB long
MAX_LEAF_BYTES = 1 << 20  # that are read; a leaf that is written has at most `MAX_ENTRY`
MAX_OPENINGS_BYTES = 4 << 20
_MARK = b'{"salted":"'
_MAX_TWINS = 100


class EventKind(StrEnum):
    """Everything that can be recorded. A test finds what emits each one."""

    HOME_MADE = "home made"
    UPGRADED = "home upgraded"
    ENROLLED = "enrolled"
    SITE_ADDED = "site added"
    TIER_SET = "tier policy set"
    PERSON_SET = "person set"
    VERSION_ADDED = "version added"
    SCANNED = "scanned"
    CONTRACT_ADDED = "contract added"
    CONTRACT_BOUND = "contract bound"
    ROUTER_SET = "router set"
    SUITE_ADDED = "suite added"
    SUITE_RUN = "suite run"
    EVIDENCE_TAKEN = "evidence taken in"
    ADVISORIES_ADDED = "advisories added"
    COMPANIONS_ADDED = "companions added"
    COMPANIONS_SET = "companions set"
    POLICY_ADDED = "policy file added"
    DECIDED = "decided"
    BUNDLE_MADE = "bundle made"
    BUNDLE_IMPORTED = "bundle imported"
    RECEIPT_TAKEN = "receipt taken"
    SPOKEN_RECEIPT_TAKEN = "spoken receipt taken"
    ASSUMED = "bundle assumed received"
    MEDIUM_VERIFIED = "medium verified"
    REPAIR_MADE = "repair made"
    UPSTREAM_ENROLLED = "upstream enrolled"
    BYTES_REMOVED = "bytes removed"
    APPROVED = "approved"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"
    WITHDRAWN = "withdrawn"
    ROLLED_OUT = "rolled out"
    OBSERVED = "observed"
    MODEL_SIGNED = "model signed"
    PUBLISHER_SET = "publisher set"
    BOM_MADE = "bill of materials made"
    APPROVAL_REQUESTED = "approval requested"
    REJECTED = "rejected"
    BREAK_GLASS = "break-glass"
    REVIEWED = "break-glass reviewed"
    PEOPLE_TAKEN = "people taken in"
    TRUST_CHANGED = "trust changed"
    RESTAMPED = "bundle restamped"
    WITNESSED = "head witnessed"
    COSIGNED = "head cosigned"
    ACCOUNT_SET = "account set"
    TOKEN_SET = "token set"  # noqa: S105 - the name of an event
    PASSKEY_SET = "passkey set"
    SIGNED_IN = "signed in"
    DENIED = "denied"


@dataclass(frozen=True)
class Entry:
    """One event as it was recorded."""

    position: int
    kind: str
    subject: str  # a digest, a model, a tier: what it was about
    at: str  # RFC 3339, UTC
    actor: str
    rows: tuple[tuple[str, Mapping[str, Any]], ...]  # (table's label, the row's content)
    note: Mapping[str, Any]


@dataclass(frozen=True)
class Leaf:
    """An event as it is recorded."""

    data: bytes  # what the tree hashes, at most 65,535 bytes
    openings: str  # canonical JSON, see `registry.salted`; no part of the tree


def seal(entry: Entry, *, salt: salted.Salt) -> Leaf:
    """Return the bytes that the tree hashes for this entry, and what opens their salted values."""
    document = {
        "format": LEAF_FORMAT,
        "position": entry.position,
        "kind": entry.kind,
        "subject": entry.subject,
        "at": entry.at,
        "actor": entry.actor,
        "rows": [{"table": label, "row": dict(row)} for label, row in entry.rows],
        "note": dict(entry.note),
    }
    data, openings = salted.seal(document, salt=salt, most=MAX_ENTRY)
    return Leaf(data, canonical_bytes(openings).decode())


def read_leaf(data: bytes, openings: str | None = None) -> Entry:
    """Read a leaf again, every salted value of it opened.

    Raises:
        NotCanonical: bytes that are not a leaf in canonical form, or openings that are not the ones of this leaf.
    """
    raw = parse_canonical(data, max_bytes=MAX_LEAF_BYTES, at="event")
    if isinstance(raw, dict) and raw.get("format") == LEAF_FORMAT:
        found = _openings(openings)
        if data.count(_MARK) != len(found):  # inside a text the quotes would have backslashes
            raise NotCanonical(
                f"{data.count(_MARK)} values are salted, {len(found)} openings are here", at="event"
            )
        raw = salted.unseal(raw, found)
    elif openings is not None:
        raise NotCanonical("an event that hides nothing has openings", at="event")
    if not _is_leaf(raw):
        raise NotCanonical(f"not an event of format {LEAF_FORMAT} with all its openings", at="event")
    return Entry(
        position=raw["position"],
        kind=raw["kind"],
        subject=raw["subject"],
        at=raw["at"],
        actor=raw["actor"],
        rows=tuple((item["table"], item["row"]) for item in raw["rows"]),
        note=raw["note"],
    )


def _openings(text: str | None) -> list[salted.Opening]:
    if text is None:
        return []
    found = parse_canonical(text.encode(errors="replace"), max_bytes=MAX_OPENINGS_BYTES, at="openings")
    if not isinstance(found, list):
        raise NotCanonical("not a list", at="openings")
    return found


def _is_leaf(raw: Any) -> bool:
    return (
        isinstance(raw, dict)
        and set(raw) == {"format", "position", "kind", "subject", "at", "actor", "rows", "note"}
        and raw["format"] in (LEAF_FORMAT, _PLAIN_FORMAT)
        and type(raw["position"]) is int
        and all(isinstance(raw[field], str) for field in ("kind", "subject", "at", "actor"))
        and isinstance(raw["note"], dict)
        and isinstance(raw["rows"], list)
        and all(_is_row(item) for item in raw["rows"])
    )


def _is_row(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and set(item) == {"table", "row"}
        and isinstance(item["table"], str)
        and isinstance(item["row"], dict)
    )


@dataclass(frozen=True)
class Difference:
    """Something the tables say that the log does not, or the other way round."""

    table: str
    problem: str  # "not in the log", "missing from the table"
    row: Mapping[str, Any]
    twin: Mapping[str, Any] | None = None  # the row on the other side that it was most likely made from

    def __str__(self) -> str:
        said = {key: value for key, value in self.row.items() if value is not None}
        if self.twin is None:
            shown = ", ".join(f"{key}={str(value)[:24]}" for key, value in said.items())
            return f"{self.table}: a row is {self.problem}: {shown}"
        other = "log" if self.problem == "not in the log" else "table"
        changed = [key for key in self.row if self.row[key] != self.twin.get(key)]
        shown = ", ".join(
            f"{key}={_brief(self.row[key])} where the {other} has {_brief(self.twin.get(key))}"
            for key in changed
        )
        rest = ", ".join(
            f"{key}={value}" for key, value in said.items() if key not in changed and _short(value)
        )
        return f"{self.table}: a row is {self.problem}: {shown} ({rest})"


def _brief(value: Any) -> str:
    """At most so much of a value that two different ones can be told apart by eye."""
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:24]}…"


def _short(value: Any) -> bool:
    """Whether a field helps to find the row: a name or a number, not a digest or a list of them."""
    return len(str(value)) <= 32 and not str(value).startswith(("[", "{"))


def compare(entries: Iterable[Entry], tables: Mapping[str, Iterable[Mapping[str, Any]]]) -> list[Difference]:
    """Replay the log and compare it with the tables, both ways.

    Args:
        tables: for each recorded table's label, the content of all its rows.

    Returns: one `Difference` per row that was edited, added or removed behind the log's back.
    """
    recorded: dict[str, Counter[bytes]] = {label: Counter() for label in tables}
    for entry in entries:
        for label, row in entry.rows:
            recorded.setdefault(label, Counter())[canonical_bytes(dict(row))] += 1
    found: list[Difference] = []
    for label, expected in recorded.items():
        actual = Counter(canonical_bytes(dict(row)) for row in tables.get(label, ()))
        strange, missing = _rows(actual - expected), _rows(expected - actual)
        found.extend(Difference(label, "not in the log", row, _twin(row, missing)) for row in strange)
        found.extend(Difference(label, "missing from the table", row, _twin(row, strange)) for row in missing)
    return found


def _rows(rows: Counter[bytes]) -> list[Any]:
    return [parse_canonical(data, max_bytes=MAX_LEAF_BYTES) for data in sorted(rows.elements())]


def _twin(row: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The row of the other side that differs in the fewest fields, if most are the same: then it was edited.

    Looked for among few only: in a table that was replaced as a whole no row has a twin.
    """
    if not others or len(others) > _MAX_TWINS:
        return None
    best = max(others, key=lambda other: _alike(row, other))
    return best if _alike(row, best) * 2 > len(row) else None


def _alike(row: Mapping[str, Any], other: Mapping[str, Any]) -> int:
    return sum(other.get(key) == value for key, value in row.items())
