"""Laws of parity: the field's arithmetic, and that a rebuild is exact or says what is lost, as was foretold."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.bundle import erasures, galois, lanes, parity, rebuilding
from pipelines.bundle.lanes import ParitySet, Scheme, Sized, Unreadable, across, overlapping, slices, within

pytestmark = pytest.mark.property

octets = st.integers(0, 255)
names = st.integers(0, 1 << 60).map(lambda number: f"{number:064x}")
volumes = st.lists(st.tuples(names, st.integers(1, 200)), max_size=12, unique_by=lambda chunk: chunk[0])
schemes: st.SearchStrategy[Scheme] = st.sampled_from(("p", "pq"))


def slow_product(left: int, right: int) -> int:
    """The product of two polynomials, then the remainder by 0x11d: as the definition says."""
    product = 0
    for place in range(8):
        if right >> place & 1:
            product ^= left << place
    for place in range(14, 7, -1):
        if product >> place & 1:
            product ^= 0x11D << (place - 8)
    return product


@given(octets, octets, octets)
def test_the_field_is_a_field(a: int, b: int, c: int) -> None:
    assert galois.multiply(a, b) == slow_product(a, b) == galois.multiply(b, a)
    assert galois.multiply(a, b ^ c) == galois.multiply(a, b) ^ galois.multiply(a, c)
    if a:
        assert 1 == galois.multiply(a, galois.inverse(a))


def test_the_powers_of_two_differ() -> None:
    assert 255 == len({galois.power(lane) for lane in range(255)})
    assert [1, 2, 4, 8, 16, 32, 64, 128, 0x1D] == [galois.power(lane) for lane in range(9)]


@given(st.binary(min_size=8, max_size=256), octets)
def test_many_bytes_are_multiplied_as_one(data: bytes, coefficient: int) -> None:
    data = data[: len(data) // 8 * 8]
    words = np.frombuffer(data, np.uint64).copy()
    galois.double(words, np.empty(64, np.uint64))

    assert bytes(slow_product(2, octet) for octet in data) == words.tobytes()
    product = galois.times(coefficient, np.frombuffer(data, np.uint8))
    assert bytes(slow_product(coefficient, octet) for octet in data) == product.tobytes()


@given(st.lists(octets, min_size=2, max_size=255), st.data())
def test_any_two_lanes_follow_from_p_and_q(lane_values: list[int], data: st.DataObject) -> None:
    """The others are taken out of the sums by the slow definition; the two must come back."""
    places = st.integers(0, len(lane_values) - 1)
    first, second = sorted(data.draw(st.lists(places, min_size=2, max_size=2, unique=True)))
    p, q = np.zeros(1, np.uint8), np.zeros(1, np.uint8)
    for lane in (first, second):
        p ^= np.uint8(lane_values[lane])
        q ^= np.uint8(slow_product(galois.power(lane), lane_values[lane]))
    alone = np.array([slow_product(galois.power(first), lane_values[first])], np.uint8)

    galois.two(first, second, p, q)
    galois.one_from_q(first, alone)

    assert [lane_values[first], lane_values[second]] == [p[0], q[0]]
    assert lane_values[first] == alone[0]


@given(volumes, st.integers(1, 300))
def test_slices_cover_a_volume_once(volume: list[Sized], length: int) -> None:
    cut = slices(volume, length)
    parts = [part for lane in cut for part in lane.parts()]
    seen: dict[str, int] = {}
    for part in parts:
        assert part.offset == seen.get(part.chunk, 0)
        seen[part.chunk] = part.offset + part.size
    assert dict(volume) == seen
    assert all(lane.size == length for lane in cut[:-1])


@given(volumes, st.integers(0, 400), st.integers(0, 400))
def test_a_range_of_a_lane_is_found_whole(volume: list[Sized], begin: int, size: int) -> None:
    lane = across([volume], "p").lanes[0]
    reached = min(begin, lane.size)
    for part in overlapping(lane.parts(), begin, begin + size):
        assert part.at == reached
        reached += part.size
    assert reached == max(min(begin, lane.size), min(begin + size, lane.size))


@given(volumes, schemes, st.integers(1, 60))
def test_within_a_volume_any_one_or_two_bad_files_are_covered(
    volume: list[Sized], scheme: Scheme, share: int
) -> None:
    """Whatever the sizes: every single bad file with P, every pair with P and Q, pieces among them."""
    with small_pieces(40):
        layout = within(volume, scheme, share=share)
        made = with_names(layout)
        assert len(layout.lanes) <= share
        assert made.problem() is None
        pieces = [*made.p, *made.q]
        chunks = [name for name, _ in volume]
        for bad in combinations([*chunks, *pieces[:4], *pieces[-4:]], len(scheme)):
            assert not erasures.can_rebuild([made], bad)[1]


def with_names(layout: ParitySet) -> ParitySet:
    p, q = (tuple(f"{which}{index}" for index in range(layout.count)) for which in "pq")
    return ParitySet(layout.scheme, layout.lanes, layout.length, p, q if layout.scheme == "pq" else ())


@contextmanager
def small_pieces(size: int) -> Iterator[None]:
    """Pieces of a few bytes, in every module that counts in them."""
    with ExitStack() as patches:
        for module in (lanes, erasures, parity, rebuilding):
            patches.enter_context(mock.patch.object(module, "PIECE", size))
        yield


@dataclass
class Case:
    """Volumes of real bytes, sets within and across, and what is bad."""

    chunks: dict[str, bytes]
    volumes: list[list[Sized]]
    schemes: list[Scheme]
    share: int
    bad: list[bool]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    chunks: dict[str, bytes] = {}
    made = []
    for number in range(draw(st.integers(1, 5))):
        volume = []
        for index, size in enumerate(draw(st.lists(st.integers(1, 150), max_size=5))):
            data = hashlib.shake_128(f"{number}/{index}".encode()).digest(size)
            name = hashlib.sha256(data).hexdigest()
            if name not in chunks:
                volume.append((name, size))
                chunks[name] = data
        made.append(volume)
    row = draw(st.lists(schemes, min_size=2, max_size=2))
    return Case(
        chunks, made, row, draw(st.integers(1, 6)), draw(st.lists(st.booleans(), min_size=1, max_size=40))
    )


def slow_sums(one: ParitySet, chunks: dict[str, bytes]) -> tuple[bytes, bytes]:
    """P and Q as the definition says, byte by byte."""
    rows = []
    for lane in one.lanes:
        whole = b"".join(chunks[name] for name, _ in lane.chunks)
        rows.append(whole[lane.start : lane.start + lane.size].ljust(one.length, b"\0"))
    p, q = bytearray(one.length), bytearray(one.length)
    for number, row in enumerate(rows):
        for at, octet in enumerate(row):
            p[at] ^= octet
            q[at] ^= slow_product(galois.power(number), octet)
    return bytes(p), bytes(q)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_a_rebuild_is_exact_or_says_what_is_lost_as_foretold(case: Case) -> None:
    """Random volumes, sets within each and across all, random losses of chunks and pieces."""
    with small_pieces(48), tempfile.TemporaryDirectory() as place:
        folder = Path(place)

        def stored(name: str, offset: int, view: memoryview) -> None:
            if name in gone:
                raise Unreadable
            data = case.chunks.get(name) or (folder / name[:2] / name).read_bytes()
            view[:] = data[offset : offset + len(view)]

        gone: set[str] = set()
        layouts = [within(volume, case.schemes[0], share=case.share) for volume in case.volumes]
        layouts.append(across(case.volumes, case.schemes[1]))
        sets = [parity.write(layout, stored, folder, at_once=1) for layout in layouts]
        for one in sets:
            p, q = (b"".join((folder / x[:2] / x).read_bytes() for x in row) for row in (one.p, one.q))
            assert (p, q) == (
                slow_sums(one, case.chunks)[0],
                slow_sums(one, case.chunks)[1] if one.q else b"",
            )
        pieces = sorted({piece for one in sets for piece in (*one.p, *one.q)} - set(case.chunks))
        everything = [*case.chunks, *pieces]
        gone |= {name for name, bad in zip(everything, case.bad * len(everything), strict=False) if bad}
        lost = gone & set(case.chunks)

        result = rebuilding.rebuild(sets, lost, stored, lambda name: folder / f"new-{name}", at_once=2)

        assert (result.done, result.lost) == erasures.can_rebuild(sets, gone)
        for name in result.done:
            assert case.chunks[name] == (folder / f"new-{name}").read_bytes()
        assert not [path for path in folder.iterdir() if path.name.startswith(".")]
