"""Statements that sum up: what was checked, what may serve, what was shipped, which document goes with what.

Beside `statements`, which tells what was done to which bytes. SVR, VSA and reference are others' predicates and their
fields are theirs; where we have more to say it stands under a field whose name is a URI, which their parsing rules
leave to us. The export statement is our own: it has the columns that rules for transfers ask for.

Sources: https://github.com/in-toto/attestation/blob/main/spec/predicates/svr.md (v0.2) and reference.md (v0.1),
https://slsa.dev/spec/v1.0/verification_summary
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from signing.statements import Subjects, statement
from signing.times import rfc3339

SVR = "https://in-toto.io/attestation/svr/v0.2"
VSA = "https://slsa.dev/verification_summary/v1"
REFERENCE = "https://in-toto.io/attestation/reference/v0.1"
EXPORT = "urn:tidegate:export:v1"
OVERRIDDEN = "urn:tidegate:overridden"  # a VSA's extension field: the checks that a person overrode
VERIFIED = "urn:tidegate:verifier:v1"


@dataclass(frozen=True)
class Transfer:
    """The columns of a transfer record that no file can tell: people say them when they pack."""

    requester: str | None = None
    approver: str | None = None
    classification: str | None = None
    source_system: str | None = None
    destination_system: str | None = None
    medium: str | None = None  # type, such as DVD or disk
    control_numbers: tuple[str, ...] = ()  # of the media

    def fields(self) -> dict[str, Any]:
        """Return what was said, and nothing for what was not."""
        said = asdict(self) | {"control_numbers": list(self.control_numbers)}
        return {name: value for name, value in said.items() if value}


NOTHING_SAID = Transfer()


@dataclass(frozen=True)
class TransferredFile:
    """One file of a version that crosses."""

    name: str  # namespace/name@ordinal/path
    format: str  # such as safetensors
    sha256: str
    size: int  # bytes


def svr(
    subjects: Subjects,
    *,
    verifier: str,
    policies: Sequence[tuple[str, str]],
    properties: Sequence[str],
    at: datetime,
) -> dict[str, Any]:
    """That the subjects had these properties when they were checked.

    Args:
        verifier: the home's name.
        policies: (name, sha256) of every policy that was applied; empty if none was.
        properties: such as `TIDEGATE_OMS_SIGNATURE_VALID`.
    """
    applied = [{"name": name, "digest": {"sha256": digest}} for name, digest in policies]
    who = {"id": _verifier(verifier), "policies": applied}
    return statement(
        SVR, subjects, {"verifier": who, "timeCreated": rfc3339(at), "properties": list(properties)}
    )


def vsa(
    subjects: Subjects,
    *,
    verifier: str,
    tool_version: str,
    resource: str,
    policy: tuple[str, str],
    inputs: Sequence[str],
    passed: bool,
    levels: Sequence[str],
    overridden: Sequence[str] = (),
    at: datetime,
) -> dict[str, Any]:
    """The gate's answer: these subjects may (or may not) serve at `resource`, by this policy, on these inputs.

    Args:
        resource: such as `tidegate://site/tier/acme/coder`.
        policy: (uri, sha256) of the tier's policy.
        inputs: SHA-256 of every report, approval and decision that was looked at.
        levels: such as `TIDEGATE_TIER_ORG`.
        overridden: checks that did not hold, and that one person overrode.
    """
    predicate: dict[str, Any] = {
        "verifier": {"id": _verifier(verifier), "version": {"tidegate": tool_version}},
        "timeVerified": rfc3339(at),
        "resourceUri": resource,
        "policy": {"uri": policy[0], "digest": {"sha256": policy[1]}},
        "inputAttestations": [{"digest": {"sha256": digest}} for digest in inputs],
        "verificationResult": "PASSED" if passed else "FAILED",
        "verifiedLevels": list(levels),
        "slsaVersion": "1.0",
    }
    if overridden:
        predicate[OVERRIDDEN] = list(overridden)
    return statement(VSA, subjects, predicate)


def reference(
    subjects: Subjects, *, attester: str, references: Sequence[tuple[str, str, str]]
) -> dict[str, Any]:
    """That documents go with the subjects.

    Args:
        attester: the home's name.
        references: (where it lies, sha256, media type) of each.
    """
    listed = [
        {"downloadLocation": place, "digest": {"sha256": digest}, "mediaType": kind}
        for place, digest, kind in references
    ]
    return statement(
        REFERENCE, subjects, {"attester": {"id": f"urn:tidegate:home:{attester}"}, "references": listed}
    )


def exported(
    subjects: Subjects,
    *,
    bundle: str,
    sequence: int,
    export: str,
    origin: str,
    destination: str,
    files: Sequence[TransferredFile],
    volumes: int,
    size: int,
    transfer: Transfer,
    actor: str,
    at: datetime,
) -> dict[str, Any]:
    """What left this origin for a site: date, originator, files, formats, classification, systems, medium, approver.

    Args:
        export: SHA-256 of the export document.
        files: of the versions that the bundle names; the same columns at both ends.
        size: bytes on all volumes together.
    """
    what = {"bundle": bundle, "sequence": sequence, "export": {"sha256": export}}
    where = {"source": origin, "destination": destination, "volumes": volumes, "bytes": size}
    listed = [
        {"name": one.name, "format": one.format, "digest": {"sha256": one.sha256}, "size": one.size}
        for one in files
    ]
    said: Mapping[str, Any] = {"transfer": transfer.fields(), "actor": actor, "at": rfc3339(at)}
    return statement(EXPORT, subjects, {**what, **where, "files": listed, **said})


def _verifier(home: str) -> str:
    return f"{VERIFIED}:{home}"
