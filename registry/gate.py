"""May this version be served in this tier? Facts in, findings out: all of them, each with evidence and next step.

A pure rule. The checks, in the order they are shown:

1. withdrawn     a withdrawn version never serves again
2. trust         the version came by a verified bundle, or was taken in at this home
3. freshness     the clock is not behind the log, and the site's newest bundle not older than the tier allows
4. scan          this home's own scan of the held bytes found no blocker
5. licence       the files state a licence, where the tier demands it
6. formats       the weights are in formats that the tier's engines may load
7. memory        the files fit the tier
8. contract      what the version emits, this tier's engine profile parses and its router accepts
9. way back      the set pinned now would still work with today's router, so that rollback is safe
10. suites       each demanded suite PASSED, here, on this very version, contract and engine profile
11. lower tier   the tier below has served it first, where the policy says so
12. approvals    enough distinct people with distinct keys, after the last evidence, none with another role in it

Missing evidence, unknown and inconclusive are never a pass.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from registry.errors import RegistryRefusal
from registry.policy import Policy


@dataclass(frozen=True)
class Finding:
    """One check's answer."""

    check: str
    ok: bool
    message: str
    next_step: str = ""
    evidence: tuple[str, ...] = ()  # digests of reports, documents, statements


@dataclass(frozen=True)
class ScanFact:
    """This home's newest scan of the version."""

    digest: str
    outcome: str  # PASSED, WARNED, FAILED
    blockers: tuple[str, ...]


@dataclass(frozen=True)
class SuiteFact:
    """The newest run here of one demanded suite, on any contract and profile."""

    name: str
    suite: str | None  # digest of the suite as held now; None: not held
    report: str | None = None  # digest of the newest report on this version with that suite
    outcome: str = "MISSING"
    same_contract: bool = False
    same_profile: bool = False
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
    licence: str
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
    recorded_later: str | None = None  # a moment in the log that the clock has not reached


class GateClosed(RegistryRefusal):
    """The gate found reasons against; nothing was pinned."""

    exit_code: ClassVar[int] = 89
    next_step: ClassVar[str] = (
        "Do what stands under each finding above, then promote again; `--dry-run` shows the gate without acting."
    )

    def __init__(self, ref: str, tier: str, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        against = [finding for finding in findings if not finding.ok]
        names = ", ".join(finding.check for finding in against)
        super().__init__(
            f"{ref} may not be promoted to {tier}: {len(against)} of {len(findings)} checks are against: {names}"
        )
        self.ref, self.tier = ref, tier


def judge(facts: Facts) -> list[Finding]:
    """Return one finding per check, in the order of the module's docstring."""
    return [
        _withdrawn(facts),
        _trust(facts),
        _freshness(facts),
        _scan(facts),
        _licence(facts),
        _formats(facts),
        _memory(facts),
        _contract(facts),
        _way_back(facts),
        *_suites(facts),
        _lower_tier(facts),
        _approvals(facts),
    ]


def _withdrawn(facts: Facts) -> Finding:
    if facts.withdrawn is None:
        return Finding("withdrawn", ok=True, message="not withdrawn")
    return Finding(
        "withdrawn", ok=False, message=f"withdrawn: {facts.withdrawn}", next_step="Choose another version."
    )


def _trust(facts: Facts) -> Finding:
    if facts.verified_bundle:
        return Finding(
            "trust", ok=True, message=f"came in bundle {facts.brought_by}, verified against this site's root"
        )
    if facts.taken_in_here:
        return Finding(
            "trust", ok=True, message=f"taken in at this home ({facts.brought_by}), with a signed statement"
        )
    return Finding(
        "trust",
        ok=False,
        message="nothing says where it came from",
        next_step="Import it in a signed bundle.",
    )


def _freshness(facts: Facts) -> Finding:
    limit = facts.policy.fresh_days
    if facts.recorded_later is not None:
        return Finding(
            "freshness",
            ok=False,
            message=f"the clock stands before {facts.recorded_later}, which is in the log: no age or expiry can be judged",
            next_step="Set this computer's clock (UTC), with a second person looking on, and try again.",
        )
    if facts.age_days is None or limit is None:
        return Finding("freshness", ok=True, message="no limit applies here")
    if facts.age_days <= limit:
        return Finding(
            "freshness", ok=True, message=f"newest bundle is {facts.age_days} days old, {limit} allowed"
        )
    return Finding(
        "freshness",
        ok=False,
        message=f"newest bundle is {facts.age_days} days old, {limit} allowed; withdrawals may be missing. What serves goes on serving",
        next_step="Ask the origin for a fresh bundle (an empty one is enough) and import it.",
    )


def _scan(facts: Facts) -> Finding:
    again = f"Run `tidegate models scan {facts.ref}`."
    if facts.scan is None:
        return Finding("scan", ok=False, message="not scanned at this home", next_step=again)
    evidence = (facts.scan.digest,)
    if facts.scan.outcome == "FAILED":
        message = "the scan found: " + "; ".join(facts.scan.blockers)
        return Finding(
            "scan", ok=False, message=message, next_step="Do not serve these files.", evidence=evidence
        )
    return Finding("scan", ok=True, message=f"scanned here: {facts.scan.outcome}", evidence=evidence)


def _licence(facts: Facts) -> Finding:
    if facts.licence == "stated" or facts.policy.licence == "any":
        return Finding("licence", ok=True, message=facts.licence.replace("-", " "))
    return Finding(
        "licence",
        ok=False,
        message=f"{facts.licence.replace('-', ' ')}; {facts.tier} demands that the files state one",
        next_step="Have the publisher's licence file added to the model at the origin, as a new version.",
    )


def _formats(facts: Facts) -> Finding:
    surplus = sorted(set(facts.formats) - set(facts.policy.formats))
    if not facts.formats:
        return Finding(
            "formats",
            ok=False,
            message="holds no weights that we can read",
            next_step="Choose another version.",
        )
    if surplus:
        message = f"holds {', '.join(surplus)}; {facts.tier} serves {', '.join(facts.policy.formats)}"
        return Finding(
            "formats", ok=False, message=message, next_step="Ship the model in a format that the tier serves."
        )
    return Finding("formats", ok=True, message=", ".join(facts.formats))


def _memory(facts: Facts) -> Finding:
    limit = facts.policy.max_bytes
    if limit is None or facts.size <= limit:
        return Finding(
            "memory", ok=True, message=f"{facts.size:,} bytes" + (f" of {limit:,}" if limit else "")
        )
    message = f"{facts.size:,} bytes of files, {limit:,} fit the tier"
    return Finding(
        "memory", ok=False, message=message, next_step="Choose a smaller quantisation or a larger tier."
    )


def _contract(facts: Facts) -> Finding:
    fact = facts.contract
    if fact.verdict == "compatible":
        return Finding(
            "contract", ok=True, message="; ".join(("compatible", *fact.reasons)), evidence=fact.evidence
        )
    return Finding(
        "contract",
        ok=False,
        message="; ".join((fact.verdict, *fact.reasons)),
        next_step=" ".join(fact.next_steps) or "See `tidegate contracts compare`.",
        evidence=fact.evidence,
    )


def _way_back(facts: Facts) -> Finding:
    fact = facts.way_back
    if fact is None:
        return Finding("way back", ok=True, message="nothing is pinned yet")
    if fact.verdict == "compatible":
        return Finding(
            "way back",
            ok=True,
            message="the version pinned now works with today's router",
            evidence=fact.evidence,
        )
    return Finding(
        "way back",
        ok=False,
        message="; ".join(
            ("a rollback would not be safe: the version pinned now is " + fact.verdict, *fact.reasons)
        ),
        next_step="Set a router contract that accepts both versions, then promote.",
        evidence=fact.evidence,
    )


def _suites(facts: Facts) -> Iterator[Finding]:
    for suite in facts.suites:
        check = f"suite {suite.name}"
        run = f"Serve the version and run `tidegate suites run {suite.name} {facts.ref} --tier {facts.tier} --endpoint URL`."
        evidence = (suite.report,) if suite.report else ()
        if suite.suite is None:
            yield Finding(
                check,
                ok=False,
                message="the suite is not held here",
                next_step="Add it: `tidegate suites add`.",
            )
        elif suite.report is None:
            yield Finding(check, ok=False, message="has not been run here on this version", next_step=run)
        elif not (suite.same_contract and suite.same_profile):
            what = "tool contract" if not suite.same_contract else "engine profile"
            yield Finding(
                check,
                ok=False,
                message=f"was run with another {what}: it says nothing about this set",
                next_step=run,
                evidence=evidence,
            )
        elif suite.outcome != "PASSED":
            message = "; ".join((suite.outcome, *suite.reasons))
            yield Finding(
                check,
                ok=False,
                message=message,
                next_step=f"Read the report; then choose another version, or mend the cause. {run}",
                evidence=evidence,
            )
        elif not suite.identity_proven:
            message = "; ".join(
                ("passed, but the engine did not prove which files it served", *suite.reasons)
            )
            yield Finding(
                check,
                ok=False,
                message=message,
                next_step=f"Serve the materialised files on this machine. {run}",
                evidence=evidence,
            )
        else:
            yield Finding(
                check,
                ok=True,
                message="PASSED on this version, contract and engine profile",
                evidence=evidence,
            )


def _lower_tier(facts: Facts) -> Finding:
    first = facts.policy.served_first
    if first is None or first in facts.served_in:
        return Finding("lower tier", ok=True, message=f"{first} has served it" if first else "none demanded")
    return Finding(
        "lower tier",
        ok=False,
        message=f"{first} has not served it yet",
        next_step=f"Promote it to {first} first.",
    )


def _approvals(facts: Facts) -> Finding:
    have, need = len(facts.approved_by), facts.approvals_needed
    refused = tuple(f"not counted: {reason}" for reason in facts.approvals_refused)
    note = " (single-person home)" if facts.single_person else ""
    if have >= need:
        message = f"{have} of {need}{note}: {', '.join(facts.approved_by)}"
        return Finding("approvals", ok=True, message=message, evidence=facts.approval_evidence)
    return Finding(
        "approvals",
        ok=False,
        message="; ".join((f"{have} of {need}{note}", *refused)),
        next_step=f"A steward looks at the evidence and runs `tidegate approve {facts.ref} --tier {facts.tier} --person NAME --key PATH`.",
        evidence=facts.approval_evidence,
    )
