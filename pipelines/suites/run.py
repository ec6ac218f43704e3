"""Running a suite against a served model, beside the version that the tier serves now.

The steps of a run, numbered as they happen:

1. the addresses are ones that we speak to
2. suite, contract and profile are the bytes that their digests name; the suite was taken in by this home
3. the suite's tools are there
4. the engine: what it is (the profile's?), which files it has loaded (the version's?), does it answer in time;
   and the same of the pinned version's engine
5. the cases, in a child process with limits; not started when 4 says that something else would be measured
6. the engines again: still the same, still answering
7. the verdict, the report, its statements: recorded in one transaction, whatever the outcome

A suite of kind `files` asks no engine: its cases look at the version's own files, and 4 and 6 fall away.
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from securesystemslib.signer import Key

from pipelines import decide
from pipelines.engines.endpoint import Endpoint
from pipelines.engines.fingerprint import Fingerprint
from pipelines.engines.probe import EngineIdentity
from pipelines.errors import JudgingRefused
from pipelines.evidence import signed_statement
from pipelines.suites import identity, report
from pipelines.suites.adding import add_suite, adopt_suite, vouched_for
from pipelines.suites.baseline import Baseline, Pinned, changed_baseline, find_baseline, pinned
from pipelines.suites.flips import past_bodies
from pipelines.suites.format import Suite, tools_for, unpack
from pipelines.suites.identity import Served
from pipelines.suites.journal import Journal, journal
from pipelines.suites.judge import Verdict, judge
from pipelines.suites.judged import NOTHING_TO_COMPARE, Comparison
from pipelines.suites.look import Looked, changed, look
from pipelines.suites.parent import Done, Ended, run_child
from pipelines.suites.plan import CANDIDATE, Side
from pipelines.suites.refusals import DocumentAltered, SuiteNotVouched, SuiteUnfit
from pipelines.suites.results import Results
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.contracts import EngineProfile, ToolContract, decode_document
from registry.decisions import Kind
from registry.entities import Document, Report, Statement, Version
from registry.manifests import Manifest, decode
from signing.canonical import canonical_bytes
from signing.digests import sha256_hex
from signing.times import rfc3339

__all__ = ["EngineNotNamed", "Settings", "SuiteRun", "add_suite", "adopt_suite", "run_suite"]

REPORT_KIND = "validation"
MAX_TEMPLATE = 1 << 20  # bytes
_JOURNAL = "tidegate-journal-secret/1"
_BY_THEMSELVES = Comparison(NOTHING_TO_COMPARE, "files are looked at by themselves")
Progress = Callable[[int, int], None]  # (requests done, requests in all)


class EngineNotNamed(JudgingRefused):
    """The suite asks a served model, and nobody said where one is."""

    exit_code: ClassVar[int] = 211
    next_step: ClassVar[str] = (
        "Serve the version, and name the engine's address: `tidegate suites run SUITE REF --endpoint URL`."
    )

    def __init__(self, suite: str) -> None:
        super().__init__(f"suite {suite}: asks an engine, and no address was given")
        self.suite = suite


@dataclass(frozen=True)
class Settings:
    """How a run is made, beyond what it is about.

    `tier`: whose pinned version it is compared with; None for an engine profile alone. `node`: the kind of machine
    that is measured, in words. `baseline_endpoint`: who serves the pinned version. `resume`: go on with a killed
    run. The fingerprints are known to whoever started the engines; else the engines are asked.
    """

    tier: str | None = None
    node: str = "unknown"
    model_name: str | None = None
    baseline_endpoint: str | None = None
    baseline_model_name: str | None = None
    resume: bool = False
    junit: Path | None = None
    fingerprint: Fingerprint | None = None
    baseline_fingerprint: Fingerprint | None = None


@dataclass(frozen=True)
class SuiteRun:
    """A finished run, as recorded. `statement` is the test-result one; `junit` None when no file was written."""

    report: Report
    statement: Statement
    verdict: Verdict
    served: Served
    engine: EngineIdentity | None
    junit: Path | None

    @property
    def outcome(self) -> str:
        """PASSED, FAILED or INCONCLUSIVE."""
        return self.verdict.outcome


def no_progress(_done: int, _total: int) -> None:
    """Say nothing."""


def run_suite(
    work: Workplace,
    suite: Document,
    version: Version,
    contract: Document,
    profile: Document,
    *,
    endpoint: str | None = None,
    settings: Settings | None = None,
    progress: Progress = no_progress,
    vouchers: Mapping[str, Key] | None = None,
) -> SuiteRun:
    """Run a suite against the engine at `endpoint` and record what came of it.

    Args:
        endpoint: `http://HOST:PORT[/PREFIX][/v1]`; not needed for a suite of files.
        vouchers: further keys, by id, whose statement about a suite counts as well as this home's.

    Raises:
        EndpointUnusable, EngineNotNamed, DocumentAltered, SuiteNotVouched, SuiteMalformed, SuiteUnfit, RunnerBroken,
        RunUnderWay: nothing was measured and nothing is recorded.
    """
    began, settings = time.monotonic(), settings or Settings()
    where = None if endpoint is None else Endpoint.parse(endpoint)  # 1
    if settings.baseline_endpoint is not None:
        Endpoint.parse(settings.baseline_endpoint)
    read, tool_contract, engine_profile = _documents(work, suite, contract, profile, vouchers or {})  # 2
    tools_for(read, tool_contract)  # 3
    manifest = decode(version.manifest.encode())
    if manifest.digest != version.digest:
        raise DocumentAltered("manifest of", version.model, expected=version.digest, actual=manifest.digest)
    bound = report.Bound(version, suite, contract, profile, settings.tier, settings.node)
    standing = _standing(work, bound, read)
    if read.kind == "files":
        measured = _check_files(work, read, version, progress)
    elif where is None:
        raise EngineNotNamed(read.name)
    else:
        run = _Run(work, bound, read, manifest, settings, progress, standing)
        measured = run.ask(where, engine_profile)
    verdict = judge(  # 7
        read,
        measured.results,
        engine=measured.doubts,
        run=[measured.ended.problem] if measured.ended.problem else [],
        comparison=measured.baseline.comparison,
        quarantined={one.case for one in standing.quarantined},
    )
    looked = measured.looked
    seen = report.Observed(
        looked=looked,
        baseline=measured.baseline,
        template=identity.template_note(looked.engine, _template(work, manifest))
        if looked and looked.engine
        else "unknown",
        milliseconds=round((time.monotonic() - began) * 1000),
        quarantined=standing.quarantined,
        resumed=measured.resumed,
    )
    row, statement = _record(work, bound, read, seen, verdict)
    served = looked.served if looked else Served(proven=True, why="the version's own files were read")
    return SuiteRun(row, statement, verdict, served, looked.engine if looked else None, measured.junit)


@dataclass(frozen=True)
class _Standing:
    """What the registry says about this suite before the run."""

    quarantined: Sequence[report.Quarantined]
    python_allowed: bool
    pinned: Pinned | str


def _standing(work: Workplace, bound: report.Bound, suite: Suite) -> _Standing:
    with work.store.view() as view:
        aside = decide.standing(work, view, Kind.QUARANTINE_CASE)
        allowed = decide.standing(work, view, Kind.ALLOW_PYTHON)
        found = pinned(work, view, bound.tier, bound.version)
    cases = {f"{suite.name}/{case.id}": case.id for case in suite.cases}
    newest = {one.subject: one for one in aside if one.subject in cases}
    return _Standing(
        quarantined=[
            report.Quarantined(cases[subject], one.digest, one.person, one.reason)
            for subject, one in sorted(newest.items())
        ],
        python_allowed=any(one.subject == bound.suite.digest for one in allowed),
        pinned=found,
    )


@dataclass(frozen=True)
class _Measured:
    """What came of the asking. `doubts`: why it says nothing about the version."""

    results: Results
    ended: Ended
    baseline: Baseline
    looked: Looked | None = None
    doubts: Sequence[str] = ()
    junit: Path | None = None
    resumed: bool = False


def _check_files(work: Workplace, suite: Suite, version: Version, progress: Progress) -> _Measured:
    from pipelines import files_check  # noqa: PLC0415 - reads tensors, and nothing else needs it

    results = files_check.run(work, suite, version, progress)
    return _Measured(results, Ended(0, None), Baseline(_BY_THEMSELVES))


@dataclass(frozen=True)
class _Run:
    """Steps 4 to 6 of one run against an engine."""

    work: Workplace
    bound: report.Bound
    suite: Suite
    manifest: Manifest
    settings: Settings
    progress: Progress
    standing: _Standing

    def ask(self, where: Endpoint, profile: EngineProfile) -> _Measured:
        """Look at the engines, ask the cases, look again."""
        settings, seconds = self.settings, self.suite.timeout_seconds
        before = look(  # 4
            where,
            self.manifest,
            profile,
            seconds=seconds,
            model_name=settings.model_name,
            fingerprint=settings.fingerprint,
        )
        if before.doubts:
            return _Measured(
                Results((), (), None), Ended(None, None), self._unasked(), before, list(before.doubts)
            )
        beside = find_baseline(
            self.standing.pinned,
            settings.baseline_endpoint,
            seconds=seconds,
            model_name=settings.baseline_model_name,
            fingerprint=settings.baseline_fingerprint,
        )
        with journal(
            self.work.home.path,
            self._about(where),
            resume=settings.resume,
            said=(self.suite.name, f"{self.bound.version.model}@{self.bound.version.ordinal}"),
        ) as kept:
            done = self._child(before, beside, kept)  # 5
        doubts = [  # 6
            *changed(before, seconds=seconds, model_name=settings.model_name),
            *changed_baseline(beside, seconds=seconds, model_name=settings.baseline_model_name),
        ]
        return _Measured(done.results, done.ended, beside, before, doubts, done.junit, kept.resumed)

    def _unasked(self) -> Baseline:
        """The baseline of a run that never began: nobody looks at its engine."""
        return find_baseline(self.standing.pinned, None, seconds=1, model_name=None)

    def _about(self, where: Endpoint) -> list[str | None]:
        bound, settings = self.bound, self.settings
        return [
            *(bound.version.digest, bound.suite.digest, bound.contract.digest, bound.profile.digest),
            *(bound.tier, str(where), settings.model_name),
            *(settings.baseline_endpoint, settings.baseline_model_name),
        ]

    def _child(self, before: Looked, beside: Baseline, kept: Journal) -> Done:
        sides = [Side(CANDIDATE, str(before.endpoint), before.model)]
        prints = [before.fingerprint.digest]
        if beside.side is not None and beside.looked is not None:
            sides.append(beside.side)
            prints.append(beside.looked.fingerprint.digest)
        return run_child(
            self.work.home.path,
            self.suite,
            sides=sides,
            contract=self.bound.contract.body.encode(),
            junit=self.settings.junit,
            progress=self.progress,
            resume=kept.path,
            python_allowed=self.standing.python_allowed,
            fingerprint=" ".join(prints),
            secret=self._secret(kept),
        )

    def _secret(self, kept: Journal) -> bytes:
        """What only this home's station can compute, of this run's journal: Ed25519 signs the same text alike."""
        return self.work.station.sign(f"{_JOURNAL} {kept.path.parent.name}".encode()).signature.encode()


def _documents(
    work: Workplace, suite: Document, contract: Document, profile: Document, vouchers: Mapping[str, Key]
) -> tuple[Suite, ToolContract, EngineProfile]:
    for document in (suite, contract, profile):
        actual = sha256_hex(document.body.encode())
        if actual != document.digest:
            raise DocumentAltered(document.kind, document.name, expected=document.digest, actual=actual)
    if not vouched_for(work, suite, vouchers):
        raise SuiteNotVouched(
            suite.name, suite.digest, "no statement with a valid signature vouches for it here"
        )
    tools, engine = decode_document(contract.body.encode()), decode_document(profile.body.encode())
    if not isinstance(tools, ToolContract):
        raise SuiteUnfit(suite.name, contract.name, "that is no tool contract")
    if not isinstance(engine, EngineProfile):
        raise SuiteUnfit(suite.name, profile.name, "that is no engine profile")
    return unpack(suite.body.encode()), tools, engine


def _template(work: Workplace, manifest: Manifest) -> bytes | None:
    for entry in manifest.files:
        if (
            entry.path == "chat_template.jinja"
            and entry.size <= MAX_TEMPLATE
            and work.blobs.has(entry.sha256)
        ):
            return work.blobs.read(entry.sha256, max_bytes=MAX_TEMPLATE)
    return None


def _record(
    work: Workplace, bound: report.Bound, suite: Suite, seen: report.Observed, verdict: Verdict
) -> tuple[Report, Statement]:
    with work.store.view() as view:
        past = past_bodies(view, bound.suite.digest, version=bound.version.digest)
    made = report.body(
        bound,
        suite,
        seen,
        verdict,
        run=secrets.token_hex(8),
        started=work.now,
        by=work.actor,
        past=past,
    )
    body = canonical_bytes(made)
    digest = sha256_hex(body)
    for_all, for_us = report.result_statements(bound, verdict, digest, body=made, by=work.actor, now=work.now)
    statement, figures = signed_statement(work, for_all), signed_statement(work, for_us)
    row = Report(
        digest=digest,
        kind=REPORT_KIND,
        version=bound.version.digest,
        outcome=verdict.outcome,
        suite=bound.suite.digest,
        contract=bound.contract.digest,
        profile=bound.profile.digest,
        statement=statement.digest,
        body=body.decode(),
        made_at=rfc3339(work.now),
        made_by=work.actor,
    )
    with work.store.change(actor=work.actor, now=work.now) as change:
        change.record(EventKind.SUITE_RUN, bound.version.digest, row, statement, figures)
    return row, statement
