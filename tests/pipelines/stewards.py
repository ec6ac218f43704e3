"""A home of officers with three stewards and an auditor, a version before its gate, and what each of them can try."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipelines.agreements import add_document
from pipelines.approve import ask, record_approval, request_approval
from pipelines.break_glass import (
    promote_by_break_glass,
    record_review,
    request_break_glass,
    request_review,
)
from pipelines.case import Case, case
from pipelines.decide import record_decision, request_decision
from pipelines.intake.folder import add_folder
from pipelines.people import Wanted, change_person, propose, set_person
from pipelines.policies import apply_policy
from pipelines.promote import promote
from pipelines.routers import set_router
from pipelines.workplace import Workplace
from registry import approvals_payload, decisions, tiers_file
from registry.entities import Approval, ApprovalRequest, Decision, Pin
from registry.home import Home, load
from registry.names import Ref
from registry.policy import DEFAULTS
from signing.digests import sha256_hex
from signing.sshsig import public_key_line, sign
from tests import world

DEMO = Path(__file__).parents[2] / "demo"
MODEL = "demo/tiny-toolcaller"
ONE, TWO = Ref.parse(f"{MODEL}@1"), Ref.parse(f"{MODEL}@2")
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
KEYS = {
    name: Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
    for number, name in enumerate(("alice", "bob", "carla", "audra", "mallory"), start=1)
}
ROLES = {"alice": ("steward",), "bob": ("steward",), "carla": ("steward",), "audra": ("auditor",)}


class Stewards:
    """The home at a moment, with what people do in it. `at` gives the same home later, with somebody else acting."""

    def __init__(self, work: Workplace) -> None:
        self.work = work

    def at(self, actor: str = "ines", **passed: float) -> "Stewards":
        return Stewards(replace(self.work, now=self.work.now + timedelta(**passed), actor=actor))

    def ask(self, ref: Ref = ONE, tier: str = "org") -> ApprovalRequest:
        return ask(self.work, ref, tier, reason="the team wants it")

    def payload(self, person: str, *, ref: Ref = ONE, tier: str = "org", **changed: Any) -> bytes:
        """What the person would sign, with any field changed."""
        named, how = changed.pop("named", person), changed.pop("decision", "approve")
        _, answer = request_approval(self.work, ref, tier, reason="read the report", decision=how)
        return approvals_payload.payload(replace(answer, **changed), named)

    def hand_in(
        self, person: str, message: bytes, *, key: str | None = None, ref: Ref = ONE, tier: str = "org"
    ) -> Approval:
        said = "reject" if b'"decision":"reject"' in message else "approve"
        signature = sign(message, namespace=approvals_payload.NAMESPACE, private_key=KEYS[key or person])
        return record_approval(
            self.work, ref, tier, person, payload=message, signature=signature, decision=said
        )

    def approve(self, person: str, *, ref: Ref = ONE, tier: str = "org", **changed: Any) -> Approval:
        return self.hand_in(person, self.payload(person, ref=ref, tier=tier, **changed), ref=ref, tier=tier)

    def reject(self, person: str, **changed: Any) -> Approval:
        return self.approve(person, decision="reject", **changed)

    def break_glass(self, person: str, *, ref: Ref = ONE, tier: str = "org", key: str | None = None) -> Pin:
        _, message = request_break_glass(self.work, ref, tier, person, reason="outage 4711")
        return self.break_with(person, message, ref=ref, tier=tier, key=key)

    def break_with(
        self, person: str, message: bytes, *, ref: Ref = ONE, tier: str = "org", key: str | None = None
    ) -> Pin:
        signature = sign(message, namespace=decisions.NAMESPACE, private_key=KEYS[key or person])
        return promote_by_break_glass(self.work, ref, tier, person, payload=message, signature=signature)[1]

    def review(
        self, person: str, digest: str, verdict: str = "upheld", *, key: str | None = None
    ) -> Decision:
        message = request_review(self.work, digest, verdict, person, reason="looked into it")
        signature = sign(message, namespace=decisions.NAMESPACE, private_key=KEYS[key or person])
        return record_review(self.work, digest, person, payload=message, signature=signature)

    def people(self, wanted: Wanted, *stewards: str) -> None:
        for name in stewards:
            message = propose(self.work, wanted, name, reason="as agreed")
            signature = sign(message, namespace=decisions.NAMESPACE, private_key=KEYS[name])
            change_person(self.work, name, payload=message, signature=signature)

    def policy(self, *stewards: str, **changed: Any) -> None:
        """Put the tier's policy in force with these fields changed, signed; what is pinned may stay."""
        text = rules(**changed)
        for name in stewards:
            message = request_decision(
                self.work, decisions.Kind.APPLY_POLICY, sha256_hex(text.encode()), name, reason="x"
            )
            signature = sign(message, namespace=decisions.NAMESPACE, private_key=KEYS[name])
            record_decision(self.work, name, payload=message, signature=signature)
        apply_policy(self.work, text, although=[f"org:{MODEL}"])

    def promote(self, *, ref: Ref = ONE, tier: str = "org") -> Case:
        return promote(self.work, ref, tier, reason="for everybody")

    def look(self, *, ref: Ref = ONE, tier: str = "org") -> Case:
        with self.work.store.view() as view:
            return case(self.work, view, ref, tier)

    def serves(self, tier: str = "org") -> list[int]:
        with self.work.store.view() as view:
            return [pin.ordinal for pin in view.pin_history(tier, MODEL)]


def rules(**changed: Any) -> str:
    """tiers.toml of this home: two for org, one for team, no suites."""
    plain = [replace(tier, suites=(), served_first=None, fresh_days=None) for tier in DEFAULTS]
    return tiers_file.write([replace(tier, **changed) if tier.tier == "org" else tier for tier in plain])


def found(folder: Path, now: datetime = NOON) -> Home:
    """Make the home; the version is taken in by ines."""
    home = world.new_home(folder, name="clinic", roles=("origin", "site"), profile="officers", now=now)
    with world.at_work(home, actor="ines", now=now) as work:
        apply_policy(work, rules())
        desk = Stewards(work)
        for name, roles in ROLES.items():
            wanted = Wanted(name, public_key_line(KEYS[name]), roles)
            if name == "alice":
                set_person(work, wanted)
            else:
                desk.people(wanted, *(["alice"] if name == "bob" else ["alice", "bob"]))
        for ref in (ONE, TWO):
            add_folder(work, MODEL, DEMO / "models" / f"v{ref.ordinal}")
        _agree(work)
    return home


def _agree(work: Workplace) -> None:
    rows = {}
    for name in ("router-contract-v1", "engine-profile-hermes"):
        rows[name], _ = add_document(work, (DEMO / "contracts" / f"{name}.json").read_bytes())
    for ref in (ONE, TWO):
        add_document(work, (DEMO / "contracts" / "tool-contract-hermes.json").read_bytes(), ref=ref)
    router, profile = rows["router-contract-v1"].digest, rows["engine-profile-hermes"].digest
    for tier in ("team", "org"):
        set_router(work, tier, router=router, profile=profile)


@contextmanager
def at_work(home: Home) -> Iterator[Stewards]:
    """A minute after everything stands."""
    with world.at_work(home, actor="ines", now=NOON + timedelta(minutes=1)) as work:
        yield Stewards(work)


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of officers: alice, bob and carla are its stewards."""
    folder = tmp_path_factory.mktemp("founded") / "home"
    found(folder)
    return folder


@pytest.fixture
def desk(founded: Path, tmp_path: Path) -> Iterator[Stewards]:
    """A copy of that home for one test."""
    shutil.copytree(founded, tmp_path / "home")
    settings = tmp_path / "home" / "tidegate.toml"
    settings.write_text(settings.read_text().replace(str(founded), str(tmp_path / "home")))
    with at_work(load(tmp_path / "home")) as made:
        yield made
