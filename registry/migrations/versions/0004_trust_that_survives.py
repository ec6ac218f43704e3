"""trust that survives people: requests, overrides, heads of other homes, tiles, model signatures"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ADDED = (
    ("person", "method", False),
    ("person", "until", False),
    ("person", "authority", True),
    ("approval", "decision", False),
    ("approval", "request", False),
    ("pin", "override", False),
    ("event", "openings", True),
)


def _table(
    name: str, *columns: sa.Column, unique: tuple[str, ...] = (), digests: tuple[str, ...] = ()
) -> None:  # type: ignore[type-arg]
    op.create_table(
        name,
        sa.Column("id", sa.Integer(), nullable=False),
        *columns,
        *(
            sa.CheckConstraint(f"length({column}) = 64", name=op.f(f"ck_{name}_{column}_is_sha256"))
            for column in digests
        ),
        *([sa.UniqueConstraint(*unique, name=op.f(f"uq_{name}_{'_'.join(unique)}"))] if unique else ()),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{name}")),
    )


def _text(name: str, *, nullable: bool = False, long: bool = False) -> sa.Column:  # type: ignore[type-arg]
    return sa.Column(name, sa.Text() if long else sa.String(), nullable=nullable)


def _big(name: str) -> sa.Column:  # type: ignore[type-arg]
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _who() -> tuple[sa.Column, sa.Column]:  # type: ignore[type-arg]
    return _text("since"), _text("actor")


def upgrade() -> None:
    for table, column, long in _ADDED:
        op.add_column(table, _text(column, nullable=True, long=long))
    _approvals()
    _heads()
    _models()
    for table, column in (
        ("approvalrequest", "version"),
        ("witnessedhead", "log"),
        ("cosignedhead", "size"),
        ("modelsignature", "version"),
    ):
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column])


def _approvals() -> None:
    _table(
        "approvalrequest",
        *map(_text, ("digest", "version", "tier", "action")),
        _text("body", long=True),
        _text("requested_by"),
        *_who(),
        unique=("digest",),
        digests=("digest", "version"),
    )


def _heads() -> None:
    _table(
        "witnessedhead",
        _text("log"),
        _big("size"),
        _text("root"),
        _text("note", long=True),
        _text("outcome"),
        _text("body", long=True),
        _text("cosignature", nullable=True, long=True),
        *_who(),
    )
    _table("cosignedhead", _big("size"), _text("root"), _text("note", long=True), _text("witness"), *_who())
    op.create_table(
        "tile",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        _text("root"),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "index", name=op.f("pk_tile")),
    )


def _models() -> None:
    _table(
        "modelsignature",
        *map(_text, ("digest", "version", "source", "method", "signer", "outcome")),
        _text("body", long=True),
        _text("statement", nullable=True),
        *_who(),
        unique=("version", "digest"),
        digests=("digest", "version"),
    )
    _table(
        "publisher",
        _text("name"),
        sa.Column("position", sa.Integer(), nullable=False),
        _text("method"),
        _text("material", long=True),
        _text("models"),
        sa.Column("active", sa.Boolean(), nullable=False),
        *_who(),
        unique=("name", "position"),
    )


def downgrade() -> None:
    for table in ("publisher", "modelsignature", "tile", "cosignedhead", "witnessedhead", "approvalrequest"):
        op.drop_table(table)
    for table, column, _ in reversed(_ADDED):
        op.drop_column(table, column)
