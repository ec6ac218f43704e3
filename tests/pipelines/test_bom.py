"""Bills of materials: the official CycloneDX 1.7 schema, the same facts the same bytes, and what came from elsewhere."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from pipelines import bom, held_documents
from pipelines.bom import BomUnmakeable, bill, newest
from pipelines.intake.folder import add_folder
from pipelines.intake.record import rescan
from pipelines.workplace import Workplace
from registry.manifests import Licence, Upstream, decode
from registry.names import Ref
from signing.canonical import canonical_bytes
from tests.pipelines.gap import World, make_world, model_files

MODEL = "acme/tiny"
SCHEMAS = Path(__file__).resolve().parents[1] / "vectors" / "cyclonedx"
CARD = b"---\nlicense: apache-2.0\n---\n# Tiny\n"


@cache
def validator() -> jsonschema.Draft7Validator:
    read = {path.name: json.loads(path.read_bytes()) for path in SCHEMAS.glob("*.schema.json")}
    found: Registry[Any] = Registry()
    for name, schema in read.items():
        place = f"http://cyclonedx.org/schema/{name.replace('.schema', '.SNAPSHOT.schema')}"
        found = found.with_resource(place, Resource.from_contents(schema))
    return jsonschema.Draft7Validator(read["bom-1.7.schema.json"], registry=found)


@pytest.fixture
def add(workplace: Workplace, tmp_path: Path) -> Callable[[dict[str, bytes]], str]:
    def do(files: dict[str, bytes]) -> str:
        folder = tmp_path / f"source-{len(list(tmp_path.iterdir()))}"
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        return add_folder(workplace, MODEL, folder).version.digest

    return do


@pytest.fixture
def gap(tmp_path: Path) -> World:
    return make_world(tmp_path)


Add = Callable[[dict[str, bytes]], str]


def made(work: Workplace) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bill(work, Ref.parse(MODEL))[0].body)
    return found


def test_every_version_has_one_by_the_official_schema(workplace: Workplace, add: Add) -> None:
    digest = add({**model_files(), "README.md": CARD})
    with workplace.store.view() as view:
        held = newest(view, digest)
    assert held is not None
    body = json.loads(held.body)
    validator().validate(body)
    component = body["metadata"]["component"]
    assert ("machine-learning-model", "acme", "tiny", "1") == tuple(
        component[key] for key in ("type", "group", "name", "version")
    )
    assert {"architectureFamily": "llama", "modelArchitecture": "LlamaForCausalLM"} == (
        component["modelCard"]["modelParameters"]
    )
    assert [{"license": {"id": "Apache-2.0"}}] == component["licenses"]
    assert sorted([*model_files(), "README.md"]) == [file["name"] for file in body["components"]]


def test_the_schema_is_asked(workplace: Workplace, add: Add) -> None:
    add(model_files())
    with pytest.raises(jsonschema.ValidationError):
        validator().validate(made(workplace) | {"version": 0})


def test_the_same_facts_are_the_same_bytes(workplace: Workplace, add: Add) -> None:
    digest = add(model_files())
    with workplace.store.view() as view:
        first = newest(view, digest)
    again, new = bill(replace(workplace, now=workplace.now + timedelta(days=9)), Ref.parse(MODEL))
    assert first is not None
    assert (first.digest, False) == (again.digest, new)


def test_a_later_finding_makes_a_later_bill(workplace: Workplace, add: Add) -> None:
    digest = add(model_files())
    before = made(workplace)
    later = replace(workplace, now=workplace.now + timedelta(days=1))
    rescan(later, Ref.parse(MODEL))
    document, new = bill(later, Ref.parse(MODEL))
    after = json.loads(document.body)
    validator().validate(after)
    assert new
    assert (before["serialNumber"], 1, 2) == (after["serialNumber"], before["version"], after["version"])
    assert ["PASSED", "PASSED"] == [
        one["value"]
        for one in after["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    ]
    with workplace.store.view() as view:
        found = newest(view, digest)
    assert found is not None
    assert document.digest == found.digest


def test_upstream_and_foreign_licences_have_a_form(workplace: Workplace, add: Add) -> None:
    digest = add(model_files())
    with workplace.store.view() as view:
        version = view.version_by_digest(digest)
    assert version is not None
    manifest = replace(
        decode(version.manifest.encode()),
        licence=Licence("stated", ("llama3.1", "my own words", "mit")),
        upstream=Upstream("hf://Acme/Tiny", "a" * 40, complete=True),
    )
    body = bom.make(version, manifest, config={"model_type": "x\n", "architectures": [7]}, reports=[])
    validator().validate(body)
    component = body["metadata"]["component"]
    assert "pkg:huggingface/Acme/Tiny@" + "a" * 40 == component["pedigree"]["ancestors"][0]["purl"]
    assert "modelCard" not in component
    assert {"license": {"id": "MIT"}} == component["licenses"][-1]


@pytest.mark.parametrize("config", [b"{", b"[]", b'{"model_type": 1e400}', b"\xff"])
def test_a_configuration_that_cannot_be_read_says_nothing(
    workplace: Workplace, add: Add, config: bytes
) -> None:
    digest = add(model_files())
    with workplace.store.view() as view:
        version = view.version_by_digest(digest)
    assert version is not None
    manifest = decode(version.manifest.encode())
    bad = workplace.blobs.put(config)
    entries = tuple(
        replace(one, sha256=bad, size=len(config)) if one.path == "config.json" else one
        for one in manifest.files
    )
    document, _ = bom.rows(workplace, version, replace(manifest, files=entries), [])
    assert "modelCard" not in json.loads(document.body)["metadata"]["component"]


def test_a_name_that_has_no_byte_form_is_refused(workplace: Workplace, add: Add) -> None:
    digest = add(model_files())
    with workplace.store.view() as view:
        version = view.version_by_digest(digest)
    assert version is not None
    manifest = replace(decode(version.manifest.encode()), upstream=Upstream("\ud800", None))
    with pytest.raises(BomUnmakeable):
        bom.rows(workplace, version, manifest, [])


def test_it_travels_with_its_version(gap: World) -> None:
    version = gap.add(MODEL, model_files())
    gap.receive(gap.ship(MODEL))
    with gap.at(gap.site) as work, work.store.view() as view:
        here = newest(view, version.digest)
    with gap.at(gap.origin) as work, work.store.view() as view:
        there = newest(view, version.digest)
    assert here is not None
    assert there is not None
    assert there.digest == here.digest


@pytest.mark.parametrize(
    "body", [b"{", b"{}", b"[]", canonical_bytes({"bomFormat": "SPDX", "specVersion": "1.7"})]
)
def test_one_that_is_none_comes_in_with_no_bundle(body: bytes) -> None:
    with pytest.raises(BomUnmakeable):
        held_documents.read(bom.KIND, body)


def test_a_bill_that_no_reader_would_take_stays_at_home_and_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version of very many files: the site takes it in, and makes its own."""
    gap = make_world(tmp_path / "world")
    gap.add("acme/tiny", model_files())
    monkeypatch.setattr("pipelines.bundle.cargo.MAX_MANIFEST", 1500)
    gap.receive(gap.ship("acme/tiny"))
    assert any("too large for a bundle" in note for note in gap.shipped[-1].notes)
    with gap.at(gap.site) as work, work.store.view() as view:
        assert [] == view.documents("ml-bom")
        assert ["acme/tiny"] == [row.model for row in view.versions()]
