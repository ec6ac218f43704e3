"""Everything that is held, scanned again by today's rules: what a change of the rules means for a whole home.

Only versions whose newest scan has an older rule set are read, so that a run which was stopped goes on where it was
and a second run does nothing. What serves goes on serving: a new blocker closes the gate for the next promotion and
is shown here, for a person to decide.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipelines.intake.record import read_scan_report, rescan
from pipelines.removed import whole
from pipelines.scan import RULESET, Finding, ScanResult
from pipelines.workplace import Workplace
from registry.entities import Version
from registry.names import Ref
from registry.views import View


@dataclass(frozen=True)
class Rescanned:
    """One version: what it was by the old rules and is by the new. `before` is None when it was never scanned here."""

    version: Version
    before: ScanResult | None
    after: ScanResult
    outcome: str
    served_in: tuple[str, ...]  # tiers

    @property
    def new(self) -> tuple[Finding, ...]:
        """Findings that the earlier scan did not have, but for mere notes."""
        known = {_key(finding) for finding in self.before.findings} if self.before else set()
        return tuple(f for f in self.after.findings if f.severity != "note" and _key(f) not in known)

    @property
    def gone(self) -> tuple[Finding, ...]:
        """Findings that the new scan has no more."""
        left = {_key(finding) for finding in self.after.findings}
        earlier = self.before.findings if self.before else ()
        return tuple(f for f in earlier if f.severity != "note" and _key(f) not in left)


@dataclass(frozen=True)
class Outlook:
    """What there is to do: versions with an older scan, those that are up to date, those without bytes here."""

    due: tuple[Version, ...]
    current: int
    without_bytes: tuple[Version, ...]

    @property
    def size(self) -> int:
        """Bytes of all versions that are due."""
        return sum(version.size for version in self.due)


def outlook(work: Workplace) -> Outlook:
    """Return which versions a rescan would read."""
    due, without, current = [], [], 0
    with work.store.view() as view:
        for version in view.versions():
            if (before := _newest(view, version)) is not None and before.ruleset == RULESET:
                current += 1
            elif whole(version, work.blobs):
                due.append(version)
            else:
                without.append(version)
    return Outlook(tuple(due), current, tuple(without))


def rescan_all(
    work: Workplace, due: Sequence[Version], *, progress: Callable[[int], object] = lambda _: None
) -> list[Rescanned]:
    """Scan each of these versions and keep what was found, one transaction each; `progress` gets bytes done.

    Raises:
        HomeBusy: space is being freed. What was scanned until then is kept.
    """
    done = []
    for version in due:
        done.append(rescan_version(work, version))
        progress(version.size)
    return done


def rescan_version(work: Workplace, version: Version) -> Rescanned:
    """Scan one version by today's rules and keep what was found. Raises `BytesRemoved`, `HomeBusy`."""
    with work.store.view() as view:
        before = _newest(view, version)
        served = tuple(sorted(pin.tier for pin in view.pins() if pin.version == version.digest))
    report, after = rescan(work, Ref.parse(f"{version.model}@{version.ordinal}"))
    return Rescanned(version, before, after, report.outcome, served)


def _newest(view: View, version: Version) -> ScanResult | None:
    reports = view.reports(version.digest, "scan")
    return read_scan_report(reports[-1]) if reports else None


def _key(finding: Finding) -> tuple[str, str, str, str]:
    """A finding by what it is about; a message may be worded anew."""
    return finding.rule, finding.path, finding.at, finding.severity
