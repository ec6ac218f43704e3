"""The lines between the layers, read from the source with `ast`, also inside functions.

Each exception stands in a table with its reason; an exception that is no longer needed fails too.
"""

import ast
import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parents[1]
LAYERS = ("signing", "registry", "pipelines", "tidegate")  # each may import itself and those before it
NEVER_IMPORTED = {"tests", "demo", "benchmarks"}
HEAVY = {
    "alembic", "huggingface_hub", "jsonschema", "mlflow", "numpy", "pytest",
    "securesystemslib", "sqlalchemy", "sqlmodel", "tuf",
}  # fmt: skip

SPEAKS_SQL = {
    "registry/store.py", "registry/store_schema.py", "registry/store_doors.py", "registry/store_pages.py",
    "registry/store_images.py", "registry/store_search.py", "registry/store_attention.py", "registry/store_pulls.py",
    "registry/views.py", "registry/entities.py",
}  # fmt: skip
SQL_EXCEPTIONS = {"tidegate/wiring.py": "takes a database's address apart to refuse a password in it"}
READS_SURROUNDINGS = {"pipelines/suites/child.py": "is a program of its own: the child that runs a suite"}
READS_JSON = {
    "pipelines/account.py": "own rows, canonical when they were written and covered by the log",
    "pipelines/suites/evidence_logs.py": "other tools' logs, full of fractions; refuses a name twice and NaN itself",
    "registry/jsoncompat_engine.py": "what a library of this process says; its witness is checked before it is shown",
    "tidegate/cli/contracts.py": "own rows",
    "tidegate/cli/models.py": "own rows",
    "tidegate/cli/people.py": "own rows",
    "tidegate/cli/pins.py": "own rows",
    "tidegate/cli/signatures.py": "the payload written a line above",
    "tidegate/cli/suites.py": "own rows",
    "tidegate/cli/trust.py": "own trust metadata, verified when it was enrolled or published",
}

# What runs code that others wrote, and where: nothing but this, and only by a person's signed decision.
RUNS_CODE = {
    "pipelines/suites/python_host.py": "Python checks of a suite, in a process that can reach nothing"
}


@dataclass(frozen=True)
class Source:
    path: str  # relative to the repository, POSIX
    tree: ast.Module

    @property
    def layer(self) -> str:
        return self.path.split("/", 1)[0]


def sources() -> list[Source]:
    found = [path for layer in LAYERS for path in sorted((HOUSE / layer).rglob("*.py"))]
    return [Source(path.relative_to(HOUSE).as_posix(), ast.parse(path.read_text())) for path in found]


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every imported module's dotted name, wherever the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")


def uses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every dotted name that is read: `datetime.now`, `os.environ`, `json.loads`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.lineno, ast.unparse(node)


def tops(source: Source) -> set[str]:
    return {name.split(".", 1)[0] for _, name in imports(source.tree)}


@pytest.fixture(scope="module")
def house() -> list[Source]:
    found = sources()
    assert {"signing", "registry", "pipelines", "tidegate"} == {source.layer for source in found}
    return found


def test_the_reader_of_imports_sees_inside_functions() -> None:
    tree = ast.parse("def f():\n    from tidegate import wiring\n    import os.path\n")

    assert [(2, "tidegate"), (3, "os.path")] == list(imports(tree))


def test_imports_point_down_only(house: list[Source]) -> None:
    upward = [
        f"{source.path}:{line} imports {name}"
        for source in house
        for line, name in imports(source.tree)
        for top in [name.split(".", 1)[0]]
        if top in LAYERS and LAYERS.index(top) > LAYERS.index(source.layer)
    ]
    assert [] == upward


def test_every_import_names_its_module_in_full(house: list[Source]) -> None:
    relative = [f"{s.path}:{line}" for s in house for line, name in imports(s.tree) if name.startswith(".")]
    assert [] == relative


def test_the_product_imports_neither_tests_nor_demo_nor_benchmarks(house: list[Source]) -> None:
    assert [] == [source.path for source in house if tops(source) & NEVER_IMPORTED]


def test_only_the_doors_read_clock_environment_and_arguments(house: list[Source]) -> None:
    """`time.monotonic` is free: it measures how long something takes and says nothing about when."""
    surroundings = (
        "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time", "time.time_ns",
        "time.gmtime", "time.localtime", "os.environ", "os.environb", "os.getenv", "sys.argv", "Path.home",
        "getpass.getuser",
    )  # fmt: skip
    reading = {
        source.path: f"{source.path}:{line} {name}"
        for source in house
        if source.layer != "tidegate"
        for line, name in uses(source.tree)
        if any(name == one or name.endswith(f".{one}") for one in surroundings)
    }
    assert set(READS_SURROUNDINGS) == set(reading), sorted(reading.values())


def test_the_doors_read_them_in_one_place_each(house: list[Source]) -> None:
    clocks = {
        source.path
        for source in house
        for _, name in uses(source.tree)
        if name == "datetime.now" or name.endswith("datetime.now")
    }
    environment = {
        source.path
        for source in house
        for _, name in uses(source.tree)
        if name in ("os.environ", "os.getenv")
    }
    assert ({"tidegate/wiring.py"}, {"tidegate/settings.py"}) == (clocks, environment)


def test_only_the_store_speaks_sql(house: list[Source]) -> None:
    speaking = {
        source.path for source in house if tops(source) & {"sqlalchemy", "sqlmodel", "alembic", "psycopg"}
    }
    allowed = SPEAKS_SQL | set(SQL_EXCEPTIONS)
    assert allowed == {path for path in speaking if not path.startswith("registry/migrations/")}


def test_only_intake_knows_the_hub(house: list[Source]) -> None:
    knowing = {source.path for source in house if "huggingface_hub" in tops(source)}
    assert knowing, "nobody fetches any more"
    assert [] == [path for path in sorted(knowing) if not path.startswith("pipelines/intake/")]


def test_verifying_and_deciding_never_open_a_socket(house: list[Source]) -> None:
    """Nothing of signing or registry, nor the reading of bundles, can speak to a network."""
    network = {
        "socket",
        "http",
        "urllib",
        "ssl",
        "ftplib",
        "smtplib",
        "httpx",
        "requests",
        "urllib3",
        "aiohttp",
    }
    quiet = ("signing/", "registry/", "pipelines/bundle/", "pipelines/scan/", "pipelines/receive")
    loud = [
        f"{source.path}:{line} imports {name}"
        for source in house
        if source.path.startswith(quiet)
        for line, name in imports(source.tree)
        if name.split(".", 1)[0] in network and name != "urllib.parse"
    ]
    assert [] == loud


def test_json_that_others_wrote_is_read_in_one_place(house: list[Source]) -> None:
    """`json.loads` takes duplicate keys, NaN and any depth; `signing.canonical.parse` takes none of them."""
    reading = {
        source.path
        for source in house
        for _, name in uses(source.tree)
        if name in ("json.loads", "json.load", "json.JSONDecoder")
    }
    assert {"signing/canonical.py", *READS_JSON} == reading


def test_nothing_is_unpickled_evaluated_or_handed_to_a_shell(house: list[Source]) -> None:
    executing = [
        f"{source.path}:{line} imports {name}"
        for source in house
        for line, name in imports(source.tree)
        if name.split(".", 1)[0] in {"pickle", "marshal", "shelve", "dill", "cloudpickle", "torch"}
    ]
    calls = [
        f"{source.path}:{node.lineno} {node.func.id}"
        for source in house
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"eval", "exec"}
        if source.path not in RUNS_CODE
    ]
    shells = [
        f"{source.path}:{node.value.lineno}"
        for source in house
        for node in ast.walk(source.tree)
        if isinstance(node, ast.keyword) and node.arg == "shell"
    ]
    assert [] == executing + calls + shells


def test_nobody_else_owns_our_import_names() -> None:
    """A second distribution with a package of our name would replace our code without a word from pip."""
    owners = importlib.metadata.packages_distributions()  # lists nothing for an editable install
    others = {name: set(owners.get(name, ())) - {"tidegate"} for name in LAYERS}
    assert {name: set() for name in LAYERS} == others


@pytest.mark.parametrize("package", LAYERS)
def test_our_packages_are_regular_ones(package: str) -> None:
    """A namespace package would take in any folder of its name on the path, also a model's."""
    assert (HOUSE / package / "__init__.py").stat().st_size > 0


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "sys.argv = ['tidegate', '--help']\n"
        "from tidegate.__main__ import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "print('modules:', *sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=HOUSE
    )
    listed = next(line for line in done.stdout.splitlines() if line.startswith("modules:"))
    assert set() == HEAVY & set(listed.split()[1:])
