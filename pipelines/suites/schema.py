"""Does a value satisfy a tool's JSON Schema, answered by `jsonschema` without ever leaving the process."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator, SchemaError
from jsonschema.exceptions import best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

from registry.schemas import misshapen

# An explicit registry retrieves nothing; jsonschema's own default fetches a remote `$ref` over the network.
_NOWHERE: Registry[Any] = Registry()
MAX_REASON = 200  # characters


@dataclass(frozen=True)
class IllFormed:
    """Why something is no JSON Schema, and where in it."""

    message: str
    at: str


def ill_formed(schema: Mapping[str, Any]) -> IllFormed | None:
    """Return why a schema is none of 2020-12, or leads out of the document; None when it is one."""
    if problem := misshapen(schema):
        return IllFormed(problem.problem, problem.at)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as exc:
        return IllFormed(exc.message[:MAX_REASON], "")
    return None


def first_problem(schema: Mapping[str, Any], value: Any) -> str | None:
    """Return the most telling reason why `value` does not satisfy `schema`, or None.

    A schema that cannot be evaluated (a `$ref` to elsewhere, a cycle) is a reason too: unknown is no pass.
    """
    validator = Draft202012Validator(dict(schema), registry=_NOWHERE)
    try:
        error = best_match(validator.iter_errors(value))
    except (Unresolvable, RecursionError):
        return "the schema leads in a circle or out of the document, so nothing can be said to satisfy it"
    if error is None:
        return None
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)
    return f"{where.lstrip('.') or 'arguments'}: {error.message}"[:MAX_REASON]
