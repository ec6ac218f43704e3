"""Documents cannot lie: commands, options, settings, links, tests, exit codes and pictures are held against the code."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from tests.command_lines import in_backticks, missing, problems
from tidegate import reference, settings

HOUSE = Path(__file__).resolve().parents[1]
TOP = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
PAGES = [
    *(HOUSE / name for name in TOP),
    *sorted((HOUSE / "docs").rglob("*.md")),
    *sorted((HOUSE / "airgap-bundles").glob("*.md")),
]
GENERATED = {HOUSE / name for name in reference.PAGES}
DIAGRAMS = ("flowchart", "sequenceDiagram", "stateDiagram-v2", "classDiagram", "erDiagram")
MACHINE_PATH = re.compile(r"/(?:root|home|work|Users|tmp)/")
# Settings of other programs that a page may speak of.
OF_OTHERS = {
    "HF_TOKEN", "HF_ENDPOINT", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_UPDATE_CHECK",
    "HF_HUB_DISABLE_TELEMETRY", "PGPASSFILE",
}  # fmt: skip
OF_THE_DEMO = {"TIDEGATE_LLAMA_SERVER"}
# The variable that a client's written configuration names, unless told otherwise.
OF_CLIENTS = {"TIDEGATE_API_KEY"}

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(HOUSE).as_posix())


def fences(page: Path) -> list[tuple[str, str]]:
    """Every fenced block as (language, text)."""
    return re.findall(
        r"^```(\S*)\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def typed(page: Path) -> list[str]:
    """Every line of a fenced block in which a reader types `tidegate …`."""
    lines = (
        line.strip()
        for language, text in fences(page)
        if language in ("", "sh", "console")
        for line in text.splitlines()
    )
    return [
        line.removeprefix("$ ").removesuffix(" &")
        for line in lines
        if line.startswith(("tidegate ", "$ tidegate "))
    ]


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def headings(page: Path) -> set[str]:
    return {
        slug(text) for text in re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }


@every_page
def test_every_command_that_a_reader_types_exists(page: Path) -> None:
    if page in GENERATED:
        return  # written from the commands themselves
    lines = typed(page)
    assert [] == [problem for line in lines for problem in problems(line)]
    assert [] == [problem for line in lines for problem in missing(line)]


@every_page
def test_every_command_named_in_running_text_exists(page: Path) -> None:
    assert [] == [problem for line in in_backticks(prose(page)) for problem in problems(line)]


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        found = file.exists() and file.is_relative_to(HOUSE)
        if not found or (anchor and anchor not in headings(file)):
            broken.append(target)
    assert [] == broken


@every_page
def test_every_file_of_ours_that_is_named_exists(page: Path) -> None:
    """`registry/gate.py`, `tests/signing/test_trust.py::test_…`, `pipelines/scan/`."""
    named = re.findall(
        r"`((?:signing|registry|pipelines|tidegate|tests|demo|docs|airgap-bundles)/[\w./*-]*)(?:::(\w+))?`",
        prose(page),
    )
    gone = [
        path for path, _ in named if not (list(HOUSE.glob(path)) if "*" in path else (HOUSE / path).exists())
    ]
    assert [] == gone


def test_every_test_that_is_named_exists() -> None:
    """A page that says `test_x.py::test_y` shows a defence: the test must be there."""
    tests = {
        (path.name, node.name)
        for path in (HOUSE / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    files = {name for name, _ in tests}
    for page in PAGES:
        text = page.read_text()
        for file, name in re.findall(r"(test_\w+\.py)::(test_\w+)", text):
            assert (file, name) in tests, f"{page.name} names {file}::{name}"
        for file in re.findall(r"(test_\w+\.py)", text):
            assert file in files, f"{page.name} names {file}"


def test_every_public_name_that_a_page_says_we_have_is_there() -> None:
    """`signing.ceremony.rotate_root`: a module of ours and something in it."""
    import importlib

    for page in PAGES:
        for dotted in re.findall(r"`((?:signing|registry|pipelines|tidegate)(?:\.\w+)+)[`(]", prose(page)):
            if dotted.endswith((".py", ".db", ".toml", ".md")):
                continue
            parts, value = dotted.split("."), None
            for count in range(len(parts), 0, -1):
                try:
                    value = importlib.import_module(".".join(parts[:count]))
                except ModuleNotFoundError:
                    continue
                for name in parts[count:]:
                    assert hasattr(value, name), f"{page.name} names {dotted}"
                    value = getattr(value, name)
                break


def test_every_setting_is_documented_and_every_documented_one_is_read() -> None:
    read = set(re.findall(r"TIDEGATE_[A-Z0-9_]+", inspect.getsource(settings)))
    told = {
        name
        for page in PAGES
        for name in re.findall(r"\b(?:TIDEGATE|HF|PG)[A-Z0-9_]*_?[A-Z]{3,}\b", page.read_text())
    }
    ours = {name for name in told if name.startswith("TIDEGATE")}
    assert read | OF_THE_DEMO == ours - OF_CLIENTS
    assert {name for name in told if not name.startswith("TIDEGATE")} <= OF_OTHERS
    assert "TIDEGATE_LLAMA_SERVER" in (HOUSE / "demo/engine.py").read_text()


def test_the_reference_pages_are_what_the_code_would_write() -> None:
    stale = [
        name for name, made in reference.PAGES.items() if made() != (HOUSE / name).read_text(encoding="utf-8")
    ]
    assert [] == stale, "run python -m tidegate.reference"


def test_every_exit_code_that_a_page_speaks_of_is_one() -> None:
    known = {refusal.exit_code for refusal in reference.refusals()}
    names = {refusal.__name__ for refusal in reference.refusals()}
    for page in PAGES:
        text = prose(page)
        assert {int(code) for code in re.findall(r"exit code (\d+)", text)} <= known, page.name
        for row in re.findall(r"^\| \**([\d, ]+)\** \|", text, flags=re.MULTILINE):
            assert {int(code) for code in row.split(",")} <= known, f"{page.name}: {row}"
    decisions = "".join(page.read_text() for page in (HOUSE / "docs/decisions").glob("*.md"))
    assert {"EncodingUnknown"} <= names & set(re.findall(r"`(\w+)`", decisions))


@every_page
def test_every_picture_is_of_a_kind_that_a_reader_can_draw(page: Path) -> None:
    for language, text in fences(page):
        if language != "mermaid":
            continue
        first, *rest = text.strip().splitlines()
        assert first.split()[0] in DIAGRAMS
        assert rest
        for opening, closing in ("[]", "{}", "()"):
            assert text.count(opening) == text.count(closing), f"{first}: {opening}{closing}"
        blocks = len(re.findall(r"^\s*subgraph\b", text, flags=re.MULTILINE))
        assert blocks == len(re.findall(r"^\s*end\s*$", text, flags=re.MULTILINE))


@every_page
def test_no_page_names_a_path_of_somebodys_machine(page: Path) -> None:
    assert [] == MACHINE_PATH.findall(page.read_text(encoding="utf-8"))


def test_every_decision_has_a_number_of_its_own_and_says_what_it_costs() -> None:
    decisions = sorted((HOUSE / "docs/decisions").glob("*.md"))
    numbers = [page.name[:4] for page in decisions]
    assert sorted(set(numbers)) == numbers
    for page in decisions:
        text = page.read_text()
        assert text.startswith(f"# {page.name[:4]}: ")
        headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
        assert ["What drives it", "Options", "Outcome", "What it costs"] == headings, page.name


def test_every_decision_that_the_code_rests_on_exists() -> None:
    numbers = {page.name[:4] for page in (HOUSE / "docs/decisions").glob("*.md")}
    for layer in ("signing", "registry", "pipelines", "tidegate"):
        for path in (HOUSE / layer).rglob("*.py"):
            assert set(re.findall(r"docs/decisions/(\d{4})", path.read_text())) <= numbers, path


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (HOUSE / "Makefile").read_text(), flags=re.MULTILINE))
    for page in PAGES:
        assert (
            set(re.findall(r"\bmake ([a-z-]+)\b(?=[`\s])", "\n".join(re.findall(r"`[^`]+`", prose(page)))))
            <= targets
        )
        lines = [line for _, text in fences(page) for line in text.splitlines() if line.startswith("make ")]
        assert {line.split()[1] for line in lines} <= targets
