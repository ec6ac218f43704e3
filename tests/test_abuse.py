"""The abuse register names a test for each attack, and that test exists; and the attacks that no other file tries."""

import ast
import json
import os
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pipelines.bundle import reader
from pipelines.bundle.errors import (
    FilesDamaged,
    MalformedBundle,
    MediumUnreadable,
    UndeclaredFile,
)
from signing import trust
from signing.canonical import canonical_bytes
from signing.digests import sha256_hex
from signing.errors import OperatorError
from tests.pipelines.gap import World, make_world, model_files, state_of

HOUSE = Path(__file__).parents[1]
REGISTER = HOUSE / "airgap-bundles" / "abuse.md"
ROW = re.compile(r"^\| A(\d+) \| (.+?) \| (.+?) \| `([^`|]+)` \|$")


def rows() -> list[tuple[int, str]]:
    """Number and test of each attack."""
    found = [ROW.match(line) for line in REGISTER.read_text().splitlines() if line.startswith("| ")]
    return [(int(match[1]), match[4]) for match in found if match]


@cache
def named_tests(path: Path) -> set[str]:
    """The tests of a file, as pytest names them behind `::`."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        inner = node.body if isinstance(node, ast.ClassDef) else []
        names |= {f"{node.name}::{one.name}" for one in inner if isinstance(one, ast.FunctionDef)}  # type: ignore[attr-defined]
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
    return names


def test_attacks_are_numbered_in_order() -> None:
    assert [*range(1, len(rows()) + 1)] == [number for number, _test in rows()]
    lines = [line for line in REGISTER.read_text().splitlines() if re.match(r"\| A\d", line)]
    assert len(lines) == len(rows()), "a row that does not read as one"


@pytest.mark.parametrize(("number", "test"), rows())
def test_every_attack_has_its_test(number: int, test: str) -> None:
    path, _, name = test.partition("::")
    assert name in named_tests(HOUSE / path)


# -- attacks that no other file tries ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    gap = make_world(tmp_path_factory.mktemp("abuse") / "world")
    gap.add("acme/tiny", model_files())
    gap.ship("acme/tiny")
    return gap


@pytest.fixture
def volume(made: World, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.base / "medium" / "20261120-01", tmp_path / "medium" / "20261120-01"))


def refused(made: World, volume: Path) -> OperatorError:
    """What an import says; nothing has changed at the site."""
    before = state_of(made.site)
    with pytest.raises(OperatorError) as refusal:
        made.receive(volume)
    assert before == state_of(made.site)
    return refusal.value


def mend_sums(volume: Path) -> None:
    files = [path for path in volume.rglob("*") if path.is_file() and path.name != "SHA256SUMS"]
    digests = {path.relative_to(volume).as_posix(): sha256_hex(path.read_bytes()) for path in files}
    text = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    (volume / "SHA256SUMS").write_text(text)


def test_a_medium_that_shows_one_document_and_then_another(
    made: World, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stick with a computer in it: the trust walk reads the true export, everybody else a false one."""
    place = volume / "exports" / "lab" / "1.json"
    true = place.read_bytes()
    false = canonical_bytes({**json.loads(true), "next_expected_by": "2036-01-01T00:00:00Z"})
    walk = trust.verify

    def fooled(*args: Any, **options: Any) -> trust.Verified:
        place.write_bytes(true)
        try:
            return walk(*args, **options)
        finally:
            place.write_bytes(false)

    place.write_bytes(false)
    mend_sums(volume)
    monkeypatch.setattr("pipelines.bundle.opening.trust.verify", fooled)
    refusal = refused(made, volume)
    assert isinstance(refusal, MalformedBundle)
    assert "changed while it was read" in refusal.problem


def test_a_small_file_without_end(made: World, volume: Path) -> None:
    """Ten gibibytes of nothing: said by its size, not read."""
    os.truncate(volume / "README.txt", 10 << 30)
    assert isinstance(refused(made, volume), MalformedBundle)


def test_a_small_file_above_its_own_cap(made: World, volume: Path) -> None:
    (volume / "README.txt").write_bytes(b"x" * (64 << 10) + b"x")
    mend_sums(volume)
    assert isinstance(refused(made, volume), FilesDamaged)


def test_more_files_than_any_bundle_has(made: World, volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_ENTRIES", 30)
    for number in range(40):
        (volume / f"{number}").touch()
    assert isinstance(refused(made, volume), MalformedBundle)


def nested(volume: Path, depth: int) -> None:
    """So many folders in one another, made as nobody can with one path."""
    place = os.open(volume, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("deep-folder", dir_fd=place)
        below = os.open("deep-folder", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)


@pytest.mark.parametrize(("depth", "expected"), [(50, UndeclaredFile), (600, MediumUnreadable)])
def test_folders_in_folders(made: World, volume: Path, depth: int, expected: type[OperatorError]) -> None:
    """Deeper than a path may be long; no recursion of ours gives way first."""
    nested(volume, depth)
    assert isinstance(refused(made, volume), expected)
    shutil.rmtree(volume)


@pytest.mark.parametrize("name", ["a\nOK: imported", "\x1b[2J", "\u202egnp.exe", "caf\udce9"])
def test_a_file_name_that_writes_the_message(made: World, volume: Path, name: str) -> None:
    (volume / os.fsdecode(name.encode("utf-8", "surrogateescape"))).write_text("x")
    refusal = refused(made, volume)
    assert isinstance(refusal, UndeclaredFile)
    assert str(refusal).isprintable()


def test_a_name_in_another_case_is_another_file(made: World, volume: Path) -> None:
    path = next((volume / "documents").iterdir())
    path.rename(path.with_name(path.name.upper()))
    assert isinstance(refused(made, volume), FilesDamaged)


def test_two_exports_in_one_bundle(made: World, volume: Path) -> None:
    """The higher number is the one that is asked about; the other one is a stranger's file."""
    (volume / "exports" / "ward").mkdir()
    shutil.copy(volume / "exports" / "lab" / "1.json", volume / "exports" / "ward" / "1.json")
    mend_sums(volume)
    assert isinstance(refused(made, volume), UndeclaredFile)


def test_an_old_volume_of_the_same_name(made: World, tmp_path: Path, volume: Path) -> None:
    """A volume.json that claims to be of this bundle, over the documents of another one."""
    gap = made.copied(tmp_path / "again")
    gap.add("acme/small", model_files(2))
    other = gap.ship("acme/small", out="other") / "20261120-02"
    label = json.loads((other / "volume.json").read_bytes())
    (other / "volume.json").write_bytes(canonical_bytes({**label, "bundle": "20261120-01"}))
    mend_sums(other)
    for folders in ([volume, other], [other]):
        with pytest.raises((FilesDamaged, MalformedBundle)):
            gap.receive(*folders)


def without_critical(value: dict[str, Any]) -> object:
    return value.pop("critical")


def bidi(value: dict[str, Any]) -> object:
    return value.update(origin="harbour\u202e")


@pytest.mark.parametrize("change", [without_critical, bidi], ids=lambda change: change.__name__)
def test_a_changed_export_is_never_the_signed_one(
    made: World, volume: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    place = volume / "exports" / "lab" / "1.json"
    value = json.loads(place.read_bytes())
    change(value)
    place.write_bytes(canonical_bytes(value))
    mend_sums(volume)
    assert isinstance(refused(made, volume), trust.MetadataTampered)
