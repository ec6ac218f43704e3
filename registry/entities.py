"""The tables. Every recorded one is append-only: what changes is said by a new row, never by an update.

Each row but `Event`, `Checkpoint`, `Tile` and the state of the doors is recorded by an event that carries the
row's content, so that the whole database can be replayed from the log and compared (`audit verify`). SQLModel
tables do not validate in their constructor; the constraints stand in the database. Moments are text, RFC 3339 in UTC with whole
seconds: the same on SQLite and PostgreSQL, and their order is the order of time.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, MetaData, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

# Names for constraints, so that Alembic can speak of them on both databases.
NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "pk": "pk_%(table_name)s",
}
SQLModel.metadata = MetaData(naming_convention=NAMING)


def digest_check(column: str) -> CheckConstraint:
    """A column that holds 64 hex digits."""
    return CheckConstraint(f"length({column}) = 64", name=f"{column}_is_sha256")


class Row(SQLModel):
    """A recorded row. `id` is the database's own and no part of what was recorded."""

    label: ClassVar[str]  # what the log calls this table
    added_later: ClassVar[frozenset[str]] = frozenset()  # columns that older logs do not know

    def content(self) -> dict[str, Any]:
        """What the log carries of this row: long texts by their SHA-256, the id not at all.

        A column that came with a later release is left out while it holds nothing, so that old logs still replay.
        """
        # A value of another type than its column's is for `audit verify` to name, not for pydantic to warn of.
        return self.recorded(self.model_dump(warnings=False))

    @classmethod
    def recorded(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """The same, of a row that was read as plain columns."""
        hidden = {"id", *(name for name in cls.added_later if values[name] is None)}
        return {name: _brief(value) for name, value in values.items() if name not in hidden}


def _brief(value: Any) -> Any:
    from signing.digests import sha256_hex  # noqa: PLC0415 - keeps the entities free of anything but columns

    # A text that looks like such a digest is hashed too: else it could stand in for the text that it was made of.
    if isinstance(value, str) and (len(value) > 1024 or value.startswith("sha256:")):
        return f"sha256:{sha256_hex(value.encode())}"
    return value


class Version(Row, table=True):
    """One immutable set of files of a model."""

    label: ClassVar[str] = "version"
    __table_args__ = (
        UniqueConstraint("model", "ordinal", name="uq_version_model_ordinal"),
        UniqueConstraint("model", "digest", name="uq_version_model_digest"),
        CheckConstraint("ordinal >= 1", name="ordinal_from_one"),
        digest_check("digest"),
    )
    id: int | None = Field(default=None, primary_key=True)
    model: str
    ordinal: int
    digest: str = Field(index=True)  # of the manifest
    revision: str = Field(index=True)  # 40 hex, for Hugging Face clients
    manifest: str = Field(sa_type=Text)  # canonical JSON
    modelpack: str  # sha256 of the ModelPack manifest's blob
    size: int = Field(sa_type=BigInteger)  # bytes of all files
    brought_by: str  # "fetch", "add" or the bundle's id
    added_at: str
    added_by: str


class Document(Row, table=True):
    """A content-addressed document: contract, engine profile, suite, companions, advisories, policy file."""

    label: ClassVar[str] = "document"
    __table_args__ = (digest_check("digest"),)
    id: int | None = Field(default=None, primary_key=True)
    digest: str = Field(unique=True)
    kind: str = Field(index=True)
    name: str
    body: str = Field(sa_type=Text)  # canonical JSON
    added_at: str
    added_by: str


class Binding(Row, table=True):
    """From `since` on, this version keeps to this tool contract."""

    label: ClassVar[str] = "binding"
    __table_args__ = (UniqueConstraint("version", "position", name="uq_binding_version_position"),)
    id: int | None = Field(default=None, primary_key=True)
    version: str
    position: int
    contract: str
    since: str
    actor: str


class Report(Row, table=True):
    """What a scan or a suite found here. Only these satisfy a gate of this home.

    Kind `evidence` never does: that is what another tool said, kept to be looked at.
    """

    label: ClassVar[str] = "report"
    __table_args__ = (digest_check("digest"), digest_check("version"))
    id: int | None = Field(default=None, primary_key=True)
    digest: str = Field(unique=True)  # of the body
    kind: str  # scan, validation, evidence
    version: str = Field(index=True)
    outcome: str  # PASSED, WARNED, FAILED, INCONCLUSIVE; NOTED for evidence from outside
    suite: str | None  # digests of what it was measured with; None for a scan
    contract: str | None
    profile: str | None
    statement: str | None  # sha256 of the signed statement's payload
    body: str = Field(sa_type=Text)  # canonical JSON
    made_at: str
    made_by: str


class Claim(Row, table=True):
    """Evidence that came with a bundle. Shown beside ours; never enough for a gate (DESIGN section 8, promise 9)."""

    label: ClassVar[str] = "claim"
    __table_args__ = (UniqueConstraint("bundle", "statement", name="uq_claim_bundle_statement"),)
    id: int | None = Field(default=None, primary_key=True)
    bundle: str
    version: str = Field(index=True)
    statement: str


class Statement(Row, table=True):
    """A signed in-toto statement: readable JSON with its detached signature beside it."""

    label: ClassVar[str] = "statement"
    __table_args__ = (digest_check("digest"),)
    id: int | None = Field(default=None, primary_key=True)
    digest: str = Field(unique=True)  # of the payload
    predicate: str
    subject: str = Field(index=True)  # sha256 of the first subject
    payload: str = Field(sa_type=Text)
    signature: str = Field(sa_type=Text)  # DSSE without the payload
    made_at: str


class RouterSetting(Row, table=True):
    """From `since` on, this tier's router speaks this contract and its engines run this profile."""

    label: ClassVar[str] = "router setting"
    __table_args__ = (UniqueConstraint("tier", "position", name="uq_router_tier_position"),)
    id: int | None = Field(default=None, primary_key=True)
    tier: str
    position: int
    router: str
    profile: str
    since: str
    actor: str


class TierPolicy(Row, table=True):
    """From `since` on, this is what a tier demands. `rank` orders tiers, lowest first."""

    label: ClassVar[str] = "tier policy"
    __table_args__ = (UniqueConstraint("tier", "position", name="uq_policy_tier_position"),)
    id: int | None = Field(default=None, primary_key=True)
    tier: str
    position: int
    rank: int
    body: str = Field(sa_type=Text)
    since: str
    actor: str


class Person(Row, table=True):
    """A person and the key they sign with, from `since` on; `active` false when they have left."""

    label: ClassVar[str] = "person"
    added_later: ClassVar[frozenset[str]] = frozenset({"method", "until", "authority"})
    __table_args__ = (UniqueConstraint("name", "position", name="uq_person_name_position"),)
    id: int | None = Field(default=None, primary_key=True)
    name: str
    position: int
    public_key: str = Field(
        sa_type=Text
    )  # one OpenSSH public key line, or `x509 ` and a certificate in base64
    roles: str  # comma-separated
    active: bool
    since: str
    actor: str
    method: str | None = None  # ssh or piv; None of before there was a choice: ssh
    until: str | None = None  # when the key's word ends by itself
    authority: str | None = Field(default=None, sa_type=Text)  # canonical JSON: who put this in force


class Approval(Row, table=True):
    """One person's signed decision; the payload is the exact bytes they signed."""

    label: ClassVar[str] = "approval"
    added_later: ClassVar[frozenset[str]] = frozenset({"decision", "request"})
    __table_args__ = (digest_check("digest"), digest_check("version"))
    id: int | None = Field(default=None, primary_key=True)
    digest: str = Field(unique=True)  # of the payload
    version: str = Field(index=True)
    tier: str
    person: str = Field(index=True)
    payload: str = Field(sa_type=Text)
    signature: str = Field(sa_type=Text)  # armored SSHSIG, or a PIV signature
    made_at: str
    decision: str | None = None  # approve or reject; None of before there was a choice: approve
    request: str | None = None  # digest of the request that was answered


class ApprovalRequest(Row, table=True):
    """What people were asked to decide on, and the page that they were shown."""

    label: ClassVar[str] = "approval request"
    __table_args__ = (digest_check("digest"), digest_check("version"))
    id: int | None = Field(default=None, primary_key=True)
    digest: str = Field(unique=True)  # of the body
    version: str = Field(index=True)
    tier: str
    action: str
    body: str = Field(sa_type=Text)  # canonical JSON
    requested_by: str
    since: str
    actor: str


class Pin(Row, table=True):
    """One line of a tier's history: the set that it served of a model from `since` on."""

    label: ClassVar[str] = "pin"
    added_later: ClassVar[frozenset[str]] = frozenset({"companions", "override"})
    __table_args__ = (
        UniqueConstraint("tier", "model", "position", name="uq_pin_tier_model_position"),
        CheckConstraint("position >= 1", name="position_from_one"),
        CheckConstraint("kind in ('promote', 'rollback')", name="kind_known"),
        digest_check("version"),
    )
    id: int | None = Field(default=None, primary_key=True)
    tier: str = Field(index=True)
    model: str = Field(index=True)
    position: int
    kind: str
    version: str = Field(index=True)  # digest
    ordinal: int
    contract: str | None
    profile: str | None
    router: str | None
    companions: str | None = None
    evidence: str = Field(sa_type=Text)  # canonical JSON list of digests
    reason: str
    since: str
    actor: str
    override: str | None = Field(
        default=None, index=True
    )  # digest of the break-glass decision that this rests on


class Withdrawal(Row, table=True):
    """This version may not be promoted or rolled back to again."""

    label: ClassVar[str] = "withdrawal"
    __table_args__ = (digest_check("version"),)
    id: int | None = Field(default=None, primary_key=True)
    version: str = Field(unique=True)
    reason: str
    since: str
    actor: str


class Site(Row, table=True):
    """A site that this origin ships to, and the key that signs its receipts."""

    label: ClassVar[str] = "site"
    __table_args__ = (UniqueConstraint("name", "position", name="uq_site_name_position"),)
    id: int | None = Field(default=None, primary_key=True)
    name: str
    position: int
    identity: str = Field(sa_type=Text)  # public key, JSON
    since: str
    actor: str


class Export(Row, table=True):
    """A bundle that was made here for a site."""

    label: ClassVar[str] = "export"
    __table_args__ = (
        UniqueConstraint("site", "sequence", name="uq_export_site_sequence"),
        digest_check("digest"),
    )
    id: int | None = Field(default=None, primary_key=True)
    site: str
    sequence: int
    bundle: str
    digest: str = Field(index=True)  # of the export document
    body: str = Field(sa_type=Text)
    made_at: str
    actor: str


class Receipt(Row, table=True):
    """What a site said back."""

    label: ClassVar[str] = "receipt"
    __table_args__ = (digest_check("digest"),)
    id: int | None = Field(default=None, primary_key=True)
    digest: str = Field(unique=True)
    site: str = Field(index=True)
    sequence: int
    body: str = Field(sa_type=Text)
    taken_at: str
    actor: str


class Enrolment(Row, table=True):
    """The root this site trusts, compared by two people when it was installed."""

    label: ClassVar[str] = "enrolment"
    __table_args__ = (digest_check("fingerprint"),)
    id: int | None = Field(default=None, primary_key=True)
    fingerprint: str
    root: str = Field(sa_type=Text)
    since: str
    actor: str


class Import(Row, table=True):
    """A bundle that was taken in here: raises the sequence's high-water mark and the clock's floor."""

    label: ClassVar[str] = "import"
    __table_args__ = (UniqueConstraint("sequence", name="uq_import_sequence"), digest_check("digest"))
    id: int | None = Field(default=None, primary_key=True)
    sequence: int
    bundle: str = Field(index=True)
    digest: str = Field(index=True)  # of the export document
    body: str = Field(sa_type=Text)  # the export document
    metadata_body: str = Field(sa_type=Text)  # the trust metadata as last verified, JSON of name to text
    signed_time: str
    imported_at: str
    actor: str


class Assumption(Row, table=True):
    """A person's word that a site received a bundle of which no receipt came back; deltas may build on it."""

    label: ClassVar[str] = "assumption"
    __table_args__ = (digest_check("export"),)
    id: int | None = Field(default=None, primary_key=True)
    site: str = Field(index=True)
    sequence: int
    export: str  # digest of the export document
    person: str
    reason: str
    since: str
    actor: str


class SpokenReceipt(Row, table=True):
    """A code that a site read out: advice for a person, never proof of what the site holds."""

    label: ClassVar[str] = "spoken receipt"
    __table_args__ = (digest_check("export"),)
    id: int | None = Field(default=None, primary_key=True)
    site: str = Field(index=True)
    sequence: int
    export: str
    outcome: str
    since: str
    actor: str


class Custody(Row, table=True):
    """A written medium that was read back: what it is, who carries it, and whether all of it was there."""

    label: ClassVar[str] = "custody"
    __table_args__ = (digest_check("export"), digest_check("sums"))
    id: int | None = Field(default=None, primary_key=True)
    bundle: str = Field(index=True)
    export: str
    volume: int
    of: int
    sums: str  # SHA-256 of the volume's SHA256SUMS
    outcome: str  # WHOLE, DAMAGED
    serial: str | None  # of the medium, as printed on it
    seal: str | None
    carrier: str | None
    body: str = Field(sa_type=Text)  # canonical JSON: what was found
    since: str
    actor: str


class Removal(Row, table=True):
    """The bytes of a version were removed here; its record stays."""

    label: ClassVar[str] = "removal"
    __table_args__ = (digest_check("version"),)
    id: int | None = Field(default=None, primary_key=True)
    version: str = Field(index=True)
    reason: str
    bytes: int = Field(sa_type=BigInteger)
    since: str
    actor: str


class Upstream(Row, table=True):
    """The root of the origin behind ours: whose releases a relaying site may pass on to this one."""

    label: ClassVar[str] = "upstream"
    __table_args__ = (digest_check("fingerprint"),)
    id: int | None = Field(default=None, primary_key=True)
    fingerprint: str
    root: str = Field(sa_type=Text)
    since: str
    actor: str


class CompanionBinding(Row, table=True):
    """From `since` on, these companions go with a version (its digest) or with every version of a model (its name)."""

    label: ClassVar[str] = "companion binding"
    __table_args__ = (UniqueConstraint("subject", "position", name="uq_companionbinding_subject_position"),)
    id: int | None = Field(default=None, primary_key=True)
    subject: str
    position: int
    companions: str | None  # digest of the document; None: none from now on
    since: str
    actor: str


class Decision(Row, table=True):
    """One person's signed decision other than an approval: a waiver, a licence accepted, a case set aside."""

    label: ClassVar[str] = "decision"
    __table_args__ = (digest_check("digest"),)
    id: int | None = Field(default=None, primary_key=True)
    digest: str = Field(unique=True)  # of the payload
    kind: str = Field(index=True)
    subject: str = Field(index=True)
    person: str = Field(index=True)
    payload: str = Field(sa_type=Text)
    signature: str = Field(sa_type=Text)  # armored SSHSIG
    made_at: str


class Rollout(Row, table=True):
    """One walk of a pinned set to the engines, finished or turned back."""

    label: ClassVar[str] = "rollout"
    __table_args__ = (digest_check("version"),)
    id: int | None = Field(default=None, primary_key=True)
    rollout: str = Field(unique=True)
    tier: str = Field(index=True)
    model: str
    strategy: str
    version: str  # that was to be served
    left: str | None  # that was served before
    outcome: str  # SERVED, TURNED-BACK
    milliseconds: int
    body: str = Field(sa_type=Text)  # canonical JSON: every step with its time
    since: str
    actor: str


class Observation(Row, table=True):
    """What an engine of a tier was seen to serve, its files hashed."""

    label: ClassVar[str] = "observation"
    id: int | None = Field(default=None, primary_key=True)
    tier: str = Field(index=True)
    node: str
    model: str
    state: str  # SERVES, OTHER, SILENT, UNPROVEN
    version: str | None  # digest, where the files proved it
    body: str = Field(sa_type=Text)  # canonical JSON
    since: str
    actor: str


class WitnessedHead(Row, table=True):
    """The head of another home's log, held against the last one that was seen of it, and cosigned here."""

    label: ClassVar[str] = "witnessed head"
    id: int | None = Field(default=None, primary_key=True)
    log: str = Field(index=True)  # the origin line of its checkpoints
    size: int = Field(sa_type=BigInteger)
    root: str
    note: str = Field(sa_type=Text)  # as it came
    outcome: str  # FIRST, CONSISTENT, FORK, ROLLED-BACK
    body: str = Field(sa_type=Text)  # canonical JSON: the proof, and what brought it
    cosignature: str | None = Field(sa_type=Text)  # our line under it
    since: str
    actor: str


class CosignedHead(Row, table=True):
    """A head of this home's log that another home cosigned."""

    label: ClassVar[str] = "cosigned head"
    id: int | None = Field(default=None, primary_key=True)
    size: int = Field(sa_type=BigInteger, index=True)
    root: str
    note: str = Field(sa_type=Text)  # our checkpoint with the other's line
    witness: str
    since: str
    actor: str


class ModelSignature(Row, table=True):
    """An OpenSSF Model Signing signature over a version's files: its publisher's, or this home's."""

    label: ClassVar[str] = "model signature"
    __table_args__ = (
        UniqueConstraint("version", "digest", name="uq_modelsignature_version_digest"),
        digest_check("digest"),
        digest_check("version"),
    )
    id: int | None = Field(default=None, primary_key=True)
    digest: str  # of the bundle's bytes
    version: str = Field(index=True)
    source: str  # publisher, home
    method: str  # key, certificate
    signer: str  # fingerprint of the key, or subject of the certificate
    outcome: str  # VALID, WRONG, UNKNOWN-SIGNER, UNCHECKABLE
    body: str = Field(sa_type=Text)  # the sigstore bundle as it was
    statement: str | None
    since: str
    actor: str


class Publisher(Row, table=True):
    """From `since` on, signatures on models by this key or certificate authority are believed."""

    label: ClassVar[str] = "publisher"
    __table_args__ = (UniqueConstraint("name", "position", name="uq_publisher_name_position"),)
    id: int | None = Field(default=None, primary_key=True)
    name: str
    position: int
    method: str  # key, certificate
    material: str = Field(sa_type=Text)  # PEM
    models: str  # a pattern, such as acme/*
    active: bool
    since: str
    actor: str


class Account(Row, table=True):
    """Somebody who is known at the doors, and what they may do there, from `since` on. Secrets stand elsewhere."""

    label: ClassVar[str] = "account"
    __table_args__ = (UniqueConstraint("name", "position", name="uq_account_name_position"),)
    id: int | None = Field(default=None, primary_key=True)
    name: str  # the person's name, where they are one
    position: int
    grants: str  # comma-separated: viewer, steward:org
    active: bool
    since: str
    actor: str


class AccessToken(Row, table=True):
    """What a program shows at the doors. The token itself is shown once and kept nowhere."""

    label: ClassVar[str] = "access token"
    __table_args__ = (
        UniqueConstraint("name", "position", name="uq_accesstoken_name_position"),
        digest_check("digest"),
    )
    id: int | None = Field(default=None, primary_key=True)
    name: str
    position: int
    digest: str = Field(index=True)  # SHA-256 of the token
    account: str = Field(index=True)
    grants: str  # never more than the account's of the moment
    until: str
    active: bool
    since: str
    actor: str


class Passkey(Row, table=True):
    """A WebAuthn credential of an account, as an OpenSSH public key: what it signs is an SSH signature."""

    label: ClassVar[str] = "passkey"
    __table_args__ = (UniqueConstraint("credential", "position", name="uq_passkey_credential_position"),)
    id: int | None = Field(default=None, primary_key=True)
    credential: str  # base64url, as the browser names it
    position: int
    account: str = Field(index=True)
    public_key: str = Field(sa_type=Text)  # one OpenSSH line; its application is the relying party's id
    title: str
    active: bool
    since: str
    actor: str


class DoorSecret(SQLModel, table=True):
    """State of the doors, changed in place and recorded nowhere, as are the tables below: how an account signs in."""

    account: str = Field(primary_key=True)
    password_hash: str  # argon2id, PHC form
    changed_at: str


class DoorSession(SQLModel, table=True):
    """A browser that somebody signed in with."""

    id: str = Field(primary_key=True)  # SHA-256 of the cookie
    account: str = Field(index=True)
    grants: str | None  # given by an identity provider at sign-in; None: the account's
    how: str
    csrf: str
    began: str
    seen: str
    until: str = Field(index=True)


class DoorTry(SQLModel, table=True):
    """Something that failed, or was counted, for a limit."""

    id: int | None = Field(default=None, primary_key=True)
    subject: str = Field(index=True)  # what is limited: `sign-in account carla`, `sign-in address 10.0.0.7`
    at: str = Field(index=True)


class DoorChallenge(SQLModel, table=True):
    """A question that waits for one answer: a passkey's challenge, an identity provider's state."""

    id: str = Field(primary_key=True)
    kind: str
    body: str = Field(sa_type=Text)
    until: str = Field(index=True)


class DoorAnswer(SQLModel, table=True):
    """What was answered to a request with an Idempotency-Key, for whoever repeats it."""

    account: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    request: str  # SHA-256 of method, path and body
    status: int | None  # None while it is at work
    headers: str = Field(sa_type=Text)
    body: str = Field(sa_type=Text)
    at: str = Field(index=True)


class BlobSeen(SQLModel, table=True):
    """The file of a blob as it was when it was hashed; another file under the name is hashed anew."""

    digest: str = Field(primary_key=True)
    mark: str
    checked_at: str
    outcome: str  # WHOLE, DAMAGED


class TokenUse(SQLModel, table=True):
    """When a token was last shown, to the minute."""

    digest: str = Field(primary_key=True)
    last_used: str


class Event(SQLModel, table=True):
    """One line of the audit log: a leaf of the RFC 6962 tree."""

    position: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})  # 0 is the first leaf
    kind: str = Field(index=True)
    subject: str = Field(index=True)
    at: str = Field(index=True)  # the latest moment is the clock's floor, and every gate asks for it
    actor: str = Field(index=True)
    leaf: str = Field(sa_type=Text)  # canonical JSON: exactly the bytes that the tree hashes
    # canonical JSON: what stands as salted digests in the leaf, `[[JSON pointer, salt in hex, value], …]`
    openings: str | None = Field(default=None, sa_type=Text)


class Tile(SQLModel, table=True):
    """256 hashes of one level of the tree, kept when the last of them is known (C2SP tlog-tiles)."""

    level: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    index: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    root: str  # 64 hex: the hash over them, an element of the level above
    hashes: bytes  # 8,192 bytes


class Checkpoint(SQLModel, table=True):
    """The tree's head after a change, signed by this home's log key (C2SP tlog-checkpoint)."""

    size: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    root: str
    frontier: str = Field(sa_type=Text)
    note: str = Field(sa_type=Text)


RECORDED: tuple[type[Row], ...] = (
    Version, Document, Binding, Report, Claim, Statement, RouterSetting, TierPolicy, Person, Approval, Pin,
    Withdrawal, Site, Export, Receipt, Enrolment, Import, Assumption, SpokenReceipt, Custody, Removal, Upstream,
    CompanionBinding, Decision, Rollout, Observation, ApprovalRequest, WitnessedHead, CosignedHead, ModelSignature,
    Publisher, Account, AccessToken, Passkey,
)  # fmt: skip
