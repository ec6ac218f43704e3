"""More is lost than parity covers: the site names exactly what it needs, and the origin sends exactly that."""

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.bundle.errors import ChunksDamaged, ChunksMissing, NotOurBundle, PartlyImported, VolumeMissing
from pipelines.encodings import ladder
from pipelines.encodings.names import Encoded
from pipelines.repair import (
    PAYLOAD_TYPE,
    NothingToRepair,
    RepairImpossible,
    RepairRequestWrong,
    read_request,
)
from registry.audit import EventKind, compare
from registry.errors import NotFound
from signing.canonical import canonical_bytes, parse, pretty_bytes
from signing.envelope import sign
from signing.errors import OperatorError
from tests import world as homes
from tests.pipelines.gap import (
    NOON,
    World,
    make_world,
    model_files,
    small_chunks,
    state_of,
    stored_files,
    tree_of,
    weights,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Three bundles on media: plain, with parity, and one with nothing new."""
    made = make_world(tmp_path_factory.mktemp("repair") / "world")
    made.add("acme/tiny", model_files())
    made.add("acme/wide", {**model_files(), "model.safetensors": weights(7, 200_000)})
    with pytest.MonkeyPatch.context() as patched:
        small_chunks(patched, 30_000)
        both = ("acme/tiny@1", "acme/wide@1")
        assert 2 == len(made.volumes(*both, out="plain", volume_bytes=240_000))
        assert 3 == len(made.volumes(*both, out="parity", volume_bytes=240_000, parity=1))
    return made


@pytest.fixture
def gap(made: World, tmp_path: Path) -> World:
    return made.copied(tmp_path / "world")


@pytest.fixture
def media(made: World, tmp_path: Path) -> Callable[[str], list[Path]]:
    """The volumes of a bundle, again, where a test may damage them."""

    def copy(name: str) -> list[Path]:
        target = shutil.copytree(made.base / name, tmp_path / "media" / name)
        return [next(volume.iterdir()) for volume in sorted(target.iterdir())]

    return copy


def chunks(volume: Path) -> list[Path]:
    return [path for path in stored_files(volume) if "chunks" in path.parts]


def asked(request: bytes) -> list[str]:
    return list(json.loads(request)["payload"]["chunks"])


def lose(*paths: Path) -> set[str]:
    """Three ways in which a file is lost; returns the names of what was lost."""
    for kind, path in enumerate(paths):
        if kind % 3 == 0:
            path.write_bytes(bytes(path.stat().st_size))
        elif kind % 3 == 1:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-1])
    return {path.name for path in paths}


def test_a_site_asks_for_what_it_lacks_and_no_more(gap: World, media: Callable[[str], list[Path]]) -> None:
    first, second = media("plain")
    lost = lose(*chunks(second)[:3])
    request = gap.ask_for_repair(first, second)
    assert sorted(lost) == asked(request)
    assert len(request) < 4096
    assert [] == state_of(gap.site)["versions"], "asking changes nothing"


def test_a_volume_that_never_came_is_asked_for_too(gap: World, media: Callable[[str], list[Path]]) -> None:
    first, second = media("plain")
    assert {path.name for path in chunks(second)} == set(asked(gap.ask_for_repair(first)))


def test_the_answer_completes_the_bundle_in_any_order(
    gap: World, media: Callable[[str], list[Path]], tmp_path: Path
) -> None:
    """The same number, the same signatures, a volume of just what was asked for."""
    reference = gap.copied(tmp_path / "reference")
    reference.receive(*media("plain"))
    shutil.rmtree(tmp_path / "media")
    volumes = media("plain")
    lost = lose(chunks(volumes[0])[0], chunks(volumes[1])[0], chunks(volumes[1])[1])
    [answer] = gap.repair(gap.ask_for_repair(*volumes))
    assert lost == {path.name for path in chunks(answer)}
    for number, order in enumerate(itertools.permutations([*volumes, answer])):
        tried = gap.copied(tmp_path / f"try-{number}")
        assert 2 == len(tried.receive(*order).versions)
        assert state_of(reference.site) == state_of(tried.site)


def test_an_answer_signs_no_document_anew(gap: World, media: Callable[[str], list[Path]]) -> None:
    volumes = media("plain")
    lose(chunks(volumes[0])[0])
    [answer] = gap.repair(gap.ask_for_repair(*volumes))
    before, after = (
        {path: row[2] for path, row in tree_of(folder).items() if not path.startswith("chunks/")}
        for folder in (volumes[1], answer)
    )
    assert before.keys() == after.keys()
    own = {"plan.json", "plan.sig.json", "volume.json", "SHA256SUMS"}
    assert own >= {path for path in before if before[path] != after[path]}
    with gap.at(gap.origin) as work, work.store.view() as view:
        assert EventKind.REPAIR_MADE in {entry.kind for entry in view.events()}
        assert [] == compare(view.events(), dict(view.recorded()))
        assert 2 == len(view.exports()), "no number is used up"


def test_an_answer_alone_is_not_the_bundle(gap: World, media: Callable[[str], list[Path]]) -> None:
    volumes = media("plain")
    lose(chunks(volumes[0])[0])
    [answer] = gap.repair(gap.ask_for_repair(*volumes))
    with pytest.raises((ChunksMissing, VolumeMissing, PartlyImported)):
        gap.receive(answer)


def test_an_answer_on_small_media(gap: World, media: Callable[[str], list[Path]]) -> None:
    first, second = media("plain")
    answers = gap.repair(gap.ask_for_repair(first), volume_bytes=140_000)
    assert len(answers) > 1
    for order in itertools.permutations(answers[:3]):
        tried = gap.copied(gap.base / f"try-{'-'.join(path.parent.name for path in order)}")
        tried.receive(first, *answers[3:], *order)
    assert second.exists()


def test_a_repair_of_a_partly_imported_bundle(gap: World, media: Callable[[str], list[Path]]) -> None:
    """What is whole is visible, what was good is kept, and only the rest is asked for and brought."""
    volumes = media("plain")
    wide = max(
        json.loads(line)["chunk"] for line in _chunk_lines(volumes[0]) if json.loads(line)["size"] == 30_000
    )
    bad = next(path for volume in volumes for path in chunks(volume) if path.name == wide)
    bad.write_bytes(bytes(bad.stat().st_size))
    with pytest.raises(PartlyImported) as refusal:
        gap.receive(*volumes)
    assert ("acme/tiny@1",) == refusal.value.visible
    request = gap.ask_for_repair(*volumes)
    assert [wide] == asked(request)
    [answer] = gap.repair(request)
    done = gap.receive(answer)
    assert ["acme/tiny", "acme/wide"] == sorted(item.model for item in done.versions)
    assert [] == state_of(gap.site)["quarantine"]


def _chunk_lines(volume: Path) -> list[bytes]:
    return [
        line for line in (volume / "chunks.jsonl").read_bytes().splitlines() if line.startswith(b'{"chunk"')
    ]


def test_what_parity_brings_back_is_not_asked_for(gap: World, media: Callable[[str], list[Path]]) -> None:
    volumes = media("parity")
    with pytest.raises(NothingToRepair):
        gap.ask_for_repair(volumes[0], volumes[2])
    lost = lose(chunks(volumes[0])[0])
    with pytest.raises(NothingToRepair):
        gap.ask_for_repair(*volumes)
    assert lost <= set(asked(gap.ask_for_repair(volumes[0], volumes[2])))
    assert {*lost, *(path.name for path in chunks(volumes[1]))} == set(asked(gap.ask_for_repair(volumes[0])))


def test_what_is_held_already_is_not_asked_for(gap: World, media: Callable[[str], list[Path]]) -> None:
    volumes = media("plain")
    gap.receive(*volumes)
    with pytest.raises(NothingToRepair):
        gap.ask_for_repair(volumes[0])


# What an origin answers --------------------------------------------------------------------------------------


@pytest.fixture
def request_file(gap: World, media: Callable[[str], list[Path]]) -> bytes:
    return gap.ask_for_repair(media("plain")[0])


def refused(gap: World, request: bytes) -> OperatorError:
    with pytest.raises(OperatorError) as refusal:
        gap.repair(request)
    assert not (gap.base / "repair").exists() or [] == list((gap.base / "repair").iterdir())
    return refusal.value


CHANGES: list[Callable[[dict[str, Any]], object]] = [
    lambda d: d["payload"]["chunks"].pop(),
    lambda d: d["payload"].update(chunks=[]),
    lambda d: d["payload"]["chunks"].append("f" * 64),
    lambda d: d["payload"].update(site="ward"),
    lambda d: d["payload"].update(sequence=2),
    lambda d: d["payload"].update(bundle="../../keys"),
    lambda d: d["payload"].update(export="f" * 64),
    lambda d: d["payload"].update(made_at="2026-11-20T12:00:00Z"),
    lambda d: d["payload"].update(unknown=1),
    lambda d: d["payload"].update(critical=["surprise"]),
    lambda d: d["payload"].update(format="tidegate-repair/2"),
    lambda d: d["payload"].pop("chunks"),
    lambda d: d["signature"]["signatures"][0].update(sig="AAAA"),
    lambda d: d["signature"]["signatures"][0].update(keyid="0" * 64),
    lambda d: d["signature"].update(payloadType="text/plain"),
    lambda d: d.pop("signature"),
    lambda d: d.update(payload=[]),
]


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_a_changed_request_is_refused(gap: World, request_file: bytes, number: int) -> None:
    value = json.loads(request_file)
    CHANGES[number](value)
    assert isinstance(refused(gap, pretty_bytes(value)), RepairRequestWrong)


def test_any_flipped_byte_of_a_request_is_refused_or_says_the_same(gap: World, request_file: bytes) -> None:
    """A space may be another space; what is asked for may not change."""
    with gap.at(gap.origin) as work:
        same = read_request(work, request_file, at="x")
        for place in range(0, len(request_file), 11):
            changed = bytearray(request_file)
            changed[place] ^= 1
            try:
                assert same == read_request(work, bytes(changed), at="x")
            except RepairRequestWrong:
                continue


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 5000, b'{"payload":1,"signature":2}']
)
def test_what_is_no_request_is_refused(gap: World, data: bytes) -> None:
    assert isinstance(refused(gap, data), RepairRequestWrong)


def signed(gap: World, request: bytes, **changes: object) -> bytes:
    """What a site that wants more than its due would sign."""
    payload = json.loads(request)["payload"] | changes
    with gap.at(gap.site) as work:
        signature = sign(canonical_bytes(payload), PAYLOAD_TYPE, work.station).to_json()
    return pretty_bytes({"payload": payload, "signature": parse(signature, max_bytes=1 << 16, at="x")})


def test_the_site_itself_cannot_ask_for_what_was_never_in_its_bundle(gap: World, request_file: bytes) -> None:
    chunks_asked = asked(request_file)
    good = signed(gap, request_file)
    assert good == request_file or asked(good) == chunks_asked
    for changes in (
        {"chunks": [*chunks_asked, "f" * 64]},
        {"chunks": [*chunks_asked, chunks_asked[0]]},
        {"bundle": "../../keys"},
        {"bundle": "20261120-02"},
        {"sequence": 9},
        {"export": "f" * 64},
        {"site": "ward"},
        {"sequence": True},
    ):
        assert isinstance(
            refused(gap, signed(gap, request_file, **changes)), (RepairRequestWrong, NotOurBundle)
        )


def test_a_request_of_another_site_is_refused(gap: World, request_file: bytes, tmp_path: Path) -> None:
    """Signed well, by somebody else."""
    stranger = homes.new_home(tmp_path / "stranger", name="lab", roles=("site",), now=NOON)
    gap.site = stranger
    assert isinstance(refused(gap, signed(gap, request_file)), RepairRequestWrong)


def test_a_request_is_answered_only_where_the_bundle_was_made(
    gap: World, request_file: bytes, tmp_path: Path
) -> None:
    other = make_world(tmp_path / "other")
    other.site = gap.site
    assert isinstance(refused(other, request_file), RepairRequestWrong)
    shutil.rmtree(gap.origin.path / "sent")
    assert isinstance(refused(gap, request_file), NotOurBundle)


def test_a_request_is_answered_twice_alike(gap: World, request_file: bytes) -> None:
    first, second = gap.repair(request_file, out="first"), gap.repair(request_file, out="second")
    assert [path.read_bytes() for path in stored_files(first[0])] == [
        path.read_bytes() for path in stored_files(second[0])
    ]


# What the origin cannot make again -------------------------------------------------------------------------


def wide_blob(gap: World) -> Path:
    blobs = gap.origin.blobs
    return blobs.path(max(blobs.held(), key=blobs.size))


def test_a_chunk_that_does_not_come_out_the_same_is_named(gap: World, request_file: bytes) -> None:
    place = wide_blob(gap)
    place.chmod(0o644)
    place.write_bytes(place.read_bytes()[:-8] + bytes(8))
    refusal = refused(gap, request_file)
    assert isinstance(refusal, RepairImpossible)
    assert [True] == [line.partition(":")[0].partition(" ")[0].rpartition("/")[2] in asked(request_file) for line in refusal.problems]  # fmt: skip


def test_a_blob_that_is_gone_or_cut_is_said(gap: World, request_file: bytes) -> None:
    place = wide_blob(gap)
    data = place.read_bytes()
    place.chmod(0o644)
    place.write_bytes(data[:-8])
    assert isinstance(refused(gap, request_file), (RepairImpossible, NotFound))
    place.unlink()
    assert isinstance(refused(gap, request_file), NotFound)


def test_encoders_that_changed_since_are_noticed(
    gap: World, media: Callable[[str], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer release may pack better; a repair has to give the chunk that was signed, or say that it cannot."""
    gap.add("acme/zeros", {**model_files(), "README.md": b"again and again " * 9000})
    [folder] = gap.volumes("acme/zeros@1", out="zeros")
    lines = [json.loads(line) for line in (folder / "chunks.jsonl").read_bytes().splitlines()]
    framed = next(line["chunk"] for line in lines if line.get("unit"))
    lost = folder / "chunks" / lines[framed]["chunk"][:2] / lines[framed]["chunk"]
    data = lost.read_bytes()
    lost.unlink()
    request = gap.ask_for_repair(folder)
    [answer] = gap.repair(request, out="good")
    assert [data] == [path.read_bytes() for path in stored_files(answer)]
    with monkeypatch.context() as patched:
        patched.setattr(ladder, "encode", _raw)
        assert isinstance(refused(gap, request), RepairImpossible)
    lost.write_bytes(bytes(len(data)))
    with pytest.raises((ChunksDamaged, PartlyImported)):
        gap.receive(folder)
    gap.receive(folder, answer)


def _raw(raw: memoryview, *_args: object, **_kwargs: object) -> Encoded:
    return Encoded("raw", raw)
