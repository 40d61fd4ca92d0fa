"""Where pushes come from, and which of them deploy."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("projects") as projects:
        projects.add_column(sa.Column("provider", sa.String(length=16), nullable=False, server_default="github"))
        projects.add_column(
            sa.Column("hook_header", sa.String(length=64), nullable=False, server_default="X-Signature")
        )
        projects.add_column(sa.Column("hook_prefix", sa.String(length=32), nullable=False, server_default="sha256="))
        projects.add_column(sa.Column("hook_ref", sa.String(length=255), nullable=False, server_default="/ref"))
        projects.add_column(sa.Column("hook_commit", sa.String(length=255), nullable=False, server_default="/after"))
        for name in ("branch_patterns", "tag_patterns", "watched_paths", "ignored_paths"):
            projects.add_column(sa.Column(name, sa.Text(), nullable=False, server_default=""))
        projects.add_column(
            sa.Column("skip_markers", sa.Text(), nullable=False, server_default="[skip deploy]\n[deploy skip]")
        )
