"""What waits for somebody at this home: each thing with its reason, its next step, and who can take it.

One list for the first page and for programs. It is bounded (`registry.store_attention`), reads nothing large, and
decides nothing: every line points to the page or command that does.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipelines import people
from pipelines.break_glass import overrides
from pipelines.drift import drift
from pipelines.freshness import site_freshness
from pipelines.open_requests import answers, waiting
from pipelines.questions.expiring import expiring
from pipelines.workplace import Workplace
from registry import store_attention, store_pages
from registry.access import Right
from registry.store_pages import Asked
from registry.views import View

SOON = 30  # days in which something ends that is said here


@dataclass(frozen=True)
class Item:
    """One thing that waits."""

    kind: str  # request, break-glass, validation, ready, drift, freshness, expiry, people
    what: str
    why: str
    next_step: str
    right: Right  # of whoever takes the next step
    tier: str | None = None
    urgent: bool = False
    since: str | None = None  # RFC 3339
    subject: str = ""  # digest of the request or version, name of the model or person
    done_by: frozenset[str] = frozenset()  # people who have done their part


def attention(work: Workplace, view: View, *, hours: Mapping[str, int] | None = None) -> list[Item]:
    """Return everything that waits, the most urgent kinds first.

    Args:
        hours: by tier, how old an observation may be (`serving.toml`).
    """
    found = [
        *_requests(work, view),
        *_broken(work, view),
        *_drifted(work, view, hours or {}),
        *_failed(view),
        *_freshness(work, view),
        *_ending(work, view),
        *_people(work, view),
        *_ready(view),
    ]
    return sorted(found, key=lambda item: not item.urgent)


def standing(work: Workplace, view: View, *, hours: Mapping[str, int] | None = None) -> list[Item]:
    """Return what an auditor looks at first: of what waits, only what is not as it should be, or soon will not be."""
    found = [
        *_broken(work, view),
        *_drifted(work, view, hours or {}),
        *_freshness(work, view),
        *_ending(work, view),
        *_people(work, view),
    ]
    return sorted(found, key=lambda item: not item.urgent)


def _requests(work: Workplace, view: View) -> Iterator[Item]:
    for one in waiting(work, view, store_attention.newest_requests(view)):
        if not one.open:
            continue
        asked, said = one.asked, answers(view, one.asked)
        ready = one.state.endswith("ready to promote")
        ref = f"{asked.model}@{asked.ordinal}"
        who = asked.requested_by or "nobody"
        yield Item(
            kind="promotion" if ready else "request",
            what=f"{ref} for {asked.tier}",
            why=f"{one.state}. Asked by {who}: {asked.reason}" if asked.reason else one.state,
            next_step="Promote it." if ready else "Read the page that would be signed; approve or reject.",
            right=Right.PROMOTE if ready else Right.APPROVE,
            tier=asked.tier,
            since=one.row.since,
            subject=one.row.digest,
            done_by=frozenset() if ready else frozenset({who, *(row.person for row in said)}),
        )


def _broken(work: Workplace, view: View) -> Iterator[Item]:
    for one in overrides(work, view):
        if not one.reviews:
            yield Item(
                kind="break-glass",
                what=f"{one.pin.model}@{one.pin.ordinal} in {one.pin.tier}, on {one.person}'s word alone",
                why=f"past {', '.join(one.checks)}: {one.reason}",
                next_step=f"Review it: `tidegate approvals review {one.decision.digest[:12]} --verdict upheld|objected`.",
                right=Right.DECIDE,
                tier=one.pin.tier,
                urgent=True,
                since=one.pin.since,
                subject=one.pin.version,
                done_by=frozenset({one.person}),
            )


def _drifted(work: Workplace, view: View, hours: Mapping[str, int]) -> Iterator[Item]:
    pins = store_pages.pins_now(view, Asked(store_pages.MOST)).rows
    found = drift(pins, store_attention.newest_observations(view), now=work.now, hours=hours)
    for one in found:
        if not one.ok and one.kind != "never-seen":  # a home that serves nothing itself has no nodes
            yield Item(
                kind="drift",
                what=f"{one.model} in {one.tier}, node {one.node}",
                why=one.message,
                next_step=one.next_step,
                right=Right.OPERATE,
                tier=one.tier,
                urgent=one.kind in ("other-files", "other-set"),
                subject=one.model,
            )


def _failed(view: View) -> Iterator[Item]:
    for run in store_attention.failed_runs(view):
        document = view.document_by_digest(run.suite) if run.suite else None
        name = document.name if document else "a suite"
        yield Item(
            kind="validation",
            what=f"{run.model}@{run.ordinal}: {name} {run.outcome}",
            why="no later run of this suite on this version has passed",
            next_step="Read the report; then mend the cause and run it again, or choose another version.",
            right=Right.VALIDATE,
            since=run.made_at,
            subject=run.digest,
        )


def _freshness(work: Workplace, view: View) -> Iterator[Item]:
    if not work.home.is_site:
        return
    found = site_freshness(view, work.now)
    if found.late:
        yield Item(
            kind="freshness",
            what=f"This site is {found.state.lower()}",
            why=found.text,
            next_step="Ask the origin for a fresh bundle (an empty one is enough) and import it.",
            right=Right.IMPORT,
            urgent=str(found.state) == "STALE",
        )


def _ending(work: Workplace, view: View) -> Iterator[Item]:
    for one in expiring(work, view, days=SOON, approvals=False):
        yield Item(
            kind="expiry",
            what=one.what,
            why=f"is over since {one.until}" if one.days < 0 else f"ends in {one.days} days, {one.until}",
            next_step=one.next_step,
            right=Right.DECIDE,
            urgent=one.days < 0,
        )


def _people(work: Workplace, view: View) -> Iterator[Item]:
    for one in people.pending(work, view):
        yield Item(
            kind="people",
            what=f"{one.row.name} as {one.row.roles.replace(',', ', ')}",
            why=f"signed by {', '.join(sorted(one.signed)) or 'nobody'}; missing: {one.missing}",
            next_step=f"Compare the key with {one.row.name}, then sign: `tidegate people confirm {one.row.name}`.",
            right=Right.DECIDE,
            subject=one.row.name,
            done_by=frozenset(one.signed),
        )


def _ready(view: View) -> Iterator[Item]:
    for line in store_attention.validated_unserved(view):
        yield Item(
            kind="ready",
            what=f"{line.model}@{line.ordinal}",
            why="it passed a suite here, and no tier has served it",
            next_step="Look at it beside what serves now; ask the stewards, or promote it.",
            right=Right.ASK,
            since=line.added_at,
            subject=line.digest,
        )
