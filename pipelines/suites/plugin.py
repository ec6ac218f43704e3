"""The pytest plugin: every case of a suite is an item, so that selection, reporting and JUnit are pytest's.

`run.py` loads it in a child process; an author may load it by hand:

    pytest -p pipelines.suites.plugin --tidegate-endpoint http://127.0.0.1:8080 my-suite/suite.toml
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from pipelines.engines.endpoint import AnswerUnusable, Endpoint, EngineTrouble
from pipelines.engines.probe import ANY_MODEL
from pipelines.suites.cases import Case
from pipelines.suites.checks import Exchange, calls_valid, problem
from pipelines.suites.folder import MAX_BYTES
from pipelines.suites.format import Suite, load, tools_for, unpack
from pipelines.suites.results import MAX_REASON, MAX_REASONS, Attempt, Writer, excerpt
from pipelines.suites.talk import PATH, Reply, read_reply, request, second_turn
from pipelines.suites.vocabulary import NAMES
from registry.contracts import MAX_BYTES as MAX_CONTRACT
from registry.contracts import ToolContract, decode_document
from signing.digests import sha256_hex
from signing.errors import OperatorError

PACKED = ".suite.json"
CHECK_SECONDS = 2.0  # for one check: a pattern or a schema can be made to take years
TROUBLE_IN_A_ROW = 3  # after so many the engine is taken for dead and the run ends


@dataclass
class Run:
    """What the items of one pytest session share."""

    endpoint: Endpoint
    model: str
    contract: ToolContract | None
    writer: Writer | None
    trouble: int = 0  # in a row


RUN = pytest.StashKey[Run]()


class CaseFailed(Exception):
    """A case did not pass. Stays inside pytest, which reports it."""


class TooLong(Exception):
    """A check did not come to an end."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare our options."""
    group = parser.getgroup("tidegate", "suites of Tidegate")
    group.addoption("--tidegate-endpoint", metavar="URL", help="the engine that serves the model")
    group.addoption("--tidegate-model", metavar="NAME", default=ANY_MODEL, help="the model to ask for")
    group.addoption("--tidegate-contract", metavar="FILE", type=Path, help="tool contract, canonical JSON")
    group.addoption("--tidegate-results", metavar="FILE", type=Path, help="write each result here, as a line")


def pytest_configure(config: pytest.Config) -> None:
    """Open what the session needs; a wrong option ends pytest before anything is asked."""
    url = config.getoption("--tidegate-endpoint")
    if url is None:
        raise pytest.UsageError("--tidegate-endpoint says which engine to ask")
    results = config.getoption("--tidegate-results")
    try:
        config.stash[RUN] = Run(
            endpoint=Endpoint.parse(url),
            model=config.getoption("--tidegate-model"),
            contract=_contract(config.getoption("--tidegate-contract")),
            writer=Writer(results) if results else None,
        )
    except (OperatorError, OSError) as exc:  # a results file that is there already is not written over
        raise pytest.UsageError(str(exc)) from exc


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
    """Seal the results."""
    run = session.config.stash.get(RUN, None)
    if run is not None and run.writer is not None:
        run.writer.seal(session.shouldstop if isinstance(session.shouldstop, str) else None)


class SuiteFile(pytest.File):
    """A suite; its cases are the items."""

    def collect(self) -> Iterator[pytest.Item]:
        """Yield one item per case. Raises `CollectError` for a suite that is not one."""
        try:
            if self.path.name == "suite.toml":
                suite = load(self.path.parent)
            else:
                suite = unpack(_bounded(self.path, 2 * MAX_BYTES))
            tools_for(suite, self.config.stash[RUN].contract)
        except OperatorError as exc:
            raise self.CollectError(str(exc)) from exc
        for case in suite.cases:
            yield CaseItem.from_parent(self, name=case.id, suite=suite, case=case)


class CaseItem(pytest.Item):
    """One case, asked as often as the suite says; it passes when every time passes."""

    def __init__(self, *, suite: Suite, case: Case, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.suite, self.case = suite, case

    def runtest(self) -> None:
        """Ask, check, write down. Raises `CaseFailed`."""
        run = self.config.stash[RUN]
        wrong: list[str] = []
        for repeat in range(1, self.suite.repeats + 1):
            attempt = attempt_case(self.suite, self.case, run, repeat)
            if run.writer is not None:
                run.writer.add(attempt)
            self.user_properties.append((f"milliseconds-{repeat}", attempt.milliseconds))
            wrong.extend(f"time {repeat}: {reason}" for reason in attempt.reasons)
            run.trouble = run.trouble + 1 if attempt.trouble else 0
            if run.trouble >= TROUBLE_IN_A_ROW:
                self.session.shouldstop = f"{run.trouble} requests in a row had no answer"
                break
        if wrong:
            raise CaseFailed("\n".join(wrong))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show the reasons alone; the stack of our own code helps nobody who reads about a model."""
        if isinstance(excinfo.value, CaseFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where pytest says that the case stands."""
        return self.path, None, f"{self.case.cluster}: {self.case.id}"


def attempt_case(suite: Suite, case: Case, run: Run, repeat: int) -> Attempt:
    """Ask once, check the answer, and return what there is to write down."""
    tools = tools_for(suite, run.contract)
    body = request(case, tools, model=run.model, seed=suite.seed)
    first: Reply | None = None
    milliseconds, trouble, reasons, valid = 0, None, [], False
    try:
        first, milliseconds = _ask(run.endpoint, body, suite.timeout_seconds)
        second = None
        if case.turn and first.calls:
            more = request(
                case, tools, model=run.model, seed=suite.seed, more=second_turn(first, case.turn.result)
            )
            second, _ = _ask(run.endpoint, more, suite.timeout_seconds)
        reasons = _judged(case, Exchange(first, second), tools)
        with _within(CHECK_SECONDS):
            valid = calls_valid(first, {name: tools[name] for name in case.tools})
    except AnswerUnusable as exc:
        reasons = [str(exc)]  # the engine lives and answered nonsense: that is the case's failure
    except EngineTrouble as exc:
        reasons, trouble = [str(exc)], exc.kind
    except TooLong:
        valid = False
    return Attempt(
        case=case.id,
        repeat=repeat,
        outcome="trouble" if trouble else "failed" if reasons else "passed",
        trouble=trouble,
        reasons=tuple(_plain(reason, MAX_REASON) for reason in reasons[:MAX_REASONS]),
        parsed=bool(first and first.calls),
        valid=valid,
        request=sha256_hex(body),
        milliseconds=milliseconds,
        finish_reason=_plain(first.finish_reason, 64) if first and first.finish_reason else None,
        content=excerpt(first.content) if first else "",
        calls=tuple(_plain(f"{call.name} {call.arguments}", MAX_REASON) for call in first.calls[:4])
        if first
        else (),
    )


def _ask(endpoint: Endpoint, body: bytes, seconds: int) -> tuple[Reply, int]:
    where = f"{endpoint}{PATH}"
    answer = endpoint.post(PATH, body, seconds=seconds)
    if answer.status != 200:
        said = answer.body[:120].decode("utf-8", "replace")
        raise AnswerUnusable(where, f"HTTP status {answer.status}: {said!r}")
    return read_reply(answer.body, where=where), answer.milliseconds


def _judged(case: Case, exchange: Exchange, tools: Any) -> list[str]:
    reasons = []
    for check in case.checks:
        name = NAMES[type(check)]
        try:
            with _within(CHECK_SECONDS):
                found = problem(check, exchange, case, tools)
        except TooLong:
            found = f"could not be decided within {CHECK_SECONDS:g} s"
        if found:
            reasons.append(f"{name}: {found}")
    return reasons


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise `TooLong` in the block when it takes longer; Python's `re` looks for signals while it matches."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _plain(text: str, most: int) -> str:
    return text[:most].encode("utf-8", "replace").decode()
