"""Looks a home over. Every check answers; none stops the others; nothing is changed."""

import importlib.metadata
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import timedelta

from registry.errors import RegistryRefusal, StoreUnusable
from registry.home import Home
from signing.errors import OperatorError
from signing.times import from_rfc3339, rfc3339
from tidegate.errors import HomeOlder
from tidegate.wiring import App

_OURS = ("signing", "registry", "pipelines", "tidegate")
_DATABASE_STEP = (
    "Check that the database is up and that its address in tidegate.toml is right; "
    "a lost or damaged one is restored from the backup."
)
_FILE_STEP = "Mend its permissions, or restore it from the backup."
_LITTLE_SPACE = 5 * 10**9  # bytes: less than a small model


@dataclass(frozen=True)
class Check:
    """One answer."""

    check: str
    ok: bool
    message: str
    next_step: str = ""


def examine(app: App, *, deep: bool) -> list[Check]:
    """Return every check's answer, in the order in which a person would mend them."""
    found: list[Check] = list(_names())
    try:
        home = app.home
    except RegistryRefusal as refusal:
        return [
            *found,
            Check(
                "home",
                ok=False,
                message=str(refusal),
                next_step="Name the right folder with --home, or make a home: `tidegate init`.",
            ),
        ]
    found.append(
        Check(
            "home", ok=True, message=f"{' and '.join(home.roles)} {home.name} in {home.path} ({home.profile})"
        )
    )
    found.extend(_keys(home))
    found.extend(_space(home))
    checks: list[tuple[str, Callable[[], Iterator[Check]]]] = [
        ("database", lambda: _database(app)),
        ("clock", lambda: _clock(app)),
        ("trust", lambda: _trust(app)),
        ("other logs", lambda: _other_logs(app)),
        ("freshness", lambda: _freshness(app)),
        ("people", lambda: _people(app)),
        ("break-glass", lambda: _break_glass(app)),
        ("trust", lambda: _expiry(app)),  # so named where trust itself cannot be read
        ("blobs", lambda: _blobs(app, deep=deep)),
        ("quarantine", lambda: _quarantine(home)),
    ]
    for name, check in checks:
        try:
            found.extend(check())
        except StoreUnusable as refusal:
            found.append(Check("database", ok=False, message=str(refusal), next_step=_DATABASE_STEP))
            break  # the others would only wait for it again
        except HomeOlder as refusal:
            found.append(Check("database", ok=False, message=str(refusal), next_step=refusal.next_step))
            break
        except OperatorError as refusal:
            found.append(Check(name, ok=False, message=str(refusal), next_step=refusal.next_step))
        except OSError as exc:
            problem = f"{exc.filename or home.path}: {exc.strerror}"
            found.append(Check(name, ok=False, message=problem, next_step=_FILE_STEP))
    return found


def _names() -> Iterator[Check]:
    """Another distribution that ships a package of our name would silently replace our code."""
    owners = importlib.metadata.packages_distributions()
    for name in _OURS:
        others = set(owners.get(name, ())) - {"tidegate"}
        if others:
            yield Check(
                "packages",
                ok=False,
                message=f"{', '.join(sorted(others))} also installs a package called {name!r}",
                next_step="Install Tidegate in an environment of its own.",
            )
            return
    yield Check(
        "packages", ok=True, message="no other package in this environment replaces a part of Tidegate"
    )


def _keys(home: Home) -> Iterator[Check]:
    from tidegate.keyring import station_signer

    try:
        station_signer(home)
    except RegistryRefusal as refusal:
        yield Check(
            "station key",
            ok=False,
            message=str(refusal),
            next_step="Restore keys/station.pem from the backup; without it no change can be logged.",
        )
        return
    loose = [
        path.name
        for path in [home.keys, *home.keys.glob("*.pem"), *home.keys.glob("spoken*")]
        if stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    if loose:
        yield Check(
            "keys",
            ok=False,
            message=f"others on this machine can read {', '.join(loose)}",
            next_step=f"chmod -R go= {home.keys}",
        )
    else:
        yield Check("keys", ok=True, message="readable by their owner only")


def _space(home: Home) -> Iterator[Check]:
    free = shutil.disk_usage(home.path).free
    ok = free >= _LITTLE_SPACE
    yield Check(
        "space",
        ok=ok,
        message=f"{free / 10**9:.1f} GB free",
        next_step="Free some space before the next import; it says how much it needs.",
    )


def _database(app: App) -> Iterator[Check]:
    from tidegate.verifying import verify

    problems = verify(app.store, app.home)
    if problems:
        yield Check(
            "audit log",
            ok=False,
            message="; ".join(problems[:3]),
            next_step="Run `tidegate audit verify` and follow it.",
        )
    else:
        yield Check("audit log", ok=True, message="tree, signatures and tables agree")


def _other_logs(app: App) -> Iterator[Check]:
    """What other homes' logs were found to be when their media came."""
    from pipelines import witness

    with app.store.view() as view:
        states = witness.states(view)
    for newest, held in states:
        broken = newest.outcome in witness.BROKEN
        since = "" if held is None else f"; held to be true: its first {held.size} events ({held.since})"
        yield Check(
            "other logs",
            ok=not broken,
            message=f"{newest.log} is {newest.outcome} since {newest.since}{since}",
            next_step="Tell the security officers of both homes; then see `tidegate audit witnesses`.",
        )


def _clock(app: App) -> Iterator[Check]:
    with app.store.view() as view:
        newest = view.newest_moment()
    if newest is None:
        return
    floor = from_rfc3339(newest)
    ok = app.now >= floor - timedelta(minutes=5)
    yield Check(
        "clock",
        ok=ok,
        message=f"{rfc3339(app.now)}; newest moment seen {newest}",
        next_step="Set the clock right: it stands before a moment that this home has already recorded.",
    )


def _trust(app: App) -> Iterator[Check]:
    if app.home.is_site:
        with app.store.view() as view:
            enrolment = view.enrolment()
        if enrolment is None:
            yield Check(
                "trust",
                ok=app.home.is_origin,
                message="no root is enrolled: bundles cannot be imported yet",
                next_step="tidegate trust enrol ROOT.json --fingerprint … (compare it by telephone, two people)",
            )
        else:
            yield Check("trust", ok=True, message=f"enrolled with root {enrolment.fingerprint[:16]}…")
    if app.home.is_origin:
        from signing.repository import TrustRepository

        if not (app.home.trust / "1.root.json").exists():
            begin = "Hold the first ceremony: tidegate trust init FOLDER"
            yield Check("root", ok=False, message="nothing is published here yet", next_step=begin)
            return
        state = TrustRepository(app.home.trust).load()
        left = (state.root.expires - app.now).days
        yield Check(
            "root",
            ok=left > 180,
            message=f"root {state.root.version} is good for {left} more days",
            next_step="Hold the yearly ceremony: tidegate trust rotate FOLDER --renew root --renew targets",
        )
        for role in sorted(state.metadata.keys() & {"targets", "catalog"}):
            left = (state.opened(role).signed.expires - app.now).days
            yield Check(
                role,
                ok=left > 30,
                message=f"{role} is good for {left} more days",
                next_step=f"Hold the yearly ceremony: tidegate trust rotate FOLDER --renew {role}",
            )


def _freshness(app: App) -> Iterator[Check]:
    from pipelines.freshness import site_freshness

    if not app.home.is_site:
        return
    with app.store.view() as view:
        found = site_freshness(view, app.now)
    yield Check(
        "freshness",
        ok=not found.late,
        message=f"{found.state.value}: {found.text}",
        next_step="Ask the origin for the next bundle (an empty one will do). What serves goes on serving.",
    )


def _people(app: App) -> Iterator[Check]:
    from pipelines.decide import people_now
    from pipelines.people import passed_over

    with app.store.view() as view:
        found, acting = passed_over(app.work, view), people_now(app.work, view)
    yield Check(
        "people",
        ok=not found,
        message="; ".join(found) or f"{len(acting)} may sign, each by the word of those who had to give it",
        next_step="Ask who wrote it: `tidegate audit log` names the event. It gives nobody a right; `tidegate people list` shows who has one.",
    )


def _break_glass(app: App) -> Iterator[Check]:
    from tidegate.banner import break_glass_lines

    if not app.home.is_site:
        return
    _ = app.store
    found = break_glass_lines(app)
    yield Check(
        "break-glass",
        ok=not found,
        message="; ".join(found) or "nothing serves on one person's word that nobody has reviewed",
        next_step="Have another person review it: `tidegate approvals list` names it, `tidegate approvals review` signs.",
    )


def _expiry(app: App) -> Iterator[Check]:
    """What ends soon. Nothing stops serving because of it, so only what is over or urgent is a problem.

    An approval is made to end within days: `approvals list` has it, and no home is ill because of it.
    """
    from pipelines.questions.expiring import expiring

    with app.store.view() as view:
        found = expiring(app.work, view, days=180)
    near = [one for one in found if one.level in ("OVER", "URGENT") and one.kind != "approval"]
    for one in near:
        said = f"is over since {one.until}" if one.days < 0 else f"ends in {one.days} days, {one.until}"
        yield Check("expiry", ok=False, message=f"{one.what}: {said}", next_step=one.next_step)
    counts = [(days, sum(one.days < days for one in found)) for days in (30, 90, 180)]
    listed = ", ".join(f"{count} within {days}" for days, count in counts)
    if not near:
        message = f"what ends, in days: {listed} (`tidegate audit expiring`)"
        yield Check("expiry", ok=True, message=message)


def _blobs(app: App, *, deep: bool) -> Iterator[Check]:
    from pipelines.removed import removed
    from registry import manifests

    wanted: set[str] = set()
    with app.store.view() as view:
        serving = {pin.version for pin in view.pins()}
        away = removed(view, app.blobs).keys() - serving
        for version in view.versions():
            if version.digest in away:
                continue
            wanted |= {entry.sha256 for entry in manifests.decode(version.manifest.encode()).files}
    missing = sorted(name for name in wanted if not app.blobs.has(name))
    damaged: list[str] = []
    for name in sorted(wanted - set(missing)) if deep else ():
        try:
            app.blobs.verify(name)
        except RegistryRefusal:
            damaged.append(name)
    for what, names in (("missing", missing), ("damaged", damaged)):
        if names:
            shown = ", ".join(name[:12] for name in names[:5])
            yield Check(
                "blobs",
                ok=False,
                message=f"{len(names)} {what}: {shown}",
                next_step="Import the bundle that brought them again; then look at the disk's health.",
            )
    if not missing and not damaged:
        yield Check(
            "blobs",
            ok=True,
            message=f"all {len(wanted)} there"
            + (" and what their names say" if deep else "")
            + (f"; the bytes of {_count(away)} removed to free space" if away else ""),
        )


def _count(versions: Collection[str]) -> str:
    return "1 version were" if len(versions) == 1 else f"{len(versions)} versions were"


def _quarantine(home: Home) -> Iterator[Check]:
    waiting = sorted(path.name for path in home.quarantine.iterdir())
    message = "empty"
    if waiting:
        names = ", ".join(name[:24] for name in waiting)
        message = f"{len(waiting)} unfinished ({names}); the same `tidegate bundles import` finishes it"
    yield Check("quarantine", ok=True, message=message)
