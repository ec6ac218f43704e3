"""What is to be served: the whole set that a pin names, with the documents that a start needs."""

from dataclasses import dataclass
from typing import Any

from pipelines.materialise import Withdrawn
from registry import companions, contracts, manifests
from registry.companions import Companions
from registry.contracts import EngineProfile
from registry.entities import Document, Pin, Version
from registry.errors import NotFound
from registry.manifests import Manifest
from registry.views import View
from signing.canonical import canonical_bytes
from signing.digests import sha256_hex


@dataclass(frozen=True)
class PinnedSet:
    """The digests that belong together: they go forth together, and back together."""

    model: str
    ordinal: int
    version: str
    contract: str | None
    profile: str | None
    router: str | None
    companions: str | None

    @classmethod
    def of(cls, pin: Pin) -> "PinnedSet":
        """The set that a line of a tier's history names."""
        return cls(pin.model, pin.ordinal, pin.version, pin.contract, pin.profile, pin.router, pin.companions)

    @classmethod
    def read(cls, value: Any) -> "PinnedSet | None":
        """Read `document` again; None when it is something else."""
        if not isinstance(value, dict) or set(value) != set(cls.__dataclass_fields__):
            return None
        optional = ("contract", "profile", "router", "companions")
        texts = [value[name] for name in ("model", "version")] + [value[n] for n in optional if value[n]]
        if type(value["ordinal"]) is not int or not all(isinstance(text, str) for text in texts):
            return None
        return cls(**value)

    def document(self) -> dict[str, Any]:
        """As it stands in journals."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @property
    def digest(self) -> str:
        """One digest for all of it."""
        return sha256_hex(canonical_bytes(self.document()))

    @property
    def ref(self) -> str:
        """As people write the version."""
        return f"{self.model}@{self.ordinal}"


@dataclass(frozen=True)
class Wanted:
    """A pinned set with what it takes to serve it."""

    pinned: PinnedSet
    row: Version
    manifest: Manifest
    profile: EngineProfile
    profile_row: Document
    contract_row: Document | None
    suite: Document | None  # that is run on the candidate; None: none
    beside: tuple[tuple[str, str], ...]  # (file name, text) that is laid beside the weights
    companions: Companions | None  # unpacked there, too


def wanted(view: View, tier: str, model: str, *, smoke: str) -> Wanted:
    """Return what the tier is pinned to serve. `smoke`: a suite's name, or nothing.

    Raises:
        NotFound: nothing is pinned, or a document of the set is not held here.
        Withdrawn: the pinned version may not be served; go back to another first.
    """
    pin = view.pin(tier, model)
    if pin is None:
        raise NotFound("version served by the tier", f"{tier}, of {model}")
    gone = view.withdrawal(pin.version)
    if gone is not None:
        raise Withdrawn(f"{model}@{pin.ordinal}", gone.reason)
    return wanted_set(view, PinnedSet.of(pin), smoke=smoke)


def wanted_set(view: View, pinned: PinnedSet, *, smoke: str) -> Wanted:
    """The same for a set that is known already, as a journal keeps it. Raises `NotFound`."""
    row = view.version_by_digest(pinned.version)
    if row is None:
        raise NotFound("version", pinned.ref)
    profile_row = held(view, "engine profile", pinned.profile)
    beside = [
        (f"{name}.json", held(view, name, digest).body)
        for name, digest in (
            ("contract", pinned.contract),
            ("engine-profile", pinned.profile),
            ("router", pinned.router),
            ("companions", pinned.companions),
        )
        if digest
    ]
    suite = view.document("suite", smoke) if smoke else None
    return Wanted(
        pinned=pinned,
        row=row,
        manifest=manifests.decode(row.manifest.encode()),
        profile=engine_profile(profile_row),
        profile_row=profile_row,
        contract_row=held(view, "tool contract of", pinned.contract) if suite else None,
        suite=suite,
        beside=tuple(beside),
        companions=companions_held(view, pinned.companions),
    )


def held(view: View, what: str, digest: str | None) -> Document:
    """A document by its digest. Raises `NotFound`."""
    row = view.document_by_digest(digest) if digest else None
    if row is None:
        raise NotFound(what, digest or "(none is pinned)")
    return row


def companions_held(view: View, digest: str | None) -> Companions | None:
    """A set of companions by its digest; None for none. Raises `NotFound`, `CompanionsMalformed`."""
    return companions.decode(held(view, "companions", digest).body.encode()) if digest else None


def engine_profile(row: Document) -> EngineProfile:
    """The profile that a document holds. Raises `NotFound` when it holds something else."""
    document = contracts.decode_document(row.body.encode())
    if not isinstance(document, EngineProfile):
        raise NotFound("engine profile", row.digest)
    return document
