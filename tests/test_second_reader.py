"""The second reader (`airgap-bundles/`) agrees with the product on bundles: takes what it makes, refuses what was touched."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from pipelines.encodings import ladder
from pipelines.encodings.names import UNITS
from registry.home import Home
from signing.digests import sha256_hex
from tests import second_reader, world
from tests.pipelines.fine_tune import fine_tuned
from tests.pipelines.gap import SITE, World, make_world
from tests.second_reader import READER, VERIFIER
from tests.story.test_relay import FURTHER, pass_on, relay

__all__ = ["relay"]  # a fixture of the relay's own story

LATER = "2026-11-21T00:00:00Z"


@pytest.fixture(scope="module")
def programs() -> Iterator[dict[str, ModuleType]]:
    with second_reader.loaded() as modules:
        yield modules


@pytest.fixture(scope="module")
def reader(programs: dict[str, ModuleType]) -> ModuleType:
    return programs["verify"]


@pytest.fixture(scope="module")
def frames(programs: dict[str, ModuleType]) -> ModuleType:
    return programs["frames"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The first bundle, deltas, one that builds on nothing, one on four media, one for a guard, one with nothing in it."""
    gap = make_world(tmp_path_factory.mktemp("second") / "world")
    gap.add("acme/tiny", fine_tuned(0))
    gap.arrive(gap.ship("acme/tiny", out="first"))
    gap.add("acme/tiny", fine_tuned(0.0005))
    gap.ship("acme/tiny", out="delta", parity=2)
    gap.ship("acme/tiny", out="compact", compact=True, self_contained=True)
    gap.ship("acme/tiny", out="tight", compact=True)
    gap.ship("acme/tiny", out="media", self_contained=True, parity=2, volume_bytes=230_000)
    gap.ship("acme/tiny", out="guard", profile="guard", self_contained=True)
    gap.ship(out="heartbeat")
    return gap


BUNDLES = ("first", "delta", "compact", "tight", "media", "guard", "heartbeat")


def arguments(gap: World, folder: Path, *more: str) -> list[str]:
    root = sha256_hex((gap.origin.trust / "1.root.json").read_bytes())
    known = ["--root-fingerprint", root, "--site", SITE, "--now", LATER]
    known += ["--held", str(gap.site.path / "store"), "--reader", str(READER)]
    return ["bundle", str(folder), *known, *more]


@pytest.mark.parametrize("bundle", BUNDLES)
def test_what_the_product_makes_fits(
    reader: ModuleType, made: World, bundle: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = reader.main(arguments(made, made.base / bundle))
    said = capsys.readouterr().out
    assert (0, "everything fits") == (code, said.splitlines()[-1])


def test_these_bundles_hold_what_they_are_here_for(made: World) -> None:
    tables = {name: next((made.base / name).rglob("chunks.jsonl")).read_text() for name in BUNDLES}
    assert '"delta"' in tables["delta"]
    assert '{"base":0,"from":' in tables["delta"]  # a reference
    assert '"planes"' in tables["compact"]
    assert '"exponent"' in tables["tight"]
    assert {'"encoding":"raw"'} == {
        word for word in tables["guard"].replace(",", " ").split() if "encoding" in word
    }
    assert 1 == len(list((made.base / "delta").rglob("plan.json")))
    assert 4 <= len(list((made.base / "media").rglob("plan.json")))


def test_the_program_runs_by_itself(made: World) -> None:
    command = [sys.executable, "-E", "-s", str(VERIFIER / "verify.py")]
    done = subprocess.run(
        [*command, *arguments(made, made.base / "delta")], capture_output=True, text=True, check=False
    )
    assert (0, "") == (done.returncode, done.stderr)


def without_reader(gap: World, folder: Path) -> list[str]:
    return arguments(gap, folder)[:-2]


@pytest.mark.parametrize("bundle", ["guard", "heartbeat"])
def test_raw_bundles_need_nothing_but_the_one_file(made: World, bundle: str) -> None:
    program = (
        "import sys; sys.modules['numpy'] = sys.modules['zstandard'] = None; "
        f"sys.path.insert(0, {str(VERIFIER)!r}); import verify; sys.exit(verify.main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *without_reader(made, made.base / bundle)],
        capture_output=True,
        check=False,
    )
    assert (0, b"") == (done.returncode, done.stderr)


@pytest.mark.parametrize("bundle", ["delta", "compact", "tight"])
def test_what_it_cannot_decode_it_calls_neither_right_nor_wrong(
    reader: ModuleType, made: World, bundle: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 2 == reader.main(without_reader(made, made.base / bundle))
    assert capsys.readouterr().out.splitlines()[-1].startswith("NOT CHECKED: compact frames")


def test_what_a_relay_passes_on_fits_with_both_roots(
    reader: ModuleType, relay: tuple[World, Home], capsys: pytest.CaptureFixture[str]
) -> None:
    gap, _further = relay
    gap.add("acme/tiny", fine_tuned(0))
    gap.receive(gap.ship("acme/tiny@1", out="first"))
    onwards = pass_on(gap, "acme/tiny@1", out="onwards")
    hub, first = (sha256_hex((home.trust / "1.root.json").read_bytes()) for home in (gap.site, gap.origin))
    known = ["bundle", str(onwards), "--root-fingerprint", hub, "--site", FURTHER, "--now", LATER]
    known += ["--reader", str(READER)]
    assert 0 == reader.main([*known, "--upstream", first])
    assert 1 == reader.main([*known, "--upstream", hub])
    assert 1 == reader.main(known)
    assert "no catalogue signs for it" in capsys.readouterr().out


@pytest.mark.parametrize("profile", ["officers", "hybrid", "cnsa2"])
def test_a_bundle_of_each_profile_fits(
    reader: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    monkeypatch.setattr(world, "new_home", partial(world.new_home, profile=profile))
    gap = make_world(tmp_path / profile)
    assert 0 == reader.main(arguments(gap, gap.ship(out="heartbeat")))


def test_two_people_are_asked_for_where_the_root_says_so(
    reader: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle of an origin of officers fits; with one of two signatures it would not."""
    monkeypatch.setattr(world, "new_home", partial(world.new_home, profile="officers"))
    gap = make_world(tmp_path / "officers")
    [volume] = gap.ship(out="heartbeat").iterdir()
    assert 0 == reader.main(arguments(gap, volume))
    targets = json.loads(next((volume / "trust").glob("*.targets.json")).read_bytes())["signed"]
    [role] = [role for role in targets["delegations"]["roles"] if role["name"] == f"site-{SITE}"]
    by = [(targets["delegations"]["keys"], role)]
    whole = next((volume / "trust").glob(f"*.site-{SITE}.json")).read_bytes()
    assert 2 == len(json.loads(whole)["signatures"])
    assert reader.signed(whole, "whole", "targets", by)
    alone = {**json.loads(whole), "signatures": json.loads(whole)["signatures"][:1]}
    with pytest.raises(Exception, match="1 of 2 signatures"):
        reader.signed(json.dumps(alone, sort_keys=True, separators=(",", ":")).encode(), "", "targets", by)


# -- tampering ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(made: World, tmp_path: Path) -> Callable[[str], Path]:
    def copied(name: str) -> Path:
        return Path(shutil.copytree(made.base / name, tmp_path / name))

    return copied


def mend_sums(volume: Path) -> None:
    """Write SHA256SUMS anew, as anybody with coreutils can."""
    files = {
        path.relative_to(volume).as_posix(): sha256_hex(path.read_bytes())
        for path in volume.rglob("*")
        if path.is_file() and path.name != "SHA256SUMS"
    }
    text = "".join(f"{files[name]}  {name}\n" for name in sorted(files))
    (volume / "SHA256SUMS").write_text(text)


@pytest.mark.parametrize("mended", [False, True], ids=["as it lies", "with SHA256SUMS written anew"])
def test_a_flipped_bit_in_any_file_is_found(
    reader: ModuleType, made: World, copy: Callable[[str], Path], mended: bool
) -> None:
    [volume] = copy("delta").iterdir()
    chosen = np.random.default_rng(3)
    for path in sorted(path for path in volume.rglob("*") if path.is_file() and path.stat().st_size):
        if mended and path.name == "SHA256SUMS":
            continue
        data = path.read_bytes()
        place = int(chosen.integers(len(data)))
        path.write_bytes(
            data[:place] + bytes([data[place] ^ 1 << int(chosen.integers(8))]) + data[place + 1 :]
        )
        if mended:
            mend_sums(volume)
        assert 1 == reader.main(arguments(made, volume)), path
        path.write_bytes(data)
        if mended:
            mend_sums(volume)
    assert 0 == reader.main(arguments(made, volume))


def surplus(volume: Path) -> None:
    (volume / "trust" / "run.sh").write_text("true")


def link(volume: Path) -> None:
    path = next((volume / "chunks").rglob("*/*"))
    path.rename(volume.parent / "elsewhere")
    path.symlink_to(volume.parent / "elsewhere")


def pipe(volume: Path) -> None:
    os.mkfifo(volume / "documents" / "pipe")


def no_chunk(volume: Path) -> None:
    next((volume / "chunks").rglob("*/*")).unlink()


def another_name(volume: Path) -> None:
    path = next((volume / "documents").iterdir())
    path.rename(path.with_name(path.name.upper()))


def no_catalogue(volume: Path) -> None:
    next((volume / "trust").glob("*.catalog.json")).unlink()


def older_export(volume: Path) -> None:
    path = volume / "exports" / SITE / "2.json"
    path.rename(path.with_name("1.json"))


TAMPERING = (surplus, link, pipe, no_chunk, another_name, no_catalogue, older_export)


@pytest.mark.parametrize("tamper", TAMPERING, ids=lambda tamper: tamper.__name__)
@pytest.mark.parametrize("mended", [False, True], ids=["as it lies", "mended"])
def test_a_volume_that_somebody_touched_is_refused(
    reader: ModuleType,
    made: World,
    copy: Callable[[str], Path],
    tamper: Callable[[Path], None],
    mended: bool,
) -> None:
    [volume] = copy("delta").iterdir()
    tamper(volume)
    if mended:
        mend_sums(volume)
    assert 1 == reader.main(arguments(made, volume))


@pytest.mark.parametrize(
    "more",
    [("--root-fingerprint", "0" * 64), ("--site", "ward"), ("--now", "2036-01-01T00:00:00Z")],
    ids=["another root", "another site", "too late"],
)
def test_whom_it_is_from_for_and_until_is_checked(
    reader: ModuleType, made: World, more: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert 1 == reader.main(arguments(made, made.base / "first", *more))
    assert capsys.readouterr().out.splitlines()[-1].startswith("WRONG: ")


def test_volumes_of_two_bundles_and_too_few_of_one_are_refused(reader: ModuleType, made: World) -> None:
    media = made.base / "media"
    both = arguments(made, media)
    assert 1 == reader.main([*both[:2], str(made.base / "first"), *both[2:]])
    assert 1 == reader.main(arguments(made, media / "volume-01"))


def test_a_base_that_is_not_at_hand_or_rotten_is_named(
    reader: ModuleType, made: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = arguments(made, made.base / "delta")
    without = [word for word in plain if word not in ("--held", str(made.site.path / "store"))]
    assert 1 == reader.main(without)
    assert "not at hand" in capsys.readouterr().out
    base = next(
        path
        for path in (made.site.path / "store").rglob("*")
        if path.is_file() and path.stat().st_size > 99_999
    )
    (tmp_path / base.name).write_bytes(base.read_bytes()[:-1] + b"x")
    assert 1 == reader.main([*without, "--held", str(tmp_path)])
    assert "rotten" in capsys.readouterr().out


# -- its decoder -------------------------------------------------------------------------------------------------------


def numbers(unit: str, step: float) -> bytes:
    """90,000 bytes or so that look like weights of this unit, or of GGUF blocks; `step` away from those of step 0."""
    plain = np.random.default_rng(4).standard_normal(50_000).astype("<f4")
    moved = plain + np.float32(step) * np.random.default_rng(5).standard_normal(50_000).astype("<f4")
    kinds = {
        "bf16": (moved.view("<u4") >> 16).astype("<u2"),
        "f16": moved.astype("<f2"),
        "f32": moved[:25_000],
    }
    if unit in kinds:
        return kinds[unit].tobytes()
    raw = bytearray(np.clip(moved * 40 + 128, 0, 255).astype(np.uint8).tobytes())
    width = UNITS[unit]
    for at in range(0, len(raw) - width, width):  # halves that are numbers
        raw[at + 1], raw[at + width - 1] = 0x2C, 0x2C
    return bytes(raw[: len(raw) // width * width])


@pytest.mark.parametrize("compact", [False, True], ids=["fast", "compact"])
@pytest.mark.parametrize("unit", sorted(UNITS))
def test_it_decodes_every_unit_as_the_product_does(frames: ModuleType, unit: str, compact: bool) -> None:
    used = set()
    for step in (0, 1e-4, 3e-2):
        raw, base = numbers(unit, step), numbers(unit, 0)
        for held in (None, memoryview(base)):
            found = ladder.encode(memoryview(raw), unit, held, compact=compact)
            used.add(found.encoding)
            if found.encoding != "raw":
                assert raw == frames.decode(
                    found.encoding, unit, bytes(found.data), len(raw), held and bytes(held)
                )
    assert used - {"raw"}


def test_the_encodings_of_weights_are_among_them(frames: ModuleType) -> None:
    """What the ladder takes depends on the bytes; here each encoding is met at least once."""
    met = set()
    for unit in UNITS:
        for step in (0, 1e-4, 3e-3, 3e-2):
            for held in (None, memoryview(numbers(unit, 0))):
                for compact in (False, True):
                    met.add(
                        ladder.encode(memoryview(numbers(unit, step)), unit, held, compact=compact).encoding
                    )
    assert {"zstd", "planes", "delta", "exponent", "blocks", "blocks-delta"} <= met


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("model-signature", "origin/" + "0f" * 32, "no version of the bundle"),
        ("model-signature", "somebody/" + "ab" * 32, "no version of the bundle"),
        ("people-following", "origin", "comes with no bundle"),
        ("piv-anchor", "Harbour cards", "comes with no bundle"),
    ],
)
def test_documents_that_no_bundle_may_bring_are_refused(
    programs: dict[str, ModuleType], kind: str, name: str, said: str
) -> None:
    manifest = {"digest": "ab" * 32, "kind": "manifest", "name": "acme/tiny@1"}
    ours = {"digest": "cd" * 32, "kind": "model-signature", "name": "origin/" + "ab" * 32}
    programs["strict"].check_kinds({"documents": [manifest, ours]})
    odd = {"digest": "ef" * 32, "kind": kind, "name": name}
    with pytest.raises(programs["verify"].Wrong, match=said):
        programs["strict"].check_kinds({"documents": [manifest, ours, odd]})
