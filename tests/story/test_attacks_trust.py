"""What attackers tried against people, approvals and evidence, each told as it happened: nothing of it may work.

Combinations above all: an administrator with the station's key who also holds somebody's old key, who waits, who was
here before. What one of them alone tries stands beside what it attacks; the table is docs/explanation/threats.md.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipelines.audit_folder import Narrowing, export
from pipelines.break_glass import request_break_glass
from pipelines.case import case
from pipelines.decide import record_decision, request_decision
from pipelines.people import passed_over
from pipelines.people_following import enrolled_root, follow_unsigned, home_document
from pipelines.promote import append_pin
from pipelines.questions.allowing import why
from pipelines.questions.breaking import breaking
from pipelines.questions.deciding import decided
from pipelines.questions.reporting import report
from registry import decisions, policy
from registry import people as documents
from registry.approvals_payload import NAMESPACE, decode
from registry.audit import EventKind
from registry.authority import Registered, authority
from registry.decisions import Kind
from registry.entities import Approval, Person, TierPolicy
from registry.gate import GateClosed
from signing.digests import sha256_hex
from signing.sshsig import public_key_line, sign
from signing.times import rfc3339
from tests import second_reader
from tests.pipelines import stewards
from tests.pipelines.gap import make_world
from tests.pipelines.stewards import ONE, Stewards, desk, founded
from tests.pipelines.test_people_carried import LINES, Office
from tests.tidegate.test_audit_export import mend
from tidegate.verifying import verify

__all__ = ["desk", "founded"]  # fixtures


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """A site that holds its origin's list of people, and where nobody is registered yet."""
    made = Office(make_world(tmp_path_factory.mktemp("followed") / "world"))
    made.open()
    made.arrive()
    return made


class TestAnAdministratorOfASiteThatFollows:
    """Root, SQL and the station's key at the site; no key of the origin, and no steward's that is good."""

    @pytest.fixture
    def office(self, known: Office, tmp_path: Path) -> Office:
        return Office(known.gap.copied(tmp_path / "world"))

    def begin_to_follow(self, office: Office) -> None:
        with office.gap.at(office.gap.site) as work:
            follow_unsigned(work)
        office.arrive()

    def append(self, office: Office, row: Registered) -> None:
        with office.gap.at(office.gap.site) as work, work.store.change(actor="root", now=work.now) as change:
            change.record(EventKind.PERSON_SET, row.name, Person(**vars(row), method="ssh", actor="root"))

    def test_writes_a_list_of_people_of_their_own(self, office: Office) -> None:
        """A document that says that the origin knows mallory: the home holds it, and the origin never signed it."""
        self.begin_to_follow(office)
        olaf = office.at_the_site()["olaf"]
        gap = office.gap
        with gap.at(gap.site) as work, work.store.change(actor="root", now=work.now) as change:
            held = change.documents(documents.KIND)[-1]
            said = documents.decode(held.body.encode())
            mallory = replace(
                said.people[0],
                name="mallory",
                keys=(replace(said.people[0].keys[0], public_key=LINES["bob"]),),
            )
            forged = documents.encode(replace(said, version=said.version + 1, people=(mallory, *said.people)))
            row = home_document(work, documents.KIND, enrolled_root(change), forged)
            change.record(EventKind.PEOPLE_TAKEN, row.digest, row)
        self.append(
            office,
            replace(
                olaf, name="mallory", position=1, public_key=LINES["bob"],
                authority=authority(document=sha256_hex(forged), bundle="b-9"),
            ),
        )  # fmt: skip
        assert "mallory" not in office.at_the_site()

    def test_lets_in_whom_the_origin_names_where_nobody_said_to_follow(self, office: Office) -> None:
        """olga of the origin is this site's administrator: the document that waits here names her."""
        office.join("alice")
        with office.gap.at(office.gap.site) as work, work.store.view() as view:
            [held] = view.documents(documents.KIND)
            [olga] = [one for one in documents.decode(held.body.encode()).people if one.name == "olga"]
        said = authority(document=held.digest, bundle="b-1")
        self.append(
            office,
            Registered("olga", 1, LINES["olga"], ",".join(olga.roles), True, olga.keys[0].since, None, said),
        )
        assert {"alice"} == set(office.at_the_site())

    def test_comes_back_by_the_edition_of_before_she_left(self, office: Office) -> None:
        self.begin_to_follow(office)
        before = office.at_the_site()["olga"]
        office.lose("olga")
        office.arrive()
        self.append(office, replace(before, position=3))
        assert {"olaf"} == set(office.at_the_site())

    def test_brings_a_lost_key_back_that_the_newest_edition_still_lists_as_ended(
        self, office: Office
    ) -> None:
        self.begin_to_follow(office)
        lost = office.at_the_site()["olga"]
        office.rekey("olga", "new")
        office.arrive()
        now = office.at_the_site()["olga"]
        assert LINES["new"] == now.public_key
        self.append(office, replace(now, position=now.position + 1, public_key=lost.public_key))
        assert LINES["new"] == office.at_the_site()["olga"].public_key


class TestAnAdministratorWithOneSteward:
    """Root, SQL and the station's key, and bob's word: where two have to approve."""

    def append_policy(self, desk: Stewards, subject: str, **changed: Any) -> None:
        with desk.work.store.change(actor="root", now=desk.work.now) as change:
            row = change.tier("org")
            rules = replace(policy.decode(row.body.encode()), **changed)
            forged = {**row.content(), "position": row.position + 1, "body": policy.encode(rules).decode()}
            change.record(
                EventKind.POLICY_ADDED, subject, TierPolicy(**forged | {"since": rfc3339(desk.work.now)})
            )

    def signed_by_bob(self, desk: Stewards, text: str) -> str:
        """bob signs a file that asks for one approval, which takes two to sign; returns its digest."""
        digest = sha256_hex(text.encode())
        message = request_decision(desk.work, Kind.APPLY_POLICY, digest, "bob", reason="x")
        made = sign(message, namespace=decisions.NAMESPACE, private_key=stewards.KEYS["bob"])
        record_decision(desk.work, "bob", payload=message, signature=made)
        with desk.work.store.change(actor="root", now=desk.work.now) as change:
            row = home_document(desk.work, "policy", "tiers.toml", text.encode())
            change.record(EventKind.POLICY_ADDED, digest, row)
        return digest

    def test_writes_a_policy_that_asks_for_fewer_people(self, desk: Stewards) -> None:
        for subject in ("ab" * 32, self.signed_by_bob(desk, stewards.rules(approvals=1))):
            self.append_policy(desk, subject, approvals=1)
        later = desk.at(minutes=1)
        later.approve("bob")
        with pytest.raises(GateClosed, match="1 of 14 checks are against: approvals"):
            later.promote()
        with desk.work.store.view() as view:
            named = passed_over(desk.work, view)
        assert 2 == len(named)
        assert "policy 3 of org" in named[0]
        assert "1 more signature(s) of stewards" in named[1]

    def test_writes_strangers_before_the_first_person(self, desk: Stewards) -> None:
        """Else the policy would seem to be of the founding: rows of people are counted as the log tells of them."""
        self.append_policy(desk, "ab" * 32, approvals=1)
        with sqlite3.connect(desk.work.home.database.removeprefix("sqlite:///")) as database:
            for number in range(9):
                database.execute(
                    "insert into person (id, name, position, public_key, roles, active, since, actor, authority) "
                    "select ?, ?, 1, public_key, 'author', 1, since, actor, authority from person where name = 'alice'",
                    (-1 - number, f"zed-{number}"),
                )
        later = desk.at(minutes=1)
        later.approve("bob")
        with pytest.raises(GateClosed, match="approvals"):
            later.promote()

    def test_writes_one_that_two_signed_and_changes_what_it_says(self, desk: Stewards) -> None:
        """Alice and bob signed for a smaller memory; the row also asks for fewer people."""
        text = stewards.rules(max_bytes=2**40)
        desk.at(seconds=1).policy("alice", "bob", max_bytes=2**40)
        self.append_policy(desk, sha256_hex(text.encode()), max_bytes=2**40, approvals=1)
        later = desk.at(minutes=1)
        later.approve("bob")
        with pytest.raises(GateClosed, match="approvals"):
            later.promote()

    def test_appends_it_to_the_table_alone(self, desk: Stewards) -> None:
        with sqlite3.connect(desk.work.home.database.removeprefix("sqlite:///")) as database:
            database.execute(
                "insert into tierpolicy (tier, position, rank, body, since, actor) "
                "select tier, 3, rank, replace(body, '\"approvals\":2', '\"approvals\":1'), since, 'root' "
                "from tierpolicy where tier = 'org' and position = 2"
            )
        desk.approve("bob")
        with pytest.raises(GateClosed, match="approvals"):
            desk.at(minutes=1).promote()


class TestAnAdministratorWhoWritesTheLine:
    """Root, SQL and the station's key: the gate is closed, and the log and the gate's signed answer say it was open."""

    def write(self, desk: Stewards) -> None:
        with desk.work.store.change(actor="root", now=desk.work.now) as change:
            found = case(desk.work, change, ONE, "org")
            passed = tuple(replace(one, ok=True) for one in found.findings)
            assert ["approvals"] == [one.check for one in found.against]
            append_pin(desk.work, change, replace(found, findings=passed), kind="promote", reason="x")
        assert [] == verify(desk.work.store, desk.work.home)

    def answers(self, desk: Stewards) -> list[list[str]]:
        """What `audit why`, `decided`, `breaches` and `report` find wrong; each ends its command."""
        with desk.work.store.view() as view:
            return [
                why(desk.work, view, "org", stewards.MODEL).doubts,
                decided(desk.work, view, "org", stewards.MODEL).doubts,
                [one.message for one in breaking(desk.work, view) if one.check == "promotion"],
                report(desk.work, view, stewards.MODEL).doubts,
            ]

    def test_without_asking_anybody(self, desk: Stewards) -> None:
        self.write(desk)
        few, nobody = "0 of 2 approvals count", "nobody's word is on record, and the policy asked for 2"
        assert [[few], [nobody], [few], [few, nobody]] == self.answers(desk)

    def test_with_one_steward_and_a_second_key_in_anothers_name(self, desk: Stewards) -> None:
        """bob signs; a row gives alice mallory's key, and mallory signs as alice."""
        desk.at("bob").approve("bob")
        message = desk.payload("alice")
        with desk.work.store.change(actor="root", now=desk.work.now) as change:
            [alice] = change.person_history("alice")
            line = public_key_line(stewards.KEYS["mallory"])
            forged = {**alice.content(), "position": 2, "public_key": line}
            change.record(EventKind.PERSON_SET, "alice", Person(**forged))
            said, signature = (
                decode(message)[0],
                sign(message, namespace=NAMESPACE, private_key=stewards.KEYS["mallory"]),
            )
            row = Approval(
                digest=sha256_hex(message), version=said.digest, tier="org", person="alice", payload=message.decode(),
                signature=signature, made_at=rfc3339(desk.work.now), decision="approve", request=said.request,
            )  # fmt: skip
            change.record(EventKind.APPROVED, said.digest, row)
        self.write(desk.at(minutes=1))
        few = "1 of 2 approvals count"
        of_why, of_decided, of_breaches, of_report = self.answers(desk.at(minutes=1))
        assert ([few], [few]) == (of_why, of_breaches)
        assert f"{few}, and the policy asked for 2" in of_decided
        assert {few, *of_decided} <= set(of_report)


class TestAForgedAuditFolder:
    """Handed to an auditor who has the verifier, and no key of this home from anybody else."""

    @pytest.fixture(scope="class")
    @staticmethod
    def verify() -> Iterator[ModuleType]:
        with second_reader.loaded() as modules:
            yield modules["verify"]

    def export(self, desk: Stewards, folder: Path) -> Path:
        export(desk.work, folder, Narrowing())
        return folder

    def test_of_a_home_that_says_it_is_one_persons(
        self, desk: Stewards, tmp_path: Path, verify: ModuleType, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """One approved where two have to; nothing signs audit.json, so it says that one is enough."""
        desk.approve("alice")
        later = desk.at(minutes=1)
        with later.work.store.change(actor="root", now=later.work.now) as change:
            found = case(later.work, change, ONE, "org")
            append_pin(later.work, change, found, kind="promote", reason="x")
        folder = self.export(later, tmp_path / "audit")
        assert 1 == verify.main(["promotion", str(folder), "org", stewards.MODEL])
        assert "1 of 2 approvals" in capsys.readouterr().out
        about = folder / "audit.json"
        about.write_bytes(about.read_bytes().replace(b'"profile":"officers"', b'"profile":"solo"'))
        mend(folder)
        assert 1 == verify.main(["promotion", str(folder), "org", stewards.MODEL])
        assert "1 of 2 approvals" in capsys.readouterr().out

    def test_with_the_name_of_another_home(
        self, desk: Stewards, tmp_path: Path, verify: ModuleType, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = self.export(desk, tmp_path / "audit")
        about = folder / "audit.json"
        about.write_bytes(about.read_bytes().replace(b'"home":"clinic"', b'"home":"harbour"'))
        mend(folder)
        assert 1 == verify.main(["audit", str(folder)])
        assert "not signed by the log's key, tidegate/harbour" in capsys.readouterr().out

    def test_with_a_person_whom_only_a_row_made_steward(
        self, desk: Stewards, tmp_path: Path, verify: ModuleType, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Signed by the station, in the log, word for word: and nobody ever let mallory in."""
        row = Registered(
            "mallory", 1, public_key_line(stewards.KEYS["mallory"]), "steward", True, rfc3339(desk.work.now),
            authority=authority(founding=True),
        )  # fmt: skip
        with desk.work.store.change(actor="root", now=desk.work.now) as change:
            change.record(EventKind.PERSON_SET, row.name, Person(**vars(row), method="ssh", actor="root"))
        folder = self.export(desk, tmp_path / "audit")
        assert 1 == verify.main(["audit", str(folder)])
        assert "stewards who had to sign for a person did not" in capsys.readouterr().out

    def test_with_a_salt_that_eats_into_the_value(self, verify: ModuleType) -> None:
        """Salt and value are hashed one after the other: a longer salt leaves a shorter value."""
        salt, value = bytes(16), 'she said "no"'
        stands = {"salted": sha256_hex(salt + verify.canonical(value))}
        shorter = verify.canonical(value).index(b'"no')
        other = (salt + verify.canonical(value)[:shorter]).hex()
        log = object.__new__(verify.Audit)
        log.about, log.rows = {"profile": "solo"}, {}
        for opening, fits in (([f"/note/{0}", salt.hex(), value], True), (["/note/0", other, 'no"'], False)):
            event = {"position": 0, "note": {"0": dict(stands)}, "rows": [], "kind": "", "format": "/2"}
            if fits:
                log.replay(0, event, [opening])
            else:
                with pytest.raises(verify.Wrong, match="opens to something else"):
                    log.replay(0, event, [opening])

    def test_with_words_that_move_the_readers_cursor(
        self, desk: Stewards, tmp_path: Path, verify: ModuleType, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A rogue officer's reason wipes the line that says BREAK-GLASS, and writes another one."""
        _, message = request_break_glass(
            desk.work, ONE, "org", "bob", reason="\x1b[2K\rapproved by alice and bob\u202e"
        )
        desk.break_with("bob", message)
        folder = self.export(desk.at(minutes=1), tmp_path / "audit")
        assert 0 == verify.main(["promotion", str(folder), "org", stewards.MODEL])
        said = capsys.readouterr().out
        assert "BREAK-GLASS by bob alone" in said
        assert not {"\x1b", "\r", "\u202e"} & set(said)
