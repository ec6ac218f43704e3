"""What couriers, publishers, thieves and tired operators tried on bundles, each told as it happened.

The table of attackers is docs/explanation/threats.md; what is said of the format itself, airgap-bundles/abuse.md.
"""

import hashlib
import json
import os
import shutil
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from pipelines import ship
from pipelines.baseline import assume_received, baseline
from pipelines.bundle import cargo, erasures, lanes, packer, plan, tables, unpacker
from pipelines.bundle.documents import Export, decode_export
from pipelines.bundle.errors import (
    BaseMissing,
    FilesDamaged,
    MalformedBundle,
    MediumNotWhole,
    OutputUnusable,
    PartlyImported,
    ReceiptOnMedium,
    ReceiptWrong,
    UndeclaredFile,
)
from pipelines.bundle.plan import decode_sums, encode_sums
from pipelines.bundle.spans import FileSource, Span, spans, worthwhile
from pipelines.bundle.tables import Chunk, Part, Table
from pipelines.receipts import read
from pipelines.repair import RepairRequestWrong, read_request
from registry.blobs import BlobStore
from registry.errors import BlobDamaged, NotFound
from registry.home import HomeBusy
from signing.canonical import canonical_bytes
from signing.refusals import ExpiredBundle
from tests.cli import Prompt
from tests.pipelines.gap import (
    SITE,
    World,
    make_world,
    model_files,
    small_chunks,
    state_of,
    stored_files,
    tree_of,
    weights,
)

MODEL = "acme/falcon"


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = make_world(tmp_path_factory.mktemp("attacks") / "world")
    made.add(MODEL, model_files(size=300_000))
    return made


@pytest.fixture
def world(founded: World, tmp_path: Path) -> World:
    return founded.copied(tmp_path / "world")


def in_time(work: Callable[[], object], seconds: float) -> None:
    """Do it, or fail if it is not done by then: a hang is no refusal."""
    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(seconds)
    assert not worker.is_alive(), f"still at work after {seconds} s"


def listed_too(folder: Path, path: str, data: bytes) -> None:
    """Put a file into a volume, and into its list, as a courier can who knows the format."""
    (folder / path).write_bytes(data)
    sums = decode_sums((folder / "SHA256SUMS").read_bytes(), at="SHA256SUMS")
    (folder / "SHA256SUMS").write_bytes(encode_sums({**sums, path: hashlib.sha256(data).hexdigest()}))


class TestACourier:
    @pytest.mark.parametrize("plant", ["pipe", "endless"])
    def test_does_not_hold_up_the_reading_back_with_a_list_that_never_ends(
        self, world: World, monkeypatch: pytest.MonkeyPatch, plant: str
    ) -> None:
        """The list of one volume is a pipe, or a link to an endless file; parity forgives that volume the rest."""
        small_chunks(monkeypatch, 1 << 16)
        volumes = world.volumes(MODEL, volume_bytes=250_000, parity=1)
        sums = volumes[1] / "SHA256SUMS"
        sums.unlink()
        if plant == "pipe":
            os.mkfifo(sums)
        else:
            sums.symlink_to("/dev/zero")
        found: list[BaseException] = []

        def read_back() -> None:
            try:
                world.read_back(*volumes)
            except MediumNotWhole as refusal:
                found.append(refusal)

        in_time(read_back, 20)
        assert "volume 2, SHA256SUMS" in str(found[0])
        with world.at(world.origin) as work, work.store.view() as view:
            assert {1: "WHOLE", 2: "DAMAGED"}.items() <= {c.volume: c.outcome for c in view.custody()}.items()

    def test_gets_no_file_of_his_onto_the_new_media_of_a_bundle(self, world: World, tmp_path: Path) -> None:
        medium = world.volumes(MODEL)[0]
        listed_too(medium, "documents/readme-first.exe", b"MZ")
        with pytest.raises(UndeclaredFile, match=r"readme-first\.exe"):
            world.resplit(medium, out="again")
        assert not (world.base / "again").exists()

    def test_gets_no_other_metadata_onto_the_new_media_of_a_bundle(self, world: World) -> None:
        medium = world.volumes(MODEL)[0]
        listed_too(medium, "trust/timestamp.json", b"{}")
        with pytest.raises(FilesDamaged, match=r"trust/timestamp\.json: not as it was packed here"):
            world.resplit(medium, out="again")

    def test_does_not_fill_the_origin_with_a_receipt_of_nothing(self, world: World) -> None:
        """64 MiB of empty objects were 3 GB and two minutes; nobody has to sign them, for they are read before."""
        empty = b'{"payload":[' + b"{}," * 2_000_000 + b'0],"signature":{}}'
        began = time.monotonic()
        with pytest.raises(ReceiptWrong, match="more than 1200000 values"):
            read(empty)
        with (
            pytest.raises(RepairRequestWrong, match="more than 1200000 values"),
            world.at(world.origin) as work,
        ):
            read_request(work, empty, at="request.json")
        assert time.monotonic() - began < 5

    def test_does_not_have_a_plan_read_anew_for_every_volume(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A hundred copies of a volume with a plan of a hundred megabytes were hours and gigabytes."""
        medium = world.volumes(MODEL)[0]
        copies = [world.base / f"copy-{number}" for number in range(5)]
        for copy in copies:
            shutil.copytree(medium, copy)
        read: list[str] = []
        decode = plan.decode_plan

        def counted(data: bytes, **options: object) -> plan.Plan:
            read.append(hashlib.sha256(data).hexdigest())
            return decode(data, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(plan, "decode_plan", counted)
        world.receive(medium, *copies)
        assert 1 == len(read)

    def test_keeps_a_medium_back_until_nobody_vouches_for_it_any_more(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Half of a bundle came in. A year later he brings the rest: accepted once is not believed for ever."""
        small_chunks(monkeypatch, 1 << 16)
        world.add("acme/owl", model_files(seed=5, size=300_000))
        volumes = world.volumes(MODEL, "acme/owl", volume_bytes=500_000)
        damaged = next(path for volume in volumes[1:] for path in stored_files(volume))
        good = damaged.read_bytes()
        damaged.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(PartlyImported):
            world.receive(*volumes)
        damaged.write_bytes(good)
        before = state_of(world.site)
        world.now += timedelta(days=400)
        with pytest.raises(ExpiredBundle):
            world.receive(*volumes)
        assert before == state_of(world.site)

    def test_loses_nothing_for_a_bundle_that_a_newer_one_overtook(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What the newer metadata still signs for is finished, whatever the bundle's own metadata says by now."""
        small_chunks(monkeypatch, 1 << 16)
        world.add("acme/owl", model_files(seed=5, size=300_000))
        volumes = world.volumes(MODEL, "acme/owl", volume_bytes=500_000)
        damaged = next(path for volume in volumes[1:] for path in stored_files(volume))
        good = damaged.read_bytes()
        damaged.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(PartlyImported):
            world.receive(*volumes)
        world.receive(world.ship(out="heartbeat"))
        damaged.write_bytes(good)
        assert 2 == len(world.receive(*volumes).versions)

    def test_does_not_have_the_losses_swept_anew_for_every_chunk(self) -> None:
        """Losses like a staircase: each pass gave one chunk, which the next one needed."""
        chunks = [(f"{number:064x}", 10) for number in range(2400)]
        even, odd = chunks[0::2], chunks[1::2]
        steps = [lanes.across([even, odd], "p"), lanes.across([odd, even[1:]], "p")]
        sets = [replace(one, p=tuple(f"{number}" for number in range(one.count))) for one in steps]
        lost = [name for name, _size in chunks[1:]]
        found = erasures.plan(sets, lost, lost, [])
        assert erasures.MOST_PASSES == len(found.passes)
        assert erasures.MOST_PASSES <= len(found.whole), "what was found by then is brought back"


class TestAPublisher:
    def test_does_not_have_a_tensor_for_every_byte_looked_at(self, tmp_path: Path) -> None:
        """A header of crumbs: each cost 600 bytes of memory, at the origin and for every base."""
        crumbs = tmp_path / "crumbs.safetensors"
        crumbs.write_bytes(crumbled(2000, 2))
        with FileSource(crumbs) as source:
            assert 2001 == len(spans(source))
            assert [Span(0, source.size, "bytes")] == worthwhile(source)
        crumbs.write_bytes(crumbled(900, 2))
        with FileSource(crumbs) as source:
            assert 901 == len(worthwhile(source)), "a small model may have small tensors"

    def test_does_not_fill_the_origin_with_the_tensors_of_bases(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The likeliest bases are looked at, and the rest is left: the bundle is larger, and whole."""
        fine_tuned(world)
        monkeypatch.setattr(packer, "MOST_SPANS", 0)
        world.add("acme/tuned", {**model_files(), "model.safetensors": weights(4, 400_000)})
        assert world.receive(world.ship("acme/tuned@3", out="third")).versions
        assert world.shipped[-1].stored > 390_000

    def test_does_not_make_a_bundle_that_no_site_can_take(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Weights of zeros: every chunk of them is the same file, and the parts of a blob lie in it again and again."""
        monkeypatch.setattr(tables, "CHUNK", 8 << 20)
        zeros = bytes(24 << 20)
        files = model_files()
        files["model.safetensors"] = numbers("BF16", zeros)
        world.add("acme/zeros", files)
        done = world.receive(world.ship("acme/zeros"))
        assert "imported" == done.versions[0].outcome

    @pytest.mark.parametrize("space", [" ", "\n", " \n", "- "])
    def test_does_not_keep_the_origin_busy_with_the_spaces_of_a_model_card(self, space: str) -> None:
        in_time(partial(cargo._BASE_MODEL.search, f"base_model:{space * 20_000}!"), 5)

    @pytest.mark.parametrize(
        ("card", "parent"),
        [
            ("base_model: acme/falcon\n", "acme/falcon"),
            ("base_model: 'acme/falcon'\n", "acme/falcon"),
            ("base_model: [acme/falcon, acme/owl]\n", "acme/falcon"),
            ("base_model:\n  - acme/falcon\n  - acme/owl\n", "acme/falcon"),
            ("base_model:\n- acme/falcon-7.5B_it\n", "acme/falcon-7.5B_it"),
            ("my_base_model: acme/falcon\n", None),
            ("base_model: falcon\n", None),
        ],
    )
    def test_is_still_heard_when_he_names_the_parent(self, card: str, parent: str | None) -> None:
        match = cargo._BASE_MODEL.search(f"---\nlicense: mit\n{card}---\n")
        assert parent == (match[1] if match else None)


def crumbled(count: int, size: int) -> bytes:
    """A safetensors file of so many tensors of so many bytes."""
    said = {
        f"{number:x}": {"dtype": "U8", "shape": [size], "data_offsets": [number * size, (number + 1) * size]}
        for number in range(count)
    }
    header = json.dumps(said).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + bytes(count * size)


def numbers(dtype: str, data: bytes) -> bytes:
    """A safetensors file with one tensor of two-byte numbers."""
    said = {"w": {"dtype": dtype, "shape": [len(data) // 2], "data_offsets": [0, len(data)]}}
    header = json.dumps(said).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data


class TestAThiefOfTheExportKeys:
    """Whoever signs the export signs the table of chunks too: it may cost time and memory, in bounds."""

    def test_does_not_fill_the_memory_with_chunks_that_take_turns(self) -> None:
        """Frame by frame another chunk, and then all again: each was kept until its last frame."""
        turns = [Part(8, "planes", "bf16", chunk, 0, 7) for _round in range(3) for chunk in range(50)]
        ends = [after for _part, after in unpacker.runs(turns)]
        assert all(ends), "a chunk is let go before the next one is loaded"

    def test_does_not_have_a_chunk_read_again_for_every_frame(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tables, "_MOST_LOADED", 1 << 20)
        blob = "b" * 64
        chunks = tuple(Chunk(digit * 64, 1 << 20) for digit in "cd")
        parts = [Part(8, "planes", "bf16", number % 2, 0, 7) for number in range(400)]
        lines = tables.encode_table(Table(chunks, {blob: parts}), {blob: 3200})
        with pytest.raises(MalformedBundle, match="would have to be read for its frames"):
            tables.decode_table(lines, export_of(world, blob, 3200, lines))


def export_of(world: World, blob: str, size: int, lines: bytes) -> Export:
    """An export that carries one blob, made of a table's lines."""
    medium = world.volumes(MODEL)[0]
    found = decode_export((medium / f"exports/{SITE}/1.json").read_bytes())
    pinned = replace(found.chunks, size=len(lines), count=lines.count(b"\n"))
    return replace(found, blobs=(replace(found.blobs[0], sha256=blob, size=size),), chunks=pinned)


class TestAThiefOfThePackersKey:
    def test_does_not_keep_a_site_busy_with_parity_over_and_over(self) -> None:
        """A hundred thousand sets over the same volume: each was laid out over all of its chunks."""
        sizes = {f"{number:064x}": 1 for number in range(1000)}
        one = {"across": [], "within": 1, "lanes": 1, "length": 1000, "p": ["f" * 64], "q": []}
        volume = {"index": 1, "chunks": list(sizes), "parity": ["f" * 64], "bytes": 2000}
        for sets in ([one] * 50_000, [{**one, "across": [1], "within": None}] * 2):
            data = canonical_bytes(
                {
                    "format": plan.PLAN_FORMAT,
                    "critical": [],
                    "bundle": "b",
                    "export": "0" * 64,
                    "repairs": False,
                    "volumes": [volume],
                    "parity": sets,
                }
            )
            began = time.monotonic()
            with pytest.raises(MalformedBundle, match="two sets of one kind"):
                plan.decode_plan(data, sizes=sizes)
            assert time.monotonic() - began < 5


class TestSomebodyElseWithAShell:
    def test_has_no_export_follow_a_link_out_of_its_folder(self, world: World) -> None:
        """The name of an export that died can be guessed; what lies under it is removed."""
        out = world.base / "out"
        out.mkdir()
        link = out / f".partial-harbour-{SITE}-20261120-01"
        link.symlink_to(world.site.path)
        before = tree_of(world.site.path)
        with pytest.raises(OutputUnusable, match="is no folder of an export that died"):
            world.ship(MODEL, out="out")
        assert before == tree_of(world.site.path)


class TestAnOperator:
    def test_spoils_no_medium_by_naming_its_folder_as_the_destination(self, world: World) -> None:
        medium = world.volumes(MODEL)[0]
        before = tree_of(medium)
        for place in (medium, medium / "chunks", medium / "new"):
            with pytest.raises(OutputUnusable, match="is a volume"):
                world.ship(MODEL, out=str(place))
            with pytest.raises(OutputUnusable, match="is a volume"):
                world.resplit(medium, out=str(place))
        assert before == tree_of(medium)
        assert world.receive(medium).versions

    def test_writes_no_repair_request_onto_the_medium_that_came(self, world: World) -> None:
        medium = world.volumes(MODEL)[0]
        stored_files(medium)[0].unlink()
        before = tree_of(medium)
        site = Prompt(world.site.path, "ines")
        for place in (medium / "request.json", medium.parent / "request.json"):
            site.type("bundles", "repair-request", medium, "--out", place, ends=ReceiptOnMedium.exit_code)
        assert before == tree_of(medium)
        site.type("bundles", "repair-request", medium, "--out", world.base / "request.json")

    def test_has_no_file_put_in_the_place_of_a_device(self, world: World) -> None:
        """`--receipt /dev/null`, typed by root, made a plain file of it for everybody."""
        medium = world.volumes(MODEL)[0]
        device = world.base / "null"
        os.mkfifo(device)
        with pytest.raises(OutputUnusable, match="is no plain file"):
            world.receive(medium, receipt_to=device)
        world.receive(medium)
        site = Prompt(world.site.path, "ines")
        site.type("receipts", "write", "--out", device, ends=OutputUnusable.exit_code)
        assert device.is_fifo()

    def test_divides_a_bundle_twice_at_once(self, world: World) -> None:
        """The second one removed what the first was writing."""
        medium = world.volumes(MODEL)[0]
        request = ask_for_all(world, medium)
        with world.at(world.origin) as work, work.home.busy("export"):
            with pytest.raises(HomeBusy):
                world.resplit(medium, out="again")
            with pytest.raises(HomeBusy):
                world.repair(request)

    def test_hears_of_the_base_that_is_gone_and_not_of_the_chunk_that_is_good(self, world: World) -> None:
        """A blob rotted at the site. Its bundle brings it back, if what it was made from is there, and right."""
        old, new, medium = fine_tuned(world)
        store = world.site.path / "store" / "blobs" / "sha256"
        good = (store / old).read_bytes()
        rot(store / new)
        (store / old).unlink()
        with pytest.raises(BaseMissing, match=old):
            world.receive(medium)
        (store / old).write_bytes(good)
        rot(store / old)
        with pytest.raises(BlobDamaged, match=old[:12]):
            world.receive(medium)
        (store / old).write_bytes(good)
        assert (store / new).stat().st_size == world.receive(medium).bytes
        BlobStore(world.site.path / "store").verify(new)

    def test_hears_of_the_base_that_the_origin_lost_when_a_repair_needs_it(self, world: World) -> None:
        old, new, medium = fine_tuned(world)
        (world.site.path / "store" / "blobs" / "sha256" / new).unlink()
        for file in stored_files(medium):
            file.unlink()
        request = world.ask_for_repair(medium)
        (world.origin.path / "store" / "blobs" / "sha256" / old).unlink()
        with pytest.raises(NotFound, match=old[:12]):
            world.repair(request)

    def test_presses_ctrl_c_and_does_not_wait_for_the_blob_to_end(self, world: World) -> None:
        """Both blobs at work went on to their ends, for hours where they were large."""
        files = {**model_files(size=40 << 20), "other.safetensors": weights(7, 40 << 20)}
        version = world.add("acme/large", files)
        packed: list[int] = []

        def interrupted(count: int) -> None:
            packed.append(count)
            if len(packed) == 2:
                raise KeyboardInterrupt
            time.sleep(0.05)  # the other blob is slower than the news

        with world.at(world.origin) as work, pytest.raises(KeyboardInterrupt):
            ship.create_bundle(
                work,
                site=SITE,
                refs=[version],
                out=world.base / "out",
                signers=world.officer,
                progress=interrupted,
            )
        assert sum(packed) < 32 << 20, "the other blob stopped too"

    def test_restored_the_site_after_somebody_had_said_that_all_was_well(self, world: World) -> None:
        """Bundle 2 arrived, said a person; then the site's disk died. The receipt that it wrote after that knows better."""
        world.arrive(world.ship(MODEL, out="one"))
        world.add(MODEL, model_files(seed=2))
        world.ship(f"{MODEL}@2", out="two")
        with world.at(world.origin) as work:
            assume_received(work, SITE, 2, person="Ada", reason="the site rang")
        with world.at(world.origin) as work, work.store.view() as view:
            assert baseline(view, SITE).assumed
        world.arrive(world.base / "one")  # all that the site knows of
        with world.at(world.origin) as work, work.store.view() as view:
            assert not baseline(view, SITE).assumed


def ask_for_all(world: World, medium: Path) -> bytes:
    """A repair request for every chunk of a bundle."""
    copy = world.base / "emptied"
    shutil.copytree(medium, copy)
    for file in stored_files(copy):
        file.unlink()
    return world.ask_for_repair(copy)


def fine_tuned(world: World) -> tuple[str, str, Path]:
    """Two versions at the site, the second a delta on the first: both blobs, and the second's bundle."""
    before = bytearray(weights(3, 400_000))
    after = bytearray(before)
    for place in range(1000, len(after), 4096):
        after[place] ^= 1
    media = []
    for number, data in enumerate((bytes(before), bytes(after)), start=1):
        world.add("acme/tuned", {**model_files(), "model.safetensors": data})
        media += world.volumes(f"acme/tuned@{number}", out=f"tuned-{number}")
        world.arrive(media[-1])
    assert world.shipped[-1].stored < 40_000, "the second one is a delta"
    return hashlib.sha256(before).hexdigest(), hashlib.sha256(after).hexdigest(), media[-1]


def rot(blob: Path) -> None:
    """One bit of a stored blob turns over."""
    blob.chmod(0o644)
    data = bytearray(blob.read_bytes())
    data[-5] ^= 1
    blob.write_bytes(data)
