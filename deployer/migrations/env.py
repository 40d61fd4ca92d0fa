"""Run by Alembic: connects to the database that `deployer.migrations` names."""

import sqlalchemy as sa
from alembic import context

from deployer.models import Base
from deployer.models.base import Moment


def as_plain_type(kind, item, _context):
    """A revision must not depend on today's classes: moments are written as what they are stored as."""
    return "sa.BigInteger()" if kind == "type" and isinstance(item, Moment) else False


def migrate(connection):
    context.configure(
        connection=connection, target_metadata=Base.metadata, render_as_batch=True, render_item=as_plain_type
    )
    context.run_migrations()


def migrate_sqlite(url):
    from deployer.sqlite import prepare_connection

    engine = sa.create_engine(url)
    sa.event.listen(engine, "connect", prepare_connection)
    with engine.begin() as connection:
        # SQLite changes a table by making it anew. With foreign keys in force, dropping the old one would delete all
        # rows that refer to it (https://www.sqlite.org/lang_altertable.html, "Making Other Kinds Of Table Schema
        # Changes").
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        migrate(connection)
        if connection.exec_driver_sql("PRAGMA foreign_key_check").first():
            raise RuntimeError("The migration would leave rows that refer to nothing; it was undone.")
    engine.dispose()


def migrate_postgresql(url):
    # Imported for its rule about texts, too.
    from deployer.postgresql import MIGRATION_LOCK

    engine = sa.create_engine(url)
    with engine.begin() as connection:
        # Of several hosts that start with a new version, one migrates, and the others find it done.
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        migrate(connection)
    engine.dispose()


address = context.config.attributes["database_url"]
(migrate_sqlite if address.startswith("sqlite:") else migrate_postgresql)(address)
