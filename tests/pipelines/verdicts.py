"""Suites and answers made up in memory, for the tests that judge them: nothing is asked of any engine."""

from collections.abc import Callable, Sequence
from typing import Any

from pipelines.suites.format import Suite, read
from pipelines.suites.judged import MEASURED, Comparison
from pipelines.suites.plan import BASELINE, CANDIDATE, Key, keys
from pipelines.suites.results import Attempt, Results
from tests.pipelines.test_suite_format import HELLO, TOML, WEATHER, files

BESIDE = Comparison(MEASURED, "compared with demo/tiny@1")
EVERY_CASE = 'cases.pass_rate = { min = "0.5" }'


def suite_of(gates: str, *, talk: int = 0, calls: int = 0, settings: str = "") -> Suite:
    """A suite of so many cases without a call and with one; the gates are written as in suite.toml."""
    made = [HELLO | {"id": f"talk-{number:03d}"} for number in range(talk)]
    made += [WEATHER | {"id": f"call-{number:03d}"} for number in range(calls)]
    toml = TOML.replace("cases = 2", f"cases = {talk + calls}\n{settings}")
    return read(files(*made, toml=f"{toml[: toml.index('[gates]')]}[gates]\n{gates}\n"))


def right(key: Key, **values: Any) -> Attempt:
    """An answer with which all is well."""
    settled: dict[str, Any] = {
        "outcome": "passed", "trouble": None, "reasons": (), "parsed": True, "valid": True, "request": "a" * 64,
        "milliseconds": 20, "finish_reason": "stop", "content": "snow", "calls": (),
    }  # fmt: skip
    return Attempt(**settled | values, **key._asdict())


def wrong(key: Key, **values: Any) -> Attempt:
    """An answer that a check refuses."""
    return right(key, **{"outcome": "failed", "reasons": ("answers: the answer has no words",)} | values)


def answers(
    suite: Suite,
    *,
    failed: Sequence[str] = (),
    pinned_failed: Sequence[str] | None = None,
    change: Callable[[Attempt], Attempt] = lambda attempt: attempt,
) -> Results:
    """Everything that the suite asks, answered; by the pinned version too if it is said what that got wrong."""
    sides = [CANDIDATE] if pinned_failed is None else [CANDIDATE, BASELINE]
    bad = {CANDIDATE: set(failed), BASELINE: set(pinned_failed or ())}
    made = [
        change(wrong(key) if key.case in bad[key.side] else right(key))
        for key in keys(suite, suite.cases, sides)
    ]
    return Results(tuple(made), (), None)


def first(count: int, kind: str = "talk") -> list[str]:
    """The ids of the first so many cases of a kind."""
    return [f"{kind}-{number:03d}" for number in range(count)]
