"""`tidegate receipts`, and the line that says a site's news are late: as people type them."""

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.cli import Prompt
from tests.tidegate.town import MODEL, Town, tree
from tidegate.cli.root import main
from tidegate.errors import DoctorFoundProblems


def enter(prompt: Prompt, secret: str) -> Result:
    """Pipe a secret in, as a person would type it."""
    environment = {"TIDEGATE_HOME": str(prompt.home), "TIDEGATE_ACTOR": prompt.actor}
    return CliRunner(env=environment).invoke(main, ["receipts", "secret", "--enter"], input=f"{secret}\n")


def standing(town: Town) -> dict[str, Any]:
    found: dict[str, Any] = town.origin.ask("receipts", "status", "clinic")["sites"][0]
    return found


def test_a_bundle_goes_from_sent_to_acknowledged(town: Town) -> None:
    before = standing(town)
    assert (None, ["EXPORTED"]) == (before["receipt"], [one["state"] for one in before["bundles"]])
    assert (0, 0) == (before["bundles"][0]["unconfirmed_days"], before["blobs"]["acknowledged"])
    shown = town.origin.type("receipts", "status").stdout
    assert "clinic: no receipt yet" in shown
    assert "0 days" in shown

    town.origin.type("bundles", "acknowledge", town.receipt)
    after = standing(town)
    assert [("ACKNOWLEDGED", None)] == [(o["state"], o["unconfirmed_days"]) for o in after["bundles"]]
    assert (0, 0) == (after["blobs"]["exported"], after["blobs"]["assumed"])
    assert before["blobs"]["exported"] <= after["blobs"]["acknowledged"]


def test_a_receipt_is_printed_or_written_and_says_the_same(town: Town) -> None:
    printed = town.site.type("receipts", "write").stdout
    assert {"payload", "signature"} == set(json.loads(printed))
    file = town.folder / "again.json"
    shown = town.site.type("receipts", "write", "1", "--out", file).stdout
    assert "tidegate bundles acknowledge again.json" in shown
    assert json.loads(printed)["payload"]["holds"] == json.loads(file.read_text())["payload"]["holds"]
    assert 1 == town.origin.ask("bundles", "acknowledge", file)["sequence"]
    assert (
        json.loads(printed)["payload"].keys()
        == town.site.ask("receipts", "write")["receipt"]["payload"].keys()
    )


def test_a_digest_only_receipt_is_short_names_no_file_and_is_believed(town: Town) -> None:
    (town.folder / "out").mkdir()
    done = town.site.ask("receipts", "write", "--digest-only", "--out", town.folder / "out")
    file = Path(done["file"])
    assert "receipt-clinic-1.json" == file.name
    assert done["bytes"] == file.stat().st_size <= 1024
    assert "holds" not in file.read_text()
    town.origin.type("bundles", "acknowledge", file)
    assert standing(town)["receipt"]["digest_only"]
    assert "digest-only receipt" in town.origin.type("receipts", "status").stdout
    done = town.origin.ask("bundles", "create", f"{MODEL}@2", "--to", "clinic", "--out", town.folder / "next")
    assert 0 == done["carried"]


def test_a_code_is_read_out_heard_and_proves_nothing(town: Town) -> None:
    secret = town.origin.type("receipts", "secret", "clinic").stdout.splitlines()[1].strip()
    entered = enter(town.site, secret.lower().replace("-", " "))
    assert (0, True) == (entered.exit_code, secret not in entered.output)
    said = town.site.ask("receipts", "speak")
    assert ("WHOLE", 1) == (said["outcome"], said["sequence"])
    assert f"tidegate receipts hear clinic {said['sequence']}" in town.site.type("receipts", "speak").stdout
    code = said["code"]
    groups = [code[start : start + 4].lower() for start in range(0, 16, 4)]
    assert "WHOLE" == town.origin.ask("receipts", "hear", "clinic", 1, *groups)["outcome"]
    one = standing(town)["bundles"][0]
    assert ("EXPORTED", "WHOLE") == (one["state"], one["spoken"]["outcome"])
    assert "by code: WHOLE" in town.origin.type("receipts", "status", "clinic").stdout
    town.origin.type("audit", "verify")


def test_a_secret_is_made_on_one_side_and_entered_on_the_other(town: Town) -> None:
    before = tree(town.folder)
    town.origin.type("receipts", "secret", ends=2)
    town.origin.type("receipts", "secret", "clinic", "--enter", ends=2)
    assert before == tree(town.folder)


def test_a_secret_that_others_can_read_is_found(town: Town) -> None:
    town.origin.type("receipts", "secret", "clinic")
    (town.origin.home / "keys" / "spoken-clinic").chmod(0o644)
    shown = town.origin.type("doctor", ends=DoctorFoundProblems.exit_code).stdout
    assert "spoken-clinic" in shown


# --- late news -------------------------------------------------------------------------------------------------


@pytest.fixture
def late(town: Town) -> Town:
    """A site whose origin promised the next bundle for the beginning of this day."""
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    words = ["bundles", "create", "--to", "clinic", "--out", town.folder / "second", "--next-by", today]
    town.origin.type(*words)
    town.site.type("bundles", "import", town.folder / "second")
    return town


def test_a_late_site_says_so_on_stderr_after_every_command(late: Town) -> None:
    for words in (["models", "list"], ["pins"], ["bundles", "list"]):
        done = late.site.type(*words)
        assert done.stderr.startswith("DUE: the last bundle came in today, and the next one was expected by ")
        assert 1 == done.stderr.count("\n")
        assert "DUE" not in done.stdout
    assert "FRESH" not in late.site.type("pins").output


def test_what_programs_read_stays_as_it_is(late: Town) -> None:
    assert [MODEL, MODEL] == [one["model"] for one in late.site.ask("models", "list")]
    assert "NotFound" == late.site.ask_refused("tiers", "show", "nowhere", ends=41)["refused"]
    assert "DUE" == late.site.ask("receipts", "write")["receipt"]["payload"]["freshness"]


def test_the_doctor_names_it_and_nothing_else(late: Town) -> None:
    done = late.site.type("doctor", "--json", ends=DoctorFoundProblems.exit_code)
    assert ["freshness"] == [check["check"] for check in json.loads(done.stdout) if not check["ok"]]


def test_late_news_stop_nothing(late: Town) -> None:
    late.serve(1)
    assert {"team": 1} == late.serves()


def test_an_origin_and_a_fresh_site_say_nothing(town: Town) -> None:
    for prompt in (town.site, town.origin):
        assert "" == prompt.type("models", "list").stderr


def test_a_row_that_somebody_changed_keeps_no_command_from_working(late: Town) -> None:
    import sqlite3

    with closing(sqlite3.connect(late.site.home / "registry.db")) as database, database:
        database.execute("UPDATE import SET body = '{}'")
    assert "" == late.site.type("pins").stderr
    shown = late.site.type("doctor", "--json", ends=DoctorFoundProblems.exit_code).stdout
    assert {"audit log", "freshness"} <= {c["check"] for c in json.loads(shown) if not c["ok"]}
