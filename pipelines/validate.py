"""Serving a version for the time of its suites: started here, measured, ended here, beside the version pinned now.

1. What the tier demands and what is still open: a suite with a report on exactly this set is not run again.
2. Suites of files first: a damaged version never reaches an engine.
3. The version's files are handed over, its engine is started by the tier's profile and with the chat template of its
   companions, as a rollout would start it; ready means a tool call came back; if a gate compares with another version that is pinned, its engine is started beside it, by the profile it was promoted with.
4. Each open suite is run, its report recorded. The first that does not pass ends the walk, unless all are wanted.
5. Engines are ended, whatever happened, by their own process ids.
"""

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from pipelines.case import case
from pipelines.engines.driver import Driver, driver_for
from pipelines.engines.launch import Launch, Slot
from pipelines.enrol import origin_keys
from pipelines.errors import JudgingRefused
from pipelines.materialise import Layout, hand_over
from pipelines.rollout.beside import lay_out
from pipelines.rollout.wanted import companions_held
from pipelines.suites.format import unpack
from pipelines.suites.run import Progress, Settings, SuiteRun, no_progress, run_suite
from pipelines.workplace import Workplace
from registry import manifests
from registry.companions import Companions
from registry.contracts import EngineProfile, ToolContract, decode_document
from registry.entities import Document, Version
from registry.errors import NotFound
from registry.gate_facts import SuiteFact
from registry.names import Ref

_READY_SECONDS = 1800.0
_STOP_SECONDS = 30.0
_CONTEXT = 8192  # tokens, where nobody says how many


class EngineNotReady(JudgingRefused):
    """The engine that was started for a validation never answered a tool call."""

    exit_code: ClassVar[int] = 239
    next_step: ClassVar[str] = (
        "Read the engine's log, named above; mend the profile's flags or the machine, then validate again."
    )

    def __init__(self, ref: str, why: str, log: Path) -> None:
        super().__init__(f"the engine started for {ref} is not ready: {why}; its log is {log}")
        self.ref, self.why, self.log = ref, why, log


@dataclass(frozen=True)
class Bench:
    """Where and how engines are started for a validation. `context` in tokens; None: as the contract says, within reason."""

    folder: Path  # outside the home, which no engine may read
    node: str
    context: int | None = None
    program: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    ready_seconds: float = _READY_SECONDS
    beside: bool = (
        True  # start the pinned version's engine, too; without it whatever compares is INCONCLUSIVE
    )


@dataclass(frozen=True)
class Validated:
    """What was run, and what was not run because a report on exactly this set is here already."""

    runs: tuple[tuple[str, SuiteRun], ...]  # by the suite's name, in the order of the tier's policy
    standing: tuple[SuiteFact, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing stands against the version."""
        outcomes = [run.outcome for _, run in self.runs] + [fact.outcome for fact in self.standing]
        return all(outcome == "PASSED" for outcome in outcomes)


@dataclass(frozen=True)
class _Set:
    """One version with the documents that its engine is started by."""

    version: Version
    profile: Document
    contract: Document | None
    companions: Companions | None  # what would be pinned with it, or is

    @property
    def ref(self) -> str:
        return f"{self.version.model}@{self.version.ordinal}"


def stands(fact: SuiteFact) -> bool:
    """A report on exactly this set, that said something: PASSED on proven files, or FAILED."""
    same = fact.report is not None and fact.same_contract and fact.same_profile and fact.same_tier
    same = same and fact.same_template
    return same and (fact.outcome == "FAILED" or (fact.outcome == "PASSED" and fact.identity_proven))


def validate(
    work: Workplace,
    ref: Ref,
    tier: str,
    *,
    bench: Bench,
    again: bool = False,
    everything: bool = False,
    progress: Progress = no_progress,
    say: Callable[[str], None] = lambda _text: None,
) -> Validated:
    """Run what the tier demands of a version, on engines started here.

    Args:
        again: run suites that have a report on exactly this set, too.
        everything: go on after a suite that did not pass.

    Raises:
        NotFound: no such version or tier; the version has no tool contract, or nobody has said what the tier runs.
        HomeBusy: another validation is under way in this home.
        EngineNotReady, and what a driver or a run refuses: what was recorded before stays.
    """
    with work.home.busy("validate"):  # engines of two at once would end each other's
        return _validate(
            work, ref, tier, bench=bench, again=again, everything=everything, progress=progress, say=say
        )


def _validate(
    work: Workplace,
    ref: Ref,
    tier: str,
    *,
    bench: Bench,
    again: bool,
    everything: bool,
    progress: Progress,
    say: Callable[[str], None],
) -> Validated:
    facts, wanted, pinned = _read(work, ref, tier)
    standing = [] if again else [fact for fact in facts if stands(fact)]
    suites = [_held(work, "suite", fact.name) for fact in facts if fact not in standing]
    files = [row for row in suites if unpack(row.body.encode()).kind == "files"]
    asking = [row for row in suites if row not in files]
    runs: list[tuple[str, SuiteRun]] = []
    settings = Settings(tier=tier, node=bench.node)

    def run(row: Document, served: "_Served | None") -> bool:
        say(f"{row.name} on {wanted.ref}")
        made = _run(work, row, wanted, served=served, settings=settings, progress=progress)
        runs.append((row.name, made))
        return made.outcome == "PASSED" or everything

    compares = any(gate.compares for row in asking for gate in unpack(row.body.encode()).gates)
    beside = pinned if bench.beside and compares else None
    if all(run(row, None) for row in files) and asking:
        with _served(work, wanted, beside, bench, say) as served:
            for row in asking:
                if not run(row, served):
                    break
    return Validated(tuple(runs), tuple(standing))


def _read(work: Workplace, ref: Ref, tier: str) -> tuple[Sequence[SuiteFact], _Set, _Set | None]:
    with work.store.view() as view:
        found = case(work, view, ref, tier)
        if found.contract is None:
            raise NotFound("tool contract of", str(ref))
        if found.profile is None:
            raise NotFound("router setting of tier", tier)
        wanted = _Set(
            found.version,
            _by_digest(view.document_by_digest(found.profile), found.profile),
            _by_digest(view.document_by_digest(found.contract), found.contract),
            companions_held(view, found.companions),
        )
        pin = view.pin(tier, found.version.model)
        pinned = None
        if pin is not None and pin.version != found.version.digest and pin.profile is not None:
            version = view.version_by_digest(pin.version)
            if version is not None:
                row = _by_digest(view.document_by_digest(pin.profile), pin.profile)
                contract = view.document_by_digest(pin.contract) if pin.contract else None
                pinned = _Set(version, row, contract, companions_held(view, pin.companions))
    return found.suites, wanted, pinned


def _by_digest(row: Document | None, digest: str) -> Document:
    if row is None:
        raise NotFound("contract or profile", digest)
    return row


def _held(work: Workplace, kind: str, name: str) -> Document:
    with work.store.view() as view:
        return view.document(kind, name)


def _run(
    work: Workplace,
    row: Document,
    wanted: _Set,
    *,
    served: "_Served | None",
    settings: Settings,
    progress: Progress,
) -> SuiteRun:
    assert wanted.contract is not None, "asked for before"
    if served is not None:
        settings = replace(
            settings,
            model_name=wanted.version.model,
            fingerprint=served.candidate.driver.fingerprint(served.candidate.slot),
            baseline_endpoint=str(served.baseline.slot.endpoint) if served.baseline else None,
            baseline_model_name=wanted.version.model if served.baseline else None,
            baseline_fingerprint=served.baseline.driver.fingerprint(served.baseline.slot)
            if served.baseline
            else None,
        )
    with work.store.view() as view:
        vouchers = origin_keys(view)
    return run_suite(
        work,
        row,
        wanted.version,
        wanted.contract,
        wanted.profile,
        endpoint=str(served.candidate.slot.endpoint) if served else None,
        settings=settings,
        progress=progress,
        vouchers=vouchers,
    )


# ------------------------------------------------------------------------------------------------ engines


@dataclass(frozen=True)
class _Engine:
    driver: Driver
    slot: Slot


@dataclass(frozen=True)
class _Served:
    candidate: _Engine
    baseline: _Engine | None


@contextlib.contextmanager
def _served(
    work: Workplace, wanted: _Set, pinned: _Set | None, bench: Bench, say: Callable[[str], None]
) -> Iterator[_Served]:
    """Both engines, for the time of a block."""
    with contextlib.ExitStack() as stack:
        candidate = stack.enter_context(_engine(work, wanted, bench, "candidate", say))
        baseline = stack.enter_context(_engine(work, pinned, bench, "baseline", say)) if pinned else None
        yield _Served(candidate, baseline)


@contextlib.contextmanager
def _engine(
    work: Workplace, wanted: _Set, bench: Bench, name: str, say: Callable[[str], None]
) -> Iterator[_Engine]:
    profile = decode_document(wanted.profile.body.encode())
    if not isinstance(profile, EngineProfile):
        raise NotFound("engine profile", wanted.profile.digest)
    files = bench.folder / "store" / wanted.version.digest
    files.parent.mkdir(parents=True, exist_ok=True)
    hand_over(work, wanted.ref, files, layout=Layout.PLAIN)
    driver = driver_for(profile, program=bench.program, environment=bench.environment)
    slot = Slot(name, bench.folder / f"validation-{name}", "127.0.0.1", _free_port())
    launch = Launch(
        ref=wanted.ref,
        manifest=manifests.decode(wanted.version.manifest.encode()),
        files=files,
        profile=profile,
        served_name=wanted.version.model,
        context=bench.context or _context(wanted.contract),
        template=lay_out(wanted.companions, _beside(bench, wanted.companions)),
    )
    say(f"starting {profile.engine} for {wanted.ref}")
    driver.stop(slot, seconds=_STOP_SECONDS)  # one that a killed validation left behind
    driver.stage(launch, slot)
    try:
        driver.start(slot)
        found = driver.ready(slot, seconds=bench.ready_seconds)
        # An engine that answers and parses no call is what the suites are to find out.
        if not found.ready and found.parses_calls is None:
            raise EngineNotReady(wanted.ref, found.why, slot.folder / "log")
        yield _Engine(driver, slot)
    finally:
        driver.stop(slot, seconds=_STOP_SECONDS)


def _beside(bench: Bench, companions: Companions | None) -> Path:
    return bench.folder / "companions" / (companions.digest if companions else "none")


def _context(contract: Document | None) -> int:
    document = decode_document(contract.body.encode()) if contract else None
    return min(document.context, _CONTEXT) if isinstance(document, ToolContract) else _CONTEXT


def _free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return int(line.getsockname()[1])
