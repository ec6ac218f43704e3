"""A run as documents: the report's body, and the in-toto statements that are signed over it.

The report binds everything that a later question may ask: which version, suite, contract and engine profile,
which engine really answered with which files, each case, each gate, each reason. Texts and whole numbers
only, so that it has one canonical form.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from pipelines.engines.endpoint import Endpoint
from pipelines.engines.probe import EngineIdentity, Readiness
from pipelines.suites.format import Suite
from pipelines.suites.identity import Served
from pipelines.suites.judge import CaseResult, Verdict
from registry.entities import Document, Version
from signing import statements
from signing.times import rfc3339

FORMAT = "tidegate-validation/1"
SUITE_VOUCHED = "urn:tidegate:suite:v1"


@dataclass(frozen=True)
class Bound:
    """The four things that a run is about."""

    version: Version
    suite: Document
    contract: Document
    profile: Document


@dataclass(frozen=True)
class Observed:
    """What was seen of the engine, and how long everything took (milliseconds, monotonic)."""

    endpoint: Endpoint
    engine: EngineIdentity | None  # None: it did not even say what it is
    served: Served
    template: str  # own, other, unknown
    profile_mismatch: str | None
    ready: Readiness
    model: str
    milliseconds: int


def body(
    bound: Bound, suite: Suite, seen: Observed, verdict: Verdict, *, run: str, started: datetime, by: str
) -> dict[str, Any]:
    """Return the report, ready for `canonical_bytes`. `run` is random: two runs are two reports."""
    return {
        "format": FORMAT,
        "run": run,
        "version": {
            "model": bound.version.model,
            "ordinal": bound.version.ordinal,
            "digest": bound.version.digest,
        },
        "suite": {"name": suite.name, "digest": bound.suite.digest},
        "contract": {"name": bound.contract.name, "digest": bound.contract.digest},
        "profile": {"name": bound.profile.name, "digest": bound.profile.digest},
        "outcome": verdict.outcome,
        "reasons": list(verdict.reasons),
        "identity": {
            "state": seen.served.state,
            "why": seen.served.why,
            "files": [{"path": entry.path, "sha256": entry.sha256} for entry in seen.served.files],
        },
        "engine": _engine(seen),
        "settings": {
            "temperature": 0,
            "seed": suite.seed,
            "repeats": suite.repeats,
            "timeout_seconds": suite.timeout_seconds,
            "limit_seconds": suite.limit_seconds,
        },
        "counts": {
            "declared": suite.declared,
            "passed": verdict.passed,
            "failed": sum(case.complete and not case.passed for case in verdict.cases),
            "without_result": sum(not case.complete for case in verdict.cases),
        },
        "gates": [
            {
                "metric": gate.metric,
                "least": gate.least,
                "good": gate.good,
                "counted": gate.counted,
                "held": gate.held,
            }
            for gate in verdict.gates
        ],
        "cases": [_case(case) for case in verdict.cases],
        "started": rfc3339(started),
        "milliseconds": seen.milliseconds,
        "made_by": by,
    }


def _engine(seen: Observed) -> dict[str, Any]:
    engine = seen.engine
    return {
        "endpoint": "local" if seen.endpoint.is_local else "remote",
        "kind": engine.engine if engine else "unknown",
        "version": engine.version if engine else None,
        "template": {"sha256": engine.template_sha256 if engine else None, "whose": seen.template},
        "asked_for": seen.model,
        "profile_mismatch": seen.profile_mismatch,
        "ready": {"ready": seen.ready.ready, "milliseconds": seen.ready.milliseconds, "why": seen.ready.why},
    }


def _case(result: CaseResult) -> dict[str, Any]:
    return {
        "id": result.case.id,
        "cluster": result.case.cluster,
        "outcome": "passed" if result.passed else "failed" if result.complete else "without-result",
        "attempts": [
            {
                "outcome": attempt.outcome,
                "reasons": list(attempt.reasons),
                "request": attempt.request,
                "milliseconds": attempt.milliseconds,
                "finish_reason": attempt.finish_reason,
                "content": attempt.content,
                "calls": list(attempt.calls),
            }
            for attempt in result.attempts
        ],
    }


def result_statements(
    bound: Bound, verdict: Verdict, report: str, *, body: Mapping[str, Any], by: str, now: datetime
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the test-result statement that others read, and our own with the figures."""
    configuration = [
        (f"suite:{bound.suite.name}", bound.suite.digest),
        (f"contract:{bound.contract.name}", bound.contract.digest),
        (f"profile:{bound.profile.name}", bound.profile.digest),
        ("report", report),
    ]
    passed = [f"gate:{gate.metric}" for gate in verdict.gates if gate.held]
    failed = [f"gate:{gate.metric}" for gate in verdict.gates if not gate.held]
    return statements.validation(
        [(f"{bound.version.model}@{bound.version.ordinal}", bound.version.digest)],
        outcome=cast('Literal["PASSED", "FAILED", "INCONCLUSIVE"]', verdict.outcome),
        configuration=configuration,
        passed=[*passed, *(f"case:{case.case.id}" for case in verdict.cases if case.passed)],
        warned=[],
        failed=[*failed, *(f"case:{case.case.id}" for case in verdict.cases if not case.passed)],
        metrics={
            key: body[key] for key in ("counts", "gates", "identity", "engine", "settings", "milliseconds")
        },
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
