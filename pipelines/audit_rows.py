"""What an audit folder holds of each recorded row: its documents under their own digests, and every long text whole.

Apart from `audit_folder` because it is the pure half: rows in, paths and bytes out. The log carries a row's long texts
as their SHA-256 only (`registry.entities.Row.content`), so whoever replays it needs the texts beside it.
Format: airgap-bundles/AUDIT.md.
"""

from collections.abc import Collection, Iterator
from itertools import zip_longest

from registry.entities import (
    Approval,
    ApprovalRequest,
    Decision,
    Document,
    ModelSignature,
    Person,
    Report,
    Row,
    Statement,
    Version,
)
from signing.person_signature import method_of

_HASHED = "sha256:"
# Texts that lie under a name of their own, not in `texts/`.
_OWN = {
    Statement: ("payload", "signature"),
    Approval: ("payload", "signature"),
    Decision: ("payload", "signature"),
    ApprovalRequest: ("body",),
    Document: ("body",),
    Report: ("body",),
    Version: ("manifest",),
    ModelSignature: ("body",),
}
NAMESPACES = ("approval@tidegate", "decision@tidegate")


def files_of(row: Row) -> Iterator[tuple[str, bytes]]:
    """Yield path and bytes of everything that a row brings into the folder."""
    yield from _named(row)
    content = row.content()
    for name in sorted(set(content) - set(_OWN.get(type(row), ()))):
        said, whole = content[name], getattr(row, name)
        if said != whole and isinstance(said, str) and said.startswith(_HASHED):
            yield f"texts/{said.removeprefix(_HASHED)}", whole.encode()


def version_of(row: Row, versions: Collection[str]) -> str | None:
    """Return the digest of the version that a row is about; None for what is about none, or about all of them."""
    if isinstance(row, Version):
        return row.digest
    about = row.subject if isinstance(row, Statement) else getattr(row, "version", None)
    return about if about in versions else None


def allowed_signers(people: Collection[Person]) -> bytes:
    """Return the people's SSH keys as `ssh-keygen -Y verify -f` reads them, each good for what people sign here.

    A key stands there for as long as it was a person's: OpenSSH counts in seconds and in UTC.
    """
    rows = sorted(people, key=lambda row: (row.name, row.position))
    lines = []
    for row, after in zip_longest(rows, rows[1:]):
        ends = after.since if after is not None and after.name == row.name else row.until
        if row.active and method_of(row.public_key) == "ssh":
            lines.append(_signer(row, ends))
    return "".join(lines).encode()


def _signer(row: Person, ends: str | None) -> str:
    key = " ".join(row.public_key.split()[:2])
    options = [f'namespaces="{",".join(NAMESPACES)}"', f'valid-after="{_openssh(row.since)}"']
    options += [f'valid-before="{_openssh(ends)}"'] if ends is not None else []
    return f"{row.name} {','.join(options)} {key}\n"


def _openssh(moment: str) -> str:
    return "".join(letter for letter in moment if letter.isdigit()) + "Z"


def _named(row: Row) -> Iterator[tuple[str, bytes]]:
    if isinstance(row, Statement):
        yield f"statements/{row.digest}.json", row.payload.encode()
        yield f"statements/{row.digest}.sig.json", row.signature.encode()
    elif isinstance(row, (Approval, Decision)):
        top = "approvals" if isinstance(row, Approval) else "decisions"
        yield f"{top}/{row.digest}.json", row.payload.encode()
        yield f"{top}/{row.digest}.sig", row.signature.encode()
    elif isinstance(row, ApprovalRequest):
        yield f"requests/{row.digest}.json", row.body.encode()
    elif isinstance(row, Report):
        yield f"reports/{row.digest}.json", row.body.encode()
    elif isinstance(row, Document):
        yield f"documents/{row.digest}.json", row.body.encode()
    elif isinstance(row, Version):
        yield f"versions/{row.digest}/manifest.json", row.manifest.encode()
        yield f"versions/{row.digest}/SHA256SUMS", _sums(row)
    elif isinstance(row, ModelSignature):
        yield f"versions/{row.version}/signatures/{row.digest}.json", row.body.encode()


def _sums(row: Version) -> bytes:
    from registry import manifests  # noqa: PLC0415 - only where a version is written

    files = manifests.decode(row.manifest.encode()).files
    return "".join(f"{entry.sha256}  {entry.path}\n" for entry in files).encode()
