"""A model that is like one the site holds travels as the difference, and arrives to the byte.

The base is shipped and acknowledged; what comes then builds on it, and on nothing that was merely sent.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from pipelines.baseline import assume_received
from pipelines.bundle import documents as docs
from pipelines.bundle.errors import BaseMissing
from registry.errors import BlobDamaged
from registry.manifests import decode as decode_manifest
from registry.names import Ref
from signing.errors import OperatorError
from tests.pipelines.gap import SITE, World, make_world, state_of
from tests.pipelines.hostile import gguf_bytes, gguf_pair, gguf_tensor

Bits: TypeAlias = npt.NDArray[np.uint16]
ROWS, WIDTH = 400, 128  # one tensor: 102,400 bytes of bf16
LICENCE = b"Apache License\nVersion 2.0, January 2004\n"
CONFIG = b'{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}'


def bf16(seed: int, rows: int = ROWS) -> Bits:
    """Weights as a training leaves them."""
    drawn = np.random.default_rng(seed).normal(0, 0.02, (rows, WIDTH)).astype(np.float32)
    return (drawn.view(np.uint32) >> 16).astype(np.uint16)


def tuned(weights: Bits, seed: int) -> Bits:
    """The same after a little more training: most numbers move by a step or not at all."""
    steps = np.random.default_rng(seed).choice(np.array([-1, 0, 0, 0, 1], np.int32), weights.shape)
    moved: Bits = (weights.astype(np.int32) + steps).astype(np.uint16)
    return moved


def safetensors(tensors: Mapping[str, npt.NDArray[Any]], **metadata: str) -> bytes:
    """A file of these tensors in this order; 16-bit words are BF16."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    data = b""
    for name, tensor in tensors.items():
        kind, raw = {"uint16": "BF16", "float32": "F32"}[str(tensor.dtype)], tensor.tobytes()
        header[name] = {
            "dtype": kind,
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def files(**more: bytes) -> dict[str, bytes]:
    """A model's files; `__` stands for a dot."""
    return {
        "config.json": CONFIG,
        "LICENSE": LICENCE,
        **{name.replace("__", "."): data for name, data in more.items()},
    }


NAMES = ["embed", "layer.0", "layer.1", "layer.2", "head"]
BASE = {name: bf16(seed) for seed, name in enumerate(NAMES, start=1)}
TUNED = {name: tuned(weights, seed) for seed, (name, weights) in enumerate(BASE.items(), start=10)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The site holds the base, and the origin knows it."""
    made = make_world(tmp_path_factory.mktemp("delta") / "world")
    made.add("acme/base", files(model__safetensors=safetensors(BASE)))
    made.arrive(made.ship("acme/base"))
    return made


@pytest.fixture
def gap(made: World, tmp_path: Path) -> World:
    return made.copied(tmp_path / "world")


def send(gap: World, name: str, contents: Mapping[str, bytes], **packing: object) -> float:
    """Ship a new version; it must arrive to the byte. Returns stored bytes over the bytes of all its files."""
    version = gap.add(name, contents)
    medium = gap.ship(f"{name}@{version.ordinal}", out=f"medium-{len(gap.shipped)}", **packing)  # type: ignore[arg-type]
    done = gap.receive(medium)
    assert ["imported"] == [item.outcome for item in done.versions]
    arrived(gap, name, version.ordinal, contents)
    return gap.shipped[-1].stored / sum(map(len, contents.values()))


def arrived(gap: World, name: str, ordinal: int, contents: Mapping[str, bytes]) -> None:
    with gap.at(gap.site) as work, work.store.view() as view:
        manifest = decode_manifest(view.version(Ref(name, ordinal)).manifest.encode())
        assert dict(contents) == {
            entry.path: work.blobs.read(entry.sha256, max_bytes=1 << 24) for entry in manifest.files
        }


def export_of(gap: World) -> docs.Export:
    with gap.at(gap.origin) as work, work.store.view() as view:
        return docs.decode_export(view.exports(SITE)[-1].body.encode())


def encodings(gap: World) -> set[str]:
    """How the parts of the last bundle are stored."""
    [bundle] = gap.shipped[-1].folders
    lines = [json.loads(line) for line in (bundle / "chunks.jsonl").read_bytes().splitlines()]
    return {line.get("encoding", "reference") for line in lines if "encoding" in line or "from" in line}


# What is small ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compact", [False, True])
def test_a_fine_tune_travels_as_its_difference(gap: World, compact: bool) -> None:
    share = send(gap, "acme/tuned", files(model__safetensors=safetensors(TUNED)), compact=compact)
    assert share < 0.15
    assert {blob.sha256 for blob in export_of(gap).bases} <= set(gap.site.blobs.held())
    assert export_of(gap).receipt is not None


def test_compact_is_never_larger(gap: World) -> None:
    contents = files(model__safetensors=safetensors(TUNED))
    sizes = [
        send(gap.copied(gap.base / f"{compact}"), "acme/tuned", contents, compact=compact)
        for compact in (False, True)
    ]
    assert sizes[1] <= sizes[0]


def test_what_did_not_change_is_referred_to(gap: World) -> None:
    """The last layers alone were trained."""
    partly = {**BASE, "head": TUNED["head"]}
    assert 0.04 > send(gap, "acme/tuned", files(model__safetensors=safetensors(partly)))


def test_the_same_tensors_in_other_files_do_not_travel_again(gap: World) -> None:
    first = safetensors({name: BASE[name] for name in NAMES[:2]})
    second = safetensors({name: BASE[name] for name in NAMES[2:]})
    contents = files(model_1__safetensors=first, model_2__safetensors=second)
    assert 0.01 > send(gap, "acme/sharded", contents)


def test_another_order_and_other_names_do_not_travel_again(gap: World) -> None:
    renamed = {f"model.{name}.weight": BASE[name] for name in reversed(NAMES)}
    assert 0.01 > send(gap, "acme/renamed", files(weights__safetensors=safetensors(renamed, format="pt")))


def test_a_renamed_file_does_not_travel_at_all(gap: World) -> None:
    assert 0 == send(gap, "acme/moved", files(weights__safetensors=safetensors(BASE)))
    assert 0 == gap.shipped[-1].carried


def test_another_configuration_is_all_that_travels(gap: World) -> None:
    contents = {**files(model__safetensors=safetensors(BASE)), "config.json": b'{"model_type": "llama"}'}
    send(gap, "acme/base", contents)
    assert len(contents["config.json"]) >= gap.shipped[-1].stored


def test_of_a_grown_vocabulary_the_new_rows_travel(gap: World) -> None:
    grown = {
        **BASE,
        "embed": np.concatenate([BASE["embed"], bf16(99, 8)]),
        "head": np.concatenate([BASE["head"], bf16(98, 8)]),
    }
    send(gap, "acme/grown", files(model__safetensors=safetensors(grown)))
    assert gap.shipped[-1].stored < 2 * 8 * WIDTH * 2 + 2000


def test_tensors_of_another_type_travel_and_the_rest_does_not(gap: World) -> None:
    head = (BASE["head"].astype(np.uint32) << 16).view(np.float32)
    contents = files(model__safetensors=safetensors({**BASE, "head": head}))
    send(gap, "acme/mixed", contents)
    assert gap.shipped[-1].stored < 0.6 * head.nbytes


def test_the_next_checkpoint_builds_on_the_last_one_that_was_acknowledged(gap: World) -> None:
    gap.add("acme/base", files(model__safetensors=safetensors(TUNED)))
    gap.arrive(gap.ship("acme/base@2", out="second"))
    later = {name: tuned(weights, 77) if name == "layer.1" else weights for name, weights in TUNED.items()}
    assert 0.04 > send(gap, "acme/base", files(model__safetensors=safetensors(later)))


# GGUF ------------------------------------------------------------------------------------------------------


def q8_0(seed: int, blocks: int = 2000) -> npt.NDArray[np.uint8]:
    """Blocks of 34 bytes: a scale as f16, 32 numbers of a byte."""
    drawn = np.random.default_rng(seed)
    scales = drawn.normal(0.001, 0.0001, (blocks, 1)).astype(np.float16).view(np.uint8)
    numbers = drawn.normal(0, 40, (blocks, 32)).clip(-127, 127).astype(np.int8).view(np.uint8)
    return np.concatenate([scales, numbers], axis=1)


def gguf(tensors: Mapping[str, npt.NDArray[np.uint8]], template: str = "{{ messages }}") -> bytes:
    infos, data = [], b""
    for name, blocks in tensors.items():
        infos.append(gguf_tensor(name, (32, len(blocks)), 8, len(data)))
        data += blocks.tobytes() + bytes(-blocks.nbytes % 32)
    return gguf_bytes(
        [gguf_pair("general.architecture", "llama"), gguf_pair("tokenizer.chat_template", template)],
        infos,
        data,
    )


QUANTISED = {"blk.0": q8_0(1), "blk.1": q8_0(2)}


def quantised_anew(blocks: npt.NDArray[np.uint8], seed: int) -> npt.NDArray[np.uint8]:
    """What a fine-tune leaves after the same quantisation: one number in ten is another, by one step."""
    changed = blocks.copy()
    steps = np.random.default_rng(seed).choice([0] * 18 + [1, 255], (len(blocks), 32)).astype(np.uint8)
    changed[:, 2:] += steps
    return changed


def test_a_quantised_fine_tune_travels_as_its_difference(gap: World) -> None:
    gap.add("acme/quantised", {"model.gguf": gguf(QUANTISED), "LICENSE": LICENCE})
    gap.arrive(gap.ship("acme/quantised@1", out="quantised"))
    changed = {name: quantised_anew(blocks, 5) for name, blocks in QUANTISED.items()}
    contents = {"model.gguf": gguf(changed, "{{ messages }} {{ tools }}"), "LICENSE": LICENCE}
    assert 0.25 > send(gap, "acme/quantised", contents)
    assert "blocks-delta" in encodings(gap)


def test_a_new_template_in_a_quantised_file_moves_no_tensor(gap: World) -> None:
    gap.add("acme/quantised", {"model.gguf": gguf(QUANTISED), "LICENSE": LICENCE})
    gap.arrive(gap.ship("acme/quantised@1", out="quantised"))
    assert 0.01 > send(gap, "acme/quantised", {"model.gguf": gguf(QUANTISED, "x" * 100), "LICENSE": LICENCE})


# What it may build on --------------------------------------------------------------------------------------


def test_nothing_builds_on_what_was_merely_sent(gap: World) -> None:
    """Bundle 2 is lost on the way; bundle 3, made since, builds on the receipt alone and is taken."""
    gap.add("acme/base", files(model__safetensors=safetensors(TUNED)))
    gap.ship("acme/base@2", out="lost")
    sent = {blob.sha256 for blob in export_of(gap).blobs}
    third = files(
        model__safetensors=safetensors({name: tuned(weights, 5) for name, weights in TUNED.items()})
    )
    share = send(gap, "acme/base", third)
    export = export_of(gap)
    assert not sent & {blob.sha256 for blob in (*export.bases, *export.assumed)}
    assert share < 0.25, "the base is two steps away, and still a base"


def test_before_any_receipt_the_whole_travels(made: World, tmp_path: Path) -> None:
    fresh = make_world(tmp_path / "fresh")
    fresh.add("acme/base", files(model__safetensors=safetensors(BASE)))
    fresh.ship("acme/base", out="first")
    fresh.add("acme/base", files(model__safetensors=safetensors(TUNED)))
    second = fresh.ship("acme/base@2", out="second")
    export = export_of(fresh)
    assert ((), (), None) == (export.bases, export.assumed, export.receipt)
    assert fresh.shipped[-1].stored > 0.5 * fresh.shipped[-1].carried
    fresh.receive(second)
    assert [2] == [version[1] for version in state_of(fresh.site)["versions"]]  # type: ignore[attr-defined]
    assert made.shipped


def test_a_persons_word_is_built_on_and_written_into_the_bundle(tmp_path: Path) -> None:
    told = make_world(tmp_path / "told")
    told.add("acme/base", files(model__safetensors=safetensors(BASE)))
    first = told.ship("acme/base", out="first")
    with told.at(told.origin) as work:
        assume_received(work, SITE, 1, person="maria", reason="she held the disc in her hand")
    told.add("acme/base", files(model__safetensors=safetensors(TUNED)))
    second = told.ship("acme/base@2", out="second")
    export = export_of(told)
    [word] = export.assumed_received
    assert (1, "maria", "she held the disc in her hand") == (word.sequence, word.by, word.reason)
    assert told.shipped[-1].stored < 0.15 * told.shipped[-1].carried
    with pytest.raises(BaseMissing):
        told.receive(second)
    assert [] == state_of(told.site)["versions"]
    told.receive(first)
    told.receive(second)


def test_a_self_contained_bundle_needs_nothing(gap: World, tmp_path: Path) -> None:
    """For a site that lost its store: nothing is left out, nothing built on."""
    contents = files(model__safetensors=safetensors(TUNED))
    assert 0.5 < send(gap, "acme/tuned", contents, self_contained=True)
    export = export_of(gap)
    assert ((), (), None) == (export.bases, export.assumed, export.receipt)
    assert not {"delta", "sparse", "reference"} & encodings(gap)


# A base that is not what it was ----------------------------------------------------------------------------


def held_base(gap: World) -> Path:
    return gap.site.blobs.path(max(gap.site.blobs.held(), key=gap.site.blobs.size))


@pytest.mark.parametrize("what", ["gone", "rotten", "cut"])
def test_a_base_that_is_not_what_it_was_is_named_before_anything_is_made(gap: World, what: str) -> None:
    gap.add("acme/tuned", files(model__safetensors=safetensors(TUNED)))
    medium = gap.ship("acme/tuned", out="tuned")
    base = held_base(gap)
    data = base.read_bytes()
    base.chmod(0o644)
    if what == "gone":
        base.unlink()
    else:
        base.write_bytes(data[:-1] if what == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    before = state_of(gap.site)
    with pytest.raises(OperatorError) as refusal:
        gap.receive(medium)
    assert isinstance(refusal.value, BlobDamaged if what == "rotten" else BaseMissing)
    assert base.name[:12] in str(refusal.value)
    assert before == state_of(gap.site)
    if what != "gone":
        base.unlink()
    base.write_bytes(data)
    gap.receive(medium)
    arrived(gap, "acme/tuned", 1, files(model__safetensors=safetensors(TUNED)))


def test_the_earlier_bundle_brings_a_rotten_base_back(made: World, gap: World) -> None:
    gap.add("acme/tuned", files(model__safetensors=safetensors(TUNED)))
    medium = gap.ship("acme/tuned", out="tuned")
    base = held_base(gap)
    base.chmod(0o644)
    base.write_bytes(bytes(base.stat().st_size))
    with pytest.raises(BlobDamaged):
        gap.receive(medium)
    assert gap.receive(made.base / "medium").bytes > 100_000
    gap.receive(medium)


def test_a_base_that_rotted_at_the_origin_is_noticed_there(gap: World) -> None:
    """A delta against it could be undone nowhere else: no bundle may leave."""
    base = gap.origin.blobs.path(max(gap.origin.blobs.held(), key=gap.origin.blobs.size))
    data = bytearray(base.read_bytes())
    data[len(data) // 2] ^= 1
    base.chmod(0o644)
    base.write_bytes(data)
    gap.add("acme/tuned", files(model__safetensors=safetensors(TUNED)))
    with pytest.raises(BlobDamaged):
        gap.ship("acme/tuned", out="tuned")


# Guard -----------------------------------------------------------------------------------------------------


def test_guard_sends_files_that_a_guard_can_read(gap: World) -> None:
    """Raw bytes under their own ending, nothing compressed and nothing as a difference; what is held is left out."""
    contents = files(
        model__safetensors=safetensors(TUNED), tokenizer__json=b'{"a": "' + b" " * 50_000 + b'"}'
    )
    send(gap, "acme/tuned", contents, profile="guard")
    [bundle] = gap.shipped[-1].folders
    found = {path.suffix: path.read_bytes() for path in (bundle / "chunks").rglob("*") if path.is_file()}
    assert {".safetensors": contents["model.safetensors"], ".json": contents["tokenizer.json"]} == found
    assert {"raw"} == encodings(gap)
    export = export_of(gap)
    assert ("guard", ()) == (export.profile, export.bases)
    assert len(CONFIG) + len(LICENCE) == sum(blob.size for blob in export.assumed)


def test_two_files_of_the_same_bytes_are_one(gap: World) -> None:
    same = safetensors(TUNED)
    contents = files(model__safetensors=same, copy__safetensors=same)
    send(gap, "acme/twice", contents, profile="guard")
    assert len(same) == gap.shipped[-1].stored
