"""A run as documents: the report's body, and the in-toto statements that are signed over it.

The report binds everything that a later question may ask: which version, suite, contract and engine profile,
for which tier on what kind of node, which engines really answered with which files, each case with what was
said, each gate, each reason. Texts and whole numbers only, so that it has one canonical form.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from pipelines.suites.baseline import Baseline
from pipelines.suites.figures import gate_figures, metrics
from pipelines.suites.flips import Flips, count_flips
from pipelines.suites.format import Suite
from pipelines.suites.judge import CaseResult, Verdict
from pipelines.suites.look import Looked
from pipelines.suites.results import Attempt
from registry.entities import Document, Version
from signing import statements
from signing.times import rfc3339

FORMAT = "tidegate-validation/1"
SUITE_VOUCHED = "urn:tidegate:suite:v1"
MAX_TRANSCRIPTS = 4 << 20  # characters of all transcripts; lost, won and failed cases keep theirs first
# What our own statement carries of the report, besides its digest.
_FIGURES = (
    "tier", "node", "counts", "gates", "identity", "engine", "fingerprint", "settings", "milliseconds",
    "comparison", "baseline", "metrics", "lost", "won", "flips", "quarantined",
)  # fmt: skip


@dataclass(frozen=True)
class Bound:
    """What a run is about. `tier` is None for a run that was made for an engine profile alone."""

    version: Version
    suite: Document
    contract: Document
    profile: Document
    tier: str | None = None
    node: str = "unknown"  # the kind of machine that was measured, in words


@dataclass(frozen=True)
class Quarantined:
    """A case that a person set aside: the decision's digest, who, and why."""

    case: str
    decision: str
    person: str
    reason: str


@dataclass(frozen=True)
class Observed:
    """What was seen of the engines, and how long everything took (milliseconds, monotonic).

    `looked` is None for a suite that asks no engine.
    """

    looked: Looked | None
    baseline: Baseline
    template: str  # own, other, unknown
    milliseconds: int
    quarantined: Sequence[Quarantined] = ()
    resumed: bool = False  # it went on with what a killed run had left


def body(
    bound: Bound,
    suite: Suite,
    seen: Observed,
    verdict: Verdict,
    *,
    run: str,
    started: datetime,
    by: str,
    past: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the report, ready for `canonical_bytes`.

    Args:
        run: random, so that two runs are two reports.
        past: bodies of earlier runs of this suite on this version, for how often a case flips.
    """
    made = _body(bound, suite, seen, verdict, run=run, started=started, by=by)
    flips = count_flips([*past, made])
    return made | {"flips": [_flip(one) for one in flips if one.flaky]}


def _flip(one: Flips) -> dict[str, Any]:
    return {
        "case": one.case,
        "asked": one.asked,
        "right": one.right,
        "flipped": one.flipped,
        "runs": one.runs,
    }


def _body(
    bound: Bound, suite: Suite, seen: Observed, verdict: Verdict, *, run: str, started: datetime, by: str
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "run": run,
        "version": _version(bound.version),
        "suite": {"name": suite.name, "digest": bound.suite.digest},
        "contract": {"name": bound.contract.name, "digest": bound.contract.digest},
        "profile": {"name": bound.profile.name, "digest": bound.profile.digest},
        "tier": bound.tier,
        "node": bound.node,
        "outcome": verdict.outcome,
        "reasons": list(verdict.reasons),
        "identity": _identity(seen),
        "engine": None if seen.looked is None else _engine(seen.looked, seen.template),
        "fingerprint": None if seen.looked is None else dict(seen.looked.fingerprint.document()),
        "baseline": _baseline(seen.baseline),
        "comparison": {"state": verdict.comparison.state, "why": verdict.comparison.why},
        "settings": {
            "temperature": 0,
            "seed": suite.seed,
            "repeats": suite.repeats,
            "timeout_seconds": suite.timeout_seconds,
            "limit_seconds": suite.limit_seconds,
            "concurrency": suite.concurrency,
            "warmup": suite.warmup,
        },
        "counts": {
            "declared": suite.declared,
            "passed": verdict.passed,
            "failed": sum(case.complete and not case.passed for case in verdict.cases),
            "without_result": sum(not case.complete for case in verdict.cases),
        },
        "gates": [gate_figures(gate) for gate in verdict.gates],
        "metrics": metrics(verdict.cases),
        "lost": [case.case.id for case in verdict.lost],
        "won": [case.case.id for case in verdict.won],
        "quarantined": [
            {"case": one.case, "decision": one.decision, "person": one.person, "reason": one.reason}
            for one in seen.quarantined
        ],
        "cases": _cases(verdict.cases),
        "started": rfc3339(started),
        "milliseconds": seen.milliseconds,
        "resumed": seen.resumed,
        "made_by": by,
    }


def _version(version: Version) -> dict[str, Any]:
    return {"model": version.model, "ordinal": version.ordinal, "digest": version.digest}


def _identity(seen: Observed) -> dict[str, Any]:
    if seen.looked is None:
        return {
            "state": "proven",
            "why": "the version's own files were read, each by its digest",
            "files": [],
        }
    served = seen.looked.served
    return {
        "state": served.state,
        "why": served.why,
        "files": [{"path": entry.path, "sha256": entry.sha256} for entry in served.files],
    }


def _engine(looked: Looked, template: str) -> dict[str, Any]:
    engine = looked.engine
    return {
        "endpoint": "local" if looked.endpoint.is_local else "remote",
        "kind": engine.engine if engine else "unknown",
        "version": engine.version if engine else None,
        "template": {"sha256": engine.template_sha256 if engine else None, "whose": template},
        "asked_for": looked.model,
        "profile_mismatch": looked.mismatch,
        "ready": {
            "ready": looked.ready.ready,
            "milliseconds": looked.ready.milliseconds,
            "why": looked.ready.why,
        },
    }


def _baseline(baseline: Baseline) -> dict[str, Any] | None:
    if baseline.version is None:
        return None
    looked = baseline.looked
    return {
        "version": _version(baseline.version),
        "endpoint": None if looked is None else "local" if looked.endpoint.is_local else "remote",
        "engine": None if looked is None else dict(looked.fingerprint.document()),
        "identity": "not-proven" if looked is None else looked.served.state,
    }


# -- cases ----------------------------------------------------------------------------------------------


def _cases(results: Sequence[CaseResult]) -> list[dict[str, Any]]:
    room = _Room(MAX_TRANSCRIPTS)
    telling = sorted(results, key=lambda case: (not (case.lost or case.won), case.passed))
    made = {result.case.id: _case(result, room) for result in telling}
    return [made[result.case.id] for result in results]


class _Room:
    """What is left for transcripts: a case's are kept whole or not at all."""

    def __init__(self, characters: int) -> None:
        self._left = characters

    def take(self, attempts: Sequence[Attempt]) -> bool:
        """Whether they fit; then the room is smaller by them."""
        needed = sum(len(text) for attempt in attempts for text in attempt.messages)
        if needed > self._left:
            return False
        self._left -= needed
        return True


def _case(result: CaseResult, room: _Room) -> dict[str, Any]:
    told = room.take([*result.attempts, *result.baseline])
    found: dict[str, Any] = {
        "id": result.case.id,
        "cluster": result.case.cluster,
        "outcome": "passed" if result.passed else "failed" if result.complete else "without-result",
        "quarantined": result.quarantined,
        "attempts": [_attempt(attempt, told) for attempt in result.attempts],
    }
    if result.baseline:
        found["pinned"] = {
            "outcome": "passed"
            if result.baseline_passed
            else "failed"
            if result.baseline_complete
            else "without-result",
            "attempts": [_attempt(attempt, told) for attempt in result.baseline],
        }
    return found


def _attempt(attempt: Attempt, told: bool) -> dict[str, Any]:
    return {
        "outcome": attempt.outcome,
        "surface": attempt.surface,
        "stream": attempt.stream,
        "reasons": list(attempt.reasons),
        "request": attempt.request,
        "milliseconds": attempt.milliseconds,
        "ttft_ms": attempt.ttft_ms,
        "output_tokens": attempt.output_tokens,
        "finish_reason": attempt.finish_reason,
        "content": attempt.content,
        "calls": list(attempt.calls),
        "messages": list(attempt.messages) if told else None,
    }


# -- statements -----------------------------------------------------------------------------------------


def result_statements(
    bound: Bound, verdict: Verdict, report: str, *, body: Mapping[str, Any], by: str, now: datetime
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the test-result statement that others read, and our own with the figures.

    A case that a person set aside and that failed is a warning there: it did not pass, and it does not gate.
    """
    configuration = [
        (f"suite:{bound.suite.name}", bound.suite.digest),
        (f"contract:{bound.contract.name}", bound.contract.digest),
        (f"profile:{bound.profile.name}", bound.profile.digest),
        ("report", report),
    ]
    passed = [f"gate:{gate.metric}" for gate in verdict.gates if gate.held]
    failed = [f"gate:{gate.metric}" for gate in verdict.gates if not gate.held]
    wrong = [case for case in verdict.cases if not case.passed]
    return statements.validation(
        [(f"{bound.version.model}@{bound.version.ordinal}", bound.version.digest)],
        outcome=cast('Literal["PASSED", "FAILED", "INCONCLUSIVE"]', verdict.outcome),
        configuration=configuration,
        passed=[*passed, *(f"case:{case.case.id}" for case in verdict.cases if case.passed)],
        warned=[f"case:{case.case.id}" for case in wrong if case.quarantined],
        failed=[*failed, *(f"case:{case.case.id}" for case in wrong if not case.quarantined)],
        metrics={key: body[key] for key in _FIGURES},
        report=report,
        made_by=by,
        made_at=now,
    )


def suite_statement(suite: Suite, digest: str, *, home: str, by: str) -> dict[str, Any]:
    """Say that this home has taken the suite in: the statement without which it is not run here."""
    predicate = {"name": suite.name, "cases": suite.declared, "home": home, "addedBy": by}
    return statements.statement(SUITE_VOUCHED, [(f"suite:{suite.name}", digest)], predicate)


def vouched_digest(payload: bytes) -> str | None:
    """Return the digest of the suite that a statement vouches for, None for another kind. Raises `NotCanonical`."""
    read = statements.read_statement(payload)
    return read.subjects[0][1] if read.predicate_type == SUITE_VOUCHED else None
