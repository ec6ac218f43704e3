"""the doors: accounts, tokens, passkeys, and the state of the doors"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ON_OLD_TABLES = (
    ("version", "revision"),
    ("event", "actor"),
    ("pin", "tier"),
    ("pin", "model"),
    ("pin", "override"),
    ("approval", "person"),
    ("decision", "person"),
    ("decision", "subject"),
    ("import", "bundle"),
    ("import", "digest"),
    ("export", "digest"),
)
_INDEXES = (
    *_ON_OLD_TABLES,
    ("accesstoken", "digest"),
    ("accesstoken", "account"),
    ("passkey", "account"),
    ("doorsession", "account"),
    ("doorsession", "until"),
    ("doortry", "subject"),
    ("doortry", "at"),
    ("doorchallenge", "until"),
    ("dooranswer", "at"),
)
_RECORDED = ("account", "accesstoken", "passkey")
_STATE = ("doorsecret", "doorsession", "doortry", "doorchallenge", "dooranswer", "blobseen", "tokenuse")


def _text(name: str, *, nullable: bool = False, long: bool = False) -> sa.Column:  # type: ignore[type-arg]
    return sa.Column(name, sa.Text() if long else sa.String(), nullable=nullable)


def _recorded(name: str, *columns: sa.Column, unique: str) -> None:  # type: ignore[type-arg]
    op.create_table(
        name,
        sa.Column("id", sa.Integer(), nullable=False),
        *columns,
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        _text("since"),
        _text("actor"),
        sa.UniqueConstraint(unique, "position", name=op.f(f"uq_{name}_{unique}_position")),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{name}")),
    )


def _state(name: str, *columns: sa.Column, key: tuple[str, ...]) -> None:  # type: ignore[type-arg]
    op.create_table(name, *columns, sa.PrimaryKeyConstraint(*key, name=op.f(f"pk_{name}")))


def upgrade() -> None:
    _recorded("account", _text("name"), _text("grants"), unique="name")
    _recorded(
        "accesstoken",
        *map(_text, ("name", "digest", "account", "grants", "until")),
        sa.CheckConstraint("length(digest) = 64", name=op.f("ck_accesstoken_digest_is_sha256")),
        unique="name",
    )
    _recorded(
        "passkey",
        *map(_text, ("credential", "account")),
        _text("public_key", long=True),
        _text("title"),
        unique="credential",
    )
    _doors()
    for table, column in _INDEXES:
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column])


def _doors() -> None:
    _state("doorsecret", *map(_text, ("account", "password_hash", "changed_at")), key=("account",))
    _state(
        "doorsession",
        *map(_text, ("id", "account")),
        _text("grants", nullable=True),
        *map(_text, ("how", "csrf", "began", "seen", "until")),
        key=("id",),
    )
    _state("doortry", sa.Column("id", sa.Integer(), nullable=False), *map(_text, ("subject", "at")), key=("id",))
    _state("doorchallenge", *map(_text, ("id", "kind")), _text("body", long=True), _text("until"), key=("id",))
    _state(
        "dooranswer",
        *map(_text, ("account", "key", "request")),
        sa.Column("status", sa.Integer(), nullable=True),
        _text("headers", long=True),
        _text("body", long=True),
        _text("at"),
        key=("account", "key"),
    )
    _state("blobseen", *map(_text, ("digest", "mark", "checked_at", "outcome")), key=("digest",))
    _state("tokenuse", *map(_text, ("digest", "last_used")), key=("digest",))


def downgrade() -> None:
    for table, column in _ON_OLD_TABLES:
        op.drop_index(op.f(f"ix_{table}_{column}"), table)
    for table in (*_RECORDED, *_STATE):
        op.drop_table(table)
