"""Variables of all projects, and variables written into a file."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_FORMAT = sa.Enum("dotenv", "json", name="fileformat", native_enum=False, length=16)


def upgrade() -> None:
    # SQLite makes the table anew, and forgets conditions that are not named here.
    one_value = sa.CheckConstraint(
        "(plain_value IS NULL) <> (secret_value IS NULL)", name=op.f("ck_variables_one_value")
    )
    with op.batch_alter_table("variables", table_args=(one_value,)) as variables:
        variables.alter_column("project_id", existing_type=sa.String(length=36), nullable=True)
    is_of_all = sa.text("project_id IS NULL")
    op.create_index(
        "uq_variables_of_all_projects",
        "variables",
        ["name"],
        unique=True,
        sqlite_where=is_of_all,
        postgresql_where=is_of_all,
    )
    with op.batch_alter_table("projects") as projects:
        projects.add_column(sa.Column("variables_file", sa.String(length=1024), nullable=True))
        projects.add_column(sa.Column("variables_format", _FORMAT, nullable=False, server_default="dotenv"))
