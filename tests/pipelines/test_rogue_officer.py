"""One rogue officer, with a real key and a shell on the server, wants a version in `org` without a second person.

Each row is something that bob can do alone. None of them may put the version in force.
"""

import json
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from pipelines.intake.record import rescan
from pipelines.people import Wanted, leaver
from pipelines.rollback import roll_back
from registry import approvals_payload
from registry.approval_requests import NotAsShown
from registry.approvals_payload import ApprovalUnreadable
from registry.break_glass import BreakGlassRefused
from registry.errors import NotFound, PolicyUnsigned
from registry.gate import GateClosed
from signing.digests import sha256_hex
from signing.errors import OperatorError
from signing.person_refusals import PersonSignatureWrong
from signing.sshsig import public_key_line, sign
from tests.pipelines.stewards import KEYS, MODEL, ONE, TWO, Stewards, desk, founded

__all__ = ["desk", "founded"]  # fixtures


def refused(by: type[OperatorError], attempt: Callable[[], object]) -> None:
    with pytest.raises(by):
        attempt()


def alone(desk: Stewards) -> None:
    desk.approve("bob")


def twice(desk: Stewards) -> None:
    desk.approve("bob")
    desk.at(seconds=1).approve("bob")


def in_her_name(desk: Stewards) -> None:
    """He knows what alice would sign, and hands it in with his own signature."""
    desk.approve("bob")
    refused(PersonSignatureWrong, lambda: desk.hand_in("alice", desk.payload("alice"), key="bob"))


def with_her_signature_elsewhere(desk: Stewards) -> None:
    """She approved it for team: he hands the same bytes in for org."""
    message = desk.payload("alice", tier="team")
    refused(ApprovalUnreadable, lambda: desk.hand_in("alice", message))
    desk.approve("bob")


def of_another_version(desk: Stewards) -> None:
    message = desk.payload("alice", ref=TWO)
    refused(ApprovalUnreadable, lambda: desk.hand_in("alice", message))
    desk.approve("bob")


def what_he_asked_for(desk: Stewards) -> None:
    desk.at("bob").ask()
    desk.at(seconds=1).approve("alice")
    desk.at(seconds=2).approve("bob")


def what_he_measured(desk: Stewards) -> None:
    """A scan is a measurement: who made it does not judge it."""
    rescan(desk.at("bob").work, ONE)
    later = desk.at(minutes=1)
    later.approve("alice")
    later.approve("bob")


def with_a_second_name(desk: Stewards) -> None:
    """A new person takes two stewards; his own signature under it leaves it pending."""
    desk.people(Wanted("mallory", public_key_line(KEYS["mallory"]), ("steward",)), "bob")
    desk.approve("bob")
    refused(NotFound, lambda: desk.approve("mallory"))


def after_its_time(desk: Stewards) -> None:
    desk.approve("alice")
    desk.at(hours=73).approve("bob")


def used_before(desk: Stewards) -> None:
    """It served and was rolled back for cause. Her old signature does not bring it back."""
    for name in ("alice", "carla"):
        desk.approve(name, ref=TWO)
        desk.approve(name)
    desk.promote(ref=TWO)
    desk.at(seconds=1).promote()
    roll_back(desk.at(seconds=2).work, MODEL, "org", reason="wrong units")
    desk.at(seconds=3).approve("bob")


def with_other_evidence(desk: Stewards) -> None:
    """She looked at one scan; he makes another before he signs himself."""
    desk.approve("alice")
    rescan(desk.at("ines", minutes=1).work, ONE)
    desk.at(minutes=2).approve("bob")


def past_her_no(desk: Stewards) -> None:
    """Carla had approved before alice said no: with bob's that makes two, and still it is a no."""
    desk.approve("carla")
    desk.at(seconds=1).reject("alice")
    desk.at(seconds=2).approve("bob")
    refused(BreakGlassRefused, lambda: desk.at(seconds=3).break_glass("bob"))


def sending_her_away(desk: Stewards) -> None:
    """To take somebody out one steward is enough. Her "no" stays."""
    past_her_no(desk)
    with desk.work.store.view() as view:
        wanted = leaver(view, "alice")
    desk.at(minutes=1).people(wanted, "bob")


def showing_her_another_page(desk: Stewards) -> None:
    """He edits the page that stands on record after she signed, so that it says what he likes."""
    desk.ask()
    desk.approve("alice")
    with sqlite3.connect(desk.work.home.database.removeprefix("sqlite:///")) as database:
        [(body,)] = database.execute("select body from approvalrequest").fetchall()
        said = json.loads(body) | {"page": "All is well.\n"}
        database.execute("update approvalrequest set body = ?", (json.dumps(said),))
    desk.at(seconds=1).approve("bob")


def having_her_sign_another_page(desk: Stewards) -> None:
    """He writes the payload himself: it names a page that was never shown."""
    message = desk.payload("alice", shown_sha256=sha256_hex(b"All is well.\n"))
    refused(NotAsShown, lambda: desk.hand_in("alice", message))
    desk.approve("bob")


def with_a_softer_policy(desk: Stewards) -> None:
    """What asks less of people takes as many as it would spare."""
    refused(PolicyUnsigned, lambda: desk.policy("bob", approvals=1))
    desk.at(seconds=1).approve("bob")


def with_nobody_left_to_ask(desk: Stewards) -> None:
    """To send the others away he needs nobody. It makes his word no heavier."""
    for name in ("alice", "carla"):
        with desk.work.store.view() as view:
            wanted = leaver(view, name)
        desk.people(wanted, "bob")
    refused(PolicyUnsigned, lambda: desk.at(seconds=1).policy("bob", approvals=1))
    desk.at(seconds=1).approve("bob")


def with_an_old_form(desk: Stewards) -> None:
    """A payload as older releases made it binds nothing that was shown."""
    message = desk.payload("alice", shown_sha256=None, request=None, policy=None)
    refused(ApprovalUnreadable, lambda: desk.hand_in("alice", message))
    desk.approve("bob")


def for_another_action(desk: Stewards) -> None:
    refused(ApprovalUnreadable, lambda: desk.approve("alice", action="rollback"))
    desk.approve("bob")


def with_the_log_edited(desk: Stewards) -> None:
    """He writes the row of an approval into the table himself, with a signature of his own."""
    message = desk.payload("alice")
    signature = sign(message, namespace=approvals_payload.NAMESPACE, private_key=KEYS["bob"])
    row = desk.approve("bob")
    with sqlite3.connect(desk.work.home.database.removeprefix("sqlite:///")) as database:
        database.execute(
            "insert into approval (digest, version, tier, person, payload, signature, made_at) "
            "values (?, ?, 'org', 'alice', ?, ?, ?)",
            (sha256_hex(message), row.version, message.decode(), signature, row.made_at),
        )


ATTEMPTS = [
    alone, twice, in_her_name, with_her_signature_elsewhere, of_another_version, what_he_asked_for, what_he_measured,
    with_a_second_name, after_its_time, used_before, with_other_evidence, past_her_no, sending_her_away,
    showing_her_another_page, having_her_sign_another_page, with_a_softer_policy, with_nobody_left_to_ask, with_an_old_form, for_another_action, with_the_log_edited,
]  # fmt: skip


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: str(attempt.__name__))
def test_one_rogue_officer_promotes_nothing_alone(
    desk: Stewards, attempt: Callable[[Stewards], None]
) -> None:
    attempt(desk)
    later = desk.at(hours=74) if attempt is after_its_time else desk.at(minutes=3)
    before = later.serves()
    said_no = attempt in (past_her_no, sending_her_away)
    with pytest.raises(
        GateClosed, match="1 of 14 checks are against: " + ("rejections" if said_no else "approvals")
    ):
        later.promote()
    assert before == later.serves()


def test_two_who_had_no_part_in_it_do(desk: Stewards) -> None:
    desk.at("bob").ask()
    later = desk.at(seconds=1)
    later.approve("alice")
    later.approve("carla")
    later.promote()
    assert [1] == later.serves()


def test_two_stewards_together_may_ask_less_of_people(desk: Stewards) -> None:
    desk.policy("bob", "alice", approvals=1)
    later = desk.at(seconds=1)
    later.approve("carla")
    later.promote()
    assert [1] == later.serves()


@pytest.mark.parametrize(
    "softer", [{"approvals": 1}, {"hardware_keys": False}, {"approval_methods": ("ssh", "piv")}]
)
def test_each_way_of_asking_less_takes_them_both(desk: Stewards, softer: dict[str, Any]) -> None:
    desk.policy("alice", hardware_keys=True, approval_methods=("ssh",))
    strict: dict[str, Any] = {"hardware_keys": True, "approval_methods": ("ssh",)}
    with pytest.raises(PolicyUnsigned, match="so far bob"):
        desk.at(seconds=1).policy("bob", **strict | softer)
