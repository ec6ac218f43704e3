"""The pytest plugin: every case of a suite is an item, so that selection, reporting and JUnit are pytest's.

`parent.py` loads it in a child process; an author may load it by hand:

    pytest -p pipelines.suites.plugin --tidegate-endpoint http://127.0.0.1:8080 my-suite/suite.toml

A case that is asked in several ways (chat and Responses, streamed or not) is an item for each way. An item passes
when the candidate is right every time; what the baseline answers beside it is written down and judged elsewhere.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.engines.probe import ANY_MODEL
from pipelines.suites.cases import Case, Mode
from pipelines.suites.folder import MAX_BYTES
from pipelines.suites.format import Suite, load, tools_for, unpack
from pipelines.suites.plan import BASELINE, CANDIDATE, Key, Side
from pipelines.suites.python_checks import PythonChecks
from pipelines.suites.results import Writer
from pipelines.suites.session import Run
from registry.contracts import MAX_BYTES as MAX_CONTRACT
from registry.contracts import ToolContract, decode_document
from signing.errors import OperatorError

PACKED = ".suite.json"
RUN = pytest.StashKey[Run]()


class CaseFailed(Exception):
    """A case did not pass. Stays inside pytest, which reports it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare our options."""
    group = parser.getgroup("tidegate", "suites of Tidegate")
    group.addoption("--tidegate-endpoint", metavar="URL", help="the engine that serves the model")
    group.addoption("--tidegate-model", metavar="NAME", default=ANY_MODEL, help="the model to ask for")
    group.addoption("--tidegate-baseline", metavar="URL", help="the engine that serves the pinned version")
    group.addoption(
        "--tidegate-baseline-model", metavar="NAME", default=ANY_MODEL, help="and the model there"
    )
    group.addoption("--tidegate-contract", metavar="FILE", type=Path, help="tool contract, canonical JSON")
    group.addoption("--tidegate-results", metavar="FILE", type=Path, help="write each result here, as a line")
    group.addoption(
        "--tidegate-resume", metavar="FILE", type=Path, help="results that need not be asked again"
    )
    group.addoption(
        "--tidegate-python", action="store_true", help="run the suite's own Python checks; read them first"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Open what the session needs; a wrong option ends pytest before anything is asked."""
    if config.getoption("--tidegate-endpoint") is None:
        raise pytest.UsageError("--tidegate-endpoint says which engine to ask")
    results, resumed = config.getoption("--tidegate-results"), config.getoption("--tidegate-resume")
    try:
        run = Run(
            sides=_sides(config.option),
            contract=_contract(config.getoption("--tidegate-contract")),
            writer=Writer(results) if results else None,
            python=_python(config),
        )
        if resumed:
            run.take_over(resumed.read_bytes())
    except (OperatorError, OSError) as exc:  # a results file that is there already is not written over
        raise pytest.UsageError(str(exc)) from exc
    config.stash[RUN] = run


def _sides(option: argparse.Namespace) -> list[Side]:
    sides = [Side(CANDIDATE, option.tidegate_endpoint, option.tidegate_model)]
    if option.tidegate_baseline is not None:
        sides.append(Side(BASELINE, option.tidegate_baseline, option.tidegate_baseline_model))
    return sides


def _python(config: pytest.Config) -> PythonChecks | None:
    """The host of Python checks: the one that the child process started before it shut itself in, or a new one."""
    for plugin in config.pluginmanager.get_plugins():
        if isinstance(plugin, PythonChecks):
            return plugin
    return PythonChecks() if config.getoption("--tidegate-python") else None


def _contract(path: Path | None) -> ToolContract | None:
    if path is None:
        return None
    found = decode_document(_bounded(path, MAX_CONTRACT))
    if not isinstance(found, ToolContract):
        raise pytest.UsageError(f"{path}: not a tool contract")
    return found


def _bounded(path: Path, most: int) -> bytes:
    with path.open("rb") as stream:
        return stream.read(most + 1)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Take a packed suite, or the suite.toml of a suite's folder."""
    if file_path.name == "suite.toml" or file_path.name.endswith(PACKED):
        return SuiteFile.from_parent(parent, path=file_path)
    return None


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Seal the results, and end what runs beside us."""
    run = session.config.stash.get(RUN, None)
    if run is not None:
        run.close(session.shouldstop if isinstance(session.shouldstop, str) else None)


class SuiteFile(pytest.File):
    """A suite; its cases are the items."""

    def collect(self) -> Iterator[pytest.Item]:
        """Yield an item for each case and way of asking it. Raises `CollectError` for a suite that is not one."""
        run = self.config.stash[RUN]
        try:
            if self.path.name == "suite.toml":
                suite = load(self.path.parent)
            else:
                suite = unpack(_bounded(self.path, 2 * MAX_BYTES))
            tools_for(suite, run.contract)
        except OperatorError as exc:
            raise self.CollectError(str(exc)) from exc
        if suite.python and run.python is None:
            raise self.CollectError("the suite brings Python checks, and nobody allowed them")
        for case in suite.cases:
            ways = suite.modes(case)
            for mode in ways:
                name = case.id if len(ways) == 1 else f"{case.id}[{mode}]"
                yield CaseItem.from_parent(self, name=name, suite=suite, case=case, mode=mode)


class CaseItem(pytest.Item):
    """One case asked in one way, as often as the suite says; it passes when every time passes."""

    def __init__(self, *, suite: Suite, case: Case, mode: Mode, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.suite, self.case, self.mode = suite, case, mode

    def keys(self, side: str) -> list[Key]:
        """The attempts that the item is about."""
        return [Key(side, self.case.id, *self.mode, repeat) for repeat in range(1, self.suite.repeats + 1)]

    def runtest(self) -> None:
        """See that every attempt is made, and report the candidate's. Raises `CaseFailed`."""
        run = self.config.stash[RUN]
        if not run.began:
            run.begin(
                [
                    (item.suite, item.case, item.mode)
                    for item in self.session.items
                    if isinstance(item, CaseItem)
                ]
            )
        wrong: list[str] = []
        for side in run.names:
            for key in self.keys(side):
                outcome = run.wait_for(key)
                if side == CANDIDATE and outcome is not None:
                    self.user_properties.append((f"milliseconds-{key.repeat}", outcome.milliseconds))
                    wrong.extend(f"time {key.repeat}: {reason}" for reason in outcome.reasons)
        if run.stopped:
            self.session.shouldstop = run.stopped
        if wrong:
            raise CaseFailed("\n".join(wrong))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show the reasons alone; the stack of our own code helps nobody who reads about a model."""
        if isinstance(excinfo.value, CaseFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where pytest says that the case stands."""
        return self.path, None, f"{self.case.cluster}: {self.name}"
