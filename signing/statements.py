"""in-toto statements: what was done to which bytes, in a shape that others' tools read.

A statement names its subjects by SHA-256 and says one thing about them, its predicate. It is stored as readable
JSON and signed beside (`signing.envelope`, payload type `PAYLOAD_TYPE`). Builders here fix the field names once;
values are checked for having one byte form, so no floats: rates are whole numbers per million.

Sources: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md, https://slsa.dev/spec/v1.0/provenance,
https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from signing.canonical import NotCanonical, canonical_bytes, parse
from signing.digests import is_sha256
from signing.times import rfc3339

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
PROVENANCE = "https://slsa.dev/provenance/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
# Our own types. A type is a URI that need not resolve; this project owns no domain, and a URN claims none.
VALIDATION_RUN = "urn:tidegate:validation-run:v1"
APPROVAL = "urn:tidegate:approval:v1"
PIN = "urn:tidegate:pin:v1"
IMPORT = "urn:tidegate:import:v1"
BUILD_TYPES = {"fetch": "urn:tidegate:fetch:v1", "add": "urn:tidegate:add:v1"}

MAX_STATEMENT = 16 << 20  # bytes; a provenance of 10,000 files is 2 MiB

Subjects = Sequence[tuple[str, str]]  # (name, 64 hex digits of SHA-256)
Outcome = Literal["PASSED", "WARNED", "FAILED", "INCONCLUSIVE"]


@dataclass(frozen=True)
class Statement:
    """A statement as read: authenticate its bytes before believing any of it."""

    predicate_type: str
    subjects: tuple[tuple[str, str], ...]  # (name, sha256); the name may be empty
    predicate: Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """Something that went into a version, such as the repository at a commit, or one of its files."""

    uri: str
    digest: Mapping[str, str]  # algorithm to hex, such as {"gitCommit": …} or {"sha256": …}


def statement(predicate_type: str, subjects: Subjects, predicate: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Statement v1, ready for `canonical_bytes` or `pretty_bytes`.

    Raises:
        NotCanonical: no subject, a digest that is none, or a predicate without one byte form.
    """
    if not subjects:
        raise NotCanonical("a statement is about something", at="statement.subject")
    for number, (_, digest) in enumerate(subjects):
        if not is_sha256(digest):
            raise NotCanonical("not 64 hex digits of SHA-256", at=f"statement.subject[{number}].digest")
    made = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in subjects],
        "predicateType": predicate_type,
        "predicate": dict(predicate),
    }
    canonical_bytes(made)
    return made


def read_statement(data: bytes, *, at: str = "statement") -> Statement:
    """Read a statement of any predicate type, in any spacing; unknown fields are ignored, as in-toto asks.

    Raises:
        NotCanonical: not JSON, not a Statement v1, or a subject without a SHA-256.
    """
    raw = parse(data, max_bytes=MAX_STATEMENT, at=at)
    if not isinstance(raw, dict) or raw.get("_type") != STATEMENT_TYPE:
        raise NotCanonical(f"not a {STATEMENT_TYPE}", at=f"{at}._type")
    predicate_type, predicate, subjects = (raw.get(key) for key in ("predicateType", "predicate", "subject"))
    if not isinstance(predicate_type, str) or not predicate_type:
        raise NotCanonical("not a type URI", at=f"{at}.predicateType")
    if not isinstance(predicate, dict):
        raise NotCanonical("not an object", at=f"{at}.predicate")
    if not isinstance(subjects, list) or not subjects:
        raise NotCanonical("not a list of at least one subject", at=f"{at}.subject")
    read = tuple(_subject(item, at=f"{at}.subject[{number}]") for number, item in enumerate(subjects))
    return Statement(predicate_type, read, predicate)


def provenance(
    subjects: Subjects,
    *,
    how: Literal["fetch", "add"],
    parameters: Mapping[str, Any],
    sources: Sequence[Source],
    home: str,
    tool_version: str,
    started: datetime,
    finished: datetime,
) -> dict[str, Any]:
    """Where a version's bytes came from: SLSA provenance v1 with a build that only copies.

    Args:
        parameters: what was asked for, such as `{"repository": …, "revision": …}` or `{"folder": …}`.
        sources: what was found there.
        home: the origin's name.
    """
    definition = {
        "buildType": BUILD_TYPES[how],
        "externalParameters": dict(parameters),
        "resolvedDependencies": [{"uri": one.uri, "digest": dict(one.digest)} for one in sources],
    }
    details = {
        "builder": {"id": f"urn:tidegate:home:{home}", "version": {"tidegate": tool_version}},
        "metadata": {"startedOn": rfc3339(started), "finishedOn": rfc3339(finished)},
    }
    return statement(PROVENANCE, subjects, {"buildDefinition": definition, "runDetails": details})


def validation(
    subjects: Subjects,
    *,
    outcome: Outcome,
    configuration: Sequence[tuple[str, str]],
    passed: Sequence[str],
    warned: Sequence[str],
    failed: Sequence[str],
    metrics: Mapping[str, Any],
    report: str,
    made_by: str,
    made_at: datetime,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a suite found, twice: test-result v0.1 for others' tools, and our metrics beside it.

    test-result knows no INCONCLUSIVE; what is not shown to pass is a failure there.

    Args:
        configuration: (name, sha256) of suite, contract, engine profile and whatever else the run was bound to.
        metrics: settings, seeds and figures; whole numbers and texts.
        report: SHA-256 of the full report.
    """
    bound = [{"name": name, "digest": {"sha256": digest}} for name, digest in configuration]
    result = {
        "result": "FAILED" if outcome == "INCONCLUSIVE" else outcome,
        "configuration": bound,
        "passedTests": list(passed),
        "warnedTests": list(warned),
        "failedTests": list(failed),
    }
    run = {
        "outcome": outcome,
        "configuration": bound,
        "metrics": dict(metrics),
        "report": {"sha256": report},
        "madeBy": made_by,
        "madeAt": rfc3339(made_at),
    }
    return statement(TEST_RESULT, subjects, result), statement(VALIDATION_RUN, subjects, run)


def approval(
    subjects: Subjects,
    *,
    request: Mapping[str, Any],
    payload: str,
    person: str,
    fingerprint: str,
    recorded_at: datetime,
    decision: str = "approve",
) -> dict[str, Any]:
    """That a home took in a person's signed answer, approve or reject: `payload` is the SHA-256 of the bytes they signed."""
    signed = {"sha256": payload}
    predicate = {"decision": decision, "request": dict(request), "payload": signed}
    by = {"person": person, "key": fingerprint, "recordedAt": rfc3339(recorded_at)}
    return statement(APPROVAL, subjects, predicate | by)


def pin(
    subjects: Subjects,
    *,
    tier: str,
    model: str,
    position: int,
    kind: Literal["promote", "rollback"],
    previous: str | None,
    state: Mapping[str, str | None],
    evidence: Sequence[str],
    reason: str,
    actor: str,
    at: datetime,
) -> dict[str, Any]:
    """What a tier serves from now on.

    Args:
        previous: digest of the version it served before, None for the first pin.
        state: digests of the set beside the version: contract, profile, router, companions.
        evidence: digests of every report and approval that the gate counted.
    """
    place = {"tier": tier, "model": model, "position": position, "kind": kind, "previous": previous}
    why = {"state": dict(state), "evidence": list(evidence), "reason": reason}
    return statement(PIN, subjects, place | why | {"actor": actor, "at": rfc3339(at)})


def imported(
    subjects: Subjects,
    *,
    bundle: str,
    sequence: int,
    export: str,
    trust: Mapping[str, int],
    size: int,
    actor: str,
    at: datetime,
) -> dict[str, Any]:
    """That a bundle's versions were taken in here.

    Args:
        export: SHA-256 of the export document.
        trust: role to metadata version, as verified.
        size: bytes that were read from the media.
    """
    what = {"bundle": bundle, "sequence": sequence, "export": {"sha256": export}, "trust": dict(trust)}
    return statement(IMPORT, subjects, what | {"bytes": size, "actor": actor, "at": rfc3339(at)})


def _subject(raw: Any, *, at: str) -> tuple[str, str]:
    digests = raw.get("digest") if isinstance(raw, dict) else None
    if not isinstance(digests, dict) or not is_sha256(digests.get("sha256")):
        raise NotCanonical("no SHA-256", at=f"{at}.digest")
    name = raw.get("name", "")
    if not isinstance(name, str):
        raise NotCanonical("not text", at=f"{at}.name")
    return name, digests["sha256"]
