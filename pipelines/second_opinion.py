"""What other scanners say of a version's files, kept beside our own scan: evidence, never the decision.

    picklescan     what it prints (`picklescan -p FOLDER > FILE 2>&1`)
    fickling       `fickling --check-safety --json-output FILE PICKLE`
    modelaudit     `modelaudit scan -f json -o FILE FOLDER`

Each of them has passed files that run code, so a clean answer changes nothing here; a finding is for a person to look
at. They run on the connected side, where they may have what they need; only their output comes to us, as bytes that
nobody vouches for: bounded before it is parsed, refused with its place where it has another shape.
Read off outputs of picklescan 1.0.5, fickling 0.1.12 and modelaudit 0.2.54.
"""

import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipelines.errors import JudgingRefused
from pipelines.scan.errors import MalformedDocument
from pipelines.scan.reading import parse_json, quoted
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import Report
from registry.manifests import decode
from registry.names import Ref
from signing.canonical import canonical_bytes, parse_canonical
from signing.digests import is_sha256, sha256_hex
from signing.times import rfc3339

FORMAT = "tidegate-second-opinion/1"
MAX_BYTES = 32 << 20  # of one output
MAX_REMARKS = 500  # kept one by one; all are counted
MAX_REPORT = 4 << 20  # bytes
PICKLESCAN, FICKLING, MODELAUDIT = "picklescan", "fickling", "modelaudit"

_SUMMARY = "----------- SCAN SUMMARY -----------"
_COUNT = re.compile(r"(Scanned files|Infected files|Suspicious globals|Dangerous globals): (\d{1,9})")
_SAFE = "LIKELY_SAFE"
_QUIET = frozenset(("info", "debug"))


class OpinionUnreadable(JudgingRefused):
    """A file that is no output of a scanner that is known here, or a damaged one, or one without measure."""

    exit_code: ClassVar[int] = 232
    next_step: ClassVar[str] = (
        "Hand over what picklescan printed, what fickling wrote with --json-output, or what modelaudit wrote with "
        "-f json, as the program wrote it; run the program again if the file is damaged."
    )

    def __init__(self, problem: str, *, at: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.problem, self.at = problem, at


@dataclass(frozen=True)
class Remark:
    """One thing that a scanner said: how serious it is in its words, where, and what. All foreign text, quoted."""

    severity: str
    place: str
    message: str


@dataclass(frozen=True)
class SecondOpinion:
    """One output. `found` tells whether the scanner objects to anything, `complete` whether it read everything."""

    tool: str
    found: bool
    complete: bool
    scanned: int  # files, as the scanner counts
    remarks: tuple[Remark, ...]  # the first `MAX_REMARKS`
    counted: int  # remarks in all
    files: tuple[str, ...]  # SHA-256 of the files that it names so; none but modelaudit does

    @property
    def verdict(self) -> str:
        """In three words at most, for people."""
        return "found something" if self.found else "found nothing" if self.complete else "not complete"


def read_opinion(data: bytes) -> SecondOpinion:
    """Read the output of one of the three programs; its content says which. Raises `OpinionUnreadable`."""
    if len(data) > MAX_BYTES:
        raise OpinionUnreadable(f"more than {MAX_BYTES:,} bytes", at="the file")
    if not data.lstrip().startswith(b"{"):
        return _picklescan(data)
    try:
        value = parse_json(data, max_bytes=MAX_BYTES)
    except MalformedDocument as exc:
        raise OpinionUnreadable(exc.problem, at=exc.at) from exc
    if "detailed_results" in value:
        return _fickling(value)
    if "issues" in value and "files_scanned" in value:
        return _modelaudit(value)
    raise OpinionUnreadable("neither of fickling nor of modelaudit", at="the file")


def _picklescan(data: bytes) -> SecondOpinion:
    text = data.decode("utf-8", "replace")
    head, summary, tail = text.rpartition(_SUMMARY)
    counts = {name: int(number) for name, number in _COUNT.findall(tail[:1000])}
    if not summary or "Scanned files" not in counts or "Infected files" not in counts:
        raise OpinionUnreadable("does not end with the summary that picklescan prints", at="the file")
    remarks = []
    complete = True
    for line in filter(None, map(str.strip, head.splitlines())):
        place, _, said = line.rpartition(": ")
        failed = line.startswith("ERROR")
        complete = complete and not failed
        severity = "error" if failed else "dangerous" if line.endswith("FOUND") else "said"
        remarks.append(_remark(severity, place, said))
    found = any(counts.get(name) for name in ("Infected files", "Suspicious globals", "Dangerous globals"))
    return _opinion(PICKLESCAN, remarks, found=found, complete=complete, scanned=counts["Scanned files"])


def _fickling(value: dict[str, Any]) -> SecondOpinion:
    severity, analysis = _text(value, "severity", "$"), _text(value, "analysis", "$")
    _object(value["detailed_results"], "$.detailed_results")
    said = [line.strip() for line in analysis.splitlines() if line.strip()]
    found = severity != _SAFE
    remarks = [_remark(severity, "", line) for line in said] if found else []
    complete = "invalid opcode" not in analysis
    return _opinion(FICKLING, remarks, found=found, complete=complete, scanned=1)


def _modelaudit(value: dict[str, Any]) -> SecondOpinion:
    issues, scanned = value["issues"], value["files_scanned"]
    if not isinstance(issues, list):
        raise OpinionUnreadable("is not a list", at="$.issues")
    if type(scanned) is not int or not 0 <= scanned < 1 << 31:
        raise OpinionUnreadable("is not a number of files", at="$.files_scanned")
    remarks, found = [], False
    for number, issue in enumerate(issues):
        at = f"$.issues[{number}]"
        fields = _object(issue, at)
        severity = _text(fields, "severity", at)
        place = fields.get("location")
        remarks.append(
            _remark(severity, place if isinstance(place, str) else "", _text(fields, "message", at))
        )
        found = found or severity.lower() not in _QUIET
    files = _object(value.get("file_metadata", {}), "$.file_metadata")
    complete = value.get("has_errors") is False and not any(
        isinstance(about, dict) and about.get("analysis_incomplete") for about in files.values()
    )
    return _opinion(
        MODELAUDIT, remarks, found=found, complete=complete, scanned=scanned, files=_digests(files)
    )


def _digests(files: dict[str, Any]) -> Iterator[str]:
    for about in files.values():
        hashes = about.get("file_hashes") if isinstance(about, dict) else None
        digest = hashes.get("sha256") if isinstance(hashes, dict) else None
        if is_sha256(digest):
            yield str(digest)


def _opinion(
    tool: str,
    remarks: list[Remark],
    *,
    found: bool,
    complete: bool,
    scanned: int,
    files: Iterable[str] = (),
) -> SecondOpinion:
    named = tuple(sorted(set(files)))[:MAX_REMARKS]
    return SecondOpinion(tool, found, complete, scanned, tuple(remarks[:MAX_REMARKS]), len(remarks), named)


def _remark(severity: str, place: str, message: str) -> Remark:
    return Remark(
        severity=quoted(severity, limit=40, quotes=False),
        place=quoted(place, limit=300, quotes=False),
        message=quoted(message, limit=400, quotes=False),
    )


def _object(value: Any, at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise OpinionUnreadable("is not an object", at=at)
    return value


def _text(fields: dict[str, Any], name: str, at: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise OpinionUnreadable("is not a text", at=f"{at}.{name}")
    return value


def take_opinion(work: Workplace, ref: Ref, path: Path) -> tuple[Report, SecondOpinion]:
    """Record what a scanner said beside a version. The same output again is the same record; no gate reads it.

    Raises:
        OpinionUnreadable: see `read_opinion`; nothing is recorded. NotFound: no such version.
    """
    data = _read(path)
    try:
        opinion = read_opinion(data)
    except OpinionUnreadable as exc:
        raise OpinionUnreadable(exc.problem, at=f"{path}, {exc.at}") from exc
    digest = sha256_hex(data)
    with work.store.change(actor=work.actor, now=work.now) as change:
        version = change.version(ref)
        for held in change.reports(version.digest, "evidence"):
            if _about(held).get("file", {}).get("sha256") == digest:
                return held, opinion
        ours = {entry.sha256 for entry in decode(version.manifest.encode()).files}
        row = _row(work, version.digest, {
            "format": FORMAT,
            "version": {"model": version.model, "ordinal": version.ordinal, "digest": version.digest},
            "log": _log(opinion, digest, len(data)),
            "remarks": [asdict(remark) for remark in opinion.remarks],
            "files_of_the_version": len(ours & set(opinion.files)),
            "taken_at": rfc3339(work.now),
            "taken_by": work.actor,
        })  # fmt: skip
        change.record(EventKind.EVIDENCE_TAKEN, version.digest, row)
    return row, opinion


def _log(opinion: SecondOpinion, digest: str, size: int) -> dict[str, Any]:
    """The part that every log of another program has in a report of kind `evidence`."""
    complete = "" if opinion.complete else "; did not read everything"
    return {
        "tool": opinion.tool,
        "tool_version": "",
        "model_named": f"{opinion.scanned} files",
        "status": opinion.verdict + complete if opinion.found else opinion.verdict,
        "made_at": "",
        "file": {"sha256": digest, "size": size},
        "metrics": [],
        "counted": opinion.counted,
        "samples": [],
    }


def _row(work: Workplace, version: str, body: dict[str, Any]) -> Report:
    data = canonical_bytes(body)
    return Report(
        digest=sha256_hex(data),
        kind="evidence",
        version=version,
        outcome="NOTED",
        suite=None,
        contract=None,
        profile=None,
        statement=None,
        body=data.decode(),
        made_at=rfc3339(work.now),
        made_by=work.actor,
    )


def _about(held: Report) -> dict[str, Any]:
    body = parse_canonical(held.body.encode(), max_bytes=MAX_REPORT, at="report")
    log: dict[str, Any] = body.get("log", {}) if body.get("format") == FORMAT else {}
    return log


def _read(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a FIFO would wait for ever
            raise OpinionUnreadable("not a plain file", at=str(path))
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as exc:
        raise OpinionUnreadable(f"cannot be read ({exc.strerror})", at=str(path)) from exc
