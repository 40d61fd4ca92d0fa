"""Releases, and health checks."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_STRATEGY = sa.Enum("checkout", "release", name="strategy", native_enum=False, length=16)
_PHASE = sa.Enum("build", "activate", name="phase", native_enum=False, length=16)


def upgrade() -> None:
    with op.batch_alter_table("projects") as projects:
        projects.add_column(sa.Column("strategy", _STRATEGY, nullable=False, server_default="checkout"))
        projects.add_column(sa.Column("keep_releases", sa.Integer(), nullable=False, server_default="5"))
        projects.add_column(sa.Column("shared_paths", sa.Text(), nullable=False, server_default=""))
        projects.add_column(sa.Column("current_release_id", sa.String(length=36), nullable=True))
        projects.add_column(sa.Column("health_url", sa.String(length=2048), nullable=True))
        projects.add_column(sa.Column("health_command", sa.Text(), nullable=True))
        projects.add_column(sa.Column("health_status", sa.Integer(), nullable=False, server_default="200"))
        projects.add_column(sa.Column("health_tries", sa.Integer(), nullable=False, server_default="10"))
        projects.add_column(sa.Column("health_interval_s", sa.Integer(), nullable=False, server_default="2"))
        projects.add_column(sa.Column("health_deadline_s", sa.Integer(), nullable=False, server_default="60"))
    with op.batch_alter_table("steps") as steps:
        steps.add_column(sa.Column("phase", _PHASE, nullable=False, server_default="build"))
    op.add_column("commands", sa.Column("phase", _PHASE, nullable=True))
    op.add_column("deployments", sa.Column("release_id", sa.String(length=36), nullable=True))
    op.add_column("deployments", sa.Column("former_release_id", sa.String(length=36), nullable=True))
    op.create_table(
        "releases",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("commit_sha", sa.String(length=64), nullable=False),
        sa.Column("deployment_id", sa.String(length=36), nullable=False),
        sa.Column("activate_steps", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("activated_at", sa.BigInteger(), nullable=True),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_releases_project_id_projects"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_releases")),
        sa.UniqueConstraint("project_id", "number", name=op.f("uq_releases_project_id_number")),
    )
    op.create_index(op.f("ix_releases_deployment_id"), "releases", ["deployment_id"])
