"""Killed, full, failing or done twice at once: what changes trust, people and witnesses happens whole or not at all.

The stories are a ceremony that is published, people who are put in force, a version promoted by breaking the glass, a
bundle revived and imported, and logs that are cosigned. What can happen at a call that changes a file stands in
`tests.faults`; every second line of the product that makes such a call meets one of the faults, every commit all of them,
and `TIDEGATE_EXHAUSTIVE=1` tries every fault at every call. Afterwards the log agrees with the tables, the trust
can be read, and the same command again ends where an undisturbed one does.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from pipelines import people
from pipelines.break_glass import promote_by_break_glass, request_break_glass
from pipelines.people import Wanted, change_person, propose, set_person
from pipelines.restamp import restamp_bundle
from pipelines.trust_changes import held_at, people_to_sign, put_in_force
from pipelines.workplace import Workplace
from registry import decisions
from registry.home import Home
from registry.people import KIND as PEOPLE
from signing import draft_making, drafts
from signing.drafts import Draft, PartialSignature
from signing.errors import OperatorError
from signing.profiles import Profile
from signing.repository import TrustRepository
from signing.roots import PEOPLE_PATH
from signing.sshsig import public_key_line, sign
from tests.faults import KILLED, endured, faults_of
from tests.pipelines import stewards
from tests.pipelines.compact_world import quick_folder
from tests.pipelines.gap import World, make_world, model_files, state_of
from tests.pipelines.stewards import KEYS, ONE, Stewards
from tidegate import founding, verifying

pytestmark = pytest.mark.slow
EXHAUSTIVE = bool(os.environ.get("TIDEGATE_EXHAUSTIVE"))
LATER = timedelta(hours=1)
ROLES = ("root", "targets", "catalog")


@dataclass
class Story:
    """A command, where it begins, and what has to be true after it, whatever happened on the way."""

    start: World
    run: Callable[[World], object]
    ended: Callable[[World], object]
    turn: int = 0  # with which fault to begin
    step: int = 2  # of so many lines that change a file, one is tried

    def points(self, room: Path) -> Iterator[tuple[str, int]]:
        """Which fault at which call."""
        recorded = self.start.copied(room / "recorded")
        done = endured(lambda: self.run(recorded), room / "layer")
        assert 0 == done.code, done.said
        seen: dict[str, int] = {}
        for at, step in enumerate(done.steps, start=1):
            faults = faults_of(step)
            if EXHAUSTIVE or (step not in seen and step.startswith("commit")):
                yield from ((fault, at) for fault in faults)
            elif step not in seen and len(seen) % self.step == self.turn % self.step:
                yield faults[(self.turn + len(seen) // self.step) % len(faults)], at
            seen.setdefault(step, at)


def demand_sound(world: World) -> None:
    """The log agrees with the tables and with itself at either home; what the origin publishes can be read."""
    for home in (world.origin, world.site):
        with world.at(home) as work:
            assert [] == verifying.verify(work.store, home)
    held_at(TrustRepository(world.origin.trust))


def endure(story: Story) -> None:
    """Every chosen fault, then the same command again."""
    with quick_folder() as room, pytest.MonkeyPatch.context() as patched:
        (room / "tmp").mkdir()
        patched.setattr(tempfile, "tempdir", str(room / "tmp"))  # who is killed leaves something there
        undisturbed = story.start.copied(room / "undisturbed")
        story.run(undisturbed)
        wanted = story.ended(undisturbed)
        points = list(story.points(room))
        assert points
        for fault, at in points:
            tried = story.start.copied(room / "tried")
            ending = endured(lambda: story.run(tried), room / "layer", fault=fault, at=at)  # noqa: B023 - runs here
            happened = f"{fault} at call {at}: {ending.said} {ending.steps[at - 1 : at]}"
            assert ending.code in ((-9,) if fault in KILLED else (0, 3)), happened
            demand_sound(tried)
            with suppress(OperatorError):  # it may have been done already, and that can be said
                story.run(tried)
            demand_sound(tried)
            assert wanted == story.ended(tried), happened
            shutil.rmtree(tried.base)


def twice_at_once(story: Story) -> None:
    """Two processes begin together: at least one does it, the other does nothing, and neither has a bug to show."""
    with quick_folder() as room:
        undisturbed = story.start.copied(room / "undisturbed")
        story.run(undisturbed)
        tried = story.start.copied(room / "tried")
        reading, writing = os.pipe()
        children = [_waiting(story, tried, reading, writing) for _ in range(2)]
        os.close(reading)
        os.close(writing)  # nobody holds it any more: both go
        codes = sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
        assert codes in ([0, 0], [0, 3])
        demand_sound(tried)
        assert story.ended(undisturbed) == story.ended(tried)


def _waiting(story: Story, world: World, reading: int, writing: int) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(writing)
            os.read(reading, 1)
            story.run(world)
            code = 0
        except OperatorError:
            code = 3
        finally:
            os._exit(code)
    return child


# -- the stories -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ceremony:
    """A draft that enough people signed."""

    draft: Draft
    signatures: list[PartialSignature]


@pytest.fixture(scope="module")
def gap() -> Iterator[World]:
    with quick_folder() as base:
        world = make_world(base / "world")
        world.add("acme/tiny", model_files(size=400))
        with world.at(world.origin) as work:
            set_person(work, Wanted("olga", public_key_line(KEYS["alice"]), ("steward",)))
        yield world


@pytest.fixture(scope="module")
def clinic(gap: World) -> World:
    """The same origin, and at the other end a home of officers with three stewards."""
    home = stewards.found(gap.base / "clinic")
    return replace(gap, site=home, now=stewards.NOON + LATER)


def signed(gap: World, draft: Draft) -> Ceremony:
    return Ceremony(draft, [one for key in gap.officer for one in drafts.sign(draft, key, now=gap.now)])


def kinds(gap: World, home: Home) -> list[str]:
    with gap.at(home) as work, work.store.view() as view:
        return [str(entry.kind) for entry in view.events()]


def trust_of(gap: World) -> object:
    """Which editions are in force, and what the log says of how they came there."""
    state = TrustRepository(gap.origin.trust).load()
    editions = {role: state.opened(role).signed.version for role in state.metadata}
    with gap.at(gap.origin) as work, work.store.view() as view:
        lists = [row.digest for row in view.documents(PEOPLE)]
    place = gap.origin.trust / PEOPLE_PATH
    return len(state.roots), editions, place.exists(), lists, kinds(gap, gap.origin)


def publishing(gap: World, ceremony: Ceremony) -> Story:
    def publish(world: World) -> None:
        with world.at(world.origin) as work:
            put_in_force(work, ceremony.draft, ceremony.signatures)

    return Story(gap, publish, trust_of)


@pytest.fixture(scope="module")
def first_ceremony(gap: World) -> Story:
    """The first root of an origin whose officers are elsewhere."""
    place = gap.base / "founded" / "origin"
    place.parent.mkdir()
    home = founding.found(
        place, name="quay", roles=("origin",), profile="officers", database=None, passphrase=lambda _key: b"",
        actor="root", now=gap.now, officers_elsewhere=True,
    )  # fmt: skip
    start = replace(gap, base=place.parent, origin=home)
    draft = draft_making.begin(
        Profile.OFFICERS, home.name, founding.station_keys(home, Profile.OFFICERS), now=start.now
    )
    keys = [
        (role, name, CryptoSigner.generate_ed25519()) for role in ROLES for name in ("alice", "bob", "carla")
    ]
    for role, name, key in keys:
        draft = draft_making.with_key(draft, role, name, key.public_key)
    signatures = [
        one for role, _, key in keys if role != "catalog" for one in drafts.sign(draft, key, now=start.now)
    ]
    return replace(publishing(start, Ceremony(draft, signatures)), turn=1)


@pytest.fixture(scope="module")
def renewal(gap: World) -> Story:
    """The yearly signature of root and targets."""
    state = TrustRepository(gap.origin.trust).load()
    draft = draft_making.changing(state, gap.origin.name, now=gap.now, renew=("root", "targets"))
    return publishing(gap, signed(gap, draft))


@pytest.fixture(scope="module")
def list_of_people(gap: World) -> Story:
    """The list of people, signed by the targets role."""
    state = TrustRepository(gap.origin.trust).load()
    with gap.at(gap.origin) as work:
        payloads = {PEOPLE_PATH: people_to_sign(work)}
    draft = draft_making.publishing(state, payloads, gap.origin.name, now=gap.now)
    return replace(publishing(gap, signed(gap, draft)), turn=2, step=3)


@pytest.fixture(scope="module")
def joiner(clinic: World) -> Story:
    """Alice has signed for a new steward; now bob does, and the steward is in force."""
    wanted = Wanted("mallory", public_key_line(KEYS["mallory"]), ("steward",))

    def hand_in(work: Workplace, name: str, message: bytes) -> None:
        signature = sign(message, namespace=decisions.NAMESPACE, private_key=KEYS[name])
        change_person(work, name, payload=message, signature=signature)

    start = clinic.copied(clinic.base / "joining")
    with start.at(start.site) as work:
        hand_in(work, "alice", propose(work, wanted, "alice", reason="as agreed"))
        message = propose(work, wanted, "bob", reason="as agreed")

    def second(world: World) -> None:
        with world.at(world.site) as work:
            hand_in(work, "bob", message)

    def ended(world: World) -> object:
        with world.at(world.site) as work, work.store.view() as view:
            return people.pending(work, view), state_of(world.site), kinds(world, world.site)

    return Story(start, second, ended, turn=1)


@pytest.fixture(scope="module")
def broken_glass(clinic: World) -> Story:
    start = clinic.copied(clinic.base / "breaking")
    with start.at(start.site) as work:
        _, message = request_break_glass(work, ONE, "org", "bob", reason="outage 4711")
    signature = sign(message, namespace=decisions.NAMESPACE, private_key=KEYS["bob"])

    def promote(world: World) -> None:
        with world.at(world.site) as work:
            promote_by_break_glass(work, ONE, "org", "bob", payload=message, signature=signature)

    def ended(world: World) -> object:
        with world.at(world.site) as work:
            return Stewards(work).serves(), state_of(world.site), kinds(world, world.site)

    return Story(start, promote, ended, turn=3)


@pytest.fixture(scope="module")
def stale(gap: World) -> tuple[World, Path, str]:
    """A bundle that lay on a shelf until its timestamp ran out."""
    start = gap.copied(gap.base / "shelf")
    medium = start.ship("acme/tiny")
    bundle = start.shipped[-1].bundle
    start.now += timedelta(days=100)
    return start, medium, bundle


@pytest.fixture(scope="module")
def restamp(stale: tuple[World, Path, str]) -> Story:
    start, _, bundle = stale

    def revive(world: World) -> None:
        with world.at(world.origin) as work:
            restamp_bundle(work, bundle)

    # Whoever was killed after the record makes another one: which number it has is nobody's matter.
    return Story(start, revive, lambda world: set(kinds(world, world.origin)), turn=4, step=4)


@pytest.fixture(scope="module")
def revived(stale: tuple[World, Path, str]) -> Story:
    start, medium, bundle = stale
    with start.at(start.origin) as work:
        timestamp = restamp_bundle(work, bundle).timestamp

    def take_in(world: World) -> None:
        world.receive(medium, timestamp=timestamp)

    # The lines of an import are tried in `test_every_call.py`.
    return Story(start, take_in, lambda world: state_of(world.site), step=9)


@pytest.fixture(scope="module")
def cosigning(gap: World) -> Story:
    """A receipt brings the head of the site's log and a cosignature under the origin's."""
    start = gap.copied(gap.base / "cosigning")
    done = start.receive(start.ship("acme/tiny"), receipt_to=start.base / "receipt.json")
    receipt = done.receipt
    assert receipt is not None

    def ended(world: World) -> object:
        with world.at(world.origin) as work, work.store.view() as view:
            seen = [(row.log, row.size, row.outcome) for row in view.witnessed()]
            held = [(row.size, row.witness) for row in view.cosigned()]
        assert seen
        assert held
        return seen, held, kinds(world, world.origin)

    return Story(start, lambda world: world.acknowledge(receipt), ended, turn=2)


STORIES = (
    "first_ceremony", "renewal", "list_of_people", "joiner", "broken_glass", "restamp", "revived", "cosigning",
)  # fmt: skip


@pytest.mark.parametrize("name", STORIES)
def test_whatever_happens_it_is_whole_or_not_at_all(name: str, request: pytest.FixtureRequest) -> None:
    endure(request.getfixturevalue(name))


@pytest.mark.parametrize("name", STORIES)
def test_two_at_once_are_one(name: str, request: pytest.FixtureRequest) -> None:
    twice_at_once(request.getfixturevalue(name))
