"""Keeping companions: taking a folder in, saying which models they go with, handing a pinned set to a machine."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipelines.errors import JudgingRefused
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.companions import (
    KIND,
    MAX_BYTES,
    MAX_FILES,
    Companions,
    CompanionsMalformed,
    Drift,
    companions_of,
    decode,
    drift,
    encode,
)
from registry.entities import CompanionBinding, Document, Pin
from registry.errors import NotFound
from registry.names import Ref
from registry.views import View
from signing.digests import sha256_hex
from signing.durable import write_durably
from signing.times import rfc3339


class SecretFound(JudgingRefused):
    """A companion holds what looks like a secret: it would be copied to every machine and medium."""

    exit_code: ClassVar[int] = 235
    next_step: ClassVar[str] = (
        "Take the secret out of the file, and change it wherever it is used: it has been in a file. Name secrets by an environment variable instead."
    )

    def __init__(self, places: list[str]) -> None:
        super().__init__("what looks like a secret stands in: " + "; ".join(places))
        self.places = tuple(places)


class NoCompanions(JudgingRefused):
    """The tier's pin has no companions, or not this file."""

    exit_code: ClassVar[int] = 236
    next_step: ClassVar[str] = (
        "Say what goes with the model (`tidegate companions set MODEL NAME`) and promote it again, so that it is pinned."
    )

    def __init__(self, tier: str, model: str, file: str | None = None) -> None:
        what = f"has no {file} pinned" if file else "has no companions pinned"
        super().__init__(f"{model} in {tier} {what}")
        self.tier, self.model, self.file = tier, model, file


@dataclass(frozen=True)
class Pinned:
    """A tier's companions of one model."""

    pin: Pin
    companions: Companions


def add_companions(work: Workplace, folder: Path, *, name: str) -> Document:
    """Take a folder in. The same files under the same name again are no change.

    Raises:
        CompanionsMalformed: naming the file. SecretFound: a file holds what looks like a secret.
    """
    from pipelines.scan.secrets import find_secrets  # noqa: PLC0415 - patterns that only this and a scan need

    found = companions_of(name, _texts(folder))
    secrets = [
        f"{path} line {secret.line} ({secret.kind})"
        for path, text in found.files.items()
        for secret in find_secrets(text)
    ]
    if secrets:
        raise SecretFound(secrets)
    body = encode(found)
    with work.store.change(actor=work.actor, now=work.now) as change:
        row = change.document_by_digest(sha256_hex(body))
        if row is None:
            row = Document(
                digest=sha256_hex(body),
                kind=KIND,
                name=name,
                body=body.decode(),
                added_at=rfc3339(work.now),
                added_by=work.actor,
            )
            change.record(EventKind.COMPANIONS_ADDED, row.digest, row)
        elif change.meaning(KIND, name) != row.digest:
            change.record(EventKind.COMPANIONS_ADDED, row.digest)  # held already; now the name means it
    return row


def set_companions(work: Workplace, subject: str, companions: str | None) -> CompanionBinding:
    """From now on these companions (a document's digest, None for none) go with a model or one of its versions.

    Args:
        subject: `namespace/name`, or `namespace/name@3`.

    Raises:
        NotFound: no such model or version.
    """
    ref = Ref.parse(subject)
    with work.store.change(actor=work.actor, now=work.now) as change:
        version = change.version(ref)
        about = version.digest if "@" in subject else version.model
        last = change.companions_bound(about)
        if last is not None and last.companions == companions:
            return last
        row = CompanionBinding(
            subject=about,
            position=last.position + 1 if last else 1,
            companions=companions,
            since=rfc3339(work.now),
            actor=work.actor,
        )
        change.record(EventKind.COMPANIONS_SET, about, row)
    return row


def pinned_companions(view: View, tier: str, model: str) -> Pinned:
    """What a tier has pinned with a model. Raises `NotFound`, `NoCompanions`."""
    pin = view.pin(tier, model)
    if pin is None:
        raise NotFound("version pinned as", f"{model}@{tier}")
    row = view.document_by_digest(pin.companions) if pin.companions else None
    if row is None:
        raise NoCompanions(tier, model)
    return Pinned(pin, decode(row.body.encode()))


def write_companions(companions: Companions, folder: Path) -> list[Path]:
    """Write every file below `folder`, each whole or not at all. Files of other names there stay."""
    written = []
    for path, text in companions.files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        write_durably(target, text.encode())
        written.append(target)
    return written


def drifted(found: Pinned, file: str, text: str) -> list[Drift]:
    """How a machine's file differs from the pinned one. Raises `NoCompanions`, `CompanionsMalformed`."""
    if file not in found.companions.files:
        raise NoCompanions(found.pin.tier, found.pin.model, file)
    return drift(found.companions.files[file], text, at=file)


def _texts(folder: Path) -> dict[str, str]:
    """Read every file of a folder, following no link and opening nothing but plain files."""
    found: dict[str, str] = {}
    room = MAX_BYTES
    try:
        for path in _paths(folder):
            shown = path.relative_to(folder).as_posix()
            if len(found) >= MAX_FILES:
                raise CompanionsMalformed(f"more than {MAX_FILES} files", at=str(folder))
            data = _plain(path, room, at=shown)
            room -= len(data)
            found[shown] = data.decode()
    except UnicodeDecodeError as exc:
        raise CompanionsMalformed(f"a file is not UTF-8 ({exc.reason})", at=str(folder)) from exc
    except OSError as exc:
        raise CompanionsMalformed(f"cannot be read ({exc.strerror})", at=str(exc.filename or folder)) from exc
    return found


def _paths(folder: Path, depth: int = 0) -> Iterator[Path]:
    if depth > 8:
        raise CompanionsMalformed("folders in folders, more than 8 deep", at=str(folder))
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            yield from _paths(entry, depth + 1)
        else:
            yield entry


def _plain(path: Path, room: int, *, at: str) -> bytes:
    handle = os.open(
        path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    )  # a FIFO would wait for ever
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise CompanionsMalformed("not a plain file", at=at)
        data = stream.read(room + 1)
    if len(data) > room:
        raise CompanionsMalformed(f"the files have more than {MAX_BYTES:,} bytes", at=at)
    return data
