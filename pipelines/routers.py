"""What a tier's router speaks, from when to when; and what a change of it would break, before it takes effect.

Looked at is every model that the tier serves, as it was pinned, and the version that a rollback would lead to: a
router that today's version works with and yesterday's does not has quietly taken the way back away.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

from pipelines import template_served
from pipelines.agreements import read_as
from pipelines.errors import JudgingRefused
from pipelines.promote import router_row
from pipelines.rollback import served
from pipelines.wire.held import rendered
from pipelines.workplace import Workplace
from registry import manifests, pins
from registry.audit import EventKind
from registry.compatibility import Comparison, compare
from registry.contracts import EngineProfile, RouterContract, ToolContract
from registry.entities import Pin, RouterSetting
from registry.errors import NotFound
from registry.names import Ref
from registry.pins import NothingToRollBackTo
from registry.router_patch import Patch, patch_for
from registry.views import View


class RouterBreaksPins(JudgingRefused):
    """A router contract or engine profile with which something that a tier serves, or may go back to, stops working."""

    exit_code: ClassVar[int] = 200
    next_step: ClassVar[str] = (
        "Write a router contract that accepts these versions as well (`tidegate contracts patch REF --tier TIER`); or "
        "name each of them with `--although-it-breaks`."
    )

    def __init__(self, tier: str, broken: Collection["Broken"]) -> None:
        named = "; ".join(f"{item.ref} ({item.place}) would be {item.verdict}" for item in broken)
        super().__init__(f"{tier}: {named}")
        self.tier, self.broken = tier, tuple(broken)


class NoRouterPatch(JudgingRefused):
    """No change of the router contract or the engine profile makes the version work in this tier."""

    exit_code: ClassVar[int] = 201
    next_step: ClassVar[str] = (
        "Choose another version; or have what the findings name stated or measured first. `tidegate contracts compare` "
        "shows each with its own next step."
    )

    def __init__(self, ref: str, tier: str, comparison: Comparison) -> None:
        worst = comparison.against[0]
        super().__init__(f"{ref} in {tier} is {comparison.verdict}: {worst.message}")
        self.ref, self.tier, self.comparison = ref, tier, comparison


@dataclass(frozen=True)
class Broken:
    """A version that would not work any more. `place`: "serves now" or "a rollback leads to it"."""

    ref: str
    digest: str
    place: str
    verdict: str
    comparison: Comparison | None  # None: it was pinned without a tool contract

    def to_json(self) -> dict[str, Any]:
        """Return it with its findings."""
        found = [finding.to_json() for finding in self.comparison.against] if self.comparison else []
        return {
            "ref": self.ref,
            "version": self.digest,
            "place": self.place,
            "verdict": self.verdict,
            "findings": found,
        }


def what_breaks(
    work: Workplace, view: View, tier: str, router: RouterContract, profile: EngineProfile
) -> list[Broken]:
    """Return what works in the tier now, or worked when it was pinned, and would not with these two documents.

    What does not work today either is not broken by the change and not listed.
    """
    setting, found = view.router(tier), []
    for pin, place in _at_stake(view, tier):
        after = _compared(work, view, pin, router, profile)
        if after is not None and after.passed:
            continue
        if setting is not None and pin.contract is not None:
            before = _compared(work, view, pin, *documents_of(view, setting))
            if before is not None and not before.passed:
                continue
        verdict = str(after.verdict) if after is not None else "unknown"
        found.append(Broken(f"{pin.model}@{pin.ordinal}", pin.version, place, verdict, after))
    return found


_NOW, _BACK = "serves now", "a rollback leads to it"


def _at_stake(view: View, tier: str) -> list[tuple[Pin, str]]:
    withdrawn = {row.version for row in view.withdrawals()}
    found = []
    for pin in (pin for pin in view.pins() if pin.tier == tier):
        found.append((pin, _NOW))
        history = view.pin_history(tier, pin.model)
        try:
            back = pins.choose_rollback(tier, pin.model, [*map(served, history)], withdrawn=withdrawn)
        except NothingToRollBackTo:
            continue
        found.extend((line, _BACK) for line in history if line.position == back.position)
    return found


def _compared(
    work: Workplace, view: View, pin: Pin, router: RouterContract, profile: EngineProfile
) -> Comparison | None:
    """As the gate compares: with the template that the version is served with."""
    version = view.version_by_digest(pin.version)
    if pin.contract is None or version is None:
        return None
    template = template_served.brought(view, pin.companions)
    wire = rendered(work.blobs, manifests.decode(version.manifest.encode()), template=template)
    return compare(read_as(view, pin.contract, ToolContract), router, profile, wire=wire)


def documents_of(view: View, setting: RouterSetting) -> tuple[RouterContract, EngineProfile]:
    """The two documents of a tier's setting. Raises `NotFound`."""
    return read_as(view, setting.router, RouterContract), read_as(view, setting.profile, EngineProfile)


def set_router(
    work: Workplace, tier: str, *, router: str, profile: str, although: Collection[Ref] = ()
) -> tuple[RouterSetting, list[Broken]]:
    """From now on the tier's router speaks this contract and its engines run this profile (names or digests).

    Looked at and written in one transaction, so that nothing is pinned in between.

    Args:
        although: versions that are named as being broken by this; the log keeps which.

    Raises:
        NotFound: no such tier or document.
        RouterBreaksPins: one that would break is not among `although`. Nothing was changed.
    """
    with work.store.change(actor=work.actor, now=work.now) as change:
        change.tier(tier)
        rows = change.document("router-contract", router), change.document("engine-profile", profile)
        last = change.router(tier)
        if last is not None and (last.router, last.profile) == (rows[0].digest, rows[1].digest):
            return last, []
        documents = (
            read_as(change, rows[0].digest, RouterContract),
            read_as(change, rows[1].digest, EngineProfile),
        )
        broken = what_breaks(work, change, tier, *documents)
        accepted = {change.version(ref).digest for ref in although}
        if unnamed := [item for item in broken if item.digest not in accepted]:
            raise RouterBreaksPins(tier, unnamed)
        row = router_row(work, change, tier, router=rows[0].digest, profile=rows[1].digest)
        note = {"although_it_breaks": [item.digest for item in broken]} if broken else {}
        change.record(EventKind.ROUTER_SET, tier, row, note=note)
    return row, broken


def patch(work: Workplace, view: View, ref: Ref, tier: str) -> Patch:
    """Say what must change in the tier's router contract and engine profile for a version to work there.

    Raises:
        NotFound: no such version or tier; the version has no tool contract, or the tier no router contract.
        NoRouterPatch: no such change is enough.
    """
    version = view.version(ref)
    view.tier(tier)
    binding, setting = view.binding(version.digest), view.router(tier)
    if binding is None:
        raise NotFound("tool contract of", str(ref))
    if setting is None:
        raise NotFound("router contract of the tier", tier)
    contract = read_as(view, binding.contract, ToolContract)
    router, profile = documents_of(view, setting)
    template = template_served.brought(view, view.companions_for(version))
    wire = rendered(work.blobs, manifests.decode(version.manifest.encode()), template=template)
    found = patch_for(contract, router, profile, wire=wire)
    if found is None:
        raise NoRouterPatch(str(ref), tier, compare(contract, router, profile, wire=wire))
    return found
