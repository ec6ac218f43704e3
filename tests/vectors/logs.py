"""The log: events with salted values and what opens them, signed and cosigned heads, proofs of one event."""

import base64
import hashlib
import json
from collections.abc import Callable
from itertools import count
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from registry import audit, salted
from registry.audit import Entry, EventKind
from signing import checkpoint, cosignature, tlog_proof
from signing.canonical import canonical_bytes, pretty_bytes
from signing.merkle import inclusion_proof, leaf_hash, root_of
from signing.tlog_proof import TlogProof
from tests.vectors.basics import MOMENT, Files, digest, with_fields, without
from tests.vectors.people import file_key

LOG, WITNESS = "tidegate/lab", "tidegate/harbour"
STATION, OTHER, HARBOUR = file_key("the station"), file_key("another station"), file_key("the witness")
LOG_KEY = checkpoint.verifier_key(LOG, STATION.public_key())
WITNESS_KEY = cosignature.cosigner_key(WITNESS, HARBOUR.public_key())
SEEN_AT = 1_795_176_000  # POSIX seconds of MOMENT


def fresh() -> Callable[[], bytes]:
    """Salts that everybody knows, each another."""
    numbers = count()
    return lambda: hashlib.sha256(f"tidegate vectors, salt {next(numbers)}".encode()).digest()[:16]


def entry(position: int) -> Entry:
    rows = (
        ("pin", {"tier": "team", "model": "acme/tiny", "version": digest("version"), "reason": "läuft gut"}),
        ("approval", {"person": "alice", "digest": digest("approval"), "made_at": MOMENT}),
    )
    note = {"reason": "läuft gut", "paths": {"/srv/a~b": ["x/y"]}, "count": 2, "tiers": ["team"]}
    return Entry(position, EventKind.PROMOTED, "team", MOMENT, "ines", rows, note)


PLAIN = canonical_bytes(
    {
        "format": "tidegate-event/1", "position": 0, "kind": "home made", "subject": "lab", "at": MOMENT,
        "actor": "ines", "rows": [], "note": {"profile": "solo"},
    }
)  # fmt: skip
SEALED = audit.seal(entry(1), salt=fresh())
EVENTS = (PLAIN, SEALED.data, *(audit.seal(entry(number), salt=fresh()).data for number in range(2, 7)))
HASHES = tuple(map(leaf_hash, EVENTS))


def event(path: str, leaf: bytes, openings: object) -> Files:
    """A folder: the leaf, and what opens all of it."""
    yield f"{path}/event.json", leaf
    if openings is not None:
        yield f"{path}/openings.json", canonical_bytes(openings)


def _coarse(most: int) -> tuple[bytes, list[Any]]:
    document = json.loads(canonical_bytes({"rows": [], **json.loads(SEALED.data)}))
    whole = {
        **document, "actor": "ines", "note": dict(entry(1).note),
        "rows": [{"table": table, "row": dict(row)} for table, row in entry(1).rows],
    }  # fmt: skip
    return salted.seal(whole, salt=fresh(), most=most)


def event_vectors() -> Files:
    openings = json.loads(SEALED.openings)
    yield from event("valid/event/format-1", PLAIN, None)
    yield from event("valid/event/salted", SEALED.data, openings)
    for name, most in (("rows-salted-whole", 1000), ("everything-salted-whole", 1)):
        yield from event(f"valid/event/{name}", *_coarse(most))
    bad = "refused/NotCanonical/event"
    pointer, salt, value = openings[0]
    changed: dict[str, list[Any]] = {
        "another-salt": [[pointer, salt[::-1], value], *openings[1:]],
        "another-value": [[pointer, salt, "eve"], *openings[1:]],
        "opens-nothing": [["/note/nothing", salt, value], *openings[1:]],
        "opens-what-is-open": [["/kind", salt, value], *openings[1:]],
        "opened-twice": [openings[0], *openings[:-1]],
        "salt-too-short": [[pointer, salt[:-2], value], *openings[1:]],
        "index-with-a-zero": [[one.replace("/rows/0/", "/rows/00/"), *rest] for one, *rest in openings],
        "not-three": [[pointer, salt], *openings[1:]],
        "one-left-closed": openings[1:],
    }
    for name, opened in changed.items():
        yield from event(f"{bad}/{name}", SEALED.data, opened)
    yield from event(f"{bad}/format-1-with-openings", PLAIN, openings)
    yield from event(f"{bad}/unknown-field", with_fields(PLAIN, novelty=1), None)
    yield from event(f"{bad}/no-note", without(PLAIN, "note"), None)
    yield from event(f"{bad}/another-format", with_fields(PLAIN, format="tidegate-event/3"), None)
    yield from event(f"{bad}/not-canonical", json.dumps(json.loads(PLAIN), sort_keys=True).encode(), None)


def head(size: int = 7, *, key: Ed25519PrivateKey = STATION) -> str:
    return checkpoint.sign_checkpoint(LOG, size, root_of(HASHES[:size]), key)


def cosigned(note: str, *, at: int = SEEN_AT, signed_at: int = SEEN_AT) -> str:
    line = cosignature.cosign(note, WITNESS, HARBOUR.public_key(), HARBOUR.sign, at=signed_at)
    raw = base64.b64decode(line.split(" ")[2])
    moved = raw[:4] + at.to_bytes(8, "big") + raw[12:]
    return cosignature.with_line(note, checkpoint.signature_line(WITNESS, moved))


def checkpoint_case(path: str, note: str, *, witnesses: tuple[str, ...] = ()) -> Files:
    yield f"{path}/checkpoint", note.encode()
    yield f"{path}/check.json", pretty_bytes({"log_key": LOG_KEY, "witnesses": list(witnesses)})


def checkpoint_vectors() -> Files:
    good = head()
    yield from checkpoint_case("valid/checkpoint/signed", good)
    yield from checkpoint_case("valid/checkpoint/cosigned", cosigned(good), witnesses=(WITNESS_KEY,))
    stranger = checkpoint.signature_line("someone.example/log", b"\1\2\3\4" + b"x" * 70)
    yield from checkpoint_case(
        "valid/checkpoint/with-a-strangers-line", cosignature.with_line(good, stranger)
    )
    body = good.partition("\n\n")[0]
    raw = checkpoint.key_id(LOG, STATION.public_key().public_bytes_raw())
    more = f"{body}\nan extension of another release\n"
    line = checkpoint.signature_line(LOG, raw + STATION.sign(more.encode()))
    yield from checkpoint_case("valid/checkpoint/with-a-fourth-line", f"{more}\n{line}\n")
    wrong, odd = "refused/CheckpointSignatureWrong/checkpoint", "refused/CheckpointUnreadable/checkpoint"
    yield from checkpoint_case(f"{wrong}/another-size", good.replace("\n7\n", "\n6\n"))
    yield from checkpoint_case(f"{wrong}/another-key", head(key=OTHER))
    yield from checkpoint_case(f"{wrong}/another-log", good.replace(LOG, "tidegate/clinic"))
    yield from checkpoint_case(f"{wrong}/no-cosignature", good, witnesses=(WITNESS_KEY,))
    moved = cosigned(good, at=SEEN_AT + 1)
    yield from checkpoint_case(f"{wrong}/cosigned-at-another-time", moved, witnesses=(WITNESS_KEY,))
    yield from checkpoint_case(f"{odd}/hyphen-for-the-dash", good.replace("\N{EM DASH}", "-"))
    yield from checkpoint_case(f"{odd}/no-last-newline", good[:-1])
    yield from checkpoint_case(f"{odd}/windows-line-ends", good.replace("\n", "\r\n"))
    yield from checkpoint_case(f"{odd}/nobody-signed", body + "\n\n")
    for name, size, root in (
        ("size-with-a-zero", "07", None),
        ("short-root", "7", b"short"),
        ("size-in-words", "seven", None),
    ):
        encoded = base64.b64encode(root_of(HASHES) if root is None else root).decode()
        text = f"{LOG}\n{size}\n{encoded}\n"
        line = checkpoint.signature_line(LOG, raw + STATION.sign(text.encode()))
        yield from checkpoint_case(f"{odd}/{name}", f"{text}\n{line}\n")


def proof_case(path: str, proof: bytes, *, openings: object = None, witnesses: tuple[str, ...] = ()) -> Files:
    yield f"{path}/event.tlog-proof", proof
    yield f"{path}/check.json", pretty_bytes({"log_key": LOG_KEY, "witnesses": list(witnesses)})
    if openings is not None:
        yield f"{path}/event.openings.json", pretty_bytes(openings)


def proof_vectors() -> Files:
    proof = TlogProof(1, inclusion_proof(HASHES, 1), cosigned(head()), EVENTS[1])
    good, opened = tlog_proof.write(proof), json.loads(SEALED.openings)
    known = (WITNESS_KEY,)
    yield from proof_case("valid/proof/cosigned", good, witnesses=known)
    yield from proof_case("valid/proof/one-value-opened", good, openings=opened[:1])
    last = TlogProof(6, inclusion_proof(HASHES, 6), head(), EVENTS[6])
    yield from proof_case("valid/proof/the-last-event", tlog_proof.write(last))
    only = TlogProof(0, (), head(1), EVENTS[0])
    yield from proof_case("valid/proof/the-only-event", tlog_proof.write(only))
    bad = "refused/ProofWrong/proof"
    for name, other in {
        "another-place": TlogProof(2, proof.path, proof.note, proof.extra),
        "another-event": TlogProof(1, proof.path, proof.note, EVENTS[2]),
        "path-too-short": TlogProof(1, proof.path[:-1], proof.note, proof.extra),
        "path-too-long": TlogProof(1, (*proof.path, HASHES[0]), proof.note, proof.extra),
        "beyond-the-head": TlogProof(7, proof.path, proof.note, proof.extra),
        "without-the-event": TlogProof(1, proof.path, proof.note),
    }.items():
        yield from proof_case(f"{bad}/{name}", tlog_proof.write(other))
    lie = [[opened[0][0], opened[0][1], "eve"]]
    yield from proof_case("refused/OpeningWrong/proof/another-value", good, openings=lie)
    note = TlogProof(1, proof.path, head(key=OTHER), proof.extra)
    yield from proof_case("refused/CheckpointSignatureWrong/proof/another-key", tlog_proof.write(note))
    bad = "refused/CheckpointUnreadable/proof"
    yield from proof_case(f"{bad}/version-2", good.replace(b"proof@v1", b"proof@v2"))
    yield from proof_case(f"{bad}/index-with-a-zero", good.replace(b"index 1", b"index 01"))
    yield from proof_case(f"{bad}/no-index", good.replace(b"index 1\n", b""))
    path = base64.b64encode(proof.path[0])
    yield from proof_case(f"{bad}/short-hash", good.replace(path, base64.b64encode(proof.path[0][:31])))
