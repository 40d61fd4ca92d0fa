"""The schema's history leads to what the tables say, and a start never damages a database."""

from __future__ import annotations

import re
import sqlite3
import stat
import threading

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from deployer import migrations
from deployer.errors import ConfigError, KeyFileError
from deployer.installation import DataDir, Installation
from deployer.models import Base
from deployer.sqlite import prepare_connection


def schema_of(engine) -> dict[str, str]:
    """Every table and index as SQLite has it, spelled alike."""
    with engine.connect() as connection:
        rows = connection.execute(
            sa.text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")
        ).all()
    return {
        name: re.sub(r"\s+", " ", sql.replace('"', "")).replace("( ", "(").replace(" )", ")")
        for name, sql in rows
        if name != "alembic_version"
    }


def test_the_migrated_schema_is_the_one_of_the_tables(installation):
    with installation.database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_the_indexes_are_the_same_to_the_letter(installation, tmp_path):
    """Alembic does not compare the condition of a partial index, and those hold what must never happen."""
    made = sa.create_engine(f"sqlite:///{tmp_path}/made.db")
    Base.metadata.create_all(made)
    wanted, found = schema_of(made), schema_of(installation.database.engine)
    made.dispose()

    indexes = {name for name, sql in wanted.items() if sql.startswith(("CREATE INDEX", "CREATE UNIQUE INDEX"))}
    assert {"uq_deployments_running_project", "uq_deployments_queued_push", "uq_deployments_delivery"} <= indexes
    assert {name: found.get(name) for name in indexes} == {name: wanted[name] for name in indexes}
    assert set(found) == set(wanted)


def test_numbers_of_deleted_deployments_are_not_given_again(installation):
    assert "AUTOINCREMENT" in schema_of(installation.database.engine)["deployments"]


def test_a_database_keeps_our_rules(installation):
    with installation.database.read() as connection:
        rules = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "auto_vacuum", "busy_timeout")
        }

    assert rules == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "auto_vacuum": 2,
        "busy_timeout": 5000,
    }


def test_a_data_folder_is_made_for_its_user_only_and_opens_again(config):
    first = Installation.open(config)
    second = Installation.open(config)

    assert first.key == second.key
    assert stat.S_IMODE(config.data_dir.stat().st_mode) == 0o700
    for path in (config.database_path, config.data_dir / "key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not migrations.is_behind(config)
    first.database.dispose()
    second.database.dispose()


def test_two_that_open_a_new_data_folder_at_once_agree(config):
    opened = []
    threads = [threading.Thread(target=lambda: opened.append(Installation.open(config))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(opened) == 2
    for installation in opened:
        with installation.database.read() as connection:
            assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == migrations.head()
        installation.database.dispose()


def test_a_database_of_a_newer_version_is_refused_and_left_as_it_is(installation, config):
    with installation.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(ConfigError, match=r"newer version of Deployer \(schema 9999\)"):
        Installation.open(config)

    with installation.database.read() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "9999"


def test_a_file_that_is_no_database_is_refused(config):
    config.data_dir.mkdir()
    config.database_path.write_bytes(b"this is no database" * 100)

    with pytest.raises(ConfigError, match="is damaged"):
        Installation.open(config)


def test_an_empty_file_becomes_a_database(config):
    config.data_dir.mkdir()
    config.database_path.touch()

    opened = Installation.open(config)

    assert not migrations.is_behind(config)
    opened.database.dispose()


def test_a_data_folder_that_others_can_enter_is_closed_to_them(installation, config):
    config.data_dir.chmod(0o755)

    Installation.open(config).database.dispose()

    assert stat.S_IMODE(config.data_dir.stat().st_mode) == 0o700


def test_a_key_that_others_can_read_refuses_the_start(installation, config):
    (config.data_dir / "key").chmod(0o644)

    with pytest.raises(KeyFileError):
        Installation.open(config)


def test_a_data_folder_that_cannot_be_made_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match=r"cannot be used.*storage\.data_dir"):
        DataDir(tmp_path / "file" / "data").opened().__enter__()


def test_a_new_connection_to_a_database_in_use_does_not_disturb_it(installation, config):
    with installation.database.write():
        connection = sqlite3.connect(config.database_path, timeout=0)
        prepare_connection(connection, None)
        assert connection.execute("SELECT count(*) FROM projects").fetchone() == (0,)
        connection.close()


def test_an_upgrade_from_the_first_schema_keeps_every_row(config):
    config.data_dir.mkdir()
    command.upgrade(migrations.settings(config.database_url), "0001")
    with sqlite3.connect(config.database_path) as old:
        old.execute("PRAGMA foreign_keys = ON")
        old.execute(
            "INSERT INTO projects (id, name, repository_url, branch, path, shell, auto_deploy, cancel_running, "
            "webhook_secret, created_at, updated_at) "
            "VALUES ('p', 'app', 'u', 'main', '/srv/app', 'sh', 1, 0, x'00', 1, 1)"
        )
        old.execute("INSERT INTO steps (id, project_id, position, name, command) VALUES ('s', 'p', 0, 'n', 'true')")
    old.close()

    migrations.upgrade(config)

    with sqlite3.connect(config.database_path) as new:
        assert new.execute("SELECT id, server_id, mail_on_success, mail_on_failure FROM projects").fetchall() == [
            ("p", None, 0, 1)
        ]
        assert new.execute("SELECT id FROM steps").fetchall() == [("s",)]
        assert new.execute("PRAGMA foreign_key_check").fetchall() == []
    new.close()
