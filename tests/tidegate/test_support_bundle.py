"""What leaves the house to get help: everything that helps, no name, no secret."""

import json
import tarfile
from pathlib import Path

from tests.tidegate.town import MODEL, Town


def unpacked(file: Path) -> dict[str, str]:
    with tarfile.open(file) as tar:
        members = tar.getmembers()
        assert all(member.isfile() and member.name.startswith("tidegate-support/") for member in members)
        found = {}
        for member in members:
            stream = tar.extractfile(member)
            assert stream is not None
            found[member.name.partition("/")[2]] = stream.read().decode()
        return found


def test_it_says_what_helps_and_no_name(serving: Town, tmp_path: Path) -> None:
    done = serving.site.ask("support-bundle", "--out", tmp_path / "help.tar.gz")
    files = unpacked(tmp_path / "help.tar.gz")

    assert done["holds"] == list(files)
    assert "tidegate" in json.loads(files["versions.json"])["packages"]
    home = json.loads(files["home.json"])
    assert (["site"], "sqlite") == (home["roles"], home["database"])
    assert home["rows"]["pin"] >= 2
    kinds = [event["kind"] for event in json.loads(files["events.json"])]
    assert kinds.count("promoted") >= 2
    people = {row["name"] for row in serving.site.ask("people", "list")}
    words = set("".join(files.values()).replace("/", " ").replace('"', " ").replace(",", " ").split())
    assert people, "the town has people"
    assert not words & people
    assert MODEL not in "".join(files.values())


def test_no_key_token_or_signature_is_in_it(serving: Town, tmp_path: Path) -> None:
    serving.site.type("support-bundle", "--out", tmp_path / "help.tar.gz")
    text = "".join(unpacked(tmp_path / "help.tar.gz").values())

    for key in (serving.site.home / "keys").iterdir():
        lines = [line for line in key.read_text().splitlines() if len(line) > 20 and "-----" not in line]
        assert lines
        assert not any(line in text for line in lines)
    assert "SSH SIGNATURE" not in text
    assert "ssh-ed25519" not in text


def test_a_servers_log_goes_along_without_who_and_from_where(serving: Town, tmp_path: Path) -> None:
    lines = [
        {"at": "2026-11-21T10:00:00Z", "event": "request", "route": "/metrics", "status": 200, "who": "carla",
         "from": "10.0.0.7", "path": f"/{MODEL}/resolve/org/config.json"},
        {"at": "2026-11-21T10:00:01Z", "event": "bug", "traceback": f"ValueError: {MODEL}"},
    ]  # fmt: skip
    log = tmp_path / "server.log"
    log.write_text("not JSON: password=hunter2\n" + "".join(json.dumps(line) + "\n" for line in lines))
    serving.site.type("support-bundle", "--out", tmp_path / "help.tar.gz", "--log", log)
    found = unpacked(tmp_path / "help.tar.gz")["log.jsonl"]

    assert [200, None] == [json.loads(line).get("status") for line in found.splitlines()]
    assert not any(word in found for word in ("carla", "10.0.0.7", MODEL, "hunter2"))
    assert "ValueError: name-" in found


def test_a_home_whose_database_is_gone_still_gets_help(serving: Town, tmp_path: Path) -> None:
    (serving.site.home / "registry.db").unlink()
    serving.site.type("support-bundle", "--out", tmp_path / "help.tar.gz")
    files = unpacked(tmp_path / "help.tar.gz")

    assert "StoreUnusable" == json.loads(files["home.json"])["refused"]
    assert any(not check["ok"] for check in json.loads(files["doctor.json"]))
