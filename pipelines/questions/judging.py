"""Whether a promotion was allowed, judged again from what was on record before it: the gate's word is not believed.

Whoever has the station's key can append a line and a gate's answer that says PASSED. What they cannot make is other
people's signatures. So the part of the gate that rests on people and on what they saw is asked anew, by the rule that
promotes (`registry.approvals.judge`), with the people, policy and evidence of then: approvals, rejections, suites, the
scan, withdrawal, break-glass. What hangs on this release's own tables and on the machine's memory is not asked again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines import outlived, policy_ground
from pipelines.break_glass import demand_keys
from pipelines.case import once_in_force, rules_of, took_part
from pipelines.decide import card_issuers, signers
from pipelines.intake.record import read_scan_report
from pipelines.questions.proving import Prover
from pipelines.questions.reading import members, page_of, texts
from pipelines.questions.then import Then
from pipelines.workplace import Workplace
from registry import approvals, approvals_payload, decisions, manifests
from registry.approvals import ApprovalJudgement, Terms
from registry.approvals_payload import REJECT, ApprovalUnreadable
from registry.audit import Entry
from registry.decisions import DecisionUnreadable, Kind, Request
from registry.entities import Approval, Decision, Pin, Report, TierPolicy, Version
from registry.errors import NotFound
from registry.policy import Policy
from registry.signed import Signed
from registry.views import View
from signing import summaries
from signing.digests import sha256_hex
from signing.errors import OperatorError
from signing.person_signature import PersonSignatureUncheckable, PersonSignatureWrong
from signing.times import from_rfc3339

_OWN = (Approval.label, Decision.label)  # people's own words among the evidence: nobody signs for another's


@dataclass(frozen=True)
class Judgement:
    """What the gate would have said."""

    policy: TierPolicy | None  # that was in force then
    needed: int  # people
    counted: tuple[str, ...]  # digests of the approvals that counted, among those that the line names
    people: tuple[str, ...]  # who made them
    problems: tuple[str, ...]  # why the line should not have been; none: it was allowed

    @property
    def short(self) -> str | None:
        """How many approvals are missing, in words; None when there are enough."""
        return (
            None
            if len(self.counted) >= self.needed
            else f"{len(self.counted)} of {self.needed} approvals count"
        )


def judge_again(prover: Prover, view: View, pin: Pin, said: Mapping[str, Any]) -> Judgement:
    """Judge a promotion by what was on record before it.

    Args:
        pin: the line that the gate answered; of a rollback, the one that it went back to.
        said: the gate's signed answer about it; empty where there is none.
    """
    return _Again(prover, view, pin, said).judgement()


def withdrawn_before(prover: Prover, view: View, pin: Pin) -> str | None:
    """Why the version of a line had been withdrawn when it was pinned; None if it had not."""
    return Then(view, prover.recorded, prover.row(pin).event).withdrawn(pin.version)


class _Again:
    def __init__(self, prover: Prover, view: View, pin: Pin, said: Mapping[str, Any]) -> None:
        self.prover, self.pin, self.said, self.evidence = prover, pin, said, texts(pin.evidence)
        entry = _entry(prover, pin)
        self.then = Then(view, prover.recorded, entry.position if entry else None)
        self.at = from_rfc3339(self.then.moment(entry.at if entry else pin.since))
        self.work: Workplace = replace(prover.work, now=self.at)
        self.version = self.then.version_by_digest(pin.version)

    def judgement(self) -> Judgement:
        try:
            row = policy_ground.standing(self.work, self.then, self.pin.tier)
            rules = rules_of(self.work, self.then, self.pin.tier)
        except NotFound:
            return Judgement(None, 0, (), (), ("no policy of the tier was in force then",))
        if self.version is None:
            return Judgement(row, rules.approvals, (), (), ("the version was not here then",))
        found = self._judge(row, rules, self.version)
        counted = [one for one in found.counted if sha256_hex(one.approval.payload) in self.evidence]
        made = Judgement(
            row,
            rules.approvals,
            tuple(sha256_hex(one.approval.payload) for one in counted),
            tuple(one.person for one in counted),
            (),
        )
        return replace(made, problems=tuple(self._problems(made, rules, self.version, found)))

    # -- approvals and rejections ---------------------------------------------------------------------------

    def _judge(self, row: TierPolicy, rules: Policy, version: Version) -> ApprovalJudgement:
        rows = self.then.approvals(version.digest, rules.tier)
        requests = self.then.approval_requests(version.digest, rules.tier)
        pages = {one.digest: page for one in requests if (page := page_of(one)) is not None}
        solo = self.work.home.profile == "solo"
        terms = Terms(
            digest=version.digest,
            tier=rules.tier,
            site=self.work.home.name,
            evidence=self._covered(),
            last_evidence_at=from_rfc3339(max([version.added_at, *(one.made_at for one in self._reports())])),
            needed=rules.approvals,
            now=self.at,
            excluded=set() if solo else took_part(self.then, version, requests),
            require_hardware=rules.hardware_keys,
            require_pin=rules.hardware_keys,
            methods=rules.approval_methods,
            spent=self._spent(rows),
            policy=sha256_hex(row.body.encode()),
            shown={digest: sha256_hex(page.encode()) for digest, page in pages.items()},
            cards=card_issuers(self.work, self.then),
        )
        answers = [Signed(one.payload.encode(), one.signature, one.person) for one in rows]
        formerly = once_in_force(self.work, self.then, {one.person for one in rows if one.decision == REJECT})
        return approvals.judge(answers, signers(self.work, self.then), terms, formerly=formerly)

    def _covered(self) -> set[str]:
        """What an approval has to have been made in view of: all that the line rests on but people's own words."""
        parts = (self.pin.contract, self.pin.profile, self.pin.router, self.pin.companions)
        rests = {one for one in self.evidence if self.prover.prove(one).kind not in _OWN}
        return {*rests, *(one for one in parts if one), *(one.digest for one in self._scans())}

    def _reports(self) -> list[Report]:
        return [row for row in self.then.reports(self.pin.version) if row.digest in self.evidence]

    def _scans(self) -> list[Report]:
        return self.then.reports(self.pin.version, "scan")[-1:]

    def _spent(self, rows: Sequence[Approval]) -> set[str]:
        """Nonces of approvals that an earlier line of the tier used up."""
        lines = self.then.pin_history(self.pin.tier, self.pin.model, self.pin.version)
        used, found = {digest for line in lines for digest in texts(line.evidence)}, set()
        for row in rows:
            try:
                found |= (
                    {approvals_payload.decode(row.payload.encode())[0].nonce} if row.digest in used else set()
                )
            except ApprovalUnreadable:
                continue  # it counts for nothing anyway
        return found

    # -- what is against it -----------------------------------------------------------------------------------

    def _problems(
        self, made: Judgement, rules: Policy, version: Version, found: ApprovalJudgement
    ) -> Iterator[str]:
        passed, broken = self._override(rules)
        yield from broken
        if made.short is not None and "approvals" not in passed:
            named = [one for one in found.refused if one.approval.digest in self.evidence]
            yield "; ".join([made.short, *(f"not counted: {one}" for one in named)])
        yield from (f"pinned past a rejection: {no}" for no in found.rejections)
        yield from self._unheard()
        withdrawn = self.then.withdrawn(version.digest)
        if withdrawn is not None:
            yield f"it had been withdrawn: {withdrawn}"
        for name, problem in ((name, self._suite(name)) for name in rules.suites):
            if problem is not None and (f"suite {name}" not in passed or problem.startswith("FAILED")):
                yield f"suite {name}: {problem}"
        yield from self._scan(rules, version)
        yield from self._other_policy(made.policy)

    def _unheard(self) -> Iterator[str]:
        """A "no" that the log told of, and that its table does not have as it was: it may still have stood."""
        held = {row.digest for row in self.then.approvals(self.pin.version, self.pin.tier)}
        for entry in self.then.events(subject=self.pin.version):
            for label, said in entry.rows:
                about = (label, said.get("tier"), said.get("decision"))
                if about == (Approval.label, self.pin.tier, REJECT) and said["digest"] not in held:
                    yield f"what {said['person']} said (reject), recorded by event {entry.position}, is not held as it was"

    def _suite(self, name: str) -> str | None:
        """What is against a demanded suite; None when its newest run was PASSED and is part of the evidence."""
        meant = self.then.meaning("suite", name)
        rows = [row for row in self.then.reports(self.pin.version, "validation") if row.suite == meant]
        found = [row for row in rows if members(row.body).get("tier") == self.pin.tier] or rows
        if not found:
            return "it had not been run on this version"
        newest = found[-1]
        if newest.outcome != "PASSED":
            return f"{newest.outcome} in its newest run"
        return None if newest.digest in self.evidence else "its newest run is not among the evidence"

    def _scan(self, rules: Policy, version: Version) -> Iterator[str]:
        for row in self._scans():
            if row.digest not in self.evidence:
                yield "the newest scan is not among the evidence"
            try:
                result, manifest = read_scan_report(row), manifests.decode(version.manifest.encode())
            except OperatorError:
                return  # edited; its proof says so
            against = [f"{item.path}: {item.message}" for item in result.at_least(rules.block)]
            against += outlived.waivers(self.work, self.then, result, rules, manifest)
            yield from (f"pinned past what the scan found: {one}" for one in against)
            return
        yield "it had not been scanned here"

    def _other_policy(self, policy: TierPolicy | None) -> Iterator[str]:
        said = self.said.get("policy")
        named = said.get("digest", {}).get("sha256") if isinstance(said, dict) else None
        if policy is None or named in (None, sha256_hex(policy.body.encode())):
            return
        place = f"policy {policy.position} of {policy.tier}"
        why = [
            one
            for one in policy_ground.walked(self.work, self.then).passed_over
            if f" of {policy.tier} " in one
        ]
        yield "; ".join(
            [f"the gate's answer names another policy than {place}, which was in force then", *why]
        )

    # -- break-glass ------------------------------------------------------------------------------------------

    def _override(self, rules: Policy) -> tuple[frozenset[str], list[str]]:
        """The checks that a steward overrode with their own signature; and what is against that."""
        nothing = frozenset[str]()
        if self.pin.override is None:
            return nothing, []
        try:
            request = self._broken(rules)
        except (DecisionUnreadable, PersonSignatureWrong, PersonSignatureUncheckable, NotFound) as refusal:
            return nothing, [f"the break-glass does not count: {refusal}"]
        about = (request.kind, request.subject, request.details.get("tier"), request.details.get("model"))
        if about != (Kind.BREAK_GLASS, self.pin.version, self.pin.tier, self.pin.model):
            return nothing, ["the break-glass is about something else"]
        if any(line.override == self.pin.override for line in self.then.pin_history()):
            return nothing, ["the break-glass was used for a promotion before"]
        checks = frozenset(map(str, request.details.get("checks", ())))
        said = self.said.get(summaries.OVERRIDDEN, [])
        return checks, [] if set(said) <= checks else [
            "the break-glass names other checks than the gate's answer"
        ]

    def _broken(self, rules: Policy) -> Request:
        for row in self.then.decisions(str(Kind.BREAK_GLASS)):
            if row.digest == self.pin.override:
                signed = Signed(row.payload.encode(), row.signature, row.person)
                request, _ = decisions.authenticate(
                    signed,
                    signers(self.work, self.then),
                    home=self.work.home.name,
                    now=self.at,
                    cards=card_issuers(self.work, self.then),
                )
                demand_keys(self.work, self.then, signed, request, rules)
                return request
        raise NotFound("break-glass", str(self.pin.override))


def _entry(prover: Prover, pin: Pin) -> Entry | None:
    """The event that recorded a line."""
    event = prover.row(pin).event
    return next((one for one in prover.recorded.entries(subject=pin.version) if one.position == event), None)
