"""Checks what Tidegate wrote with nothing of Tidegate: a bundle, an audit folder, why a tier serves a model.

Written by hand from SPEC.md and AUDIT.md, for whoever trusts neither the product nor the site. Needs Python 3.11 and
`cryptography`. Exits 0 when all holds, 1 for what is wrong, 2 for what cannot be checked; sees no bundle's age.
"""

import hashlib
import json
import os
import re
import sys
from argparse import ArgumentParser, Namespace
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key, load_ssh_public_key

MOST, PIECE = 128 << 20, 16 << 20  # bytes of a document, and of what is read at once
HEX, HASHES = re.compile(r"[0-9a-f]{64}"), {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
OWN = {"volume.json", "SHA256SUMS", "plan.json", "plan.sig.json"}  # may differ from volume to volume
EXPORT = "bundle sequence audience origin issued_at previous next_expected_by base releases documents statements"
EXPORT += " blobs assumed chunks withdrawals packer profile bases history readme transfer log baseline"
RELEASE = "model ordinal digest modelpack contract statements"
ABOUT = "home profile roles made_at size root log_key station witnesses enrolment left_out"
FILES = {one: f"{one}s/{{}}.json" for one in ("statement", "approval", "decision", "document", "report")}
FILES |= {"approval request": "requests/{}.json", "version": "versions/{}/manifest.json"}
REPLAYED = ("person", "pin", "tier policy", "withdrawal")
MADE = {1: "touched", 5: "touched and given its PIN", **dict.fromkeys((9, 13), "touched, MAY BE COPIED")}


class Wrong(Exception):
    """What is wrong, in one line; or what could not be checked, neither right nor wrong."""


def demand(true: object, what: str) -> None:
    if not true:
        raise Wrong(what)


def canonical(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode(errors="replace")


def document(data: bytes, at: str, form: str, known: str) -> dict[str, Any]:  # of a format; it may hold more
    value: dict[str, Any] = json.loads(data)
    demand(canonical(value) == data and value["format"] == form, f"{at}: not {form} in canonical form")
    odd = {*value.get("critical", [])} - {"format", "critical", *known.split()}
    demand(not odd, f"{at}: critical fields that are not known here: {sorted(odd)}")
    return value


def fits(public: Any, signature: bytes, data: bytes) -> bool:
    how: Any = (padding.PKCS1v15(), hashes.SHA256()) if isinstance(public, rsa.RSAPublicKey) else ()
    if isinstance(public, ec.EllipticCurvePublicKey):
        how = (ec.ECDSA(hashes.SHA256() if public.key_size == 256 else hashes.SHA384()),)
    with suppress(InvalidSignature):
        return public.verify(signature, data, *how) is None
    return False


def key_fits(key: dict[str, Any], signature: bytes, data: bytes) -> bool:  # of a key as TUF writes it; ML-DSA: TAP 21
    scheme, public = key["scheme"], key["keyval"]["public"]
    if scheme == "ed25519":
        return fits(ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)), signature, data)
    digest = b"tuf\x01" + hashlib.sha512(data).digest()
    return fits(load_pem_public_key(public.encode()), signature, digest if scheme.startswith("ml-dsa-") else data)


def pae(payload: bytes, kind: str) -> bytes:
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)


def pieces(path: Path, start: int = 0, size: int = 1 << 62) -> Iterator[bytes]:  # of a plain file
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
        stream.seek(start)
        while size and (data := stream.read(min(size, PIECE))):
            size -= len(data)
            yield data


def hashed(data: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    [*map(found.update, data)]
    return found.hexdigest()


class Folder:  # its plain files; no link is followed. Each is what SHA256SUMS says, and all of them stand there
    def __init__(self, path: Path) -> None:
        self.path, found = path, set[str]()
        for place in path.rglob("*"):
            demand(not place.is_symlink() and (place.is_dir() or place.is_file()), f"{place}: no plain file")
            found |= {place.relative_to(path).as_posix()} if place.is_file() else set()
        lines = self.read("SHA256SUMS").decode("utf-8", "replace").splitlines(keepends=True)
        self.sums = {line[66:-1]: line[:64] for line in lines if HEX.match(line)}
        demand(lines == [f"{self.sums[name]}  {name}\n" for name in sorted(self.sums)], f"{path}/SHA256SUMS: form")
        odd = found ^ {*self.sums, "SHA256SUMS"}
        demand(not odd, f"{path}: in SHA256SUMS or in the folder, not in both: {sorted(odd)[:3]}")
        for name, value in self.sums.items():
            demand(hashed(pieces(path / name)) == value, f"{path}/{name}: not as SHA256SUMS says")
        self.stored = {name: value for name, value in self.sums.items() if name.startswith(("chunks/", "parity/"))}
        self.shared = {name: value for name, value in self.sums.items() if name not in {*OWN, *self.stored}}

    def read(self, name: str) -> bytes:
        demand((self.path / name).lstat().st_size <= MOST, f"{self.path}/{name}: too large")
        return b"".join(pieces(self.path / name))

    def below(self, top: str) -> list[str]:
        return [name for name in self.sums if name.startswith(top)]


def signed(data: bytes, at: str, kind: str, by: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """The signed part of a TUF file, if each (keys, role) has its quorum of distinct keys and nobody else signed."""
    value = json.loads(data)
    exact = json.dumps(value, sort_keys=True, separators=(",", ":")).encode() == data
    demand(exact and set(value) == {"signatures", "signed"}, f"{at}: not spelt as it was signed")
    demand(value["signed"]["_type"] == kind, f"{at}: no {kind} metadata")
    allowed = {keyid: keys[keyid] for keys, role in by for keyid in role["keyids"]}
    # What TUF signatures cover (OLPC canonical JSON) is our form, but for a line's end, which stands as it is.
    payload, good = canonical(value["signed"]).replace(b"\\n", b"\n"), {one["keyid"] for one in value["signatures"]}
    for one in value["signatures"]:
        right = one["keyid"] in allowed and key_fits(allowed[one["keyid"]], bytes.fromhex(one["sig"]), payload)
        demand(right, f"{at}: signature of {one['keyid'][:12]} is not one that counts")
    for keys, role in by:
        distinct = {keys[keyid]["keyval"]["public"].strip() for keyid in good & {*role["keyids"]}}
        demand(len(distinct) >= role["threshold"] >= 1, f"{at}: {len(distinct)} of {role['threshold']} signatures")
    return dict(value["signed"])


class Trust:  # what one origin signs for, by the TUF metadata in `trust/`, or `upstream/` of a relayed bundle
    def __init__(self, folder: Folder, place: str, fingerprint: str, now: datetime) -> None:
        self.folder, self.place, self.now, root, anchored = folder, place, now, dict[str, Any](), False
        for number in range(1, 1 + sum(name.endswith(".root.json") for name in folder.below(f"{place}/"))):
            data = folder.read(at := f"{place}/{number}.root.json")
            said = json.loads(data)["signed"]
            root = signed(data, at, "root", [(one["keys"], one["roles"]["root"]) for one in (root, said) if one])
            demand(root["version"] == number, f"{at}: is root {root['version']}")
            anchored = anchored or hashed([data]) == fingerprint
        demand(anchored, f"{place}: no root with the fingerprint {fingerprint[:12]}")
        demand(datetime.fromisoformat(root["expires"]) > now, f"{place}: root expired on {root['expires']}")
        self.root, self.listed = root, dict[str, Any]()
        for name in ("timestamp", "snapshot"):
            self.listed |= self.meta(name, name, root["keys"], root["roles"][name])["meta"]
        self.targets = self.meta("targets", "targets", root["keys"], root["roles"]["targets"])
        demand({*self.targets["targets"]} <= {"identities/people.json"}, f"{place}: targets signs for documents itself")

    def meta(self, name: str, kind: str, keys: Any, role: Any) -> dict[str, Any]:  # the very file that is listed
        about = self.listed[f"{name}.json"] if name != "timestamp" else {}
        data = self.folder.read(at := f"{self.place}/" + (f"{about['version']}." if about else "") + f"{name}.json")
        demand(not about or about["hashes"]["sha256"] == hashed([data]), f"{at}: not the file that was signed")
        body = signed(data, at, kind, [(keys, role)])
        demand(datetime.fromisoformat(body["expires"]) > self.now, f"{at}: expired on {body['expires']}")
        return body

    def role(self, name: str, below: str) -> dict[str, str]:  # path to SHA-256 of what it signs for, below that
        delegations = self.targets.get("delegations") or {"roles": []}
        roles = [one for one in delegations["roles"] if one["name"] == name and f"{name}.json" in self.listed]
        body = self.meta(name, "targets", delegations["keys"], roles[0]) if roles else {"targets": {}}
        return {path: one["hashes"]["sha256"] for path, one in body["targets"].items() if path.startswith(below)}


class Bundle:
    def __init__(self, volume: Folder, trusts: list[Trust], site: str) -> None:
        [path], catalogues = volume.below("exports/"), [one.role("catalog", "releases/") for one in trusts]
        self.volume, data, trusted = volume, volume.read(path), trusts[0].role(f"site-{site}", f"exports/{site}/")
        demand(trusted.get(path) == hashed([data]), f"{path}: the site's role does not sign for it")
        self.export = export = document(data, path, "tidegate-export/1", EXPORT)
        demand(path == f"exports/{export['audience']}/{export['sequence']}.json", f"{path}: says it is another one")
        pins = {name: one["hashes"]["sha256"] for name, one in trusts[0].targets["targets"].items()}
        pins |= {f"{name}.jsonl": export[name]["sha256"] for name in ("chunks", "history")}
        pins |= {f"documents/{one['digest']}.json": one["digest"] for one in export["documents"]}
        pins |= {f"statements/{one['digest']}.json": one["digest"] for one in export["statements"]}
        pins |= {f"statements/{one['digest']}.sig.json": one["signature"] for one in export["statements"]}
        pins |= {one["path"]: one["sha256"] for one in export["releases"]} | {"README.txt": export["readme"]}
        for name, value in pins.items():
            demand(volume.sums.get(name) == value, f"{name}: not what the export names")
        self.declared, known = {path, *pins}, {(b["sha256"], b["size"]) for b in export["blobs"] + export["assumed"]}
        for one in export["releases"]:
            signers = {catalogue[one["path"]] for catalogue in catalogues if one["path"] in catalogue}
            demand(signers == {one["sha256"]}, f"{one['path']}: no catalogue signs for it")
            self.release(one["path"], known)
        self.rows = [json.loads(line) for line in volume.read("chunks.jsonl").splitlines()]
        self.chunks = [row for row in self.rows if "chunk" in row and "at" not in row]

    def release(self, at: str, known: set[tuple[str, int]]) -> None:
        release = document(self.volume.read(at), at, "tidegate-release/1", RELEASE)
        named = f"releases/{release['model']}/{release['ordinal']}.json", f"documents/{release['digest']}.json"
        demand(at == named[0] and named[1] in self.declared, f"{at}: of another place, or its manifest is not shipped")
        manifest = document(self.volume.read(named[1]), named[1], "tidegate-manifest/1", "")
        missing = [one["path"] for one in manifest["files"] if (one["sha256"], one["size"]) not in known]
        demand(manifest["model"] == release["model"] and not missing, f"{at}: not accounted for: {missing[:3]}")

    def check_volume(self, volume: Folder) -> None:  # where the plan puts things is the strict reader's matter
        demand(volume.shared == self.volume.shared, f"{volume.path}: other documents than {self.volume.path}")
        misnamed = [path for path, name in volume.stored.items() if Path(path).stem != name]
        trust = {name for name in volume.shared if re.fullmatch(r"(trust|upstream)/[a-z0-9.-]+\.json", name)}
        odd = [*misnamed, *sorted(set(volume.shared) - self.declared - trust)]
        demand(not odd, f"{volume.path}: {odd[:3]} not declared")

    def blobs(self, files: dict[str, Path], decoder: Any) -> Iterator[tuple[str, Iterator[bytes]]]:  # all, in order
        rest = self.rows[len(self.chunks) :]
        for blob in self.export["blobs"]:
            demand(rest and rest[0].get("blob") == blob["sha256"], f"chunks.jsonl: {blob['sha256'][:12]} is next")
            head, parts, rest = rest[0], rest[1 : rest[0]["parts"] + 1], rest[rest[0]["parts"] + 1 :]
            yield head["blob"], self.blob(files, decoder, head["bases"], parts)
        demand(not rest, "chunks.jsonl: lines after the last blob")

    def blob(self, files: dict[str, Path], decoder: Any, bases: list[str], parts: list[Any]) -> Iterator[bytes]:
        """What the parts give: bytes of a held blob, of a chunk, or of a frame."""
        for part in parts:
            spans = [(bases[part["base"]], part["from"], part["size"])] if "base" in part else []
            raw = "chunk" not in part or part["encoding"] == "raw"
            if "chunk" in part:
                spans.append((self.chunks[part["chunk"]]["chunk"], part["at"], part["size" if raw else "stored"]))
            for name, _, _ in spans:
                demand(name in files, f"{name[:12]}: not at hand; is a volume missing, or the site's store (--held)?")
            data = [pieces(files[name], start, size) for name, start, size in spans]
            if raw:
                yield from data[-1]
            elif decoder is None:
                raise Wrong("NOT CHECKED", "compact frames: give --reader, the folder with their decoder")
            else:
                under, stored = b"".join(data[0]) if len(data) > 1 else None, b"".join(data[-1])
                yield decoder.decode(part["encoding"], part["unit"], stored, part["size"], under)


def check_bundle(options: Namespace, strict: Any) -> Iterator[str]:
    tops = (top for one in options.words for deep in ("", "*/", "*/*/") for top in Path(one).glob(f"{deep}volume.json"))
    volumes, below = [Folder(top.parent) for top in dict.fromkeys(tops)], f"exports/{options.site}/"
    demand(volumes and len(volumes[0].below(below)) == 1, "no volume.json, or not one export for this site")
    known = {"trust": options.root_fingerprint, "upstream": options.upstream}
    trusts = [Trust(volumes[0], place, root, options.now) for place, root in known.items() if root is not None]
    yield f"trust: root {trusts[0].root['version']} of profile {trusts[0].root['x-tidegate-profile']}, signatures fit"
    bundle = Bundle(volumes[0], trusts, options.site)
    [*map(bundle.check_volume, volumes)]
    files = {path.name: path for folder in options.held for path in folder.rglob("*") if HEX.fullmatch(path.name)}
    files |= {name: volume.path / path for volume in volumes for path, name in volume.stored.items()}
    yield f"bundle {bundle.export['bundle']} from {bundle.export['origin']}: each file of {len(volumes)} volumes is as named"
    yield from strict.look(bundle, trusts, volumes) if strict else ()
    for name, data in bundle.blobs(files, strict and strict.frames):
        demand(hashed(data) == name, f"blob {name[:12]}: comes out otherwise; is what it builds on rotten?")
    yield f"blobs: {len(bundle.export['blobs'])}, each is what its name says"


def note(text: str, keys: list[str]) -> tuple[int, bytes, list[str]]:  # size, root, whose signatures (C2SP)
    body, good = text.rpartition("\n\n")[0] + "\n", list[str]()
    for _, name, line in (line.split(" ") for line in text[len(body) + 1 :].splitlines()):
        raw = b64decode(line)
        for kind in (b64decode(key.split("+", 2)[2]) for key in keys if key.startswith(f"{name}+{raw[:4].hex()}+")):
            said = body if kind[0] == 1 else f"cosignature/v1\ntime {int.from_bytes(raw[4:12], 'big')}\n{body}"
            own = hashlib.sha256(name.encode() + b"\n" + kind).digest()[:4] == raw[:4]
            right = own and fits(ed25519.Ed25519PublicKey.from_public_bytes(kind[1:]), raw[-64:], said.encode())
            demand(right, f"head signed by {name}: not over these words")
            good.append(f"{name}+{raw[:4].hex()}+{b64encode(kind).decode()}")
    return int(body.split("\n")[1]), b64decode(body.split("\n")[2]), good


def fields(data: bytes) -> Iterator[bytes]:
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        yield data[4:end]
        data = data[end:]


def packed(*parts: bytes) -> bytes:
    return b"".join(len(one).to_bytes(4, "big") + one for one in parts)


def ssh_key(kind: str, blob: bytes) -> Any:  # a token's as if it lay in a file: `cryptography` reads few of the others
    name, (_, *parts) = kind.removeprefix("sk-").removesuffix("@openssh.com").encode(), fields(blob)
    return load_ssh_public_key(name + b" " + b64encode(packed(name, *parts[: len(parts) - kind.startswith("sk-")])))


def how_made(text: str, message: bytes, namespace: str, public: str) -> str:
    """Hold a person's signature against the one key that is theirs; what made it? PROTOCOL.sshsig, PROTOCOL.u2f."""
    kind, blob = public.split(maxsplit=1)[0], b64decode(public.split()[1])
    if kind == "x509":
        card, signature = x509.load_der_x509_certificate(blob).public_key(), b64decode(json.loads(text)["signature"])
        demand(fits(card, signature, pae(message, f"application/vnd.tidegate.{namespace}")), "not signed by this card")
        return "PIV card"
    raw = b64decode("".join(text.split("-----")[2].split()))
    carried, space, reserved, digest, signature = fields(raw[10:])
    demand((raw[:10], carried, space) == (b"SSHSIG\0\0\0\1", blob, namespace.encode()), "another key, or another use")
    said = b"SSHSIG" + packed(space, reserved, digest, HASHES[digest](message).digest())
    form, inner = islice(fields(signature), 2)
    rest, host = signature[8 + len(form) + len(inner) :], [*fields(blob)][-1]
    token, page = (rest[:5], [*fields(rest[5:])]) if kind.startswith("sk-") else (b"", [])
    if page:  # of a browser (WebAuthn): it signs what it was asked to, and where; the host has to be the key's own
        asked, challenge = json.loads(page[1]), urlsafe_b64encode(said).rstrip(b"=").decode()
        usual = {"type": "webauthn.get", "challenge": challenge, "origin": page[0].decode(), "crossOrigin": False}
        right = {**asked, **usual} == {"crossOrigin": False, **asked} and "topOrigin" not in asked
        place = (rb"https?://" if host == b"localhost" else b"https://") + re.escape(host) + rb"(:\d+)?"
        demand(right and re.fullmatch(place, page[0]), "asked for by another page, or signed for something else")
        said = page[1]
    if token:  # it signs its flags and its counter, too
        said = hashlib.sha256(host).digest() + token + b"".join(page[2:]) + hashlib.sha256(said).digest()
    inner = encode_dss_signature(*(int.from_bytes(one, "big") for one in fields(inner))) if "ecdsa" in kind else inner
    demand(fits(ssh_key(kind, blob), inner, said), "not signed by this key")
    return f"{'passkey' if page else 'token'}, {MADE.get(token[0] & 13, 'NOT TOUCHED')}" if token else "key in a file"


class Audit:  # the log of a folder, replayed: the rows of every table, each with the position of its event
    def __init__(self, folder: Folder, key: str | None) -> None:
        self.folder, self.rows = folder, {table: list[dict[str, Any]]() for table in (*FILES, *REPLAYED)}
        self.about = document(folder.read("audit.json"), "audit.json", "tidegate-audit/1", ABOUT)
        self.size, root, good = note(folder.read("log/checkpoint").decode(), [key or self.about["log_key"]])
        name = f"tidegate/{self.about['home']}"
        demand({one.split("+")[0] for one in good} == {name}, f"log/checkpoint: not signed by the log's key, {name}")
        heads, peaks, self.witnesses, self.solo, self.old = {self.size: root}, list[Any](), set[str](), False, False
        for name in folder.below("log/cosigned/"):
            size, root, good = note(folder.read(name).decode(), self.about["witnesses"])
            demand(good and size <= self.size, f"{name}: no witness signed it, or the log's tail is gone")
            demand(heads.setdefault(size, root) == root, f"{name}: is of another log")
            self.witnesses |= {*good}
        for position, leaf in self.leaves():
            peaks.append((1, hashlib.sha256(b"\0" + leaf).digest()))
            while len(peaks) > 1 and peaks[-1][0] == peaks[-2][0]:
                (size, left), (_, right) = peaks[-2:]
                peaks[-2:] = [(2 * size, hashlib.sha256(b"\1" + left + right).digest())]
            root = peaks[-1][1]
            for _, left in reversed(peaks[:-1] if position + 1 in heads else []):
                root = hashlib.sha256(b"\1" + left + root).digest()
            demand(heads.pop(position + 1, root) == root, f"the head of {position + 1} events was signed over others")
        demand(not heads, f"events are missing: heads of {sorted(heads)} are signed")

    def leaves(self) -> Iterator[tuple[int, bytes]]:
        for name in sorted(self.folder.below("log/tile/entries/")):
            first = 256 * int("".join(one for one in name.partition(".p/")[0] if one.isdigit()))
            data, lines = self.folder.read(name), f"log/openings/{first // 256}.jsonl"
            opened = map(json.loads, self.folder.read(lines).splitlines() if lines in self.folder.sums else ())
            openings = {one["position"]: one["openings"] for one in opened}
            for position in range(first, min(first + 256, self.size)):
                end = 2 + int.from_bytes(data[:2], "big")  # a leaf that is too long for a tile lies by itself
                leaf, data = data[2:end] or self.folder.read(f"log/long/{position}"), data[end:]
                yield position, leaf
                self.replay(position, json.loads(leaf), openings.get(position, []))

    def replay(self, position: int, event: Any, openings: list[Any]) -> None:
        demand(event["position"] == position, f"event {position}: stands at another place")
        self.solo = self.solo if position else event["note"].get("profile", self.about["profile"]) == "solo"
        self.old = (self.old if position else event["format"][-1] == "1") and event["kind"] != "home upgraded"
        for pointer, salt, value in openings:
            holder = last = spot = event
            for step in (one.replace("~1", "/").replace("~0", "~") for one in pointer.split("/")[1:]):
                holder, last = spot, int(step) if isinstance(spot, list) else step
                spot = spot[last]
            same = len(salt) == 32 and spot == {"salted": hashed([bytes.fromhex(salt) + canonical(value)])}
            demand(same, f"event {position}: {pointer} opens to something else")
            holder[last] = value
        for one in event["rows"] if isinstance(event["rows"], list) else ():
            row, free = {**one["row"], "event": position}, one["table"] != "person" or self.about["left_out"]
            demand(free or self.backed(row), f"event {position}: stewards who had to sign for a person did not")
            self.rows.get(one["table"], []).append(row)

    def backed(self, row: dict[str, Any]) -> bool:  # a row about a person, by as many stewards as it takes
        stewards = {one["name"] for one in self.rows["person"] if self.solo or "steward" in one["roles"].split(",")}
        given, names = json.loads(self.text(row.get("authority", "{}"))), set[str]()
        about = {"position": row["position"], "until": row.get("until"), "roles": row["roles"].split(",")}
        about["public_key"] = self.text(row["public_key"])
        for one in (one for one in self.rows["decision"] if one["digest"] in {*given.get("decisions", ())}):
            said = self.said(one, "decisions")[0]
            if said["subject"] == row["name"] and {**said["details"], **about} == said["details"]:
                names |= {said["person"]} & stewards
        return self.old or "document" in given or not row["active"] or names == stewards or len(names) > (not self.solo)

    def text(self, value: str, name: str = "") -> str:  # a long one stands in the log as its SHA-256
        found = self.folder.read(name or f"texts/{value[7:]}") if name or value[:7] == "sha256:" else value.encode()
        demand(value in (found.decode(), f"sha256:{hashed([found])}"), f"{name or value}: not as the log has it")
        return found.decode()

    def find(self, table: str, before: float = float("inf"), **same: Any) -> list[dict[str, Any]]:
        return [row for row in self.rows[table] if row["event"] < before and same.items() <= row.items()]

    def said(self, row: dict[str, Any], top: str) -> tuple[dict[str, Any], dict[str, Any], str]:
        """What a person signed, who that was when the log took it in, and what made the signature."""
        at, known = f"{top}/{row['digest']}", self.find("person", row["event"], name=row["person"])
        payload, signature = self.folder.read(f"{at}.json"), self.text(row["signature"], f"{at}.sig")
        said: dict[str, Any] = json.loads(payload)
        right = hashed([payload]) == row["digest"] and said["person"] == row["person"] and known and known[-1]["active"]
        right = right and row["made_at"] < (known[-1].get("until") or "9")
        right = right and said.get("site", said.get("home")) == self.about["home"]
        demand(right, f"{at}: nobody of that name could sign here then, or it is another's, or another home's")
        return said, known[-1], how_made(signature, payload, f"{top[:-1]}@tidegate", self.text(known[-1]["public_key"]))

    def check_files(self) -> Iterator[str]:  # each row has its file and each file its row; who signed did
        named = {FILES[table].format(row["digest"]): (table, row) for table in FILES for row in self.rows[table]}
        for name, (_, row) in named.items():
            found = self.folder.sums.get(name, row["digest"] if self.about["left_out"] else None)
            demand(found == row["digest"], f"{name}: in the log, and not in the folder as it was")
        tops = tuple(place.partition("{")[0] for place in FILES.values() if not place.startswith("versions"))
        odd = [one for one in self.folder.sums if one.startswith(tops) and f"{one.split('.')[0]}.json" not in named]
        odd += [name for name in self.folder.below("texts/") if self.folder.sums[name] != name[6:]]
        demand(not odd, f"in the folder, not in the log: {odd[:3]}")
        made, station, kind = dict[str, list[str]](), self.about["station"], "application/vnd.in-toto+json"
        for name, (table, row) in ((name, one) for name, one in named.items() if name in self.folder.sums):
            if table in ("approval", "decision"):
                made.setdefault(table, []).append(self.said(row, f"{table}s")[2])
            elif table == "statement":
                envelope = json.loads(self.text(row["signature"], f"{name[:-5]}.sig.json"))
                [one], said = envelope["signatures"], pae(self.folder.read(name), envelope["payloadType"])
                ours = one["keyid"] == station["keyid"]
                right = not ours or key_fits(station, b64decode(one["sig"]), said)
                demand(right and envelope["payloadType"] == kind, f"{name}: not signed by this home's key")
                made.setdefault(table, []).append("this home's key" if ours else "NOT CHECKED, another home's key")
        for table, all_made in made.items():
            count = ", ".join(f"{all_made.count(how)} by {how}" for how in sorted({*all_made}))
            yield f"{table}s: {len(all_made)}, signed: {count}"


def promotion(log: Audit, tier: str, model: str, number: str = "") -> Iterator[str]:
    pins = log.find("pin", tier=tier, model=model)
    demand([pin["position"] for pin in pins] == [*range(1, max(len(pins), int(number or 1)) + 1)], "not that many pins")
    pin = pins[int(number or len(pins)) - 1]
    event, version, back, counted = pin["event"], pin["version"], pin["kind"] == "rollback", set[tuple[str, str]]()
    yield f"{tier} serves {model}@{pin['ordinal']}, {version}, since {pin['since']}: {pin['kind']}, event {event}"
    policy = log.find("tier policy", event, tier=tier)[-1]
    evidence, rules = json.loads(log.text(pin["evidence"])), json.loads(log.text(policy["body"]))
    reports = [row for row in log.find("report", event, version=version) if row["digest"] in evidence]
    names = {row["digest"]: row["name"] for row in log.rows["document"]}
    yield from (f"  {row['kind']} {names.get(row['suite'], '')}: {row['outcome']}, {row['made_by']}" for row in reports)
    took_part = {one["made_by"] for one in reports} | {one["added_by"] for one in log.find("version", digest=version)}
    for row in log.find("approval", event, version=version, tier=tier):
        said, person, how = log.said(row, "approvals")
        right = row["digest"] in evidence and said.get("decision", "approve") == "approve"
        right = right and (said["digest"], said["tier"]) == (version, tier) and "steward" in person["roles"].split(",")
        right = right and person["name"] not in {*took_part, said["requested_by"]} and "NOT" not in how
        right = right and said["issued_at"] <= pin["since"] and row["made_at"] < said["expires_at"]
        right = right and (how.endswith((" card", " PIN")) or not rules["hardware_keys"])
        yield f"  {said.get('decision', 'approve')} by {row['person']}, {how}{'' if right else ': does not count'}"
        counted |= {(row["person"], log.text(person["public_key"]).split()[1])} if right else set()
    people = min(len({who for who, _ in counted}), len({key for _, key in counted}))
    needed = min(1, rules["approvals"]) if log.solo else rules["approvals"]
    passed = {names.get(row["suite"]) for row in reports if row["outcome"] == "PASSED"}
    missing = [f"suite {name} did not pass" for name in rules["suites"] if name not in passed]
    missing += [f"{people} of {needed} approvals"] if people < needed else []
    missing = ([] if log.find("pin", event, tier=tier, version=version) else ["never served here"]) if back else missing
    against = missing + (["withdrawn"] if log.find("withdrawal", event, version=version) else [])
    if pin.get("override"):
        said, _, how = log.said(log.find("decision", event, digest=pin["override"])[0], "decisions")
        about = said["kind"], said["subject"], said["details"]["tier"]
        demand(about == ("break-glass", version, tier), "the override is about something else")
        yield f"  BREAK-GLASS by {said['person']} alone, {how}, against {against}: {said['reason']} {said['details']}"
        later = (log.said(row, "decisions")[0] for row in log.find("decision", kind="review", subject=pin["override"]))
        reviews = [(one["person"], one["details"]) for one in later]
        yield f"  reviewed by: {reviews or 'NOBODY YET'}"
    demand(not against or pin.get("override"), f"{tier} should not have served it: {'; '.join(against)}")
    yield "allowed BY ONE PERSON ALONE" if pin.get("override") else "allowed, by what the folder holds"


def check_audit(options: Namespace) -> Iterator[str]:
    log = Audit(Folder(Path(options.words[0])), options.key)
    yield f"log: {log.size} events of {log.about['home']}, signed by {options.key or log.about['log_key']}"
    yield f"cosigned by {', '.join(sorted(log.witnesses)) or 'nobody: who holds the key could have written another one'}"
    yield from log.check_files() if options.kind == "audit" else promotion(log, *options.words[1:])
    yield from import_module("signed").look(log) if options.reader else ()
    if log.about["left_out"]:
        raise Wrong("NOT CHECKED", f"left out of the folder: {log.about['left_out']}")


def main(given: list[str]) -> int:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("bundle", "audit", "promotion"))
    parser.add_argument("words", nargs="+", help="FOLDER… of a bundle; FOLDER of an audit; FOLDER TIER MODEL [NUMBER]")
    parser.add_argument("--root-fingerprint", default="", help="of the root that the site was enrolled with")
    parser.add_argument("--upstream", help="the same of the origin behind, for a relayed bundle")
    parser.add_argument("--site", default="", help="whom the bundle is for")
    parser.add_argument("--held", action="append", default=[], type=Path, help="folder of blobs named by their SHA-256")
    parser.add_argument("--now", type=datetime.fromisoformat, default=datetime.now(UTC), help="2026-11-20T08:30:00Z")
    parser.add_argument("--reader", help="folder of the strict reader: limits of the format, compact frames, parity")
    parser.add_argument("--key", help="the log's key, NAME+HASH+BASE64, from somebody else than the folder")
    options = parser.parse_args(given)
    sys.path += [options.reader] if options.reader else []
    sys.modules.setdefault("verify", sys.modules[__name__])  # the strict reader stands on this one
    strict = import_module("strict") if options.reader else None
    try:
        for line in check_bundle(options, strict) if options.kind == "bundle" else check_audit(options):
            print(repr(line)[1:-1])  # nothing in it moves a cursor
    except (Wrong, OSError, KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as reason:
        left_out = options.kind == "promotion" and isinstance(reason, (FileNotFoundError, TypeError))
        unproven = left_out or "NOT CHECKED" in reason.args
        said = reason.args[-1] if isinstance(reason, Wrong) else f"not as it must be: {type(reason).__name__}: {reason}"
        print(f"{'NOT CHECKED' if unproven else 'WRONG'}: {repr(said)[1:-1]}")
        return 2 if unproven else 1
    print("everything fits")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
