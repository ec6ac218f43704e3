"""Small decoders of the fields of a suite's files: a value of the right shape, or a refusal that names the place."""

import re
from typing import Any

from pipelines.suites.refusals import SuiteMalformed
from signing.canonical import NotCanonical, canonical_bytes

TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def exactly(raw: Any, needed: set[str], optional: set[str], *, at: str) -> dict[str, Any]:
    """Return an object that has every needed field and no unknown one."""
    if not isinstance(raw, dict):
        raise SuiteMalformed("a table of fields is expected", at=at)
    if missing := sorted(needed - set(raw)):
        raise SuiteMalformed(f"the field {missing[0]!r} is missing", at=at)
    if unknown := sorted(set(raw) - needed - optional):
        raise SuiteMalformed(f"{unknown[0][:64]!r} is not a field that is known here", at=at)
    return raw


def text(value: Any, most: int, *, at: str) -> str:
    """Return a text of 1 to `most` characters."""
    if not isinstance(value, str) or not value or len(value) > most:
        raise SuiteMalformed(f"a text of 1 to {most} characters", at=at)
    try:
        canonical_bytes(value)
    except NotCanonical as exc:
        raise SuiteMalformed(exc.problem, at=at) from exc
    return value


def yes_or_no(value: Any, at: str) -> bool:
    """Return a truth value; neither 1 nor "yes" is one."""
    if not isinstance(value, bool):
        raise SuiteMalformed("true or false", at=at)
    return value


def schema(value: Any, at: str) -> dict[str, Any]:
    """Return a JSON Schema that demands something. Whether it is well formed is asked where jsonschema is at hand."""
    if not isinstance(value, dict):
        raise SuiteMalformed("an object: a JSON Schema", at=at)
    if not set(value) - {"$schema"}:
        raise SuiteMalformed("allows anything, so it checks nothing", at=at)
    return value


def tool_name(value: Any, at: str) -> str:
    """Return a name that a tool may have. Source: OpenAI's rule for function names."""
    return matching(value, TOOL_NAME, "a tool's name, as a function of OpenAI's may be called", at=at)


def whole(value: Any, least: int, most: int, *, at: str) -> int:
    """Return a whole number between two bounds."""
    if type(value) is not int or not least <= value <= most:
        raise SuiteMalformed(f"a whole number from {least} to {most}", at=at)
    return value


def matching(value: Any, rule: re.Pattern[str], said: str, *, at: str) -> str:
    """Return a text that follows a rule; `said` is the rule in words."""
    if not isinstance(value, str) or not rule.fullmatch(value):
        raise SuiteMalformed(said, at=at)
    return value
