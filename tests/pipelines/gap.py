"""An origin, a site and a courier, made as the commands make them; for the tests of what crosses the gap."""

import hashlib
import json
import re
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import Signer

from pipelines import custody, enrol, receipts, repair, resplit
from pipelines.bundle import tables
from pipelines.bundle.media import Medium
from pipelines.intake.folder import add_folder
from pipelines.receive import Imported, import_bundle
from pipelines.ship import Packing, Shipped, create_bundle
from pipelines.workplace import Workplace
from registry.audit import compare
from registry.entities import Document, Version
from registry.home import Home
from registry.names import Ref
from signing.keys import public_key_json
from signing.repository import TrustRepository
from tests import world
from tidegate import founding, keyring

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SITE = "lab"


def weights(seed: int, size: int) -> bytes:
    """A small valid safetensors file of about `size` bytes, other bytes for every seed."""
    data = hashlib.shake_256(b"%d" % seed).digest(size - size % 4)
    header = json.dumps({"w": {"dtype": "F32", "shape": [len(data) // 4], "data_offsets": [0, len(data)]}})
    header += " " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header.encode() + data


def model_files(seed: int = 1, size: int = 4096) -> dict[str, bytes]:
    """A model as it is published: weights, configuration, licence."""
    return {
        "config.json": b'{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}',
        "model.safetensors": weights(seed, size),
        "tokenizer.json": json.dumps({"version": "1.0", "seed": seed}).encode(),
        "LICENSE": b"Apache License\nVersion 2.0, January 2004\n",
    }


@dataclass
class World:
    """Two homes and the officer who holds the origin's keys."""

    base: Path
    origin: Home
    site: Home
    officer: list[Signer]
    now: datetime = NOON
    shipped: list[Shipped] = field(default_factory=list)

    @contextmanager
    def at(self, home: Home) -> Iterator[Workplace]:
        """A minute later, at one of the homes."""
        self.now += timedelta(minutes=1)
        with world.at_work(home, actor="ines", now=self.now) as work:
            yield work

    def add(self, name: str, files: Mapping[str, bytes]) -> Version:
        """Take a folder in at the origin."""
        folder = self.base / f"source-{name.replace('/', '-')}-{len(list(self.base.iterdir()))}"
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        with self.at(self.origin) as work:
            return add_folder(work, name, folder).version

    def ship(
        self,
        *refs: str,
        out: str = "medium",
        signers: Sequence[Signer] | None = None,
        documents: Sequence[str] = (),
        volume_bytes: int | None = None,
        **packing: object,
    ) -> Path:
        """Pack versions for the site; returns the destination folder. `packing`: fields of `Packing`."""
        if volume_bytes is not None:
            packing["medium"] = medium_of(volume_bytes)
        destination = self.base / out
        with self.at(self.origin) as work:
            done = create_bundle(
                work,
                site=SITE,
                refs=[Ref.parse(ref) for ref in refs],
                out=destination,
                signers=self.officer if signers is None else signers,
                documents=documents,
                packing=Packing(**packing),  # type: ignore[arg-type]
            )
        self.shipped.append(done)
        return destination

    def volumes(self, *refs: str, **options: object) -> list[Path]:
        """Pack as `ship` does; returns the bundle folder of every volume, in order."""
        self.ship(*refs, **options)  # type: ignore[arg-type]
        return bundle_folders(self.shipped[-1].folders, self.shipped[-1].bundle)

    def receive(self, *dirs: Path, **options: object) -> Imported:
        """Import at the site."""
        with self.at(self.site) as work:
            return import_bundle(work, list(dirs), **options)  # type: ignore[arg-type]

    def arrive(self, *dirs: Path) -> Imported:
        """Import at the site, and bring the receipt home."""
        done = self.receive(*dirs, receipt_to=self.base / "receipt.json")
        assert done.receipt is not None
        self.acknowledge(done.receipt)
        return done

    def resplit(self, *dirs: Path, out: str, volume_bytes: int | None = None, parity: int = 0) -> list[Path]:
        """Divide a bundle anew at the origin; returns the bundle folder of every volume, in order."""
        medium = None if volume_bytes is None else medium_of(volume_bytes)
        with self.at(self.origin) as work:
            done = resplit.resplit(work, list(dirs), out=self.base / out, medium=medium, parity=parity)
        return bundle_folders(done.folders, done.bundle)

    def read_back(self, *dirs: Path, home: Home | None = None, **options: object) -> list[custody.ReadBack]:
        """Verify written media, at the origin unless told otherwise."""
        with self.at(home or self.origin) as work:
            return custody.verify_media(work, list(dirs), **options)  # type: ignore[arg-type]

    def ask_for_repair(self, *dirs: Path) -> bytes:
        """Write a repair request at the site."""
        with self.at(self.site) as work:
            return repair.write_request(work, list(dirs))[1]

    def repair(self, request: bytes, *, out: str = "repair", volume_bytes: int | None = None) -> list[Path]:
        """Answer a request at the origin; returns the bundle folder of every volume, in order."""
        medium = None if volume_bytes is None else medium_of(volume_bytes)
        with self.at(self.origin) as work:
            asked = repair.read_request(work, request, at="request.json")
            done = repair.repair(work, asked, out=self.base / out, medium=medium)
        return bundle_folders(done.folders, asked.bundle)

    def acknowledge(self, receipt: Path) -> receipts.Acknowledged:
        """Take the receipt in at the origin."""
        with self.at(self.origin) as work:
            return receipts.acknowledge(work, receipt)

    def copied(self, base: Path) -> "World":
        """The same world somewhere else, so that every attempt starts at the same point."""
        base.mkdir(parents=True)
        return replace(
            self, base=base, origin=_moved(self.origin, base), site=_moved(self.site, base), shipped=[]
        )


def _moved(home: Home, base: Path) -> Home:
    place = base / home.path.name
    shutil.copytree(home.path, place)
    return replace(home, path=place, database=home.database.replace(str(home.path), str(place)))


def make_world(base: Path, *, database: str | None = None, site_roles: tuple[str, ...] = ("site",)) -> World:
    """An origin, and a site that it ships to and that is enrolled with it."""
    base.mkdir(parents=True, exist_ok=True)
    origin = world.new_home(base / "origin", name="harbour", roles=("origin",), now=NOON)
    site = world.new_home(base / "site", name=SITE, roles=site_roles, database=database, now=NOON)
    officer = keyring.role_signers(origin, named=(), passphrase=lambda _uri: world.PASSPHRASE)
    made = World(base, origin, site, officer)
    identity = public_key_json(keyring.station_signer(site))
    with made.at(origin) as work:
        enrol.add_site(
            work,
            SITE,
            identity,
            publish=lambda: founding.add_site(origin, SITE, signers=officer, now=made.now),
        )
        root = TrustRepository(origin.trust).load().roots[0]
    with made.at(site) as work:
        enrol.enrol(work, root, hashlib.sha256(root).hexdigest())
    return made


def medium_of(size: int) -> Medium:
    """A medium of so many bytes, with no clusters."""
    return Medium(f"{size} bytes", size)


def bundle_folders(folders: Sequence[Path], bundle: str) -> list[Path]:
    """The folder with `volume.json` of each volume."""
    return [folder if folder.name == bundle else folder / bundle for folder in folders]


def stored_files(folder: Path) -> list[Path]:
    """Every chunk and parity piece of a volume."""
    return sorted(
        path for kind in ("chunks", "parity") for path in (folder / kind).rglob("*") if path.is_file()
    )


# Files of a home that are looked at otherwise, or not at all: locks lie there or do not, and what a killed writer
# left in `tmp/` waits for `gc`.
_LOOKED_AT = re.compile(
    r"registry\.db.*|store/blobs/sha256/[0-9a-f]{64}|store/(tmp/|\.index\.json\.).*|quarantine/.*|.*\.lock"
)


def state_of(home: Home) -> dict[str, object]:
    """What can be seen of a home: versions, documents, evidence, blobs; without moments and counters.

    `rows` counts the rows of every recorded table and `files` lists every other file, so that nothing new is missed.
    """
    with (
        world.at_work(home, actor="auditor", now=NOON + timedelta(days=9)) as work,
        work.store.view() as view,
    ):
        return {
            "versions": [(v.model, v.ordinal, v.digest, v.modelpack) for v in view.versions()],
            "scans": [
                (r.version, r.outcome) for v in view.versions() for r in view.reports(v.digest, "scan")
            ],
            "claims": [(c.version, c.statement) for v in view.versions() for c in view.claims(v.digest)],
            "documents": sorted((d.kind, d.name, d.digest) for d in view.documents()),
            "withdrawals": [w.version for w in view.withdrawals()],
            "imports": [(i.sequence, i.digest) for i in view.imports()],
            "custody": [(c.bundle, c.volume, c.of, c.outcome) for c in view.custody()],
            "rows": {label: len(rows) for label, rows in view.recorded()},
            "unlogged": compare(view.events(), dict(view.recorded())),
            "blobs": sorted(work.blobs.held()),
            "quarantine": sorted(path.name for path in home.quarantine.iterdir()),
            "files": sorted(name for name in tree_of(home.path) if not _LOOKED_AT.fullmatch(name)),
        }


def tree_of(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Every file below a folder with size, time of change and digest."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_size,
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def small_chunks(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Cut chunks smaller than 64 MiB, so that several volumes take kilobytes."""
    monkeypatch.setattr(tables, "CHUNK", size)
    monkeypatch.setattr(tables, "COMPACT_CHUNK", min(size, tables.COMPACT_CHUNK))


def document_row(body: bytes, *, kind: str, name: str) -> Document:
    """A document as it would be recorded."""
    return Document(
        digest=hashlib.sha256(body).hexdigest(),
        kind=kind,
        name=name,
        body=body.decode(),
        added_at="2026-11-20T12:00:00Z",
        added_by="ines",
    )
