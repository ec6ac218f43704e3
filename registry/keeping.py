"""Which versions' bytes have to stay: a rule on what is recorded. Facts in, plan out; nothing is removed here.

A version's bytes stay as long as anybody may still need them: a tier that serves it or could go back to it, a
promotion that is still to come, a bundle on its way, a delta that will build on it. What stays, stays with all its
blobs, whoever else names them. Records never go: only bytes do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from registry.errors import RegistryRefusal


class BytesRemoved(RegistryRefusal):
    """A version's record is held and its bytes are not: somebody had them removed to free space."""

    exit_code: ClassVar[int] = 46
    next_step: ClassVar[str] = (
        "Bring the bytes back as they came: import the bundle again that brought it, or repeat `tidegate models "
        "fetch` or `tidegate models add`; `tidegate models show` says which it was."
    )

    def __init__(self, ref: str, *, since: str, by: str, reason: str) -> None:
        super().__init__(f"the bytes of {ref} were removed here by {by} on {since}: {reason}")
        self.ref, self.since, self.by, self.reason = ref, since, by, reason


@dataclass(frozen=True)
class Stored:
    """A recorded version and those of its files' blobs that the store has now."""

    digest: str
    model: str
    ordinal: int
    blobs: Mapping[str, int]  # SHA-256 to bytes; of its files, not of the small records about them
    gone: bool = False  # its bytes were removed, and at least one of its blobs is not there

    @property
    def ref(self) -> str:
        """Its name for people."""
        return f"{self.model}@{self.ordinal}"


@dataclass(frozen=True)
class Line:
    """One line of a tier's history of one model."""

    tier: str
    model: str
    version: str  # digest
    ordinal: int


@dataclass(frozen=True)
class Transfer:
    """A bundle that has not wholly arrived, or of which nobody knows whether it has."""

    why: str  # in words
    versions: frozenset[str]  # digests
    blobs: frozenset[str]  # all that it needs, those of the versions among them or not


@dataclass(frozen=True)
class Facts:
    """What the rule looks at."""

    versions: Sequence[Stored]
    history: Sequence[Line] = ()  # every pin of every tier, oldest first
    withdrawn: Mapping[str, str] = field(default_factory=dict)  # digest to reason
    transfers: Sequence[Transfer] = ()
    acknowledged: Mapping[str, frozenset[str]] = field(
        default_factory=dict
    )  # site to blobs that it has proved


@dataclass(frozen=True)
class Kept:
    """A version whose bytes stay, and everybody who needs them."""

    version: Stored
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Removable:
    """A version whose bytes nobody needs. `blobs` go with it: none is named by a version that stays or went before."""

    version: Stored
    reason: str
    blobs: Mapping[str, int]  # SHA-256 to bytes

    @property
    def bytes(self) -> int:
        """Bytes that go."""
        return sum(self.blobs.values())


@dataclass(frozen=True)
class Plan:
    """Every version with bytes here is in one of the two lists; `leftovers` are blobs of versions removed before."""

    kept: tuple[Kept, ...]
    removable: tuple[Removable, ...]
    leftovers: Mapping[str, int]


def keep(facts: Facts) -> Plan:
    """Say which bytes stay and why, and which may go and why. By model and number."""
    needs = _Needs(facts)
    versions = sorted(
        (version for version in facts.versions if version.blobs),
        key=lambda version: (version.model, version.ordinal),
    )
    reasons = {version.digest: needs.of(version) for version in versions}
    needed = {blob for version in versions if reasons[version.digest] for blob in version.blobs}
    needed.update(blob for transfer in facts.transfers for blob in transfer.blobs)
    kept: list[Kept] = []
    removable: list[Removable] = []
    leftovers: dict[str, int] = {}
    taken: set[str] = set()  # blobs that go with an earlier one
    for version in versions:
        free = {blob: size for blob, size in version.blobs.items() if blob not in needed}
        if reasons[version.digest]:
            if not version.gone:
                kept.append(Kept(version, reasons[version.digest]))
        elif version.gone:
            leftovers |= free
        elif not free:
            kept.append(Kept(version, ("shares all its files with what stays",)))
        else:
            own = {blob: size for blob, size in free.items() if blob not in taken}
            taken |= own.keys()
            removable.append(Removable(version, needs.against(version), own))
    return Plan(tuple(kept), tuple(removable), {b: size for b, size in leftovers.items() if b not in taken})


class _Needs:
    """Who needs a version; worked out once for all of them."""

    def __init__(self, facts: Facts) -> None:
        self._withdrawn = facts.withdrawn
        self._transfers = facts.transfers
        self._now = {(line.tier, line.model): line for line in facts.history}  # the last one stands
        self._before: dict[str, dict[str, None]] = {}
        for line in facts.history:
            self._before.setdefault(line.version, {})[line.tier] = None
        self._bases = _bases(facts)

    def of(self, version: Stored) -> tuple[str, ...]:
        """Every reason why the version's bytes stay; none when they may go."""
        digest = version.digest
        served = [line.tier for line in self._now.values() if line.version == digest]
        found = [f"served by {', '.join(sorted(served))}"] if served else []
        if digest not in self._withdrawn:
            back = sorted(set(self._before.get(digest, ())) - set(served))
            found += [f"{', '.join(back)} could go back to it"] if back else []
            found += self._candidate(version) if not served and not back else []
        found += [transfer.why for transfer in self._transfers if digest in transfer.versions]
        return (*found, *self._bases.get(digest, ()))

    def _candidate(self, version: Stored) -> list[str]:
        lines = [line for line in self._now.values() if line.model == version.model]
        if not lines:
            return ["may still be promoted: no tier serves the model"]
        behind = sorted(line.tier for line in lines if line.ordinal < version.ordinal)
        return [f"may still be promoted: newer than what {', '.join(behind)} serves"] if behind else []

    def against(self, version: Stored) -> str:
        """Why the bytes of a version that nobody needs may go."""
        if version.digest in self._withdrawn:
            return f"withdrawn: {self._withdrawn[version.digest]}"
        newer = sorted(line.tier for line in self._now.values() if line.model == version.model)
        return f"superseded: never served, and older than what {', '.join(newer)} serves"


def _bases(facts: Facts) -> dict[str, tuple[str, ...]]:
    """What the next deltas build on: of each model the newest version that a site has proved to hold."""
    found: dict[str, tuple[str, ...]] = {}
    for site, proved in sorted(facts.acknowledged.items()):
        newest: dict[str, Stored] = {}
        for version in sorted(facts.versions, key=lambda version: version.ordinal):
            whole = bool(version.blobs) and not version.gone
            if whole and version.blobs.keys() <= proved and version.digest not in facts.withdrawn:
                newest[version.model] = version
        for version in newest.values():
            why = f"the next delta for {site} builds on it"
            found[version.digest] = (*found.get(version.digest, ()), why)
    return found
