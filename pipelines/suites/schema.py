"""Does a value satisfy a tool's JSON Schema, answered by `jsonschema` without ever leaving the process.

Two questions: at a run, in full and under an alarm; at reading, in counted steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator, SchemaError
from jsonschema.exceptions import best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

from registry.schema_oracle import accepts
from registry.schemas import TooMuchWork, Work, misshapen, weight

# An explicit registry retrieves nothing; jsonschema's own default fetches a remote `$ref` over the network.
_NOWHERE: Registry[Any] = Registry()
MAX_REASON = 200  # characters
MAX_STEPS = 5_000  # of one question at reading; an honest one takes some hundred
MAX_WEIGHT = (
    500  # values inside the arguments that a case expects; comparing all with all takes the square of it
)


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


def refused(schema: Mapping[str, Any], value: Any) -> str | None:
    """Return why a suite that expects `value` can be no suite, or None when the schema may accept it.

    For reading, where nothing cuts off what never ends: patterns and `$ref`s of the author's are followed in
    counted steps. What cannot be told so is left to the run, which has an alarm.
    """
    if weight(value) > MAX_WEIGHT:
        return f"more than {MAX_WEIGHT} values in one call"
    try:
        if accepts(dict(schema), value, Work(MAX_STEPS)) is False:
            return "the tool's own schema refuses them"
    except TooMuchWork:
        return f"the tool's own schema takes more than {MAX_STEPS:,} steps to say whether they fit"
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
