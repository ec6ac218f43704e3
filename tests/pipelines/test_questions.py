"""The auditor asks, and somebody with a shell has been at the tables: each edit is named where an answer rests on it."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pipelines.suites
from pipelines.break_glass import loud
from pipelines.case import case
from pipelines.people import leaver
from pipelines.promote import append_pin, withdraw
from pipelines.questions.allowing import Allowed, why
from pipelines.questions.breaking import breaking
from pipelines.questions.deciding import Decided, decided
from pipelines.questions.overridden import Overridden, overridden
from pipelines.questions.proving import predicate_of
from pipelines.questions.reporting import report
from pipelines.questions.serving import Served, served
from pipelines.questions.touched import Touched, touched
from pipelines.questions.whence import whence
from pipelines.report_page import page
from pipelines.rollback import roll_back
from pipelines.suites.adding import add_suite
from registry import policy
from registry.audit import EventKind
from registry.entities import Pin, Report, TierPolicy
from registry.errors import NotFound
from registry.home import load
from registry.names import Ref
from signing import sshsig, summaries
from signing.canonical import canonical_bytes
from signing.digests import sha256_hex
from signing.sshsig import public_key_line
from signing.times import from_rfc3339, rfc3339
from tests.pipelines import stewards
from tests.pipelines.stewards import KEYS, MODEL, NOON, ONE, TWO, Stewards

BASICS = Path(pipelines.suites.__file__).parent / "builtin" / "tool-basics"


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """org serves version 1, approved by alice and bob."""
    folder = tmp_path_factory.mktemp("founded") / "home"
    stewards.found(folder)
    with stewards.at_work(load(folder)) as desk:
        desk.ask()
        for name in ("alice", "bob"):
            desk.at(name).approve(name)
        desk.promote()
    return folder


@pytest.fixture
def desk(founded: Path, tmp_path: Path) -> Iterator[Stewards]:
    shutil.copytree(founded, tmp_path / "home")
    settings = tmp_path / "home" / "tidegate.toml"
    settings.write_text(settings.read_text().replace(str(founded), str(tmp_path / "home")))
    with stewards.at_work(load(tmp_path / "home")) as made:
        yield made.at(hours=1)


def sql(desk: Stewards, statement: str, *values: object) -> None:
    """What an administrator with a shell can do."""
    with sqlite3.connect(desk.work.home.path / "registry.db") as database:
        assert database.execute(statement, values).rowcount > 0, "the attack has to hit something"


def ask_why(desk: Stewards, tier: str = "org", at: str | None = None) -> Allowed:
    with desk.work.store.view() as view:
        return why(desk.work, view, tier, MODEL, at=at)


def ask_decided(desk: Stewards, tier: str = "org") -> Decided:
    with desk.work.store.view() as view:
        return decided(desk.work, view, tier, MODEL)


def ask_served(desk: Stewards, **asked: Any) -> tuple[list[Served], list[str]]:
    with desk.work.store.view() as view:
        return served(desk.work, view, **asked)


def ask_touched(desk: Stewards, who: str) -> Touched:
    with desk.work.store.view() as view:
        return touched(desk.work, view, who)


def ask_overridden(desk: Stewards) -> tuple[list[Overridden], list[str]]:
    with desk.work.store.view() as view:
        return overridden(desk.work, view)


def pins(desk: Stewards) -> list[Pin]:
    with desk.work.store.view() as view:
        return view.pin_history("org", MODEL)


def broken_glass(desk: Stewards) -> str:
    digest = desk.break_glass("carla", ref=TWO).override
    assert digest is not None
    return digest


class TestTheAnswer:
    def test_everything_that_a_promotion_rests_on_is_verified(self, desk: Stewards) -> None:
        found = ask_why(desk)
        assert [] == found.doubts
        kinds = [proof.kind for proof in found.proofs]
        assert {"version", "report", "document", "approval", "approval request", "statement"} <= set(kinds)
        assert (2, 2) == (kinds.count("approval"), kinds.count("statement"))
        assert "approvals" in found.checks
        assert ("PASSED", 2) == (found.verdict, (found.policy or {})["approvals"])

    def test_the_signed_answer_names_exactly_the_evidence(self, desk: Stewards) -> None:
        (pin,) = pins(desk)
        with desk.work.store.view() as view:
            rows = [row for row in view.statements(pin.version) if row.predicate == summaries.VSA]
        (said,) = map(predicate_of, rows)
        inputs = [one["digest"]["sha256"] for one in said["inputAttestations"]]
        assert json.loads(pin.evidence) == inputs

    def test_who_signed_the_policy_is_part_of_the_answer(self, desk: Stewards) -> None:
        desk.policy("alice", "bob", approvals=3)
        later = desk.at(hours=1)
        later.ask(ref=TWO)
        for name in ("alice", "bob", "carla"):
            later.at(name).approve(name, ref=TWO)
        later.promote(ref=TWO)
        found = ask_why(later)
        assert [] == found.doubts
        assert 3 == (found.policy or {})["approvals"]
        said = [proof.said.split(", ")[0] for proof in found.proofs if proof.kind == "decision"]
        assert ["decision apply-policy by alice", "decision apply-policy by bob"] == said

    def test_each_person_saw_the_page_that_they_signed_for(self, desk: Stewards) -> None:
        found = ask_decided(desk)
        assert ["alice", "bob"] == [word.person for word in found.words]
        assert all(word.shown and word.shown.startswith("May org of clinic serve") for word in found.words)
        assert all(word.counted and not word.not_signed for word in found.words)
        assert [] == found.doubts

    def test_a_rejection_is_told_and_did_not_count(self, desk: Stewards) -> None:
        desk.reject("carla")
        last = ask_decided(desk).words[-1]
        assert ("carla", "reject", False) == (last.person, last.decision, last.counted)

    def test_who_left_since_was_there_then(self, desk: Stewards) -> None:
        with desk.work.store.view() as view:
            gone = leaver(view, "bob")
        desk.people(gone, "alice")
        assert [] == ask_why(desk).doubts
        with desk.work.store.view() as view:
            found = breaking(desk.work, view)
        assert ["bob, who approved it, may not sign any more"] == [
            one.message for one in found if one.check == "people"
        ]

    def test_before_the_first_promotion_nothing_served(self, desk: Stewards) -> None:
        assert ([], []) == ask_served(desk, at=rfc3339(NOON))
        with pytest.raises(NotFound):
            ask_why(desk, at=rfc3339(NOON))

    def test_on_a_past_date_the_line_of_then_answers(self, desk: Stewards) -> None:
        then = rfc3339(desk.work.now)
        later = desk.at(hours=1)
        later.break_glass("carla", ref=TWO)
        (line,), _ = ask_served(later, at=then)
        assert (1, rfc3339(later.work.now)) == (line.pin.ordinal, line.until)
        assert ("PASSED", 1) == ((now := ask_why(later, at=then)).verdict, now.served.pin.ordinal)

    def test_after_a_rollback_the_promotion_that_it_went_back_to_answers(self, desk: Stewards) -> None:
        later = desk.at(hours=1)
        later.break_glass("carla", ref=TWO)
        last = desk.at(hours=2)
        roll_back(last.work, MODEL, "org", reason="worse")
        found = ask_why(last)
        assert ("rollback", 1, "PASSED") == (found.served.pin.kind, found.judged.position, found.verdict)
        assert [] == found.doubts
        assert ["alice", "bob"] == [word.person for word in ask_decided(last).words]

    def test_a_withdrawn_version_breaks_policy_and_still_serves(self, desk: Stewards) -> None:
        withdraw(desk.work, ONE, reason="poisoned")
        with desk.work.store.view() as view:
            checks = [one.check for one in breaking(desk.work, view)]
        assert "withdrawn" in checks


class TestBreakGlass:
    def test_it_is_shown_as_such_until_and_after_the_review(self, desk: Stewards) -> None:
        digest = broken_glass(desk)
        found = ask_why(desk)
        assert (("approvals",), "FAILED") == (found.overridden, found.verdict)
        assert [] == found.doubts
        ((line,), gone) = ask_overridden(desk)
        assert ("carla", "NOT REVIEWED", []) == (line.person, line.standing, gone)
        with desk.work.store.view() as view:
            assert "break-glass" in [one.check for one in breaking(desk.work, view)]
        desk.review("audra", digest, "objected")
        ((line,), _) = ask_overridden(desk)
        assert ("objected by audra", "VERIFIED") == (line.standing, line.mark)
        words = [(word.person, word.decision, word.shown is not None) for word in ask_decided(desk).words]
        assert [("carla", "break-glass", True), ("audra", "review objected", False)] == words

    def test_a_forged_review_is_none(self, desk: Stewards) -> None:
        digest = broken_glass(desk)
        desk.review("audra", digest)
        sql(desk, "update decision set person = 'bob' where kind = 'review'")
        ((line,), _) = ask_overridden(desk)
        assert "NOT REVIEWED" == line.standing

    def test_a_decision_that_was_taken_out_is_named(self, desk: Stewards) -> None:
        digest = broken_glass(desk)
        sql(desk, "delete from decision where digest = ?", digest)
        ((line,), gone) = ask_overridden(desk)
        assert ("unknown", "NOT VERIFIED") == (line.person, line.mark)
        assert any("was taken out of the table" in text for text in gone)
        assert any("nothing is recorded under this digest" in text for text in ask_why(desk).doubts)

    def test_a_decision_that_was_taken_out_silences_nobody(self, desk: Stewards) -> None:
        digest = broken_glass(desk)
        for attack in (
            "update decision set payload = 'x' where digest = ?",
            "delete from decision where digest = ?",
        ):
            sql(desk, attack, digest)
            with desk.work.store.view() as view:
                (line,) = loud(desk.work, view)
                checks = {one.check for one in breaking(desk.work, view)}
            assert "on nobody on record's word alone" in line
            assert "break-glass" in checks

    def test_a_pin_that_hides_it_is_named(self, desk: Stewards) -> None:
        broken_glass(desk)
        sql(desk, "update pin set override = null where override is not null")
        with desk.work.store.view() as view:
            assert "record" in {one.check for one in breaking(desk.work, view)}
        (doubt, *_) = ask_why(desk).doubts
        assert "override is nothing, recorded was" in doubt


def forge(
    desk: Stewards, ref: Ref = ONE, *, kind: str = "promote", at: str | None = None, **changed: Any
) -> None:
    """What an administrator with the station's key does: a line and a gate's answer that says PASSED, recorded."""
    with desk.work.store.change(actor="root", now=from_rfc3339(at) if at else desk.work.now) as change:
        found = case(desk.work, change, ref, "org")
        passed = tuple(replace(one, ok=True) for one in found.findings)
        work = replace(desk.work, now=from_rfc3339(at)) if at else desk.work
        append_pin(work, change, replace(found, findings=passed, **changed), kind=kind, reason="x")


def measured(desk: Stewards, outcome: str) -> None:
    """A run of the suite on version 2, as it is recorded."""
    with desk.work.store.change(actor="ines", now=desk.work.now) as change:
        found, suite = case(desk.work, change, TWO, "org"), change.document("suite", "tool-basics").digest
        about: dict[str, object] = {"outcome": outcome, "tier": "org", "identity": {"state": "proven"}}
        about |= {"reasons": [], "quarantined": [], "engine": None, "fingerprint": None}
        body = canonical_bytes(about).decode()
        row = Report(
            digest=sha256_hex(body.encode()), kind="validation", version=found.version.digest, outcome=outcome, suite=suite,
            contract=found.contract, profile=found.profile, statement=None, body=body, made_at=rfc3339(desk.work.now),
            made_by="ines",
        )  # fmt: skip
        if change.kept(row.digest) is None:
            change.record(EventKind.SUITE_RUN, row.version, row)


def ask_breaches(desk: Stewards) -> list[tuple[str, str]]:
    with desk.work.store.view() as view:
        return [(one.check, one.message) for one in breaking(desk.work, view)]


class TestAForgedLine:
    """Recorded, signed by the station, and word for word what the log says: only the people did not say so."""

    def test_that_nobody_approved(self, desk: Stewards) -> None:
        forge(desk, TWO)
        found = ask_why(desk)
        assert (["0 of 2 approvals count"], "PASSED", ()) == (found.doubts, found.verdict, found.counted)
        said = ["nobody's word is on record, and the policy asked for 2"]
        assert said == ask_decided(desk).doubts
        assert ("promotion", "0 of 2 approvals count") in ask_breaches(desk)
        with desk.work.store.view() as view:
            assert {"0 of 2 approvals count", *said} <= set(report(desk.work, view, MODEL).doubts)

    def test_that_was_approved_afterwards(self, desk: Stewards) -> None:
        forge(desk, TWO)
        for name in ("alice", "bob"):
            desk.at(name, minutes=1).approve(name, ref=TWO)
        assert ["0 of 2 approvals count"] == ask_why(desk).doubts
        assert [False, False] == [word.counted for word in ask_decided(desk).words]

    def test_that_one_approved(self, desk: Stewards) -> None:
        desk.at("alice").approve("alice", ref=TWO)
        forge(desk.at(minutes=1), TWO)
        assert ["1 of 2 approvals count"] == ask_why(desk).doubts
        assert ["1 of 2 approvals count, and the policy asked for 2"] == ask_decided(desk).doubts

    def test_that_rests_on_approvals_that_were_used_up(self, desk: Stewards) -> None:
        """Version 1 again, after version 2: with the evidence of its first line."""
        desk.break_glass("carla", ref=TWO)
        with desk.work.store.change(actor="root", now=desk.work.now) as change:
            first = change.pin_history("org", MODEL)[0]
            row = Pin(**{**first.content(), "position": 3, "since": rfc3339(desk.work.now)})
            change.record(EventKind.PROMOTED, row.version, row)
        (doubt,) = ask_why(desk).doubts
        assert "0 of 2 approvals count" in doubt
        assert "has been used for a promotion already" in doubt

    def test_with_a_moment_at_which_the_approvals_had_not_expired(self, desk: Stewards) -> None:
        for name in ("alice", "bob"):
            desk.at(name).approve(name, ref=TWO)
        then, later = rfc3339(desk.work.now), desk.at(hours=80)
        something_else(later, 1)
        with later.work.store.view() as view:
            judged = case(desk.work, view, TWO, "org").approvals
        forge(later, TWO, at=then, approvals=judged)
        (doubt,) = ask_why(later).doubts
        assert "0 of 2 approvals count" in doubt
        assert "not counted: alice: expired" in doubt

    def test_past_a_rejection(self, desk: Stewards) -> None:
        for name in ("alice", "bob"):
            desk.at(name).approve(name, ref=TWO)
        desk.at("carla", minutes=1).reject("carla", ref=TWO)
        forge(desk.at(minutes=2), TWO)
        (doubt,) = ask_why(desk).doubts
        assert "pinned past a rejection: carla" in doubt
        sql(desk, "delete from approval where decision = 'reject'")
        (doubt,) = ask_why(desk).doubts
        assert "what carla said (reject)" in doubt

    def test_of_a_version_that_was_withdrawn(self, desk: Stewards) -> None:
        for name in ("alice", "bob"):
            desk.at(name).approve(name, ref=TWO)
        withdraw(desk.work, TWO, reason="poisoned")
        forge(desk.at(minutes=2), TWO)
        assert ["it had been withdrawn: poisoned"] == ask_why(desk).doubts
        sql(desk, "delete from withdrawal")
        assert ["it had been withdrawn: poisoned"] == ask_why(desk).doubts

    def test_without_the_suite_that_the_tier_demands(self, desk: Stewards) -> None:
        desk.policy("alice", "bob", suites=("tool-basics",))
        for name in ("alice", "bob"):
            desk.at(name, minutes=1).approve(name, ref=TWO)
        forge(desk.at(minutes=2), TWO)
        assert ["suite tool-basics: it had not been run on this version"] == ask_why(desk).doubts

    @pytest.mark.parametrize(
        ("outcome", "doubts"), [("PASSED", []), ("FAILED", ["suite tool-basics: FAILED in its newest run"])]
    )
    def test_of_an_automatic_tier_rests_on_its_suites_alone(
        self, desk: Stewards, outcome: str, doubts: list[str]
    ) -> None:
        add_suite(desk.work, BASICS)
        desk.policy("alice", "bob", suites=("tool-basics",), approvals=0, mode="automatic")
        measured(desk, "PASSED")
        measured(desk, outcome)
        forge(desk.at(minutes=2), TWO)
        found = ask_why(desk)
        assert (doubts, 0) == (found.doubts, (found.policy or {})["approvals"])
        assert [] == ask_decided(desk).doubts

    def test_by_a_policy_that_nobody_signed(self, desk: Stewards) -> None:
        with desk.work.store.change(actor="root", now=desk.work.now) as change:
            row = change.tier("org")
            body = policy.encode(replace(policy.decode(row.body.encode()), approvals=0, mode="automatic"))
            row = TierPolicy(**{**row.content(), "position": row.position + 1, "body": body.decode()})
            change.record(EventKind.POLICY_ADDED, "ab" * 32, row)
        forge(desk.at(minutes=1), TWO, policy=sha256_hex(body))
        shortage, other = ask_why(desk).doubts
        assert "0 of 2 approvals count" == shortage
        assert "policy 2 of org, which was in force then" in other
        assert "policy 3 of org" in other

    def test_that_goes_back_to_a_set_that_never_served(self, desk: Stewards) -> None:
        desk.break_glass("carla", ref=TWO)
        roll_back(desk.at(minutes=1).work, MODEL, "org", reason="worse")
        with desk.work.store.change(actor="root", now=desk.at(minutes=2).work.now) as change:
            last = change.pin_history("org", MODEL)[-1]
            row = Pin(**{**last.content(), "position": 4, "profile": None})
            change.record(EventKind.ROLLED_BACK, row.version, row)
        assert any("went back to is not held" in doubt for doubt in ask_why(desk).doubts)

    def test_that_goes_back_to_what_was_withdrawn_since(self, desk: Stewards) -> None:
        desk.break_glass("carla", ref=TWO)
        withdraw(desk.work, ONE, reason="poisoned")
        with desk.work.store.change(actor="root", now=desk.at(minutes=2).work.now) as change:
            first = change.pin_history("org", MODEL)[0]
            row = Pin(**{**first.content(), "position": 3, "kind": "rollback"})
            change.record(EventKind.ROLLED_BACK, row.version, row)
        assert ["it had been withdrawn before the way back: poisoned"] == ask_why(desk).doubts

    def test_that_claims_a_break_glass_of_before(self, desk: Stewards) -> None:
        broken_glass(desk)
        with desk.work.store.change(actor="root", now=desk.at(minutes=2).work.now) as change:
            last = change.pin_history("org", MODEL)[-1]
            row = Pin(**{**last.content(), "position": 3, "kind": "promote"})
            change.record(EventKind.PROMOTED, row.version, row)
        assert {"the break-glass was used for a promotion before", "0 of 2 approvals count"} <= set(
            ask_why(desk).doubts
        )

    def test_that_claims_a_break_glass_of_another_version(self, desk: Stewards) -> None:
        digest = broken_glass(desk)
        with desk.work.store.change(actor="root", now=desk.at(minutes=2).work.now) as change:
            first = change.pin_history("org", MODEL)[0]
            row = Pin(**{**first.content(), "position": 3, "override": digest, "evidence": f'["{digest}"]'})
            change.record(EventKind.PROMOTED, row.version, row)
        assert "the break-glass is about something else" in ask_why(desk).doubts


EDITS = {
    "a report's body": ("update report set body = replace(body, ':', ': ') where kind = 'scan'", "its bytes"),
    "a report's author": ("update report set made_by = 'mallory'", "made_by is mallory, recorded was ines"),
    "a statement": (
        "update statement set payload = replace(payload, 'PASSED', 'FAILED') where predicate like '%verification_sum%'",
        "its bytes",
    ),
    "a statement's signature": (
        "update statement set signature = (select signature from statement where id = 1) where predicate = 'urn:tidegate:pin:v1'",
        "signature",
    ),
    "an approval's signature": (
        "update approval set signature = (select signature from approval where person = 'bob') where person = 'alice'",
        "alice",
    ),
    "an approval's person": ("update approval set person = 'carla' where person = 'alice'", "carla"),
    "an approval's payload": (
        "update approval set payload = replace(payload, 'read the report', 'read all reports') where person = 'bob'",
        "its bytes",
    ),
    "the tier's policy": ("update tierpolicy set body = replace(body, '2', '1') where tier = 'org'", "policy"),
    "the page": ("update approvalrequest set body = replace(body, 'scanned here', 'looked at')", "its bytes"),
    "the version's manifest": ("update version set manifest = replace(manifest, 'apache', 'apachf')", "its bytes"),
    "who brought it": ("update version set added_by = 'nobody'", "added_by is nobody, recorded was ines"),
    "the line": ("update pin set reason = 'as agreed'", "reason is as agreed, recorded was for everybody"),
    "the line's date": ("update pin set since = '2026-11-20T12:00:30Z'", "since is 2026-11-20T12:00:30Z"),
    "the line's evidence": ("update pin set evidence = '[]'", "evidence is []"),
    "the engine profile": ("update document set body = replace(body, 'llama', 'lama') where kind = 'engine-profile'", "its bytes"),
    "a leaf of the log": ("update event set leaf = replace(leaf, 'promoted', 'promotod') where kind = 'promoted'", "event"),
    "an event's openings": ("update event set openings = '[]' where kind = 'approved'", "event"),
    "the head": ("update checkpoint set root = replace(root, 'a', 'b')", "another log"),
    "the head's note": ("update checkpoint set note = replace(note, 'clinic', 'klinic')", "head"),
}  # fmt: skip


class TestTamperedTables:
    @pytest.mark.parametrize("what", EDITS)
    def test_an_edit_is_named_by_why(self, desk: Stewards, what: str) -> None:
        statement, said = EDITS[what]
        sql(desk, statement)
        found = ask_why(desk)
        assert not found.verified
        assert any(said in doubt for doubt in found.doubts), found.doubts

    def test_a_page_that_was_removed_is_missed(self, desk: Stewards) -> None:
        sql(desk, "delete from approvalrequest")
        assert [None, None] == [word.shown for word in ask_decided(desk).words]

    def test_a_line_that_was_taken_out_is_named_and_the_one_before_does_not_stand_for_it(
        self, desk: Stewards
    ) -> None:
        later = desk.at(hours=1)
        later.break_glass("carla", ref=TWO)
        sql(later, "delete from pin where ordinal = 2")
        (line,), gone = ask_served(later)
        assert 1 == line.pin.ordinal
        assert "line 2 of org" in (line.problem or "")
        assert gone
        sql(later, "delete from pin")
        assert ask_served(later)[0] == []
        assert 2 == len(ask_served(later)[1])

    def test_a_line_that_was_added_is_named(self, desk: Stewards) -> None:
        with desk.work.store.view() as view:
            two = view.version(TWO).digest
        columns = "tier, model, kind, contract, profile, router, evidence, reason, since, actor"
        sql(
            desk,
            f"insert into pin ({columns}, position, version, ordinal) select {columns}, 2, ?, 2 from pin",
            two,
        )
        (line,), _ = ask_served(desk)
        assert (2, "no event recorded it") == (line.pin.ordinal, line.problem)

    def test_a_no_that_was_taken_out_is_named(self, desk: Stewards) -> None:
        desk.reject("carla")
        sql(desk, "delete from approval where person = 'carla'")
        (doubt,) = ask_decided(desk).doubts
        assert "what carla said (reject)" in doubt
        (gone,) = ask_touched(desk, "carla").gone
        assert "approval of carla" in gone


class TestTextsMadeUnreadable:
    @pytest.mark.parametrize(
        "text", ["", "x", "[]", "{}", "[1, {}]", "null", '{"details": 1}', "[" * 100_000, "\ud800"]
    )
    def test_no_answer_fails_over_them(self, desk: Stewards, text: str) -> None:
        broken_glass(desk)
        for column in ("decision.payload", "approval.payload", "approvalrequest.body", "statement.payload", "statement.signature",
                       "pin.evidence", "report.body", "document.body", "version.manifest", "tierpolicy.body"):  # fmt: skip
            table, name = column.split(".")
            sql(desk, f"update {table} set {name} = ?", text.encode(errors="replace").decode())
        assert ask_why(desk).doubts
        assert ask_decided(desk).doubts
        assert ask_touched(desk, "carla").doubts
        assert not ask_overridden(desk)[0][0].proof.verified
        with desk.work.store.view() as view:
            assert whence(desk.work, view, Ref.parse(f"{MODEL}@1")).doubts
            assert "NOT VERIFIED" in page(report(desk.work, view, MODEL))


class TestForgedPeople:
    def test_a_key_that_somebody_wrote_into_the_table_signs_for_nobody(self, desk: Stewards) -> None:
        """mallory gives alice a second key, signs alice's approval with it, and puts that into alice's row."""
        line = public_key_line(KEYS["mallory"])
        columns = "name, position, public_key, roles, active, since, actor, authority"
        sql(
            desk,
            f"insert into person ({columns}) select name, 2, ?, roles, active, since, actor, authority from person "
            "where name = 'alice'",
            line,
        )
        with desk.work.store.view() as view:
            (row,) = [one for one in view.approvals() if one.person == "alice"]
        forged = sshsig.sign(row.payload.encode(), namespace="approval@tidegate", private_key=KEYS["mallory"])
        sql(desk, "update approval set signature = ? where person = 'alice'", forged)
        (proof,) = [one for one in ask_why(desk).proofs if "approval by alice" in one.said]
        assert ("", False) == (proof.signed_by, proof.verified)
        forged_key = ask_touched(desk, "alice").keys[-1]
        assert not forged_key.proof.verified

    def test_a_key_that_was_exchanged_in_the_founders_row_is_named(self, desk: Stewards) -> None:
        sql(
            desk,
            "update person set public_key = ? where name = 'alice'",
            public_key_line(KEYS["mallory"]),
        )
        assert not ask_why(desk).verified
        assert any("public_key" in doubt for doubt in ask_touched(desk, "alice").doubts)


class TestTouched:
    def test_what_a_person_signed_is_proved_and_what_ran_is_claimed(self, desk: Stewards) -> None:
        found = ask_touched(desk, "alice")
        assert {"approve", "set-person"} == {one.what for one in found.signed}
        assert all(one.proof.verified for one in found.signed)
        assert ["approved"] == [one["kind"] for one in found.acted]
        assert ("nobody (founding)", "alice, bob") == (
            found.keys[0].by,
            ask_touched(desk, "carla").keys[0].by,
        )

    def test_a_key_names_what_it_signed(self, desk: Stewards) -> None:
        by_name = ask_touched(desk, "bob")
        fingerprint = by_name.keys[0].fingerprint
        assert by_name.signed == ask_touched(desk, fingerprint[:20]).signed

    def test_too_few_letters_of_a_key_name_none(self, desk: Stewards) -> None:
        with pytest.raises(NotFound):
            ask_touched(desk, "SHA256:")

    def test_the_trust_key_of_the_origin_tells_its_roles_and_what_it_signed(self, desk: Stewards) -> None:
        with desk.work.store.view() as view:
            keyid = whole_trust_key(desk)
            found = touched(desk.work, view, keyid[:10])
        assert ("root",) == tuple(role for role in found.trust[0].roles if role == "root")
        assert {"root, version 1"} <= {one.document_name for one in found.trust_signed}
        assert all(one.holds for one in found.trust_signed)


def whole_trust_key(desk: Stewards) -> str:
    root = json.loads((desk.work.home.trust / "1.root.json").read_text())
    return str(root["signed"]["roles"]["root"]["keyids"][0])


class TestWhence:
    def test_an_origins_word_about_our_tier_is_no_word_of_ours(self, desk: Stewards) -> None:
        """A claim is taken for our own when its row is taken out; but we did not sign it."""
        with desk.work.store.view() as view:
            found = whence(desk.work, view, Ref.parse(f"{MODEL}@1"))
        assert [] == found.doubts
        sql(desk, "update version set brought_by = '20261120-01'")
        with desk.work.store.view() as view:
            found = whence(desk.work, view, Ref.parse(f"{MODEL}@1"))
        assert any("20261120-01, which brought it, is not recorded" in doubt for doubt in found.doubts)


def test_a_question_reads_what_it_is_about_and_not_the_whole_log(desk: Stewards) -> None:
    """The same question about the same pin reads as many events on a home where much else happened."""
    before = _events_read(desk)
    for number in range(30):
        something_else(desk, number)
    assert before == _events_read(desk)


def something_else(desk: Stewards, number: int) -> None:
    with desk.work.store.change(actor="ines", now=desk.work.now) as change:
        change.record(EventKind.RESTAMPED, f"{number:064x}")


def _events_read(desk: Stewards) -> int:
    with desk.work.store.view() as view:
        count = 0
        asked = view.events

        def counting(**narrowed: Any) -> Any:
            nonlocal count
            found = asked(**narrowed)
            count += len(found)
            return found

        view.events = counting  # type: ignore[method-assign]
        why(desk.work, view, "org", MODEL)
    return count
