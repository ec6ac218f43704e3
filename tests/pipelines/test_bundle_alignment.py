"""What a held model saves a new one: each story makes both files with the real writer and asks for the bases."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pytest
from safetensors.numpy import save

from pipelines.bundle.alignment import LEAST, SMALL, Bases, Extent, align, frames
from pipelines.bundle.spans import Span, spans
from pipelines.encodings.names import FRAME
from tests.pipelines.hostile import gguf_bytes, gguf_pair, gguf_tensor
from tests.pipelines.test_bundle_spans import Memory

Tensors = dict[str, np.ndarray]
Held = Mapping[str, bytes]  # a stand-in for the SHA-256, and the blob


def weights(seed: int, *shape: int, kind: str = "f2") -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.02, shape).astype(kind)


def model() -> dict[str, np.ndarray]:
    """Small, but with what large ones have: an embedding, layers, norms that are all ones, small biases."""
    tensors = {"embed": weights(1, 500, 64), "final_norm": np.ones(64, "f2")}
    for layer in range(3):
        tensors[f"layers.{layer}.up"] = weights(10 + layer, 256, 64)
        tensors[f"layers.{layer}.down"] = weights(20 + layer, 64, 256)
        tensors[f"layers.{layer}.norm"] = np.ones(64, "f2")
        tensors[f"layers.{layer}.bias"] = weights(30 + layer, 64)
    return tensors


def tuned(tensors: Tensors) -> dict[str, np.ndarray]:
    """Every number a little different."""
    return {name: (array * np.float16(1.01)).astype(array.dtype) for name, array in tensors.items()}


def bases_of(held: Held) -> Bases:
    sources = {name: Memory(data) for name, data in held.items()}
    return Bases([(name, source, spans(source)) for name, source in sources.items()])


def aligned(target: bytes, held: Held) -> list[Extent]:
    source = Memory(target)
    return align(source, spans(source), bases_of(held))


def by_name(target: bytes, held: Held) -> dict[str, tuple[str | None, str]]:
    """Tensor of the target to blob and tensor of its base; a header or padding is ''."""
    names = {(blob, span.offset): span.name for blob, data in held.items() for span in spans(Memory(data))}
    starts = {span.offset: span.name for span in spans(Memory(target)) if span.name}
    return {
        starts[e.offset]: (e.base, names[e.base, e.base_offset] if e.base else "")
        for e in aligned(target, held)
        if e.offset in starts
    }


def equal_bytes(target: bytes, held: Held, extents: Sequence[Extent]) -> int:
    """Bytes of the target whose base really is the same."""
    return sum(
        e.size
        for e in extents
        if e.base
        and held[e.base][e.base_offset : e.base_offset + e.size] == target[e.offset : e.offset + e.size]
    )


def runs(extents: Sequence[Extent]) -> int:
    """Stretches of bytes whose bases follow each other: what a table of references has as lines."""
    return 1 + sum(
        a.base != b.base or (a.base is not None and a.base_offset + a.size != b.base_offset)
        for a, b in pairwise(extents)
    )


# the same weights again ------------------------------------------------------------------------------------


def test_another_header_alone_leaves_two_runs() -> None:
    old, new = save(model()), save(model(), metadata={"format": "pt", "note": "only the header is another"})
    extents = aligned(new, {"old": old})
    assert len(new) - extents[0].size == equal_bytes(new, {"old": old}, extents)
    assert 2 == runs(extents)


def test_weights_in_more_shards_are_long_runs() -> None:
    """Four shards, each tensor under another file; a norm of ones could come from anywhere but comes from its place."""
    old, names = save(model()), list(spans_names(save(model())))
    for start in range(0, len(names), 4):
        shard = save({name: model()[name] for name in names[start : start + 4]})
        extents = aligned(shard, {"old": old})
        assert len(shard) - extents[0].size == equal_bytes(shard, {"old": old}, extents)
        assert runs(extents) <= 3


def spans_names(data: bytes) -> list[str]:
    return [span.name for span in spans(Memory(data)) if span.name]


def test_shards_joined_into_one_file_come_from_each_of_them() -> None:
    names = spans_names(save(model()))
    held = {f"shard{n}": save({name: model()[name] for name in names[n::3]}) for n in range(3)}
    new = save(model())
    extents = aligned(new, held)
    assert len(new) - extents[0].size == equal_bytes(new, held, extents)
    assert set(held) <= {e.base for e in extents}


def test_renamed_tensors_are_found_by_their_bytes_and_stay_in_long_runs() -> None:
    renamed = {f"model.{name.replace('layers', 'blocks')}": array for name, array in model().items()}
    old, new = save(model()), save(renamed)
    extents = aligned(new, {"old": old})
    assert len(new) - extents[0].size == equal_bytes(new, {"old": old}, extents)
    assert runs(extents) <= 3


def test_another_order_and_swapped_names_are_found_by_their_bytes() -> None:
    """The names lie: up and up of the next layer have changed places. Bytes decide."""
    swapped = model()
    swapped["layers.0.up"], swapped["layers.1.up"] = swapped["layers.1.up"], swapped["layers.0.up"]
    found = by_name(save(swapped), {"old": save(model())})
    assert ("old", "layers.1.up") == found["layers.0.up"]
    assert ("old", "layers.0.up") == found["layers.1.up"]
    assert ("old", "layers.2.up") == found["layers.2.up"]


def test_a_header_that_is_held_is_found_too() -> None:
    """Every fine-tune of one family has the same header."""
    old, new = save(model()), save(tuned(model()))
    first = aligned(new, {"old": old})[0]
    assert (0, "old", 0, True) == (first.offset, first.base, first.base_offset, first.alike)


def test_a_held_file_that_is_no_model_is_found_whole() -> None:
    vocabulary = b'{"a": 1}' * 1000
    assert [Extent(0, 8000, "bytes", "tokenizer", 0, alike=True)] == aligned(
        vocabulary, {"tokenizer": vocabulary}
    )
    assert [Extent(0, 8000, "bytes")] == aligned(vocabulary[::-1], {"tokenizer": vocabulary})


def test_tied_embeddings_both_come_from_the_one_that_is_held() -> None:
    new = save(model() | {"lm_head": model()["embed"]})
    assert ("old", "embed") == by_name(new, {"old": save(model())})["lm_head"]


# changed weights -------------------------------------------------------------------------------------------


def test_a_fine_tune_is_beside_its_base_name_by_name() -> None:
    found = by_name(save(tuned(model())), {"old": save(model())})
    assert {name: ("old", name) for name in model()} == found


def test_a_tensor_of_another_dtype_has_no_base_and_its_neighbours_keep_theirs() -> None:
    cast = model() | {"layers.1.up": model()["layers.1.up"].astype("f4")}
    found = by_name(save(cast), {"old": save(model())})
    assert (None, "") == found.pop("layers.1.up")
    assert {name: ("old", name) for name in found} == found


def test_new_rows_of_a_vocabulary_have_no_base_and_the_old_ones_have() -> None:
    grown = tuned(model()) | {"embed": np.vstack([tuned(model())["embed"], weights(5, 12, 64)])}
    old, new = save(model()), save(grown)
    place = next(span for span in spans(Memory(new)) if span.name == "embed")
    base = next(span for span in spans(Memory(old)) if span.name == "embed")
    rows, rest = (
        e for e in aligned(new, {"old": old}) if place.offset <= e.offset < place.offset + place.size
    )
    assert (500 * 64 * 2, "old", base.offset) == (rows.size, rows.base, rows.base_offset)
    assert (12 * 64 * 2, None) == (rest.size, rest.base)


def test_a_vocabulary_that_lost_rows_is_beside_the_first_ones() -> None:
    cut = tuned(model()) | {"embed": tuned(model())["embed"][:300]}
    assert ("old", "embed") == by_name(save(cut), {"old": save(model())})["embed"]


@pytest.mark.parametrize("shape", [(500, 65), (501, 32), (500, 64, 1), (32000,)])
def test_other_trailing_dimensions_are_no_base(shape: tuple[int, ...]) -> None:
    new = save({"embed": weights(7, *shape)})
    assert (None, "") == by_name(new, {"old": save(model())})["embed"]


def test_of_several_versions_the_nearest_is_the_base_whichever_is_named_first() -> None:
    parent, checkpoint = model(), tuned(model())
    new = {name: array.copy() for name, array in checkpoint.items()}
    for array in new.values():
        array.flat[::50] *= np.float16(1.01)
    longer = {"embed": np.vstack([parent["embed"], parent["embed"]])}
    held = {"longer": save(longer), "parent": save(parent), "checkpoint": save(checkpoint)}
    found = by_name(save(new), held)
    assert ("checkpoint", "embed") == found["embed"]
    assert ("checkpoint", "layers.2.down") == found["layers.2.down"]


def test_one_blob_given_twice_is_one() -> None:
    source = Memory(save(model()))
    bases = Bases([("old", source, spans(source))] * 2)
    assert 2 >= runs(align(source, spans(source), bases))


def test_a_different_tensor_with_equal_samples_is_proposed_and_nothing_more() -> None:
    """A sample proposes. One byte beside the windows is changed: the packer will see it, and so must its authors."""
    old = save({"w": np.zeros(1 << 20, "u1")})
    new = bytearray(old)
    new[-5000] = 1
    extent = aligned(bytes(new), {"old": old})[-1]
    assert ("old", True) == (extent.base, extent.alike)
    assert 0 == equal_bytes(bytes(new), {"old": old}, [extent])


# GGUF ------------------------------------------------------------------------------------------------------


def quantised(seed: int, *, names: Sequence[str] = "ab", rows: int = 3, note: str = "") -> bytes:
    """Tensors of Q4_K with a small F32 norm before each; 432 bytes a row of three blocks, padded to 32."""
    chance, tensors, data = np.random.default_rng(seed), [], b""
    for name in names:
        for kind, shape, size in ((0, (5,), 20), (12, (768, rows), 432 * rows)):
            tensors.append(gguf_tensor(f"{name}.{kind}", shape, kind, len(data)))
            data += chance.bytes(size) + bytes(-size % 32)
    return gguf_bytes([gguf_pair("general.name", note)], tensors, data)


def test_a_gguf_file_with_other_metadata_is_one_run() -> None:
    old, new = quantised(1), quantised(1, note="a name that moves everything behind it by some bytes")
    extents = aligned(new, {"old": old})
    assert len(new) - extents[0].size == equal_bytes(new, {"old": old}, extents)
    assert 2 == runs(extents)


def test_siblings_in_gguf_are_beside_each_other_and_new_rows_have_no_base() -> None:
    found = by_name(quantised(2, rows=5), {"old": quantised(1)})
    assert {name: ("old", name) for name in ("a.0", "a.12", "b.0", "b.12")} == found
    grown = [e for e in aligned(quantised(2, rows=5), {"old": quantised(1)}) if e.unit == "q4_k"]
    assert [(432 * 3, "old"), (432 * 2, None)] * 2 == [(e.size, e.base) for e in grown]


# cost ------------------------------------------------------------------------------------------------------


def experts(count: int, seed: int = 1, name: str = "experts") -> dict[str, np.ndarray]:
    data = np.random.default_rng(seed).integers(0, 255, (count, 512), np.uint8)
    return {f"{name}.{number}": data[number] for number in range(count)}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (experts(4000), experts(4000)),
        (experts(4000), experts(4000, name="moved")),
        (experts(4000), experts(4000, seed=2)),
        (
            {f"a.{n}": np.ones(512, "u1") for n in range(4000)},
            {f"b.{n}": np.ones(512, "u1") for n in range(4000)},
        ),
    ],
    ids=["the same", "renamed", "all changed", "all alike and renamed"],
)
def test_each_tensor_is_sampled_once_however_many_are_alike(old: Tensors, new: Tensors) -> None:
    held, target = Memory(save(old)), Memory(save(new))
    bases = Bases([("old", held, spans(held))])
    found = spans(target)
    held.reads = target.reads = 0
    extents = align(target, found, bases)
    assert held.reads <= 4000 + 5
    assert target.reads <= 4000 + 5
    assert 4001 == len(extents)


def test_the_samples_of_a_held_model_are_shared_by_all_shards() -> None:
    old = {name: Memory(save({name: array})) for name, array in experts(30).items()}
    bases = Bases([(name, source, spans(source)) for name, source in old.items()])
    for source in old.values():
        source.reads = 0
    for name, array in experts(30, name="moved").items():
        shard = Memory(save({name: array}))
        assert align(shard, spans(shard), bases)[-1].alike
    assert all(source.reads <= 2 for source in old.values())


def test_nothing_is_read_when_no_size_agrees() -> None:
    held, target = Memory(save({"a": weights(1, 64)})), Memory(save({"bb": weights(1, 6400)}))
    bases, found = Bases([("old", held, spans(held))]), spans(target)
    held.reads = target.reads = 0
    align(target, found, bases)
    assert 0 == held.reads


def test_a_base_that_cannot_be_read_is_reported_and_not_passed_over() -> None:
    old = Memory(save(model()))
    bases = Bases([("old", old, spans(old))])
    old.data = old.data[:1000]
    target = Memory(save(model()))
    with pytest.raises(EOFError):
        align(target, spans(target), bases)


# frames ----------------------------------------------------------------------------------------------------


def test_a_large_tensor_is_cut_on_whole_blocks() -> None:
    size = 3 * FRAME // 34 * 34
    found = list(frames([Extent(7, size, "q8_0", "old", 100)]))
    assert size == sum(e.size for e in found)
    assert all(e.size <= FRAME and e.size % 34 == 0 for e in found)
    assert all(e.base_offset - 100 == e.offset - 7 for e in found)
    assert 4 == len(found)


def test_small_neighbours_are_one_frame() -> None:
    tensors = [Extent(100 * n, 100, "f32") for n in range(5000)]
    assert [Extent(0, 500_000, "f32")] == list(frames(tensors))
    apart = [Extent(100 * n, 100, "f32", "old", 200 * n) for n in range(50)]
    assert apart == list(frames(apart))


def test_other_units_other_bases_and_holes_in_a_base_are_apart() -> None:
    one = Extent(0, 100, "f16", "old", 50)
    for other in (
        Extent(100, 100, "bf16", "old", 150),
        Extent(100, 100, "f16", "new", 150),
        Extent(100, 100, "f16"),
        Extent(100, 100, "f16", "old", 151),
    ):
        assert [one, other] == list(frames([one, other]))
    assert [Extent(0, 200, "f16", "old", 50)] == list(frames([one, Extent(100, 100, "f16", "old", 150)]))


def test_what_is_equal_stays_a_reference_beside_what_changed_unless_it_is_small() -> None:
    def beside(offset: int, size: int, *, alike: bool) -> Extent:
        return Extent(offset, size, "u8", "old", offset, alike)

    equal, bias, changed = (
        beside(0, 3 * SMALL, alike=True),
        beside(3 * SMALL, 10, alike=False),
        beside(3 * SMALL + 10, 3 * SMALL, alike=False),
    )
    assert [equal, beside(3 * SMALL, 3 * SMALL + 10, alike=False)] == list(frames([equal, bias, changed]))
    norm = beside(6 * SMALL + 10, 10, alike=True)
    assert [beside(3 * SMALL, 3 * SMALL + 20, alike=False)] == list(frames([bias, changed, norm]))
    assert [beside(0, 3 * SMALL, alike=True)] == list(frames([equal]))


def test_odd_bytes_do_not_push_the_numbers_behind_them_off_their_boundaries() -> None:
    odd, even = Extent(0, 101, "bf16"), Extent(101, 100, "bf16")
    assert [odd, even] == list(frames([odd, even]))


def test_a_fine_tune_of_many_tensors_has_few_frames() -> None:
    extents = aligned(save(tuned(model())), {"old": save(model())})
    assert 2 >= len(list(frames(extents)))


def test_a_span_smaller_than_a_line_of_the_table_is_not_looked_for_elsewhere() -> None:
    small = bytes(LEAST - 1)
    assert [Extent(0, LEAST - 1, "bytes")] == aligned(small, {"old": small})
    assert isinstance(spans(Memory(small))[0], Span)
