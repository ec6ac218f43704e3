"""Promoting, withdrawing: load the facts, ask the rule, append in one transaction.

`case` is the one loader: the dry run, an approval's list of evidence and the promotion itself all look through
it, so that nobody approves other evidence than the gate reads. A promotion judges inside the transaction that
pins, on the state that it will change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from pipelines.evidence import pin_statement
from pipelines.intake.record import read_scan_report
from pipelines.removed import demand_bytes
from pipelines.workplace import Workplace
from registry import approvals, contracts, gate, manifests, policy
from registry.approvals import CLOCK_SKEW, ApprovalJudgement, SignedApproval
from registry.audit import EventKind
from registry.compatibility import Comparison, Verdict, compare
from registry.entities import Approval, Document, Pin, Report, RouterSetting, Version, Withdrawal
from registry.errors import NotFound
from registry.gate import ContractFact, Facts, Finding, GateClosed, ScanFact, SuiteFact
from registry.names import Ref
from registry.store import Change
from registry.views import View
from signing.canonical import canonical_bytes, parse
from signing.digests import sha256_hex
from signing.times import from_rfc3339, rfc3339

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
    evidence: tuple[str, ...]  # digests that an approval has to cover
    last_evidence_at: datetime
    approvals: ApprovalJudgement
    findings: tuple[Finding, ...]

    @property
    def open(self) -> bool:
        """Whether the gate is."""
        return all(finding.ok for finding in self.findings)


def case(work: Workplace, view: View, ref: Ref, tier: str) -> Case:
    """Load everything that the gate looks at, and judge.

    Raises:
        NotFound: no such version or tier.
        BytesRemoved: there is nothing left that could be served.
    """
    version = view.version(ref)
    demand_bytes(work, view, version)
    rules = policy.decode(view.tier(tier).body.encode())
    if work.home.profile == "solo":
        rules = policy.for_one_person(rules)
    binding, setting = view.binding(version.digest), view.router(tier)
    contract = binding.contract if binding else None
    scan = _newest(view.reports(version.digest, "scan"))
    runs = [_newest_run(view, version, name, contract, setting) for name in rules.suites]
    reports = [report for report in (scan, *(run for _, run in runs)) if report is not None]
    documents = [
        digest for digest in (contract, setting and setting.router, setting and setting.profile) if digest
    ]
    evidence = (*(report.digest for report in reports), *documents)
    moments = [version.added_at, *(report.made_at for report in reports)]
    moments += [binding.since] if binding else []
    moments += [setting.since] if setting else []
    last = from_rfc3339(max(moments))
    judged = _approvals(work, view, version=version, rules=rules, evidence=evidence, last=last)
    facts = _facts(
        work,
        view,
        version=version,
        rules=rules,
        scan=scan,
        suites=[fact for fact, _ in runs],
        judged=judged,
        contract=contract,
        setting=setting,
    )
    return Case(
        version=version,
        tier=tier,
        contract=contract,
        profile=setting.profile if setting else None,
        router=setting.router if setting else None,
        evidence=evidence,
        last_evidence_at=last,
        approvals=judged,
        findings=tuple(gate.judge(facts)),
    )


def promote(work: Workplace, ref: Ref, tier: str, *, reason: str) -> Case:
    """Pin a version to a tier if the gate is open.

    Raises:
        GateClosed: with every finding; nothing was changed.
        BytesRemoved: its bytes are not here any more.
        HomeBusy: bytes are being removed at this moment.
    """
    # Nobody removes bytes meanwhile.
    with work.home.using_store(), work.store.change(actor=work.actor, now=work.now) as change:
        found = case(work, change, ref, tier)
        if not found.open:
            raise GateClosed(str(ref), tier, found.findings)
        append_pin(work, change, found, kind="promote", reason=reason)
    return found


def append_pin(work: Workplace, change: Change, found: Case, *, kind: str, reason: str) -> Pin:
    """Append the line that says what the tier serves from now on."""
    version = found.version
    history = change.pin_history(found.tier, version.model)
    pin = Pin(
        tier=found.tier,
        model=version.model,
        position=len(history) + 1,
        kind=kind,
        version=version.digest,
        ordinal=version.ordinal,
        contract=found.contract,
        profile=found.profile,
        router=found.router,
        evidence=canonical_bytes([*found.evidence, *_approval_digests(found.approvals)]).decode(),
        reason=reason,
        since=not_before(rfc3339(work.now), history),
        actor=work.actor,
    )
    statement = pin_statement(work, pin, previous=history[-1] if history else None)
    gate_note = {"gate": [finding.check for finding in found.findings]}
    change.record(EventKind.PROMOTED, version.digest, pin, statement, note=gate_note)
    return pin


def not_before(now: str, history: Sequence[Pin]) -> str:
    """The moment of a new line: never before the line that it follows, whatever the clock says. The event keeps that."""
    return max(now, history[-1].since) if history else now


def withdraw(work: Workplace, ref: Ref, *, reason: str) -> tuple[Version, bool]:
    """Say that a version may not serve again. Returns it, and whether that is new."""
    with work.store.change(actor=work.actor, now=work.now) as change:
        version = change.version(ref)
        if change.withdrawal(version.digest) is not None:
            return version, False
        row = Withdrawal(version=version.digest, reason=reason, since=rfc3339(work.now), actor=work.actor)
        change.record(EventKind.WITHDRAWN, version.digest, row)
    return version, True


def set_router(work: Workplace, tier: str, *, router: str, profile: str) -> RouterSetting:
    """From now on the tier's router speaks this contract and its engines run this profile (digests)."""
    with work.store.change(actor=work.actor, now=work.now) as change:
        change.tier(tier)
        last = change.router(tier)
        if last is not None and (last.router, last.profile) == (router, profile):
            return last
        row = router_row(work, change, tier, router=router, profile=profile)
        change.record(EventKind.ROUTER_SET, tier, row)
    return row


def router_row(work: Workplace, view: View, tier: str, *, router: str, profile: str) -> RouterSetting:
    """The next line of a tier's router history, not recorded yet."""
    last = view.router(tier)
    return RouterSetting(
        tier=tier,
        position=last.position + 1 if last else 1,
        router=router,
        profile=profile,
        since=rfc3339(work.now),
        actor=work.actor,
    )


def _facts(
    work: Workplace,
    view: View,
    *,
    version: Version,
    rules: policy.Policy,
    scan: Report | None,
    suites: Sequence[SuiteFact],
    judged: ApprovalJudgement,
    contract: str | None,
    setting: RouterSetting | None,
) -> Facts:
    withdrawal = view.withdrawal(version.digest)
    manifest = manifests.decode(version.manifest.encode())
    imports = view.imports()
    bundles = {row.bundle for row in imports}
    return Facts(
        ref=f"{version.model}@{version.ordinal}",
        tier=rules.tier,
        policy=rules,
        withdrawn=withdrawal.reason if withdrawal else None,
        brought_by=version.brought_by,
        verified_bundle=version.brought_by in bundles,
        taken_in_here=version.brought_by in ("fetch", "add"),
        age_days=(work.now - from_rfc3339(imports[-1].signed_time)).days if imports else None,
        scan=_scan_fact(scan),
        licence=manifest.licence.state,
        formats=_formats(manifest),
        size=version.size,
        contract=_contract_fact(view, contract, setting),
        way_back=_way_back(view, version, rules.tier, setting),
        suites=tuple(suites),
        served_in=frozenset(pin.tier for pin in view.pin_history(version=version.digest)),
        approved_by=tuple(approval.person for approval in judged.counted),
        approvals_refused=tuple(f"{item.approval.person}: {item.detail}" for item in judged.refused),
        approval_evidence=_approval_digests(judged),
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


def _approvals(
    work: Workplace,
    view: View,
    *,
    version: Version,
    rules: policy.Policy,
    evidence: Sequence[str],
    last: datetime,
) -> ApprovalJudgement:
    people = [
        approvals.Person(
            name=row.name,
            public_key_line=row.public_key,
            roles=tuple(row.roles.split(",")),
            since=from_rfc3339(row.since),
        )
        for row in view.people()
        if row.active
    ]
    rows = view.approvals(version.digest, rules.tier)
    signed = [
        SignedApproval(payload=row.payload.encode(), signature=row.signature, person=row.person)
        for row in rows
    ]
    others = {version.added_by, *(report.made_by for report in view.reports(version.digest))}
    return approvals.judge(
        signed,
        people,
        digest=version.digest,
        tier=rules.tier,
        site=work.home.name,
        evidence=set(evidence),
        last_evidence_at=last,
        needed=rules.approvals,
        now=work.now,
        excluded=set() if work.home.profile == "solo" else others,
        require_hardware=rules.hardware_keys,
        require_pin=rules.hardware_keys,
        spent=_spent(view, version, rules.tier, rows),
    )


def _spent(view: View, version: Version, tier: str, rows: Sequence[Approval]) -> set[str]:
    """Nonces of approvals that a promotion used up: after a rollback, the way forward needs new ones."""
    used = {
        digest
        for pin in view.pin_history(tier, version.model, version.digest)
        for digest in parse(pin.evidence.encode(), max_bytes=_DOCUMENT_BYTES, at="pin.evidence")
    }
    return {approvals.decode(row.payload.encode())[0].nonce for row in rows if row.digest in used}


def _newest(reports: Sequence[Report]) -> Report | None:
    return reports[-1] if reports else None


def _scan_fact(report: Report | None) -> ScanFact | None:
    if report is None:
        return None
    result = read_scan_report(report)
    return ScanFact(
        report.digest, report.outcome, tuple(f"{item.path}: {item.message}" for item in result.blockers)
    )


def _newest_run(
    view: View, version: Version, name: str, contract: str | None, setting: RouterSetting | None
) -> tuple[SuiteFact, Report | None]:
    """The newest run of the suite as held now; one on another contract or engine says nothing about this set."""
    try:
        suite = view.document("suite", name)
    except NotFound:
        return SuiteFact(name, None), None
    report = _newest([row for row in view.reports(version.digest, "validation") if row.suite == suite.digest])
    if report is None:
        return SuiteFact(name, suite.digest), None
    body = parse(report.body.encode(), max_bytes=_DOCUMENT_BYTES, at="validation report")
    fact = SuiteFact(
        name,
        suite.digest,
        report=report.digest,
        outcome=report.outcome,
        same_contract=contract is not None and report.contract == contract,
        same_profile=setting is not None and report.profile == setting.profile,
        identity_proven=body["identity"]["state"] == "proven",
        reasons=tuple(body["reasons"]),
    )
    return fact, report


def _formats(manifest: manifests.Manifest) -> tuple[str, ...]:
    endings = {".safetensors": "safetensors", ".gguf": "gguf"}
    return tuple(
        sorted(
            {kind for entry in manifest.files for end, kind in endings.items() if entry.path.endswith(end)}
        )
    )


def _contract_fact(view: View, contract: str | None, setting: RouterSetting | None) -> ContractFact:
    if contract is None:
        step = "Bind one at the origin or here: `tidegate contracts add FILE --for REF`."
        return ContractFact("unknown", ("the version has no tool contract",), (step,), ())
    if setting is None:
        step = "Say what the tier runs: `tidegate contracts set-router TIER ROUTER --engine PROFILE`."
        return ContractFact("unknown", ("the tier has no router contract",), (step,), (contract,))
    return contract_fact(view, contract, router=setting.router, profile=setting.profile)


def contract_fact(view: View, contract: str, *, router: str, profile: str) -> ContractFact:
    """Compare three held documents, named by digest."""
    found: Comparison = compare(
        _read(view, contract, contracts.ToolContract),
        _read(view, router, contracts.RouterContract),
        _read(view, profile, contracts.EngineProfile),
    )
    against = [item for item in found.findings if item.verdict is not Verdict.COMPATIBLE]
    return ContractFact(
        str(found.verdict),
        tuple(item.message for item in against),
        tuple(dict.fromkeys(item.next_step for item in against if item.next_step)),
        (contract, router, profile),
    )


def _way_back(view: View, version: Version, tier: str, setting: RouterSetting | None) -> ContractFact | None:
    pinned = view.pin(tier, version.model)
    if pinned is None or pinned.version == version.digest:
        return None
    if setting is None or pinned.contract is None:
        return _UNKNOWN
    return contract_fact(view, pinned.contract, router=setting.router, profile=setting.profile)


def _read(view: View, digest: str, kind: type[T]) -> T:
    row: Document | None = view.document_by_digest(digest)
    if row is None:
        raise NotFound("document", digest)
    document = contracts.decode_document(row.body.encode())
    if not isinstance(document, kind):
        raise NotFound(kind.__name__, digest)
    return document


def _approval_digests(judged: ApprovalJudgement) -> tuple[str, ...]:
    return tuple(sha256_hex(counted.approval.payload) for counted in judged.counted)
