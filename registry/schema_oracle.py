"""The last word on a value: the `jsonschema` library, reading the schema as it was written, in its dialect.

Nothing else in this layer vouches for a witness alone. The library is kept from what could hurt: it fetches
nothing, each keyword costs a step, and patterns are matched by `registry.schema_regex`, because the library
would hand them to an engine that can run for years.

One liberty is taken with the text: OpenAPI's `nullable`, which no dialect knows, is read as OpenAPI says.
"""

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache
from typing import Any

from jsonschema import (
    Draft6Validator,
    Draft7Validator,
    Draft201909Validator,
    Draft202012Validator,
    validators,
)
from jsonschema.exceptions import ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

from registry.schema_dialects import UnknownDialect, dialect, subschemas
from registry.schema_regex import matches
from registry.schemas import Work, misshapen

_BASES: dict[str, Any] = {
    "draft-06": Draft6Validator,
    "draft-07": Draft7Validator,
    "2019-09": Draft201909Validator,
    "2020-12": Draft202012Validator,
}
_NOTHING: Registry[Any] = Registry()  # fetches nothing
_WORK: ContextVar[Work] = ContextVar("work")
_Keyword = Callable[[Any, Any, Any, Any], Any]


class _CannotTellError(Exception):
    """A pattern that is not read here, so nobody is asked."""


def accepts(schema: Any, value: Any, work: Work) -> bool | None:
    """Whether the schema as written accepts the value; None where the library cannot be asked.

    Raises:
        TooMuchWork: more steps than `work` allows.
    """
    if misshapen(schema):
        return None
    held = _WORK.set(work)
    try:
        validator = _validator(dialect(schema))(schema, registry=_NOTHING)
        _require_tame_patterns(schema, work)
        return bool(validator.is_valid(value))
    except (UnknownDialect, Unresolvable, _CannotTellError):
        return None
    finally:
        _WORK.reset(held)


def _require_tame_patterns(schema: Any, work: Work) -> None:
    """Where unevaluated keys are counted the library itself matches names; only short, flat patterns may be there."""
    found = list(subschemas(schema))
    work.spend(3 * len(found))  # they are looked at to find the dialect and the shape, too
    if any("unevaluatedProperties" in node for node in found):
        for pattern in (text for node in found for text in node.get("patternProperties", ())):
            if len(pattern) > 64 or sum(pattern.count(letter) for letter in "*+?{") > 2:
                raise _CannotTellError


@cache
def _validator(name: str) -> Any:
    base = _BASES[name]
    keywords = {word: _counted(check) for word, check in base.VALIDATORS.items()}
    keywords |= {"pattern": _pattern, "patternProperties": _pattern_properties}
    keywords |= {"additionalProperties": _additional, "type": _type_or_null(base.VALIDATORS["type"])}
    extend: Any = validators.extend  # its stub leaves the result untyped
    return extend(base, keywords)


def _counted(check: _Keyword) -> _Keyword:
    def counting(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[Any]:
        _WORK.get().spend(len(wanted) if isinstance(wanted, list) else 1)
        yield from check(validator, wanted, value, schema) or ()

    return counting


def _matches(pattern: str, text: str) -> bool:
    answer = matches(pattern, text, _WORK.get())
    if answer is None:
        raise _CannotTellError
    return answer


def _pattern(_validator: Any, wanted: str, value: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(value, str) and not _matches(wanted, value):
        yield ValidationError("pattern")


def _pattern_properties(validator: Any, wanted: dict[str, Any], value: Any, _schema: Any) -> Iterator[Any]:
    for pattern, about in wanted.items():
        for name in [name for name in value if _matches(pattern, name)] if isinstance(value, dict) else []:
            yield from validator.descend(value[name], about)


def _additional(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[Any]:
    if not isinstance(value, dict):
        return
    patterns = schema.get("patternProperties", {})
    for name, item in value.items():
        if name not in schema.get("properties", {}) and not any(_matches(text, name) for text in patterns):
            yield from validator.descend(item, wanted)


def _type_or_null(check: _Keyword) -> _Keyword:
    def typed(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[Any]:
        _WORK.get().spend()
        if value is not None or schema.get("nullable") is not True:
            yield from check(validator, wanted, value, schema) or ()

    return typed
