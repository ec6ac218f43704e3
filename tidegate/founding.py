"""Makes a home: folders, keys, database, first policies, and at an origin the trust it publishes.

The settings file comes last: a home that was interrupted half-way is not a home, and `tidegate init` says so.
"""

import itertools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import Key, Signer

from registry import home as homes
from registry import policy, store_schema
from registry.audit import EventKind
from registry.entities import TierPolicy
from registry.errors import StoreUnusable
from registry.home import Home
from registry.store import Store
from signing import ceremony, keys
from signing.draft_making import owned
from signing.durable import write_durably
from signing.profiles import Profile
from signing.refusals import TooFewSigners
from signing.repository import TrustRepository
from signing.roots import CATALOG, site_role
from signing.times import rfc3339
from tidegate.keyring import head_signer, trust_signers

_OFFICES = ("root", "targets", CATALOG)
SITE_OFFICE = "site"  # the export and the releasing officer: one office for all sites


def found(
    path: Path,
    *,
    name: str,
    roles: tuple[str, ...],
    profile: str,
    database: str | None,
    passphrase: Callable[[str], bytes],
    actor: str,
    now: datetime,
    officers_elsewhere: bool = False,
) -> Home:
    """Make a home and return it.

    Args:
        passphrase: asked once per officer's key, at an origin only.
        officers_elsewhere: make no officers' keys; the trust comes from a ceremony (`signing.drafts`).

    Raises:
        HomeUnusable: there is something at `path` already.
        StoreUnusable: the database does not answer, or holds a home already.
        NameUnusable: as named.

    Whatever is raised, nothing of the home is left behind.
    """
    if database is not None:
        _demand_empty(database)
    there = path.exists()
    home = homes.make(path, name=name, roles=roles, profile=profile, database=database)
    try:
        keys.create_key(home.station_key, passphrase=None)
        if home.is_origin:
            station = station_keys(home, Profile(profile))
            if not officers_elsewhere:
                _found_trust(home, Profile(profile), station, passphrase=passphrase, now=now)
        _found_database(home, actor=actor, now=now)
        homes.write_settings(home)
    except BaseException:
        _remove(path, keep=there)
        raise
    return home


def _demand_empty(database: str) -> None:
    """Two homes in one database would write into each other's log."""
    store = Store(database, sign_head=_signs_nothing)
    try:
        if store_schema.shape(store) is not None:
            where = store.engine.url.render_as_string(hide_password=True)
            raise StoreUnusable(where, "holds a home already; every home needs an empty database of its own")
    finally:
        store.close()


def _signs_nothing(_size: int, _root: bytes) -> str:
    raise AssertionError("nothing is recorded while looking")


def _remove(path: Path, *, keep: bool) -> None:
    """Take a half-made home away: it was empty before, and no command would read it."""
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    if not keep:
        path.rmdir()


def _found_database(home: Home, *, actor: str, now: datetime) -> None:
    store = Store(home.database, sign_head=head_signer(home))
    try:
        store_schema.upgrade(store)
        with store.change(actor=actor, now=now) as change:
            note = {"roles": list(home.roles), "profile": home.profile}
            change.record(EventKind.HOME_MADE, home.name, note=note)
            for tier in policy.DEFAULTS if home.is_site else ():
                row = tier_row(tier, position=1, actor=actor, now=now)
                change.record(EventKind.TIER_SET, tier.tier, row)
    finally:
        store.close()


def tier_row(tier: policy.Policy, *, position: int, actor: str, now: datetime) -> TierPolicy:
    """Return the row that sets a tier's policy."""
    return TierPolicy(
        tier=tier.tier,
        position=position,
        rank=tier.rank,
        body=policy.encode(tier).decode(),
        since=rfc3339(now),
        actor=actor,
    )


@dataclass(frozen=True)
class OfficerKey:
    """One key of one officer of an origin whose officers' keys lie in the home."""

    file: Path
    algorithm: str
    person: str | None  # nobody is told apart in the solo profile

    def owned(self, key: Key) -> Key:
        """Return the public half with its person on it."""
        return key if self.person is None else owned(key, self.person)


def officer_keys(home: Home, office: str) -> list[OfficerKey]:
    """Where the keys of an office are: one file for everything in the solo profile, else those of each person."""
    profile = Profile(home.profile)
    if profile is Profile.SOLO:
        return [OfficerKey(home.keys / "officer.pem", profile.algorithms[0], None)]
    people = profile.quorum(_role(office)).of // len(profile.algorithms)
    found = []
    for person in (f"{office}-{number}" for number in range(1, people + 1)):
        for algorithm in profile.algorithms:
            kind = "" if algorithm == profile.algorithms[0] else f"-{algorithm}"
            found.append(OfficerKey(home.keys / f"officer-{person}{kind}.pem", algorithm, person))
    return found


def station_keys(home: Home, profile: Profile, *, replacing: bool = False) -> list[Key]:
    """Return the public keys with which the station signs snapshot and timestamp; those that are missing are made.

    Args:
        replacing: make new ones under the next free number, whatever is there. Those count once a root names them.
    """
    found = []
    for algorithm in profile.algorithms:
        file = _station_file(home, algorithm, replacing=replacing)
        if not file.exists():
            keys.create_key(file, passphrase=None, algorithm=algorithm)
        found.append(keys.load_signer(f"file:{file}", passphrase=_no_passphrase).public_key)
    return found


def _station_file(home: Home, algorithm: str, *, replacing: bool) -> Path:
    if algorithm == "ed25519" and not replacing:
        return home.station_key
    numbers = itertools.count(2) if replacing else iter(("",))
    names = (home.keys / f"station-{algorithm}{f'-{n}' if n else ''}.pem" for n in numbers)
    return next(name for name in names if not replacing or not name.exists())


def _no_passphrase(uri: str) -> bytes:
    raise AssertionError(f"{uri}: the station's keys are not sealed")


def public_half(file: Path) -> Path:
    """Where the public half of a key file is, for those who do not hold the key."""
    return file.with_suffix(".pub.json")


def _found_trust(
    home: Home, profile: Profile, station: list[Key], *, passphrase: Callable[[str], bytes], now: datetime
) -> None:
    made: dict[str, list[Key]] = {"snapshot": station, "timestamp": station}
    opened: dict[Path, Signer] = {}
    for office in (*_OFFICES, SITE_OFFICE):
        made[office] = []
        for officer in officer_keys(home, office):
            if officer.file not in opened:
                opened[officer.file] = _make_officer_key(officer, passphrase)
            made[office].append(officer.owned(opened[officer.file].public_key))
    del made[SITE_OFFICE]  # no site yet: `add_site` delegates to these keys
    state = ceremony.establish(profile, made, [*trust_signers(home), *opened.values()], now=now)
    TrustRepository(home.trust).save(state)


def _role(office: str) -> str:
    return site_role("any") if office == SITE_OFFICE else office


def _make_officer_key(officer: OfficerKey, passphrase: Callable[[str], bytes]) -> Signer:
    """Make one person's sealed key and open it."""
    secret = passphrase(officer.file.name)
    info = keys.create_key(officer.file, passphrase=secret, algorithm=officer.algorithm)
    write_durably(public_half(officer.file), info.public_json)
    return keys.load_signer(info.uri, passphrase=lambda _uri: secret)


def add_site(home: Home, site: str, *, signers: Sequence[Signer], now: datetime) -> None:
    """Let the site office's keys sign what is shipped to `site`, and publish that.

    Args:
        signers: the officers in the room; they hold the targets role.

    Raises:
        SiteNameRefused, TooFewSigners, BadRoot: see `signing.ceremony.add_site`.
        KeyMissing: the public half of a site office's key is not in the home.
        TooFewSigners: none of them is: this origin's officers are elsewhere, and add a site in a ceremony.
    """
    repository = TrustRepository(home.trust)
    if site in repository.load().sites:
        return  # published before the process died: only the record is missing
    officers = officer_keys(home, SITE_OFFICE)
    if not any(public_half(officer.file).exists() for officer in officers):
        raise TooFewSigners(site_role(site), have=0, need=len(officers))
    office = [officer.owned(_public_key(officer)) for officer in officers]
    everyone = [*trust_signers(home), *signers]
    repository.save(ceremony.add_site(repository.load(), site, office, everyone, now=now))


def _public_key(officer: OfficerKey) -> Key:
    file = public_half(officer.file)
    if not file.exists():
        raise keys.KeyMissing(str(file))
    return keys.public_key_from_json(file.read_bytes(), at=file.name)
