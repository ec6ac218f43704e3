"""`models add oci:…`: images that others packed become versions; layouts that lie are refused and leave nothing."""

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.intake import tar
from pipelines.intake.errors import ScanBlocked, SourceChanged, SourceUnusable
from pipelines.intake.folder import add_folder
from pipelines.intake.oci_documents import LayoutUnusable
from pipelines.intake.oci_layout import add_layout
from pipelines.workplace import Workplace
from registry.entities import Version
from registry.errors import SpaceShort
from registry.manifests import MalformedManifest, decode
from signing.digests import sha256_hex
from signing.statements import PROVENANCE, read_statement
from tests import world
from tests.conftest import NOON
from tests.pipelines.gap import model_files
from tests.pipelines.oci_makers import (
    INDEX,
    KITOPS,
    MANIFEST,
    MODELPACK,
    TITLE,
    Maker,
    Raw,
    entry,
    gzipped,
    packed,
    raw,
    registry,
    zstd,
)
from tests.programs import program

MODEL = "acme/tiny"
FILES = model_files()


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "layout")


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """One home for everything that is refused: nothing of it may be left, so each finds it as it was."""
    home = world.new_home(tmp_path_factory.mktemp("site") / "home", name="harbour", now=NOON)
    with world.at_work(home, actor="ines", now=NOON) as work:
        yield work


def files_of(version: Version) -> dict[str, str]:
    return {one.path: one.sha256 for one in decode(version.manifest.encode()).files}


def digests(files: dict[str, bytes]) -> dict[str, str]:
    return {path: sha256_hex(data) for path, data in files.items()}


def quiet(work: Workplace) -> bool:
    """Nothing waits in quarantine, nothing came into the store, nothing was recorded."""
    with work.store.view() as view:
        return not (
            list(work.home.quarantine.iterdir()) + list(work.blobs.tmp.iterdir()) + list(work.blobs.held())
        ) and not view.versions(MODEL)


def refused(work: Workplace, source: Path | str, problem: str) -> LayoutUnusable:
    with pytest.raises(LayoutUnusable, match=problem) as no:
        add_layout(work, MODEL, str(source))
    assert quiet(work)
    return no.value


class TestWhatOthersMake:
    def test_a_modelpack_of_files_as_they_are(self, workplace: Workplace, maker: Maker) -> None:
        image = maker.image(raw(maker, FILES), annotations={"org.opencontainers.image.vendor": "Acme"})
        layout = maker.index((image, "v1"))
        added = add_layout(workplace, MODEL, f"{layout}:v1")
        assert digests(FILES) == files_of(added.version)

        with workplace.store.view() as view:
            row = next(r for r in view.statements(added.version.digest) if r.predicate == PROVENANCE)
        definition = read_statement(row.payload.encode()).predicate["buildDefinition"]
        manifest = f"sha256:{sha256_hex(image)}"
        assert definition["externalParameters"] == {
            "layout": "layout", "image": "v1", "model": MODEL, "leftOut": [],
        }  # fmt: skip
        [source, *_] = definition["resolvedDependencies"]
        assert source["uri"] == f"oci:{manifest}"
        assert source["annotations"]["manifest"] == manifest
        assert source["annotations"]["annotations"] == {"org.opencontainers.image.vendor": "Acme"}

    def test_the_same_image_again_is_the_same_version(self, workplace: Workplace, maker: Maker) -> None:
        layout = maker.index((maker.image(raw(maker, FILES)), "v1"))
        first = add_layout(workplace, MODEL, str(layout))
        again = add_layout(workplace, MODEL, f"{layout}:v1")
        assert (again.new, again.version.digest) == (False, first.version.digest)

    @pytest.mark.parametrize(
        ("ending", "pack"),
        [(".v1.tar", bytes), (".v1.tar+gzip", gzipped), (".v1.tar+zstd", zstd)],
    )
    @pytest.mark.parametrize("vendor", [f"{MODELPACK}weight", f"{KITOPS}model"])
    def test_archives_of_modelpack_and_kitops(
        self, workplace: Workplace, maker: Maker, vendor: str, ending: str, pack: Callable[[bytes], bytes]
    ) -> None:
        weights = {"deep/model.safetensors": FILES["model.safetensors"]}
        rest = {f"./{path}": data for path, data in FILES.items() if path != "model.safetensors"}
        layers = [
            maker.layer(vendor + ending, pack(packed(weights))),
            maker.layer(vendor + ending, pack(packed(rest, form=tarfile.GNU_FORMAT))),
        ]
        added = add_layout(workplace, MODEL, str(maker.index((maker.image(layers), None))))
        wanted = {path.removeprefix("./"): data for path, data in (weights | rest).items()}
        assert digests(wanted) == files_of(added.version)

    def test_what_oras_pushed(
        self, workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Files, and a folder that the client packs by itself."""
        from oras.client import OrasClient  # type: ignore[import-untyped]
        from oras.layout import NewLayoutFromRegistry  # type: ignore[import-untyped]

        source = tmp_path / "source"
        for path, data in (FILES | {"mtp/config.json": b'{"a": 1}'}).items():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_bytes(data)
        monkeypatch.chdir(source)
        with registry() as host:
            client = OrasClient(hostname=host, insecure=True)
            target = f"{host}/acme/tiny:v1"
            client.push(target=target, files=[*FILES, "mtp"], disable_path_validation=True)
            NewLayoutFromRegistry(str(tmp_path / "layout"), client, target, tag="v1")
        added = add_layout(workplace, MODEL, f"{tmp_path / 'layout'}:v1")
        assert digests(FILES | {"mtp/config.json": b'{"a": 1}'}) == files_of(added.version)

    def test_what_skopeo_copied_out_of_our_own_store(self, workplace: Workplace, tmp_path: Path) -> None:
        """The store is a layout; an image in it is named as index.json names it."""
        source = tmp_path / "source"
        source.mkdir()
        for path, data in FILES.items():
            (source / path).write_bytes(data)
        add_folder(workplace, MODEL, source)
        copy = tmp_path / "copy"
        subprocess.run(
            [program("skopeo"), "copy", f"oci:{workplace.blobs.root}:{MODEL}:1", f"oci:{copy}:one"],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        added = add_layout(workplace, "acme/other", f"{copy}:one")
        assert digests(FILES) == files_of(added.version)

    def test_the_only_image_behind_an_index_in_an_index(self, workplace: Workplace, maker: Maker) -> None:
        image = maker.image(raw(maker, FILES))
        inner = json.dumps(
            {"schemaVersion": 2, "mediaType": INDEX, "manifests": [maker.describe(MANIFEST, image)]}
        ).encode()
        outer = maker.describe(INDEX, inner)
        added = add_layout(workplace, MODEL, str(maker.index(manifests=[outer])))
        assert digests(FILES) == files_of(added.version)

    def test_left_out_files_are_reported(self, workplace: Workplace, maker: Maker) -> None:
        layers = raw(maker, FILES | {"original/run.py": b"print()"})
        layout = maker.index((maker.image(layers), None))
        with pytest.raises(ScanBlocked, match=r"run\.py"):
            add_layout(workplace, MODEL, str(layout))
        added = add_layout(workplace, MODEL, str(layout), leave_out=["original/*"])
        assert added.left_out == ("original/run.py",)

    def test_a_pickle_is_refused_as_from_any_folder(self, workplace: Workplace, maker: Maker) -> None:
        layers = raw(maker, FILES | {"pytorch_model.bin": b"\x80\x04."})
        with pytest.raises(ScanBlocked):
            add_layout(workplace, MODEL, str(maker.index((maker.image(layers), None))))
        assert quiet(workplace)


class TestWhichImage:
    def test_one_of_several_has_to_be_named(self, workplace: Workplace, maker: Maker) -> None:
        one, two = maker.image(raw(maker, FILES)), maker.image(raw(maker, model_files(2)))
        layout = maker.index((one, "one"), (two, "two"))
        refused(workplace, layout, "holds 2 images; say which .*one, two")
        refused(workplace, f"{layout}:three", "has no image 'three'; it has one, two")
        added = add_layout(workplace, MODEL, f"{layout}:sha256:{sha256_hex(two)}")
        assert digests(model_files(2)) == files_of(added.version)

    def test_one_name_for_two_images_is_no_name(self, workplace: Workplace, maker: Maker) -> None:
        one, two = maker.image(raw(maker, FILES)), maker.image(raw(maker, model_files(2)))
        refused(workplace, f"{maker.index((one, 'v1'), (two, 'v1'))}:v1", "2 images are called 'v1'")

    def test_a_folder_that_is_no_layout(self, workplace: Workplace, tmp_path: Path) -> None:
        (tmp_path / "plain").mkdir()
        refused(workplace, tmp_path / "plain", "is no OCI layout")


class TestLies:
    def test_a_blob_that_is_not_what_its_name_says(self, untouched: Workplace, maker: Maker) -> None:
        layers = raw(maker, FILES)
        blob = maker.folder / "blobs" / "sha256" / layers[1]["digest"][7:]
        blob.write_bytes(blob.read_bytes()[:-1] + b"!")
        with pytest.raises(SourceChanged, match="listed as sha256"):
            add_layout(untouched, MODEL, str(maker.index((maker.image(layers), None))))
        assert quiet(untouched)

    def test_an_archive_is_hashed_before_it_is_unpacked(self, untouched: Workplace, maker: Maker) -> None:
        """The archive holds a link: refused for its digest, so nobody looked into it."""
        layer = maker.layer(f"{KITOPS}model.v1.tar", entry("link", tarfile.SYMTYPE, link="/etc/passwd"))
        blob = maker.folder / "blobs" / "sha256" / layer["digest"][7:]
        blob.write_bytes(blob.read_bytes()[:-1] + b"!")
        with pytest.raises(SourceChanged):
            add_layout(untouched, MODEL, str(maker.index((maker.image([layer]), None))))
        assert quiet(untouched)

    @pytest.mark.parametrize("part", ["manifest", "config"])
    def test_a_changed_document(self, untouched: Workplace, maker: Maker, part: str) -> None:
        image = maker.image(raw(maker, FILES))
        layout = maker.index((image, None))
        digest = sha256_hex(image) if part == "manifest" else json.loads(image)["config"]["digest"][7:]
        blob = maker.folder / "blobs" / "sha256" / digest
        blob.write_bytes(blob.read_bytes().replace(b"{", b" ", 1))
        with pytest.raises(SourceChanged):
            add_layout(untouched, MODEL, str(layout))
        assert quiet(untouched)

    def test_a_size_that_is_another(self, untouched: Workplace, maker: Maker) -> None:
        layers = raw(maker, FILES)
        layers[0]["size"] += 1
        with pytest.raises(SourceChanged, match="bytes"):
            add_layout(untouched, MODEL, str(maker.index((maker.image(layers), None))))
        assert quiet(untouched)

    def test_a_size_that_no_disk_has(self, untouched: Workplace, maker: Maker) -> None:
        layers = raw(maker, FILES)
        layers[0]["size"] = 1 << 44
        with pytest.raises(SpaceShort):
            add_layout(untouched, MODEL, str(maker.index((maker.image(layers), None))))
        assert quiet(untouched)

    def test_a_layer_that_is_missing(self, untouched: Workplace, maker: Maker) -> None:
        layers = raw(maker, FILES)
        (maker.folder / "blobs" / "sha256" / layers[0]["digest"][7:]).unlink()
        refused(untouched, maker.index((maker.image(layers), None)), "is missing; the image names it")

    def test_a_blob_that_is_a_link(self, untouched: Workplace, maker: Maker, tmp_path: Path) -> None:
        """Also where what it points to has the right digest."""
        layers = raw(maker, FILES)
        blob = maker.folder / "blobs" / "sha256" / layers[0]["digest"][7:]
        blob.rename(tmp_path / "elsewhere")
        blob.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(SourceUnusable, match="is a link"):
            add_layout(untouched, MODEL, str(maker.index((maker.image(layers), None))))
        assert quiet(untouched)

    def test_a_pipe_for_an_index_is_not_waited_for(self, untouched: Workplace, maker: Maker) -> None:
        os.mkfifo(maker.folder / "index.json")
        with pytest.raises(SourceUnusable, match="no regular file"):
            add_layout(untouched, MODEL, str(maker.folder))

    @pytest.mark.parametrize(
        "path",
        ["../out", "/etc/passwd", "a/../../b", "C:/x", "a\\b", "", "a//b", "x/", "nul\0", "con?", "a" * 513],
    )
    def test_a_path_that_leads_elsewhere(self, untouched: Workplace, maker: Maker, path: str) -> None:
        """As the name of a layer, and in an archive (where a path that ends in a slash is a folder)."""
        data = FILES["config.json"]
        with pytest.raises((LayoutUnusable, ScanBlocked)):
            add_layout(untouched, MODEL, str(maker.index((maker.image(raw(maker, {path: data})), None))))
        assert quiet(untouched)
        if "\0" in path or path.endswith("/"):
            return
        layer = maker.layer(f"{KITOPS}model.v1.tar", packed({path: data}))
        refused(untouched, maker.index((maker.image([layer]), None)), "layer 0")

    @pytest.mark.parametrize(
        ("kind", "words"),
        [
            (tarfile.SYMTYPE, "a symbolic link"),
            (tarfile.LNKTYPE, "a hard link"),
            (tarfile.CHRTYPE, "a character device"),
            (tarfile.BLKTYPE, "a block device"),
            (tarfile.FIFOTYPE, "a pipe"),
            (tarfile.GNUTYPE_SPARSE, "a sparse file"),
            (b"V", "unknown kind"),
        ],
    )
    def test_what_is_no_file(self, untouched: Workplace, maker: Maker, kind: bytes, words: str) -> None:
        layer = maker.layer(f"{MODELPACK}weight.v1.tar", entry("model.safetensors", kind, link="config.json"))
        refused(untouched, maker.index((maker.image([layer]), None)), f"model.safetensors' is .*{words}")

    def test_one_path_in_two_layers(self, untouched: Workplace, maker: Maker) -> None:
        """Images of containers overwrite files so; a model's file is what its signature covers, once."""
        layers = [*raw(maker, FILES), maker.layer(f"{KITOPS}code.v1.tar", packed({"config.json": b"{}"}))]
        refused(
            untouched, maker.index((maker.image(layers), None)), "'config.json', which layer 0 .* holds too"
        )

    def test_one_path_twice_in_an_archive(self, untouched: Workplace, maker: Maker) -> None:
        data = packed({"config.json": b"{}"})[:1024] + packed({"./config.json": b"[]"})
        layer = maker.layer(f"{KITOPS}model.v1.tar", data)
        refused(untouched, maker.index((maker.image([layer]), None)), "holds too")

    def test_names_that_only_case_tells_apart(self, untouched: Workplace, maker: Maker) -> None:
        layers = raw(maker, FILES | {"sub/config.json": b"{}", "SUB/config.json": b"[]"})
        with pytest.raises((ScanBlocked, MalformedManifest)):
            add_layout(untouched, MODEL, str(maker.index((maker.image(layers), None))))
        assert quiet(untouched)

    @pytest.mark.parametrize("pack", [gzipped, zstd])
    def test_a_bomb(self, untouched: Workplace, maker: Maker, pack: Callable[[bytes], bytes]) -> None:
        """64 MiB of zeros in 64 KiB or less."""
        ending = "gzip" if pack is gzipped else "zstd"
        layer = maker.layer(
            f"{KITOPS}model.v1.tar+{ending}", pack(packed({"model.safetensors": bytes(64 << 20)}))
        )
        refused(untouched, maker.index((maker.image([layer]), None)), "more than 100 times its size")

    @pytest.mark.parametrize("data", [b"", b"\x1f\x8b", gzipped(b"x" * 600)[:-9], b"not gzip at all" * 40])
    def test_an_archive_that_is_none(self, untouched: Workplace, maker: Maker, data: bytes) -> None:
        layer = maker.layer(f"{KITOPS}model.v1.tar+gzip", data)
        refused(untouched, maker.index((maker.image([layer]), None)), "layer 0|no file")

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"layers": []}, "no list of 1 to"),
            ({"layers": "x"}, "no list of 1 to"),
            (
                {"layers": [{"mediaType": "x/y", "digest": "sha512:" + "0" * 128, "size": 1}]},
                "no sha256 digest",
            ),
            (
                {"layers": [{"mediaType": "x/y", "digest": "sha256:../../../../etc/passwd", "size": 1}]},
                "sha256",
            ),
            ({"layers": [{"mediaType": "x/y", "digest": "sha256:" + "0" * 64, "size": True}]}, "no size"),
            ({"layers": [{"mediaType": "x/y", "digest": "sha256:" + "0" * 64, "size": -1}]}, "no size"),
            ({"layers": [{"mediaType": "x/y", "digest": "sha256:" + "0" * 64, "size": 1}]}, "no file name"),
            ({"layers": [7]}, "no JSON object"),
            ({"config": None}, "config"),
            ({"schemaVersion": 1}, "no image manifest"),
            ({"mediaType": "text/html"}, "no image manifest"),
            ({"annotations": {"a": 7}}, "no short text"),
            ({"annotations": {"a": "b" * 9000}}, "no short text"),
            ({"annotations": {str(number): "" for number in range(65)}}, "65 annotations"),
        ],
    )
    def test_a_manifest_that_is_none(
        self, untouched: Workplace, maker: Maker, change: Raw, problem: str
    ) -> None:
        layout = maker.index((maker.image(raw(maker, FILES), **change), None))
        refused(untouched, layout, problem)

    @pytest.mark.parametrize(
        ("index", "problem"),
        [
            ("", "index.json"),
            ("[]", "no JSON object"),
            ('{"schemaVersion":2,"manifests":{}}', "no image index"),
            ('{"schemaVersion":2,"manifests":[]}', "holds 0 images"),
            ('{"schemaVersion":2,"manifests":[' + "[" * 9000, "index.json"),
            ('{"schemaVersion":2,"manifests":[' + "{}," * 10_001 + "{}]}", "10002 images; at most 10000"),
            ('{"a":' + '"' + "x" * (4 << 20) + '"}', "bytes; at most"),
            ('{"a":1,"a":2}', "stands twice"),
        ],
    )
    def test_an_index_that_is_none(
        self, untouched: Workplace, maker: Maker, index: str, problem: str
    ) -> None:
        (maker.folder / "index.json").write_text(index)
        refused(untouched, maker.folder, problem)

    def test_indexes_without_end(self, untouched: Workplace, maker: Maker) -> None:
        inner = maker.describe(MANIFEST, maker.image(raw(maker, FILES)))
        for _ in range(6):
            body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [inner]}
            inner = maker.describe(INDEX, json.dumps(body).encode())
        refused(untouched, maker.index(manifests=[inner]), "indexes in one another")


class TestTar:
    @given(
        st.dictionaries(
            st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=180),
            st.binary(max_size=1500),
            max_size=6,
        ),
        st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    )
    @settings(max_examples=60, deadline=None)
    def test_reads_what_the_standard_library_writes(self, files: dict[str, bytes], form: int) -> None:
        found = {}
        for member in tar.members(
            io.BytesIO(packed({f"d/{p}": data for p, data in files.items()}, form=form))
        ):
            space = memoryview(bytearray(2000))
            data = b""
            while count := member.readinto(space):
                data += bytes(space[:count])
            found[member.path] = data
        assert found == {f"d/{path}": data for path, data in files.items()}

    @given(st.binary(max_size=2048), st.integers(0, 2047), st.binary(min_size=1, max_size=8))
    @settings(max_examples=200, deadline=None)
    def test_refuses_anything_else_with_its_own_error(self, noise: bytes, at: int, change: bytes) -> None:
        whole = packed({"a/" + "n" * 120: b"x" * 700})
        for data in (noise, whole[:at], whole[:at] + change + whole[at + len(change) :]):
            try:
                for member in tar.members(io.BytesIO(data)):
                    member.skip()
            except tar.TarUnusable:
                pass

    def test_a_header_of_a_terabyte_is_not_read(self) -> None:
        made = tarfile.TarInfo("x")
        made.type, made.size = tarfile.XHDTYPE, 1 << 40
        with pytest.raises(tar.TarUnusable, match="at most 65536 are read"):
            list(tar.members(io.BytesIO(made.tobuf(tarfile.GNU_FORMAT))))

    def test_a_header_for_every_entry_renames_none(self) -> None:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", pax_headers={"path": "../../out"}) as archive:
            archive.addfile(tarfile.TarInfo("config.json"))
        with pytest.raises(tar.TarUnusable, match="renames every entry"):
            list(tar.members(io.BytesIO(out.getvalue())))


def test_titles_name_files_of_any_type(workplace: Workplace, maker: Maker) -> None:
    layers = [maker.layer("application/x-anything", data, path, TITLE) for path, data in FILES.items()]
    added = add_layout(workplace, MODEL, str(maker.index((maker.image(layers), None))))
    assert digests(FILES) == files_of(added.version)
