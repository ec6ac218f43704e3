"""The published schemas of what people sign and of the log: they say what the decoders do, of good documents and changed ones."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from jsonschema import Draft202012Validator

from registry import approvals_payload, audit, decisions, log_proof, salted
from registry.approval_requests import Question
from registry.audit import EventKind
from registry.decisions import NEEDS, Kind
from signing import draft_folder, piv
from signing.canonical import NotCanonical, canonical_bytes, pretty_bytes
from signing.errors import OperatorError
from tests.pipelines.test_schemas import changed
from tests.vectors import ceremonies, logs, people
from tests.vectors.basics import digest

HOUSE = Path(__file__).parents[2]
SCHEMAS = HOUSE / "airgap-bundles" / "schemas"
FOLDERS = ("decisions", "log")


class Written(NamedTuple):
    """A document, its decoder, and where only the decoder can see what is wrong."""

    full: Any
    read: Callable[[Any], object]
    beyond: str = "-"


def canonically(read: Callable[[bytes], object]) -> Callable[[Any], object]:
    return lambda value: read(canonical_bytes(value))


def approval(answer: approvals_payload.Answer) -> Written:
    value = json.loads(approvals_payload.payload(answer, "alice"))
    return Written(value, canonically(approvals_payload.decode), r"evidence.*|(issued|expires)_at")


def decision(kind: Kind) -> Written:
    return Written(
        json.loads(people.decision(kind)),
        canonically(decisions.decode),
        r"(issued|expires)_at|details\.(checks|roles|until).*",
    )


def ceremony(folder: Path, name: str) -> Written:
    """A file of a ceremony, read among the others; all that it says has to fit them."""
    for path, data in ceremonies.folder("alice").items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    [place] = list(folder.glob(name))[:1]

    def read(value: Any) -> object:
        place.write_bytes(pretty_bytes(value))
        return draft_folder.read(folder), draft_folder.signatures(folder)

    return Written(json.loads(place.read_bytes()), read, ".*" if name == "ceremony.json" else "keyid")


def card() -> Written:
    text = people.Card("alice").sign(b"{}", people.APPROVAL)
    return Written(json.loads(text), lambda value: piv._read(canonical_bytes(value).decode()))


def event() -> Written:
    """One that hides nothing: whether a salted value is the right one is no matter of form."""
    entry = logs.entry(1)
    rows = [{"table": table, "row": dict(row)} for table, row in entry.rows]
    value = {**json.loads(logs.PLAIN), "format": audit.LEAF_FORMAT, "rows": rows, "note": dict(entry.note)}
    return Written(value, canonically(audit.read_leaf), r"note\..*|rows\[\d\]\.row\..*")


def openings() -> Written:
    def read(value: Any) -> object:
        return salted.unseal(json.loads(logs.SEALED.data), log_proof.read_openings(canonical_bytes(value)))

    return Written(json.loads(logs.SEALED.openings), read, r".*")


def written(name: str, folder: Path) -> list[Written]:
    makers: dict[str, Callable[[], list[Written]]] = {
        "decisions/approval": lambda: [approval(people.ANSWER)],
        "decisions/approval-1": lambda: [approval(people.OLD)],
        "decisions/decision": lambda: [decision(kind) for kind in Kind],
        "decisions/piv-signature": lambda: [card()],
        "decisions/ceremony": lambda: [ceremony(folder, "ceremony.json")],
        "decisions/partial-signature": lambda: [ceremony(folder, "signatures/*/*.json")],
        "log/event": lambda: [event()],
        "log/openings": lambda: [openings()],
    }
    return makers[name]()


READ = [
    *(f"decisions/{name}" for name in ("approval", "approval-1", "decision", "piv-signature", "ceremony", "partial-signature")),
    *("log/event", "log/openings"),
]  # fmt: skip
ONLY_WRITTEN = ["decisions/approval-request", "log/openings-line"]


def schema_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    return found


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(schema_of(name))


def taken(one: Written, value: Any) -> bool:
    try:
        one.read(value)
    except (OperatorError, NotCanonical):
        return False
    return True


def test_every_schema_is_one_and_the_pages_name_its_format() -> None:
    found = [path for folder in FOLDERS for path in (SCHEMAS / folder).glob("*.schema.json")]
    names = [path.relative_to(SCHEMAS).as_posix().removesuffix(".schema.json") for path in found]
    assert sorted([*READ, *ONLY_WRITTEN]) == sorted(names)
    pages = "".join((HOUSE / "airgap-bundles" / page).read_text() for page in ("DECISIONS.md", "AUDIT.md"))
    for name in names:
        schema = schema_of(name)
        Draft202012Validator.check_schema(schema)
        assert f"{name}.schema.json" == schema["$id"]
        form = schema.get("properties", {}).get("format", {})
        for one in form.get("enum", [form.get("const", "openings")]):
            assert one in pages


@pytest.mark.parametrize("name", READ)
def test_schema_and_decoder_agree_on_what_somebody_changed(name: str, tmp_path: Path) -> None:
    """Never does the decoder take what the schema refuses; the other way only where no schema can say it."""
    schema, tried = validator(name), 0
    for one in written(name, tmp_path):
        assert [] == [error.message for error in schema.iter_errors(one.full)]
        assert taken(one, one.full)
        for place, value in changed(one.full):
            valid, held = schema.is_valid(value), taken(one, value)
            assert valid or not held, f"{place}: the decoder takes what the schema refuses: {value}"
            beyond = re.fullmatch(one.beyond, place) is not None
            assert held or not valid or beyond, f"{place}: only the decoder refuses {value}"
            tried += 1
    assert tried > 50
    shutil.rmtree(tmp_path)


def test_a_request_is_what_its_schema_says() -> None:
    asked = Question(
        "promote", "lab", digest("version"), "acme/tiny", 2, "team", digest("policy"), [digest("report")],
        {"contract": digest("contract"), "profile": None, "router": None, "companions": None}, None,
        {"suites": True}, [], "ines", "läuft gut", "A page.\n",
    )  # fmt: skip
    schema, document = schema_of("decisions/approval-request"), asked.document()
    valid = Draft202012Validator(schema)
    assert [] == [error.message for error in valid.iter_errors(document)]
    assert set(document) == set(schema["required"]) == set(schema["properties"])
    assert not valid.is_valid({**document, "action": "anything"})


@pytest.mark.parametrize("leaf", [logs.PLAIN, logs.SEALED.data, logs._coarse(1000)[0], logs._coarse(1)[0]])
def test_events_are_valid_whatever_is_salted(leaf: bytes) -> None:
    assert [] == [error.message for error in validator("log/event").iter_errors(json.loads(leaf))]


def test_what_opens_an_event_is_valid() -> None:
    line = {"openings": json.loads(logs.SEALED.openings), "position": 1}
    assert [] == [error.message for error in validator("log/openings-line").iter_errors(line)]
    assert not validator("log/openings-line").is_valid({**line, "openings": [["/actor", "00", "ines"]]})


def test_the_pages_name_everything_that_can_happen_and_be_decided() -> None:
    audit_page, page = (
        (HOUSE / "airgap-bundles" / name).read_text() for name in ("AUDIT.md", "DECISIONS.md")
    )
    assert [] == [kind for kind in EventKind if f"`{kind}`" not in audit_page]
    rows = {line.split("|")[1].strip(" `"): line for line in page.splitlines() if line.startswith("| `")}
    for kind in Kind:
        assert all(role in rows[kind] for role in NEEDS.get(kind, ()))
    listed = schema_of("decisions/decision")["properties"]["kind"]["enum"]
    assert set(Kind) == set(listed)
