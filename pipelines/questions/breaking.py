"""What breaks policy today: every pin before the gate as it stands now, the people behind it, and what truly serves."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines import break_glass
from pipelines.case import case
from pipelines.decide import signers
from pipelines.drift import drift
from pipelines.questions.allowing import judged_again
from pipelines.questions.proving import Prover
from pipelines.questions.serving import evidence_of, served
from pipelines.workplace import Workplace
from registry.entities import Pin
from registry.errors import RegistryRefusal
from registry.names import Ref
from registry.views import View

# Asked once, at the promotion: an approval is used up then, and the lower tier may have moved on since.
ASKED_ONCE = ("approvals", "lower tier")


@dataclass(frozen=True)
class Breach:
    """One thing that is not as the policy of today asks."""

    tier: str
    model: str
    ordinal: int
    check: str  # of the gate, or record, promotion, people, break-glass, serving
    message: str
    next_step: str

    def document(self) -> dict[str, Any]:
        """For programs."""
        return vars(self)


def breaking(work: Workplace, view: View) -> list[Breach]:
    """Return everything that breaks policy today, by tier and model. Expiry is among it and stops nothing."""
    found: list[Breach] = list(_by_the_log(work, view))
    prover = Prover(work, view)
    for pin in view.pins():
        found += _by_its_promotion(prover, view, pin)
        found += _by_the_gate(work, view, pin)
        found += _by_its_people(work, view, pin)
    for item in break_glass.overrides(work, view):
        current = view.pin(item.pin.tier, item.pin.model)
        if not item.reviews and current is not None and current.position == item.pin.position:
            step = f"Review it: `tidegate approvals review {item.decision.digest[:12]} --verdict upheld|objected`."
            found.append(_breach(item.pin, "break-glass", f"rests on {item.person}'s word alone", step))
    found += [
        Breach(one.tier, one.model, 0, "serving", one.message, one.next_step)
        for one in drift(view.pins(), view.observations(), now=work.now)
        if not one.ok and one.kind != "never-seen"
    ]
    return found


def _by_the_log(work: Workplace, view: View) -> Iterator[Breach]:
    """Lines that are not what was recorded: whoever edited them went round the gate."""
    step = "Find out who wrote it: `tidegate audit verify`; then promote what shall serve, or roll back."
    for line in served(work, view)[0]:
        if line.problem is not None:
            yield _breach(line.pin, "record", line.problem, step)


def _by_its_promotion(prover: Prover, view: View, pin: Pin) -> Iterator[Breach]:
    """Lines that should not have been when they were written: whoever holds the station's key can append one."""
    step = (
        f"Find out who wrote it: `tidegate audit why {pin.tier} {pin.model}`; then have it approved and promote it, "
        f"or go back: `tidegate rollback {pin.model} --tier {pin.tier} --reason WHY`."
    )
    for problem in judged_again(prover, view, pin, view.pin_history(pin.tier, pin.model)).problems:
        yield _breach(pin, "promotion", problem, step)


def _by_the_gate(work: Workplace, view: View, pin: Pin) -> Iterator[Breach]:
    try:
        findings = case(work, view, Ref(pin.model, ordinal=pin.ordinal), pin.tier).findings
    except RegistryRefusal as refusal:  # its bytes were removed, or its record is damaged
        yield _breach(pin, "held", str(refusal), refusal.next_step)
        return
    for finding in findings:
        if not finding.ok and finding.check not in ASKED_ONCE:
            yield _breach(pin, finding.check, finding.message, finding.next_step)


def _by_its_people(work: Workplace, view: View, pin: Pin) -> Iterator[Breach]:
    """Whoever approved it and may not sign any more."""
    here, evidence = {one.name for one in signers(work, view)}, set(evidence_of(pin))
    for row in view.approvals(pin.version, pin.tier):
        if row.digest in evidence and row.person not in here:
            step = f"Have it approved again by somebody who is here: `tidegate approvals request {pin.model}@{pin.ordinal} --tier {pin.tier}`."
            yield _breach(pin, "people", f"{row.person}, who approved it, may not sign any more", step)


def _breach(pin: Pin, check: str, message: str, next_step: str) -> Breach:
    return Breach(pin.tier, pin.model, pin.ordinal, check, message, next_step)
