"""`docs/how-to/check-by-hand.md`: its lines are typed as they stand, on a folder that is sound and on forged ones."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.oracle.conftest import Run, model_signing
from tests.signing.test_piv import ALICE
from tests.tidegate import town as making
from tests.tidegate.town import MODEL, Town

__all__ = ["model_signing"]  # a fixture of the reference tool's own tests

HOUSE = Path(__file__).parents[2]
PAGE = HOUSE / "docs" / "how-to" / "check-by-hand.md"
SECTIONS = re.split(r"^## (?=\d)", PAGE.read_text(), flags=re.MULTILINE)[1:]
ORACLE = "model_signing verify"


def commands(section: int) -> str:
    """What a reader types in a section, but for the tool that is tried where it is set up."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", SECTIONS[section - 1], flags=re.MULTILINE | re.DOTALL)
    return "\n".join(block for block in blocks if not block.startswith(ORACLE))


def by_hand(folder: Path, section: int, **values: object) -> subprocess.CompletedProcess[str]:
    """Type a section inside the folder; the shell stops at the first command that fails."""
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"} | {
        name: str(value) for name, value in values.items()
    }
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands(section)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def exported(built_serving: Town, tmp_path_factory: pytest.TempPathFactory) -> Town:
    town = making.copy(built_serving, tmp_path_factory.mktemp("by-hand") / "town")
    town.join("carla", "--role", "reviewer")
    town.site.type("audit", "export", town.folder / "audit")
    return town


@pytest.fixture
def folder(exported: Town, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported.folder / "audit", tmp_path / "audit"))


def version(town: Town, ordinal: int) -> str:
    return str(town.site.ask("models", "show", f"{MODEL}@{ordinal}")["digest"])


def test_the_page_has_the_sections_that_are_typed_here() -> None:
    assert ["1", "2", "3", "4", "5", "6", "7"] == [section[0] for section in SECTIONS]


class TestASoundFolder:
    def test_sums_key_and_head(self, exported: Town, folder: Path) -> None:
        key = exported.site.ask("audit", "head")["verifier_key"]
        done = [by_hand(folder, section, KEY=key) for section in (1, 2, 3)]
        assert [0, 0, 0] == [one.returncode for one in done], done
        assert "Signature Verified Successfully" in done[-1].stdout

    def test_statements(self, folder: Path) -> None:
        done = by_hand(folder, 4)
        assert 0 == done.returncode, done.stderr + done.stdout
        assert done.stdout.count("Signature Verified Successfully") >= 4

    def test_what_people_signed(self, folder: Path) -> None:
        done = by_hand(folder, 5)
        assert 0 == done.returncode, done.stderr + done.stdout
        assert 2 == done.stdout.count('Good "approval@tidegate" signature for alice')
        assert 'Good "decision@tidegate" signature for bob' in done.stdout

    def test_nothing_is_written_into_it(self, folder: Path) -> None:
        """Otherwise whoever runs verify.py afterwards is told of files that nobody signed."""
        before = sorted(folder.rglob("*"))
        for section in (1, 2, 3, 4, 5):
            by_hand(folder, section)
        assert before == sorted(folder.rglob("*"))

    def test_the_files_that_serve(self, exported: Town, folder: Path, tmp_path: Path) -> None:
        exported.site.type("materialise", f"{MODEL}@2", tmp_path / "served")
        model = next(path.parent for path in (tmp_path / "served").rglob("config.json"))
        done = by_hand(folder, 6, VERSION=version(exported, 2), MODEL=model)
        assert 0 == done.returncode, done.stderr + done.stdout
        assert by_hand(folder, 6, VERSION=version(exported, 1), MODEL=model).returncode


def test_the_reference_tool_of_model_signing(
    exported: Town, folder: Path, tmp_path: Path, model_signing: Run
) -> None:
    [line] = [line for line in PAGE.read_text().splitlines() if line.startswith(ORACLE)]
    exported.site.type("materialise", f"{MODEL}@2", tmp_path / "served")
    model = next(path.parent for path in (tmp_path / "served").rglob("config.json"))
    values = {"$MODEL": str(model), "$VERSION": version(exported, 2)}
    words = [word.replace("$MODEL", values["$MODEL"]) for word in shlex.split(line)[1:]]
    words = [word.replace("$VERSION", values["$VERSION"]) for word in words]
    model_signing(*words, cwd=folder)
    (model / "config.json").write_text("{}")
    model_signing(*words, cwd=folder, ends=1)


def test_what_a_card_signed(tmp_path: Path) -> None:
    """A folder of one approval by a PIV card, with a curve key as most cards have it."""
    (tmp_path / "approvals").mkdir()
    (tmp_path / "decisions").mkdir()
    payload = b'{"person":"alice","reason":"read the report"}'
    place = tmp_path / "approvals" / "0.json"
    place.write_bytes(payload)
    place.with_suffix(".sig").write_text(ALICE.sign(payload, namespace="approval@tidegate"))
    done = by_hand(tmp_path, 5)
    assert (0, "Verified OK\n") == (done.returncode, done.stdout), done.stderr
    place.write_bytes(payload.replace(b"read", b"lost"))
    assert by_hand(tmp_path, 5).returncode


def forge(folder: Path, pattern: str, old: bytes, new: bytes) -> None:
    path = next(path for path in sorted(folder.glob(pattern)) if old in path.read_bytes())
    path.write_bytes(path.read_bytes().replace(old, new))


def another_reason(folder: Path) -> None:
    forge(folder, "approvals/*.json", b'"reason":"read the report"', b'"reason":"trust me bro!!!"')


def somebody_else(folder: Path) -> None:
    forge(folder, "approvals/*.json", b'"person":"alice"', b'"person":"carla"')


def another_tier(folder: Path) -> None:
    forge(folder, "statements/*.json", b'"tier": "team"', b'"tier": "org"')


def one_event_less(folder: Path) -> None:
    note = (folder / "log" / "checkpoint").read_text().split("\n")
    note[1] = str(int(note[1]) - 1)
    (folder / "log" / "checkpoint").write_text("\n".join(note))


def any_byte(folder: Path) -> None:
    forge(folder, "reports/*.json", b'"', b"'")


@pytest.mark.parametrize(
    ("forged", "section"),
    [(any_byte, 1), (one_event_less, 3), (another_tier, 4), (another_reason, 5), (somebody_else, 5)],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_forgery_is_found_in_its_section(
    folder: Path, forged: Callable[[Path], None], section: int
) -> None:
    assert 0 == by_hand(folder, section).returncode
    forged(folder)
    assert 0 != by_hand(folder, section).returncode


def test_another_key_than_the_one_that_was_told_is_found(folder: Path) -> None:
    told = "tidegate/clinic+00000000+AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    assert 0 != by_hand(folder, 2, KEY=told).returncode
