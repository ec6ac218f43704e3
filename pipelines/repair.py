"""Repair: a site names the chunks that it could not get, and the origin answers with a volume of just these.

The request is a small signed file that lists digests. The answer belongs to the same bundle, under the same number:
its documents are the ones that were signed then, only the plan is new, signed by the packer's station. The origin
keeps no chunks; it makes them again from its store, and they must come out the same to the byte.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipelines.bundle import opening, reader
from pipelines.bundle.errors import FormatTooNew, MalformedBundle, NotOurBundle
from pipelines.bundle.lanes import Unreadable
from pipelines.bundle.media import Medium
from pipelines.bundle.office import kept, kept_files, office
from pipelines.bundle.reader import MAX_SMALL, PLAN, PLAN_SIGNATURE, Bundle
from pipelines.bundle.shelf import Shelf, Spot, digest_of
from pipelines.bundle.spans import FileSource
from pipelines.bundle.tables import RAW, Chunk, Part
from pipelines.bundle.volumes import reveal
from pipelines.encodings import ladder
from pipelines.errors import BundleRefused
from pipelines.letters import read_letter, seal
from pipelines.resplit import claim, demand_packer, divide
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.blobs import Progress, no_progress
from registry.bulk import space_watched, write_all
from registry.errors import NotFound
from signing.envelope import SignatureUncheckable, SignatureWrong
from signing.keys import public_key_from_json
from signing.times import rfc3339

FORMAT = "tidegate-repair/1"
PAYLOAD_TYPE = "application/vnd.tidegate.repair+json"
MAX_REQUEST = 16 << 20  # bytes
_BLOCK = 1 << 20  # bytes
_KNOWN = frozenset(
    ("format", "critical", "site", "origin", "bundle", "sequence", "export", "chunks", "made_at")
)


class RepairRequestWrong(BundleRefused):
    """A repair request that is not readable, or that its site did not sign, or about a bundle not made here."""

    exit_code: ClassVar[int] = 111
    next_step: ClassVar[str] = (
        "Take nothing from it. Have the site write the request again (`tidegate bundles repair-request`) and carry it anew."
    )

    def __init__(self, problem: str, *, at: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.problem, self.at = problem, at


class RepairImpossible(BundleRefused):
    """Chunks that this origin cannot make again to the byte."""

    exit_code: ClassVar[int] = 118
    next_step: ClassVar[str] = (
        "Ship the versions anew with `tidegate bundles create`: what the site has not acknowledged is sent again."
    )

    def __init__(self, bundle: str, problems: Sequence[str]) -> None:
        super().__init__(f"bundle {bundle}: {'; '.join(problems[:5])}")
        self.bundle, self.problems = bundle, tuple(problems)


class NothingToRepair(BundleRefused):
    """Everything that is needed is here, or can be rebuilt from parity."""

    exit_code: ClassVar[int] = 119
    next_step: ClassVar[str] = "Run `tidegate bundles import` with the same folders."

    def __init__(self, bundle: str) -> None:
        super().__init__(f"bundle {bundle}: nothing of it has to be sent again")
        self.bundle = bundle


@dataclass(frozen=True)
class Request:
    """What a site asks for."""

    site: str
    origin: str
    bundle: str
    sequence: int
    export: str  # SHA-256 of the export document
    chunks: tuple[str, ...]
    made_at: str


def write_request(
    work: Workplace, dirs: Sequence[Path], *, progress: Progress = no_progress, expect: Progress = no_progress
) -> tuple[Request, bytes]:
    """Read what is here of a bundle and return a signed request for what is not.

    Raises:
        NothingToRepair; and what opening a bundle raises.
    """
    with work.store.view() as view:
        memory = opening.remembered(view)
    opened = opening.open_bundle(reader.gather(dirs), memory, work)
    bundle = opened.bundle
    ingest = opening.ingest_of(work, bundle, opened.volumes, progress)
    wanted = [blob for blob in bundle.export.blobs if not opening.held(work.blobs, blob)]
    needed = ingest.needed(wanted)
    expect(sum(bundle.chunks[name].size for name in needed))
    bad = {name for name in needed if not _good(bundle.chunks[name], ingest.shelf.spots(name), progress)}
    shelf = Shelf({name: spots for name, spots in ingest.shelf.places.items() if name not in bad})
    lost = sorted(opened.lost(bad, shelf))
    if not lost:
        raise NothingToRepair(bundle.export.bundle)
    export = bundle.export
    request = Request(
        site=work.home.name,
        origin=export.origin,
        bundle=export.bundle,
        sequence=export.sequence,
        export=bundle.digest,
        chunks=tuple(lost),
        made_at=rfc3339(work.now),
    )
    return request, seal(work, _payload(request), payload_type=PAYLOAD_TYPE)


def _payload(request: Request) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "critical": [],
        "site": request.site,
        "origin": request.origin,
        "bundle": request.bundle,
        "sequence": request.sequence,
        "export": request.export,
        "chunks": list(request.chunks),
        "made_at": request.made_at,
    }


def _good(chunk: Chunk, spots: Sequence[Spot], progress: Progress) -> bool:
    for spot in spots:
        try:
            good = digest_of(spot, chunk.size) == chunk.chunk
        except Unreadable:
            continue
        progress(chunk.size)
        if good:
            return True
    return False


def read_request(work: Workplace, data: bytes, *, at: str) -> Request:
    """Return what is asked for, signed by the site that it names. Raises `RepairRequestWrong`."""
    try:
        letter = read_letter(data, at=at, max_bytes=MAX_REQUEST, format=FORMAT, known=_KNOWN)
        fields = letter.fields
        request = Request(
            fields.text("site"),
            fields.text("origin"),
            fields.text("bundle"),
            fields.whole("sequence", least=1),
            fields.digest("export"),
            fields.digests("chunks"),
            fields.moment("made_at"),
        )
    except MalformedBundle as exc:
        raise RepairRequestWrong(exc.problem, at=exc.at) from exc
    except FormatTooNew as exc:
        raise RepairRequestWrong(f"written by a newer release ({', '.join(exc.unknown)})", at=exc.at) from exc
    with work.store.view() as view:
        try:
            identity = view.site(request.site).identity
            made = {row.sequence: (row.digest, row.bundle) for row in view.exports(request.site)}
        except NotFound as exc:
            raise RepairRequestWrong(
                f"no site {request.site} is known here", at=f"{at}.payload.site"
            ) from exc
    key = public_key_from_json(identity.encode(), at=f"identity of {request.site}")
    try:
        letter.check(key, payload_type=PAYLOAD_TYPE)
    except (SignatureWrong, SignatureUncheckable) as exc:
        raise RepairRequestWrong(f"{request.site} did not sign it ({exc})", at=f"{at}.signature") from exc
    if made.get(request.sequence) != (request.export, request.bundle):
        raise RepairRequestWrong("no such bundle was made here", at=f"{at}.payload.export")
    return request


@dataclass(frozen=True)
class Repair:
    """The answer to a request."""

    request: Request
    folders: tuple[Path, ...]
    bytes: int  # of the chunks in it


def repair(
    work: Workplace,
    request: Request,
    *,
    out: Path,
    medium: Medium | None = None,
    progress: Progress = no_progress,
    expect: Progress = no_progress,
) -> Repair:
    """Write a volume (or several) with the chunks that are asked for, under the bundle's own number.

    Raises:
        NotOurBundle: what was kept of the bundle is not here any more, or another station packed it.
        RepairImpossible: chunks that do not come out as they were. NotFound: a blob is not in the store any more.
        HomeBusy: bundles are written at this home by another command.
        OutputUnusable, VolumeTooSmall, SpaceShort: as for `create_bundle`.
    """
    with work.home.busy("export"):  # what is read here stays in the store meanwhile
        return _repair(work, request, out=out, medium=medium, progress=progress, expect=expect)


def _repair(
    work: Workplace,
    request: Request,
    *,
    out: Path,
    medium: Medium | None,
    progress: Progress,
    expect: Progress,
) -> Repair:
    bundle = _kept_bundle(work, request)
    demand_packer(work, bundle)
    asked = frozenset(request.chunks)
    numbers = [n for n, chunk in enumerate(bundle.table.chunks) if chunk.chunk in asked]
    if len(numbers) != len(request.chunks):
        raise RepairRequestWrong("asks for chunks that the bundle does not have", at="payload.chunks")
    size = sum(bundle.table.chunks[number].size for number in numbers)
    expect(size)
    hidden = claim(out, request.bundle)
    try:
        with space_watched(out, size):
            _make_chunks(work, bundle, numbers, hidden / "pack", progress)
            made, _size = divide(work, bundle, numbers, hidden=hidden, medium=medium, repairs=True)
            note = {"site": request.site, "bundle": request.bundle, "chunks": len(numbers), "bytes": size}
            with work.store.change(actor=work.actor, now=work.now) as change:
                change.record(EventKind.REPAIR_MADE, request.export, note=note)
            folders = reveal(hidden, out, made)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return Repair(request, folders, size)


def _kept_bundle(work: Workplace, request: Request) -> Bundle:
    folder = office(work.home, request.site, request.bundle)
    small = {
        path: kept(folder, path, max_bytes=MAX_SMALL)
        for path in kept_files(folder)
        if path not in (PLAN, PLAN_SIGNATURE)
    }
    export = f"exports/{request.site}/{request.sequence}.json"
    if export not in small:
        raise NotOurBundle(request.bundle, problem="what was kept of it is not here any more")
    bundle = reader.interpret(small, export)
    assert bundle.digest == request.export, "the office keeps each bundle under its own name"
    return bundle


def _make_chunks(
    work: Workplace, bundle: Bundle, numbers: Sequence[int], folder: Path, progress: Progress
) -> None:
    """Make chunks again from the blobs in the store. Raises `RepairImpossible`, naming what comes out otherwise."""
    found = _lying_in(bundle, frozenset(numbers))
    problems = []
    for number in numbers:
        chunk = bundle.table.chunks[number]
        place = folder / chunk.path
        place.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with place.open("wb", buffering=0) as target:
            for data in _made(work, found[number]):
                digest.update(data)
                write_all(target.fileno(), data)
            os.fsync(target.fileno())
        if digest.hexdigest() != chunk.chunk:
            problems.append(f"{chunk.path} does not come out as it was")
        progress(chunk.size)
    if problems:
        raise RepairImpossible(bundle.export.bundle, problems)


def _lying_in(bundle: Bundle, numbers: frozenset[int]) -> dict[int, list[tuple[str, int, Part]]]:
    """Chunk number to (blob, offset in it, part) of what lies in it; of parts that share bytes, the first."""
    found: dict[int, dict[int, tuple[str, int, Part]]] = {number: {} for number in numbers}
    for blob, parts in bundle.table.blobs.items():
        offset = 0
        for part in parts:
            if part.chunk in found:
                found[part.chunk].setdefault(part.at, (blob, offset, part))
            offset += part.size
    return {number: list(lying.values()) for number, lying in found.items()}


def _made(work: Workplace, lying: Sequence[tuple[str, int, Part]]) -> Iterator[memoryview]:
    """Yield a chunk's bytes, in order; fewer where a blob of ours was cut."""
    with suppress(EOFError):  # the chunk's digest tells
        for blob, offset, part in sorted(lying, key=lambda one: one[2].at):
            yield from _stored(work, blob, offset, part)


def _stored(work: Workplace, blob: str, offset: int, part: Part) -> Iterator[memoryview]:
    """Yield the stored bytes of a part, made again from the blob."""
    work.blobs.size(blob)  # NotFound, before anything is opened
    with FileSource(work.blobs.path(blob)) as source:
        if part.encoding == RAW:
            for done in range(0, part.size, _BLOCK):
                yield _read(source, offset + done, min(_BLOCK, part.size - done))
            return
        raw = _read(source, offset, part.size)
    base = None
    if part.base is not None:
        work.blobs.size(part.base)
        with FileSource(work.blobs.path(part.base)) as held:
            base = _read(held, part.start, part.size)
    assert part.unit is not None
    found = ladder.encode(raw, part.unit, base)
    if found.encoding != part.encoding:
        found = ladder.encode(raw, part.unit, base, compact=True)
    yield memoryview(found.data)


def _read(source: FileSource, offset: int, size: int) -> memoryview:
    view = memoryview(bytearray(size))
    source.read_into(view, offset)
    return view
