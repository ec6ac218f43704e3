"""One version's life, step by step: where it came from, what was found, who said yes, where it served, how it ended.

Read from the rows about this one version, so it costs the same in a home of any size. With `prove` every step is
looked at again like any other evidence (`proving`), and what was taken out of the tables is named.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipelines.bundle import documents as docs
from pipelines.questions.allowing import judged_again
from pipelines.questions.proving import Proof, Prover, predicate_of
from pipelines.questions.reporting import carries
from pipelines.questions.serving import evidence_of
from pipelines.questions.whence import fetched_by
from pipelines.workplace import Workplace
from registry import manifests, store_pages, store_search
from registry.approvals_payload import REJECT
from registry.entities import (
    Approval,
    Claim,
    Import,
    Pin,
    Report,
    Row,
    Statement,
    Version,
    Withdrawal,
)
from registry.store_pages import Asked
from registry.views import View
from signing import statements
from signing.errors import OperatorError

_PINS = 40  # lines that are told of one version, newest first
_BUNDLES = 50  # of an origin's newest ones that are looked through


@dataclass(frozen=True)
class Step:
    """One thing that happened to the version."""

    stage: str  # source, bundle, site, scan, suite, approval, pin, end
    title: str
    lines: tuple[str, ...]  # at most three, short: who, when, which
    said: str  # in a sentence
    at: str | None  # RFC 3339
    rows: tuple[Row, ...] = ()  # what it is read from
    digest: str | None = None  # of the evidence to look at
    proofs: tuple[Proof, ...] | None = None  # None: not looked at
    problems: tuple[str, ...] = ()
    loud: bool = False  # shown as what it is for ever, verified or not

    @property
    def doubts(self) -> list[str]:
        """What does not hold, in words."""
        return [*(one.doubt for one in self.proofs or () if not one.verified), *self.problems]

    @property
    def verified(self) -> bool | None:
        """Whether all of it holds; None: nobody looked, or there is nothing that could be proved."""
        return not self.doubts if self.proofs or self.problems else None


@dataclass(frozen=True)
class Life:
    """All steps in their order."""

    version: Version
    steps: tuple[Step, ...]
    proved: bool
    gone: tuple[str, ...]  # rows that the log has and the tables have not

    @property
    def doubts(self) -> list[str]:
        """What does not hold, each once."""
        return list(dict.fromkeys([*(one for step in self.steps for one in step.doubts), *self.gone]))


def life(work: Workplace, view: View, version: Version, *, prove: bool = False) -> Life:
    """Return a version's life. With `prove` it takes as long as its evidence is large."""
    steps = [
        *_source(view, version),
        *_bundle(view, version),
        _taken(version),
        *_scans(view, version),
        *_suites(view, version),
        *_shipped(work, view, version),
        *_served(view, version),
        *_end(view, version),
    ]
    if not prove:
        return Life(version, tuple(steps), proved=False, gone=())
    prover = Prover(work, view)
    proved = tuple(_proved(prover, view, step) for step in steps)
    return Life(version, proved, proved=True, gone=tuple(_gone(prover, view, version)))


def _proved(prover: Prover, view: View, step: Step) -> Step:
    claims = {row.statement for row in step.rows if isinstance(row, Claim)}
    proofs = tuple(
        prover.row(row, ours=isinstance(row, Statement) and row.digest not in claims)
        for row in step.rows
        if not isinstance(row, Claim)
    )
    problems = [
        problem
        for row in step.rows
        if isinstance(row, Pin)
        for problem in judged_again(prover, view, row, view.pin_history(row.tier, row.model)).problems
    ]
    return replace(step, proofs=proofs, problems=tuple(problems))


def _gone(prover: Prover, view: View, version: Version) -> Iterator[str]:
    digest = version.digest
    entries = prover.recorded.entries(subject=digest)
    tables: tuple[tuple[str, Sequence[Row]], ...] = (
        (Report.label, view.reports(digest)),
        (Statement.label, view.statements(digest)),
        (Approval.label, view.approvals(digest)),
        (Pin.label, view.pin_history(version=digest)),
        (Withdrawal.label, [row for row in [view.withdrawal(digest)] if row is not None]),
    )
    for label, rows in tables:
        for event, _said in prover.recorded.removed(label, entries, rows):
            yield f"a {label} of this version, recorded by event {event}, was taken out of the table"


# -- before this home ---------------------------------------------------------------------------------------


def _source(view: View, version: Version) -> Iterator[Step]:
    try:
        upstream = manifests.decode(version.manifest.encode()).upstream
    except OperatorError:
        upstream = None  # edited; the step about the version says so
    signed = view.model_signatures(version.digest)
    if upstream or signed:
        uri = upstream.uri if upstream else "no address upstream"
        many = "1 signature" if len(signed) == 1 else f"{len(signed)} signatures"
        says = [f"{row.source}: {row.outcome}" for row in signed[:2]]
        yield Step(
            "source",
            "Publisher" if upstream or any(row.source == "publisher" for row in signed) else "Signed",
            tuple(filter(None, (uri, str((upstream and upstream.commit) or "")[:12], *says)))[:3],
            f"{uri}{', as the manifest says' if upstream else ''}; {many} over the files",
            None,
            tuple(signed),
            signed[0].digest if signed else None,
        )
    claims = {row.statement: row for row in view.claims(version.digest)}
    for row in view.statements(version.digest):
        if row.predicate == statements.PROVENANCE:
            claim = claims.get(row.digest)
            yield _fetched(row, claim)


def _fetched(row: Statement, claim: Claim | None) -> Step:
    predicate = predicate_of(row)
    by, finished = fetched_by(predicate, row.made_at)
    how = str(predicate.get("buildDefinition", {}).get("buildType")) == statements.BUILD_TYPES["fetch"]
    word = " (its word)" if claim else ""
    return Step(
        "source",
        "Fetched" if how else "Added from a folder",
        (f"at {by}{word}", finished, row.digest[:16]),
        f"{'fetched from a hub' if how else 'added from a folder'} at {by}{', as it said with the bundle' if claim else ''}",
        finished,
        (row, claim) if claim else (row,),
        row.digest,
    )


def _bundle(view: View, version: Version) -> Iterator[Step]:
    brought = view.import_of(version.brought_by)
    if brought is None:
        return
    origin = _origin(brought)
    yield Step(
        "bundle",
        f"Bundle {brought.bundle}",
        (f"from {origin}, number {brought.sequence}", brought.signed_time, brought.digest[:16]),
        f"bundle {brought.bundle} from {origin}, number {brought.sequence}, signed {brought.signed_time}",
        brought.signed_time,
        (brought,),
    )
    media = [row for row in view.custody(brought.bundle) if row.export == brought.digest]
    if media:
        last = media[-1]
        yield Step(
            "bundle",
            "Media read back",
            (f"{last.outcome}, {len(media)} in all", last.since, f"by {last.actor}"),
            f"volume {last.volume} of {last.of}: {last.outcome}, serial {last.serial or '-'}, seal {last.seal or '-'}, "
            f"carried by {last.carrier or '-'}; {len(media)} readings in all",
            last.since,
            tuple(media),
        )


def _origin(row: Import) -> str:
    try:
        return docs.decode_export(row.body.encode()).origin
    except OperatorError:
        return "unknown"  # edited; its proof says so


def _taken(version: Version) -> Step:
    how = "from a folder" if version.brought_by == "add" else "from a hub"
    how = how if version.brought_by in ("add", "fetch") else f"out of bundle {version.brought_by}"
    return Step(
        "site",
        f"Taken in as @{version.ordinal}",
        (f"by {version.added_by}", version.added_at, version.digest[:16]),
        f"taken in {how} by {version.added_by}",
        version.added_at,
        (version,),
        version.digest,
    )


# -- what was found, and who said yes ---------------------------------------------------------------------------


def _scans(view: View, version: Version) -> Iterator[Step]:
    found = view.reports(version.digest, "scan")
    if found:
        yield _report("scan", "Scanned", found)


def _suites(view: View, version: Version) -> Iterator[Step]:
    runs: dict[str, list[Report]] = defaultdict(list)
    for row in view.reports(version.digest, "validation"):
        runs[row.suite or ""].append(row)
    for suite, found in runs.items():
        document = view.document_by_digest(suite)
        yield _report("suite", f"Suite {document.name if document else suite[:12]}", found)


def _report(stage: str, title: str, found: Sequence[Report]) -> Step:
    last = found[-1]
    more = f", run {len(found)} times" if len(found) > 1 else ""
    return Step(
        stage,
        title,
        (f"{last.outcome}{more}", last.made_at, f"by {last.made_by}"),
        f"{last.outcome} by {last.made_by}{more}",
        last.made_at,
        tuple(found),
        last.digest,
        loud=last.outcome == "FAILED",
    )


def _shipped(work: Workplace, view: View, version: Version) -> Iterator[Step]:
    if not work.home.is_origin:
        return
    newest = store_pages.listing(view, "exports", Asked(_BUNDLES)).rows
    held = [row for row in newest if carries(row, version)]
    for row in reversed(held[:3]):
        yield Step(
            "bundle",
            f"Shipped to {row.site}",
            (f"by {row.actor}", row.made_at, row.bundle),
            f"shipped to {row.site} in bundle {row.bundle} by {row.actor}",
            row.made_at,
            (row,),
        )


def _served(view: View, version: Version) -> Iterator[Step]:
    """Each tier's approvals before its first line, then its lines, in the order of time."""
    newest = store_pages.listing(view, "pins", Asked(_PINS), where={"version": version.digest}).rows
    pins, answers = list(reversed(newest)), view.approvals(version.digest)
    told: set[str] = set()
    for pin in pins:
        new = [row for row in answers if row.tier == pin.tier and row.made_at <= pin.since]
        new = [row for row in new if row.digest not in told]
        told |= {row.digest for row in new}
        if new:
            yield _answers(pin.tier, new, evidence_of(pin))
        yield _pin(view, pin)
    open_: dict[str, list[Approval]] = defaultdict(list)
    for row in answers:
        if row.digest not in told:
            open_[row.tier].append(row)
    for tier, rows in open_.items():
        yield _answers(tier, rows, ())


def _answers(tier: str, rows: Sequence[Approval], counted: Sequence[str]) -> Step:
    names = ", ".join(dict.fromkeys(row.person for row in rows))
    noes = [row for row in rows if row.decision == REJECT]
    count = sum(row.digest in counted for row in rows)
    title = f"Rejected for {tier}" if noes else f"Approved for {tier}"
    said = "; ".join(f"{row.person}: {row.decision or 'approve'}, {row.made_at}" for row in rows)
    return Step(
        "approval",
        title,
        (f"by {names}", rows[-1].made_at, f"{count} counted" if counted else "not used yet"),
        said,
        rows[-1].made_at,
        tuple(rows),
        rows[-1].digest,
        loud=bool(noes),
    )


def _pin(view: View, pin: Pin) -> Step:
    until = store_search.until(view, pin)
    how = "BREAK-GLASS in" if pin.override else "Back in" if pin.kind == "rollback" else "Pinned in"
    glass = ", past the gate by BREAK-GLASS" if pin.override else ""
    return Step(
        "pin",
        f"{how} {pin.tier}",
        (f"by {pin.actor}", pin.since, f"until {until}" if until else "serves now"),
        f"{pin.tier} served it from {pin.since} {f'until {until}' if until else 'until now'}{glass}; "
        f"{pin.actor} typed it{f': {pin.reason}' if pin.reason else ', without a reason'}",
        pin.since,
        (pin,),
        loud=pin.override is not None,
    )


def _end(view: View, version: Version) -> Iterator[Step]:
    withdrawal = view.withdrawal(version.digest)
    if withdrawal is not None:
        yield Step(
            "end",
            "Withdrawn",
            (f"by {withdrawal.actor}", withdrawal.since, withdrawal.reason),
            f"withdrawn by {withdrawal.actor}: {withdrawal.reason}",
            withdrawal.since,
            (withdrawal,),
            loud=True,
        )
    removed = store_pages.listing(view, "removals", Asked(1), where={"version": version.digest}).rows
    for row in removed:
        yield Step(
            "end",
            "Bytes removed here",
            (f"by {row.actor}", row.since, f"{row.bytes:,} bytes"),
            f"its {row.bytes:,} bytes were removed by {row.actor}: {row.reason}; the record stays",
            row.since,
            (row,),
        )
