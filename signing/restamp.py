"""A fresh timestamp for a bundle that was packed before: a few hundred bytes that can go on paper.

Apart from `ceremony.py` because nothing is published here: the station says anew that what it once signed is still
good. It says so of the very snapshot that the bundle carries, so it can make nothing else of the bundle; and only
while every other signature in it holds and the keys behind them are still the ones that count. At the site the
timestamp stands in for the bundle's own and passes every rule of `trust.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from securesystemslib.signer import Signer
from tuf.api.metadata import DelegatedRole, Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from signing.issue import DEFAULTS, after, signed_bytes
from signing.memory import Held
from signing.refusals import RestampRefused
from signing.repository import TIMESTAMP_FILE, TrustState
from signing.roots import CATALOG, PEOPLE_PATH, open_metadata, site_role
from signing.upstream import UPSTREAM
from signing.vouching import vouching
from signing.walk import Place

USUAL = DEFAULTS.timestamp
LEAST = timedelta(hours=1)  # what a timestamp has to be good for to be worth carrying


@dataclass(frozen=True)
class Restamped:
    """A fresh timestamp, and the origin's state that knows that its number is used up."""

    timestamp: bytes
    version: int
    expires: datetime  # UTC
    state: TrustState  # to save before the timestamp leaves the house


@dataclass(frozen=True)
class Carried:
    """The metadata that a bundle carries, as far as a restamp looks at it."""

    folder: Path
    site: str
    root: bytes  # the newest that it brings
    timestamp: Timestamp
    targets: Targets
    holds_until: Mapping[
        str, datetime
    ]  # role to the time when its signature here runs out, UTC; not timestamp


def read_carried(folder: Path, site: str) -> Carried:
    """Return the metadata of the bundle in `folder`, as the origin kept it; signatures are checked by `restamp`.

    Raises:
        TrustFileMissing, MetadataTampered: what was kept is not whole.
    """
    place = Place(folder)
    found = _documents(place, CATALOG, site_role(site))
    stamp, targets = found.pop("timestamp"), found["targets"]
    assert isinstance(stamp, Timestamp)
    assert isinstance(targets, Targets)
    ends = {role: document.expires for role, document in found.items()}
    if (folder / UPSTREAM).is_dir():  # a relay cannot speak for the origin behind it
        behind = Place(folder, UPSTREAM)
        ends |= {behind.called(role): one.expires for role, one in _documents(behind, CATALOG).items()}
    return Carried(folder, site, _newest_root(place), stamp, targets, MappingProxyType(ends))


def _documents(place: Place, *delegated: str) -> dict[str, Root | Timestamp | Snapshot | Targets]:
    """Return the newest root, timestamp, snapshot, targets, and those of the delegated roles that have signed."""
    name = place.path(TIMESTAMP_FILE)
    stamp = open_metadata(Timestamp, place.read(TIMESTAMP_FILE, "timestamp"), name=name).signed
    file = f"{stamp.snapshot_meta.version}.snapshot.json"
    snapshot = open_metadata(Snapshot, place.read(file, "snapshot"), name=place.path(file)).signed
    root = open_metadata(Root, _newest_root(place), name=place.path("root")).signed
    found: dict[str, Root | Timestamp | Snapshot | Targets] = {
        "root": root,
        "timestamp": stamp,
        "snapshot": snapshot,
    }
    for role in ("targets", *delegated):
        if (meta := snapshot.meta.get(f"{role}.json")) is not None:
            file = f"{meta.version}.{role}.json"
            found[role] = open_metadata(Targets, place.read(file, "targets"), name=place.path(file)).signed
    return found


def _newest_root(place: Place) -> bytes:
    numbers = [int(path.name.split(".")[0]) for path in (place.folder / place.name).glob("*.root.json")]
    return place.read(f"{max(numbers, default=1)}.root.json", "root")


def restamp(
    state: TrustState,
    bundle: Carried,
    export_path: str,
    station: Sequence[Signer],
    *,
    now: datetime,
    days: int | None,
) -> Restamped:
    """Return a fresh timestamp for the snapshot of a bundle that this origin packed.

    Args:
        state: what the origin has signed up to now.
        export_path: of the bundle's export document.
        station: the keys that sign as `timestamp`.
        days: how long it has to hold; None: as long as it can, 90 days at most.

    Raises:
        RestampRefused: keys or people were changed since, or the bundle cannot hold that long.
        BundleUntrusted: what was kept of the bundle does not pass the walk of a site.
    """
    _demand_same_keys(state, bundle)
    expires = _expiry(bundle, now, days)
    number = state.opened("timestamp").signed.version + 1
    data = _stamp(state, bundle.timestamp.snapshot_meta, number, expires, station)
    _demand_believed(bundle, data, export_path, when=expires - timedelta(seconds=1))
    newest = open_metadata(Timestamp, state.metadata["timestamp"], name=TIMESTAMP_FILE).signed.snapshot_meta
    above = data  # no number is given out twice: the next bundle's timestamp stands above the one on paper
    if newest != bundle.timestamp.snapshot_meta:
        above = _stamp(state, newest, number + 1, after(now, USUAL), station)
    left = TrustState(state.roots, MappingProxyType({**state.metadata, "timestamp": above}))
    return Restamped(data, number, expires, left)


def _expiry(bundle: Carried, now: datetime, days: int | None) -> datetime:
    role, until = min(bundle.holds_until.items(), key=lambda item: item[1])
    if until - now < LEAST:
        raise RestampRefused(f"the bundle cannot be revived: its {role} holds until {until:%Y-%m-%d} only")
    wanted = after(now, USUAL if days is None else timedelta(days=days))
    if days is not None and wanted > until:
        raise RestampRefused(
            f"{days} days are too many: its {role} holds until {until:%Y-%m-%d %H:%M} UTC, so say "
            f"--days {(until - now).days}, or leave it out"
        )
    return min(wanted, until).replace(microsecond=0)


def _demand_same_keys(state: TrustState, bundle: Carried) -> None:
    """A site that is asleep would go on believing keys and people that do not count any more."""
    if bundle.root != state.roots[-1]:
        raise RestampRefused("a new root was signed since this bundle was packed")
    before, now = bundle.targets, state.targets
    for role in (CATALOG, site_role(bundle.site)):
        if _who(before, role) != _who(now, role):
            raise RestampRefused(f"the keys of {role} were changed since this bundle was packed")
    if _people(before) != _people(now):
        raise RestampRefused("the list of people was changed since this bundle was packed")


def _who(targets: Targets, role: str) -> tuple[list[str], int] | None:
    roles: Mapping[str, DelegatedRole] = (targets.delegations.roles or {}) if targets.delegations else {}
    return (sorted(roles[role].keyids), roles[role].threshold) if role in roles else None


def _people(targets: Targets) -> TargetFile | None:
    return targets.targets.get(PEOPLE_PATH)


def _stamp(
    state: TrustState, snapshot: MetaFile, number: int, expires: datetime, station: Sequence[Signer]
) -> bytes:
    stamp = Timestamp(number, expires=expires, snapshot_meta=snapshot)
    return signed_bytes(Metadata(stamp), "timestamp", [state.root], station)


def _demand_believed(bundle: Carried, timestamp: bytes, export_path: str, *, when: datetime) -> None:
    """Walk the bundle as a site would that knows its newest root only, at the last moment that is promised."""
    place = Place(bundle.folder, timestamp=timestamp)
    with vouching(place, bundle.folder, Held(bundle.root), when) as voucher:
        voucher.walk.target(export_path, site_role(bundle.site))
