"""May this version be served in this tier? Facts in, findings out: all of them, each with evidence and next step.

A pure rule. The checks, in the order they are shown:

1. withdrawn     a withdrawn version never serves again
2. trust         the version came by a verified bundle, or was taken in at this home
3. freshness     the clock is not behind the log, and the site's newest bundle not older than the tier allows
4. scan          this home's own scan, by today's rules, found nothing of the weight that the tier blocks
5. licence       the files state a licence, and a reviewer has accepted it, where the tier demands so
6. formats       the weights are in formats that the tier's engines may load
7. memory        weights, and the cache of the context that the tier promises, fit the tier
8. engine        the tier's engine may serve here, and no advisory names its release
9. contract      what the version emits, this tier's engine profile parses and its router accepts
10. way back     the set pinned now would still work with today's router, so that rollback is safe
11. companions   the files that go with the model are there, where the tier demands them; a chat template in them is clean
12. suites       each demanded suite PASSED, here, in this tier, on this very version, contract, engine profile and template
13. lower tier   the tier below has served it first, where the policy says so
14. approvals    enough distinct people with distinct keys, after the last evidence, none with another role in it
15. rejections   nobody's signed "no" stands

One steward may break the glass (`registry.break_glass`) over what is only late or not yet there: findings that say
`overridable`. Nothing that was found against the files is, nor anybody's "no".

Missing evidence, unknown and inconclusive are never a pass. Each finding says who can do what it asks for.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from registry.errors import RegistryRefusal
from registry.gate_facts import Facts, Finding, SuiteFact

STEWARD, REVIEWER, IMPORTER, OFFICER = "a steward", "a reviewer", "the importer", "the transfer officer"
ENGINEER, OWNER = "the serving engineer", "the platform owner"
SET_ROUTER = "Say what the tier runs: `tidegate contracts set-router TIER ROUTER --engine PROFILE`."


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
        _engine(facts),
        _contract(facts),
        _way_back(facts),
        _companions(facts),
        *_suites(facts),
        _lower_tier(facts),
        _approvals(facts),
        _rejections(facts),
    ]


def _withdrawn(facts: Facts) -> Finding:
    if facts.withdrawn is None:
        return Finding("withdrawn", ok=True, message="not withdrawn")
    return Finding(
        "withdrawn",
        ok=False,
        message=f"withdrawn: {facts.withdrawn}",
        next_step="Choose another version.",
        who=STEWARD,
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
        who=IMPORTER,
    )


def _freshness(facts: Facts) -> Finding:
    limit = facts.policy.fresh_days
    if facts.recorded_later is not None:
        return Finding(
            "freshness",
            ok=False,
            message=f"the clock stands before {facts.recorded_later}, which is in the log: no age or expiry can be judged",
            next_step="Set this computer's clock (UTC), with a second person looking on, and try again.",
            who=OWNER,
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
        who=OFFICER,
        overridable=True,
    )


def _scan(facts: Facts) -> Finding:
    again = f"Run `tidegate models scan {facts.ref}`."
    if facts.scan is None:
        return Finding("scan", ok=False, message="not scanned at this home", next_step=again, who=IMPORTER)
    evidence = (facts.scan.digest,)
    if facts.scan.outdated:
        message = "the rules have changed since it was scanned"
        return Finding("scan", ok=False, message=message, next_step=again, evidence=evidence, who=IMPORTER)
    if facts.scan.against:
        return Finding(
            "scan",
            ok=False,
            message="the scan found: " + "; ".join(facts.scan.against),
            next_step="Do not serve these files; or have a reviewer look at them and sign "
            f"`tidegate decisions waive RULE {facts.ref} --path FILE`, where the rule may be waived, and scan again.",
            evidence=evidence,
            who=REVIEWER,
        )
    return Finding("scan", ok=True, message=f"scanned here: {facts.scan.outcome}", evidence=evidence)


def _licence(facts: Facts) -> Finding:
    state, ids = facts.licence.replace("-", " "), ", ".join(facts.licence_ids)
    said = f"{state}: {ids}" if ids else state
    if facts.policy.licence == "any":
        return Finding("licence", ok=True, message=said)
    if facts.licence != "stated":
        return Finding(
            "licence",
            ok=False,
            message=f"{said}; {facts.tier} demands that the files state one",
            next_step="Have the publisher's licence file added to the model at the origin, as a new version.",
            who=OFFICER,
        )
    open_ = [name for name in facts.licence_ids if name not in facts.licences_accepted]
    if facts.policy.licence == "stated" or (facts.licence_ids and not open_):
        return Finding("licence", ok=True, message=said)
    name = open_[0] if open_ else "ID"
    return Finding(
        "licence",
        ok=False,
        message=f"{said}; nobody has accepted {', '.join(open_) or 'it'} here",
        next_step=f"A reviewer reads the licence and signs `tidegate decisions accept-licence {name}`.",
        who=REVIEWER,
    )


def _formats(facts: Facts) -> Finding:
    surplus = sorted(set(facts.formats) - set(facts.policy.formats))
    if facts.formats and not surplus:
        return Finding("formats", ok=True, message=", ".join(facts.formats))
    if surplus:
        message = f"holds {', '.join(surplus)}; {facts.tier} serves {', '.join(facts.policy.formats)}"
        step = "Ship the model in a format that the tier serves."
    else:
        message, step = "holds no weights that we can read", "Choose another version."
    return Finding("formats", ok=False, message=message, next_step=step, who=OFFICER)


def _memory(facts: Facts) -> Finding:
    limit, fact = facts.policy.max_bytes, facts.memory
    if fact is not None and fact.needed is None:
        return Finding(
            "memory",
            ok=False,
            message=f"what serving takes cannot be computed: {fact.how}",
            next_step="Have a version with its config.json shipped, or take `context` out of the tier's policy.",
            who=STEWARD,
        )
    size = facts.size if fact is None or fact.needed is None else fact.needed
    how = "of files" if fact is None else f"({fact.how})"
    if limit is None or size <= limit:
        return Finding(
            "memory", ok=True, message=f"{size:,} bytes {how}" + (f", {limit:,} fit" if limit else "")
        )
    return Finding(
        "memory",
        ok=False,
        message=f"{size:,} bytes {how}, {limit:,} fit the tier",
        next_step="Choose a smaller quantisation, a shorter context or a larger tier.",
        who=STEWARD,
    )


def _engine(facts: Facts) -> Finding:
    fact, allowed = facts.engine, facts.policy.engines
    if fact is None:
        return Finding(
            "engine",
            ok=not allowed,
            message="nobody has said what the tier runs",
            next_step=SET_ROUTER,
            who=ENGINEER,
        )
    said = f"{fact.engine} {fact.version}"
    if allowed and fact.engine not in allowed:
        return Finding(
            "engine",
            ok=False,
            message=f"the tier runs {said}; its policy allows {', '.join(allowed)}",
            next_step=f"{SET_ROUTER} Or have the policy changed: `tidegate policy apply`.",
            evidence=fact.evidence,
            who=ENGINEER,
        )
    listed = [f"{name}: {title}" for name, _, title in fact.advisories]
    blocking = [name for name, severity, _ in fact.advisories if severity == "block"]
    if blocking and facts.policy.advisories == "block":
        return Finding(
            "engine",
            ok=False,
            message=f"{said} is named in an advisory: {'; '.join(listed)}",
            next_step=f"Install a release that no advisory names, and say so. {SET_ROUTER}",
            evidence=fact.evidence,
            who=ENGINEER,
            overridable=True,
        )
    return Finding("engine", ok=True, message="; ".join((said, *listed)), evidence=fact.evidence)


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
        who=ENGINEER,
    )


def _way_back(facts: Facts) -> Finding:
    fact = facts.way_back
    if fact is None:
        return Finding("way back", ok=True, message="nothing is pinned yet")
    if fact.verdict == "compatible":
        return Finding(
            "way back",
            ok=True,
            message="the version pinned now works with today's router"
            + (f"; {facts.rollback_takes}" if facts.rollback_takes else ""),
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
        who=ENGINEER,
    )


def _companions(facts: Facts) -> Finding:
    if facts.companions_against:
        return Finding(
            "companions",
            ok=False,
            message="their chat template takes the place of the version's: "
            + "; ".join(facts.companions_against),
            next_step="Take the template out of the companions; or have a reviewer read it and sign a waiver for exactly "
            "this text: `tidegate decisions waive RULE FILE --path chat_template.jinja`.",
            evidence=(facts.companions,) if facts.companions else (),
            who=REVIEWER,
        )
    if facts.companions is not None:
        return Finding("companions", ok=True, message="pinned with it", evidence=(facts.companions,))
    if not facts.policy.companions:
        return Finding("companions", ok=True, message="none")
    model = facts.ref.partition("@")[0]
    return Finding(
        "companions",
        ok=False,
        message=f"no companions go with it, and {facts.tier} demands them",
        next_step=f"Say which: `tidegate companions set {model} NAME`.",
        who=STEWARD,
    )


def _suites(facts: Facts) -> Iterator[Finding]:
    for suite in facts.suites:
        message, step, who = _suite_problem(suite, facts)
        yield Finding(
            f"suite {suite.name}",
            ok=not message,
            message=message or "PASSED in this tier, on this version, contract and engine profile",
            next_step=step,
            evidence=(suite.report,) if suite.report else (),
            who=who,
            overridable=bool(message)
            and suite.outcome != "FAILED",  # not measured is one thing, failed another
        )


def _suite_problem(suite: SuiteFact, facts: Facts) -> tuple[str, str, str]:
    """What is against a suite's newest report, what to do, and who; empty texts when nothing is."""
    return next(_suite_problems(suite, facts), ("", "", ""))


def _suite_problems(suite: SuiteFact, facts: Facts) -> Iterator[tuple[str, str, str]]:
    run = (
        f"Run `tidegate validate {facts.ref} --tier {facts.tier}`, or serve it and run "
        f"`tidegate suites run {suite.name} {facts.ref} --tier {facts.tier} --endpoint URL`."
    )
    same = {
        "tier": suite.same_tier,
        "tool contract": suite.same_contract,
        "engine profile": suite.same_profile,
        "chat template": suite.same_template,
    }
    limit = facts.policy.report_days
    if suite.suite is None:
        yield (
            "the suite is not held here",
            f"Take it in: `tidegate suites add FOLDER`, or `--builtin {suite.name}` where it comes with Tidegate.",
            STEWARD,
        )
    elif suite.report is None:
        yield "has not been run here on this version", run, ENGINEER
    if facts.engine is None and not suite.same_profile:
        yield "nobody has said what the tier runs, so no report is about it", SET_ROUTER, ENGINEER
    for what in (name for name, is_same in same.items() if not is_same):
        yield f"was run with another {what}: it says nothing about this set", run, ENGINEER
    if suite.outcome != "PASSED":
        read = f"Read the report (`tidegate suites report {str(suite.report)[:12]}`)"
        step = f"{read}; then choose another version, or mend the cause. {run}"
        yield "; ".join((suite.outcome, *suite.reasons)), step, STEWARD
    if not suite.identity_proven:
        said = "; ".join(("passed, but the engine did not prove which files it served", *suite.reasons))
        yield said, f"Serve the materialised files on this machine. {run}", ENGINEER
    if facts.policy.started_here and not suite.started_here:
        said = "passed on an engine that somebody started by hand; nobody knows with which flags"
        yield said, f"Run `tidegate validate {facts.ref} --tier {facts.tier} --again`.", ENGINEER
    if limit is not None and suite.age_days > limit:
        yield f"passed {suite.age_days} days ago, {limit} allowed", run, ENGINEER


def _lower_tier(facts: Facts) -> Finding:
    first = facts.policy.served_first
    if first is None or first in facts.served_in:
        return Finding("lower tier", ok=True, message=f"{first} has served it" if first else "none demanded")
    return Finding(
        "lower tier",
        ok=False,
        message=f"{first} has not served it yet",
        next_step=f"Promote it to {first} first.",
        who=STEWARD,
        overridable=True,
    )


def _approvals(facts: Facts) -> Finding:
    have, need = len(facts.approved_by), facts.approvals_needed
    if need == 0:
        return Finding("approvals", ok=True, message="none demanded: the tier is automatic")
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
        who=STEWARD,
        overridable=True,
    )


def _rejections(facts: Facts) -> Finding:
    if not facts.rejected:
        return Finding("rejections", ok=True, message="none stands")
    return Finding(
        "rejections",
        ok=False,
        message="; ".join(facts.rejected),
        next_step="Mend what it says. Then whoever rejected it looks again and approves, or two other stewards do: "
        f"`tidegate approvals show {facts.ref} --tier {facts.tier}`.",
        evidence=facts.rejection_evidence,
        who=STEWARD,
    )
