"""What suites refuse before a run: exit codes 34, 35, 77-79 and 205-207. An engine's troubles stand in `engines.endpoint`."""

from pathlib import Path
from typing import ClassVar

from pipelines.errors import JudgingRefused


class SuiteMalformed(JudgingRefused):
    """A suite that checks nothing somewhere, or says something that no suite can say."""

    exit_code: ClassVar[int] = 34
    next_step: ClassVar[str] = (
        "Correct the suite at the place named, or ask its author to; then add the folder again."
    )

    def __init__(self, problem: str, *, at: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.problem, self.at = problem, at


class DocumentAltered(JudgingRefused):
    """A document whose bytes are not the ones that its digest names: the database was edited."""

    exit_code: ClassVar[int] = 35
    next_step: ClassVar[str] = (
        "Run nothing with it. Run `tidegate audit verify`, which names every row that was changed, "
        "and add the document again from its source."
    )

    def __init__(self, kind: str, name: str, *, expected: str, actual: str) -> None:
        super().__init__(f"{kind} {name}: recorded as {expected[:12]}, holds {actual[:12]}")
        self.kind, self.name, self.expected, self.actual = kind, name, expected, actual


class SuiteNotVouched(JudgingRefused):
    """A suite that this home did not sign: it came from outside, or its signature is gone."""

    exit_code: ClassVar[int] = 77
    next_step: ClassVar[str] = (
        "Review the suite and add its folder here with `tidegate suites add`; that signs it with this home's key."
    )

    def __init__(self, name: str, digest: str, problem: str) -> None:
        super().__init__(f"suite {name} ({digest[:12]}): {problem}")
        self.name, self.digest, self.problem = name, digest, problem


class SuiteUnfit(JudgingRefused):
    """The suite takes its tools from the contract, and the contract does not have them."""

    exit_code: ClassVar[int] = 78
    next_step: ClassVar[str] = (
        "Run a suite that was made for this contract, or correct the contract if it should have the tool."
    )

    def __init__(self, suite: str, contract: str, problem: str) -> None:
        super().__init__(f"suite {suite} with contract {contract}: {problem}")
        self.suite, self.contract, self.problem = suite, contract, problem


class RunnerBroken(JudgingRefused):
    """Our own runner did not start: nothing was asked, nothing is recorded."""

    exit_code: ClassVar[int] = 79
    next_step: ClassVar[str] = (
        "Run `tidegate doctor`: pytest must be importable in Tidegate's own environment and the folder for "
        "temporary files must be writable."
    )

    def __init__(self, problem: str) -> None:
        super().__init__(f"the suite's child process did not start: {problem}")
        self.problem = problem


class PythonNotAllowed(JudgingRefused):
    """A suite that brings Python of its own, and no person permitted it."""

    exit_code: ClassVar[int] = 205
    next_step: ClassVar[str] = (
        "Read the files in the suite's checks folder. If they may run here, an author signs for them: `tidegate "
        "decisions allow-python SUITE --person NAME --reason WHY --key FILE`; then run it again."
    )

    def __init__(self, suite: str, digest: str) -> None:
        super().__init__(f"suite {suite} ({digest[:12]}) brings Python checks, and nobody permitted them")
        self.suite, self.digest = suite, digest


class RunNotResumable(JudgingRefused):
    """What an earlier run left is about something else: its answers may not count here."""

    exit_code: ClassVar[int] = 206
    next_step: ClassVar[str] = (
        "Run the suite again without --resume; or first serve again, at the same address, exactly what was served "
        "when the run was broken off."
    )

    def __init__(self, journal: Path, problem: str) -> None:
        super().__init__(f"{journal}: {problem}")
        self.journal, self.problem = journal, problem


class PythonNotContained(JudgingRefused):
    """This machine cannot hold a suite's Python to what it may do."""

    exit_code: ClassVar[int] = 207
    next_step: ClassVar[str] = (
        "Run this suite on Linux (x86_64 or aarch64) with a kernel that has seccomp, or ask its author for one "
        "without Python checks."
    )

    def __init__(self, suite: str, problem: str) -> None:
        super().__init__(f"suite {suite} brings Python checks: {problem}")
        self.suite, self.problem = suite, problem
