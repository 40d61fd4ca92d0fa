"""Schedules, locks, windows, approval, and whose commits are deployed."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("projects") as projects:
        projects.add_column(sa.Column("locked_by", sa.String(length=255), nullable=True))
        projects.add_column(sa.Column("locked_because", sa.Text(), nullable=True))
        projects.add_column(sa.Column("locked_at", sa.BigInteger(), nullable=True))
        projects.add_column(sa.Column("windows", sa.Text(), nullable=True))
        projects.add_column(sa.Column("windows_zone", sa.String(length=64), nullable=False, server_default="UTC"))
        projects.add_column(sa.Column("needs_approval", sa.Boolean(), nullable=False, server_default=sa.false()))
        projects.add_column(sa.Column("signature_keys", sa.Text(), nullable=True))
        projects.add_column(sa.Column("signature_signers", sa.Text(), nullable=True))
    op.create_index(
        "ix_projects_windows",
        "projects",
        ["id"],
        sqlite_where=sa.text("windows IS NOT NULL"),
        postgresql_where=sa.text("windows IS NOT NULL"),
    )
    op.add_column("deployments", sa.Column("approved_by", sa.String(length=255), nullable=True))
    op.add_column("deployments", sa.Column("approved_at", sa.BigInteger(), nullable=True))
    op.add_column(
        "deployments", sa.Column("ignores_windows", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.create_table(
        "schedules",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("expression", sa.String(length=200), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=True),
        sa.Column("last_at", sa.BigInteger(), nullable=True),
        sa.Column("last_deployment_id", sa.String(length=36), nullable=True),
        sa.Column("missed_at", sa.BigInteger(), nullable=True),
        sa.Column("missed_because", sa.Text(), nullable=True),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_schedules_project_id_projects"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedules")),
        sa.UniqueConstraint("project_id", "number", name=op.f("uq_schedules_project_id_number")),
    )
    op.create_index(op.f("ix_schedules_next_at"), "schedules", ["next_at"])
