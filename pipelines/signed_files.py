"""Whether files are the ones that a model signature lists: the whole world of them, both ways.

Pure but for reading what is not known by SHA-256 already. A version's files are, so that a signature over whole files
with SHA-256 costs no reading at all; stretches and other hashes are read once, file by file.

What the signature's author left out on purpose counts for nothing here: a file is covered, or it is one of the few
that every signer leaves out and no engine loads, or it is a finding.
"""

import hashlib
import importlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from signing.digests import BLOCK
from signing.model_signature import ModelSignatureUnreadable, Resource, SignedModel

NAMES = ("model.sig", "signature.oms", "model.oms.sig")  # where publishers put the signature
UNCOVERED = frozenset((*NAMES, ".gitattributes", ".gitignore"))  # may lie there unsigned
_SHOWN = 5


@dataclass(frozen=True)
class File:
    """A file that is there."""

    size: int  # bytes
    sha256: str
    open: Callable[[], BinaryIO]


def differences(
    signed: SignedModel, files: Mapping[str, File], *, left_out: Collection[str] = ()
) -> list[str]:
    """Return every way in which the files are not those that were signed, in words.

    Args:
        files: by path.
        left_out: paths that somebody here chose not to take.

    Raises:
        ModelSignatureUnreadable: hashed in a way that this installation does not know.
    """
    wanted = _by_path(signed, files)
    missing = sorted(set(wanted) - set(files) - set(left_out))
    extra = [path for path in sorted(set(files) - set(wanted)) if not _uncovered(signed, path, files[path])]
    found = [f"{path} is signed and not here" for path in missing]
    found += [f"{path} is here and not signed" for path in extra]
    both = [path for path in sorted(wanted) if path in files]
    return found + [
        f"{path} is not the file that was signed"
        for path in both
        if not _same(signed, wanted[path], files[path])
    ]


def in_words(found: Sequence[str]) -> str:
    """The first few of many, in one line."""
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(found[:_SHOWN]) + more


def _by_path(signed: SignedModel, files: Mapping[str, File]) -> dict[str, list[Resource]]:
    found: dict[str, list[Resource]] = {}
    for one in signed.resources:
        found.setdefault(one.path, []).append(one)
    if "." in found:  # a model that is one file, under whatever name
        real = [path for path in files if path not in UNCOVERED]
        return {(real[0] if len(real) == 1 else "."): found["."]}
    return found


def _uncovered(signed: SignedModel, path: str, file: File) -> bool:
    return path in UNCOVERED or (
        signed.stretch is not None and file.size == 0
    )  # an empty file has no stretch


def _same(signed: SignedModel, resources: Sequence[Resource], file: File) -> bool:
    if signed.stretch is None and signed.hash_type == "sha256":
        return resources[0].digest == file.sha256
    ordered = sorted(resources, key=lambda one: one.start)
    if signed.stretch is not None and not _tiles(ordered, file.size, signed.stretch):
        return False
    with file.open() as stream:
        return all(_digest(stream, signed.hash_type, one) == one.digest for one in ordered)


def _tiles(ordered: Sequence[Resource], size: int, stretch: int) -> bool:
    """Whether the stretches cover a file of this size, each once: then none of its bytes is unsigned."""
    if len(ordered) != max(1, -(-size // stretch)):  # before a list of that many is made
        return False
    return all(
        one.start == number * stretch and one.end in (size, one.start + stretch)
        for number, one in enumerate(ordered)
    )


def _digest(stream: BinaryIO, hash_type: str, part: Resource) -> str:
    total = _hasher(hash_type)
    stream.seek(part.start)
    left = None if part.end is None else part.end - part.start
    while block := stream.read(BLOCK if left is None else min(BLOCK, left)):
        total.update(block)
        left = None if left is None else left - len(block)
    digest: str = total.hexdigest()
    return digest


def _hasher(hash_type: str) -> Any:
    if hash_type != "blake3":
        return hashlib.new(hash_type)
    try:
        return importlib.import_module("blake3").blake3()
    except ImportError as exc:
        problem = "is hashed with BLAKE3, which needs `pip install blake3` here"
        raise ModelSignatureUnreadable(problem, at="model signature") from exc
