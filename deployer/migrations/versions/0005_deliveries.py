"""The payloads of deliveries, and deliveries that a person asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("replay_of", sa.String(length=36), nullable=True))
    op.add_column("deliveries", sa.Column("asked_by", sa.String(length=64), nullable=True))
    op.create_table(
        "delivery_payloads",
        sa.Column("delivery_id", sa.String(length=36), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["deliveries.id"],
            name=op.f("fk_delivery_payloads_delivery_id_deliveries"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_delivery_payloads")),
    )
