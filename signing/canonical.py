"""One value, one byte string: what every digest and signature in this product covers.

Apart from the rest so that there is exactly one encoder to audit. What RFC 8785 makes hard (floats, huge
integers, keys beyond ASCII) is refused, not rendered. Decoding untrusted bytes happens here too, with
limits, so that no other module calls `json.loads` on bytes that somebody else wrote.
"""

import json
import math
from typing import Any, ClassVar

from signing.errors import OperatorError

MAX_DEPTH = 64
MAX_INTEGER = 2**53 - 1  # RFC 8785 section 3.2.2.3: beyond this, readers disagree


class NotCanonical(OperatorError):
    """A value or document that has no single byte form, or bytes that are not in it."""

    exit_code: ClassVar[int] = 10
    next_step: ClassVar[str] = "Ask whoever wrote the document for a new one; do not edit it by hand."

    def __init__(self, problem: str, *, at: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.problem, self.at = problem, at


def canonical_bytes(value: Any) -> bytes:
    """Return UTF-8 JSON with sorted keys and no spaces.

    Raises:
        NotCanonical: naming the place, `$.files[3].size`, for anything but None, bool, int, str, list, dict.

    Source: RFC 8785, restricted to what every reader agrees on.
    """
    _check(value, at="$", depth=0)
    return _ENCODER.encode(value).encode()


def canonical_again(value: Any) -> bytes:
    """`canonical_bytes` of a value, or a part of one, that `parse_canonical` returned: nothing is left to check."""
    return _ENCODER.encode(value).encode()


def pretty_bytes(value: Any) -> bytes:
    """Return the same value as indented JSON with a final newline, for documents that people read."""
    _check(value, at="$", depth=0)
    return (json.dumps(value, ensure_ascii=False, sort_keys=True, indent=2) + "\n").encode()


def parse(data: bytes, *, max_bytes: int, at: str = "document", max_values: int | None = None) -> Any:
    """Return the value of untrusted JSON bytes: no duplicate keys, no floats beyond finite, bounded depth.

    Args:
        data: at most `max_bytes` bytes are looked at; more is a refusal, not a slice.
        at: what to call the document in a refusal.
        max_values: how many values it may have, counted by what stands between them; an empty object takes a
            hundred times its bytes in memory.

    Raises:
        NotCanonical: too large, too many values, not UTF-8, not JSON, nested deeper than 64, a key twice, NaN or Infinity.
    """
    if len(data) > max_bytes:
        raise NotCanonical(f"{len(data)} bytes; at most {max_bytes} are read", at=at)
    if max_values is not None and sum(map(data.count, (b",", b"[", b"{"))) > max_values:
        raise NotCanonical(f"more than {max_values} values", at=at)
    try:
        # decoded here: given bytes, json.loads also takes UTF-16, UTF-32 and UTF-8 with half surrogates
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except NotCanonical as exc:
        raise NotCanonical(exc.problem, at=at) from exc
    except json.JSONDecodeError as exc:
        raise NotCanonical(f"not readable as JSON (line {exc.lineno}, column {exc.colno})", at=at) from exc
    except (ValueError, RecursionError) as exc:
        raise NotCanonical(f"not readable as JSON ({exc})", at=at) from exc
    if _depth(value) > MAX_DEPTH:
        raise NotCanonical(f"nested deeper than {MAX_DEPTH}", at=at)
    if b"\\u" in data and _half_surrogate(value):
        raise NotCanonical("half of a surrogate pair", at=at)
    return value


def parse_canonical(data: bytes, *, max_bytes: int, at: str = "document") -> Any:
    """Return the value of bytes that must be exactly `canonical_bytes` of it. Raises `NotCanonical`."""
    if len(data) <= max_bytes and data.isascii() and b"\\u" not in data and not _may_be_deep(data):
        try:
            value = _QUICK.decode(data.decode())
            if _ENCODER.encode(value).encode() == data:
                return value  # what is written back to the same bytes had no key twice and no other spelling
        except (ValueError, NotCanonical):
            pass  # the slow way says what is wrong
    value = parse(data, max_bytes=max_bytes, at=at)
    try:
        again = canonical_bytes(value)
    except NotCanonical as exc:
        raise NotCanonical(exc.problem, at=f"{at}{exc.at[1:]}") from exc
    if again != data:
        raise NotCanonical("not in canonical form (sorted keys, no spaces, one spelling per value)", at=at)
    return value


def _may_be_deep(data: bytes) -> bool:
    return data.count(b"[") + data.count(b"{") > MAX_DEPTH


def _whole(text: str) -> int:
    number = int(text)
    if abs(number) > MAX_INTEGER:
        raise NotCanonical("an integer beyond 2^53-1", at="$")
    return number


def _no_number(text: str) -> Any:
    raise NotCanonical(f"{text[:20]} is no whole number", at="$")


def _no_constant(name: str) -> Any:
    raise NotCanonical(f"{name} is not JSON", at="$")


_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))
_QUICK = json.JSONDecoder(parse_float=_no_number, parse_int=_whole, parse_constant=_no_constant)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise NotCanonical(f"the key {key!r} stands twice", at="$")
        found[key] = value
    return found


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise NotCanonical(f"{text[:20]} is beyond what a reader can hold", at="$")
    return number


def _half_surrogate(value: Any) -> bool:
    """Say whether any text holds what UTF-8 cannot carry; only an escape can have smuggled it in."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _depth(value: Any) -> int:
    """Depth without recursion, so that a hostile document costs no stack."""
    deepest, todo = 0, [(value, 1)]
    while todo:
        node, depth = todo.pop()
        deepest = max(deepest, depth)
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        todo.extend((child, depth + 1) for child in children)
    return deepest


def _check(value: Any, *, at: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise NotCanonical(f"nested deeper than {MAX_DEPTH}", at=at)
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise NotCanonical("an integer beyond 2^53-1", at=at)
    elif isinstance(value, str):
        _check_text(value, at=at)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _check(item, at=f"{at}[{number}]", depth=depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_key(key, at=at)
            _check(item, at=f"{at}.{key}", depth=depth + 1)
    else:
        raise NotCanonical(f"a {type(value).__name__} has no canonical form", at=at)


def _check_text(text: str, *, at: str) -> None:
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise NotCanonical("half of a surrogate pair", at=at)


def _check_key(key: object, *, at: str) -> None:
    if not isinstance(key, str) or not key.isascii():
        raise NotCanonical(f"the key {key!r} is not ASCII text", at=at)
