"""Who signed what: keys, TUF metadata from a folder, DSSE. SPEC.md, section 3."""

import base64
import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from reading import Volume, Wrong, demand, parse, sha256

MOMENT = "%Y-%m-%dT%H:%M:%SZ"


def fits(key: dict[str, Any], signature: bytes, data: bytes) -> bool:
    kind, scheme, public = key["keytype"], key["scheme"], key["keyval"]["public"]
    try:
        if (kind, scheme) == ("ed25519", "ed25519"):
            ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, data)
            return True
        loaded: Any = serialization.load_pem_public_key(public.encode())
        if scheme.startswith("ecdsa-sha2-nistp"):
            width = {"256": hashes.SHA256(), "384": hashes.SHA384()}[scheme[-3:]]
            loaded.verify(signature, data, ec.ECDSA(width))
        else:
            demand(scheme in ("ml-dsa-65/1", "ml-dsa-87/1"), f"a key of scheme {scheme}")
            loaded.verify(signature, b"tuf\x01" + hashlib.sha512(data).digest())
    except InvalidSignature:
        return False
    return True


def material(key: dict[str, Any]) -> str:
    """What makes two keys one and the same, whatever they are called."""
    return str(key["keyval"]["public"]).strip()


def olpc(value: Any) -> str:
    """OLPC canonical JSON: what TUF signatures cover."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return "[" + ",".join(map(olpc, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{olpc(key)}:{olpc(value[key])}" for key in sorted(value)) + "}"
    return json.dumps(value)


def signed(
    data: bytes, at: str, kind: str, by: list[tuple[dict[str, Any], dict[str, Any]]]
) -> dict[str, Any]:
    """The signed part of a TUF file, if the threshold of every (keys, role) is met and nobody else signed."""
    value = parse(data, at)
    exact = json.dumps(value, sort_keys=True, separators=(",", ":")).encode() == data
    demand(exact and set(value) == {"signatures", "signed"}, f"{at}: not spelt as it was signed")
    body: dict[str, Any] = value["signed"]
    demand(body["_type"] == kind, f"{at}: is {body['_type']} metadata")
    payload, good = olpc(body).encode(), set[str]()
    allowed = {keyid: keys[keyid] for keys, role in by for keyid in role["keyids"] if keyid in keys}
    for entry in value["signatures"]:
        keyid = entry["keyid"]
        right = keyid in allowed and fits(allowed[keyid], bytes.fromhex(entry["sig"]), payload)
        demand(right, f"{at}: signature of {keyid[:12]} is not one that counts")
        good.add(keyid)
    for keys, role in by:
        distinct = {material(keys[keyid]) for keyid in role["keyids"] if keyid in good & set(keys)}
        demand(
            len(distinct) >= role["threshold"] >= 1,
            f"{at}: {len(distinct)} of {role['threshold']} signatures",
        )
    return body


class Trust:
    """What one origin signs for: `trust/`, or `upstream/` of a relayed bundle."""

    def __init__(self, volume: Volume, place: str, fingerprint: str, now: datetime) -> None:
        self.volume, self.place, self.now = volume, place, now
        self.root = self._root(fingerprint)
        stamp = self._top("timestamp", f"{place}/timestamp.json", volume.read(f"{place}/timestamp.json"))
        self.snapshot = self._listed("snapshot", stamp["meta"])
        self.targets = self._listed("targets", self.snapshot["meta"])
        demand(not self.targets["targets"], f"{place}: targets signs for documents itself")
        self._lint()

    def _root(self, fingerprint: str) -> dict[str, Any]:
        before: dict[str, Any] | None = None
        anchored = False
        names = [
            name for name in self.volume.files if re.fullmatch(rf"{self.place}/[0-9]+\.root\.json", name)
        ]
        for number in range(1, len(names) + 1):
            at = f"{self.place}/{number}.root.json"
            data = self.volume.read(at)
            body = parse(data, at)["signed"]
            signers = [(one["keys"], one["roles"]["root"]) for one in (before, body) if one]
            before = signed(data, at, "root", signers)
            demand(before["version"] == number, f"{at}: is root {before['version']}")
            anchored = anchored or sha256(data) == fingerprint
        if before is None or not anchored:
            raise Wrong(f"{self.place}: no root with the fingerprint {fingerprint[:12]}")
        self._fresh("root", before)
        return before

    def _fresh(self, role: str, body: dict[str, Any]) -> None:
        expires = datetime.strptime(body["expires"], MOMENT).replace(tzinfo=UTC)
        demand(expires > self.now, f"{self.place}: {role} expired on {body['expires']}")

    def _top(self, role: str, at: str, data: bytes) -> dict[str, Any]:
        body = signed(data, at, role, [(self.root["keys"], self.root["roles"][role])])
        self._fresh(role, body)
        return body

    def _listed(self, role: str, meta: dict[str, Any]) -> dict[str, Any]:
        return self._top(role, *self._file(role, meta))

    def _file(self, role: str, meta: dict[str, Any]) -> tuple[str, bytes]:
        entry = meta[f"{role}.json"]
        at = f"{self.place}/{entry['version']}.{role}.json"
        data = self.volume.read(at)
        demand(entry["hashes"]["sha256"] == sha256(data), f"{at}: not the file that was signed")
        return at, data

    def _lint(self) -> None:
        solo = self.root["x-tidegate-profile"] == "solo"
        groups: dict[str, set[str]] = {}
        delegations = self.targets.get("delegations") or {"keys": {}, "roles": []}
        roles = [(name, role, self.root["keys"]) for name, role in self.root["roles"].items()]
        roles += [(role["name"], role, delegations["keys"]) for role in delegations["roles"]]
        for name, role, keys in roles:
            people = name not in ("snapshot", "timestamp")
            demand(
                solo or not people or role["threshold"] >= 2, f"{self.place}: {name} needs one person only"
            )
            group = "sites" if name.startswith("site-") else name if people else "station"
            groups.setdefault(group, set()).update(material(keys[keyid]) for keyid in role["keyids"])
        shared = [one for one in groups for other in groups if one < other and groups[one] & groups[other]]
        demand(solo or not shared, f"{self.place}: one key serves {shared} and another role")
        for role in delegations["roles"]:
            paths = ["releases/*/*/*"] if role["name"] == "catalog" else [f"exports/{role['name'][5:]}/*"]
            demand(
                role["paths"] == paths and role["terminating"] is True,
                f"{self.place}: {role['name']} reaches too far",
            )

    def role(self, name: str) -> dict[str, str]:
        """Target path to SHA-256 of what a delegated role signs for."""
        delegations = self.targets.get("delegations") or {"keys": {}, "roles": []}
        role = next((role for role in delegations["roles"] if role["name"] == name), None)
        if role is None or f"{name}.json" not in self.snapshot["meta"]:
            return {}
        at, data = self._file(name, self.snapshot["meta"])
        body = signed(data, at, "targets", [(delegations["keys"], role)])
        self._fresh(name, body)
        return {path: entry["hashes"]["sha256"] for path, entry in body["targets"].items()}


def check_dsse(payload: bytes, envelope: Any, key: dict[str, Any], kind: str, at: str) -> None:
    entry = envelope["signatures"][0]
    pae = b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)
    right = (
        len(envelope["signatures"]) == 1
        and envelope["payloadType"] == kind
        and entry["keyid"] == key["keyid"]
    )
    demand(right and fits(key, base64.b64decode(entry["sig"]), pae), f"{at}: not signed by the packer")
