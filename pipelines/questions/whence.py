"""Where a version's bytes came from: publisher, hub, origin, bundle, medium, and who took them in."""

from dataclasses import dataclass
from typing import Any

from pipelines.bundle import documents as docs
from pipelines.questions.proving import Proof, Prover
from pipelines.workplace import Workplace
from registry import manifests
from registry.entities import Claim, Custody, Import, ModelSignature, Statement, Version
from registry.names import Ref
from registry.views import View
from signing import statements
from signing.canonical import parse
from signing.digests import sha256_hex

_BYTES = 16 << 20


@dataclass(frozen=True)
class Whence:
    """The way of one version, each step with what proves it."""

    version: Version
    upstream: dict[str, Any] | None  # address and commit at the publisher's, as the manifest says
    fetched: tuple[
        dict[str, Any], ...
    ]  # who fetched or added it, from which sources; claims of the origin among them
    signatures: tuple[dict[str, Any], ...]  # OpenSSF signatures over its files
    bundle: dict[str, Any] | None  # that brought it; None where it was fetched or added
    media: tuple[dict[str, Any], ...]  # that were read back here
    proofs: tuple[Proof, ...]

    def document(self) -> dict[str, Any]:
        """The answer for programs."""
        return {
            "version": {
                "model": self.version.model,
                "ordinal": self.version.ordinal,
                "digest": self.version.digest,
                "brought_by": self.version.brought_by,
                "added_at": self.version.added_at,
                "added_by": self.version.added_by,
            },
            "upstream": self.upstream,
            "fetched": list(self.fetched),
            "signatures": list(self.signatures),
            "bundle": self.bundle,
            "media": list(self.media),
            "evidence": [proof.document() for proof in self.proofs],
        }


def whence(work: Workplace, view: View, ref: Ref) -> Whence:
    """Return where a version came from. Raises `NotFound`."""
    version = view.version(ref)
    manifest = manifests.decode(version.manifest.encode())
    prover = Prover(work, view)
    claims = {claim.statement: claim for claim in view.claims(version.digest)}
    said = view.statements(version.digest)
    fetched = [row for row in said if row.predicate == statements.PROVENANCE]
    taken = [row for row in said if row.predicate == statements.IMPORT]
    brought = next((row for row in view.imports() if row.bundle == version.brought_by), None)
    media = view.custody(version.brought_by) if brought else []
    proved = [version.digest, *(row.digest for row in (*fetched, *taken))]
    return Whence(
        version=version,
        upstream=vars(manifest.upstream) if manifest.upstream else None,
        fetched=tuple(_fetched(row, claims.get(row.digest)) for row in fetched),
        signatures=tuple(_signature(row) for row in view.model_signatures(version.digest)),
        bundle=_bundle(brought) if brought else None,
        media=tuple(_medium(row) for row in media if brought and row.export == brought.digest),
        proofs=tuple(prover.prove(digest) for digest in dict.fromkeys(proved)),
    )


def _fetched(row: Statement, claim: Claim | None) -> dict[str, Any]:
    predicate = parse(row.payload.encode(), max_bytes=_BYTES, at="statement")["predicate"]
    definition, run = predicate["buildDefinition"], predicate["runDetails"]
    return {
        "statement": row.digest,
        "claimed_with": claim.bundle if claim else None,
        "by": run["builder"]["id"].removeprefix("urn:tidegate:home:"),
        "how": definition["buildType"],
        "asked_for": definition["externalParameters"],
        "sources": len(definition["resolvedDependencies"]),
        "finished": run["metadata"]["finishedOn"],
    }


def _signature(row: ModelSignature) -> dict[str, Any]:
    whole = sha256_hex(row.body.encode()) == row.digest
    return {
        "digest": row.digest,
        "source": row.source,
        "method": row.method,
        "signer": row.signer,
        "outcome": row.outcome if whole else "NOT WHAT WAS RECORDED",
        "at": row.since,
    }


def _bundle(row: Import) -> dict[str, Any]:
    export = docs.decode_export(row.body.encode())
    return {
        "bundle": row.bundle,
        "sequence": row.sequence,
        "export": row.digest,
        "whole": sha256_hex(row.body.encode()) == row.digest,
        "origin": export.origin,
        "signed_at": row.signed_time,
        "taken_in_at": row.imported_at,
        "taken_in_by": row.actor,
        "said": export.transfer.fields(),
    }


def _medium(row: Custody) -> dict[str, Any]:
    return {
        "volume": row.volume,
        "of": row.of,
        "outcome": row.outcome,
        "serial": row.serial,
        "seal": row.seal,
        "carrier": row.carrier,
        "at": row.since,
        "by": row.actor,
    }
