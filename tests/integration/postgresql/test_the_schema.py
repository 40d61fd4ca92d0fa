"""The schema on PostgreSQL is what the tables say, down to the indexes that hold what must never happen."""

from __future__ import annotations

import re
import threading

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from deployer import migrations
from deployer.config import Config, StorageSettings
from deployer.installation import Installation
from deployer.models import Base


def indexes(server, database: str) -> dict[str, str]:
    rows = server.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'",
        database,
    )
    return dict(rows)


def test_the_migrated_schema_is_the_one_of_the_tables(installation):
    with installation.database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_the_indexes_are_the_same_to_the_letter(server, database):
    """Alembic does not compare the condition of a partial index."""
    server.make("made")
    engine = sa.create_engine(server.url("made").replace("postgresql:", "postgresql+psycopg:"))
    Base.metadata.create_all(engine)
    engine.dispose()

    found = indexes(server, database)

    assert found == indexes(server, "made")
    for name, condition in {
        "uq_deployments_running_project": r"WHERE \(?status = 'running'",
        "uq_deployments_queued_push": r"WHERE .*status = 'queued'",
        "uq_deployments_delivery": r"WHERE ",
    }.items():
        assert found[name].startswith("CREATE UNIQUE INDEX ")
        assert re.search(condition, found[name].replace("::text", "").replace("(status)", "status")), found[name]


@pytest.mark.parametrize("number", range(3))
def test_hosts_that_start_at_once_on_a_new_database_agree(server, tmp_path, number):
    name = f"new{number}"
    server.make(name)
    folders = [tmp_path / f"host-{number}" for number in range(3)]
    together = threading.Barrier(len(folders))
    failures: list[BaseException] = []

    def start(folder) -> None:
        together.wait()
        try:
            config = Config(storage=StorageSettings(str(folder), server.url(name)))
            Installation.open(config).database.dispose()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=start, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert server.execute("SELECT version_num FROM alembic_version", name) == [(migrations.head(),)]
