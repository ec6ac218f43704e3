"""Versions laid out as images: the folder that Ollama keeps its models in, and an OCI layout for everybody else."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipelines import placing
from pipelines.images.ollama import NotForOllama, ollama_image
from pipelines.images.papers import CYCLONEDX, FILES, IN_TOTO, PREDICATE, SIGSTORE_BUNDLE
from pipelines.intake.folder import add_folder
from pipelines.intake.oci_layout import add_layout
from pipelines.materialise import FolderTaken, HandedOver, Layout, Withdrawn, hand_over
from pipelines.promote import withdraw
from pipelines.workplace import Workplace
from registry.entities import Version
from registry.errors import BlobDamaged
from registry.manifests import decode
from registry.names import Ref
from signing.digests import file_sha256, sha256_hex
from signing.statements import PROVENANCE
from tests.pipelines.gap import model_files
from tests.pipelines.test_materialise import pin
from tests.programs import program

DEMO = Path(__file__).parents[2] / "demo" / "models"
MODEL = "acme/tiny"
OLLAMA = "application/vnd.ollama.image."
REF_NAME = "org.opencontainers.image.ref.name"


def add(work: Workplace, which: str, model: str = MODEL) -> Version:
    return add_folder(work, model, DEMO / which).version


def ollama(work: Workplace, what: str, folder: Path) -> list[HandedOver]:
    return hand_over(work, what, folder, layout=Layout.OLLAMA)


def oci(work: Workplace, what: str, folder: Path) -> list[HandedOver]:
    return hand_over(work, what, folder, layout=Layout.OCI)


def as_ollama_reads(folder: Path, name: str) -> dict[str, list[Path]]:
    """Follow a name to its blobs as Ollama does, and compare each with its digest and size. Returns kind to files."""
    model, _, tag = name.partition(":")
    manifest = json.loads((folder / "manifests" / model / tag).read_bytes())
    assert manifest["schemaVersion"] == 2
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    found: dict[str, list[Path]] = {}
    for part in (manifest["config"], *manifest["layers"]):
        blob = folder / "blobs" / part["digest"].replace(":", "-")
        assert blob.stat().st_size == part["size"]
        assert f"sha256:{file_sha256(blob)}" == part["digest"]
        found.setdefault(part["mediaType"], []).append(blob)
    return found


def blob(layout: Path, digest: str) -> bytes:
    return (layout / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()


def index(layout: Path) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads((layout / "index.json").read_bytes())["manifests"]
    return listed


def names(layout: Path) -> set[str]:
    return {item["annotations"][REF_NAME] for item in index(layout) if REF_NAME in item["annotations"]}


class TestOllama:
    def test_weights_licence_and_sampling_defaults(self, workplace: Workplace, tmp_path: Path) -> None:
        version = add(workplace, "v1")
        pin(workplace, version)
        [done] = ollama(workplace, "org", tmp_path / "models")
        assert (done.ref, done.files, done.folder) == (f"{MODEL}@1", 2, tmp_path / "models")
        for tag in ("1", "org"):
            found = as_ollama_reads(tmp_path / "models", f"tidegate/{MODEL}:{tag}")
            [weights], [licence] = found[f"{OLLAMA}model"], found[f"{OLLAMA}license"]
            assert weights.read_bytes() == (DEMO / "v1" / "model.gguf").read_bytes()
            assert licence.read_bytes() == (DEMO / "v1" / "LICENSE").read_bytes()
            assert json.loads(found[f"{OLLAMA}params"][0].read_bytes()) == {"temperature": 0}
            [config] = found["application/vnd.docker.container.image.v1+json"]
            said = json.loads(config.read_bytes())
            assert (said["model_format"], said["model_family"], said["file_type"]) == ("gguf", "qwen3", "F16")
            assert f"{OLLAMA}template" not in found  # Ollama's templates are no Jinja

    def test_no_byte_is_copied(self, workplace: Workplace, tmp_path: Path) -> None:
        version = add(workplace, "v1")
        ollama(workplace, f"{MODEL}@1", tmp_path / "models")
        entry = next(e for e in decode(version.manifest.encode()).files if e.path == "model.gguf")
        there = tmp_path / "models" / "blobs" / f"sha256-{entry.sha256}"
        assert there.samefile(workplace.blobs.path(entry.sha256)) or there.stat().st_nlink == 1

    def test_a_tier_moves_and_the_old_version_stays(self, workplace: Workplace, tmp_path: Path) -> None:
        models = tmp_path / "models"
        pin(workplace, add(workplace, "v1"))
        ollama(workplace, "org", models)
        first = (models / "manifests/tidegate" / MODEL / "org").read_bytes()
        pin(workplace, add(workplace, "v2"))
        ollama(workplace, "org", models)
        assert (models / "manifests/tidegate" / MODEL / "org").read_bytes() != first
        assert (models / "manifests/tidegate" / MODEL / "1").read_bytes() == first
        as_ollama_reads(models, f"tidegate/{MODEL}:1")

    def test_again_changes_nothing(self, workplace: Workplace, tmp_path: Path) -> None:
        add(workplace, "v1")
        ollama(workplace, MODEL + "@1", tmp_path / "models")
        before = {path: path.stat().st_ino for path in (tmp_path / "models").rglob("*")}
        [again] = ollama(workplace, MODEL + "@1", tmp_path / "models")
        assert again.how == "already there"
        assert before == {path: path.stat().st_ino for path in (tmp_path / "models").rglob("*")}

    def test_a_blob_that_somebody_changed_there_is_replaced(
        self, workplace: Workplace, tmp_path: Path
    ) -> None:
        add(workplace, "v1")
        models = tmp_path / "models"
        ollama(workplace, MODEL + "@1", models)
        [licence] = as_ollama_reads(models, f"tidegate/{MODEL}:1")[f"{OLLAMA}license"]
        licence.unlink()  # it was the store's own file
        licence.write_text("other terms")
        ollama(workplace, MODEL + "@1", models)
        as_ollama_reads(models, f"tidegate/{MODEL}:1")
        assert workplace.blobs.path(licence.name[7:]).read_bytes() == (DEMO / "v1" / "LICENSE").read_bytes()

    def test_what_pulled_models_are_there_stays(self, workplace: Workplace, tmp_path: Path) -> None:
        models = tmp_path / "models"
        other = models / "manifests" / "registry.ollama.ai" / "library" / "other" / "latest"
        other.parent.mkdir(parents=True)
        other.write_text("{}")
        add(workplace, "v1")
        ollama(workplace, MODEL + "@1", models)
        assert other.read_text() == "{}"

    def test_safetensors_alone_are_not_for_ollama(self, workplace: Workplace, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.mkdir()
        for path, data in model_files().items():
            (source / path).write_bytes(data)
        add_folder(workplace, MODEL, source)
        with pytest.raises(NotForOllama, match="has no GGUF file"):
            ollama(workplace, MODEL + "@1", tmp_path / "models")
        assert not (tmp_path / "models").exists()

    def test_which_of_several_files_ollama_would_not_know(self, workplace: Workplace, tmp_path: Path) -> None:
        source = shutil.copytree(DEMO / "v1", tmp_path / "source")
        shutil.copy(DEMO / "v2" / "model.gguf", source / "model-q8.gguf")
        add_folder(workplace, MODEL, source)
        with pytest.raises(NotForOllama, match="2 GGUF files with weights"):
            ollama(workplace, MODEL + "@1", tmp_path / "models")

    def test_a_projector_lies_beside(self, workplace: Workplace, tmp_path: Path) -> None:
        source = shutil.copytree(DEMO / "v1", tmp_path / "source")
        shutil.copy(DEMO / "v2" / "model.gguf", source / "mmproj-model.gguf")
        add_folder(workplace, MODEL, source)
        ollama(workplace, MODEL + "@1", tmp_path / "models")
        found = as_ollama_reads(tmp_path / "models", f"tidegate/{MODEL}:1")
        assert len(found[f"{OLLAMA}projector"]) == len(found[f"{OLLAMA}model"]) == 1

    def test_sampling_defaults_in_ollamas_words(self, workplace: Workplace, tmp_path: Path) -> None:
        source = shutil.copytree(DEMO / "v1", tmp_path / "source")
        said = {
            "temperature": 0.6,
            "top_k": 20,
            "top_p": True,
            "repetition_penalty": 1.05,
            "eos_token_id": [1],
        }
        (source / "generation_config.json").write_text(json.dumps(said))
        version = add_folder(workplace, MODEL, source).version
        image = ollama_image(workplace.blobs, decode(version.manifest.encode()), "x")
        assert b'{"repeat_penalty":1.05,"temperature":0.6,"top_k":20}' in image.small.values()
        assert image == ollama_image(workplace.blobs, decode(version.manifest.encode()), "x")


class TestNothingIsHandedOver:
    @pytest.mark.parametrize("layout", [Layout.OLLAMA, Layout.OCI])
    def test_when_a_blob_is_damaged(self, workplace: Workplace, tmp_path: Path, layout: Layout) -> None:
        version = add(workplace, "v1")
        entry = next(e for e in decode(version.manifest.encode()).files if e.path == "model.gguf")
        path = workplace.blobs.path(entry.sha256)
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-1] + b"!")
        with pytest.raises(BlobDamaged):
            hand_over(workplace, MODEL + "@1", tmp_path / "out", layout=layout)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("layout", [Layout.OLLAMA, Layout.OCI])
    def test_when_it_is_withdrawn(self, workplace: Workplace, tmp_path: Path, layout: Layout) -> None:
        add(workplace, "v1")
        withdraw(workplace, Ref.parse(MODEL + "@1"), reason="misreads dosages")
        with pytest.raises(Withdrawn, match="misreads dosages"):
            hand_over(workplace, MODEL + "@1", tmp_path / "out", layout=layout)

    @pytest.mark.parametrize("layout", [Layout.OLLAMA, Layout.OCI])
    def test_into_a_folder_of_something_else(
        self, workplace: Workplace, tmp_path: Path, layout: Layout
    ) -> None:
        add(workplace, "v1")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.odt").touch()
        with pytest.raises(FolderTaken, match="holds other files"):
            hand_over(workplace, MODEL + "@1", tmp_path / "out", layout=layout)
        (tmp_path / "link").symlink_to(tmp_path)
        with pytest.raises(FolderTaken, match="is not a folder"):
            hand_over(workplace, MODEL + "@1", tmp_path / "link", layout=layout)

    @pytest.mark.parametrize(
        "text", ["", "[]", '{"manifests":7}', '{"manifests":[1]}', '{"manifests":[{"a":0.5}]}']
    )
    def test_into_a_layout_whose_index_cannot_be_kept(
        self, workplace: Workplace, tmp_path: Path, text: str
    ) -> None:
        add(workplace, "v1")
        out = tmp_path / "out"
        out.mkdir()
        (out / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        (out / "index.json").write_text(text)
        with pytest.raises(FolderTaken, match=r"index\.json cannot be read"):
            oci(workplace, MODEL + "@1", out)
        assert (out / "index.json").read_text() == text

    @pytest.mark.parametrize("layout", [Layout.OLLAMA, Layout.OCI])
    def test_stopped_half_way_nothing_is_named(
        self, workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: Layout
    ) -> None:
        add(workplace, "v1")
        done: list[Path] = []
        real = placing.fill

        def dying(source: Path, target: Path) -> None:
            if done:
                target.write_bytes(b"half")
                raise KeyboardInterrupt
            done.append(target)
            shutil.copyfile(source, target)

        out = tmp_path / "out"
        with monkeypatch.context() as patched:
            patched.setattr(placing, "_clone", dying)
            with pytest.raises(KeyboardInterrupt):
                hand_over(workplace, MODEL + "@1", out, layout=layout)
        assert real is placing.fill
        assert not (out / "manifests").exists()
        assert not (out / "index.json").exists()


class TestOci:
    def test_skopeo_and_oras_read_it_and_the_files_are_the_same(
        self, workplace: Workplace, tmp_path: Path
    ) -> None:
        from oras.layout import Layout as OrasLayout  # type: ignore[import-untyped]

        version = add(workplace, "v1")
        pin(workplace, version)
        out, copy = tmp_path / "out", tmp_path / "copy"
        oci(workplace, "org", out)
        assert names(out) == {f"{MODEL}:1", f"{MODEL}:org"}
        for source in (f"oci:{out}:{MODEL}:org", f"oci:{workplace.blobs.root}:{MODEL}:1"):
            shutil.rmtree(copy, ignore_errors=True)
            subprocess.run(
                [program("skopeo"), "copy", source, f"oci:{copy}:x"],
                check=True,
                capture_output=True,
                timeout=60,
            )
            for entry in decode(version.manifest.encode()).files:
                assert sha256_hex(blob(copy, entry.sha256)) == entry.sha256
        for folder in (out, workplace.blobs.root):
            assert (
                len(OrasLayout(str(folder)).get_ordered_blobs(f"{MODEL}:1")) == 11
            )  # 9 files, config, manifest

    def test_what_was_attested_refers_to_the_image(self, workplace: Workplace, tmp_path: Path) -> None:
        out = tmp_path / "out"
        version = add(workplace, "v1")
        oci(workplace, MODEL + "@1", out)
        about = [item for item in index(out) if REF_NAME not in item["annotations"]]
        assert {item["artifactType"] for item in about} == {FILES, IN_TOTO, CYCLONEDX, SIGSTORE_BUNDLE}
        for item in about:
            manifest = json.loads(blob(out, item["digest"]))
            assert manifest["subject"]["digest"] == f"sha256:{version.modelpack}"
            for part in (manifest["config"], *manifest["layers"]):
                assert len(blob(out, part["digest"])) == part["size"]
        provenance = next(item for item in about if item["annotations"].get(PREDICATE) == PROVENANCE)
        statement = json.loads(blob(out, json.loads(blob(out, provenance["digest"]))["layers"][0]["digest"]))
        files = next(item for item in about if item["artifactType"] == FILES)
        [layer] = json.loads(blob(out, files["digest"]))["layers"]
        # What the statement is about is the document that lists the image's own layers.
        assert layer["digest"] == f"sha256:{statement['subject'][0]['digest']['sha256']}"

    def test_other_images_in_the_layout_stay_and_names_move(
        self, workplace: Workplace, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        pin(workplace, add(workplace, "v1"))
        oci(workplace, "org", out)
        listed = index(out)
        foreign = {**listed[0], "digest": "sha256:" + "0" * 64, "annotations": {REF_NAME: "other:1"}}
        (out / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [*listed, foreign]}))
        second = add(workplace, "v2")
        pin(workplace, second)
        oci(workplace, "org", out)
        assert names(out) == {"other:1", f"{MODEL}:1", f"{MODEL}:2", f"{MODEL}:org"}
        moved = next(i for i in index(out) if i["annotations"].get(REF_NAME) == f"{MODEL}:org")
        assert moved["digest"] == f"sha256:{second.modelpack}"

    def test_it_comes_back_in_as_the_same_files(self, workplace: Workplace, tmp_path: Path) -> None:
        version = add(workplace, "v1")
        oci(workplace, MODEL + "@1", tmp_path / "out")
        again = add_layout(workplace, "acme/again", f"{tmp_path / 'out'}:{MODEL}:1").version
        assert decode(again.manifest.encode()).files == decode(version.manifest.encode()).files
