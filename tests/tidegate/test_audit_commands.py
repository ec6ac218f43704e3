"""`tidegate audit`: what an auditor is told when somebody with the database's password has been at work."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pipelines.bundle.errors import ReceiptWrong
from signing.checkpoint import CheckpointSignatureWrong, CheckpointUnreadable
from tests.tidegate.town import MODEL, Town
from tidegate.errors import AuditBroken


def sql(town: Town, *statements: str) -> None:
    with closing(sqlite3.connect(town.site.home / "registry.db")) as database, database:
        for statement in statements:
            database.execute(statement)


def cut_off(town: Town, events: int) -> None:
    """Remove the newest events with their heads, and what they recorded: the log that is left agrees with itself."""
    with closing(sqlite3.connect(town.site.home / "registry.db")) as database, database:
        for (leaf,) in database.execute(
            "SELECT leaf FROM event ORDER BY position DESC LIMIT ?", (events,)
        ).fetchall():
            for item in json.loads(leaf)["rows"]:
                key = {"pin": "position", "statement": "digest"}[item["table"]]
                database.execute(f"DELETE FROM {item['table']} WHERE {key} = ?", (item["row"][key],))
        database.execute(
            "DELETE FROM event WHERE position > (SELECT max(position) - ? FROM event)", (events,)
        )
        database.execute(
            "DELETE FROM checkpoint WHERE size > (SELECT max(size) - ? FROM checkpoint)", (events,)
        )


INSERTED_PIN = (
    "INSERT INTO pin (tier, model, position, kind, version, ordinal, contract, profile, router, evidence, reason, "
    "since, actor) SELECT tier, model, 9, kind, version, ordinal, contract, profile, router, evidence, reason, "
    "since, actor FROM pin WHERE ordinal = 1"
)
ATTACKS = {
    "a pin edited": ("UPDATE pin SET ordinal = 1 WHERE ordinal = 2", "pin: a row is not in the log"),
    "a pin removed": ("DELETE FROM pin WHERE ordinal = 2", "pin: a row is missing from the table"),
    "a pin inserted": (INSERTED_PIN, "pin: a row is not in the log"),
    "a pin with bytes for a text": ("UPDATE pin SET reason = x'00ff' WHERE ordinal = 2", "pin"),
    "an approval given to another": ("UPDATE approval SET person = 'bob'", "approval: a row is not in the log"),
    "a withdrawal removed": ("DELETE FROM withdrawal", "withdrawal: a row is missing"),
    "a key exchanged": ("UPDATE person SET public_key = 'x' WHERE name = 'alice'", "person: a row is not"),
    "a policy softened": ("UPDATE tierpolicy SET body = '{}' WHERE tier = 'org'", "tier"),
    "a document replaced by its digest": (
        "UPDATE document SET body = 'sha256:' || digest WHERE kind = 'router-contract'", "document: a row is not",
    ),
    "the last event removed": (
        "DELETE FROM event WHERE position = (SELECT max(position) FROM event)", "stands beyond the last event",
    ),
    "an event in the middle removed": ("DELETE FROM event WHERE position = 5", "event 5 is missing"),
    "an event's actor edited": ("UPDATE event SET actor = 'nobody' WHERE position = 5", "columns of the event"),
    "an event's leaf edited": (
        "UPDATE event SET leaf = replace(leaf, '\"kind\":\"', '\"kind\":\"un') WHERE position = 5", "other events",
    ),
    "an event's opening exchanged": (
        "UPDATE event SET openings = replace(openings, 'ines', 'anna') WHERE position = 5",
        "event 5: its openings are not those",
    ),
    "an event's openings removed": ("UPDATE event SET openings = NULL WHERE position = 5", "event 5"),
    "a tile invented": (
        "INSERT INTO tile (level, \"index\", root, hashes) VALUES (0, 7, 'ab', x'00')", "tile 0/7: stands beyond",
    ),
    "an event's leaf made unreadable": ("UPDATE event SET leaf = '{' WHERE position = 5", "event 5"),
    "two events exchanged": (
        "UPDATE event SET leaf = (SELECT leaf FROM event WHERE position = 6) WHERE position = 5", "event 5",
    ),
    "a head removed": ("DELETE FROM checkpoint WHERE size = 5", "event 4 has no signed head"),
    "a head's note edited": ("UPDATE checkpoint SET note = replace(note, '5', '6') WHERE size = 5", "head 5"),
    "a head's root edited": ("UPDATE checkpoint SET root = 'ab' WHERE size = 5", "head 5: its columns differ"),
    "the edge that the next event builds on": (
        "UPDATE checkpoint SET frontier = '0:' WHERE size = 5", "head 5: its columns differ",
    ),
    "a head that another one signed": (
        "UPDATE checkpoint SET note = (SELECT note FROM checkpoint WHERE size = 4) WHERE size = 5", "head 5",
    ),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_edit_behind_the_logs_back_is_named(serving: Town, attack: str) -> None:
    statement, named = ATTACKS[attack]
    if "withdrawal" in attack:
        serving.site.type("models", "withdraw", f"{MODEL}@1", "--reason", "licence recalled")
    sql(serving, statement)
    refusal = serving.site.ask_refused("audit", "verify", ends=AuditBroken.exit_code)
    assert named in refusal["message"]
    assert "Trust no pin" in refusal["next_step"]


class TestEventsCutOffWithTheirHeads:
    """What the log alone cannot show, and a head kept elsewhere can."""

    @pytest.fixture
    def kept(self, serving: Town) -> Path:
        file = serving.folder / "kept-head.txt"
        serving.site.type("audit", "head", "--out", file)
        return file

    def test_agree_with_themselves(self, serving: Town) -> None:
        cut_off(serving, 1)
        assert {"team": 1} == serving.serves()
        serving.site.type("audit", "verify")  # said honestly in its help and in docs/explanation/audit.md

    def test_are_missed_by_a_kept_head(self, serving: Town, kept: Path) -> None:
        cut_off(serving, 1)
        refusal = serving.site.ask_refused("audit", "verify", "--kept-head", kept, ends=AuditBroken.exit_code)
        assert "kept-head.txt" in refusal["message"]
        assert "the last ones are gone" in refusal["message"]

    def test_and_replaced_by_others_are_missed_too(self, serving: Town, kept: Path) -> None:
        cut_off(serving, 1)
        serving.site.type("people", "remove", "alice", *serving.signs("bob"))
        serving.site.type("people", "remove", "bob", *serving.signs("bob"))
        serving.site.type("audit", "verify")
        refusal = serving.site.ask_refused("audit", "verify", "--kept-head", kept, ends=AuditBroken.exit_code)
        assert "events were others then" in refusal["message"]

    def test_a_log_that_only_grew_contains_every_kept_head(self, serving: Town, kept: Path) -> None:
        serving.site.type("rollback", MODEL, "--tier", "team", "--reason", "wrong units")
        found = serving.site.ask("audit", "verify", "--kept-head", kept, "--receipt", serving.receipt)
        assert [kept.name, serving.receipt.name] == [item["file"] for item in found["kept"]]
        assert found["kept"][0]["size"] < found["size"]

    def test_the_receipt_at_the_origin_is_a_kept_head(self, serving: Town) -> None:
        """The origin keeps every receipt: what it was told cannot be cut off unseen."""
        size = json.loads(serving.receipt.read_text())["payload"]["log"]["size"]
        sql(
            serving,
            f"DELETE FROM event WHERE position >= {size - 1}",
            f"DELETE FROM checkpoint WHERE size >= {size}",
        )
        serving.site.type("audit", "verify", "--receipt", serving.receipt, ends=AuditBroken.exit_code)
        refusal = serving.site.ask_refused(
            "audit", "verify", "--receipt", serving.receipt, ends=AuditBroken.exit_code
        )
        assert "receipt.json" in refusal["message"]

    def test_somebody_elses_head_is_refused(self, serving: Town, kept: Path) -> None:
        serving.origin.type("audit", "verify", "--kept-head", kept, ends=CheckpointSignatureWrong.exit_code)
        serving.origin.type("audit", "verify", "--receipt", serving.receipt, ends=ReceiptWrong.exit_code)

    def test_an_edited_head_is_refused(self, serving: Town, kept: Path) -> None:
        kept.write_text(kept.read_text().replace("clinic", "clinik", 1))
        serving.site.type("audit", "verify", "--kept-head", kept, ends=CheckpointSignatureWrong.exit_code)
        kept.write_text("nothing of the kind")
        serving.site.type("audit", "verify", "--kept-head", kept, ends=CheckpointUnreadable.exit_code)


def test_the_account_tells_where_from_and_where_served(serving: Town) -> None:
    account = serving.site.ask("audit", "explain", f"{MODEL}@1")
    assert [("team", "promote", "promote")] == [
        (stretch["tier"], stretch["by"], stretch["left_by"]) for stretch in account["served"]
    ]
    assert ("harbour", 1) == (account["origin"]["bundle"]["origin"], account["origin"]["bundle"]["sequence"])
    assert ["alice"] == [approval["person"] for approval in account["approvals"]]
    text = serving.site.type("audit", "explain", f"{MODEL}@1").stdout
    assert all(word in text for word in ("Where from", "Scanned here", "Approved", "Served"))


def test_the_log_is_narrowed_as_asked(serving: Town) -> None:
    everything = serving.site.ask("audit", "log")
    assert list(range(len(everything))) == [event["position"] for event in everything]
    assert everything[-2:] == serving.site.ask("audit", "log", "--last", "2")
    promoted = serving.site.ask("audit", "log", "--kind", "promoted")
    assert 2 == len(promoted)
    assert promoted[:1] == serving.site.ask(
        "audit", "log", "--kind", "promoted", "--subject", promoted[0]["subject"]
    )


def test_a_name_cannot_steer_the_readers_terminal(town: Town) -> None:
    """A reason with an escape sequence is kept as it was given and shown spelled out."""
    reason = "fine\x1b[2J\rAPPROVED"
    town.site.type("models", "withdraw", f"{MODEL}@1", "--reason", reason)
    assert reason == town.site.ask("audit", "explain", f"{MODEL}@1")["withdrawn"]["reason"]
    shown = town.site.type("audit", "explain", f"{MODEL}@1").stdout
    assert "\\x1b[2J\\x0dAPPROVED" in shown
    assert not {"\x1b", "\r"} & set(shown)
