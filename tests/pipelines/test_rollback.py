"""Going back: the whole set, only to what may serve, only to bytes that are what their names say."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.promote import router_row, withdraw
from pipelines.rollback import roll_back
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import Document, Pin, Version
from registry.errors import NotFound
from registry.names import Ref
from registry.pins import NothingToRollBackTo
from signing.digests import sha256_hex
from signing.times import rfc3339
from tests.pipelines.gap import document_row
from tests.pipelines.test_materialise import add, files_of, spoil

TINY = "acme/tiny"


def document(work: Workplace, kind: str, name: str) -> Document:
    row = document_row(f'{{"name":"{name}"}}'.encode(), kind=kind, name=name)
    with work.store.change(actor="sam", now=work.now) as change:
        change.record(EventKind.CONTRACT_ADDED, row.digest, row)
    return row


def serve(
    work: Workplace, version: Version, *, router: str | None = None, profile: str | None = None
) -> None:
    """org serves this set from now on."""
    with work.store.change(actor="bob", now=work.now) as change:
        row = Pin(
            tier="org",
            model=version.model,
            position=len(change.pin_history("org", version.model)) + 1,
            kind="promote",
            version=version.digest,
            ordinal=version.ordinal,
            contract=None,
            profile=profile,
            router=router,
            evidence="[]",
            reason="",
            since=rfc3339(work.now),
            actor="bob",
        )
        change.record(EventKind.PROMOTED, version.digest, row)


@pytest.fixture
def three(workplace: Workplace, tmp_path: Path) -> list[Version]:
    """Versions 1, 2 and 3, which org served one after the other."""
    versions = [add(workplace, tmp_path, seed) for seed in (1, 2, 3)]
    for version in versions:
        serve(workplace, version)
    return versions


def back(work: Workplace) -> int:
    return roll_back(work, TINY, "org", reason="wrong units").pin.ordinal


def test_one_step_at_a_time(workplace: Workplace, three: list[Version]) -> None:
    done = roll_back(workplace, TINY, "org", reason="wrong units")
    assert (3, 2, "rollback", 4) == (done.left.ordinal, done.pin.ordinal, done.pin.kind, done.pin.position)
    with workplace.store.view() as view:
        assert [1, 2, 3, 2] == [pin.ordinal for pin in view.pin_history("org", TINY)]


def test_a_withdrawn_version_is_passed_over(workplace: Workplace, three: list[Version]) -> None:
    withdraw(workplace, Ref.parse(f"{TINY}@2"), reason="licence recalled")
    assert 1 == back(workplace)


def test_damaged_bytes_are_passed_over(workplace: Workplace, three: list[Version]) -> None:
    spoil(workplace, files_of(three[1])["model.safetensors"])
    assert 1 == back(workplace)


def test_missing_bytes_are_passed_over(workplace: Workplace, three: list[Version]) -> None:
    workplace.blobs.path(files_of(three[1])["model.safetensors"]).unlink()
    assert 1 == back(workplace)


def test_with_nothing_whole_left_nothing_changes(workplace: Workplace, three: list[Version]) -> None:
    for version in three[:2]:
        spoil(workplace, files_of(version)["config.json"])
    spoil(workplace, files_of(three[0])["model.safetensors"])
    with pytest.raises(NothingToRollBackTo):
        back(workplace)
    with workplace.store.view() as view:
        assert [1, 2, 3] == [pin.ordinal for pin in view.pin_history("org", TINY)]


def speak(work: Workplace, *, router: str, profile: str) -> None:
    """What the organisation's router and engines run from now on; what the documents say does not matter here."""
    with work.store.change(actor=work.actor, now=work.now) as change:
        row = router_row(work, change, "org", router=router, profile=profile)
        change.record(EventKind.ROUTER_SET, "org", row)


def test_router_and_engine_go_back_with_it(workplace: Workplace, tmp_path: Path) -> None:
    old_router, new_router = (document(workplace, "router-contract", name) for name in ("old", "new"))
    old_profile, new_profile = (document(workplace, "engine-profile", name) for name in ("v1", "v2"))
    first, second = add(workplace, tmp_path, 1), add(workplace, tmp_path, 2)
    speak(workplace, router=old_router.digest, profile=old_profile.digest)
    serve(workplace, first, router=old_router.digest, profile=old_profile.digest)
    speak(workplace, router=new_router.digest, profile=new_profile.digest)
    serve(workplace, second, router=new_router.digest, profile=new_profile.digest)

    done = roll_back(workplace, TINY, "org", reason="x")
    assert done.router_restored
    with workplace.store.view() as view:
        setting = view.router("org")
        assert setting is not None
        assert (old_router.digest, old_profile.digest, 3) == (
            setting.router,
            setting.profile,
            setting.position,
        )


def test_another_model_of_the_tier_stays(workplace: Workplace, tmp_path: Path, three: list[Version]) -> None:
    other = add(workplace, tmp_path, 7, model="acme/other")
    serve(workplace, other)
    back(workplace)
    with workplace.store.view() as view:
        assert {TINY: 2, "acme/other": 1} == {pin.model: pin.ordinal for pin in view.pins()}


def test_a_tier_or_model_that_nobody_serves(workplace: Workplace, three: list[Version]) -> None:
    with pytest.raises(NotFound):
        roll_back(workplace, TINY, "nowhere", reason="x")
    with pytest.raises(NothingToRollBackTo):
        roll_back(workplace, TINY, "team", reason="x")


def test_the_event_says_what_was_left(workplace: Workplace, three: list[Version]) -> None:
    back(replace(workplace, now=workplace.now + timedelta(minutes=1)))
    with workplace.store.view() as view:
        event = view.events(last=1)[0]
    assert (EventKind.ROLLED_BACK, three[1].digest, three[2].digest) == (
        event.kind,
        event.subject,
        event.note["left"],
    )
    assert sha256_hex(three[1].manifest.encode()) == event.subject
