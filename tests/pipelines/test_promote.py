"""Promoting: the gate judges in the transaction that pins, on the evidence of that moment."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipelines import promote as promoting
from pipelines.agreements import add_document
from pipelines.approve import record_approval, request_approval
from pipelines.case import case
from pipelines.decide import record_decision, request_decision
from pipelines.intake.folder import add_folder
from pipelines.people import Wanted, change_person, leaver, propose, set_person
from pipelines.policies import apply_policy
from pipelines.promote import promote, withdraw
from pipelines.routers import set_router
from pipelines.workplace import Workplace
from registry import approvals, decisions, tiers_file
from registry.entities import Approval
from registry.gate import GateClosed
from registry.names import Ref
from registry.policy import DEFAULTS
from registry.store import Change
from signing.digests import sha256_hex
from signing.person_refusals import PersonSignatureWrong
from signing.sshsig import public_key_line, sign

DEMO = Path(__file__).parents[2] / "demo"
ONE = Ref.parse("demo/tiny-toolcaller@1")
KEYS = {name: Ed25519PrivateKey.generate() for name in ("alice", "bob")}


@pytest.fixture
def desk(workplace: Workplace) -> Workplace:
    """A home where team demands one approval and no suite, a minute after everything else stands."""
    rules = [replace(tier, suites=()) if tier.tier == "team" else tier for tier in DEFAULTS]
    apply_policy(workplace, tiers_file.write(rules))
    alice, bob = (Wanted(name, public_key_line(key), ("steward",)) for name, key in KEYS.items())
    set_person(workplace, alice)
    signed_change(workplace, bob, "alice")
    add_folder(workplace, ONE.model, DEMO / "models" / "v1")
    rows = {
        name: add_document(
            workplace,
            (DEMO / "contracts" / f"{name}.json").read_bytes(),
            ref=ONE if name.startswith("tool") else None,
        )[0]
        for name in ("tool-contract-hermes", "router-contract-v1", "engine-profile-hermes")
    }
    router, profile = rows["router-contract-v1"].digest, rows["engine-profile-hermes"].digest
    set_router(workplace, "team", router=router, profile=profile)
    return later(workplace, minutes=1)


def later(work: Workplace, **passed: float) -> Workplace:
    return replace(work, now=work.now + timedelta(**passed))


def approve(work: Workplace, person: str, *, key: str | None = None, tier: str = "team") -> Approval:
    _, answer = request_approval(work, ONE, tier, reason="read the report")
    message = approvals.payload(answer, person)
    signature = sign(message, namespace=approvals.NAMESPACE, private_key=KEYS[key or person])
    return record_approval(work, ONE, tier, person, payload=message, signature=signature)


def signed_change(work: Workplace, wanted: Wanted, *stewards: str) -> None:
    """A change of people, signed by these stewards."""
    for name in stewards:
        message = propose(work, wanted, name, reason="x")
        signature = sign(message, namespace=decisions.NAMESPACE, private_key=KEYS[name])
        change_person(work, name, payload=message, signature=signature)


def served(work: Workplace) -> list[int]:
    with work.store.view() as view:
        return [pin.ordinal for pin in view.pin_history("team", ONE.model)]


def test_a_closed_gate_pins_nothing_and_says_everything(desk: Workplace) -> None:
    with pytest.raises(GateClosed) as refusal:
        promote(desk, ONE, "team", reason="")
    assert [] == served(desk)
    assert ["approvals"] == [finding.check for finding in refusal.value.findings if not finding.ok]


def test_an_open_gate_pins_the_whole_set_with_its_evidence(desk: Workplace) -> None:
    row = approve(desk, "alice")
    done = promote(desk, ONE, "team", reason="pilot")
    with desk.store.view() as view:
        pin = view.pin("team", ONE.model)
    assert pin is not None
    assert (done.contract, done.profile, done.router) == (pin.contract, pin.profile, pin.router)
    assert row.digest in json.loads(pin.evidence)
    assert set(done.evidence) <= set(json.loads(pin.evidence))


def _rescan(work: Workplace) -> None:
    from pipelines.intake.record import rescan

    rescan(work, ONE)


def _other_router(work: Workplace) -> None:
    row, _ = add_document(work, (DEMO / "contracts" / "router-contract-v2.json").read_bytes())
    with work.store.view() as view:
        setting = view.router("team")
    assert setting is not None
    set_router(work, "team", router=row.digest, profile=setting.profile)


def _leave(work: Workplace) -> None:
    with work.store.view() as view:
        wanted = leaver(view, "alice")
    signed_change(work, wanted, "bob")


def _new_key(work: Workplace) -> None:
    line = public_key_line(Ed25519PrivateKey.generate())
    signed_change(work, Wanted("alice", line, ("steward",)), "bob")


def _new_policy(work: Workplace) -> None:
    rules = [replace(tier, suites=(), fresh_days=30) if tier.tier == "team" else tier for tier in DEFAULTS]
    text = tiers_file.write(rules)
    digest = sha256_hex(text.encode())
    message = request_decision(work, decisions.Kind.APPLY_POLICY, digest, "bob", reason="x")
    signature = sign(message, namespace=decisions.NAMESPACE, private_key=KEYS["bob"])
    record_decision(work, "bob", payload=message, signature=signature)
    apply_policy(work, text)


def _withdraw(work: Workplace) -> None:
    withdraw(work, ONE, reason="licence recalled")


@pytest.mark.parametrize("meanwhile", [_rescan, _other_router, _leave, _new_key, _new_policy, _withdraw])
def test_what_happens_after_the_approval_voids_it(
    desk: Workplace, meanwhile: Callable[[Workplace], None]
) -> None:
    approve(desk, "alice")
    meanwhile(later(desk, minutes=1))
    with pytest.raises(GateClosed):
        promote(later(desk, minutes=2), ONE, "team", reason="")
    assert [] == served(desk)


def test_time_voids_it_too(desk: Workplace) -> None:
    approve(desk, "alice")
    with pytest.raises(GateClosed):
        promote(later(desk, hours=73), ONE, "team", reason="")


def test_evidence_that_comes_between_the_look_and_the_pin_counts(desk: Workplace) -> None:
    """A person looked at an open gate; while they typed, the version was withdrawn. The transaction looks again."""
    approve(desk, "alice")
    with desk.store.view() as view:
        assert case(desk, view, ONE, "team").open
    withdraw(desk, ONE, reason="licence recalled")
    with pytest.raises(GateClosed):
        promote(desk, ONE, "team", reason="")


def test_a_crash_after_the_pin_and_before_the_commit_leaves_no_pin(
    desk: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve(desk, "alice")
    real = promoting.append_pin

    def dying(work: Workplace, change: Change, *rest: object, **named: object) -> None:
        real(work, change, *rest, **named)  # type: ignore[arg-type]  # passed through
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(promoting, "append_pin", dying)
        with pytest.raises(KeyboardInterrupt):
            promote(desk, ONE, "team", reason="")
    assert [] == served(desk)
    promote(desk, ONE, "team", reason="")
    assert [1] == served(desk)


def test_an_approval_is_used_up_by_its_promotion(desk: Workplace) -> None:
    approve(desk, "alice")
    promote(desk, ONE, "team", reason="")
    with pytest.raises(GateClosed):
        promote(desk, ONE, "team", reason="again")
    assert [1] == served(desk)


def test_a_signature_by_another_key_is_not_kept(desk: Workplace) -> None:
    with pytest.raises(PersonSignatureWrong):
        approve(desk, "alice", key="bob")
    with desk.store.view() as view:
        assert [] == [entry for entry in view.events() if entry.kind == "approved"]


def test_a_request_names_exactly_the_evidence_of_now(desk: Workplace) -> None:
    asked, answer = request_approval(desk, ONE, "team", reason="x")
    assert set(asked.evidence) == set(answer.evidence)
    assert (asked.digest, asked.shown_sha256) == (answer.request, answer.shown_sha256)
    assert (desk.now, desk.now + timedelta(hours=72)) == (answer.issued_at, answer.expires_at)
    assert isinstance(answer.issued_at, datetime)
