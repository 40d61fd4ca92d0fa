"""Write transactions: whole or not at all, and an error that callers can branch on."""

from __future__ import annotations

import sqlite3
import threading

import pytest
from sqlalchemy.exc import IntegrityError

from deployer import settings
from deployer.db import retrying
from deployer.errors import StorageUnavailable


def put(installation, name, value="x"):
    with installation.database.write() as connection:
        settings.put(connection, name, value)


def get(installation, name):
    with installation.database.read() as connection:
        return settings.get(connection, name)


def test_what_is_written_is_there(installation):
    put(installation, "a", "1")
    put(installation, "a", "2")

    assert get(installation, "a") == "2"
    put(installation, "a", None)
    assert get(installation, "a") is None


def test_an_error_in_a_transaction_leaves_nothing_of_it(installation):
    def write_and_fail() -> None:
        with installation.database.write() as connection:
            settings.put(connection, "a", "1")
            raise KeyError("a")

    with pytest.raises(KeyError):
        write_and_fail()

    assert get(installation, "a") is None


def test_a_full_disk_is_an_error_of_ours_and_nothing_is_written(installation):
    def write_much() -> None:
        with installation.database.write() as connection:
            # SQLite answers a full disk and a reached page limit with the same error.
            connection.exec_driver_sql("PRAGMA max_page_count = 1")
            settings.put(connection, "a", "x" * 1_000_000)

    with pytest.raises(StorageUnavailable, match="database or disk is full"):
        write_much()

    assert get(installation, "a") is None


def test_a_file_that_was_moved_away_is_an_error_and_not_begun_anew(installation, config, tmp_path):
    put(installation, "a", "1")
    installation.database.dispose()
    config.database_path.rename(tmp_path / "away")

    with pytest.raises(StorageUnavailable, match="unable to open database file"):
        put(installation, "a", "2")

    assert not config.database_path.exists()
    (tmp_path / "away").rename(config.database_path)
    assert get(installation, "a") == "1"


def test_a_broken_rule_is_not_taken_for_a_failing_disk(installation):
    def write_twice() -> None:
        with installation.database.write() as connection:
            connection.exec_driver_sql("INSERT INTO settings (name, value) VALUES ('a', 'b')")
            connection.exec_driver_sql("INSERT INTO settings (name, value) VALUES ('a', 'b')")

    with pytest.raises(IntegrityError):
        write_twice()


def test_a_short_lock_of_another_program_is_waited_for(installation, config):
    other = sqlite3.connect(config.database_path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.2, other.execute, ["COMMIT"])
    release.start()

    put(installation, "a", "1")

    release.join()
    other.close()
    assert get(installation, "a") == "1"


def test_readers_see_a_snapshot_while_somebody_writes(installation):
    put(installation, "a", "1")
    with installation.database.read() as connection:
        assert settings.get(connection, "a") == "1"
        put(installation, "a", "2")
        assert settings.get(connection, "a") == "1"
    assert get(installation, "a") == "2"


def test_what_the_database_did_not_take_is_tried_again_until_it_does():
    tries = []

    def act() -> str:
        tries.append(1)
        if len(tries) < 4:
            raise StorageUnavailable("full")
        return "written"

    assert retrying(act, first_wait_s=0.001) == "written"
    assert len(tries) == 4


def test_another_error_is_not_tried_again():
    tries = []

    def act() -> None:
        tries.append(1)
        raise ValueError("a mistake")

    with pytest.raises(ValueError, match="a mistake"):
        retrying(act)
    assert len(tries) == 1


def test_folders_of_the_path_are_absolute(installation):
    from deployer.errors import InvalidInput

    with installation.database.write() as connection:
        settings.set_extra_path(connection, [" /opt/bin ", "", "/usr/games"])
    with installation.database.read() as connection:
        assert settings.extra_path(connection) == ["/opt/bin", "/usr/games"]
    for entry in ("bin", "~/bin", "/a:/b", "/a\0", "/a\n/b"):
        with installation.database.write() as connection, pytest.raises(InvalidInput):
            settings.set_extra_path(connection, [entry])
