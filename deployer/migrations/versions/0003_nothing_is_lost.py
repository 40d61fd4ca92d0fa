"""Retries, polling, retention, reruns, and the runners of several hosts."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("projects") as projects:
        projects.add_column(sa.Column("rerun_interrupted", sa.Boolean(), nullable=False, server_default=sa.false()))
        projects.add_column(sa.Column("poll_minutes", sa.Integer(), nullable=True))
        projects.add_column(sa.Column("polled_at", sa.BigInteger(), nullable=True))
        projects.add_column(sa.Column("polled_sha", sa.String(length=64), nullable=True))
        projects.add_column(sa.Column("poll_error", sa.Text(), nullable=True))
        projects.add_column(sa.Column("keep_deployments", sa.Integer(), nullable=True))
        projects.add_column(sa.Column("keep_days", sa.Integer(), nullable=True))
        projects.add_column(sa.Column("host_id", sa.String(length=36), nullable=True))
    with op.batch_alter_table("steps") as steps:
        steps.add_column(sa.Column("retries", sa.Integer(), nullable=False, server_default="0"))
        steps.add_column(sa.Column("retry_wait_s", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("deployments", sa.Column("retry_of", sa.String(length=36), nullable=True))
    op.add_column("deployments", sa.Column("from_step", sa.Integer(), nullable=True))
    op.drop_index("uq_deployments_queued_push", "deployments")
    is_queued_push = sa.text("status = 'queued' AND trigger IN ('push', 'poll')")
    op.create_index(
        "uq_deployments_queued_push",
        "deployments",
        ["project_id", "branch"],
        unique=True,
        sqlite_where=is_queued_push,
        postgresql_where=is_queued_push,
    )
    with op.batch_alter_table("commands") as commands:
        commands.add_column(sa.Column("attempt", sa.Integer(), nullable=False, server_default="1"))
        commands.add_column(sa.Column("retries", sa.Integer(), nullable=False, server_default="0"))
        commands.add_column(sa.Column("retry_wait_s", sa.Integer(), nullable=False, server_default="0"))
        commands.add_column(sa.Column("not_before", sa.BigInteger(), nullable=True))
        commands.drop_constraint(op.f("uq_commands_deployment_id_position"), type_="unique")
        commands.create_unique_constraint(
            op.f("uq_commands_deployment_id_position_attempt"), ["deployment_id", "position", "attempt"]
        )
    op.create_table(
        "runners",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("host_id", sa.String(length=36), nullable=False),
        sa.Column("host_name", sa.String(length=255), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("heartbeat_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runners")),
    )
    op.create_index(op.f("ix_runners_host_id"), "runners", ["host_id"])
