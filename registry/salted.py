"""What a leaf of the log shows, and what it only commits to: names and free text stand as salted digests.

A log can so be shown to people who may not read it all, and be opened one value at a time. Deny by default: a text
stays readable only where its form (a digest, a moment) or its field (a tier, a model) says that it is nobody's words.
A salted value stands as `{"salted": H}`, H = SHA-256(salt || canonical bytes of the value); the salt and the value
are an opening, `[JSON pointer, salt in hex, value]`, kept beside the leaf and no part of the tree. Without the
salt's 128 random bits a name could be guessed from its digest.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from signing.canonical import NotCanonical, canonical_bytes

SALT_BYTES = 16
MARK = "salted"
Salt = Callable[[], bytes]  # gives 16 fresh random bytes
Opening = list[Any]  # [JSON pointer, salt in hex, value]

# Fields whose texts are words of this product, or names that a log without them could not be followed by.
_CLEAR = frozenset(
    (
        *("model", "tier", "version", "kind", "outcome", "label", "method", "source", "state", "strategy"),
        *("action", "decision", "predicate", "bundle", "site", "origin", "log", "witness", "profile"),
        *("brought_by", "evidence", "gate", "tiers", "roles", "what", "checks"),
    )
)
# A digest (64 hex, or 40 of a git commit), a moment; what such a form holds is nobody's words.
_FORM = re.compile(r"(?:sha256:)?[0-9a-f]{64}|[0-9a-f]{40}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z", re.ASCII)


def seal(document: Mapping[str, Any], *, salt: Salt, most: int) -> tuple[bytes, list[Opening]]:
    """Return an event's leaf and what opens it.

    Args:
        document: the event: `actor`, `subject`, `rows` of {table, row} and `note`, beside fields that stay as they are.
        most: bytes that the leaf may have. What would be longer is salted in larger pieces: each long value of the
            note, each row, at last all rows and all of the note.
    """
    for coarse in range(_COARSEST):
        sealed, openings = _sealed(document, coarse, salt)
        if len(leaf := canonical_bytes(sealed)) <= most:
            return leaf, openings
    sealed, openings = _sealed(document, _COARSEST, salt)
    return canonical_bytes(sealed), openings


def unseal(document: dict[str, Any], openings: list[Opening]) -> dict[str, Any]:
    """Put the opened values back, in place, and return the document.

    Raises:
        NotCanonical: an opening of another form, of another value than was recorded, or of nothing.
    """
    for opening in openings:
        pointer, salt, value = _opening(opening)
        holder, key = _place(document, pointer)
        if holder[key] != {MARK: digest(salt, value)}:
            raise NotCanonical("is not what was recorded", at=f"opening of {pointer}")
        holder[key] = value
    return document


def digest(salt: bytes, value: Any) -> str:
    """Return the 64 hex digits that stand for a value."""
    return hashlib.sha256(salt + _bytes(value)).hexdigest()


def salted_places(value: Any, at: str = "") -> Iterator[str]:
    """Yield the JSON pointer of every value that stands as a digest."""
    if is_salted(value):
        yield at
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from salted_places(item, f"{at}/{_escaped(key)}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from salted_places(item, f"{at}/{number}")


def is_salted(value: Any) -> bool:
    """Whether a value stands as a digest."""
    return isinstance(value, dict) and value.keys() == {MARK}


_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)


class _Sealing:
    """One pass over an event, noting what it salts."""

    def __init__(self, salt: Salt) -> None:
        self._salt = salt
        self.openings: list[Opening] = []

    def whole(self, value: Any, at: str) -> dict[str, str]:
        salt = self._salt()
        self.openings.append([at, salt.hex(), value])
        return {MARK: digest(salt, value)}

    def fields(self, record: Mapping[str, Any], at: str) -> dict[str, Any]:
        return {key: self.value(item, f"{at}/{_escaped(key)}", key in _CLEAR) for key, item in record.items()}

    def value(self, value: Any, at: str, clear: bool) -> Any:
        if isinstance(value, str):
            return value if clear or _FORM.fullmatch(value) else self.whole(value, at)
        if isinstance(value, list):
            return [self.value(item, f"{at}/{number}", clear) for number, item in enumerate(value)]
        # What is below a field's own keys may be keyed by anything, a name or a path.
        return self.whole(value, at) if isinstance(value, dict) else value


_COARSEST = 3
_LONG = 1024  # bytes of a note's value that is salted whole once the leaf is too long


def _sealed(document: Mapping[str, Any], coarse: int, salt: Salt) -> tuple[dict[str, Any], list[Opening]]:
    sealing = _Sealing(salt)
    sealed = dict(document)
    sealed["actor"] = sealing.whole(document["actor"], "/actor")
    rows, note = document["rows"], document["note"]
    if coarse < _COARSEST:
        sealed["rows"] = [_row(sealing, item, f"/rows/{n}/row", coarse) for n, item in enumerate(rows)]
        sealed["note"] = {
            key: sealing.whole(item, f"/note/{_escaped(key)}")
            if coarse and len(_bytes(item)) > _LONG
            else sealing.value(item, f"/note/{_escaped(key)}", key in _CLEAR)
            for key, item in note.items()
        }
    else:
        sealed["rows"], sealed["note"] = sealing.whole(rows, "/rows"), sealing.whole(note, "/note")
    subject = document["subject"]
    if not (_FORM.fullmatch(subject) or subject in _words(rows, note)):
        sealed["subject"] = sealing.whole(subject, "/subject")
    return sealed, sealing.openings


def _row(sealing: _Sealing, item: Mapping[str, Any], at: str, coarse: int) -> dict[str, Any]:
    row = sealing.whole(item["row"], at) if coarse > 1 else sealing.fields(item["row"], at)
    return {**item, "row": row}


def _words(rows: list[Any], note: Mapping[str, Any]) -> set[Any]:
    """What the event says in fields that stay readable: a subject that is one of these needs no salt."""
    records = [note, *(item["row"] for item in rows)]
    return {
        record[key]
        for record in records
        for key in ("model", "tier", "site")
        if isinstance(record.get(key), str)
    }


def _opening(opening: Any) -> tuple[str, bytes, Any]:
    if (
        isinstance(opening, list)
        and len(opening) == 3
        and isinstance(opening[0], str)
        and isinstance(opening[1], str)
        and len(opening[1]) == 2 * SALT_BYTES
    ):
        try:
            return opening[0], bytes.fromhex(opening[1]), opening[2]
        except ValueError:
            pass  # told below
    raise NotCanonical("not [pointer, salt, value]", at="opening")


def _place(document: Any, pointer: str) -> tuple[Any, Any]:
    """What holds the value that a pointer names, and under which key or number. Source: RFC 6901."""
    holder, found = None, document
    key: Any = None
    for step in pointer.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~") if "~" in step else step  # noqa: PLW2901
        holder, key = found, _key(found, step)
        if key is None:
            break
        found = holder[key]
    if key is None:
        raise NotCanonical("names nothing in the event", at=f"opening of {pointer[:80]}")
    return holder, key


def _key(holder: Any, step: str) -> Any:
    """The key or number of a step in what it is taken in, or None."""
    if isinstance(holder, dict):
        return step if step in holder else None
    if isinstance(holder, list) and _NUMBER.fullmatch(step) and int(step) < len(holder):
        return int(step)
    return None


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _bytes(value: Any) -> bytes:
    """`canonical_bytes`, quicker for the texts that most values are."""
    if type(value) is str:
        try:
            return json.encoder.encode_basestring(value).encode()
        except UnicodeEncodeError as exc:
            raise NotCanonical("half of a surrogate pair", at="$") from exc
    return canonical_bytes(value)
