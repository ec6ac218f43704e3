"""`tidegate gc` as it is typed: what goes and why, what stays and why, and what a version without bytes answers."""

from pathlib import Path

import pytest

from tests.small_disk import fill, mounted
from tests.tidegate import town as making
from tests.tidegate.town import MODEL, Town, tree


@pytest.fixture
def withdrawn(serving: Town) -> Town:
    """team served version 1 and serves 2; 1 has been withdrawn since."""
    serving.site.type("models", "withdraw", f"{MODEL}@1", "--reason", "leaks prompts")
    return serving


def test_a_plan_says_what_goes_and_what_stays_and_changes_nothing(withdrawn: Town) -> None:
    before = tree(withdrawn.site.home)
    text = withdrawn.site.type("gc", "--plan").stdout
    assert before == tree(withdrawn.site.home)
    goes, stays = text.split("STAYS")
    assert f"{MODEL}@1" in goes
    assert "withdrawn: leaks prompts" in goes
    assert f"{MODEL}@2" in stays
    assert "served by team" in stays
    assert "Would free" in stays
    assert "Next:    tidegate gc" in stays


def test_it_does_what_the_plan_said(withdrawn: Town) -> None:
    said = withdrawn.site.ask("gc", "--plan")
    done = withdrawn.site.ask("gc")
    assert (False, True) == (said.pop("done"), done.pop("done"))
    assert said == done
    assert [f"{MODEL}@1"] == [item["version"] for item in done["versions"]]
    assert done["bytes"] == sum(item["bytes"] for item in done["versions"]) > 0
    assert 0 == withdrawn.site.ask("gc")["bytes"]
    withdrawn.site.type("audit", "verify")
    assert "bytes removed" in withdrawn.site.type("audit", "log").stdout


def test_afterwards_the_site_is_told_to_send_a_receipt(withdrawn: Town) -> None:
    text = withdrawn.site.type("gc").stdout
    assert "Freed" in text
    assert "Next:    tidegate receipts write" in text
    assert "Nothing to remove." in withdrawn.site.type("gc").stdout


def test_a_version_without_bytes_says_so_everywhere(withdrawn: Town, tmp_path: Path) -> None:
    withdrawn.site.type("gc")
    listed = {row["ordinal"]: row["bytes_removed"] for row in withdrawn.site.ask("models", "list", MODEL)}
    assert {1: True, 2: False} == listed
    assert "BYTES REMOVED" in withdrawn.site.type("models", "list").stdout
    shown = withdrawn.site.ask("models", "show", f"{MODEL}@1")["bytes_removed"]
    assert ("ines", "withdrawn: leaks prompts") == (shown["by"], shown["reason"])
    assert "BYTES REMOVED on 20" in withdrawn.site.type("models", "show", f"{MODEL}@1").stdout
    assert withdrawn.site.ask("models", "show", f"{MODEL}@2")["bytes_removed"] is None
    refused = withdrawn.site.ask_refused("models", "scan", f"{MODEL}@1", ends=46)
    assert "BytesRemoved" == refused["refused"]
    withdrawn.site.ask_refused("promote", f"{MODEL}@1", "--tier", "team", "--dry-run", ends=46)
    account = withdrawn.site.type("audit", "explain", f"{MODEL}@1").stdout
    assert "Bytes removed here" in account
    blobs = next(check for check in withdrawn.site.ask("doctor") if check["check"] == "blobs")
    assert blobs["ok"]
    assert "the bytes of 1 version were removed" in blobs["message"]


def test_the_bundle_brings_the_bytes_again(withdrawn: Town) -> None:
    withdrawn.site.type("gc")
    withdrawn.site.type("bundles", "import", withdrawn.medium)
    assert withdrawn.site.ask("models", "show", f"{MODEL}@1")["bytes_removed"] is None
    withdrawn.site.type("models", "scan", f"{MODEL}@1")


def test_evidence_in_quarantine_goes_only_by_its_name(serving: Town) -> None:
    name = "ab" * 32
    room = serving.site.home / "quarantine" / name
    room.mkdir()
    (room / "x.partial").write_bytes(b"so far")
    assert name[:12] in serving.site.type("gc", "--plan").stdout
    serving.site.type("gc")
    assert room.exists()
    serving.site.ask_refused("gc", "--discard-quarantine", "abab", ends=41)
    serving.site.type("gc", "--discard-quarantine", name[:12])
    assert not room.exists()


def test_an_origin_that_waits_for_a_receipt_keeps_what_it_sent(town: Town) -> None:
    town.origin.type("models", "withdraw", f"{MODEL}@1", "--reason", "leaks prompts")
    kept = {item["version"]: item["reasons"] for item in town.origin.ask("gc", "--plan")["kept"]}
    assert any("clinic has not acknowledged bundle" in reason for reason in kept[f"{MODEL}@1"])
    town.origin.type("bundles", "acknowledge", town.receipt)
    assert [f"{MODEL}@1"] == [item["version"] for item in town.origin.ask("gc")["versions"]]
    refused = town.origin.ask_refused(
        "bundles", "create", f"{MODEL}@1", "--to", "clinic", "--out", town.folder / "again", ends=46
    )
    assert f"{MODEL}@1" in refused["message"]


def test_on_a_full_disk_where_nothing_else_works_it_does(withdrawn: Town, tmp_path: Path) -> None:
    """The last byte is written: not even the list of models can be asked for."""
    with mounted(tmp_path / "disk", megabytes=24) as disk:
        full = making.copy(withdrawn, disk / "town")
        fill(disk)
        full.site.type("models", "list", ends=82)
        said = full.site.ask("gc", "--plan")
        assert said["bytes"] == full.site.ask("gc")["bytes"] > 0
        full.site.type("models", "list")
        full.site.type("audit", "verify")
