"""Run by Alembic: connects to the database that `deployer.migrations` names."""

import sqlalchemy as sa
from alembic import context

from deployer.db import prepare_connection
from deployer.models import Base
from deployer.models.base import Moment


def as_plain_type(kind, item, _context):
    """A revision must not depend on today's classes: moments are written as what they are stored as."""
    return "sa.BigInteger()" if kind == "type" and isinstance(item, Moment) else False


engine = sa.create_engine(f"sqlite:///{context.config.attributes['database_path']}")
sa.event.listen(engine, "connect", prepare_connection)
with engine.begin() as connection:
    # SQLite changes a table by making it anew. With foreign keys in force, dropping the old one would delete all rows
    # that refer to it (https://www.sqlite.org/lang_altertable.html, "Making Other Kinds Of Table Schema Changes").
    connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    context.configure(
        connection=connection, target_metadata=Base.metadata, render_as_batch=True, render_item=as_plain_type
    )
    context.run_migrations()
    if connection.exec_driver_sql("PRAGMA foreign_key_check").first():
        raise RuntimeError("The migration would leave rows that refer to nothing; it was undone.")
engine.dispose()
