"""Where a version's bytes came from: publisher, hub, origin, bundle, medium, and who took them in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.bundle import documents as docs
from pipelines.questions.proving import Proof, Prover, predicate_of
from pipelines.scan.reading import quoted
from pipelines.workplace import Workplace
from registry import manifests
from registry.entities import Claim, Custody, Import, ModelSignature, Statement, Version
from registry.names import Ref
from registry.views import View
from signing import statements
from signing.digests import sha256_hex
from signing.errors import OperatorError

_HERE = ("fetch", "add")  # ways in that no bundle brought


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
    problems: tuple[str, ...] = ()

    @property
    def doubts(self) -> list[str]:
        """What does not hold, in words."""
        return [*(proof.doubt for proof in self.proofs if not proof.verified), *self.problems]

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
            "problems": list(self.problems),
        }


def whence(work: Workplace, view: View, ref: Ref) -> Whence:
    """Return where a version came from. Raises `NotFound`."""
    return whence_of(Prover(work, view), view, view.version(ref))


def whence_of(prover: Prover, view: View, version: Version) -> Whence:
    """Return where a version came from, each step proved."""
    claims = {claim.statement: claim for claim in view.claims(version.digest)}
    fetched = [row for row in view.statements(version.digest) if row.predicate == statements.PROVENANCE]
    brought = view.import_of(version.brought_by)
    media = (
        [row for row in view.custody(version.brought_by) if row.export == brought.digest] if brought else []
    )
    signatures = view.model_signatures(version.digest)
    proofs = [prover.row(version)]
    proofs += [prover.row(row, ours=row.digest not in claims) for row in fetched]
    proofs += [prover.row(row) for row in (*signatures, *media)]
    proofs += _import_proofs(prover, view, brought) if brought else []
    return Whence(
        version=version,
        upstream=_upstream(version),
        fetched=tuple(_fetched(row, claims.get(row.digest)) for row in fetched),
        signatures=tuple(_signature(row) for row in signatures),
        bundle=_bundle(prover, brought) if brought else None,
        media=tuple(_medium(row) for row in media),
        proofs=tuple(proofs),
        problems=() if brought or version.brought_by in _HERE else (_lost(version),),
    )


def _lost(version: Version) -> str:
    return f"the bundle {version.brought_by}, which brought it, is not recorded here any more"


def _upstream(version: Version) -> dict[str, Any] | None:
    try:
        found = manifests.decode(version.manifest.encode()).upstream
    except OperatorError:
        return None  # edited; its proof says so
    return vars(found) if found else None


def _import_proofs(prover: Prover, view: View, row: Import) -> list[Proof]:
    """The bundle, and this site's own signed word that it took it in: about all its versions, named by the first."""
    digests = [
        str(said["digest"])
        for entry in prover.recorded.entries(subject=row.digest)
        for label, said in entry.rows
        if label == Statement.label and said["predicate"] == statements.IMPORT
    ]
    held = [found for digest in digests if (found := view.statement(digest)) is not None]
    return [prover.row(row), *(prover.row(one, ours=True) for one in held)]


def _fetched(row: Statement, claim: Claim | None) -> dict[str, Any]:
    predicate = predicate_of(row)
    definition = predicate.get("buildDefinition", {})
    by, finished = fetched_by(predicate, row.made_at)
    return {
        "statement": row.digest,
        "claimed_with": claim.bundle if claim else None,
        "by": by,
        "how": definition.get("buildType"),
        "asked_for": definition.get("externalParameters"),
        "sources": len(definition.get("resolvedDependencies", [])),
        "run": _run(definition.get("resolvedDependencies", [])),
        "finished": finished,
    }


def fetched_by(predicate: Mapping[str, Any], otherwise: str) -> tuple[str, str]:
    """Return the home that fetched the files and when it had them, as a provenance says; `otherwise` if it does not."""
    run = predicate.get("runDetails", {})
    by = str(run.get("builder", {}).get("id", "unknown")).removeprefix("urn:tidegate:home:")
    return by, str(run.get("metadata", {}).get("finishedOn", otherwise))


def _run(sources: object) -> str | None:
    """The run that made the files, where their source named one: `sft-7 (65a8146a) of tuning`."""
    said: Any = sources[0] if isinstance(sources, list) and sources else None
    for name in ("annotations", "run"):
        said = said.get(name) if isinstance(said, dict) else None
    if not isinstance(said, dict):
        return None
    experiment = f" of {said['experiment']}" if "experiment" in said else ""
    text = f"{said.get('run_name', 'a run')} ({said.get('run_id', 'unknown')}){experiment}"
    return quoted(text, limit=400, quotes=False)  # an origin's word, on a terminal


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


def _bundle(prover: Prover, row: Import) -> dict[str, Any]:
    notes = [
        entry.note
        for entry in prover.recorded.entries(subject=row.digest)
        for label, _said in entry.rows
        if label == Import.label
    ]
    note = notes[0] if notes else {}
    said = {
        "bundle": row.bundle,
        "sequence": row.sequence,
        "export": row.digest,
        "signed_at": row.signed_time,
        "taken_in_at": row.imported_at,
        "taken_in_by": row.actor,
        "root": note.get("root"),
        "profile": note.get("profile"),
    }
    try:
        export = docs.decode_export(row.body.encode())
    except OperatorError:
        return {**said, "origin": note.get("origin"), "said": {}}  # edited; its proof says so
    return {**said, "origin": export.origin, "said": export.transfer.fields()}


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
