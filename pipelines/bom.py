"""A bill of materials for each version: CycloneDX 1.7 JSON, for programs and auditors that read nothing of ours.

Everything in it is read from what the home holds: files with their SHA-256, licence, where they came from, what
`config.json` says of the architecture, what suites found here. The same facts give the same bytes: the serial number
is made of the version's digest, the time is that of the newest fact, and its number counts the findings that went
in. A later finding makes a later bill; both are kept.

Sources: https://cyclonedx.org/docs/1.7/json/ ; the schema is among the tests' vectors.
"""

import uuid
from collections.abc import Mapping, Sequence
from importlib.metadata import version as release_of
from typing import Any, ClassVar

from pipelines.errors import JudgingRefused
from pipelines.evidence import signed_statement
from pipelines.scan.spdx import spdx_id
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.blobs import BlobStore
from registry.entities import Document, Report, Row, Version
from registry.errors import BlobDamaged, NotFound
from registry.manifests import FileEntry, Manifest, decode
from registry.names import Ref
from registry.views import View
from signing.canonical import NotCanonical, canonical_bytes, parse
from signing.digests import sha256_hex
from signing.summaries import REFERENCE, reference
from signing.times import rfc3339

KIND = "ml-bom"
MEDIA_TYPE = "application/vnd.cyclonedx+json; version=1.7"
SPEC = "1.7"
MAX_BODY = 32 << 20  # bytes; 10,000 files are about 4 MB
_MAX_CONFIG = 1 << 20  # bytes of config.json
_MAX_REPORT = 64 << 20  # bytes
_TEXT = 256  # characters of what a publisher's file says
_SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:tidegate:ml-bom")


class BomUnmakeable(JudgingRefused):
    """A bill of materials that the facts here do not give, or one that is none."""

    exit_code: ClassVar[int] = 216
    next_step: ClassVar[str] = (
        "Run `tidegate doctor --deep` to see whether the version's record is damaged; a bill that came with a bundle "
        "has to be made again at the origin with `tidegate models bom`."
    )

    def __init__(self, ref: str, problem: str) -> None:
        super().__init__(f"bill of materials of {ref}: {problem}")
        self.ref, self.problem = ref, problem


def make(
    version: Version, manifest: Manifest, *, config: Mapping[str, Any], reports: Sequence[Report]
) -> dict[str, Any]:
    """Return the bill, ready for `canonical_bytes`.

    Args:
        config: what `config.json` says; empty where there is none.
        reports: this home's own findings, oldest first. What came from elsewhere is no figure of ours.
    """
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "serialNumber": f"urn:uuid:{uuid.uuid5(_SPACE, version.digest)}",
        "version": max(1, len(reports)),
        "metadata": {
            "timestamp": max([version.added_at, *(row.made_at for row in reports)]),
            "tools": {"components": [_tool()]},
            "component": _model(version, manifest, config, reports),
        },
        "components": [_file(version.digest, entry) for entry in manifest.files],
        "dependencies": [
            {
                "ref": _ref(version.digest),
                "dependsOn": [_ref(version.digest, entry) for entry in manifest.files],
            }
        ],
    }


def rows(
    work: Workplace, version: Version, manifest: Manifest, reports: Sequence[Report]
) -> tuple[Document, Row]:
    """Return the bill's document and our statement that it goes with the version; neither is recorded yet.

    Raises:
        BomUnmakeable: a fact has no form in it.
    """
    name = f"{version.model}@{version.ordinal}"
    try:
        body = canonical_bytes(make(version, manifest, config=_config(work.blobs, manifest), reports=reports))
    except NotCanonical as exc:
        raise BomUnmakeable(name, str(exc)) from exc
    digest = sha256_hex(body)
    said = reference(
        [(name, version.digest)],
        attester=work.home.name,
        references=[(f"documents/{digest}", digest, MEDIA_TYPE)],
    )
    document = Document(
        digest=digest,
        kind=KIND,
        name=name,
        body=body.decode(),
        added_at=rfc3339(work.now),
        added_by=work.actor,
    )
    return document, signed_statement(work, said)


def bill(work: Workplace, ref: Ref) -> tuple[Document, bool]:
    """Return a version's bill by what is known now, and whether it is new; a new one is kept.

    Raises:
        NotFound: no such version.
        BomUnmakeable: see `rows`.
    """
    with work.store.view() as view:
        version = view.version(ref)
        reports = [row for row in view.reports(version.digest) if row.kind != "evidence"]
    document, statement = rows(work, version, decode(version.manifest.encode()), reports)
    with work.store.change(actor=work.actor, now=work.now) as change:
        held = change.document_by_digest(document.digest)
        if held is not None:
            return held, False
        change.record(EventKind.BOM_MADE, version.digest, document, statement)
    return document, True


def newest(view: View, digest: str) -> Document | None:
    """The last bill that goes with a version, by the statements about it."""
    for row in reversed(view.statements(digest)):
        if row.predicate == REFERENCE:
            for told in _references(row.payload):
                found = view.document_by_digest(told)
                if found is not None and found.kind == KIND:
                    return found
    return None


def read(body: bytes) -> str:
    """Return the version's name that a bill is for. Raises `BomUnmakeable`."""
    try:
        raw = parse(body, max_bytes=MAX_BODY, at=KIND)
        if raw["bomFormat"] != "CycloneDX" or raw["specVersion"] != SPEC:
            raise BomUnmakeable("an unknown version", f"is no CycloneDX {SPEC}")
        component = raw["metadata"]["component"]
        return f"{component['group']}/{component['name']}@{component['version']}"
    except NotCanonical as exc:
        raise BomUnmakeable("an unknown version", str(exc)) from exc
    except (KeyError, TypeError) as exc:
        raise BomUnmakeable("an unknown version", "has not the shape of one of ours") from exc


def _references(payload: str) -> list[str]:
    try:
        listed = parse(payload.encode(), max_bytes=MAX_BODY, at="statement")["predicate"]["references"]
        return [one["digest"]["sha256"] for one in listed]
    except (NotCanonical, KeyError, TypeError):
        return []  # somebody else's reference, of another shape


def _ref(digest: str, entry: FileEntry | None = None) -> str:
    return f"urn:tidegate:version:{digest}" + (f"#{entry.path}" if entry else "")


def _tool() -> dict[str, Any]:
    return {"type": "application", "name": "tidegate", "version": release_of("tidegate")}


def _model(
    version: Version, manifest: Manifest, config: Mapping[str, Any], reports: Sequence[Report]
) -> dict[str, Any]:
    namespace, _, name = version.model.partition("/")
    made: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": _ref(version.digest),
        "group": namespace,
        "name": name,
        "version": str(version.ordinal),
        "licenses": _licences(manifest),
        "modelCard": _card(config, reports),
        "properties": [
            _property("tidegate:manifest:sha256", version.digest),
            _property("tidegate:revision", version.revision),
            _property("tidegate:size", str(manifest.size)),
            _property("tidegate:licence", manifest.licence.state),
        ],
    }
    if manifest.upstream is not None:
        made["pedigree"] = {"ancestors": [_ancestor(manifest)]}
        made["externalReferences"] = [{"type": "distribution", "url": manifest.upstream.uri}]
    return {key: value for key, value in made.items() if value}


def _licences(manifest: Manifest) -> list[dict[str, Any]]:
    found = []
    for said in manifest.licence.ids:
        known = spdx_id(said)
        spdx = known is not None and not known.startswith("LicenseRef-")
        found.append({"license": {"id": known} if spdx else {"name": said}})
    return found


def _ancestor(manifest: Manifest) -> dict[str, Any]:
    assert manifest.upstream is not None
    uri, commit = manifest.upstream.uri, manifest.upstream.commit
    made = {"type": "machine-learning-model", "name": uri.partition("://")[2] or uri}
    if commit is not None:
        made["version"] = commit
        if uri.startswith("hf://"):
            made["purl"] = f"pkg:huggingface/{uri.removeprefix('hf://')}@{commit}"
    return made


def _card(config: Mapping[str, Any], reports: Sequence[Report]) -> dict[str, Any]:
    """What is known of the model itself, and what was measured here."""
    parameters: dict[str, Any] = {}
    if family := _said(config.get("model_type")):
        parameters["architectureFamily"] = family
    architectures = config.get("architectures")
    if isinstance(architectures, list) and architectures and (name := _said(architectures[0])):
        parameters["modelArchitecture"] = name
    metrics = [metric for row in reports for metric in _metrics(row)]
    card: dict[str, Any] = {"modelParameters": parameters} if parameters else {}
    return card | ({"quantitativeAnalysis": {"performanceMetrics": metrics}} if metrics else {})


def _metrics(report: Report) -> list[dict[str, str]]:
    """A finding as the format has it: what was measured, the outcome, and which report says so."""
    if report.kind == "scan":
        return [{"type": "scan", "value": report.outcome, "slice": f"report sha256:{report.digest}"}]
    try:
        body = parse(report.body.encode(), max_bytes=_MAX_REPORT, at="report")
        suite = str(body["suite"]["name"])
        gates = [(str(gate["metric"]), gate) for gate in body["gates"]]
    except (NotCanonical, KeyError, TypeError) as exc:
        raise BlobDamaged(
            f"report {report.digest[:12]}", expected="a suite's report", actual="another shape"
        ) from exc
    place = f"report sha256:{report.digest}"
    made = [{"type": f"suite {suite}", "value": report.outcome, "slice": place}]
    return made + [_gate(suite, metric, gate, place) for metric, gate in gates]


def _gate(suite: str, metric: str, gate: Mapping[str, Any], place: str) -> dict[str, str]:
    value = "held" if gate.get("held") else "not held"
    return {"type": f"suite {suite}, {metric}", "value": value, "slice": place}


def _file(digest: str, entry: FileEntry) -> dict[str, Any]:
    return {
        "type": "file",
        "bom-ref": _ref(digest, entry),
        "name": entry.path,
        "hashes": [{"alg": "SHA-256", "content": entry.sha256}],
        "properties": [_property("tidegate:size", str(entry.size))],
    }


def _property(name: str, value: str) -> dict[str, str]:
    return {"name": name, "value": value}


def _said(value: object) -> str | None:
    """A publisher's word, if it is one that a page can show."""
    return value[:_TEXT] if isinstance(value, str) and value.isprintable() and value else None


def _config(blobs: BlobStore, manifest: Manifest) -> Mapping[str, Any]:
    """What `config.json` says; empty where it cannot be read: the bill then says less, and nothing wrong."""
    for entry in manifest.files:
        if entry.path == "config.json" and entry.size <= _MAX_CONFIG:
            try:
                found = parse(blobs.read(entry.sha256, max_bytes=_MAX_CONFIG), max_bytes=_MAX_CONFIG)
            except (NotCanonical, NotFound):
                return {}
            return found if isinstance(found, dict) else {}
    return {}
