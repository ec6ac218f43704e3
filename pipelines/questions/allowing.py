"""Why a tier may serve what it serves: the gate's signed answer, and every piece of evidence, looked at again.

After a rollback the answer is the one of the promotion that it went back to: going back asks no gate.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.questions.judging import Judgement, judge_again, withdrawn_before
from pipelines.questions.proving import Proof, Prover, predicate_of
from pipelines.questions.reading import members
from pipelines.questions.serving import Served, evidence_of, served_once
from pipelines.workplace import Workplace
from registry import manifests
from registry.audit import EventKind
from registry.decisions import Kind
from registry.entities import ApprovalRequest, Decision, Pin, Row, Statement, TierPolicy, Version
from registry.views import View
from signing import statements, summaries
from signing.digests import sha256_hex
from signing.errors import OperatorError

_LET_PASS = (Kind.WAIVE_FINDING, Kind.ACCEPT_LICENCE, Kind.QUARANTINE_CASE, Kind.ALLOW_PYTHON)


@dataclass(frozen=True)
class Allowed:
    """Why a version may serve."""

    served: Served
    judged: Pin  # the promotion that the gate answered: another line than `served` after a rollback
    policy: dict[str, Any] | None  # of the tier, as it was judged by
    checks: tuple[str, ...]  # that the gate made
    verdict: str | None  # PASSED, FAILED (overridden), None before there were summaries
    overridden: tuple[str, ...]
    counted: tuple[str, ...]  # whose approvals counted then, judged again now
    proofs: tuple[Proof, ...]
    problems: tuple[str, ...]  # pieces that do not fit each other

    @property
    def verified(self) -> bool:
        """Whether everything that the answer rests on holds now."""
        return not self.doubts

    @property
    def doubts(self) -> list[str]:
        """What does not hold, in words."""
        line = [self.served.problem] if self.served.problem else []
        return [*line, *(proof.doubt for proof in self.proofs if not proof.verified), *self.problems]

    def document(self) -> dict[str, Any]:
        """The answer for programs."""
        return {
            "served": self.served.document(),
            "judged": {"position": self.judged.position, "since": self.judged.since},
            "policy": self.policy,
            "checks": list(self.checks),
            "verdict": self.verdict,
            "overridden": list(self.overridden),
            "counted": list(self.counted),
            "evidence": [proof.document() for proof in self.proofs],
            "problems": list(self.problems),
            "verified": self.verified,
        }


def why(work: Workplace, view: View, tier: str, model: str, *, at: str | None = None) -> Allowed:
    """Say why a tier serves, or served, what it does. Raises `NotFound`."""
    prover = Prover(work, view)
    line, lines = served_once(prover, view, tier, model, at=at)
    return allowed(prover, view, line, lines)


def allowed(prover: Prover, view: View, line: Served, lines: Sequence[Pin]) -> Allowed:
    """Say why one line of a tier's history stands.

    Args:
        lines: the whole history of the same tier and model.
    """
    judged = judged_line(line.pin, lines)
    ours = list(_own_statements(view, line.pin, judged))
    predicate = _answered(ours)
    policy = _policy(view, judged, predicate)
    judgement = judged_again(prover, view, line.pin, lines)
    proofs = [prover.row(row) for row in _rows(prover, view, judged, policy)]
    proofs += [prover.prove(digest) for digest in _digests(judged)]
    proofs += [prover.row(row, ours=True) for row in ours]
    return Allowed(
        served=line,
        judged=judged,
        policy=dict(members(policy.body)) if policy else None,
        checks=tuple(_checks(prover, judged)),
        verdict=predicate.get("verificationResult"),
        overridden=tuple(predicate.get(summaries.OVERRIDDEN, ())),
        proofs=tuple({(proof.kind, proof.digest, proof.said): proof for proof in proofs}.values()),
        counted=judgement.people,
        problems=(*_misfits(judged, predicate, policy), *judgement.problems),
    )


def judged_again(prover: Prover, view: View, pin: Pin, lines: Sequence[Pin]) -> Judgement:
    """Judge a line by what was on record then: the promotion that it rests on, and whether it was withdrawn since."""
    judged = judged_line(pin, lines)
    said = _answered(list(_own_statements(view, pin, judged)))
    found = judge_again(prover, view, judged, said)
    withdrawn = withdrawn_before(prover, view, pin) if judged is not pin else None
    if withdrawn is None:
        return found
    return replace(
        found, problems=(*found.problems, f"it had been withdrawn before the way back: {withdrawn}")
    )


def judged_line(pin: Pin, lines: Sequence[Pin]) -> Pin:
    """Return the promotion whose gate a line rests on: itself, or what it went back to."""
    if pin.kind != "rollback":
        return pin
    same = [
        row
        for row in lines
        if row.position < pin.position and row.kind == "promote" and _set_of(row) == _set_of(pin)
    ]
    return same[-1] if same else pin


def _set_of(pin: Pin) -> tuple[str | None, ...]:
    """What a rollback takes over as it was."""
    return (
        pin.version, pin.contract, pin.profile, pin.router, pin.companions, pin.evidence, pin.override,
    )  # fmt: skip


def requests_of(view: View, pin: Pin) -> list[ApprovalRequest]:
    """What people were asked about a version before it was pinned, oldest first."""
    return [row for row in view.approval_requests(pin.version, pin.tier) if row.since <= pin.since]


def _rows(prover: Prover, view: View, judged: Pin, policy: TierPolicy | None) -> Iterator[Row]:
    """Evidence that is no item of the line's own list: the version, the policy, what was asked, what was let pass."""
    versions = [row for row in view.versions(judged.model) if row.digest == judged.version]
    yield from versions
    if policy is not None:
        yield policy
        yield from _behind(prover, view, policy)
    yield from requests_of(view, judged)
    for version in versions:
        yield from _let_pass(view, judged, version)


def _behind(prover: Prover, view: View, policy: TierPolicy) -> Iterator[Row]:
    """The file that a policy was put in force with, and who signed that file before; nothing at the founding."""
    event = prover.recorded.trace(policy).event
    for entry in prover.recorded.entries(kind=EventKind.POLICY_ADDED):
        if entry.position == event:
            document = view.document_by_digest(entry.subject)
            yield from [document] if document else []
            signed = view.decisions(str(Kind.APPLY_POLICY), entry.subject)
            yield from (row for row in signed if row.made_at <= entry.at)


def _let_pass(view: View, judged: Pin, version: Version) -> Iterator[Decision]:
    """Decisions of before that bear on the version: about one of its files, its licence, or named by a report."""
    try:
        manifest = manifests.decode(version.manifest.encode())
    except OperatorError:
        return  # edited; its proof says so
    about = {*(entry.sha256 for entry in manifest.files), *manifest.licence.ids}
    evidence = set(evidence_of(judged))
    reports = [row.body for row in view.reports(version.digest) if row.digest in evidence]
    for kind in _LET_PASS:
        for row in view.decisions(str(kind)):
            named = row.subject in about or any(row.digest in body for body in reports)
            if named and row.made_at <= judged.since:
                yield row


def _digests(judged: Pin) -> list[str]:
    documents = (judged.contract, judged.profile, judged.router, judged.companions, judged.override)
    return list(dict.fromkeys([*evidence_of(judged), *(one for one in documents if one)]))


def _own_statements(view: View, pin: Pin, judged: Pin) -> Iterator[Statement]:
    """What this home signed about the lines. What came along with a bundle is no word of this home."""
    claimed = {claim.statement for claim in view.claims(pin.version)}
    for row in view.statements(pin.version):
        if row.digest not in claimed and (
            _is_pin(row, pin) or _is_pin(row, judged) or _is_answer(row, judged)
        ):
            yield row


def _answered(ours: Sequence[Statement]) -> dict[str, Any]:
    """The gate's answer; nothing where there is none."""
    summary = next((row for row in ours if row.predicate == summaries.VSA), None)
    return predicate_of(summary) if summary else {}


def _is_pin(row: Statement, pin: Pin) -> bool:
    said = predicate_of(row) if row.predicate == statements.PIN else {}
    place = (said.get("tier"), said.get("model"), said.get("position"))
    return place == (pin.tier, pin.model, pin.position)


def _is_answer(row: Statement, judged: Pin) -> bool:
    said = predicate_of(row) if row.predicate == summaries.VSA else {}
    place = str(said.get("resourceUri", "")).removeprefix("tidegate://").partition("/")[2]
    inputs = [one.get("digest", {}).get("sha256") for one in said.get("inputAttestations", [])]
    return (place, said.get("timeVerified"), inputs) == (
        f"{judged.tier}/{judged.model}",
        judged.since,
        evidence_of(judged),
    )


def _policy(view: View, judged: Pin, predicate: dict[str, Any]) -> TierPolicy | None:
    """The policy that the gate judged by: the one that its answer names, else the last of before."""
    rows = [row for row in view.tier_history(judged.tier) if row.since <= judged.since]
    named = predicate.get("policy", {}).get("digest", {}).get("sha256")
    meant = [row for row in rows if sha256_hex(row.body.encode()) == named]
    return next(reversed(meant or rows), None)


def _checks(prover: Prover, judged: Pin) -> list[str]:
    event = prover.row(judged).event
    for entry in prover.recorded.entries(subject=judged.version):
        if entry.position == event:
            return [str(name) for name in entry.note.get("gate", [])]
    return []


def _misfits(judged: Pin, predicate: dict[str, Any], policy: TierPolicy | None) -> Iterator[str]:
    named = predicate.get("policy", {}).get("digest", {}).get("sha256")
    if named is not None and (policy is None or sha256_hex(policy.body.encode()) != named):
        yield "the policy that the gate's answer names is not held here any more"
    if judged.override and predicate.get("verificationResult") == "PASSED":
        yield "the line rests on break-glass, and the gate's answer says PASSED"
    if not judged.override and predicate.get("verificationResult", "PASSED") != "PASSED":
        yield "the gate's answer does not say PASSED, and the line rests on no break-glass"
    if judged.kind == "rollback":
        yield "the promotion that this line went back to is not held here any more"
