"""Policies in words, beside what each sentence keeps out today; and how they came to be."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response

from pipelines.case import Case, case, rules_of
from registry import policy, store_attention, store_pages
from registry.access import Right
from registry.decisions import Kind
from registry.errors import RegistryRefusal
from registry.gate_facts import Finding
from registry.policy_words import EVERYWHERE, Demand, demands, own
from registry.store_pages import Asked
from registry.tiers_file import compare
from registry.views import View
from tidegate.server.guard import Desk, needs
from tidegate.server.pages.audit.frame import audit_page
from tidegate.server.pages.finding import AtDesk, ref_of
from tidegate.server.pages.look import pages

doors = pages()
_JUDGED = 12  # newest versions that are put before the gate
_CHANGES = 60


@dataclass(frozen=True)
class Stopped:
    """A version that a demand keeps out."""

    ref: str
    digest: str
    finding: Finding


@dataclass(frozen=True)
class Row:
    """A demand, and what it keeps out."""

    demand: Demand
    stopped: Sequence[Stopped]


@doors.get("/audit/policies")
@needs(Right.AUDIT)
def policies(desk: AtDesk) -> Response:
    """Every tier's policy in words, and every change of one."""
    with desk.view() as view:
        rules = [rules_of(desk.work, view, row.tier) for row in view.tiers()]
        history = {one.tier: view.tier_history(one.tier) for one in rules}
        files = store_pages.listing(view, "documents", Asked(20), where={"kind": "policy"}).rows
        signed = {
            row.digest: [one.person for one in view.decisions(str(Kind.APPLY_POLICY), row.digest)]
            for row in files
        }
    changes = []
    for rows in history.values():
        decoded = [policy.decode(row.body.encode()) for row in rows]
        for number, row in enumerate(rows):
            before = decoded[number - 1 : number]
            changes.append(
                (row, [str(one) for one in compare(before, decoded[number : number + 1])] if before else [])
            )
    changes.sort(key=lambda one: one[0].since, reverse=True)
    return audit_page(
        desk,
        "policies.html",
        tiers=[(one, list(own(one))) for one in rules],
        everywhere=EVERYWHERE,
        changes=changes[:_CHANGES],
        files=files,
        signed=signed,
    )


@doors.get("/audit/policies/{tier}")
@needs(Right.AUDIT)
def tier_policy(desk: AtDesk, tier: str) -> Response:
    """What each sentence keeps out: the newest versions are put before the gate now."""
    with desk.view() as view:
        view.tier(tier)
        rules = rules_of(desk.work, view, tier)
        judged, unheld = _judged(desk, view, tier)
    rows = [Row(demand, _stopped(judged, demand)) for demand in demands(rules)]
    return audit_page(
        desk, "policy.html", tier=tier, rules=rules, rows=rows, judged=judged, unheld=unheld, most=_JUDGED
    )


def _judged(desk: Desk, view: View, tier: str) -> tuple[list[Case], list[str]]:
    """The newest versions before the gate; and those whose bytes or record are not whole any more."""
    newest = store_pages.listing(view, "versions", Asked(_JUDGED)).rows
    serves = {pin.version for pin in store_attention.pins_of(view, [tier], [row.model for row in newest])}
    found, unheld = [], []
    for row in newest:
        if row.digest in serves:
            continue
        try:
            found.append(case(desk.work, view, ref_of(row), tier))
        except RegistryRefusal as refusal:
            unheld.append(str(refusal))
    return found, unheld


def _stopped(judged: Sequence[Case], demand: Demand) -> list[Stopped]:
    return [
        Stopped(str(ref_of(one.version)), one.version.digest, finding)
        for one in judged
        for finding in one.against
        if demand.enforced_by(finding.check)
    ]
