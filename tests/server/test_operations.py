"""Commands given from elsewhere: the same as here, for who may, and never anything of the server's own."""

import base64
import json
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest

from registry.access import Right
from signing.times import rfc3339
from tests import server_world
from tests.server.api_world import EVERYTHING, OPERATIONS, asked, bearer
from tests.tidegate import town as making
from tests.tidegate.town import DEMO, MODEL, Town
from tidegate import output
from tidegate.afar import COMMANDS, Act, Stay, Way
from tidegate.cli.doors import READ_BY_THE_DOOR
from tidegate.reference import commands
from tidegate.server.api import operations
from tidegate.server.api.performing import Command

V1, V2 = f"{MODEL}@1", f"{MODEL}@2"
TREE = dict(commands())
CONTRACT = DEMO / "contracts" / "tool-contract-hermes.json"


@pytest.fixture(scope="module")
def standing(built_serving: Town, tmp_path_factory: pytest.TempPathFactory) -> Town:
    """A town in which nothing changes."""
    return making.copy(built_serving, tmp_path_factory.mktemp("standing") / "town")


@pytest.fixture(scope="module")
def client(standing: Town) -> Iterator[Any]:
    """Somebody who may do everything there."""
    with asked(standing) as client:
        yield client


def give(
    client: Any, command: str, status: int = 200, *, headers: dict[str, str] | None = None, **body: Any
) -> Any:
    """Give a command; its answer has to be as told."""
    answer = client.post(f"{OPERATIONS}/{command.replace(' ', '/')}", json=body, headers=headers or {})
    assert status == answer.status_code, answer.text
    return answer.json()


def a_file(path: str, data: bytes) -> dict[str, str]:
    return {"path": path, "content": base64.b64encode(data).decode()}


# --- the table -------------------------------------------------------------------------------------------------


def test_every_command_has_a_line_in_the_table_and_every_line_a_command() -> None:
    assert set(TREE) == set(COMMANDS)


@pytest.mark.parametrize("path", [path for path, rule in COMMANDS.items() if isinstance(rule, Act)])
def test_what_the_table_says_of_a_command_is_true_of_it(path: str) -> None:
    rule = COMMANDS[path]
    assert isinstance(rule, Act)
    own = {str(item.name): item for item in TREE[path].params if item.name not in READ_BY_THE_DOOR}
    assert {*rule.files, *rule.withheld, *rule.also} <= set(own)
    if rule.tier is not None:
        assert own[rule.tier].required, "the right is for one tier, so the tier has to be said"
    paths = {name for name, item in own.items() if isinstance(item.type, click.Path)}
    assert paths <= {*rule.files, *rule.withheld}, "nothing says what this path means from elsewhere"
    keys = {name for name in own if "key" in name and name not in rule.files and name != "env_key"}
    assert keys <= set(rule.withheld), "a private key stays"
    if rule.writes and not rule.also:
        assert rule.right not in (Right.LOOK, Right.AUDIT), "who only looks changes nothing"


@pytest.mark.parametrize("path", [path for path, rule in COMMANDS.items() if isinstance(rule, Stay)])
def test_what_stays_says_why(path: str) -> None:
    rule = COMMANDS[path]
    assert isinstance(rule, Stay)
    assert rule.reason
    assert not rule.reason.endswith(".")


def test_no_command_speaks_past_the_sink() -> None:
    """`click.echo` would write into the server's own output, for whoever reads its log."""
    house = Path(operations.__file__).parents[3]
    past = {
        path.relative_to(house).as_posix()
        for path in (house / "tidegate").rglob("*.py")
        if "click.echo(" in path.read_text() or "print(" in path.read_text().replace("fingerprint(", "")
    }
    # The terminal itself; programs of ours; what runs only where a person or an engine is.
    assert past <= {
        "tidegate/output.py",
        "tidegate/reference.py",
        "tidegate/suite_lines.py",
        "tidegate/cli/server.py",
    }


# --- the same as here ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "body", "words"),
    [
        ("pins", {}, []),
        ("pins", {"history": True}, ["--history"]),
        ("models list", {"model": MODEL}, [MODEL]),
        ("models show", {"ref": V2}, [V2]),
        ("gate", {"ref": V2, "tier": "org"}, [V2, "--tier", "org"]),
        ("audit log", {"last": 5}, ["--last", 5]),
        ("tiers show", {"tier": "team"}, ["team"]),
        ("people list", {}, []),
    ],
)  # fmt: skip
def test_a_command_says_from_elsewhere_what_it_says_here(
    serving: Town, command: str, body: dict[str, Any], words: list[object]
) -> None:
    with asked(serving) as client:
        answer = client.post(f"{OPERATIONS}/{command.replace(' ', '/')}", json=body).json()
        here = serving.site.type(*command.split(), *words, ends=answer["exit_code"])
        spoken = client.post(f"{OPERATIONS}/{command.replace(' ', '/')}?as=text", json=body).json()
        listed = json.loads(
            serving.site.type(*command.split(), *words, "--json", ends=answer["exit_code"]).stdout
        )

    assert here.stdout == spoken["preface"] + spoken["text"] + "\n"
    assert listed == answer["document"]


def test_a_refusal_is_the_commands_own(town: Town) -> None:
    with asked(town) as client:
        said = give(client, "gate", 409, ref=V1, tier="org")
        here = town.site.ask_refused("gate", V1, "--tier", "org", ends=said["exit_code"])
        unknown = give(client, "models show", 404, ref="acme/none")
        wrong = give(client, "gate", 400, ref=V1)

    assert (here["refused"], here["message"], here["next_step"]) == (
        said["title"],
        said["detail"],
        said["next_step"],
    )
    assert not said["document"]["open"], "the page of the gate stands beside the refusal"
    assert 41 == unknown["exit_code"]
    assert (2, "Missing option '--tier'.") == (wrong["exit_code"], wrong["detail"])
    assert "tidegate gate" in wrong["usage"]


def test_who_acts_is_who_showed_the_token(serving: Town) -> None:
    with asked(serving, name="carla") as client:
        give(client, "rollback", model=MODEL, tier="team", reason="calls tools twice")

    last = serving.site.ask("audit", "log", "--kind", "rolled back")[-1]
    assert "carla" == last["actor"]
    assert {"team": 1} == serving.serves()


# --- files -----------------------------------------------------------------------------------------------------


def test_a_file_travels_in_the_request_and_keeps_the_name_that_it_has_there(town: Town) -> None:
    with asked(town) as client:
        contract = a_file("somewhere/else/mine.json", CONTRACT.read_bytes())
        broken = a_file("somewhere/broken.json", b"{}")
        give(client, "contracts add", file=contract, ref=V1)
        refused = give(client, "contracts add", 400, file=broken)

    assert "broken.json" in refused["detail"]
    assert "tidegate-request" not in json.dumps(refused)


def test_what_a_command_writes_comes_back_in_the_answer(town: Town) -> None:
    with asked(town) as client:
        said = give(client, "audit prove", event=3, out="my proofs/3.tlog-proof", pointers=["/actor"])

    assert ["3.openings.json", "3.tlog-proof"] == sorted(one["path"] for one in said["files"])
    assert "Wrote my proofs/3.tlog-proof" in said["text"]
    assert base64.b64decode(said["files"][1]["content"]).decode() == said["document"]["proof"]


def test_a_folder_travels_as_its_files(town: Town) -> None:
    files = [a_file("AGENTS.md", b"# How we work\n"), a_file("prompts/system.md", b"Be brief.\n")]
    with asked(town) as client:
        give(client, "companions add", folder={"path": "mine", "files": files}, name="house")
        found = give(client, "companions show", name="house")

    assert {"AGENTS.md", "prompts/system.md"} == set(found["document"]["files"])


def test_nothing_of_a_request_is_left_behind(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with asked(town) as client:
        give(client, "contracts tools", file=a_file("x.json", b"[]"))
        give(client, "contracts tools", 400, file=a_file("x.json", b"no tools"))
        give(client, "audit head", out="head.txt")

    assert [] == list(tmp_path.glob("tidegate-request-*"))


# --- attacks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "body"),
    [
        ("contracts tools", {"file": "/etc/passwd"}),
        ("contracts tools", {"file": {"path": "/etc/passwd"}}),
        ("contracts tools", {"file": {"path": "x", "content": "%%%"}}),
        ("contracts tools", {"file": {"path": "..", "content": ""}}),
        ("contracts tools", {"file": {"path": "x/", "content": "", "home": "/"}}),
        ("suites add", {"folder": "/etc"}),
        ("suites add", {"folder": {"path": "x", "files": [{"path": "../../x", "content": ""}]}}),
        ("suites add", {"folder": {"path": "x", "files": [{"path": "/etc/x", "content": ""}]}}),
        ("suites add", {"folder": {"path": "x", "files": [{"path": "a", "content": ""}, {"path": "a/b", "content": ""}]}}),
        ("audit head", {"out": "x" * 300}),
        ("audit head", {"out": ".."}),
        ("audit head", {"out": {"path": "x", "content": ""}}),
        ("pins", {"home": "/tmp"}),
        ("pins", {"actor": "root"}),
        ("pins", {"server": "http://elsewhere"}),
        ("pins", {"token_file": "/etc/passwd"}),
        ("pins", {"as_json": True}),
        ("pins", {"help": True}),
        ("approve", {"ref": V1, "tier": "team", "person": "alice", "passphrase_file": "/etc/passwd"}),
        ("pins", {"history": "yes"}),
        ("pins", {"at": 5}),
        ("models show", {"ref": ["a", "b"]}),
        ("models show", {"ref": "acme/x\0"}),
        ("rollback", {"model": MODEL, "tier": 7, "reason": "x"}),
        ("rollback", {"model": MODEL, "reason": "x"}),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else value,
)  # fmt: skip
def test_what_is_no_parameter_is_refused_before_anything_happens(
    client: Any, command: str, body: dict[str, Any]
) -> None:
    before = client.get("/api/v1/log/head").json()
    assert 9 == give(client, command, 422, **body)["exit_code"]
    assert before == client.get("/api/v1/log/head").json()


@pytest.mark.parametrize(
    ("command", "body"),
    [
        (
            "approve",
            {
                "ref": V1,
                "tier": "team",
                "person": "alice",
                "reason": "x",
                "key": "file:/etc/ssh/ssh_host_key",
            },
        ),
        ("people remove", {"name": "bob", "person": "alice", "reason": "x", "key": "hsm:token=x;object=y"}),
        ("models fetch", {"source": "hf:a/b", "endpoint": "http://169.254.169.254/"}),
        ("models fetch", {"source": "mlflow:models:/a/1", "tracking_uri": "file:/etc"}),
        ("trust show", {"folder": "/etc"}),
        ("models add", {"folder": "/etc", "model": "a/b"}),
        ("bundles import", {"dirs": ["/media"]}),
        ("keys create", {"name": "/root/.ssh/id"}),
        ("audit check-proof", {"file": "/etc/passwd"}),
        ("init", {"name": "x"}),
        ("serve", {}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_belongs_to_the_machine_stays_there(
    built_town: Town, command: str, body: dict[str, Any]
) -> None:
    with asked(built_town) as client:
        assert 7 == give(client, command, 409, **body)["exit_code"]


def test_a_name_that_may_be_a_file_is_never_one_of_the_server(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server runs in a folder with a contract, and the caller names it: relative, absolute, as a version."""
    (tmp_path / "secret.json").write_bytes(CONTRACT.read_bytes())
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "x@1").write_bytes(b"bytes")
    monkeypatch.chdir(tmp_path)
    with asked(town) as client:
        for name in ("secret.json", str(tmp_path / "secret.json")):
            assert 41 == give(client, "contracts diff", 404, old=name, new="demo-hermes")["exit_code"]
        waiver = {
            "rule": "pickle-import",
            "person": "alice",
            "reason": "x",
            "path": "a",
            "write_payload": "p",
        }
        said = client.post(f"{OPERATIONS}/decisions/waive", json={**waiver, "what": "demo/x@1"}).json()
    assert 0 != said["exit_code"]
    assert "no version" in said["detail"] or "waived" in said["detail"]


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'"x"', b'{"a":1,"a":2}', b"[" * 100_000, b'{"a":' * 5000 + b"1" + b"}" * 5000, b"\xff\xfe", b'{"at": NaN}', b"null"],
    ids=lambda body: body[:12].decode(errors="replace"),
)  # fmt: skip
def test_a_body_with_no_one_meaning_is_refused(client: Any, body: bytes) -> None:
    answer = client.post(f"{OPERATIONS}/pins", content=body)
    assert (422, 9) == (answer.status_code, answer.json()["exit_code"])


@pytest.mark.parametrize(("length", "ends"), [(1000, (404, 41)), (32_768, (404, 41)), (100_000, (422, 9))])
def test_a_name_as_long_as_a_book_is_no_name(built_town: Town, length: int, ends: tuple[int, int]) -> None:
    """SQLite gives up on a pattern of 50,000 bytes, and that looked like a database that is ill."""
    with asked(built_town) as client:
        answer = client.post(f"{OPERATIONS}/contracts/show", json={"name": "\U00010000" * length})
    assert ends == (answer.status_code, answer.json()["exit_code"])


def test_a_huge_body_is_given_up_on_the_way(built_town: Town) -> None:
    from tidegate.server.settings import Limits, ServerSettings

    sent = []

    def endless() -> Any:
        for _ in range(1000):
            sent.append(1)
            yield b" " * 1024

    token = server_world.token(built_town.site.home, "ines", EVERYTHING)
    settings = ServerSettings(limits=Limits(body_bytes=10_000))
    with server_world.door(built_town.site.home, settings, token=token) as client:
        said = client.post(f"{OPERATIONS}/pins", content=b" " * 20_000)
        streamed = client.post(f"{OPERATIONS}/pins", content=endless())
    assert [(413, 172), (413, 172)] == [
        (one.status_code, one.json()["exit_code"]) for one in (said, streamed)
    ]


def test_a_command_changes_neither_the_mask_nor_the_folder_nor_the_surroundings(town: Town) -> None:
    before = (os.umask(0o002), Path.cwd(), dict(os.environ))
    try:
        with asked(town) as client:
            give(client, "pins")
            give(client, "contracts add", file=a_file("c.json", CONTRACT.read_bytes()))
        assert 0o002 == os.umask(0o002)
        assert before[1:] == (Path.cwd(), dict(os.environ))
    finally:
        os.umask(before[0])


# --- who may ---------------------------------------------------------------------------------------------------


def test_who_may_only_look_changes_nothing(serving: Town) -> None:
    with asked(serving, "viewer") as client:
        give(client, "pins")
        assert 3 == give(client, "rollback", 403, model=MODEL, tier="team", reason="x")["exit_code"]
        assert 3 == give(client, "audit log", 403)["exit_code"]
    assert {"team": 2} == serving.serves()


def test_a_right_for_one_tier_is_for_no_other(serving: Town) -> None:
    with asked(serving, "steward:org") as client:
        assert 3 == give(client, "rollback", 403, model=MODEL, tier="team", reason="x")["exit_code"]
        assert 3 == give(client, "models withdraw", 403, ref=V2, reason="everywhere")["exit_code"]
        nothing = give(client, "rollback", 409, model=MODEL, tier="org", reason="nothing is served there")
    assert 3 != nothing["exit_code"]
    assert "denied" in {event["kind"] for event in serving.site.ask("audit", "log")}


def test_whoever_shows_nothing_gives_no_command(built_town: Town) -> None:
    with server_world.door(built_town.site.home) as client:
        for command in list(operations.commands())[::6]:
            answer = client.post(f"{OPERATIONS}/{command.path.replace(' ', '/')}", json={})
            assert (401, 4) == (answer.status_code, answer.json()["exit_code"]), command.path


# --- two at once -----------------------------------------------------------------------------------------------


def test_nobody_sees_anothers_words(client: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """Two commands at work at the same moment, twenty times: each answer is its own, and none is printed."""
    both = threading.Barrier(2)
    seen: dict[str, set[str]] = {"models show": set(), "tiers show": set()}

    def ask(command: str, **body: Any) -> None:
        for _ in range(20):
            both.wait(timeout=60)
            seen[command].add(json.dumps(give(client, command, **body), sort_keys=True))

    threads = [
        threading.Thread(target=ask, args=("models show",), kwargs={"ref": V1}),
        threading.Thread(target=ask, args=("tiers show",), kwargs={"tier": "team"}),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [1, 1] == [len(answers) for answers in seen.values()]
    assert "tiny-toolcaller" not in capfd.readouterr().out


def test_words_of_a_command_stay_with_it_when_another_begins_within() -> None:
    outer, inner = output.Kept(), output.Kept()
    with output.to(outer):
        output.say("one")
        with output.to(inner):
            output.show({}, "two", as_json=True)
        output.say("three", err=True)
    assert ("one\n", "three\n", None) == (outer.preface, outer.notes, outer.text)
    assert ("", "two") == (inner.preface, inner.text)


# --- Idempotency-Key -------------------------------------------------------------------------------------------


def test_a_repeated_request_is_done_once_and_answered_again(serving: Town) -> None:
    with asked(serving) as client:
        key = {"idempotency-key": "k-1"}
        body = {"ref": V1, "reason": "found to be poisoned"}
        first = client.post(f"{OPERATIONS}/models/withdraw", json=body, headers=key)
        again = client.post(f"{OPERATIONS}/models/withdraw", json=body, headers=key)
        other = give(client, "models withdraw", 422, headers=key, ref=V2, reason="another")
        elsewhere = give(client, "promote", 422, headers=key, ref=V2, tier="team", reason="another")
        theirs = client.post(
            f"{OPERATIONS}/models/withdraw",
            json=body,
            headers={**key, **bearer(serving, "steward", name="bob")},
        )

    assert first.json() == again.json()
    assert first.json()["document"]["new"]
    assert (None, "true") == tuple(one.headers.get("idempotency-replayed") for one in (first, again))
    assert [170, 170] == [other["exit_code"], elsewhere["exit_code"]]
    assert not theirs.json()["document"]["new"], "bob's key is his own: his request was carried out"


def test_a_refusal_is_repeated_too(town: Town) -> None:
    with asked(town) as client:
        key = {"idempotency-key": "k"}
        first = give(client, "promote", 409, headers=key, ref=V1, tier="team", reason="x")
        town.approve(1, "team", "alice")
        assert first == give(client, "promote", 409, headers=key, ref=V1, tier="team", reason="x")
        give(client, "promote", ref=V1, tier="team", reason="x")


def test_two_with_one_key_at_the_same_moment_are_one(serving: Town) -> None:
    answers: list[Any] = []
    both = threading.Barrier(2)

    def withdraw(client: Any) -> None:
        both.wait(timeout=60)
        body = {"ref": V1, "reason": "found to be poisoned"}
        answers.append(
            client.post(f"{OPERATIONS}/models/withdraw", json=body, headers={"idempotency-key": "same"})
        )

    with asked(serving) as client:
        threads = [threading.Thread(target=withdraw, args=(client,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(one.status_code == 200 or one.json()["exit_code"] == 171 for one in answers)
    assert any(one.status_code == 200 for one in answers)
    assert 1 == len(serving.site.ask("audit", "log", "--kind", "withdrawn"))


def test_a_request_that_was_cut_off_with_the_process_is_not_guessed_at(town: Town) -> None:
    from registry.entities import DoorAnswer
    from signing.digests import sha256_hex

    with server_world.premises(town.site.home) as open_home:
        said = sha256_hex(f"POST {OPERATIONS}/models/scan?\n".encode() + b"{}")
        row = DoorAnswer(
            account="ines",
            key="k",
            request=said,
            status=None,
            headers="{}",
            body="",
            at=rfc3339(datetime.now(UTC)),
        )
        open_home.doors.put(row)
    with asked(town) as client:
        answer = client.post(f"{OPERATIONS}/models/scan", content=b"{}", headers={"idempotency-key": "k"})
    assert (409, 171) == (answer.status_code, answer.json()["exit_code"])
    assert "was cut off" in answer.json()["detail"]


def test_work_whose_answer_could_not_be_kept_is_not_done_twice(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The withdrawal stands; the disk was full when its answer was to be kept, and the client asks again."""
    from registry.entities import DoorAnswer
    from registry.errors import StoreUnusable
    from registry.store_doors import DoorStore

    put = DoorStore.put

    def full(doors: DoorStore, *rows: Any) -> None:
        if any(isinstance(row, DoorAnswer) for row in rows):
            raise StoreUnusable("sqlite", "the disk is full")
        put(doors, *rows)

    body, headers = {"ref": f"{MODEL}@1", "reason": "leaks prompts"}, {"idempotency-key": "k"}
    with asked(town) as client:
        with monkeypatch.context() as patch:
            patch.setattr(DoorStore, "put", full)
            assert 500 == client.post(f"{OPERATIONS}/models/withdraw", json=body, headers=headers).status_code
        again = client.post(f"{OPERATIONS}/models/withdraw", json=body, headers=headers)
    assert (409, 171) == (again.status_code, again.json()["exit_code"])
    assert 1 == len(town.site.ask("audit", "log", "--kind", "withdrawn"))


def test_a_bug_frees_the_key(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with asked(town) as client:
        with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
            patch.setattr(operations, "perform", broken)
            client.post(f"{OPERATIONS}/models/scan", json={"ref": V1}, headers={"idempotency-key": "k"})
        give(client, "models scan", headers={"idempotency-key": "k"}, ref=V1)


def test_what_is_shown_once_is_not_kept(town: Town) -> None:
    with asked(town) as client:
        key = {"idempotency-key": "k"}
        first = client.post(f"{OPERATIONS}/receipts/speak", json={}, headers=key)
        again = give(client, "receipts speak", 409, headers=key)
    assert 171 == again["exit_code"], first.text


def test_who_keeps_the_accounts_from_elsewhere_never_changes_their_own(town: Town) -> None:
    with asked(town, "admin", name="ada") as client:
        made = give(client, "accounts add", name="vera", grants="validator")
        own = client.post(f"{OPERATIONS}/accounts/grant", json={"name": "ada", "grants": "steward"})
    assert made["document"]["code"]
    assert "OwnAccountKept" == own.json()["title"]


def test_a_command_of_the_table_is_known_by_its_own_parameters() -> None:
    """What the API takes is what the command takes, less what stays."""
    found = {command.path: set(command.parameters) for command in operations.commands()}
    assert {"ref", "tier", "shown", "person", "reason", "write_payload", "payload", "signature"} == found[
        "approve"
    ]
    assert "endpoint" not in found["models fetch"]
    assert isinstance(next(operations.commands()), Command)
    assert {Way.FILE, Way.OUT} <= {
        way for rule in COMMANDS.values() if isinstance(rule, Act) for way in rule.files.values()
    }
