"""The published schemas say what the decoders do: of what the product writes, and of what somebody changed in it."""

import copy
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jsonschema import Draft202012Validator

from pipelines import answer, receipts, repair
from pipelines.bundle import documents, history, plan, tables
from pipelines.bundle.errors import FormatTooNew, MalformedBundle
from registry import people
from signing.canonical import NotCanonical, canonical_bytes, pretty_bytes
from signing.envelope import sign
from signing.errors import OperatorError
from signing.sshsig import public_key_line
from signing.stream import read_export
from tests.pipelines.fine_tune import fine_tuned
from tests.pipelines.gap import World, bundle_folders, make_world

SCHEMAS = Path(__file__).parents[2] / "airgap-bundles" / "schemas"
NAMES = [path.name.removesuffix(".schema.json") for path in sorted(SCHEMAS.glob("*.json"))]


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((SCHEMAS / f"{name}.schema.json").read_text()))


class Written(NamedTuple):
    """A document that the product wrote."""

    schema: str
    value: Any
    read: Callable[[bytes], object]  # raises when the decoder refuses
    encode: Callable[[Any], bytes]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    gap = make_world(tmp_path_factory.mktemp("schemas") / "world")
    gap.add("acme/tiny", {**fine_tuned(0), "README.md": b"one two three " * 9000})
    gap.arrive(gap.ship("acme/tiny", out="first"))
    gap.add("acme/tiny", fine_tuned(0.0005))
    gap.ship("acme/tiny", out="second", parity=2)
    gap.ship("acme/tiny", out="media", self_contained=True, parity=1, volume_bytes=260_000)
    gap.ship("acme/tiny", out="guard", profile="guard", self_contained=True)
    return gap


def folders(made: World) -> list[Path]:
    return [folder for one in made.shipped for folder in bundle_folders(one.folders, one.bundle)]


def of_bundle(folder: Path) -> Iterator[Written]:
    """The documents of one volume, each with its decoder."""
    [place] = (folder / "exports").rglob("*.json")
    body = place.read_bytes()
    export = documents.decode_export(body)
    yield Written("export", json.loads(body), _read_export, canonical_bytes)
    for path in (folder / "releases").rglob("*.json"):
        yield Written("release", json.loads(path.read_bytes()), documents.decode_release, canonical_bytes)
    lines = (folder / "chunks.jsonl").read_bytes().splitlines()
    sizes = {chunk.chunk: chunk.size for chunk in tables.decode_table(_joined(lines), export).chunks}

    def read_plan(data: bytes) -> object:
        return plan.decode_plan(data, sizes=sizes)

    yield Written("plan", json.loads((folder / "plan.json").read_bytes()), read_plan, canonical_bytes)
    label = (folder / "volume.json").read_bytes()
    yield Written("volume", json.loads(label), plan.decode_label, canonical_bytes)
    for number, line in enumerate(lines):

        def read_table(data: bytes, number: int = number) -> object:
            return tables.decode_table(_joined([*lines[:number], data, *lines[number + 1 :]]), export)

        yield Written("chunks-line", json.loads(line), read_table, canonical_bytes)
    told = (folder / "history.jsonl").read_bytes().splitlines()
    for number, line in enumerate(told):

        def read_history(data: bytes, number: int = number) -> object:
            changed = [*told[:number], data, *told[number + 1 :]]
            return history.decode(_joined(changed), below=export.sequence)

        yield Written("history-line", json.loads(line), read_history, canonical_bytes)


def _joined(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _read_export(data: bytes) -> object:
    return read_export(data, at="export"), documents.decode_export(data)


@pytest.fixture(scope="module")
def back(made: World) -> list[Written]:
    """What goes back: a full receipt, a digest-only one, a repair request."""
    folder = bundle_folders(made.shipped[1].folders, made.shipped[1].bundle)[0]
    broken = Path(shutil.copytree(folder, made.base / "broken"))
    for path in (broken / "chunks").rglob("*/*"):
        path.write_bytes(b"x" * path.stat().st_size)
    for path in (broken / "parity").rglob("*/*"):
        path.unlink()
    with made.at(made.site) as work, work.store.view() as view:
        full = answer.compose(work, view, answer.taken_in(view, None))
        brief = answer.digest_only(full, view)
        texts = [receipts.write(receipt, work) for receipt in (full, brief)]
        request = repair.write_request(work, [broken])[1]
        station = work.station

    def resigned(value: Any) -> bytes:
        """As a site would write it that says this."""
        payload = value["payload"] if isinstance(value, dict) and "payload" in value else {}
        envelope = sign(canonical_bytes(payload), repair.PAYLOAD_TYPE, station)
        if (
            isinstance(value, dict)
            and isinstance(value.get("signature"), dict)
            and value["signature"] == good
        ):
            value = {**value, "signature": json.loads(envelope.to_json())}
        return pretty_bytes(value)

    def read_request(data: bytes) -> object:
        with made.at(made.origin) as work:
            return repair.read_request(work, data, at="request")

    good = json.loads(request)["signature"]
    return [
        *(Written("receipt", json.loads(text), receipts.read, pretty_bytes) for text in texts),
        Written("repair-request", json.loads(request), read_request, resigned),
    ]


@pytest.fixture(scope="module")
def written(made: World, back: list[Written]) -> list[Written]:
    return [*(one for folder in folders(made) for one in of_bundle(folder)), *back, *of_people()]


def of_people() -> Iterator[Written]:
    """Who the people of an origin are: somebody with two keys, and somebody who has left."""
    keys = [
        public_key_line(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)) for number in (1, 2, 3)
    ]
    old = people.Key("ssh", keys[0], "2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z")
    new = people.Key("ssh", keys[1], "2026-05-01T00:00:00Z")
    alice = people.Entry("alice", ("auditor", "steward"), (old, new), active=True, note="third floor")
    bob = people.Entry("bob", ("author",), (people.Key("ssh", keys[2], old.since),), active=False)
    data = people.encode(people.People(7, "2026-11-20T12:00:00Z", (alice, bob)))
    yield Written("people", json.loads(data), people.decode, canonical_bytes)


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_one(name: str) -> None:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    assert f"{name}.schema.json" == schema["$id"]


def test_what_the_product_writes_is_valid(written: list[Written]) -> None:
    assert set(NAMES) == {one.schema for one in written}
    for one in written:
        assert [] == [error.message for error in validator(one.schema).iter_errors(one.value)]
        one.read(one.encode(one.value))


def test_every_kind_of_line_is_among_it(written: list[Written]) -> None:
    lines = [one.value for one in written if one.schema == "chunks-line"]
    kinds = {"extension", "blob", "raw", "zstd", "planes", "delta"}
    assert kinds <= {word for line in lines for word in (*line, line.get("encoding"))}
    assert any("base" in line and "chunk" not in line for line in lines)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("export", documents._EXPORT_FIELDS),
        ("release", documents._RELEASE_FIELDS),
        ("receipt", receipts._KNOWN),
        ("repair-request", repair._KNOWN),
        ("people", people.KNOWN),
    ],
)
def test_a_schema_knows_the_fields_that_the_decoder_knows(name: str, known: frozenset[str]) -> None:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    body = schema["properties"].get("payload", schema)
    assert known == set(body["properties"]) == set(body["properties"]["critical"]["items"]["enum"])


# What no schema can say: sums, order, other documents. There the decoder may refuse what the schema lets pass.
BEYOND = {
    "export": r"log\.(checkpoint|cosigned)|packer\..*|packer|.*\[\d+\]\.(sha256|digest|version|path)|releases\[\d+\]\.path",
    "release": r"-",
    "plan": r"volumes.*|parity.*|repairs",
    "volume": r"index|of",
    "chunks-line": r".*",
    "history-line": r"sequence",
    "receipt": r"payload\.(sequence|sequences|log\.heads\.(checkpoint|cosigned))|signature\..*",
    "people": r"people\[\d+\]\.(name|keys.*)|.*T00:00:00Z|issued_at",
    "repair-request": r"payload\.(site|bundle|sequence|export)|signature.*",
}
VALUES: list[Any] = [None, True, False, -1, 0, 1, 2**53, "", "x", "A" * 64, "ab" * 32, "a\nb", "x" * 1025]
VALUES += ["2026-13-01T00:00:00Z", [], ["x"], [["x"]], {}, "z" * 64, "a/b", "/", [{}], 1000, "critical"]


def changed(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """The document with one thing changed, and where: gone, another value, or a field that nobody knows."""
    places = list(value.items()) if isinstance(value, dict) else list(enumerate(value[:2]))
    for key, child in places:
        name = f"{at}[{key}]" if isinstance(value, list) else f"{at}.{key}".lstrip(".")
        for other in VALUES:
            fresh = copy.copy(value)
            fresh[key] = other
            yield name, fresh
        if isinstance(value, dict):
            yield name, {kept: item for kept, item in value.items() if kept != key}
        if isinstance(child, (dict, list)):
            for deeper, other in changed(child, name):
                fresh = copy.copy(value)
                fresh[key] = other
                yield deeper, fresh
    if isinstance(value, dict):
        yield f"{at}.new", {**value, "zz-new": {"anything": [1]}}


def accepted(one: Written, value: Any) -> bool:
    try:
        one.read(one.encode(value))
    except (OperatorError, NotCanonical):
        return False
    return True


def sample(written: list[Written]) -> list[Written]:
    """One document of each shape: more would only repeat."""
    found: dict[tuple[str, ...], Written] = {}
    for one in written:
        shape = sorted(one.value.get("payload", one.value)) if one.schema == "receipt" else sorted(one.value)
        encoding = str(one.value.get("encoding", "")) if one.schema == "chunks-line" else ""
        key = (one.schema, *(shape if one.schema in ("chunks-line", "receipt") else ()), encoding)
        if key not in found or len(str(one.value)) > len(str(found[key].value)):
            found[key] = one
    return list(found.values())


@pytest.mark.parametrize("name", NAMES)
def test_schema_and_decoder_agree_on_what_somebody_changed(written: list[Written], name: str) -> None:
    """Never does the decoder take what the schema refuses; the other way only where no schema can say it."""
    schema, tried = validator(name), 0
    for one in (one for one in sample(written) if one.schema == name):
        for place, value in changed(one.value):
            valid, taken = schema.is_valid(value), accepted(one, value)
            assert valid or not taken, f"{name}, {place}: the decoder takes what the schema refuses: {value}"
            beyond = re.fullmatch(BEYOND[name], place) is not None
            assert taken or not valid or beyond, f"{name}, {place}: only the decoder refuses {value}"
            tried += 1
    assert tried > 100


@pytest.mark.parametrize(
    "name", ["export", "release", "plan", "volume", "receipt", "repair-request", "people"]
)
def test_a_field_that_nobody_knows_is_taken_unless_it_is_critical(written: list[Written], name: str) -> None:
    for one in (one for one in sample(written) if one.schema == name):
        for critical in (False, True):
            value = copy.deepcopy(one.value)
            top = value.get("payload", value)
            top |= {"zz-new": 1, "critical": ["zz-new"] if critical else []}
            assert critical != validator(name).is_valid(value)
            assert critical != accepted(one, value)


def test_an_unknown_critical_field_is_named(written: list[Written]) -> None:
    [export, *_rest] = [one for one in written if one.schema == "export"]
    with pytest.raises(FormatTooNew) as refusal:
        export.read(canonical_bytes({**export.value, "zz-new": 1, "critical": ["zz-new"]}))
    assert ("zz-new",) == refusal.value.unknown


def test_another_format_is_refused(written: list[Written]) -> None:
    [label, *_rest] = [one for one in written if one.schema == "volume"]
    with pytest.raises(MalformedBundle):
        label.read(canonical_bytes({**label.value, "format": "tidegate-volume/2"}))
