"""A ceremony as files, to be carried from one officer to the next on any medium.

ceremony.json            what kind, whose, begun when, from which trust; the changes in words
documents/N.ROLE.json    the new TUF metadata, without signatures
targets/…                what is published with it, such as identities/people.json
evidence/…               what explains that, such as the manifests of versions; believed by digest alone
trust/                   the origin's public trust as it was, to hold the new documents against
signatures/ROLE/KEY.json one signature each; the only thing that a signer adds
WHAT.txt                 the changes in words, for people without this program

Nothing in the folder is believed: a reader computes the words again and refuses a folder that says others, and one
whose trust is not signed as an origin signs it.
"""

import os
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tuf.api.metadata import Root, Targets

from signing import draft_words
from signing.canonical import NotCanonical, parse, pretty_bytes
from signing.digests import is_sha256, sha256_hex
from signing.drafts import KINDS, CeremonyUnusable, Draft, PartialSignature, PartialSignatureRefused
from signing.durable import write_durably
from signing.folder import read_inside
from signing.profiles import STATION_ROLES, Quorum
from signing.refusals import BundleUntrusted, MetadataTampered, TrustFileMissing
from signing.repository import TrustRepository, TrustState
from signing.roots import MAX_METADATA, check_signatures, open_metadata
from signing.times import TimeUnreadable, from_rfc3339, rfc3339

FORMAT = "tidegate-ceremony/1"
SIGNATURE_FORMAT = "tidegate-partial-signature/1"
_FIELDS = {
    *("format", "kind", "origin", "profile", "base", "made_at", "changes", "quorums", "payloads", "evidence"),
}
_MAX_SMALL = 1 << 20  # bytes of ceremony.json and of a signature file
_MAX_PAYLOAD = 16 << 20  # bytes
MAX_CARRIED = 256 << 20  # bytes of all that is published or explained by one ceremony
MAX_FILES = 512  # in one folder of the ceremony
_DOCUMENT = re.compile(r"([1-9][0-9]{0,8})\.([a-z0-9-]{1,68})\.json")
_ROLE = re.compile(r"[a-z0-9-]{1,68}")
_KEY_FILE = re.compile(r"[0-9a-f]{64}\.json")
_HEX = re.compile(r"(?:[0-9a-f]{2}){1,8192}")
_PAYLOAD = re.compile(r"(?:[a-z0-9._-]+/){1,4}[a-z0-9._-]+")


def demand_new(folder: Path) -> None:
    """Pass when a ceremony may begin there. Raises `CeremonyUnusable`: there is something already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CeremonyUnusable(str(folder), "is there already; a ceremony begins in a new or empty folder")


def create(folder: Path, draft: Draft, *, more: Sequence[str] = ()) -> None:
    """Write a new ceremony. Raises `CeremonyUnusable`: there is something at `folder` already.

    Args:
        more: lines for WHAT.txt, in words that this layer does not have.
    """
    demand_new(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if draft.base.roots:
        TrustRepository(folder / "trust").save(draft.base)
    for name, files in (("targets", draft.payloads), ("evidence", draft.evidence)):
        for path, data in files.items():
            (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
            write_durably(folder / name / path, data)
    rewrite(folder, draft, more=more)


def rewrite(folder: Path, draft: Draft, *, more: Sequence[str] = ()) -> None:
    """Write the documents of a ceremony that nobody has signed yet; `ceremony.json` comes last."""
    place = folder / "documents"
    place.mkdir(exist_ok=True)
    for role, data in draft.documents.items():
        write_durably(place / f"{_number(draft, role)}.{role}.json", data)
    words = draft_words.changes(draft)
    write_durably(folder / "WHAT.txt", ("\n".join([*words, *more]) + "\n").encode())
    write_durably(folder / "ceremony.json", pretty_bytes(_stated(draft, words)))


def read(folder: Path) -> Draft:
    """Return the ceremony of a folder that somebody handed over.

    Raises:
        CeremonyUnusable: a file is missing or unreadable, or says something else than the documents do.
    """
    try:
        return _read(folder)
    except BundleUntrusted as exc:  # the trust of an origin is judged as at a site
        raise CeremonyUnusable(str(folder), str(exc)) from exc
    except NotCanonical as exc:
        raise CeremonyUnusable("ceremony.json", str(exc)) from exc


def add_signature(folder: Path, one: PartialSignature) -> Path:
    """Write one signature's file and return its place; the same key's file of before is replaced."""
    place = folder / "signatures" / one.role / f"{one.keyid}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    value = {"format": SIGNATURE_FORMAT, "document": one.document, "keyid": one.keyid, "sig": one.sig}
    write_durably(place, pretty_bytes(value))
    return place


def signatures(folder: Path) -> list[PartialSignature]:
    """Return every signature in the folder; whether they are good is judged by `drafts.waiting`.

    Raises:
        PartialSignatureRefused: a file that is no signature as this program writes it.
        CeremonyUnusable: more files than any ceremony has.
    """
    return [
        _signature(folder, role, name)
        for role in _names(folder / "signatures", _ROLE)
        for name in _names(folder / "signatures" / role, _KEY_FILE)
    ]


def _read(folder: Path) -> Draft:
    stated = _object(read_inside(folder, "ceremony.json", max_bytes=_MAX_SMALL))
    if stated["format"] != FORMAT or stated["kind"] not in KINDS:
        raise CeremonyUnusable("ceremony.json", f"is no ceremony of format {FORMAT}")
    base = TrustRepository(folder / "trust").load() if (folder / "trust").exists() else TrustState(())
    draft = Draft(
        kind=stated["kind"],
        origin=_text(stated["origin"], "origin"),
        made_at=_moment(stated["made_at"]),
        base=base,
        documents=MappingProxyType(_documents(folder)),
        quorums=MappingProxyType(_quorums(stated["quorums"])),
        payloads=MappingProxyType(_files(folder, "targets", stated["payloads"])),
        evidence=MappingProxyType(_files(folder, "evidence", stated["evidence"])),
    )
    _demand_honest(base)
    if (draft.kind == "init") != (not base.roots) or not draft.documents:
        raise CeremonyUnusable("documents", "do not fit this kind of ceremony")
    words = draft_words.changes(draft)
    if stated != _stated(draft, words):
        raise CeremonyUnusable("ceremony.json", "says something else than the documents and the trust do")
    return draft


def _demand_honest(base: TrustState) -> None:
    """Raise what `check_signatures` raises unless the trust in the folder is signed as an origin signs it."""
    before: Root | None = None
    for number, data in enumerate(base.roots, start=1):
        name = f"trust/{number}.root.json"
        opened = open_metadata(Root, data, name=name)
        check_signatures(
            opened, "root", [opened.signed] if before is None else [before, opened.signed], name=name
        )
        before = opened.signed
    for role in base.metadata.keys() - set(STATION_ROLES):  # those two are made anew at the end
        name = f"trust/{role}.json"
        delegator = base.root if role == "targets" else base.targets
        check_signatures(open_metadata(Targets, base.metadata[role], name=name), role, [delegator], name=name)


def _stated(draft: Draft, words: list[str]) -> dict[str, Any]:
    base = {role: sha256_hex(data) for role, data in draft.base.metadata.items()}
    return {
        "format": FORMAT,
        "kind": draft.kind,
        "origin": draft.origin,
        "profile": str(draft.profile),
        "base": {"roots": [sha256_hex(data) for data in draft.base.roots], **base},
        "made_at": rfc3339(draft.made_at),
        "changes": words,
        "quorums": {role: [quorum.need, quorum.of] for role, quorum in draft.quorums.items()},
        "payloads": {path: sha256_hex(data) for path, data in draft.payloads.items()},
        "evidence": {path: sha256_hex(data) for path, data in draft.evidence.items()},
    }


def _object(data: bytes) -> dict[str, Any]:
    value = parse(data, max_bytes=_MAX_SMALL, at="ceremony.json")
    if not isinstance(value, dict) or set(value) != _FIELDS:
        raise CeremonyUnusable("ceremony.json", f"has other fields than {', '.join(sorted(_FIELDS))}")
    return value


def _text(value: object, at: str) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > 64:
        raise CeremonyUnusable("ceremony.json", f"{at} is no name")
    return value


def _moment(value: object) -> datetime:
    try:
        return from_rfc3339(_text(value, "made_at"))
    except TimeUnreadable as exc:
        raise CeremonyUnusable("ceremony.json", str(exc)) from exc


def _documents(folder: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name in _names(folder / "documents", _DOCUMENT):
        match = _DOCUMENT.fullmatch(name)
        assert match is not None, "the names were chosen by this pattern"
        role = match[2]
        if role in found:
            raise CeremonyUnusable(f"documents/{name}", f"is a second document of {role}")
        limit = MAX_METADATA["root" if role == "root" else "targets"]
        found[role] = read_inside(folder, f"documents/{name}", max_bytes=limit)
    order = [role for role in ("root", "targets") if role in found]
    return {role: found[role] for role in (*order, *sorted(set(found) - set(order)))}


def _quorums(value: object) -> dict[str, Quorum]:
    if not isinstance(value, dict):
        raise CeremonyUnusable("ceremony.json", "quorums is not an object")
    found = {}
    for role, pair in value.items():
        if not isinstance(pair, list) or len(pair) != 2 or not all(type(n) is int and n > 0 for n in pair):
            raise CeremonyUnusable("ceremony.json", f"quorums.{role} is not [need, of]")
        found[role] = Quorum(*pair)
    return found


def _files(folder: Path, name: str, value: object) -> dict[str, bytes]:
    if not isinstance(value, dict) or len(value) > MAX_FILES:
        raise CeremonyUnusable("ceremony.json", f"what lies in {name} is not an object of {MAX_FILES} names")
    if not all(_PAYLOAD.fullmatch(path) and is_sha256(digest) for path, digest in value.items()):
        raise CeremonyUnusable("ceremony.json", f"names something in {name} that is no path and digest")
    found: dict[str, bytes] = {}
    room = MAX_CARRIED
    for path in value:
        found[path] = read_inside(folder, f"{name}/{path}", max_bytes=_MAX_PAYLOAD)
        room -= len(found[path])
        if room < 0:
            raise CeremonyUnusable(name, f"holds more than {MAX_CARRIED} bytes")
    return found


def _signature(folder: Path, role: str, name: str) -> PartialSignature:
    place = f"signatures/{role}/{name}"
    try:
        value = parse(read_inside(folder, place, max_bytes=_MAX_SMALL), max_bytes=_MAX_SMALL, at=place)
    except (NotCanonical, MetadataTampered, TrustFileMissing) as exc:
        raise PartialSignatureRefused(place, "cannot be read") from exc
    if not isinstance(value, dict) or set(value) != {"format", "document", "keyid", "sig"}:
        raise PartialSignatureRefused(place, "is no signature as `tidegate trust sign` writes it")
    good = (
        value["format"] == SIGNATURE_FORMAT
        and is_sha256(value["document"])
        and f"{value['keyid']}.json" == name
        and isinstance(value["sig"], str)
        and _HEX.fullmatch(value["sig"])
    )
    if not good:
        raise PartialSignatureRefused(place, "is no signature as `tidegate trust sign` writes it")
    return PartialSignature(role, value["document"], value["keyid"], value["sig"])


def _names(place: Path, pattern: re.Pattern[str]) -> list[str]:
    """Return the names in a folder, sorted. Raises `CeremonyUnusable`: too many, a link, or others than expected."""
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        raise CeremonyUnusable(place.name, "is not a folder")
    if not place.exists():
        return []
    names: list[str] = []
    with os.scandir(place) as entries:
        for entry in entries:
            if not pattern.fullmatch(entry.name) or len(names) >= MAX_FILES:
                raise CeremonyUnusable(f"{place.name}/{entry.name}"[:80], "does not belong in a ceremony")
            names.append(entry.name)
    return sorted(names)


def numbered(draft: Draft) -> list[str]:
    """Return the new documents as people name them: `root 2`, `targets 3`."""
    return [f"{role} {_number(draft, role)}" for role in draft.documents]


def _number(draft: Draft, role: str) -> int:
    return draft.root.version if role == "root" else draft.document(role).version
