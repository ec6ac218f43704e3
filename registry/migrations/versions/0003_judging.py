"""judging: companions, decisions, rollouts, observations"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _table(name: str, *columns: sa.Column, unique: tuple[str, ...] = (), digests: tuple[str, ...] = ()) -> None:  # type: ignore[type-arg]
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


def _who() -> tuple[sa.Column, sa.Column]:  # type: ignore[type-arg]
    return _text("since"), _text("actor")


def upgrade() -> None:
    op.add_column("pin", _text("companions", nullable=True))
    op.create_index(op.f("ix_pin_version"), "pin", ["version"])
    op.create_index(op.f("ix_event_at"), "event", ["at"])
    _table(
        "companionbinding",
        _text("subject"),
        sa.Column("position", sa.Integer(), nullable=False),
        _text("companions", nullable=True),
        *_who(),
        unique=("subject", "position"),
    )
    _table(
        "decision",
        *map(_text, ("digest", "kind", "subject", "person")),
        _text("payload", long=True),
        _text("signature", long=True),
        _text("made_at"),
        unique=("digest",),
        digests=("digest",),
    )
    _table(
        "rollout",
        *map(_text, ("rollout", "tier", "model", "strategy", "version")),
        _text("left", nullable=True),
        _text("outcome"),
        sa.Column("milliseconds", sa.Integer(), nullable=False),
        _text("body", long=True),
        *_who(),
        unique=("rollout",),
        digests=("version",),
    )
    _table(
        "observation",
        *map(_text, ("tier", "node", "model", "state")),
        _text("version", nullable=True),
        _text("body", long=True),
        *_who(),
    )
    for table, column in (("decision", "kind"), ("rollout", "tier"), ("observation", "tier")):
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column])


def downgrade() -> None:
    for table in ("observation", "rollout", "decision", "companionbinding"):
        op.drop_table(table)
    op.drop_index(op.f("ix_event_at"), "event")
    op.drop_index(op.f("ix_pin_version"), "pin")
    op.drop_column("pin", "companions")
