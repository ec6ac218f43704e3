"""The published vectors: what lies below `valid` is read, what lies below `refused/<Error>` meets that very refusal."""

import hashlib
import itertools
import json
import subprocess
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from jsonschema import Draft202012Validator

from pipelines import paper, receipts, repair
from pipelines.bundle import documents, history, plan, tables
from pipelines.bundle.lanes import Unreadable
from pipelines.bundle.reader import Bundle, SmallFiles, VolumeFolder, read_plan
from pipelines.bundle.rebuilding import rebuild
from pipelines.encodings import ladder
from pipelines.workplace import Workplace
from registry import approvals_payload, audit, decisions, log_proof, manifests, people, salted
from signing import checkpoint, cosignature, draft_folder, drafts, person_signature, tlog_proof
from signing import model_signature as oms
from signing.canonical import canonical_bytes
from signing.envelope import Envelope, verify
from signing.stream import read_export
from signing.times import from_rfc3339
from tests import make_vectors, second_reader
from tests.programs import program
from tests.vectors.basics import STATION, VECTORS

NAMESPACES = {"approval": approvals_payload.NAMESPACE, "decision": decisions.NAMESPACE}
HOUSE = Path(__file__).parents[2]
SCHEMAS = HOUSE / "airgap-bundles" / "schemas"


def test_the_vectors_are_what_the_script_writes() -> None:
    assert ({}, []) == make_vectors.differences()


def cases(verdict: str) -> list[Path]:
    """The cases of a verdict: `<kind>/<case>`, a file or a folder."""
    depth = "*/*" if verdict == "valid" else "*/*/*"
    return sorted((VECTORS / verdict).glob(depth))


def name_of(case: Path) -> str:
    return case.relative_to(VECTORS).as_posix()


def kind_of(case: Path) -> str:
    return case.parent.name


# -- how each kind is read ---------------------------------------------------------------------------------------------


def read_an_export(case: Path) -> None:
    read_export(case.read_bytes(), at="export")
    export = documents.decode_export(case.read_bytes())
    if "unknown" not in case.name:
        assert case.read_bytes() == documents.encode_export(export)


def read_a_release(case: Path) -> None:
    release = documents.decode_release(case.read_bytes())
    if b"novelty" not in case.read_bytes():
        assert case.read_bytes() == documents.encode_release(release)


def read_a_manifest(case: Path) -> None:
    assert case.read_bytes() == manifests.encode(manifests.decode(case.read_bytes()))


def read_a_history(case: Path) -> None:
    told = history.decode(case.read_bytes(), below=3)
    if "unknown" not in case.name:
        assert case.read_bytes() == history.encode(told)


def read_a_table(case: Path) -> None:
    export = documents.decode_export((case / "export.json").read_bytes())
    data = (case / "chunks.jsonl").read_bytes()
    table = tables.decode_table(data, export)
    if b"novelty" not in data:
        assert data == tables.encode_table(table, {blob.sha256: blob.size for blob in export.blobs})


def bundle_of(case: Path) -> Bundle:
    body = (case / "export.json").read_bytes()
    export = documents.decode_export(body)
    table = tables.decode_table((case / "chunks.jsonl").read_bytes(), export)
    return Bundle(export, hashlib.sha256(body).hexdigest(), (), {}, table, (), {})


def read_a_plan(case: Path) -> None:
    bundle = bundle_of(case)
    label = plan.decode_label((case / "volume.json").read_bytes())
    own = {name: (case / name).read_bytes() for name in ("volume.json", "plan.json", "plan.sig.json")}
    found = read_plan(SmallFiles(VolumeFolder(case, label, {}, ()), own, {}, ()), bundle)
    assert own["plan.json"] == plan.encode_plan(found)


def read_a_receipt(case: Path) -> None:
    receipt, letter = receipts.read(case.read_bytes())
    letter.check(STATION.public_key, payload_type=receipts.PAYLOAD_TYPE)
    assert receipt.bundle == "20261120-03"


def read_a_request(case: Path) -> None:
    """As far as that goes without an origin; what is malformed is refused before its records are asked."""
    if case.is_relative_to(VECTORS / "refused"):
        repair.read_request(cast("Workplace", None), case.read_bytes(), at=case.name)
    value = json.loads(case.read_bytes())
    key = STATION.public_key
    envelope = Envelope.from_json(canonical_bytes(value["signature"]))
    payload = canonical_bytes(value["payload"])
    verify(payload, envelope, {key.keyid: key}, payload_type=repair.PAYLOAD_TYPE)


def read_sums(case: Path) -> None:
    data = case.read_bytes()
    assert data == plan.encode_sums(plan.decode_sums(data, at=case.name))


# -- what people sign, the log, and what else is signed apart ----------------------------------------------------------


def authentic(case: Path, namespace: str) -> bytes:
    """The payload of a case, if whoever it is about signed it as is demanded. Content comes after."""
    asked = json.loads((case / "check.json").read_bytes())
    payload = (case / "payload.json").read_bytes()
    person_signature.verify(
        (case / "payload.sig").read_text(),
        payload,
        namespace=namespace,
        public_key=asked["public_key"],
        require_touch=asked["touch"],
        require_pin=asked["pin"],
        at=from_rfc3339(asked["at"]) if asked["at"] else None,
        anchors=[b64decode(one) for one in asked["anchors"]],
        crls=[b64decode(one) for one in asked["crls"]],
    )
    return payload


def read_an_approval(case: Path) -> None:
    data = authentic(case, approvals_payload.NAMESPACE)
    assert data == approvals_payload.payload(*approvals_payload.decode(data))


def read_a_decision(case: Path) -> None:
    data = authentic(case, decisions.NAMESPACE)
    assert data == decisions.payload(decisions.decode(data))


def read_people(case: Path) -> None:
    found = people.decode(case.read_bytes())
    if "unknown" not in case.name:
        assert case.read_bytes() == people.encode(found)


def read_an_event(case: Path) -> None:
    beside = case / "openings.json"
    openings = beside.read_text() if beside.exists() else None
    entry = audit.read_leaf((case / "event.json").read_bytes(), openings)
    assert not list(salted.salted_places([entry.note, [row for _, row in entry.rows]]))


def read_a_checkpoint(case: Path) -> None:
    about, note = json.loads((case / "check.json").read_bytes()), (case / "checkpoint").read_bytes().decode()
    assert 7 == checkpoint.verify(note, about["log_key"]).size
    for witness in about["witnesses"]:
        cosignature.verify(note, witness)


def read_a_proof(case: Path) -> None:
    about, beside = json.loads((case / "check.json").read_bytes()), case / "event.openings.json"
    proof = tlog_proof.read((case / "event.tlog-proof").read_bytes())
    opened = log_proof.read_openings(beside.read_bytes()) if beside.exists() else []
    shown = log_proof.check(proof, about["log_key"], opened=opened, witnesses=about["witnesses"])
    assert proof.index == shown.event["position"]


def read_a_ceremony(case: Path) -> None:
    draft = draft_folder.read(case)
    assert [] == drafts.problems(draft, now=draft.made_at)
    counts = drafts.waiting(draft, draft_folder.signatures(case))
    assert {len(one.signed) for one in counts} == {0 if "nobody" in case.name else 2}


def read_paper(case: Path) -> None:
    fresh = paper.from_paper((case / "paper.txt").read_text(), (case / "own.json").read_bytes())
    assert fresh == (case / "timestamp.json").read_bytes()


def read_a_model_signature(case: Path) -> None:
    key = oms.public_key((case / "model.pem").read_bytes())
    assert oms.verify(oms.read((case / "model.sig").read_bytes()), key).resources


def frame_of(case: Path) -> tuple[dict[str, Any], bytes, bytes | None]:
    base = case / "base.bin"
    about = json.loads((case / "frame.json").read_bytes())
    return about, (case / "stored.bin").read_bytes(), base.read_bytes() if base.exists() else None


def read_a_frame(case: Path) -> None:
    about, stored, base = frame_of(case)
    out = memoryview(bytearray(about["size"]))
    under = None if base is None else memoryview(base)
    ladder.decode(about["encoding"], about["unit"], memoryview(stored), out, under)
    assert about["sha256"] == hashlib.sha256(out).hexdigest()
    assert out == (case / "raw.bin").read_bytes()


READERS: dict[str, Callable[[Path], None]] = {
    "export": read_an_export,
    "release": read_a_release,
    "manifest": read_a_manifest,
    "history": read_a_history,
    "table": read_a_table,
    "plan": read_a_plan,
    "receipt": read_a_receipt,
    "repair-request": read_a_request,
    "sums": read_sums,
    "frame": read_a_frame,
    "approval": read_an_approval,
    "decision": read_a_decision,
    "people": read_people,
    "event": read_an_event,
    "checkpoint": read_a_checkpoint,
    "proof": read_a_proof,
    "ceremony": read_a_ceremony,
    "paper": read_paper,
    "model-signature": read_a_model_signature,
}


def test_every_kind_is_there_with_both_verdicts() -> None:
    assert set(READERS) == {kind_of(case) for case in cases("valid")}
    assert set(READERS) == {kind_of(case) for case in cases("refused")}


@pytest.mark.parametrize("case", cases("valid"), ids=name_of)
def test_what_is_valid_is_read(case: Path) -> None:
    READERS[kind_of(case)](case)


@pytest.mark.parametrize("case", cases("refused"), ids=name_of)
def test_what_is_refused_meets_that_refusal(case: Path) -> None:
    with pytest.raises(Exception) as refusal:  # noqa: PT011 - the folder names it
        READERS[kind_of(case)](case)
    assert case.parent.parent.name == type(refusal.value).__name__


# -- the same by schema and by the second reader -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["export", "release", "receipt", "repair-request", "plan"])
def test_what_is_valid_passes_its_schema(kind: str) -> None:
    validator = Draft202012Validator(json.loads((SCHEMAS / f"{kind}.schema.json").read_text()))
    for case in (case for case in cases("valid") if kind_of(case) == kind):
        data = (case / "plan.json").read_bytes() if kind == "plan" else case.read_bytes()
        assert validator.is_valid(json.loads(data)), case


@pytest.fixture(scope="module")
def second() -> Iterator[dict[str, Callable[[Path], object]]]:
    with second_reader.loaded() as modules:
        key = json.loads((VECTORS / "valid" / "export" / "full.json").read_bytes())["packer"]
        yield second_reader.vector_readers(modules, key)


@pytest.mark.parametrize("case", cases("valid"), ids=name_of)
def test_the_second_reader_reads_the_same(second: dict[str, Callable[[Path], object]], case: Path) -> None:
    second[kind_of(case)](case)


@pytest.mark.parametrize("case", cases("refused"), ids=name_of)
def test_the_second_reader_refuses_the_same(second: dict[str, Callable[[Path], object]], case: Path) -> None:
    with pytest.raises(Exception) as refusal:  # noqa: PT011 - its own two are not ours to import
        second[kind_of(case)](case)
    # What it does not name itself is what a document lacks: its program says so of these.
    lacks = (KeyError, TypeError, ValueError, AttributeError, IndexError, StopIteration)
    assert type(refusal.value).__name__ in ("Wrong", "Malformed") or isinstance(refusal.value, lacks)


def by_ssh(case: Path) -> bool:
    return (case / "payload.sig").read_text().startswith("-----")


@pytest.mark.parametrize(
    "case", [case for case in cases("valid") if kind_of(case) in NAMESPACES and by_ssh(case)], ids=name_of
)
def test_ssh_keygen_takes_what_people_signed(case: Path, tmp_path: Path) -> None:
    """The line of DECISIONS.md, typed."""
    key = json.loads((case / "check.json").read_bytes())["public_key"]
    (tmp_path / "allowed_signers").write_text(f"alice {key}\n")
    line = [program("ssh-keygen"), "-Y", "verify", "-f", str(tmp_path / "allowed_signers"), "-I", "alice"]
    line += ["-n", NAMESPACES[kind_of(case)], "-s", str(case / "payload.sig")]
    done = subprocess.run(line, input=(case / "payload.json").read_bytes(), capture_output=True, check=False)
    assert (0, b'Good "') == (done.returncode, done.stdout[:6])


def losses(case: Path) -> list[set[str]]:
    """Any two files; where parity reaches over volumes, any two volumes too."""
    volumes = json.loads((case / "plan.json").read_bytes())["volumes"]
    files = [{*volume["chunks"], *volume["parity"]} for volume in volumes]
    two_files = [set(pair) for pair in itertools.combinations(sorted(set().union(*files)), 2)]
    return two_files + [one | other for one, other in itertools.combinations(files, 2)]


@pytest.mark.parametrize("name", ["across", "within"])
def test_any_two_lost_files_or_volumes_are_computed_from_the_rest(name: str, tmp_path: Path) -> None:
    case = VECTORS / "valid" / "plan" / name
    stored = {path.name: path.read_bytes() for path in (case / "stored").iterdir()}
    assert all(name == hashlib.sha256(data).hexdigest() for name, data in stored.items())
    sizes = {name: chunk.size for name, chunk in bundle_of(case).chunks.items()}
    sets = plan.decode_plan((case / "plan.json").read_bytes(), sizes=sizes).parity_sets(sizes)
    for number, lost in enumerate(losses(case)):
        place = tmp_path / str(number)
        place.mkdir()

        def read(name: str, offset: int, view: memoryview, lost: set[str] = lost) -> None:
            if name in lost:
                raise Unreadable(name)
            view[:] = stored[name][offset : offset + len(view)]

        wanted = lost & set(sizes)
        done = rebuild(sets, wanted, read, place.joinpath, bad=lost, at_once=1)
        assert wanted == done.done
        assert all(stored[name] == (place / name).read_bytes() for name in wanted)
