"""What was attested of a version, as OCI artifacts that refer to its image: for clients that look for referrers.

An in-toto statement is about the digest of our own manifest, and an OCI client knows the digest of the image. The
first paper joins the two: it is that manifest, whose SHA-256 the statements name and which lists the same files.

Given are those statements that are for whoever takes the model: provenance, scans and suites, the summary of the
gate, the bill of materials, signatures over the files. Who approved and what a tier served when are this home's
records and answered by its audit commands.
"""

import base64

from pipelines import bom
from pipelines.images.forms import CREATED, MANIFEST, Artifact, artifact, descriptor
from registry.blobs import BlobStore
from registry.entities import ModelSignature, Statement, Version
from registry.manifests import FORMAT
from registry.views import View
from signing import statements, summaries
from signing.canonical import canonical_bytes
from signing.envelope import Envelope

IN_TOTO = "application/vnd.in-toto+json"
DSSE = "application/vnd.dsse.envelope.v1+json"
CYCLONEDX = "application/vnd.cyclonedx+json"
SIGSTORE_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
FILES = "application/vnd.tidegate.manifest.v1+json"
PREDICATE = "in-toto.io/predicate-type"  # the annotation that builders of container images use

_NAMES = {
    statements.PROVENANCE: "provenance",
    statements.TEST_RESULT: "test-result",
    statements.VALIDATION_RUN: "validation-run",
    summaries.VSA: "verification-summary",
    summaries.SVR: "verification-result",
    summaries.REFERENCE: "reference",
}


def papers(view: View, blobs: BlobStore, version: Version) -> list[Artifact]:
    """Return an artifact for each thing that was attested of the version, oldest first.

    The same record gives the same bytes. A later statement is one more artifact and changes none of the others.
    """
    subject = descriptor(MANIFEST, version.modelpack, blobs.size(version.modelpack))
    made = [_files(version, subject)]
    made += [_statement(row, subject) for row in view.statements(version.digest) if row.predicate in _NAMES]
    bill = bom.newest(view, version.digest)
    if bill is not None:
        made.append(
            artifact(
                CYCLONEDX,
                [(CYCLONEDX, "bom.cdx.json", bill.body.encode())],
                subject=subject,
                annotations={CREATED: bill.added_at},
            )
        )
    return made + [_signature(row, subject) for row in view.model_signatures(version.digest)]


def _files(version: Version, subject: dict[str, object]) -> Artifact:
    return artifact(
        FILES,
        [(FILES, "manifest.json", version.manifest.encode())],
        subject=subject,
        annotations={CREATED: version.added_at, "tidegate.format": FORMAT},
    )


def _statement(row: Statement, subject: dict[str, object]) -> Artifact:
    """The statement as people read it, and the standard envelope with the same payload and its signature."""
    name, payload = _NAMES[row.predicate], row.payload.encode()
    detached = Envelope.from_json(row.signature.encode())
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": detached.payload_type,
        "signatures": [{"keyid": detached.keyid, "sig": base64.b64encode(detached.signature).decode()}],
    }
    return artifact(
        IN_TOTO,
        [(IN_TOTO, f"{name}.json", payload), (DSSE, f"{name}.dsse.json", canonical_bytes(envelope))],
        subject=subject,
        annotations={CREATED: row.made_at, PREDICATE: row.predicate},
    )


def _signature(row: ModelSignature, subject: dict[str, object]) -> Artifact:
    """A signature over the files (OpenSSF Model Signing). `tidegate.outcome` is what this home found, no proof."""
    return artifact(
        SIGSTORE_BUNDLE,
        [(SIGSTORE_BUNDLE, "model.sig", row.body.encode())],
        subject=subject,
        annotations={CREATED: row.since, "tidegate.signed-by": row.source, "tidegate.outcome": row.outcome},
    )
