"""Are a version's files whole and sane, told from the files alone and without an engine.

`check_files` takes files from anywhere and returns findings and facts; `run` does the same for a version in the blob
store and answers in the form of a suite's results, so that the built-in suite `files` is judged like every other.
What the rules do not understand is a finding too, `unknown`, and never a pass.

Importing this package is cheap: the child process that looks at tokenizers does so.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.files_check.values import FilesResult, Progress
    from pipelines.scan.values import ScannedFile
    from pipelines.suites.format import Suite
    from pipelines.suites.results import Results
    from pipelines.workplace import Workplace
    from registry.entities import Version

__all__ = ["check_files", "run"]


def check_files(files: "Sequence[ScannedFile]", *, progress: "Progress | None" = None) -> "FilesResult":
    """Look at a version's files; see `pipelines.files_check.check`."""
    from pipelines.files_check import check  # noqa: PLC0415

    return check.check_files(files, progress=progress or _nothing)


def run(
    work: "Workplace",
    suite: "Suite",
    version: "Version",
    progress: "Callable[[int, int], None] | None" = None,
) -> "Results":
    """Answer a suite of kind `files` about a version in the store; see `pipelines.files_check.attempts`."""
    from pipelines.files_check import attempts  # noqa: PLC0415

    return attempts.run(work, suite, version, progress or _nothing)


def _nothing(*_counts: int) -> None:
    """Say nothing."""
