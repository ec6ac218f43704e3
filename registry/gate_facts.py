"""What the gate looks at and what it answers: values only, loaded by `pipelines.case`, judged by `registry.gate`."""

from dataclasses import dataclass

from registry.policy import Policy


@dataclass(frozen=True)
class Finding:
    """One check's answer."""

    check: str
    ok: bool
    message: str
    next_step: str = ""
    evidence: tuple[str, ...] = ()  # digests of reports, documents, statements
    who: str = ""  # who can do the next step
    overridable: bool = False  # one steward may break the glass over it


@dataclass(frozen=True)
class ScanFact:
    """This home's newest scan of the version."""

    digest: str
    outcome: str  # PASSED, WARNED, FAILED
    against: tuple[str, ...]  # findings of the weight that the tier blocks, or more
    outdated: bool = False  # made by rules of an older release


@dataclass(frozen=True)
class SuiteFact:
    """The newest run here of one demanded suite, on any contract and profile."""

    name: str
    suite: str | None  # digest of the suite as held now; None: not held
    report: str | None = None  # digest of the newest report on this version with that suite
    outcome: str = "MISSING"
    same_contract: bool = False
    same_profile: bool = False
    same_tier: bool = True
    same_template: bool = True
    age_days: int = 0
    started_here: bool = True  # the engine ran by the profile's flags, because this home started it
    identity_proven: bool = False
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class ContractFact:
    """What comparing the version's contract with the tier's router and engine profile said."""

    verdict: str  # compatible, needs-router-update, incompatible, unknown
    reasons: tuple[str, ...]
    next_steps: tuple[str, ...]
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class MemoryFact:
    """What serving takes, in bytes, and how that was found. `needed` None: it could not be computed."""

    needed: int | None
    how: str


@dataclass(frozen=True)
class EngineFact:
    """The engine of the tier's profile, and the advisories that name its release: (id, severity, title)."""

    engine: str
    version: str
    advisories: tuple[tuple[str, str, str], ...] = ()
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """Everything the gate looks at; loaded by `pipelines.promote`."""

    ref: str
    tier: str
    policy: Policy
    withdrawn: str | None  # the reason
    brought_by: str  # "fetch", "add", or the bundle that brought it
    verified_bundle: bool
    taken_in_here: bool
    age_days: int | None  # of the newest bundle; None at a home that imports none
    scan: ScanFact | None
    licence: str  # stated, not-stated, not-readable
    formats: tuple[str, ...]
    size: int
    contract: ContractFact
    way_back: ContractFact | None  # None: nothing is pinned yet
    suites: tuple[SuiteFact, ...]
    served_in: frozenset[str]
    approved_by: tuple[str, ...]
    approvals_refused: tuple[str, ...]
    approval_evidence: tuple[str, ...]
    approvals_needed: int
    single_person: bool
    licence_ids: tuple[str, ...] = ()
    licences_accepted: frozenset[str] = frozenset()
    memory: MemoryFact | None = None  # None: the tier promises no context, and the files' size is what counts
    engine: EngineFact | None = None  # None: nobody has said what the tier runs
    companions: str | None = None  # digest
    companions_against: tuple[str, ...] = ()  # findings in what the engine would take of them
    rollback_takes: str | None = None  # what earlier rollouts took, in words
    recorded_later: str | None = None  # a moment in the log that the clock has not reached
    rejected: tuple[str, ...] = ()  # rejections that stand, in words
    rejection_evidence: tuple[str, ...] = ()
