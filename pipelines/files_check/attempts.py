"""The files check in the form of a suite's results: one attempt per case, so that gates and reports know no other.

What is wrong makes a case fail; what is not understood makes it trouble, which blocks as well and says something else.
"""

import time
from collections.abc import Callable

from pipelines.files_check.check import check_files
from pipelines.files_check.values import FilesResult
from pipelines.scan.values import ScannedFile
from pipelines.suites.cases import Case
from pipelines.suites.format import Suite
from pipelines.suites.results import MAX_MESSAGES, MAX_REASON, MAX_REASONS, Attempt, Results
from pipelines.suites.vocabulary import FilesCheck
from pipelines.workplace import Workplace
from registry.entities import Version
from registry.manifests import FileEntry, decode
from signing.digests import sha256_hex

UNKNOWN = "unknown"  # kind of trouble
_OUTCOMES = {"passed": "passed", "failed": "failed", UNKNOWN: "trouble"}


def run(work: Workplace, suite: Suite, version: Version, progress: Callable[[int, int], None]) -> Results:
    """Check a version's files in the blob store and answer each case of the suite.

    Args:
        suite: of kind `files`.
        progress: called with bytes done and bytes in all.

    Raises:
        NotFound: a file of the version is not held. OSError: a file cannot be read.
    """
    began = time.monotonic()
    entries = decode(version.manifest.encode()).files
    total, done = sum(entry.size for entry in entries if entry.path.endswith((".safetensors", ".gguf"))), 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    result = check_files([_file(work, entry) for entry in entries], progress=advance)
    progress(total, total)
    milliseconds = round((time.monotonic() - began) * 1000)
    return Results(
        tuple(_attempt(case, result, version.digest, milliseconds) for case in suite.cases), (), None
    )


def _file(work: Workplace, entry: FileEntry) -> ScannedFile:
    size = work.blobs.size(entry.sha256)  # a file that is not held is refused before anything is read
    return ScannedFile(entry.path, size, lambda: work.blobs.open(entry.sha256), sha256=entry.sha256)


def _attempt(case: Case, result: FilesResult, version: str, milliseconds: int) -> Attempt:
    check = next(check.name for check in case.checks if isinstance(check, FilesCheck))
    outcome = result.outcome(check)
    facts = result.facts
    said = [f"files: {facts.tensors} tensors, {facts.bytes} bytes of weights were read"]
    said += [f"tokenizer: {facts.tokenizer}", f"template: {facts.template}", *facts.notes]
    return Attempt(
        case=case.id,
        repeat=1,
        outcome=_OUTCOMES[outcome],
        trouble=UNKNOWN if outcome == UNKNOWN else None,
        reasons=tuple(str(finding)[:MAX_REASON] for finding in result.of(check)[:MAX_REASONS]),
        parsed=False,
        valid=False,
        request=sha256_hex(f"{version} {check}".encode()),
        milliseconds=milliseconds,
        finish_reason=None,
        content=outcome,
        calls=(),
        messages=tuple(text[:MAX_REASON] for text in said[:MAX_MESSAGES]),
    )
