"""An origin, two sites and a courier who loses, delays, reorders, copies, replays and damages what he carries; and
homes that are restored from a backup. Whatever order it all happens in, nobody ever believes what is not so.

A model test. After every step:

- A site holds every blob that its origin believes acknowledged. The exception, said exactly: a site that lost bytes
  (restored from a backup, or cleaned up by `gc`), until the origin takes in a receipt that it made after that.
- No version, pin or withdrawal ever goes back at a home that was not restored.
- Every blob in a store hashes to its name, and every version is one that was taken in at the origin, with all its
  files (or recorded as removed by `gc`).

And while things happen: a bundle without anybody's assumptions reaches a site that lost nothing in any order and any
number of times; taking it in again changes nothing; parity makes good what it promises; a repair heals the rest; what
is refused is refused for the reason there is, and changes nothing that anybody sees.
"""

import hashlib
import json
import os
import random
import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from securesystemslib.signer import Signer

from pipelines import answer, enrol, gc, receipts, repair
from pipelines.baseline import State, assume_received, baseline
from pipelines.bundle.errors import BaseMissing, NotReady, PartlyImported, ReceiptForeign, VolumeTooSmall
from pipelines.intake.folder import add_folder
from pipelines.inventory import named
from pipelines.promote import withdraw
from pipelines.receipts import ReceiptInventoryDiffers
from pipelines.receive import import_bundle
from pipelines.removed import removed
from pipelines.repair import NothingToRepair
from pipelines.ship import Packing, create_bundle
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import Pin
from registry.home import Home
from registry.keeping import BytesRemoved
from registry.manifests import decode as decode_manifest
from registry.names import Ref
from signing.errors import OperatorError
from signing.keys import public_key_json
from signing.refusals import BundleUntrusted, ForeignBundle
from signing.repository import TrustRepository
from signing.times import rfc3339
from tests import world
from tests.pipelines.gap import NOON, medium_of, small_chunks, state_of
from tidegate import founding, keyring

SITES = ("lab", "ward")
CHUNK = 32 << 10  # bytes; so that a few files fill several volumes
EXHAUSTIVE = bool(os.environ.get("TIDEGATE_EXHAUSTIVE"))
SETTINGS = settings(
    max_examples=200 if EXHAUSTIVE else 10,
    stateful_step_count=50 if EXHAUSTIVE else 25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
_NUMBERS = 38_000  # bf16 numbers of a model: 76 kB, enough to be a base


def _weights(seed: int, tuned: int = 0) -> bytes:
    """A bf16 safetensors file; a fine-tune moves some numbers of it a little."""
    values = bytearray(random.Random(seed).randbytes(2 * _NUMBERS))
    values[1::2] = bytes(0x3C | byte & 0x80 | byte & 3 for byte in values[1::2])
    moved = random.Random(f"{seed} {tuned}")
    for _ in range(_NUMBERS // 10 if tuned else 0):
        place = 2 * moved.randrange(_NUMBERS)
        values[place] = (values[place] + 3) % 256
    header = {"w": {"dtype": "BF16", "shape": [_NUMBERS], "data_offsets": [0, len(values)]}}
    text = json.dumps(header)
    text += " " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text.encode() + bytes(values)


@cache
def _weights_once(seed: int, tuned: int) -> bytes:
    return _weights(seed, tuned)


@dataclass
class Parcel:
    """Media with one bundle, somewhere between the origin and a site; possibly a copy, possibly damaged."""

    site: str
    bundle: str
    export: str  # SHA-256 of the export document
    body: str
    life: int  # how often the origin had been restored when it was packed
    assumes: bool
    parity: int
    dirs: list[Path]
    hurt: set[str] = field(default_factory=set)  # stored files that are not whole, over all volumes
    spoilt: bool = False  # a small file is not whole, or not all volumes are here
    repaired: str | None = None  # what its site had lost when it was repaired, of `Station.lost_at`

    @property
    def leaned(self) -> frozenset[str]:
        """Blobs that the site has to hold already."""
        return frozenset(named(self.body).leaned)

    def whole(self, lost_at: str) -> bool:
        """Whether everything that its site needs is there, or parity is sure to bring it back."""
        return not self.spoilt and (self.repaired == lost_at or len(self.hurt) <= self.parity)


@dataclass(frozen=True)
class Seen:
    """What may never go back at a home."""

    versions: frozenset[tuple[str, str, int]]
    withdrawals: frozenset[str]
    pins: tuple[tuple[str, str, int, str], ...]


@dataclass
class Station:
    """A home, and what the model knows of it."""

    home: Home
    seen: Seen
    lost_at: str = ""  # when it last lost bytes: a restore, or a removal
    lives: int = 0  # how often it was restored
    backup: Path | None = None


@cache
def _template() -> tuple[Path, list[Signer]]:
    """An origin with two enrolled sites, made once in this process and copied for every story."""
    base = Path(tempfile.mkdtemp(prefix="courier-template-"))
    origin = world.new_home(base / "origin", name="harbour", roles=("origin",), now=NOON)
    officer = keyring.role_signers(origin, named=(), passphrase=lambda _uri: world.PASSPHRASE)
    homes = {name: world.new_home(base / name, name=name, roles=("site",), now=NOON) for name in SITES}
    with world.at_work(origin, actor="oda", now=NOON) as work:
        for name, home in homes.items():
            identity = public_key_json(keyring.station_signer(home))

            def publish(name: str = name) -> None:
                founding.add_site(origin, name, signers=officer, now=NOON)

            enrol.add_site(work, name, identity, publish=publish)
        root = TrustRepository(origin.trust).load().roots[0]
    for home in homes.values():
        with world.at_work(home, actor="ines", now=NOON) as work:
            enrol.enrol(work, root, hashlib.sha256(root).hexdigest())
    return base, officer


class Courier(RuleBasedStateMachine):
    """The story; every rule is something that somebody does."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(prefix="courier-"))
        template, self.officer = _template()
        self.now = NOON
        self.count = 0
        self.stations: dict[str, Station] = {}
        self.files: dict[str, dict[str, bytes]] = {}  # version digest to its files
        self.versions: list[tuple[str, int, int]] = []  # model, seed, tuned: what can be made another of
        self.parcels: list[Parcel] = []
        self.mail: list[tuple[Path, bool]] = []  # receipts; whether the site held all that its bundles named
        self.clean: dict[str, tuple[int, int]] = {}  # blob path to what was hashed: inode and time of change
        for name in ("origin", *SITES):
            shutil.copytree(template / name, self.base / name)
            path = self.base / name
            home = Home(
                path,
                "harbour" if name == "origin" else name,
                ("origin",) if name == "origin" else ("site",),
                f"sqlite:///{path / 'registry.db'}",
                "solo",
            )
            self.stations[name] = Station(home, Seen(frozenset(), frozenset(), ()))

    def teardown(self) -> None:
        shutil.rmtree(self.base, ignore_errors=True)

    # who is where

    @contextmanager
    def at(self, name: str) -> Iterator[Workplace]:
        self.now += timedelta(minutes=1)
        with world.at_work(self.stations[name].home, actor="ines", now=self.now) as work:
            yield work

    def place(self, what: str) -> Path:
        self.count += 1
        return self.base / f"{what}-{self.count}"

    @property
    def origin(self) -> Station:
        return self.stations["origin"]

    def held(self, name: str) -> frozenset[str]:
        return frozenset(self.stations[name].home.blobs.held())

    def whole(self, parcel: Parcel) -> bool:
        return parcel.whole(self.stations[parcel.site].lost_at)

    # at the origin

    @initialize()
    def begin(self) -> None:
        self._add("acme/tiny", seed=1, tuned=0, config=0)

    @precondition(lambda self: len(self.versions) < 9)
    @rule(kind=st.sampled_from(["base", "tune", "config"]), pick=st.integers(0, 99))
    def add(self, kind: str, pick: int) -> None:
        model, seed, tuned = self.versions[pick % len(self.versions)]
        if kind == "base":
            model, seed, tuned = f"acme/m{pick % 3}", 2 + len(self.versions), 0
        elif kind == "tune":
            tuned = 1 + len(self.versions)
        self._add(model, seed=seed, tuned=tuned, config=len(self.versions))

    def _add(self, model: str, *, seed: int, tuned: int, config: int) -> None:
        folder = self.place("source")
        folder.mkdir()
        files = {
            "config.json": json.dumps({"architectures": ["LlamaForCausalLM"], "n": config}).encode(),
            "model.safetensors": _weights_once(seed, tuned),
            "LICENSE": b"Apache License\nVersion 2.0, January 2004\n",
        }
        for path, data in files.items():
            (folder / path).write_bytes(data)
        with self.at("origin") as work:
            version = add_folder(work, model, folder).version
        self.files[version.digest] = files
        self.versions.append((model, seed, tuned))

    @rule(pick=st.integers(0, 99))
    def withdraw(self, pick: int) -> None:
        with self.at("origin") as work:
            with work.store.view() as view:
                versions = view.versions()
            if (
                pick % 3 == 0 and versions
            ):  # not every time: a withdrawn version is of little use to the story
                version = versions[pick % len(versions)]
                withdraw(work, Ref(version.model, ordinal=version.ordinal), reason="found wanting")

    @precondition(lambda self: len(self.parcels) < 14)
    @rule(
        site=st.sampled_from(SITES),
        picks=st.lists(st.integers(0, 99), max_size=2),
        parity=st.integers(0, 2),
        small=st.booleans(),
        alone=st.sampled_from([False, False, False, True]),
    )
    def ship(self, site: str, picks: list[int], parity: int, small: bool, alone: bool) -> None:
        with self.at("origin") as work, work.store.view() as view:
            known = view.versions()
            base = baseline(view, site)
        refs = [Ref(known[n].model, ordinal=known[n].ordinal) for n in {pick % len(known) for pick in picks}]
        size = 1 if small and refs else None
        try:
            parcel = self._pack(site, refs, Packing(parity=parity, self_contained=alone), size)
        except BytesRemoved:
            assert self.origin.lost_at, "only gc takes bytes away"
            return
        parcel.assumes = bool(base.assumptions) and not alone
        parcel.parity = parity
        sent = named(parcel.body)
        # Nothing is built on that was merely sent.
        assert sent.all & base.exported <= frozenset(sent.carried)
        assert frozenset(sent.leaned) <= (frozenset() if alone else base.held)
        if not (parcel.assumes or self.stations[site].lost_at):
            assert parcel.leaned <= self.held(site)
        self.parcels.append(parcel)

    def _pack(self, site: str, refs: list[Ref], packing: Packing, size: int | None) -> Parcel:
        out = self.place("medium")
        while True:
            medium = None if size is None else medium_of(size)
            try:
                with self.at("origin") as work:
                    done = create_bundle(
                        work,
                        site=site,
                        refs=refs,
                        out=out,
                        signers=self.officer,
                        packing=Packing(medium, packing.parity, self_contained=packing.self_contained),
                    )
                    with work.store.view() as view:
                        body = next(row.body for row in view.exports(site) if row.digest == done.digest)
                break
            except VolumeTooSmall as exc:
                size = exc.least + CHUNK
        return Parcel(
            site, done.bundle, done.digest, body, self.origin.lives, assumes=False, parity=0, dirs=list(done.folders)
        )  # fmt: skip

    @precondition(lambda self: self.mail)
    @rule(pick=st.integers(0, 99))
    def receipt_arrives(self, pick: int) -> None:
        """Any receipt ever written, in any order, any number of times."""
        path, complete = self.mail[pick % len(self.mail)]
        with self.at("origin") as work:
            try:
                receipts.acknowledge(work, path)
            except ReceiptForeign:
                assert self.origin.lives, "only an origin that forgot does not know its own bundle"
            except ReceiptInventoryDiffers:
                assert not complete or self.origin.lives, "the site holds all that was sent to it"

    @rule(site=st.sampled_from(SITES), pick=st.integers(0, 99))
    def assume(self, site: str, pick: int) -> None:
        """Somebody believes that a bundle arrived; it may not be so."""
        with self.at("origin") as work:
            with work.store.view() as view:
                sent = view.exports(site)
            if sent and pick % 4 == 0:
                sequence = sent[pick % len(sent)].sequence
                assume_received(work, site, sequence, person="maria", reason="signed for at the gate")

    # on the way

    @precondition(lambda self: self.parcels)
    @rule(pick=st.integers(0, 99))
    def lose(self, pick: int) -> None:
        if pick % 3 == 0:
            gone = self.parcels.pop(pick % len(self.parcels))
            for folder in gone.dirs:
                shutil.rmtree(folder)

    @precondition(lambda self: 0 < len(self.parcels) < 14)
    @rule(pick=st.integers(0, 99))
    def copy(self, pick: int) -> None:
        self._copied(self.parcels[pick % len(self.parcels)])

    def _copied(self, parcel: Parcel) -> Parcel:
        dirs = []
        for folder in parcel.dirs:
            target = self.place("copy") / folder.name
            shutil.copytree(folder, target)
            dirs.append(target)
        twin = Parcel(**{**vars(parcel), "dirs": dirs, "hurt": set(parcel.hurt)})
        self.parcels.append(twin)
        return twin

    @precondition(lambda self: self.parcels)
    @rule(pick=st.integers(0, 99), where=st.integers(0, 9999), how=st.sampled_from(["flip", "cut", "gone"]))
    def damage(self, pick: int, where: int, how: str) -> None:
        parcel = self.parcels[pick % len(self.parcels)]
        paths = sorted(p for folder in parcel.dirs for p in folder.rglob("*") if p.is_file())
        stored = [p for p in paths if {"chunks", "parity"} & set(p.parts)]
        victims = stored if stored and where % 4 else paths
        path = victims[where % len(victims)]
        if how == "gone" or not path.stat().st_size:
            path.unlink()
        elif how == "cut":
            os.truncate(path, path.stat().st_size // 2)
        else:
            data = bytearray(path.read_bytes())
            data[where % len(data)] ^= 1 << where % 8
            path.write_bytes(data)
        if path in stored:
            parcel.hurt.add(path.name)
            parcel.repaired = None
        else:
            parcel.spoilt = True

    @precondition(lambda self: any(len(p.dirs) > 1 for p in self.parcels))
    @rule(pick=st.integers(0, 99))
    def lose_a_volume(self, pick: int) -> None:
        several = [parcel for parcel in self.parcels if len(parcel.dirs) > 1]
        parcel = several[pick % len(several)]
        shutil.rmtree(parcel.dirs.pop(pick % len(parcel.dirs)))
        parcel.spoilt = True

    # at a site

    @precondition(lambda self: self.parcels)
    @rule(pick=st.integers(0, 99), collecting=st.booleans(), receipt=st.booleans())
    def arrive(self, pick: int, collecting: bool, receipt: bool) -> None:
        """Take any parcel in, at any time, any number of times."""
        parcel = self.parcels[pick % len(self.parcels)]
        before = self.held(parcel.site)
        refusal = None
        place = self.place("receipt.json") if receipt else None
        with self.at(parcel.site) as work:
            try:
                import_bundle(work, parcel.dirs, collecting=collecting, receipt_to=place)
            except OperatorError as exc:
                refusal = exc
        if refusal is None:
            self._landed_whole(parcel)
            if place is not None:
                self._posted(parcel.site, place)
        else:
            self._refused_rightly(parcel, before, refusal)
        if refusal is None or isinstance(refusal, PartlyImported):
            self._withdrawals_won(parcel)

    def _landed_whole(self, parcel: Parcel) -> None:
        sent = named(parcel.body)
        assert frozenset(sent.carried) <= self.held(parcel.site), "taken in, and not all of it is here"
        before = state_of(self.stations[parcel.site].home)
        with self.at(parcel.site) as work:
            again = import_bundle(work, parcel.dirs)
            with work.store.view() as view:
                visible = {v.digest for v in view.versions()}
        assert again.already
        assert state_of(self.stations[parcel.site].home) == before, "taking it in again changed something"
        assert all(item.digest in visible for item in again.versions)

    def _refused_rightly(self, parcel: Parcel, before: frozenset[str], refusal: OperatorError) -> None:
        """A refusal needs a reason: damage, a base that is not there, or an origin that forgot what it had sent."""
        if parcel.life or self.origin.lives:
            return  # two streams under one name: the site keeps to the one it knows
        problems = refusal.problems if isinstance(refusal, NotReady) else (refusal,)
        if parcel.leaned - before:
            assert any(isinstance(one, BaseMissing) for one in problems) or not self.whole(parcel), refusal
            assert parcel.assumes or self.stations[parcel.site].lost_at, "built on what nobody acknowledged"
            return
        assert not self.whole(parcel), f"nothing was wrong with it: {refusal}"

    def _withdrawals_won(self, parcel: Parcel) -> None:
        told = {gone["version"] for gone in json.loads(parcel.body)["withdrawals"]}
        with self.at(parcel.site) as work, work.store.view() as view:
            assert told <= {row.version for row in view.withdrawals()}

    @precondition(lambda self: self.parcels)
    @rule(pick=st.integers(0, 99))
    def arrive_at_the_wrong_site(self, pick: int) -> None:
        parcel = self.parcels[pick % len(self.parcels)]
        wrong = next(name for name in SITES if name != parcel.site)
        before = state_of(self.stations[wrong].home)
        with self.at(wrong) as work, pytest.raises(OperatorError) as refused:
            import_bundle(work, parcel.dirs)
        assert isinstance(refused.value, BundleUntrusted) or not self.whole(parcel)
        assert isinstance(refused.value, ForeignBundle) or not self.whole(parcel)
        assert state_of(self.stations[wrong].home) == before

    @rule(site=st.sampled_from(SITES), digest_only=st.booleans())
    def write_receipt(self, site: str, digest_only: bool) -> None:
        with self.at(site) as work, work.store.view() as view:
            if not view.imports():
                return
            receipt = answer.compose(work, view, answer.taken_in(view, None))
            if digest_only:
                receipt = answer.digest_only(receipt, view)
            data = receipts.write(receipt, work)
        place = self.place("receipt.json")
        place.write_bytes(data)
        self._posted(site, place)

    def _posted(self, site: str, place: Path) -> None:
        with self.at(site) as work, work.store.view() as view:
            owed = frozenset().union(*(named(row.body).all for row in view.imports()))
        self.mail.append((place, owed <= self.held(site)))

    @precondition(lambda self: any(p.hurt and not p.spoilt for p in self.parcels))
    @rule(pick=st.integers(0, 99))
    def ask_for_repair(self, pick: int) -> None:
        """What the site names is made again, travels, and the bundle is whole."""
        hurt = [parcel for parcel in self.parcels if parcel.hurt and not parcel.spoilt]
        parcel = hurt[pick % len(hurt)]
        try:
            with self.at(parcel.site) as work:
                _request, data = repair.write_request(work, parcel.dirs)
        except NothingToRepair:
            return
        except OperatorError:
            assert parcel.life or self.origin.lives, "damage to chunks alone can be asked about"
            return
        out = self.place("repair")
        with self.at("origin") as work:
            with work.store.view() as view:
                known = baseline(view, parcel.site)
            waiting = any(
                one.bundle == parcel.bundle and one.state is State.EXPORTED for one in known.bundles
            )
            try:
                asked = repair.read_request(work, data, at="request.json")
                done = repair.repair(work, asked, out=out)
            except OperatorError:
                kept = waiting and not frozenset(named(parcel.body).carried) <= known.held
                assert self.origin.lives or (self.origin.lost_at and not kept), "it has what it sent"
                return
        parcel.dirs += done.folders
        parcel.repaired = self.stations[parcel.site].lost_at

    @rule(site=st.sampled_from(SITES), pick=st.integers(0, 99))
    def pin(self, site: str, pick: int) -> None:
        """A line of a tier's history; what the gate thinks of it is told elsewhere."""
        with self.at(site) as work, work.store.change(actor="ines", now=self.now) as change:
            versions = [v for v in change.versions() if v.digest not in removed(change, work.blobs)]
            if not versions:
                return
            version = versions[pick % len(versions)]
            line = Pin(
                tier="team",
                model=version.model,
                position=len(change.pin_history("team", version.model)) + 1,
                kind="promote",
                version=version.digest,
                ordinal=version.ordinal,
                contract=None,
                profile=None,
                router=None,
                evidence="[]",
                reason="the story needs it",
                since=rfc3339(self.now),
                actor="ines",
            )
            change.record(EventKind.PROMOTED, version.digest, line)

    # what befalls homes

    @rule(name=st.sampled_from(["origin", *SITES]))
    def collect_garbage(self, name: str) -> None:
        with self.at(name) as work:
            done = gc.collect(work)
        if done.versions.removable or done.versions.leftovers or done.rubbish:
            self.stations[name].lost_at = rfc3339(self.now)

    @rule(name=st.sampled_from(["origin", *SITES]))
    def back_up(self, name: str) -> None:
        station = self.stations[name]
        station.backup = self.place("backup")
        shutil.copytree(station.home.path, station.backup)

    @precondition(lambda self: any(one.backup for one in self.stations.values()))
    @rule(pick=st.integers(0, 99))
    def restore(self, pick: int) -> None:
        names = [name for name, one in self.stations.items() if one.backup]
        name = names[pick % len(names)]
        station = self.stations[name]
        assert station.backup is not None
        shutil.rmtree(station.home.path)
        shutil.copytree(station.backup, station.home.path)
        self.now += timedelta(minutes=1)
        station.lost_at = rfc3339(self.now)
        station.lives += 1
        station.seen = self._see(name)

    # what is always so

    def _see(self, name: str) -> Seen:
        with self.at(name) as work, work.store.view() as view:
            return Seen(
                frozenset((v.digest, v.model, v.ordinal) for v in view.versions()),
                frozenset(row.version for row in view.withdrawals()),
                tuple((p.tier, p.model, p.position, p.version) for p in view.pin_history()),
            )

    @invariant()
    def what_the_origin_believes_is_so(self) -> None:
        with self.at("origin") as work, work.store.view() as view:
            for name in SITES:
                newest = receipts.newest(view, name)
                lost = self.stations[name].lost_at
                if newest is None or (lost and newest.made_at <= lost):
                    continue
                assert baseline(view, name).acknowledged <= self.held(name)

    @invariant()
    def nothing_goes_back(self) -> None:
        for name, station in self.stations.items():
            seen = self._see(name)
            assert station.seen.versions <= seen.versions
            assert station.seen.withdrawals <= seen.withdrawals
            assert seen.pins[: len(station.seen.pins)] == station.seen.pins
            station.seen = seen

    @invariant()
    def every_blob_is_what_its_name_says(self) -> None:
        for station in self.stations.values():
            for name in station.home.blobs.held():
                path = station.home.blobs.path(name)
                stamp = (path.stat().st_ino, path.stat().st_mtime_ns)
                if self.clean.get(str(path)) != stamp:
                    assert hashlib.sha256(path.read_bytes()).hexdigest() == name
                    self.clean[str(path)] = stamp

    @invariant()
    def every_version_is_whole_and_exact(self) -> None:
        for name in SITES:
            with self.at(name) as work, work.store.view() as view:
                gone, held = removed(view, work.blobs), self.held(name)
                for version in view.versions():
                    entries = {e.path: e.sha256 for e in decode_manifest(version.manifest.encode()).files}
                    files = self.files[version.digest]
                    assert entries == {p: hashlib.sha256(d).hexdigest() for p, d in files.items()}
                    assert version.digest in gone or frozenset(entries.values()) <= held


@pytest.fixture(autouse=True)
def chunks_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    small_chunks(monkeypatch, CHUNK)


@pytest.mark.slow
@pytest.mark.property
def test_whatever_the_courier_does_nobody_believes_what_is_not_so() -> None:
    run_state_machine_as_test(Courier, settings=SETTINGS)
