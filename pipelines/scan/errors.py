"""Refusals of the readers that look into model files. `scan()` turns them into findings."""

from typing import ClassVar

from pipelines.errors import JudgingRefused


class ScanRefused(JudgingRefused):
    """A file, or a stored scan result, that cannot be read safely. `at` names the place inside it."""

    def __init__(self, problem: str, *, at: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.problem, self.at = problem, at


class MalformedSafetensors(ScanRefused):
    """A safetensors file whose header or layout breaks the format."""

    exit_code: ClassVar[int] = 70
    next_step: ClassVar[str] = (
        "Do not load the file. Fetch it again and compare its SHA-256 with the publisher's; "
        "if it is the same, report the file to the publisher."
    )


class MalformedGguf(ScanRefused):
    """A GGUF file whose header, metadata or tensor table breaks the format."""

    exit_code: ClassVar[int] = 71
    next_step: ClassVar[str] = (
        "Do not load the file in any engine. Fetch it again and compare its SHA-256 with the publisher's; "
        "if it is the same, report the file to the publisher."
    )


class MalformedTemplate(ScanRefused):
    """A chat template that cannot be parsed within the limits, so nobody can say what it does."""

    exit_code: ClassVar[int] = 72
    next_step: ClassVar[str] = "Take the template from the publisher's original repository and scan again."


class MalformedDocument(ScanRefused):
    """A JSON document of a model that cannot be read within the limits."""

    exit_code: ClassVar[int] = 73
    next_step: ClassVar[str] = "Take the file from the publisher's original repository and scan again."


class MalformedScanResult(ScanRefused):
    """A stored or delivered scan result that does not have the shape it must have."""

    exit_code: ClassVar[int] = 74
    next_step: ClassVar[str] = "Scan the version again at this home; do not edit the stored result."
