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

import atexit
import hashlib
import json
import os
import random
import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
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
from pipelines.ship import Packing, Shipped, create_bundle
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import Pin, Version
from registry.home import Home
from registry.keeping import BytesRemoved
from registry.manifests import decode as decode_manifest
from registry.names import Ref
from registry.views import View
from signing.errors import OperatorError
from signing.keys import public_key_json
from signing.refusals import BundleUntrusted
from signing.repository import TrustRepository
from signing.times import rfc3339
from tests import world
from tests.pipelines.gap import NOON, medium_of, small_chunks, state_of
from tidegate import founding, keyring

SITES = ("lab", "ward")
CHUNK = 32 << 10  # bytes; so that a few files fill several volumes
EXHAUSTIVE = bool(os.environ.get("TIDEGATE_EXHAUSTIVE"))
SETTINGS = settings(
    max_examples=60 if EXHAUSTIVE else 5,
    stateful_step_count=50 if EXHAUSTIVE else 20,
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
    atexit.register(shutil.rmtree, base, ignore_errors=True)
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
        self.files: dict[str, dict[str, str]] = {}  # version digest to path to SHA-256
        self.versions: list[tuple[str, int, int]] = []  # model, seed, tuned: what can be made another of
        self.parcels: list[Parcel] = []
        self.mail: list[tuple[Path, bool]] = []  # receipts; whether the site held all that its bundles named
        self.touched: set[str] = set()
        self.hashed: dict[str, tuple[int, int]] = {}  # blob path to what was hashed: inode and time of change
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
        self.touched.add(name)
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
        """Each site has the first version, and the origin knows."""
        self._add("acme/tiny", seed=1, tuned=0, config=0)
        for site in SITES:
            self.ship(
                site=site, what="newest", pick=0, parity=0, small=False, alone=False, then="is answered"
            )

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
        self.files[version.digest] = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
        self.versions.append((model, seed, tuned))

    @precondition(lambda self: len(self.parcels) < 14)
    @rule(
        site=st.sampled_from(SITES),
        what=st.sampled_from(["newest", "newest two", "any", "any two", "heartbeat"]),
        pick=st.integers(0, 99),
        parity=st.integers(0, 2),
        small=st.booleans(),
        alone=st.sampled_from([False, False, False, True]),
        then=st.sampled_from(["waits", "arrives", "is answered"]),
    )
    def ship(
        self, *, site: str, what: str, pick: int, parity: int, small: bool, alone: bool, then: str
    ) -> None:
        with self.at("origin") as work, work.store.view() as view:
            known = view.versions()
            base = baseline(view, site)
        first = 0 if "newest" in what else pick
        some = [first, first + 1][: 0 if what == "heartbeat" else 2 if "two" in what else 1]
        chosen = [known[-1 - number % len(known)] for number in some]
        refs = [Ref(version.model, ordinal=version.ordinal) for version in chosen]
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
        if then != "waits":
            self._arrive(parcel, receipt=then == "is answered")
        if then == "is answered" and self.mail:
            self._answered(-1)

    def _pack(self, site: str, refs: list[Ref], packing: Packing, size: int | None) -> Parcel:
        out = self.place("medium")
        try:
            done, body = self._packed(site, refs, packing, out, size)
        except VolumeTooSmall as exc:
            done, body = self._packed(site, refs, packing, out, exc.least)
        return Parcel(
            site, done.bundle, done.digest, body, self.origin.lives, assumes=False, parity=0, dirs=list(done.folders)
        )  # fmt: skip

    def _packed(
        self, site: str, refs: list[Ref], packing: Packing, out: Path, size: int | None
    ) -> tuple[Shipped, str]:
        medium = None if size is None else medium_of(size)
        with self.at("origin") as work:
            done = create_bundle(
                work,
                site=site,
                refs=refs,
                out=out,
                signers=self.officer,
                packing=replace(packing, medium=medium),
            )
            with work.store.view() as view:
                return done, next(row.body for row in view.exports(site) if row.digest == done.digest)

    @precondition(lambda self: self.mail)
    @rule(pick=st.integers(0, 99))
    def receipt_arrives(self, pick: int) -> None:
        """Any receipt ever written, in any order, any number of times."""
        self._answered(pick % len(self.mail))

    def _answered(self, number: int) -> None:
        path, complete = self.mail[number]
        with self.at("origin") as work:
            try:
                receipts.acknowledge(work, path)
            except ReceiptForeign:
                assert self.origin.lives, "only an origin that forgot does not know its own bundle"
            except ReceiptInventoryDiffers:
                assert not complete or self.origin.lives, "the site holds all that was sent to it"

    @rule(
        site=st.sampled_from(SITES),
        pick=st.integers(0, 99),
        what=st.sampled_from(["assume", "withdraw", "pin"]),
    )
    def says(self, site: str, pick: int, what: str) -> None:
        """Somebody believes that a bundle arrived, and it may not be so; or finds a version wanting; or serves one."""
        with self.at(site if what == "pin" else "origin") as work:
            with work.store.view() as view:
                sent = view.exports(site)
                versions = [v for v in view.versions() if v.digest not in removed(view, work.blobs)]
            if what == "assume" and sent:
                sequence = sent[-1 - pick % min(2, len(sent))].sequence
                assume_received(work, site, sequence, person="maria", reason="signed for at the gate")
            elif what == "withdraw" and len(versions) > 2:
                version = versions[pick % len(versions)]
                withdraw(work, Ref(version.model, ordinal=version.ordinal), reason="found wanting")
            elif what == "pin" and versions:
                self._pin(work, versions[pick % len(versions)])

    def _pin(self, work: Workplace, version: Version) -> None:
        """A line of a tier's history; what the gate thinks of it is told elsewhere."""
        with work.store.change(actor="ines", now=self.now) as change:
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

    # on the way

    @precondition(lambda self: self.parcels)
    @rule(pick=st.integers(0, 99), what=st.sampled_from(["lost", "copied", "a volume lost"]))
    def befalls(self, pick: int, what: str) -> None:
        parcel = self.parcels[pick % len(self.parcels)]
        if what == "copied" and len(self.parcels) < 14:
            dirs = [self.place("copy") / folder.name for folder in parcel.dirs]
            for folder, target in zip(parcel.dirs, dirs, strict=True):
                shutil.copytree(folder, target)
            self.parcels.append(replace(parcel, dirs=dirs, hurt=set(parcel.hurt)))
        elif what == "lost":
            self.parcels.remove(parcel)
            for folder in parcel.dirs:
                shutil.rmtree(folder)
        elif len(parcel.dirs) > 1:
            shutil.rmtree(parcel.dirs.pop(pick % len(parcel.dirs)))
            parcel.spoilt = True

    @precondition(lambda self: self.parcels)
    @rule(
        pick=st.integers(0, 99),
        where=st.lists(st.integers(0, 9999), min_size=1, max_size=3),
        how=st.sampled_from(["flip", "cut", "gone"]),
    )
    def is_damaged(self, pick: int, where: list[int], how: str) -> None:
        parcel = self.parcels[pick % len(self.parcels)]
        for place in where:
            self._damage(parcel, place, how)
        self._arrive(parcel, receipt=False)

    def _damage(self, parcel: Parcel, where: int, how: str) -> None:
        paths = sorted(p for folder in parcel.dirs for p in folder.rglob("*") if p.is_file())
        stored = [p for p in paths if {"chunks", "parity"} & set(p.parts)]
        victims = stored if stored and where % 8 != 7 else paths
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

    # at a site

    @precondition(lambda self: self.parcels)
    @rule(pick=st.integers(0, 99), collecting=st.booleans(), receipt=st.booleans())
    def arrive(self, pick: int, collecting: bool, receipt: bool) -> None:
        """Take any parcel in, at any time, any number of times."""
        self._arrive(self.parcels[pick % len(self.parcels)], collecting=collecting, receipt=receipt)

    def _arrive(self, parcel: Parcel, *, receipt: bool, collecting: bool = False) -> None:
        before = self.held(parcel.site)
        refusal: OperatorError | None = None
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
        self._arrive(parcel, receipt=False)

    # what befalls homes

    @rule(name=st.sampled_from(["origin", *SITES]))
    def collect_garbage(self, name: str) -> None:
        with self.at(name) as work:
            done = gc.collect(work)
        if done.versions.removable or done.versions.leftovers or done.rubbish:
            self.stations[name].lost_at = rfc3339(self.now)

    @rule(name=st.sampled_from(["origin", *SITES]))
    def back_up_or_restore(self, name: str) -> None:
        station = self.stations[name]
        if station.backup is None:
            station.backup = self.place("backup")
            shutil.copytree(station.home.path, station.backup)
            return
        shutil.rmtree(station.home.path)
        station.backup.rename(station.home.path)
        station.backup = None
        with self.at(name) as work, work.store.view() as view:
            station.seen = _see(view)
        station.lost_at = rfc3339(self.now)
        station.lives += 1

    # what is always so

    @invariant()
    def nobody_believes_what_is_not_so(self) -> None:
        """Only at homes where somebody was at work in this step: nothing else can have changed."""
        for name in sorted(self.touched):
            station = self.stations[name]
            with world.at_work(station.home, actor="ines", now=self.now) as work, work.store.view() as view:
                self._nothing_goes_back(station, view)
                self._every_version_is_whole_and_exact(view, work)
            self._every_blob_is_what_its_name_says(station.home)
        if self.touched:
            self._what_the_origin_believes_is_so()
        self.touched.clear()

    def _what_the_origin_believes_is_so(self) -> None:
        with world.at_work(self.origin.home, actor="ines", now=self.now) as work, work.store.view() as view:
            for name in SITES:
                newest, lost = receipts.newest(view, name), self.stations[name].lost_at
                if newest is not None and newest.made_at > lost:
                    assert baseline(view, name).acknowledged <= self.held(name)

    def _nothing_goes_back(self, station: Station, view: View) -> None:
        before, now = station.seen, _see(view)
        assert before.versions <= now.versions
        assert before.withdrawals <= now.withdrawals
        assert now.pins[: len(before.pins)] == before.pins
        station.seen = now

    def _every_blob_is_what_its_name_says(self, home: Home) -> None:
        for name in home.blobs.held():
            path = home.blobs.path(name)
            stamp = (path.stat().st_ino, path.stat().st_mtime_ns)
            if self.hashed.get(str(path)) != stamp:
                assert hashlib.sha256(path.read_bytes()).hexdigest() == name
                self.hashed[str(path)] = stamp

    def _every_version_is_whole_and_exact(self, view: View, work: Workplace) -> None:
        gone, held = removed(view, work.blobs), frozenset(work.blobs.held())
        for version in view.versions():
            entries = {e.path: e.sha256 for e in decode_manifest(version.manifest.encode()).files}
            assert entries == self.files[version.digest]
            assert version.digest in gone or frozenset(entries.values()) <= held


def _see(view: View) -> Seen:
    return Seen(
        frozenset((v.digest, v.model, v.ordinal) for v in view.versions()),
        frozenset(row.version for row in view.withdrawals()),
        tuple((p.tier, p.model, p.position, p.version) for p in view.pin_history()),
    )


@pytest.fixture(autouse=True)
def chunks_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    small_chunks(monkeypatch, CHUNK)


@pytest.mark.slow
@pytest.mark.property
def test_whatever_the_courier_does_nobody_believes_what_is_not_so() -> None:
    run_state_machine_as_test(Courier, settings=SETTINGS)
