"""Channels: where notifications go besides mail."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "channels",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=True),
        sa.Column(
            "kind",
            sa.Enum(
                "apprise", "webhook", "github", "gitlab", "gitea", name="channelkind", native_enum=False, length=16
            ),
            nullable=False,
        ),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("target", sa.String(length=255), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("on_started", sa.Boolean(), nullable=False),
        sa.Column("on_success", sa.Boolean(), nullable=False),
        sa.Column("on_failure", sa.Boolean(), nullable=False),
        sa.Column("on_recovery", sa.Boolean(), nullable=False),
        sa.Column("on_interruption", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_channels_project_id_projects"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channels")),
    )
    op.create_index("uq_channels_name_of_project", "channels", ["project_id", "name"], unique=True)
    is_of_all = sa.text("project_id IS NULL")
    op.create_index(
        "uq_channels_name_of_all",
        "channels",
        ["name"],
        unique=True,
        sqlite_where=is_of_all,
        postgresql_where=is_of_all,
    )
    with op.batch_alter_table("notifications") as notifications:
        notifications.add_column(sa.Column("channel_id", sa.String(length=36), nullable=True))
        notifications.add_column(sa.Column("answer", sa.Text(), nullable=True))
        notifications.add_column(sa.Column("remote_id", sa.String(length=64), nullable=True))
        notifications.create_foreign_key(
            op.f("fk_notifications_channel_id_channels"), "channels", ["channel_id"], ["id"], ondelete="CASCADE"
        )
    op.create_index(op.f("ix_notifications_channel_id"), "notifications", ["channel_id"])
