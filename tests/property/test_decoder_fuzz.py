"""Everything that a site, or an origin, reads from a medium that somebody carried: changed a little, and changed a lot.

The seeds are the documents of a real bundle. A change is to bytes (flipped, cut, repeated, put elsewhere, a number
made huge) or to one value of the document (made huge, deep, empty, of another kind). Whatever comes out, a decoder
gives a value or one of our refusals, within bounded time and memory.
"""

import json
import os
import re
import time
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipelines import receipts, repair
from pipelines.bundle import documents as docs
from pipelines.bundle import history, plan, reader, tables
from pipelines.bundle.reader import SmallFiles
from pipelines.bundle.spans import spans
from registry import contracts, manifests
from registry.home import Home
from signing.canonical import canonical_bytes
from signing.envelope import Envelope
from signing.errors import OperatorError
from signing.statements import read_statement
from tests import world
from tests.pipelines import hostile
from tests.pipelines.gap import NOON, make_world, model_files, weights

pytestmark = pytest.mark.property

SLACK = 24 << 20  # bytes that a decoder may take, whatever it is given
TIMES = 60  # and so many times what it is given: Python's own objects
EXAMPLES = 800 if os.environ.get("TIDEGATE_EXHAUSTIVE") else 40  # of each kind of document
SECONDS = 3.0  # far above what any takes, on a busy core


@dataclass(frozen=True, repr=False)
class Seed:
    """A good document and what reads it."""

    data: bytes
    read: Callable[[bytes], object]


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Seed]:
    """Every document of a real bundle (a delta on an earlier one, with parity), and what goes back."""
    made = make_world(tmp_path_factory.mktemp("fuzz") / "world")
    made.add("acme/tiny", model_files(1, 70_000))
    made.arrive(made.ship("acme/tiny"))
    made.add("acme/tiny", {**model_files(1, 70_000), "extra.safetensors": weights(7, 9000)})
    folder = made.ship("acme/tiny@2", out="second", parity=2)
    done = made.receive(folder, receipt_to=made.base / "second.json")
    assert done.receipt is not None
    broken = made.ship("acme/tiny", out="third", self_contained=True)
    for path in broken.rglob("chunks/*/*"):
        path.unlink()
    made.site.blobs.remove(list(made.site.blobs.held()))  # so that there is something to ask for
    request = made.ask_for_repair(broken)
    volume = reader.gather([folder])[0]
    return _seeds(reader.read_small(volume), done.receipt.read_bytes(), request, made.origin)


def _seeds(small: SmallFiles, receipt: bytes, request: bytes, origin: Home) -> Mapping[str, Seed]:
    shared = small.read_shared()
    export_path = next(path for path in shared if path.startswith("exports/"))
    export = docs.decode_export(shared[export_path])
    bundle = reader.interpret(shared, export_path)
    sizes = {chunk.chunk: chunk.size for chunk in bundle.table.chunks}

    def table(data: bytes) -> object:
        return tables.decode_table(data, replace(export, chunks=docs.Lines("", 0, data.count(b"\n"))))

    def asked(data: bytes) -> object:
        with world.at_work(origin, actor="ines", now=NOON) as work:
            return repair.read_request(work, data, at="request.json")

    found = {
        "export": Seed(shared[export_path], docs.decode_export),
        "table": Seed(shared["chunks.jsonl"], table),
        "history": Seed(shared["history.jsonl"], lambda data: history.decode(data, below=export.sequence)),
        "plan": Seed(small.own["plan.json"], lambda data: plan.decode_plan(data, sizes=sizes)),
        "plan signature": Seed(small.own["plan.sig.json"], Envelope.from_json),
        "label": Seed(small.own["volume.json"], plan.decode_label),
        "sums": Seed(plan.encode_sums(dict(small.listed)), lambda data: plan.decode_sums(data, at="x")),
        "receipt": Seed(receipt, receipts.read),
        "request": Seed(request, asked),
    }
    release = bundle.releases[0]
    found["release"] = Seed(shared[release.path], docs.decode_release)
    found["manifest"] = Seed(bundle.document(release.digest), manifests.decode)
    found["modelpack"] = Seed(
        bundle.document(release.modelpack), lambda data: reader.modelpack_config(data, at="x")
    )
    statement, signature = reader.statement_paths(export.statements[0].digest)
    found["statement"] = Seed(shared[statement], read_statement)
    found["statement signature"] = Seed(shared[signature], Envelope.from_json)
    demo = Path(__file__).parents[2] / "demo" / "contracts" / "tool-contract-hermes.json"
    found["contract"] = Seed(canonical_bytes(json.loads(demo.read_bytes())), contracts.decode_document)
    return found


NAMES = [
    *("export", "table", "history", "plan", "plan signature", "label", "sums", "receipt", "request"),
    *("release", "manifest", "modelpack", "statement", "statement signature", "contract"),
]


def test_every_seed_is_good(seeds: Mapping[str, Seed]) -> None:
    assert set(NAMES) == set(seeds)
    for seed in seeds.values():
        seed.read(seed.data)


def bounded(read: Callable[[bytes], object], data: bytes) -> None:
    """Read; what is raised is ours, and neither memory nor time runs away."""
    tracemalloc.start()
    began = time.monotonic()
    try:
        read(data)
    except OperatorError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak <= SLACK + TIMES * len(data)
    assert time.monotonic() - began < SECONDS


HOSTILE: list[Any] = [
    *(None, True, "", "x" * 5000, [], {}, -1, 0, 1, 2**31, 2**53, 2**53 + 1, 2**63, 2**64, 10**30, 0.5, 1e308),
    *([[]] * 50, {"a": {"a": {}}}, "\ud800", "\x00", "../..", "/etc/passwd", "a" * 64, "F" * 64, "1-9007199254740991"),
    *("1-2 2-3", "9999-12-31T23:59:59Z", "0000-00-00T00:00:00Z", ["a" * 64] * 3),
]  # fmt: skip
NUMBERS = [b"-1", b"0", b"1e999", b"9" * 20, b"9" * 5000, b"-0", b"01", b"0.1", b"NaN", b"Infinity", b"1E5"]
DEEP = [b"[" * depth + b"]" * depth for depth in (50, 500, 100_000)]


def other_bytes(data: bytes, draw: st.DataObject) -> bytes:
    """One change to the bytes."""
    start = draw.draw(st.integers(0, max(0, len(data) - 1)))
    end = draw.draw(st.integers(start, min(len(data), start + 300)))
    kind = draw.draw(st.sampled_from(["flip", "cut", "end", "twice", "moved", "number", "deep", "noise"]))
    new, rest = b"", data[end:]
    if kind == "flip":
        end = min(start + 1, len(data))
        new, rest = bytes(byte ^ 1 << draw.draw(st.integers(0, 7)) for byte in data[start:end]), data[end:]
    elif kind == "end":
        rest = b""
    elif kind == "twice":
        new = data[start:end] * draw.draw(st.sampled_from([2, 3, 100]))
    elif kind == "moved":
        place = draw.draw(st.integers(0, len(rest)))
        rest = rest[:place] + data[start:end] + rest[place:]
    elif kind == "number" and (numbers := list(re.finditer(rb"(?<=[: ])\d+", data))):
        found = draw.draw(st.sampled_from(numbers))
        start, rest = found.start(), data[found.end() :]
        new = draw.draw(st.sampled_from(NUMBERS))
    elif kind == "deep":
        new = draw.draw(st.sampled_from(DEEP))
    elif kind == "noise":
        new = draw.draw(st.binary(max_size=20))
    return data[:start] + new + rest


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a document."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in below for place in places(inner, (*path, key)))]


def with_value(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The same document with another value at one place."""
    if not path:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = with_value(changed[path[0]], path[1:], new)
    return changed


def other_value(data: bytes, draw: st.DataObject) -> bytes:
    """One value of the document, or of one line of it, is another; written as such documents are, where it can be."""
    lines = data.split(b"\n") if data.count(b"\n{") or data.endswith(b"}\n") else [data]
    number = draw.draw(st.integers(0, len(lines) - 1))
    try:
        value = json.loads(lines[number])
        found = places(value)
    except (ValueError, RecursionError):  # an earlier change made it so
        return other_bytes(data, draw)
    path = draw.draw(st.sampled_from(found))
    new = draw.draw(st.sampled_from(HOSTILE))
    changed = with_value(value, path, new)
    try:
        lines[number] = canonical_bytes(changed)
    except OperatorError:
        lines[number] = json.dumps(changed, sort_keys=True, separators=(",", ":")).encode()
    return b"\n".join(lines)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(draw=st.data())
def test_a_changed_document_is_read_or_refused(
    seeds: Mapping[str, Seed], name: str, draw: st.DataObject
) -> None:
    data = seeds[name].data
    for _ in range(draw.draw(st.integers(1, 3))):
        data = (
            other_value(data, draw)
            if name != "sums" and draw.draw(st.booleans())
            else other_bytes(data, draw)
        )
    bounded(seeds[name].read, data)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_nesting_is_bounded(seeds: Mapping[str, Seed], name: str, depth: int) -> None:
    bounded(seeds[name].read, DEEP[depth])
    bounded(seeds[name].read, seeds[name].data.replace(b"[]", DEEP[depth], 1))


@dataclass(frozen=True)
class Held:
    """Bytes as a blob."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read_into(self, view: memoryview, offset: int) -> None:
        piece = self.data[offset : offset + len(view)]
        if len(piece) != len(view):
            raise EOFError
        view[:] = piece


MODELS = [
    weights(1, 4000),
    hostile.good_gguf(),
    hostile.gguf_bomb(),
    hostile.good_model()["model.safetensors"],
]


@settings(max_examples=4 * EXAMPLES, deadline=None)
@given(st.sampled_from(MODELS), st.data())
@example(hostile.gguf_bomb(), None)
def test_a_changed_model_file_is_covered_by_spans(data: bytes, draw: st.DataObject | None) -> None:
    """The headers of weights are a publisher's bytes: whatever they say, the spans cover the file and nothing else."""
    for _ in range(draw.draw(st.integers(1, 4)) if draw is not None else 0):
        assert draw is not None
        data = other_bytes(data, draw)

    def read(changed: bytes) -> None:
        reached = 0
        for span in spans(Held(changed)):
            assert span.offset == reached
            reached += span.size
        assert reached == len(changed)

    bounded(read, data)
