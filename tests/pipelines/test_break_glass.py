"""Break-glass: one steward, past what is only late; and a "no", which nobody gets past alone."""

from datetime import timedelta
from typing import Any

import pytest

from pipelines.account import account
from pipelines.break_glass import (
    ReviewRefused,
    loud,
    overrides,
    request_break_glass,
)
from pipelines.intake.record import rescan
from pipelines.open_requests import waiting
from pipelines.people import leaver
from pipelines.promote import withdraw
from pipelines.rollback import roll_back
from registry.approval_requests import NotAsShown
from registry.break_glass import BreakGlassRefused
from registry.decisions import DecisionUnreadable
from registry.errors import NotFound
from registry.gate import GateClosed
from signing.digests import sha256_hex
from signing.person_refusals import PersonSignatureWrong
from tests.pipelines.stewards import MODEL, ONE, TWO, Stewards, desk, founded
from tidegate.verifying import verify

__all__ = ["desk", "founded"]  # fixtures


def broken(desk: Stewards) -> str:
    """Carla breaks the glass; returns the decision's digest."""
    pin = desk.break_glass("carla")
    assert pin.override is not None
    return pin.override


def shouted(desk: Stewards) -> list[str]:
    with desk.work.store.view() as view:
        return loud(desk.work, view)


def said(desk: Stewards) -> list[str]:
    with desk.work.store.view() as view:
        return [item.said for item in overrides(desk.work, view)]


def events(desk: Stewards) -> list[str]:
    with desk.work.store.view() as view:
        return [entry.kind for entry in view.events(last=6)]


class TestBreakingIt:
    def test_one_steward_is_enough_and_everybody_is_told(self, desk: Stewards) -> None:
        with pytest.raises(GateClosed):
            desk.promote()
        digest = broken(desk)
        assert [1] == desk.serves()
        [line] = shouted(desk)
        assert "on carla's word alone, past approvals" in line
        assert digest[:12] in line
        assert ["BREAK-GLASS by carla, NOT REVIEWED"] == said(desk)
        assert ["break-glass", "promoted"] == events(desk)[-2:]
        assert [] == verify(desk.work.store, desk.work.home)

    def test_the_account_shows_it_for_ever(self, desk: Stewards) -> None:
        digest = broken(desk)
        desk.at(minutes=1).review("audra", digest)
        later = desk.at(minutes=2)
        later.approve("alice")
        later.approve("bob")
        desk.at(minutes=3).promote()
        found = account(later.work, ONE)
        assert "BREAK-GLASS by carla, upheld by audra; past approvals" in found.text
        assert [True, False] == [item["break_glass"] is not None for item in found.document["served"]]

    @pytest.mark.parametrize(
        ("person", "key", "refusal"),
        [
            ("audra", "audra", DecisionUnreadable),
            ("carla", "mallory", PersonSignatureWrong),
            ("mallory", "mallory", NotFound),
        ],
    )
    def test_only_a_steward_with_their_own_key_may(
        self, desk: Stewards, person: str, key: str, refusal: Any
    ) -> None:
        with pytest.raises(refusal):
            desk.break_glass(person, key=key)
        assert [] == desk.serves()

    def test_not_over_a_withdrawal(self, desk: Stewards) -> None:
        withdraw(desk.work, ONE, reason="leaks prompts")
        with pytest.raises(BreakGlassRefused, match="leaks prompts"):
            desk.break_glass("carla")

    def test_not_over_a_withdrawal_that_came_after_the_signature(self, desk: Stewards) -> None:
        _, message = request_break_glass(desk.work, ONE, "org", "carla", reason="outage")
        withdraw(desk.work, ONE, reason="leaks prompts")
        with pytest.raises(BreakGlassRefused, match="leaks prompts"):
            desk.break_with("carla", message)

    def test_not_when_the_gate_is_open(self, desk: Stewards) -> None:
        desk.approve("alice")
        desk.approve("bob")
        with pytest.raises(BreakGlassRefused, match="nothing to override"):
            desk.break_glass("carla")

    def test_the_page_that_was_signed_has_to_be_the_page_of_now(self, desk: Stewards) -> None:
        _, message = request_break_glass(desk.work, ONE, "org", "carla", reason="outage")
        rescan(desk.at(minutes=1).work, ONE)
        with pytest.raises(NotAsShown, match="page"):
            desk.at(minutes=2).break_with("carla", message)

    def test_the_checks_that_were_signed_have_to_be_those_of_now(self, desk: Stewards) -> None:
        _, message = request_break_glass(desk.work, ONE, "org", "carla", reason="outage")
        desk.policy("alice", served_first="team")
        with pytest.raises(NotAsShown, match="lower tier"):
            desk.break_with("carla", message)

    def test_the_signature_serves_once_and_for_one_thing(self, desk: Stewards) -> None:
        _, message = request_break_glass(desk.work, ONE, "org", "carla", reason="outage")
        for elsewhere in ({"ref": TWO}, {"tier": "team"}):
            with pytest.raises(DecisionUnreadable):
                desk.break_with("carla", message, **elsewhere)
        desk.break_with("carla", message)
        with pytest.raises((BreakGlassRefused, NotAsShown)):
            desk.at(seconds=1).break_with("carla", message)

    def test_the_signature_ends_after_four_hours(self, desk: Stewards) -> None:
        _, message = request_break_glass(desk.work, ONE, "org", "carla", reason="outage")
        with pytest.raises(DecisionUnreadable, match="is over"):
            desk.at(hours=4).break_with("carla", message)

    def test_a_tier_of_hardware_keys_wants_one_here_too(self, desk: Stewards) -> None:
        desk.policy("alice", hardware_keys=True)
        with pytest.raises(PersonSignatureWrong, match="hardware key is demanded"):
            desk.break_glass("carla")

    def test_going_back_to_it_makes_it_nobody_elses_word(self, desk: Stewards) -> None:
        digest = broken(desk)
        for name in ("alice", "bob"):
            desk.approve(name, ref=TWO)
        desk.at(seconds=1).promote(ref=TWO)
        back = roll_back(desk.at(seconds=2).work, MODEL, "org", reason="wrong units").pin
        assert digest == back.override
        assert 2 == len(shouted(desk))


class TestReviewingIt:
    def test_another_person_ends_the_noise_and_not_the_memory(self, desk: Stewards) -> None:
        digest = broken(desk)
        desk.at(minutes=1).review("audra", digest[:12])
        assert [] == shouted(desk)
        assert ["BREAK-GLASS by carla, upheld by audra"] == said(desk)
        assert "break-glass reviewed" == events(desk)[-1]

    def test_one_objection_outweighs(self, desk: Stewards) -> None:
        digest = broken(desk)
        desk.at(minutes=1).review("audra", digest)
        desk.at(minutes=2).review("alice", digest, "objected")
        assert ["BREAK-GLASS by carla, OBJECTED TO by alice"] == said(desk)

    def test_not_by_who_broke_the_glass(self, desk: Stewards) -> None:
        digest = broken(desk)
        with pytest.raises(ReviewRefused, match="carla broke the glass"):
            desk.review("carla", digest)
        with pytest.raises(PersonSignatureWrong):
            desk.review("audra", digest, key="carla")
        assert ["BREAK-GLASS by carla, NOT REVIEWED"] == said(desk)

    def test_of_nothing_is_refused(self, desk: Stewards) -> None:
        digest = broken(desk)
        for other in (sha256_hex(b"x"), digest[:7], ""):
            with pytest.raises(NotFound):
                desk.review("audra", other)

    def test_outlives_the_reviewers_stay(self, desk: Stewards) -> None:
        digest = broken(desk)
        desk.at(minutes=1).review("audra", digest, "objected")
        with desk.work.store.view() as view:
            wanted = leaver(view, "audra")
        desk.at(minutes=2).people(wanted, "carla")
        assert ["BREAK-GLASS by carla, OBJECTED TO by audra"] == said(desk)


class TestRejecting:
    def test_blocks_whatever_the_approvals_are(self, desk: Stewards) -> None:
        desk.approve("alice")
        desk.approve("bob")
        desk.at(seconds=1).reject("carla")
        with pytest.raises(GateClosed, match="against: rejections"):
            desk.at(seconds=2).promote()
        assert "rejected" == events(desk)[-1]

    def test_new_evidence_does_not_wash_it_off(self, desk: Stewards) -> None:
        desk.reject("carla")
        rescan(desk.at(minutes=1).work, ONE)
        assert ["carla"] == [no.person for no in desk.at(minutes=2).look().approvals.rejections]

    def test_ends_when_its_maker_approves_later(self, desk: Stewards) -> None:
        desk.reject("carla")
        desk.at(seconds=1).approve("carla")
        desk.at(seconds=1).approve("alice")
        desk.at(seconds=2).promote()
        assert [1] == desk.serves()

    def test_ends_when_two_others_approve_later(self, desk: Stewards) -> None:
        desk.reject("carla")
        desk.at(seconds=1).approve("alice")
        with pytest.raises(GateClosed):
            desk.at(seconds=1).promote()
        desk.at(seconds=1).approve("bob")
        desk.at(seconds=2).promote()
        assert [1] == desk.serves()

    def test_they_see_it_on_the_page_that_they_sign(self, desk: Stewards) -> None:
        desk.reject("carla")
        row = desk.at(seconds=1).ask()
        assert "carla rejected it on" in row.body
        assert "read the report" in row.body

    def test_ends_with_its_time(self, desk: Stewards) -> None:
        until = desk.work.now + timedelta(days=2)
        desk.reject("carla", expires_at=until)
        assert desk.at(days=1).look().approvals.rejections
        assert not desk.at(days=2).look().approvals.rejections

    def test_only_by_a_steward(self, desk: Stewards) -> None:
        from registry.approvals_payload import ApprovalUnreadable

        with pytest.raises(ApprovalUnreadable, match="no steward"):
            desk.reject("audra")

    def test_is_not_counted_as_an_approval(self, desk: Stewards) -> None:
        desk.reject("carla")
        assert () == desk.look().approvals.counted


class TestWhatWaits:
    def states(self, desk: Stewards) -> list[str]:
        with desk.work.store.view() as view:
            return [item.state for item in waiting(desk.work, view)]

    def test_is_said_as_it_goes_on(self, desk: Stewards) -> None:
        desk.ask()
        assert ["0 of 2"] == self.states(desk)
        desk.approve("alice")
        assert ["1 of 2 (alice)"] == self.states(desk)
        desk.at(seconds=1).reject("carla")
        assert ["rejected by carla"] == self.states(desk.at(seconds=1))
        for name in ("bob", "carla"):
            desk.at(seconds=2).approve(name)
        assert "ready to promote" in self.states(desk.at(seconds=3))[-1]
        desk.at(seconds=3).promote()
        assert "it is served" == self.states(desk)[-1]

    def test_a_request_about_what_was_is_out_of_date(self, desk: Stewards) -> None:
        desk.ask()
        rescan(desk.at(minutes=1).work, ONE)
        assert ["out of date: ask again"] == self.states(desk.at(minutes=2))
        withdraw(desk.at(minutes=2).work, ONE, reason="x")
        assert ["withdrawn"] == self.states(desk)

    def test_what_was_promoted_waits_no_more_when_another_serves(self, desk: Stewards) -> None:
        """An approval serves for one promotion: after a way back somebody asks anew."""
        for at, ref in ((0, ONE), (10, TWO)):
            desk.at(seconds=at).ask(ref=ref)
            for name in ("bob", "carla"):
                desk.at(seconds=at + 1).approve(name, ref=ref)
            desk.at(seconds=at + 2).promote(ref=ref)
        assert ["it was served", "it is served"] == self.states(desk.at(seconds=13))
        roll_back(desk.at(seconds=14).work, MODEL, "org", reason="wrong units")
        assert ["it is served", "it was served"] == self.states(desk.at(seconds=15))

    def test_asking_twice_is_asking_once(self, desk: Stewards) -> None:
        assert desk.ask().digest == desk.at(hours=1).ask().digest
        assert desk.ask().digest != desk.at("bob").ask().digest
