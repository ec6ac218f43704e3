"""crossing the gap: what was assumed, heard, read back, removed, and passed on"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _table(name: str, *columns: sa.Column, digests: tuple[str, ...]) -> None:  # type: ignore[type-arg]
    op.create_table(
        name,
        sa.Column("id", sa.Integer(), nullable=False),
        *columns,
        sa.Column("since", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        *(
            sa.CheckConstraint(f"length({column}) = 64", name=op.f(f"ck_{name}_{column}_is_sha256"))
            for column in digests
        ),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{name}")),
    )


def _text(name: str, *, nullable: bool = False) -> sa.Column:  # type: ignore[type-arg]
    return sa.Column(name, sa.String(), nullable=nullable)


def upgrade() -> None:
    _table(
        "assumption",
        _text("site"),
        sa.Column("sequence", sa.Integer(), nullable=False),
        _text("export"),
        _text("person"),
        _text("reason"),
        digests=("export",),
    )
    _table(
        "spokenreceipt",
        _text("site"),
        sa.Column("sequence", sa.Integer(), nullable=False),
        _text("export"),
        _text("outcome"),
        digests=("export",),
    )
    _table(
        "custody",
        _text("bundle"),
        _text("export"),
        sa.Column("volume", sa.Integer(), nullable=False),
        sa.Column("of", sa.Integer(), nullable=False),
        _text("sums"),
        _text("outcome"),
        _text("serial", nullable=True),
        _text("seal", nullable=True),
        _text("carrier", nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        digests=("export", "sums"),
    )
    _table(
        "removal",
        _text("version"),
        _text("reason"),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        digests=("version",),
    )
    _table("upstream", _text("fingerprint"), sa.Column("root", sa.Text(), nullable=False), digests=("fingerprint",))
    for table, column in (
        ("assumption", "site"),
        ("spokenreceipt", "site"),
        ("custody", "bundle"),
        ("removal", "version"),
    ):
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column])


def downgrade() -> None:
    for table in ("upstream", "removal", "custody", "spokenreceipt", "assumption"):
        op.drop_table(table)
