"""`models add oci:FOLDER[:TAG]`: an image of an OCI layout that somebody else made becomes a version.

The rules:
1. Nothing of a layout is believed before it has been hashed: the index names manifests, a manifest names layers, each
   by SHA-256 and size, and what lies there under that name is compared with both before it is read.
2. A layer is a file as it is, or an archive of plain files (`tar`); links, devices, pipes and sparse files are
   refused by name. An archive is unpacked from the copy that was hashed, never from the layout.
3. The files of all layers together are one folder: no path twice, none that leads out of it, none that some system
   stores otherwise. Then everything goes the way of every intake: quarantine, scan, publisher's signature, record.
4. A compressed archive may not grow without end: beyond a hundred times its own size it is refused.
The manifest's digest and its annotations are kept with the provenance: what others signed is that digest.
"""

import gzip
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from pipelines.images import forms
from pipelines.intake import tar
from pipelines.intake.arrival import Arrived, Meter, cores, full_disk_named, in_parallel, waiting_room
from pipelines.intake.errors import SourceChanged
from pipelines.intake.folder import Seen, copy_one, list_folder
from pipelines.intake.oci_documents import (
    Descriptor,
    Image,
    Layer,
    LayoutUnusable,
    choose,
    is_index,
    read_image,
    read_index,
)
from pipelines.intake.provenance import Source
from pipelines.intake.record import Added, left_out, record, refuse_names
from pipelines.scan.reading import quoted
from pipelines.scan.values import Waiver
from pipelines.workplace import Workplace
from registry.blobs import Progress, copy_hashing, no_progress
from registry.manifests import MAX_FILES, MalformedManifest, Upstream, check_path
from registry.names import model_name
from signing.digests import sha256_hex

SCHEME = "oci:"
_MAX_NESTED = 4  # indexes in one another
_GROWTH, _SLACK = (
    100,
    16 << 20,
)  # an archive unpacks to at most this many times its size, and so many bytes more
_MAX_WINDOW = 1 << 27  # bytes that zstd may ask for; its highest level does
_MAX_SAID = 64 << 10  # bytes of annotations that are kept


@dataclass(frozen=True)
class Layout:
    """A layout's folder as it was listed."""

    folder: Path
    files: Mapping[str, Seen]

    def read(self, path: str, *, max_bytes: int) -> bytes:
        """Return a small file of it. Raises `LayoutUnusable`."""
        seen = self.files.get(path)
        if seen is None:
            raise LayoutUnusable(f"{self.folder}/{path}", "is missing; an OCI layout has it")
        if seen.size > max_bytes:
            raise LayoutUnusable(
                f"{self.folder}/{path}", f"has {seen.size} bytes; at most {max_bytes} are read"
            )
        # Not followed and not waited for: the folder is somebody else's.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(self.folder / path, flags), "rb") as stream:
            return stream.read(max_bytes + 1)

    def document(self, one: Descriptor) -> bytes:
        """Return a small blob that was hashed. Raises `LayoutUnusable`, `SourceChanged`."""
        data = self.read(one.path, max_bytes=forms.MAX_MANIFEST)
        _demand(one, len(data), sha256_hex(data))
        return data


def add_layout(
    work: Workplace,
    model: str,
    source: str,
    *,
    waivers: Sequence[Waiver] = (),
    leave_out: Sequence[str] = (),
    signature: bytes | None = None,
    progress: Progress = no_progress,
    expect: Progress = no_progress,
) -> Added:
    """Take an image's files in as a version of `model`; the same image again is the same version.

    Args:
        source: `FOLDER` or `FOLDER:TAG`, as skopeo writes it; the tag may be a digest.
        leave_out: patterns of files that are not part of the version.
        progress: called with the bytes just copied, from one thread at a time.
        expect: called once, before any progress, with the bytes of all layers.

    Raises:
        LayoutUnusable: it is no layout, names no one image, or an image holds something else than plain files.
        SourceChanged: bytes are not those that their digest names.
        SourceUnusable, NameUnusable, ScanBlocked, PublisherRefused, SpaceShort, HomeBusy: as `add_folder`.
    """
    model_name(model)
    folder, wanted = _parts(source)
    with work.home.busy("add"):
        layout = Layout(folder, {seen.path: seen for seen in list_folder(folder)})
        image = _image(layout, wanted)
        paths = [layer.path for layer in image.layers if layer.path is not None]
        refuse_names(model, sorted({*paths}.difference(left_out(paths, leave_out))), waivers)
        blobs = {layer.descriptor.digest: layer.descriptor for layer in image.layers}
        total = sum(one.size for one in blobs.values())
        work.blobs.demand_space(total)
        expect(total)
        account = _source(image, folder, wanted, model)
        with waiting_room(work.home, "add") as room, full_disk_named(room, total):
            copies = _copies(layout, list(blobs.values()), room, Meter(progress))
            arrived = _Unpacking(work, room, copies).all(image.layers)
            skipped = left_out((item.path for item in arrived), leave_out)
            chosen = [item for item in arrived if item.path not in skipped]
            if not chosen:
                raise LayoutUnusable(str(folder), "the image holds no file that could be part of a model")
            account = replace(account, left_out=skipped)
            return record(work, model, chosen, account, waivers=waivers, signature=signature)


def _parts(source: str) -> tuple[Path, str | None]:
    """Folder and tag. As in skopeo, the first colon ends the folder's name."""
    folder, _, wanted = source.partition(":")
    return Path(folder), wanted or None


def _image(layout: Layout, wanted: str | None) -> Image:
    folder = str(layout.folder)
    if "oci-layout" not in layout.files:
        raise LayoutUnusable(
            folder, "is no OCI layout: it has no file `oci-layout` (unpack an archive of one first)"
        )
    listed = read_index(layout.read("index.json", max_bytes=forms.MAX_MANIFEST), at=f"{folder}/index.json")
    chosen = choose(listed, wanted, at=folder)
    for _ in range(_MAX_NESTED):
        at = f"{folder}/{chosen.path}"
        data = layout.document(chosen)
        if not is_index(chosen):
            image = read_image(data, chosen, at=at)
            layout.document(image.config)
            return image
        chosen = choose(read_index(data, at=at), None, at=at)
    raise LayoutUnusable(folder, f"has indexes in one another, more than {_MAX_NESTED} deep")


def _source(image: Image, folder: Path, wanted: str | None, model: str) -> Source:
    """What is kept of where it came from. The name of the folder is the person's, the rest is the image's own."""
    digest = f"sha256:{image.descriptor.digest}"
    said: dict[str, Any] = {
        "manifest": digest,
        "artifactType": image.kind or image.config.media_type,
        "config": f"sha256:{image.config.digest}",
        "annotations": dict(image.annotations),
    }
    if sum(len(key) + len(value) for key, value in image.annotations.items()) > _MAX_SAID:
        raise LayoutUnusable(f"{folder}/{image.descriptor.path}", "has more annotations than are kept")
    asked = {"layout": folder.resolve().name, "image": wanted or digest, "model": model}
    return Source("add", asked, Upstream(f"{SCHEME}{digest}"), said=said)


def _copies(layout: Layout, wanted: Sequence[Descriptor], room: Path, meter: Meter) -> dict[str, Path]:
    """Copy every layer into the waiting room and hash it there. Returns digest to file."""
    jobs = []
    for number, one in enumerate(sorted(wanted, key=lambda one: -one.size)):
        seen = layout.files.get(one.path)
        if seen is None:
            raise LayoutUnusable(f"{layout.folder}/{one.path}", "is missing; the image names it as a layer")
        if seen.size != one.size:  # before a byte of it is copied
            _demand(one, seen.size, None)
        jobs.append((number, seen))
    arrived = in_parallel(jobs, partial(copy_one, layout.folder, room, meter), workers=cores(), meter=meter)
    for copied in arrived:
        _demand_named(copied)
    return {copied.sha256: copied.file for copied in arrived if copied.file is not None}


def _demand_named(copied: Arrived) -> None:
    named = copied.path.rpartition("/")[2]
    if copied.sha256 != named:
        raise SourceChanged(
            copied.path, expected=f"sha256 {named[:12]}", actual=f"sha256 {copied.sha256[:12]}"
        )


def _demand(one: Descriptor, size: int, sha256: str | None) -> None:
    if size != one.size:
        raise SourceChanged(one.path, expected=f"{one.size} bytes", actual=f"{size} bytes")
    if sha256 is not None and sha256 != one.digest:
        raise SourceChanged(one.path, expected=f"sha256 {one.digest[:12]}", actual=f"sha256 {sha256[:12]}")


class _Unpacking:
    """Makes the files of all layers, each path once."""

    def __init__(self, work: Workplace, room: Path, copies: Mapping[str, Path]) -> None:
        self._work, self._room, self._copies = work, room, copies
        self._found: dict[str, Arrived] = {}
        self._from: dict[str, str] = {}

    def all(self, layers: Sequence[Layer]) -> list[Arrived]:
        """Return every file. Raises `LayoutUnusable`, `SpaceShort`."""
        for number, layer in enumerate(layers):
            at, one = f"layer {number} ({layer.descriptor.path})", layer.descriptor
            if layer.path is None:
                self._archive(layer, at)
            else:
                self._keep(Arrived(layer.path, one.size, one.digest, self._copies[one.digest]), at)
        return list(self._found.values())

    def _keep(self, arrived: Arrived, at: str) -> None:
        path = self._checked(arrived.path, at)
        self._found[path], self._from[path] = arrived, at

    def _checked(self, path: str, at: str) -> str:
        try:
            check_path(path, at=at)
        except MalformedManifest as exc:
            raise LayoutUnusable(at, exc.problem) from exc
        if path in self._found:
            raise LayoutUnusable(at, f"holds {quoted(path)}, which {self._from[path]} holds too")
        if len(self._found) >= MAX_FILES:
            raise LayoutUnusable(at, f"holds more than {MAX_FILES} files")
        return path

    def _archive(self, layer: Layer, at: str) -> None:
        with self._copies[layer.descriptor.digest].open("rb") as stream:
            try:
                for member in tar.members(_Unpacked(stream, layer, at)):
                    member.path = _within(layer.folder, member.path)
                    self._checked(member.path, at)
                    self._work.blobs.demand_space(member.size)
                    self._keep(self._written(member), at)
            except tar.TarUnusable as exc:
                raise LayoutUnusable(at, str(exc)) from exc

    def _written(self, member: tar.Member) -> Arrived:
        target = self._room / f"file-{len(self._found)}"
        with target.open("xb", buffering=0) as sink:
            sha256, size = copy_hashing(member, sink.fileno())  # type: ignore[arg-type]
            os.fsync(sink.fileno())
        return Arrived(member.path, size, sha256, target)


def _within(folder: str | None, path: str) -> str:
    """A path in an archive that ORAS made of a folder: some begin it with the folder's whole name, some with its last."""
    if folder is None or path == folder or path.startswith(f"{folder}/") or "/" not in folder:
        return path
    return f"{folder.rpartition('/')[0]}/{path}"


class _Unpacked:
    """An archive's bytes without their compression, at most a hundred times as many as it has."""

    def __init__(self, stream: BinaryIO, layer: Layer, at: str) -> None:
        self._at = at
        self._left = layer.descriptor.size * _GROWTH + _SLACK
        if layer.compression == "gzip":
            self._source: Any = gzip.GzipFile(fileobj=stream, mode="rb")
        elif layer.compression == "zstd":
            reader = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
            self._source = reader.stream_reader(stream, read_across_frames=True)
        else:
            self._source = stream

    def read(self, size: int, /) -> bytes:
        try:
            data: bytes = self._source.read(size)
        except (gzip.BadGzipFile, zlib.error, EOFError, zstandard.ZstdError) as exc:
            raise LayoutUnusable(self._at, f"cannot be unpacked ({exc})") from exc
        self._left -= len(data)
        if self._left < 0:
            raise LayoutUnusable(self._at, f"unpacks to more than {_GROWTH} times its size; no model does")
        return data
