"""What intake refuses: exit codes 30-33. After each of them nothing has become visible.

Four kinds of trouble, for whoever acts on exit codes: mend the source (30), judge the findings (31), try again
later (32), find out who changed the bytes (33).
"""

from collections.abc import Sequence
from typing import ClassVar

from pipelines.errors import JudgingRefused
from pipelines.scan.values import Finding

SHOWN = 20  # findings spelled out in a message; all of them stay on the refusal


class SourceUnusable(JudgingRefused):
    """The source does not give a version as it stands: a link in the folder, an unknown model, a gated one."""

    exit_code: ClassVar[int] = 30
    next_step: ClassVar[str] = "Mend what the message names at the source, then run the same command again."

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place}: {problem}")
        self.place, self.problem = place, problem


class ScanBlocked(JudgingRefused):
    """The scan found what may not come in. `findings` holds every blocker."""

    exit_code: ClassVar[int] = 31
    next_step: ClassVar[str] = (
        "Follow the step under each finding. What a model runs without can be left out; what a reviewer has "
        "read can be waived (`tidegate decisions waive`); everything else needs other files from the publisher."
    )

    def __init__(self, model: str, findings: Sequence[Finding]) -> None:
        lines = [
            f"  {found.path}{f' ({found.at})' if found.at else ''}: {found.message} [{found.rule}]\n"
            f"      {found.next_step}"
            for found in findings[:SHOWN]
        ]
        if len(findings) > SHOWN:
            lines.append(f"  and {len(findings) - SHOWN} more")
        count = f"{len(findings)} finding{'s' if len(findings) > 1 else ''}"
        forbid = "forbids" if len(findings) == 1 else "forbid"
        super().__init__("\n".join([f"{model}: {count} of the scan {forbid} these files", *lines]))
        self.model, self.findings = model, tuple(findings)


class HubUnreachable(JudgingRefused):
    """The hub does not answer, or not as a hub does. What has been downloaded whole is kept for the next try."""

    exit_code: ClassVar[int] = 32
    next_step: ClassVar[str] = (
        "Check this machine's network, proxy and the hub's address, then run the same command again: it goes on "
        "where it stopped. A machine that is meant to be offline takes models by bundle or with `models add`."
    )

    def __init__(self, host: str, problem: str) -> None:
        super().__init__(f"{host}: {problem}")
        self.host, self.problem = host, problem


class SourceChanged(JudgingRefused):
    """The bytes that came are not the ones that the source listed."""

    exit_code: ClassVar[int] = 33
    next_step: ClassVar[str] = (
        "See that nothing writes into the folder, or that no proxy or mirror alters what the hub sends, and run "
        "the same command again. If the same file fails twice, do not use this model: tell its publisher."
    )

    def __init__(self, path: str, *, expected: str, actual: str) -> None:
        super().__init__(f"{path}: listed as {expected}, came as {actual}")
        self.path, self.expected, self.actual = path, expected, actual
