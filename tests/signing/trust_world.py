"""An origin with real keys, two sites and a courier's folder, for the tests of trust."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner, Key, Signer
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from signing.ceremony import Lifetimes, Profile, TrustState, add_site, establish, publish, rotate_root
from signing.digests import sha256_hex
from signing.keys import ALGORITHMS
from signing.trust import Memory, Verified, enrol, remember, verify

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)
NUMBERS = {"root": 3, "targets": 3, "catalog": 3, "site-alpha": 2, "site-beta": 2, "station": 1}


def public(signers: Iterable[Signer]) -> list[Key]:
    return [signer.public_key for signer in signers]


def new_keys(count: int) -> list[CryptoSigner]:
    return [CryptoSigner.generate_ed25519() for _ in range(count)]


def keys_of_one_person(profile: Profile) -> list[CryptoSigner]:
    """As `tidegate keys create` makes them, one of each kind that the profile asks for."""
    return [CryptoSigner(ALGORITHMS[algorithm]()) for algorithm in profile.algorithms]


@dataclass
class Origin:
    """Keys, state and documents of one origin. `room` is who is there to sign."""

    profile: Profile
    people: dict[str, list[CryptoSigner]]
    state: TrustState
    documents: dict[str, bytes] = field(default_factory=dict)
    last: dict[str, bytes] = field(default_factory=dict)  # site to its newest export

    @classmethod
    def founded(
        cls, profile: Profile, *, lifetimes: Lifetimes | None = None, now: datetime = NOW
    ) -> "Origin":
        one = new_keys(1)
        people = {
            role: one
            if profile is Profile.SOLO
            else [key for _ in range(n) for key in keys_of_one_person(profile)]
            for role, n in NUMBERS.items()
        }
        keys = {role: public(who) for role, who in people.items() if role != "station"}
        keys |= dict.fromkeys(("snapshot", "timestamp"), public(people["station"]))
        room = [signer for who in people.values() for signer in who]
        state = establish(profile, keys, room, now=now, lifetimes=lifetimes or Lifetimes())
        return cls(profile, people, state)

    @property
    def room(self) -> list[Signer]:
        return [signer for who in self.people.values() for signer in who]

    def publish(self, documents: Mapping[str, bytes], *, now: datetime = NOW, **more: Any) -> None:
        self.state = publish(self.state, documents, more.pop("signers", self.room), now=now, **more)
        self.documents |= documents

    def release(self, name: str = "qwen/coder", ordinal: int = 1) -> str:
        path = f"releases/{name}/{ordinal}.json"
        self.publish({path: json.dumps({"model": name, "ordinal": ordinal}).encode()})
        return path

    def export(
        self, site: str = "alpha", releases: Iterable[str] = (), *, now: datetime = NOW, **changes: Any
    ) -> str:
        """Publish the next export for `site`; `changes` overwrite fields of the document."""
        before = self.last.get(site)
        sequence = 1 if before is None else json.loads(before)["sequence"] + 1
        document = {
            "format": "tidegate-export/1",
            "audience": site,
            "sequence": sequence,
            "previous": None if before is None else sha256_hex(before),
            "issued_at": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "releases": [{"path": path, "sha256": sha256_hex(self.documents[path])} for path in releases],
        } | changes
        path = f"exports/{site}/{sequence}.json"
        self.last[site] = json.dumps(document).encode()
        self.publish({path: self.last[site]}, now=now)
        return path

    def pack(self, folder: Path, export: str) -> Path:
        """Write the bundle that carries one export."""
        site = export.split("/")[1]
        files = {f"trust/{name}": data for name, data in self.state.files(site=site).items()}
        files[export] = self.documents[export]
        listed = json.loads(self.documents[export]).get("releases")
        files |= {
            item["path"]: self.documents[item["path"]] for item in listed if item["path"] in self.documents
        }
        for name, data in files.items():
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        return folder

    def rotate(self, *roles: str, now: datetime = NOW) -> None:
        """Replace the last key of each role, and sign with old and new ones."""
        old, keys = self.room, {}
        for role in roles:
            self.people[role] = [*self.people[role][:-1], *new_keys(1)]
            for name in ("snapshot", "timestamp") if role == "station" else (role,):
                keys[name] = public(self.people[role])
        self.state = rotate_root(self.state, keys, [*old, *self.room], now=now)

    def add_site(self, site: str) -> None:
        self.people[f"site-{site}"] = new_keys(2)
        self.state = add_site(self.state, site, public(self.people[f"site-{site}"]), self.room, now=NOW)

    def enrolled(self) -> Memory:
        return enrol(self.state.roots[0], sha256_hex(self.state.roots[0]))


def take(
    folder: Path, memory: Memory, *, site: str = "alpha", now: datetime = NOW
) -> tuple[Memory, Verified]:
    """Verify as a site does, and remember."""
    verified = verify(folder, memory, audience=site, now=now)
    return remember(memory, verified), verified


def tampered(data: bytes, change: Callable[[dict[str, Any]], None], signers: Iterable[Signer]) -> bytes:
    """Return TUF metadata with its signed part changed and signed anew by whomever the attacker has."""
    value = json.loads(data)
    change(value["signed"])
    metadata: Metadata[Any] = Metadata.from_dict(value)
    sign_anew(metadata, signers)
    return metadata.to_bytes()


def sign_anew(metadata: "Metadata[Any]", signers: Iterable[Signer]) -> None:
    """Put these signatures in the place of those that are there."""
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)


def restack(origin: Origin, changed: Mapping[str, bytes], station: Signer | None = None) -> TrustState:
    """Return the state with some documents exchanged, and snapshot and timestamp honestly signed over them."""
    signers = [station] if station else origin.people["station"]
    metadata = {**origin.state.metadata, **changed}
    snapshot = Metadata[Snapshot].from_bytes(metadata["snapshot"])
    for role in changed:
        version = Metadata[Targets].from_bytes(changed[role]).signed.version
        snapshot.signed.meta[f"{role}.json"] = MetaFile.from_data(version, changed[role], ["sha256"])
    snapshot.signed.version += 1
    sign_anew(snapshot, signers)
    metadata["snapshot"] = snapshot.to_bytes()
    timestamp = Metadata[Timestamp].from_bytes(metadata["timestamp"])
    timestamp.signed.version += 1
    timestamp.signed.snapshot_meta = MetaFile.from_data(
        snapshot.signed.version, metadata["snapshot"], ["sha256"]
    )
    sign_anew(timestamp, signers)
    metadata["timestamp"] = timestamp.to_bytes()
    return TrustState(origin.state.roots, metadata)


def root_of(data: bytes) -> Root:
    return Metadata[Root].from_bytes(data).signed
