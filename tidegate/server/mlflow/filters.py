"""MLflow's filter strings: `name = 'acme--coder' AND tags.tidegate.state = 'served'`. Pure.

A filter is somebody's text: it is cut into comparisons by a grammar of our own, which is the part of MLflow's that its
clients write for registries, and compared with values; no pattern of it becomes a regular expression.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tidegate.errors import RequestUnreadable

MAX_FILTER = 4_096  # characters
MAX_COMPARISONS = 20
MAX_PATTERN = 256  # characters of one LIKE
ATTRIBUTES = (
    "name",
    "version_number",
    "run_id",
    "source_path",
    "creation_timestamp",
    "last_updated_timestamp",
)
_NUMBERS = ("version_number", "creation_timestamp", "last_updated_timestamp")
# Models and prompts lie in one registry there; what has no such tag is a model.
_IS_PROMPT = "mlflow.prompt.is_prompt"

_COMPARISON = re.compile(
    r"""\s*(?:(?P<what>attributes?|tags?)\.)?(?P<key>`[^`]*`|"[^"]*"|[\w./-]+)\s*
    (?P<how>!=|>=|<=|=|>|<|NOT\s+IN\b|IN\b|I?LIKE\b)\s*
    (?P<value>'[^']*'|"[^"]*"|-?\d+|\(\s*(?:'[^']*'|"[^"]*")(?:\s*,\s*(?:'[^']*'|"[^"]*"))*\s*\))\s*(?P<more>AND\b|$)""",
    re.IGNORECASE | re.VERBOSE,
)
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


@dataclass(frozen=True)
class Comparison:
    """One condition. `values` holds one text, or those of IN."""

    key: str
    is_tag: bool
    how: str  # =, !=, >, >=, <, <=, LIKE, ILIKE, IN, NOT IN
    values: tuple[str, ...]

    def holds(self, attributes: Mapping[str, str], tags: Mapping[str, str]) -> bool:
        """Whether something with these attributes and tags is meant."""
        found = (tags if self.is_tag else attributes).get(self.key)
        if found is None:
            return self.key == _IS_PROMPT and (self.how, self.values) in (
                ("=", ("false",)),
                ("!=", ("true",)),
            )
        if self.key in _NUMBERS and not self.is_tag:
            return _ORDERED[self.how](int(found), int(self.values[0]))
        return _compared(self.how, found, self.values)


_ORDERED: Mapping[str, Callable[[int, int], bool]] = {
    "=": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
}


def _compared(how: str, found: str, values: Sequence[str]) -> bool:
    if how in ("IN", "NOT IN"):
        return (found in values) == (how == "IN")
    if how == "LIKE":
        return like(found, values[0])
    if how == "ILIKE":
        return like(found.lower(), values[0].lower())
    return (found == values[0]) == (how == "=")


def like(text: str, pattern: str) -> bool:
    """SQL's LIKE: `%` is any text, `_` any character. Takes no longer than both lengths multiplied."""
    at = here = 0
    star, back = -1, 0
    while here < len(text):
        if at < len(pattern) and pattern[at] == "%":
            star, back = at, here
            at += 1
        elif at < len(pattern) and pattern[at] in ("_", text[here]):
            at, here = at + 1, here + 1
        elif star >= 0:
            back += 1
            at, here = star + 1, back
        else:
            return False
    return not pattern[at:].strip("%")


def parse_filter(text: str) -> tuple[Comparison, ...]:
    """Read a filter; an empty one has no condition. Raises `RequestUnreadable`."""
    if len(text) > MAX_FILTER:
        raise RequestUnreadable(f"filter: more than {MAX_FILTER} characters")
    found: list[Comparison] = []
    at = 0
    more = bool(text.strip())
    while more:
        match = _COMPARISON.match(text, at)
        if match is None or len(found) == MAX_COMPARISONS:
            raise RequestUnreadable(f"filter: cannot be read from {text[at : at + 40]!r} on")
        found.append(_comparison(match))
        at, more = match.end(), bool(match["more"])
    return tuple(found)


def _comparison(match: re.Match[str]) -> Comparison:
    key, how = match["key"].strip('`"'), " ".join(match["how"].upper().split())
    what, value = (match["what"] or "attribute").lower(), match["value"]
    values = tuple(one or other for one, other in _QUOTED.findall(value)) if value[0] in "('\"" else (value,)
    is_tag = what.startswith("tag")
    if not is_tag and key not in ATTRIBUTES:
        raise RequestUnreadable(f"filter: {key!r} is none of {', '.join(ATTRIBUTES)}")
    if is_tag or key not in _NUMBERS:
        fits = how not in (">", ">=", "<", "<=")
    else:
        fits = how in _ORDERED and re.fullmatch(r"-?\d{1,18}", values[0]) is not None
    if not fits or (value[0] == "(") != how.endswith("IN") or any(len(one) > MAX_PATTERN for one in values):
        raise RequestUnreadable(f"filter: {key} cannot be compared so")
    return Comparison(key, is_tag, how, values)
