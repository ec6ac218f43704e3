"""The threat table keeps its word: every row names tests, and each of them exists."""

import re
from pathlib import Path

import pytest

from tests.test_abuse import named_tests

HOUSE = Path(__file__).parents[1]
PAGE = HOUSE / "docs" / "explanation" / "threats.md"
SECURITY = HOUSE / "SECURITY.md"
NODE = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")
ATTACKERS = (
    "The courier", "The thief of keys", "One rogue officer", "Holders of root", "The site's administrator",
    "Malware on a steward's computer", "The publisher, and the low side", "Whoever writes what a parser reads", "Time",
    "Crashes, full disks, two at once", "A surprise on the network",
)  # fmt: skip


def rows() -> list[str]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [line for line in lines if not line.startswith("| attack |")]


def nodes(page: Path) -> list[tuple[str, str]]:
    return sorted(set(NODE.findall(page.read_text())))


def test_every_attacker_is_there() -> None:
    assert list(ATTACKERS) == re.findall(r"^## (.*)$", PAGE.read_text(), flags=re.MULTILINE)


def test_no_row_is_without_a_test() -> None:
    assert [] == [row for row in rows() if len(row.split(" | ")) != 3 or not NODE.search(row.split(" | ")[2])]
    assert len(rows()) > 80


@pytest.mark.parametrize("page", [PAGE, SECURITY], ids=lambda page: page.name)
def test_every_named_test_exists(page: Path) -> None:
    assert [] == [f"{file}::{name}" for file, name in nodes(page) if not exists(file, name)]


def exists(file: str, name: str) -> bool:
    return (HOUSE / file).is_file() and name in named_tests(HOUSE / file)
