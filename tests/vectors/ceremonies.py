"""Ceremonies as folders, each officer's signature a file of its own; and a fresh timestamp as lines on paper."""

import json
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Timestamp
from tuf.api.serialization.json import JSONSerializer

from pipelines import paper
from signing import draft_folder, draft_making, drafts
from signing.canonical import pretty_bytes
from signing.drafts import Draft
from signing.profiles import Profile
from signing.repository import TrustState
from signing.roots import PEOPLE_PATH
from tests.vectors.basics import STATION, Files, digest, signer
from tests.vectors.people import people_vectors

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
PEOPLE, ROLES = ("alice", "bob", "carla"), ("root", "targets", "catalog")


def key(person: str, role: str) -> CryptoSigner:
    return signer(f"{person} as {role}")


def first() -> Draft:
    draft = draft_making.begin(Profile.OFFICERS, "harbour", [STATION.public_key], now=NOON)
    for role in ROLES:
        for person in PEOPLE:
            draft = draft_making.with_key(draft, role, person, key(person, role).public_key)
    return draft


def folder(*people: str) -> dict[str, bytes]:
    """The files of the first ceremony, signed by these people."""
    draft = first()
    with tempfile.TemporaryDirectory() as place:
        draft_folder.create(Path(place), draft)
        for person in people:
            for role in draft.documents:
                for one in drafts.sign(draft, key(person, role), now=NOON):
                    draft_folder.add_signature(Path(place), one)
        paths = [path for path in Path(place).rglob("*") if path.is_file()]
        return {path.relative_to(place).as_posix(): path.read_bytes() for path in paths}


def under(path: str, files: Mapping[str, bytes]) -> Files:
    yield from ((f"{path}/{name}", data) for name, data in sorted(files.items()))


def publishing(*people: str, roles: tuple[str, ...] = ("targets",)) -> dict[str, bytes]:
    """The files of a second ceremony, in which targets vouches for the list of people."""
    draft = first()
    signatures = [
        one
        for person in PEOPLE[:2]
        for role in ROLES[:2]
        for one in drafts.sign(draft, key(person, role), now=NOON)
    ]
    signatures = list({(one.role, one.keyid): one for one in signatures}.values())
    state = drafts.finish(draft, TrustState(()), signatures, [STATION], now=NOON)
    listed = dict(people_vectors())["valid/people/three.json"]
    second = draft_making.publishing(state, {PEOPLE_PATH: listed}, "harbour", now=NOON + timedelta(days=1))
    with tempfile.TemporaryDirectory() as place:
        draft_folder.create(Path(place), second)
        for person in people:
            for role in roles:
                for one in drafts.sign(second, key(person, role), now=NOON + timedelta(days=1)):
                    draft_folder.add_signature(Path(place), one)
        paths = [path for path in Path(place).rglob("*") if path.is_file()]
        return {path.relative_to(place).as_posix(): path.read_bytes() for path in paths}


def second_ceremony() -> Files:
    good = publishing("bob", "carla")
    yield from under("valid/ceremony/people-published", good)
    bad = "refused/CeremonyUnusable/ceremony"
    other = good[f"targets/{PEOPLE_PATH}"].replace(b"third floor", b"first floor")
    yield from under(f"{bad}/another-payload", {**good, f"targets/{PEOPLE_PATH}": other})
    gone = {name: data for name, data in good.items() if name != f"targets/{PEOPLE_PATH}"}
    yield from under(f"{bad}/payload-missing", gone)
    root = json.loads(good["trust/1.root.json"])
    root["signatures"] = root["signatures"][:1]
    data = json.dumps(root, sort_keys=True, separators=(",", ":")).encode()
    yield from under(f"{bad}/trust-signed-by-one", {**good, "trust/1.root.json": data})


def ceremony_vectors() -> Files:
    yield from second_ceremony()
    good = folder("alice", "bob")
    yield from under("valid/ceremony/two-of-three", good)
    yield from under("valid/ceremony/nobody-yet", folder())
    name = f"signatures/targets/{key('alice', 'targets').public_key.keyid}.json"
    said, stated = json.loads(good[name]), json.loads(good["ceremony.json"])
    bad = "refused/PartialSignatureRefused/ceremony"
    for case, fields in {
        "over-another-document": {"document": digest("another")},
        "another-signature": {"sig": said["sig"][::-1]},
        "another-keys-name": {"keyid": key("bob", "targets").public_key.keyid},
        "unknown-field": {"note": ""},
        "another-format": {"format": "tidegate-partial-signature/2"},
        "hex-in-capitals": {"sig": said["sig"].upper()},
    }.items():
        yield from under(f"{bad}/{case}", {**good, name: pretty_bytes({**said, **fields})})
    moved = f"signatures/targets/{key('alice', 'root').public_key.keyid}.json"
    yield from under(f"{bad}/key-of-another-role", {**good, moved: good[moved.replace("targets", "root")]})
    catalog = {name.replace("targets", "catalog"): good[name]}
    yield from under(f"{bad}/role-without-a-document", {**good, **catalog})
    bad = "refused/CeremonyUnusable/ceremony"
    changed: dict[str, dict[str, Any]] = {
        "unknown-field": {"novelty": 1},
        "another-format": {"format": "tidegate-ceremony/2"},
        "another-kind": {"kind": "rotate"},
        "quorum-of-none": {"quorums": {"root": [0, 3]}},
        "moment-with-fraction": {"made_at": "2026-11-20T12:00:00.0Z"},
        "payload-that-climbs": {"payloads": {"../people.json": digest("people")}},
        "another-profile": {"profile": "solo"},
        "base-that-is-not-there": {"base": {"roots": [digest("root")]}},
    }
    for case, more in changed.items():
        yield from under(f"{bad}/{case}", {**good, "ceremony.json": pretty_bytes({**stated, **more})})
    yield from under(
        f"{bad}/two-documents-of-a-role",
        {**good, "documents/2.targets.json": good["documents/1.targets.json"]},
    )
    yield from under(f"{bad}/strange-file", {**good, "signatures/root/notes.txt": b"mine\n"})
    weaker = json.loads(good["documents/1.targets.json"])
    weaker["signed"]["delegations"]["roles"][0]["threshold"] = 1
    data = json.dumps(weaker, sort_keys=True, separators=(",", ":")).encode()
    yield from under(f"{bad}/document-behind-the-words", {**good, "documents/1.targets.json": data})


def stamp(number: int, expires: datetime, snapshot: str = "snapshot") -> bytes:
    meta = MetaFile(3, 900, {"sha256": digest(snapshot)})
    metadata = Metadata(Timestamp(number, expires=expires, snapshot_meta=meta))
    metadata.sign(STATION)
    return metadata.to_bytes(JSONSerializer(compact=True))


def paper_vectors() -> Files:
    own = stamp(3, NOON)
    fresh = stamp(9, NOON + timedelta(days=60))
    lines = paper.to_paper(fresh)
    text = "\n".join(lines) + "\n"
    files = {"own.json": own, "timestamp.json": fresh}
    yield from under("valid/paper/as-printed", {**files, "paper.txt": text.encode()})
    sloppy = "\n\n".join(line.lower().replace("-", " ").replace("0", "o").replace("1", "l") for line in lines)
    numbered = "\n\n".join(
        f"{number}. {line.split(None, 1)[1]}" for number, line in enumerate(sloppy.split("\n\n"), start=1)
    )
    yield from under("valid/paper/as-typed", {**files, "paper.txt": numbered.encode()})
    bad, letter = "refused/RestampRefused/paper", lines[2][6]
    wrong = lines[2][:6] + ("A" if letter != "A" else "B") + lines[2][7:]
    swapped = lines[2][:4] + lines[2][5] + lines[2][4] + lines[2][6:]
    assert lines[2][4] != lines[2][5]
    for case, typed in {
        "wrong-letter": [*lines[:2], wrong, *lines[3:]],
        "letters-changed-places": [*lines[:2], swapped, *lines[3:]],
        "lines-changed-places": [lines[1], lines[0], *lines[2:]],
        "line-missing": lines[:-1],
        "line-twice": [*lines, lines[-1]],
        "a-letter-that-is-none": [lines[0].replace(lines[0][4], "U", 1), *lines[1:]],
        "nothing": [],
    }.items():
        yield from under(f"{bad}/{case}", {"own.json": own, "paper.txt": "\n".join(typed).encode() + b"\n"})
    other = {"own.json": stamp(3, NOON, "another snapshot"), "paper.txt": text.encode()}
    yield from under(f"{bad}/another-bundle", other)
