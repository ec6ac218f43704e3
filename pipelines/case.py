"""One version before one tier's gate: loads everything that the gate looks at, and asks it.

`case` is the one loader: the dry run, an approval's list of evidence, a policy's rehearsal and the promotion itself
all look through it, so that nobody approves other evidence than the gate reads.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from pipelines import policy_ground, template_served
from pipelines.decide import card_issuers, people, signers
from pipelines.fitting import contract_fact, engine_fact, memory_fact, way_back
from pipelines.intake.record import read_scan_report
from pipelines.people_ground import registered
from pipelines.removed import demand_bytes
from pipelines.rollout.durations import durations
from pipelines.workplace import Workplace
from registry import approval_requests, approvals, authority, gate, manifests, policy
from registry.approvals import CLOCK_SKEW, ApprovalJudgement, Terms
from registry.approvals_payload import REJECT
from registry.entities import Approval, ApprovalRequest, Report, RouterSetting, TierPolicy, Version
from registry.errors import NotFound
from registry.gate_facts import ContractFact, Facts, Finding, ScanFact, SuiteFact
from registry.names import Ref
from registry.signed import Signed
from registry.views import View
from signing.canonical import parse
from signing.digests import sha256_hex
from signing.times import from_rfc3339

_DOCUMENT_BYTES = 64 << 20
T = TypeVar("T")
_UNKNOWN = ContractFact("unknown", (), (), ())


@dataclass(frozen=True)
class Case:
    """One version before one tier's gate: what was looked at, and what the gate says."""

    version: Version
    tier: str
    contract: str | None
    profile: str | None
    router: str | None
    companions: str | None
    evidence: tuple[str, ...]  # digests that an approval has to cover
    last_evidence_at: datetime
    approvals: ApprovalJudgement
    findings: tuple[Finding, ...]
    scan: ScanFact | None
    suites: tuple[SuiteFact, ...]  # that the tier demands, with what is known of each
    rules: policy.Policy
    policy: str  # digest of the policy in force, also where another one is rehearsed
    serves: str | None  # digest of the version that the tier serves of this model now

    @property
    def against(self) -> tuple[Finding, ...]:
        """The findings that close the gate."""
        return tuple(finding for finding in self.findings if not finding.ok)

    @property
    def open(self) -> bool:
        """Whether the gate is."""
        return all(finding.ok for finding in self.findings)


def rules_of(work: Workplace, view: View, tier: str) -> policy.Policy:
    """The policy that a tier keeps to here and now. Raises `NotFound`."""
    return _as_kept(work, policy_ground.standing(work, view, tier))


def _as_kept(work: Workplace, row: TierPolicy) -> policy.Policy:
    rules = policy.decode(row.body.encode())
    return policy.for_one_person(rules) if work.home.profile == "solo" else rules


def case(work: Workplace, view: View, ref: Ref, tier: str, *, rules: policy.Policy | None = None) -> Case:
    """Load everything that the gate looks at, and judge.

    Args:
        rules: a policy to judge by in place of the tier's own, for a rehearsal.

    Raises:
        NotFound: no such version or tier.
        BytesRemoved: there is nothing left that could be served.
    """
    version = view.version(ref)
    demand_bytes(work, view, version)
    row = policy_ground.standing(work, view, tier)
    held = _held(work, view, version, rules or _as_kept(work, row), in_force=row)
    judged = _approvals(work, view, held)
    facts = _facts(work, view, held, judged)
    return Case(
        version=version,
        tier=tier,
        contract=held.contract,
        profile=held.setting.profile if held.setting else None,
        router=held.setting.router if held.setting else None,
        companions=held.companions,
        evidence=held.evidence,
        last_evidence_at=held.last,
        approvals=judged,
        findings=tuple(gate.judge(facts)),
        scan=facts.scan,
        suites=facts.suites,
        rules=held.rules,
        policy=held.policy,
        serves=held.serves,
    )


@dataclass(frozen=True)
class _Held:
    """What the registry holds about a version and a tier, as it stands now."""

    version: Version
    rules: policy.Policy
    contract: str | None
    setting: RouterSetting | None
    companions: str | None
    template: str | None  # that the companions bring; it takes the place of the version's own
    scan: Report | None
    runs: tuple[tuple[SuiteFact, Report | None], ...]
    since: tuple[str, ...]  # when each of the documents came to be what counts
    policy: str  # digest of the tier's policy as it is in force
    serves: str | None  # what the tier serves of this model now

    @property
    def reports(self) -> list[Report]:
        """The reports that count, the scan first."""
        return [report for report in (self.scan, *(run for _, run in self.runs)) if report is not None]

    @property
    def evidence(self) -> tuple[str, ...]:
        """Digests that an approval has to cover."""
        setting = (self.setting.router, self.setting.profile) if self.setting else ()
        documents = (self.contract, *setting, self.companions)
        return (*(report.digest for report in self.reports), *(digest for digest in documents if digest))

    @property
    def last(self) -> datetime:
        """When the newest of it was made: no approval counts that is older."""
        moments = [self.version.added_at, *(report.made_at for report in self.reports), *self.since]
        return from_rfc3339(max(moments))


def _held(
    work: Workplace, view: View, version: Version, rules: policy.Policy, *, in_force: TierPolicy
) -> _Held:
    binding, setting = view.binding(version.digest), view.router(rules.tier)
    bound = [view.companions_bound(subject) for subject in (version.digest, version.model)]
    contract = binding.contract if binding else None
    companions = view.companions_for(version)
    template = template_served.brought(view, companions)
    runs = [
        _newest_run(
            work,
            view,
            version,
            tier=rules.tier,
            name=name,
            contract=contract,
            setting=setting,
            template=template,
        )
        for name in rules.suites
    ]
    scans = view.reports(version.digest, "scan")
    return _Held(
        version=version,
        rules=rules,
        contract=contract,
        setting=setting,
        companions=companions,
        template=template,
        scan=scans[-1] if scans else None,
        runs=tuple(runs),
        since=tuple(row.since for row in (binding, setting, *bound) if row is not None),
        policy=sha256_hex(in_force.body.encode()),
        serves=pin.version if (pin := view.pin(rules.tier, version.model)) else None,
    )


def _facts(work: Workplace, view: View, held: _Held, judged: ApprovalJudgement) -> Facts:
    version, rules, setting = held.version, held.rules, held.setting
    withdrawal = view.withdrawal(version.digest)
    manifest = manifests.decode(version.manifest.encode())
    signed = view.newest_signed_time()
    return Facts(
        ref=f"{version.model}@{version.ordinal}",
        tier=rules.tier,
        policy=rules,
        withdrawn=withdrawal.reason if withdrawal else None,
        brought_by=version.brought_by,
        verified_bundle=view.imported(version.brought_by),
        taken_in_here=version.brought_by in ("fetch", "add"),
        age_days=(work.now - from_rfc3339(signed)).days if signed else None,
        scan=_scan_fact(work, view, held.scan, rules, manifest),
        licence=manifest.licence.state,
        licence_ids=tuple(manifest.licence.ids),
        licences_accepted=_licences_accepted(work, view, rules, manifest),
        formats=_formats(manifest),
        size=version.size,
        memory=memory_fact(work, view, manifest, rules, setting),
        engine=engine_fact(view, setting),
        companions=held.companions,
        companions_against=template_served.objections(work, view, held.template, rules),
        rollback_takes=_rollback_takes(view, rules.tier, version.model),
        contract=contract_fact(work, view, version, held.contract, setting, companions=held.companions),
        way_back=way_back(work, view, version, rules.tier, setting),
        suites=tuple(fact for fact, _ in held.runs),
        served_in=frozenset(pin.tier for pin in view.pin_history(version=version.digest)),
        approved_by=tuple(approval.person for approval in judged.counted),
        approvals_refused=tuple(f"{item.approval.person}: {item.detail}" for item in judged.refused),
        approval_evidence=approval_digests(judged),
        rejected=tuple(map(str, judged.rejections)),
        rejection_evidence=tuple(no.digest for no in judged.rejections),
        approvals_needed=rules.approvals,
        single_person=work.home.profile == "solo",
        recorded_later=_recorded_later(work, view),
    )


def _recorded_later(work: Workplace, view: View) -> str | None:
    """A moment in the log that this clock has not reached: set back, it would revive what has expired."""
    newest = view.newest_moment()
    if newest is None or from_rfc3339(newest) <= work.now + CLOCK_SKEW:
        return None
    return newest


def _approvals(work: Workplace, view: View, held: _Held) -> ApprovalJudgement:
    version, rules = held.version, held.rules
    rows = view.approvals(version.digest, rules.tier)
    answers = [Signed(row.payload.encode(), row.signature, row.person) for row in rows]
    requests = view.approval_requests(version.digest, rules.tier)
    terms = Terms(
        digest=version.digest,
        tier=rules.tier,
        site=work.home.name,
        evidence=set(held.evidence),
        last_evidence_at=held.last,
        needed=rules.approvals,
        now=work.now,
        excluded=set() if work.home.profile == "solo" else took_part(view, version, requests),
        require_hardware=rules.hardware_keys,
        require_pin=rules.hardware_keys,
        methods=rules.approval_methods,
        spent=_spent(view, version, rules.tier, rows),
        policy=held.policy,
        shown=approval_requests.shown(requests),
        cards=card_issuers(work, view),
    )
    said_no = {row.person for row in rows if row.decision == REJECT}
    formerly = once_in_force(work, view, said_no)
    return approvals.judge(answers, signers(work, view), terms, formerly=formerly)


def took_part(view: View, version: Version, requests: Sequence[ApprovalRequest]) -> set[str]:
    """Who has another part in it: who brought it, measured it, or asked for it. They do not judge it."""
    # Who only took in what another tool said has judged nothing.
    reports = [report for report in view.reports(version.digest) if report.kind != "evidence"]
    asked = {row.requested_by for row in requests if row.requested_by}
    return {version.added_by, *(report.made_by for report in reports), *asked}


def once_in_force(work: Workplace, view: View, names: Collection[str]) -> list[approvals.Person]:
    """These people as they ever could sign: each key and set of roles that was put in force as it has to be."""
    walked = people(work, view)
    refused = {(row.name, row.position) for row, _ in walked.passed_over}
    rows = [registered(row) for name in sorted(names) for row in view.person_history(name)]
    return [
        authority.signer(row, solo=work.home.profile == "solo")
        for row in rows
        if row.active and (row.name, row.position) not in refused
    ]


def _spent(view: View, version: Version, tier: str, rows: Sequence[Approval]) -> set[str]:
    """Nonces of approvals that a promotion used up: after a rollback, the way forward needs new ones."""
    used = {
        digest
        for pin in view.pin_history(tier, version.model, version.digest)
        for digest in parse(pin.evidence.encode(), max_bytes=_DOCUMENT_BYTES, at="pin.evidence")
    }
    return {approvals.decode(row.payload.encode())[0].nonce for row in rows if row.digest in used}


def _scan_fact(
    work: Workplace, view: View, report: Report | None, rules: policy.Policy, manifest: manifests.Manifest
) -> ScanFact | None:
    from pipelines import outlived  # noqa: PLC0415 - tables that only a gate needs
    from pipelines.scan.rules import RULESET  # noqa: PLC0415

    if report is None:
        return None
    result = read_scan_report(report)
    against = [f"{item.path}: {item.message}" for item in result.at_least(rules.block)]
    against += outlived.waivers(work, view, result, rules, manifest)
    return ScanFact(report.digest, report.outcome, tuple(against), outdated=result.ruleset != RULESET)


def _licences_accepted(
    work: Workplace, view: View, rules: policy.Policy, manifest: manifests.Manifest
) -> frozenset[str]:
    from pipelines import outlived  # noqa: PLC0415 - tables that only a gate needs

    return outlived.licences(work, view, manifest) if rules.licence == "accepted" else frozenset()


def _rollback_takes(view: View, tier: str, model: str) -> str | None:
    """What rollouts in this tier took: so long would the way back take, too."""
    took = durations(view, tier, model)
    return None if took is None else f"a rollback takes {took}"


def _newest_run(
    work: Workplace,
    view: View,
    version: Version,
    *,
    tier: str,
    name: str,
    contract: str | None,
    setting: RouterSetting | None,
    template: str | None,
) -> tuple[SuiteFact, Report | None]:
    """The newest run of the suite as held now; one on another contract or engine says nothing about this set."""
    try:
        suite = view.document("suite", name)
    except NotFound:
        return SuiteFact(name, None), None
    rows = [row for row in view.reports(version.digest, "validation") if row.suite == suite.digest]
    bodies = [parse(row.body.encode(), max_bytes=_DOCUMENT_BYTES, at="validation report") for row in rows]
    found = [(row, body) for row, body in zip(rows, bodies, strict=True) if body.get("tier") == tier] or list(
        zip(rows, bodies, strict=True)
    )
    if not found:
        return SuiteFact(name, suite.digest), None
    from pipelines import outlived  # noqa: PLC0415 - tables that only a gate needs

    report, body = found[-1]
    freed = outlived.set_aside(work, view, body) if report.outcome == "PASSED" else []
    fact = SuiteFact(
        name,
        suite.digest,
        report=report.digest,
        outcome="INCONCLUSIVE" if freed else report.outcome,
        same_contract=contract is not None and report.contract == contract,
        same_profile=setting is not None and report.profile == setting.profile,
        same_tier=body.get("tier") == tier,
        same_template=template_served.measured(
            work, manifests.decode(version.manifest.encode()), template, body
        ),
        age_days=(work.now - from_rfc3339(report.made_at)).days,
        started_here=_started_here(body),
        identity_proven=body["identity"]["state"] == "proven",
        reasons=(*body["reasons"], *freed),
    )
    return fact, report


def _started_here(body: Mapping[str, Any]) -> bool:
    """Whether the flags that the engine ran with are known; a suite of files asks no engine."""
    ran = body.get("fingerprint")
    return ran is None or ran.get("flags") is not None


def _formats(manifest: manifests.Manifest) -> tuple[str, ...]:
    endings = {".safetensors": "safetensors", ".gguf": "gguf"}
    return tuple(
        sorted(
            {kind for entry in manifest.files for end, kind in endings.items() if entry.path.endswith(end)}
        )
    )


def approval_digests(judged: ApprovalJudgement) -> tuple[str, ...]:
    """The digests of the approvals that count."""
    return tuple(sha256_hex(counted.approval.payload) for counted in judged.counted)
