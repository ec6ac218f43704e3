"""What can be asked of the registry's state: one method per question. Half of `registry.store`, reading only."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import func
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from registry.audit import Entry, EventKind, read_leaf
from registry.entities import (
    RECORDED,
    AccessToken,
    Account,
    Approval,
    ApprovalRequest,
    Assumption,
    Binding,
    Checkpoint,
    Claim,
    CompanionBinding,
    CosignedHead,
    Custody,
    Decision,
    Document,
    Enrolment,
    Event,
    Export,
    Import,
    ModelSignature,
    Observation,
    Passkey,
    Person,
    Pin,
    Publisher,
    Receipt,
    Removal,
    Report,
    Rollout,
    RouterSetting,
    Row,
    Site,
    SpokenReceipt,
    Statement,
    TierPolicy,
    Tile,
    Upstream,
    Version,
    Withdrawal,
    WitnessedHead,
)
from registry.errors import NotFound
from registry.names import Ref
from signing.digests import is_sha256

ADDED = tuple(
    kind.value
    for kind in (
        EventKind.SUITE_ADDED,
        EventKind.CONTRACT_ADDED,
        EventKind.COMPANIONS_ADDED,
        EventKind.ADVISORIES_ADDED,
    )
)

_DIGEST_PREFIX = re.compile(r"[0-9a-f]{8,64}", re.ASCII)
STREAMED = 4096  # rows at a time: sixteen tiles
EventLine = tuple[
    int, str, str, str, str, str, str | None
]  # position, kind, subject, at, actor, leaf, openings
HeadLine = tuple[int, str, str, str]  # size, root, frontier, note


class View:
    """Questions, answered from one consistent snapshot. Rows come back detached: plain values to look at."""

    def __init__(self, session: Session) -> None:
        self.session = session

    # -- versions ---------------------------------------------------------------------------------------

    def version(self, ref: Ref) -> Version:
        """The one version that `ref` means; without a selector, the newest. Raises `NotFound`."""
        query = select(Version).where(Version.model == ref.model)
        if ref.ordinal:
            query = query.where(Version.ordinal == ref.ordinal)
        elif ref.digest_prefix:
            query = query.where(col(Version.digest).startswith(ref.digest_prefix))
        elif ref.tier:
            pin = self.pin(ref.tier, ref.model)
            if pin is None:
                raise NotFound("version pinned as", str(ref))
            query = query.where(Version.digest == pin.version)
        found = self.session.exec(query.order_by(col(Version.ordinal).desc()).limit(2)).all()
        if not found or (ref.digest_prefix and len(found) > 1):
            raise NotFound("version", str(ref))
        return found[0]

    def version_by_digest(self, digest: str) -> Version | None:
        """The version with this manifest digest."""
        return self.session.exec(select(Version).where(Version.digest == digest)).first()

    def versions(self, model: str | None = None) -> list[Version]:
        """All versions, or one model's, by model and ordinal."""
        query = select(Version).order_by(col(Version.model), col(Version.ordinal))
        return list(self.session.exec(query.where(Version.model == model) if model else query))

    def version_columns(self) -> list[tuple[str, int, str]]:
        """Model, ordinal and digest of every version, by model and ordinal: without the manifests."""
        query = select(Version.model, Version.ordinal, Version.digest)
        return list(self.session.exec(query.order_by(col(Version.model), col(Version.ordinal))))

    def model_names(self) -> list[str]:
        """Every model's name."""
        return list(self.session.exec(select(Version.model).distinct().order_by(Version.model)))

    def next_ordinal(self, model: str) -> int:
        """The number that the model's next version gets."""
        last = self.session.exec(select(func.max(Version.ordinal)).where(Version.model == model)).one()
        return (last or 0) + 1

    def withdrawal(self, digest: str) -> Withdrawal | None:
        """Why a version may not serve, if so."""
        return self.session.exec(select(Withdrawal).where(Withdrawal.version == digest)).first()

    def withdrawals(self) -> list[Withdrawal]:
        """All withdrawals, oldest first."""
        return list(self.session.exec(select(Withdrawal).order_by(col(Withdrawal.id))))

    # -- documents --------------------------------------------------------------------------------------

    def document(self, kind: str, name: str) -> Document:
        """The document of a kind that a name means here, or the one with this digest (prefix of 8 or more).

        A name means what somebody here added last under it. What a bundle brings is found by its digest; its name
        means it only while nobody here has said otherwise, and the first to arrive keeps it: whoever may ship
        to this site can so not exchange the suite that a tier demands. Raises `NotFound`.
        """
        prefix = name.removeprefix("sha256:")
        # A whole digest is never taken for a name: a document could be called by another one's digest.
        meant = None if is_sha256(prefix) else self.meaning(kind, name)
        if meant is None and not _DIGEST_PREFIX.fullmatch(prefix):
            raise NotFound(kind, name)
        query = select(Document).where(
            Document.kind == kind, col(Document.digest).startswith(meant or prefix)
        )
        found = self.session.exec(query.limit(2)).all()
        if len(found) != 1:
            raise NotFound(kind, name)
        return found[0]

    def meaning(self, kind: str, name: str) -> str | None:
        """The digest of the document that a name means here: the one added here last, else the first that came."""
        query = select(Document.digest).where(Document.kind == kind, Document.name == name)
        rows = list(self.session.exec(query.order_by(col(Document.id))))
        if len(rows) < 2:
            return rows[0] if rows else None
        added = (
            select(Event)
            .where(col(Event.subject).in_(rows), col(Event.kind).in_(ADDED))
            .order_by(col(Event.position).desc())
        )
        for line in self.session.exec(added):
            if "bundle" not in _entry(line).note:
                return line.subject
        return rows[0]

    def document_by_digest(self, digest: str) -> Document | None:
        """The document with this digest."""
        return self.session.exec(select(Document).where(Document.digest == digest)).first()

    def documents(self, *kinds: str) -> list[Document]:
        """Documents of these kinds, oldest first."""
        return list(
            self.session.exec(
                select(Document).where(col(Document.kind).in_(kinds)).order_by(col(Document.id))
            )
        )

    def binding(self, digest: str) -> Binding | None:
        """The tool contract that a version keeps to now."""
        query = select(Binding).where(Binding.version == digest).order_by(col(Binding.position).desc())
        return self.session.exec(query.limit(1)).first()

    # -- tiers ------------------------------------------------------------------------------------------

    def tiers(self) -> list[TierPolicy]:
        """Each tier's policy of now, lowest tier first."""
        newest: dict[str, TierPolicy] = {}
        for row in self.session.exec(select(TierPolicy).order_by(col(TierPolicy.position))):
            newest[row.tier] = row
        return sorted(newest.values(), key=lambda row: (row.rank, row.tier))

    def tier(self, name: str) -> TierPolicy:
        """A tier's policy of now. Raises `NotFound`."""
        query = select(TierPolicy).where(TierPolicy.tier == name).order_by(col(TierPolicy.position).desc())
        found = self.session.exec(query.limit(1)).first()
        if found is None:
            raise NotFound("tier", name)
        return found

    def router(self, tier: str) -> RouterSetting | None:
        """What the tier's router speaks now."""
        query = (
            select(RouterSetting)
            .where(RouterSetting.tier == tier)
            .order_by(col(RouterSetting.position).desc())
        )
        return self.session.exec(query.limit(1)).first()

    def router_history(self, tier: str) -> list[RouterSetting]:
        """Every setting of the tier's router, oldest first."""
        query = select(RouterSetting).where(RouterSetting.tier == tier)
        return list(self.session.exec(query.order_by(col(RouterSetting.position))))

    def tier_history(self, name: str) -> list[TierPolicy]:
        """Every policy that the tier had, oldest first."""
        query = select(TierPolicy).where(TierPolicy.tier == name).order_by(col(TierPolicy.position))
        return list(self.session.exec(query))

    def pin(self, tier: str, model: str, *, at: str | None = None) -> Pin | None:
        """What the tier serves of a model, now or at a moment (RFC 3339 text)."""
        query = select(Pin).where(Pin.tier == tier, Pin.model == model)
        if at is not None:
            query = query.where(Pin.since <= at)
        return self.session.exec(query.order_by(col(Pin.position).desc()).limit(1)).first()

    def pins(self, *, at: str | None = None) -> list[Pin]:
        """What every tier serves of every model, now or at a moment."""
        query = select(Pin).order_by(col(Pin.position))
        newest: dict[tuple[str, str], Pin] = {}
        for row in self.session.exec(query.where(Pin.since <= at) if at else query):
            newest[row.tier, row.model] = row
        return [newest[key] for key in sorted(newest)]

    def pinned_manifests(self, *, after: int) -> Iterator[tuple[int, str]]:
        """(number of the pin, manifest) of what tiers serve, for pins with a number above `after`; oldest first."""
        later = aliased(Pin)
        superseded = select(later.id).where(
            later.tier == Pin.tier, later.model == Pin.model, later.position > Pin.position
        )
        query = (
            select(Pin.id, Version.manifest)
            .join(Version, col(Version.digest) == col(Pin.version))
            .where(col(Pin.id) > after, ~superseded.exists())
            .order_by(col(Pin.id))
        )
        found = self.session.connection().execute(query, execution_options={"yield_per": STREAMED})
        yield from ((number, manifest) for number, manifest in found)

    def pin_history(
        self, tier: str | None = None, model: str | None = None, version: str | None = None
    ) -> list[Pin]:
        """Every pin, oldest first, narrowed as asked."""
        query = select(Pin).order_by(col(Pin.id))
        if tier:
            query = query.where(Pin.tier == tier)
        if model:
            query = query.where(Pin.model == model)
        if version:
            query = query.where(Pin.version == version)
        return list(self.session.exec(query))

    def overridden(self) -> list[Pin]:
        """Every pin that rests on break-glass, oldest first."""
        query = select(Pin).where(col(Pin.override).is_not(None))
        return list(self.session.exec(query.order_by(col(Pin.id))))

    # -- what goes with a model, and where it is served ---------------------------------------------------

    def companions_bound(self, subject: str) -> CompanionBinding | None:
        """What is said of the companions of a version (digest) or a model (name) now."""
        query = select(CompanionBinding).where(CompanionBinding.subject == subject)
        return self.session.exec(query.order_by(col(CompanionBinding.position).desc()).limit(1)).first()

    def companions_for(self, version: Version) -> str | None:
        """The digest of the companions that go with a version: its own, else its model's."""
        own = self.companions_bound(version.digest) or self.companions_bound(version.model)
        return own.companions if own else None

    def rollouts(self, tier: str | None = None, model: str | None = None) -> list[Rollout]:
        """Every rollout, oldest first, narrowed as asked."""
        query = select(Rollout).order_by(col(Rollout.id))
        if tier:
            query = query.where(Rollout.tier == tier)
        if model:
            query = query.where(Rollout.model == model)
        return list(self.session.exec(query))

    def observations(self, tier: str | None = None) -> list[Observation]:
        """The newest observation of each model at each node."""
        query = select(Observation).order_by(col(Observation.id))
        newest: dict[tuple[str, str, str], Observation] = {}
        for row in self.session.exec(query.where(Observation.tier == tier) if tier else query):
            newest[row.tier, row.node, row.model] = row
        return [newest[key] for key in sorted(newest)]

    # -- evidence ---------------------------------------------------------------------------------------

    def reports(self, version: str, kind: str | None = None) -> list[Report]:
        """This home's own findings about a version, oldest first."""
        query = select(Report).where(Report.version == version).order_by(col(Report.id))
        return list(self.session.exec(query.where(Report.kind == kind) if kind else query))

    def claims(self, version: str) -> list[Claim]:
        """Evidence from outside about a version."""
        return list(self.session.exec(select(Claim).where(Claim.version == version).order_by(col(Claim.id))))

    def statement(self, digest: str) -> Statement | None:
        """A statement by its payload's digest."""
        return self.session.exec(select(Statement).where(Statement.digest == digest)).first()

    def statements(self, subject: str) -> list[Statement]:
        """Statements about a subject, oldest first."""
        return list(
            self.session.exec(
                select(Statement).where(Statement.subject == subject).order_by(col(Statement.id))
            )
        )

    def approvals(self, version: str | None = None, tier: str | None = None) -> list[Approval]:
        """Approvals and rejections, of one version if it is named, oldest first."""
        query = select(Approval).order_by(col(Approval.id))
        if version is not None:
            query = query.where(Approval.version == version)
        return list(self.session.exec(query.where(Approval.tier == tier) if tier else query))

    def kept(self, digest: str) -> Row | None:
        """Whatever is named by this digest: a report, statement, approval, decision, request, document or version."""
        for table in (Report, Statement, Approval, Decision, ApprovalRequest, Document, Version):
            found: Row | None = self.session.exec(select(table).where(col(table.digest) == digest)).first()
            if found is not None:
                return found
        return None

    def approval_requests(self, version: str | None = None, tier: str | None = None) -> list[ApprovalRequest]:
        """What people were asked to decide on, oldest first."""
        query = select(ApprovalRequest).order_by(col(ApprovalRequest.id))
        if version is not None:
            query = query.where(ApprovalRequest.version == version)
        if tier is not None:
            query = query.where(ApprovalRequest.tier == tier)
        return list(self.session.exec(query))

    def model_signatures(self, version: str) -> list[ModelSignature]:
        """The OpenSSF signatures over a version's files, oldest first."""
        query = select(ModelSignature).where(ModelSignature.version == version)
        return list(self.session.exec(query.order_by(col(ModelSignature.id))))

    def publishers(self) -> list[Publisher]:
        """Whose signatures on models are believed, as each stands now."""
        newest: dict[str, Publisher] = {}
        for row in self.session.exec(
            select(Publisher).order_by(col(Publisher.name), col(Publisher.position))
        ):
            newest[row.name] = row
        return list(newest.values())

    def witnessed(self, log: str | None = None) -> list[WitnessedHead]:
        """Heads of other homes' logs that were looked at here, oldest first."""
        query = select(WitnessedHead).order_by(col(WitnessedHead.id))
        return list(self.session.exec(query if log is None else query.where(WitnessedHead.log == log)))

    def cosigned(self) -> list[CosignedHead]:
        """Heads of this log that another home cosigned, smallest first."""
        return list(self.session.exec(select(CosignedHead).order_by(col(CosignedHead.size))))

    def decisions(self, kind: str | None = None, subject: str | None = None) -> list[Decision]:
        """Signed decisions, oldest first, narrowed as asked. Whether one stands is `registry.decisions`."""
        query = select(Decision).order_by(col(Decision.id))
        if kind:
            query = query.where(Decision.kind == kind)
        if subject:
            query = query.where(Decision.subject == subject)
        return list(self.session.exec(query))

    def people(self) -> list[Person]:
        """Each person as they stand now, by name."""
        newest: dict[str, Person] = {}
        for row in self.session.exec(select(Person).order_by(col(Person.position))):
            newest[row.name] = row
        return [newest[name] for name in sorted(newest)]

    def people_recorded(self) -> list[Person]:
        """Every row about a person in the order in which they were recorded."""
        return list(self.session.exec(select(Person).order_by(col(Person.id))))

    def person_history(self, name: str) -> list[Person]:
        """One person's rows, oldest first."""
        return list(
            self.session.exec(select(Person).where(Person.name == name).order_by(col(Person.position)))
        )

    # -- who is known at the doors ------------------------------------------------------------------------

    def account(self, name: str) -> Account | None:
        """An account as it stands now."""
        query = select(Account).where(Account.name == name).order_by(col(Account.position).desc())
        return self.session.exec(query.limit(1)).first()

    def accounts(self) -> list[Account]:
        """Each account as it stands now, by name."""
        newest = {row.name: row for row in self.session.exec(select(Account).order_by(col(Account.position)))}
        return [newest[name] for name in sorted(newest)]

    def access_token(self, digest: str) -> AccessToken | None:
        """The token with this SHA-256, as it stands now."""
        query = select(AccessToken).where(AccessToken.digest == digest)
        return self.session.exec(query.order_by(col(AccessToken.position).desc()).limit(1)).first()

    def token_named(self, name: str) -> AccessToken | None:
        """The token of this name, as it stands now."""
        query = select(AccessToken).where(AccessToken.name == name)
        return self.session.exec(query.order_by(col(AccessToken.position).desc()).limit(1)).first()

    def access_tokens(self, account: str | None = None) -> list[AccessToken]:
        """Each token as it stands now, by name."""
        query = select(AccessToken).order_by(col(AccessToken.position))
        rows = self.session.exec(query.where(AccessToken.account == account) if account else query)
        newest = {row.name: row for row in rows}
        return [newest[name] for name in sorted(newest)]

    def passkey(self, credential: str) -> Passkey | None:
        """A passkey as it stands now."""
        query = select(Passkey).where(Passkey.credential == credential)
        return self.session.exec(query.order_by(col(Passkey.position).desc()).limit(1)).first()

    def passkeys(self, account: str) -> list[Passkey]:
        """Each passkey of an account as it stands now, oldest first."""
        query = select(Passkey).where(Passkey.account == account).order_by(col(Passkey.id))
        newest = {row.credential: row for row in self.session.exec(query)}
        return list(newest.values())

    # -- transfers --------------------------------------------------------------------------------------

    def sites(self) -> list[Site]:
        """The sites that this origin ships to, as they stand now."""
        newest: dict[str, Site] = {}
        for row in self.session.exec(select(Site).order_by(col(Site.position))):
            newest[row.name] = row
        return [newest[name] for name in sorted(newest)]

    def site(self, name: str) -> Site:
        """Raises `NotFound`."""
        for row in self.sites():
            if row.name == name:
                return row
        raise NotFound("site", name)

    def exports(self, site: str | None = None) -> list[Export]:
        """Bundles made here, by site and sequence."""
        query = select(Export).order_by(col(Export.site), col(Export.sequence))
        return list(self.session.exec(query.where(Export.site == site) if site else query))

    def receipts(self, site: str) -> list[Receipt]:
        """What a site said back, by sequence."""
        query = select(Receipt).where(Receipt.site == site)
        return list(self.session.exec(query.order_by(col(Receipt.sequence), col(Receipt.id))))

    def enrolment(self) -> Enrolment | None:
        """The root that this site trusts."""
        return self.session.exec(select(Enrolment).order_by(col(Enrolment.id).desc()).limit(1)).first()

    def imports(self) -> list[Import]:
        """Bundles taken in here, by sequence."""
        return list(self.session.exec(select(Import).order_by(col(Import.sequence))))

    def import_of(self, bundle: str) -> Import | None:
        """How a bundle was taken in here; None if it was not."""
        return self.session.exec(select(Import).where(Import.bundle == bundle).limit(1)).first()

    def imported(self, bundle: str) -> bool:
        """Whether a bundle was taken in here."""
        return (
            self.session.exec(select(Import.id).where(Import.bundle == bundle).limit(1)).first() is not None
        )

    def newest_signed_time(self) -> str | None:
        """When the newest bundle that was taken in here was signed."""
        query = select(Import.signed_time).order_by(col(Import.sequence).desc())
        return self.session.exec(query.limit(1)).first()

    def assumptions(self, site: str) -> list[Assumption]:
        """What people said a site received, oldest first."""
        return list(
            self.session.exec(select(Assumption).where(Assumption.site == site).order_by(col(Assumption.id)))
        )

    def spoken_receipts(self, site: str) -> list[SpokenReceipt]:
        """Codes that a site read out, oldest first."""
        query = select(SpokenReceipt).where(SpokenReceipt.site == site)
        return list(self.session.exec(query.order_by(col(SpokenReceipt.id))))

    def custody(self, bundle: str | None = None) -> list[Custody]:
        """Media that were read back, oldest first."""
        query = select(Custody).order_by(col(Custody.id))
        return list(self.session.exec(query.where(Custody.bundle == bundle) if bundle else query))

    def removals(self) -> list[Removal]:
        """Versions whose bytes were removed here, oldest first."""
        return list(self.session.exec(select(Removal).order_by(col(Removal.id))))

    def upstream(self) -> Upstream | None:
        """The root of the origin behind ours, if one is enrolled."""
        return self.session.exec(select(Upstream).order_by(col(Upstream.id).desc()).limit(1)).first()

    # -- the log ----------------------------------------------------------------------------------------

    def events(
        self,
        *,
        subject: str | None = None,
        kind: str | None = None,
        actor: str | None = None,
        last: int | None = None,
    ) -> list[Entry]:
        """Events in order, narrowed as asked; `last` keeps only the newest so many."""
        query = select(Event)
        if subject:
            query = query.where(Event.subject == subject)
        if kind:
            query = query.where(Event.kind == kind)
        if actor:
            query = query.where(Event.actor == actor)
        if last is not None:
            rows = list(self.session.exec(query.order_by(col(Event.position).desc()).limit(last)))
            return [_entry(row) for row in reversed(rows)]
        return [_entry(row) for row in self.session.exec(query.order_by(col(Event.position)))]

    def events_by_kind(self, first: int = 0) -> dict[str, int]:
        """How many events of each kind there are, from a position on."""
        query = select(Event.kind, func.count()).where(Event.position >= first).group_by(Event.kind)
        return dict(self.session.exec(query).all())

    def event(self, position: int) -> Event:
        """One line of the log as it is stored. Raises `NotFound`."""
        found = self.session.get(Event, position)
        if found is None:
            raise NotFound("event", str(position))
        return found

    def leaves(self, first: int = 0, count: int | None = None) -> list[tuple[int, bytes]]:
        """Leaves by position, as the bytes that the tree hashes: `count` of them from `first` on, or all."""
        query = select(Event.position, Event.leaf).where(Event.position >= first)
        if count is not None:
            query = query.where(Event.position < first + count)
        rows = self.session.exec(query.order_by(col(Event.position)))
        return [(position, leaf.encode()) for position, leaf in rows]

    def logged(self) -> Iterator[Sequence[EventLine]]:
        """Every line of the log by position, some thousand at a time and never all in memory."""
        return self._streamed(Event, "position", "kind", "subject", "at", "actor", "leaf", "openings")

    def heads(self) -> Iterator[Sequence[HeadLine]]:
        """(size, root, frontier, note) of every signed head, smallest tree first, some thousand at a time."""
        return self._streamed(Checkpoint, "size", "root", "frontier", "note")

    def recorded_in(self, table: type[Row]) -> Iterator[Sequence[tuple[Any, ...]]]:
        """The columns of every row of a recorded table, some thousand at a time."""
        return self._streamed(table, *table.model_fields)

    def _streamed(self, table: Any, *names: str) -> Iterator[Any]:
        # Not `session.exec`: rows of plain values, and with `yield_per` PostgreSQL keeps the rest on its side.
        columns = [table.__table__.c[name] for name in names]
        query = select(*columns).order_by(columns[0])
        found = self.session.connection().execute(query, execution_options={"yield_per": STREAMED})
        for rows in found.partitions(STREAMED):
            yield [tuple(row) for row in rows]

    def checkpoint(self, size: int) -> Checkpoint | None:
        """The signed head of the log's first `size` events."""
        return self.session.get(Checkpoint, size)

    def checkpoints(self) -> list[Checkpoint]:
        """Every signed head, smallest tree first."""
        return list(self.session.exec(select(Checkpoint).order_by(col(Checkpoint.size))))

    def founding(self) -> Entry | None:
        """The first event: how the home was made."""
        first = self.session.get(Event, 0)
        return None if first is None else _entry(first)

    def head(self) -> Checkpoint | None:
        """The newest signed head."""
        return self.session.exec(select(Checkpoint).order_by(col(Checkpoint.size).desc()).limit(1)).first()

    def tiles(self, level: int, first: int, last: int) -> list[Tile]:
        """The full tiles of a level from one index to another, both included, that are kept."""
        query = select(Tile).where(Tile.level == level, Tile.index >= first, Tile.index <= last)
        return list(self.session.exec(query.order_by(col(Tile.index))))

    def tile_roots(self, level: int, first: int, count: int) -> list[tuple[int, str]]:
        """(index, root in hex) of the full tiles of a level that are kept: `count` of them from `first` on."""
        query = select(Tile.index, Tile.root).where(
            Tile.level == level, Tile.index >= first, Tile.index < first + count
        )
        return list(self.session.exec(query.order_by(col(Tile.index))))

    def recorded(self) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
        """Yield (label, content of all rows) for each recorded table."""
        for table in RECORDED:
            yield table.label, [row.content() for row in self.session.exec(select(table))]

    def newest_event(self, before: int | None = None) -> str | None:
        """The latest moment among the events, or among those of before a position."""
        query = select(func.max(Event.at))
        return self.session.exec(query if before is None else query.where(Event.position < before)).one()

    def newest_moment(self) -> str | None:
        """The latest moment this home has recorded or been told by a verified signature: the clock's floor."""
        moments = [
            self.newest_event(),
            self.session.exec(select(func.max(Import.signed_time))).one(),
        ]
        return max((moment for moment in moments if moment), default=None)


def _entry(row: Event) -> Entry:
    return read_leaf(row.leaf.encode(), row.openings)
