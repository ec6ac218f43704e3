"""Taking a suite in, and running it against a served model.

The steps of a run, numbered as they happen:

1. the address is one that we speak to
2. suite, contract and profile are the bytes that their digests name; the suite was taken in by this home
3. the suite's tools are there
4. the engine: what it is (the profile's?), which files it has loaded (the version's?), does it answer in time
5. the cases, in a child process with limits; not started when 4 says that something else would be measured
6. the engine again: still the same, still answering
7. the verdict, the report, its statements: recorded in one transaction, whatever the outcome
"""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import Key

from pipelines.engines.endpoint import Endpoint, EngineTrouble
from pipelines.engines.memory import holds_an_earlier_file
from pipelines.engines.probe import ANY_MODEL, EngineIdentity, Readiness, identify, ready
from pipelines.evidence import PAYLOAD_TYPE, signed_statement
from pipelines.suites import identity, report
from pipelines.suites.format import KIND, Suite, load, pack, tools_for, unpack
from pipelines.suites.identity import Served
from pipelines.suites.judge import Verdict, judge
from pipelines.suites.parent import Ended, run_child
from pipelines.suites.plan import CANDIDATE, Side
from pipelines.suites.refusals import DocumentAltered, SuiteNotVouched, SuiteUnfit
from pipelines.suites.results import Results
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.contracts import EngineProfile, ToolContract, decode_document
from registry.entities import Document, Report, Row, Statement, Version
from registry.manifests import Manifest, decode
from signing.canonical import NotCanonical, canonical_bytes
from signing.digests import sha256_hex
from signing.envelope import Envelope, SignatureUncheckable, SignatureWrong, verify
from signing.times import rfc3339

REPORT_KIND = "validation"
MAX_TEMPLATE = 1 << 20  # bytes
Progress = Callable[[int, int], None]  # (requests done, requests in all)


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


def add_suite(work: Workplace, folder: Path) -> Document:
    """Take a suite in: read it strictly, sign that this home did, record both. Doing it again changes nothing.

    From now on its name means this suite here.

    Raises:
        SuiteMalformed: naming file, line and field.
    """
    suite = load(folder)
    return _keep(work, suite, pack(suite))


def adopt_suite(work: Workplace, name: str) -> Document:
    """Take in a suite that a bundle brought: from now on its name means this one here.

    Args:
        name: its digest, or the start of it; or its name, which changes nothing but that this home vouches for it.

    Raises:
        NotFound: no such suite is held. SuiteMalformed: naming file, line and field.
    """
    with work.store.view() as view:
        body = view.document(KIND, name).body.encode()
    return _keep(work, unpack(body), body)


def _keep(work: Workplace, suite: Suite, body: bytes) -> Document:
    digest = sha256_hex(body)
    with work.store.view() as view:
        held = view.document_by_digest(digest)
        meant = view.meaning(KIND, suite.name) == digest
    vouched = held is not None and _vouched(work, held, {})
    if held is not None and vouched and meant:
        return held
    row = held or Document(
        digest=digest,
        kind=KIND,
        name=suite.name,
        body=body.decode(),
        added_at=rfc3339(work.now),
        added_by=work.actor,
    )
    rows: list[Row] = [] if held else [row]
    if not vouched:
        said = report.suite_statement(suite, digest, home=work.home.name, by=work.actor)
        rows.append(signed_statement(work, said))
    with work.store.change(actor=work.actor, now=work.now) as change:
        change.record(EventKind.SUITE_ADDED, digest, *rows)
    return row


def run_suite(
    work: Workplace,
    suite: Document,
    version: Version,
    contract: Document,
    profile: Document,
    *,
    endpoint: str,
    model_name: str | None = None,
    junit: Path | None = None,
    progress: Progress = no_progress,
    vouchers: Mapping[str, Key] | None = None,
) -> SuiteRun:
    """Run a suite against the engine at `endpoint` and record what came of it.

    Args:
        endpoint: `http://HOST:PORT[/PREFIX][/v1]`.
        model_name: what requests ask for; by default the first model that the engine lists.
        junit: where to write pytest's JUnit file, if anywhere.
        vouchers: further keys, by id, whose statement about a suite counts as well as this home's.

    Raises:
        EndpointUnusable, DocumentAltered, SuiteNotVouched, SuiteMalformed, SuiteUnfit, RunnerBroken:
            nothing was measured and nothing is recorded.
    """
    began = time.monotonic()
    where = Endpoint.parse(endpoint)  # 1
    read, tool_contract, engine_profile = _documents(work, suite, contract, profile, vouchers or {})  # 2
    tools_for(read, tool_contract)  # 3
    manifest = decode(version.manifest.encode())
    if manifest.digest != version.digest:
        raise DocumentAltered("manifest of", version.model, expected=version.digest, actual=manifest.digest)
    before = _look(where, read, manifest, engine_profile, model_name)  # 4
    results, ended, wrote = Results((), (), None), Ended(None, None), None
    doubts = list(before.doubts)
    if not doubts:
        done = run_child(  # 5
            work.home.path,
            read,
            sides=[Side(CANDIDATE, str(where), before.model)],
            contract=contract.body.encode(),
            junit=junit,
            progress=progress,
        )
        results, ended, wrote = done.results, done.ended, done.junit
        doubts.extend(_changed(where, read, before, model_name))  # 6
    verdict = judge(read, results, engine=doubts, run=[ended.problem] if ended.problem else [])  # 7
    seen = report.Observed(
        endpoint=where,
        engine=before.engine,
        served=before.served,
        template=identity.template_note(before.engine, _template(work, manifest))
        if before.engine
        else "unknown",
        profile_mismatch=before.mismatch,
        ready=before.ready,
        model=before.model,
        milliseconds=round((time.monotonic() - began) * 1000),
    )
    row, statement = _record(work, report.Bound(version, suite, contract, profile), read, seen, verdict)
    return SuiteRun(row, statement, verdict, before.served, before.engine, wrote)


def _documents(
    work: Workplace, suite: Document, contract: Document, profile: Document, vouchers: Mapping[str, Key]
) -> tuple[Suite, ToolContract, EngineProfile]:
    for document in (suite, contract, profile):
        actual = sha256_hex(document.body.encode())
        if actual != document.digest:
            raise DocumentAltered(document.kind, document.name, expected=document.digest, actual=actual)
    if not _vouched(work, suite, vouchers):
        raise SuiteNotVouched(
            suite.name, suite.digest, "no statement with a valid signature vouches for it here"
        )
    tools, engine = decode_document(contract.body.encode()), decode_document(profile.body.encode())
    if not isinstance(tools, ToolContract):
        raise SuiteUnfit(suite.name, contract.name, "that is no tool contract")
    if not isinstance(engine, EngineProfile):
        raise SuiteUnfit(suite.name, profile.name, "that is no engine profile")
    return unpack(suite.body.encode()), tools, engine


def _vouched(work: Workplace, suite: Document, vouchers: Mapping[str, Key]) -> bool:
    """Whether a statement about this suite verifies with the station's key or one of `vouchers`."""
    own = work.station.public_key
    keys = {own.keyid: own, **vouchers}
    with work.store.view() as view:
        rows = view.statements(suite.digest)
    for row in rows:
        if row.predicate != report.SUITE_VOUCHED:
            continue
        try:
            envelope = Envelope.from_json(row.signature.encode())
            verify(row.payload.encode(), envelope, keys, payload_type=PAYLOAD_TYPE)
            found = report.vouched_digest(row.payload.encode())
        except (NotCanonical, SignatureWrong, SignatureUncheckable):
            continue
        if found == suite.digest:
            return True
    return False


@dataclass(frozen=True)
class _Looked:
    """What was found out before the run. `doubts`: why the run would say nothing about this version."""

    engine: EngineIdentity | None
    served: Served
    mismatch: str | None
    ready: Readiness
    model: str
    doubts: tuple[str, ...]


def _look(
    where: Endpoint, suite: Suite, manifest: Manifest, profile: EngineProfile, model_name: str | None
) -> _Looked:
    asked = (model_name or "").encode("utf-8", "replace").decode() or None
    try:
        engine = identify(where, model=asked)
    except EngineTrouble as exc:
        silent = Readiness(ready=False, milliseconds=None, why=str(exc))
        nothing = Served(proven=False, why="the engine did not say what it has loaded")
        return _Looked(None, nothing, None, silent, asked or ANY_MODEL, (str(exc),))
    model = asked or engine.first_model
    mismatch = identity.profile_mismatch(engine, profile)
    served = identity.hold_against(engine, where, manifest)
    answers = ready(where, seconds=suite.timeout_seconds, model=model)
    doubts = [f"profile-mismatch: {mismatch}"] if mismatch else []
    if served.contradicted:
        doubts.append(f"another model is served: {served.why}")
    if not answers.ready:
        doubts.append(f"the engine is not ready: {answers.why}")
    return _Looked(engine, served, mismatch, answers, model, tuple(doubts))


def _changed(where: Endpoint, suite: Suite, before: _Looked, model_name: str | None) -> list[str]:
    """Look at the engine again: what is not the same any more, or does not answer any more."""
    try:
        after = identify(where, model=model_name)
    except EngineTrouble as exc:
        return [f"the engine was gone after the run: {exc}"]
    doubts = (
        [] if after == before.engine else ["the engine was exchanged or restarted differently during the run"]
    )
    if after.model_path and where.is_local and holds_an_earlier_file(where.port, Path(after.model_path)):
        doubts.append(f"{after.model_path} was replaced during the run")
    answers = ready(where, seconds=suite.timeout_seconds, model=before.model)
    return doubts if answers.ready else [*doubts, f"the engine did not answer after the run: {answers.why}"]


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
    made = report.body(bound, suite, seen, verdict, run=secrets.token_hex(8), started=work.now, by=work.actor)
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
