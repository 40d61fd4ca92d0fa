"""Making a backup while everything runs: whole, consistent, for its owner alone, and without the key."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import signal
import sqlite3
import stat
import tarfile
import threading
from contextlib import closing
from dataclasses import replace

import pytest
import sqlalchemy as sa
from alembic import command

from deployer import migrations, scratch, settings
from deployer.backups import making, restoring
from deployer.config import StorageSettings
from deployer.errors import BackupError
from deployer.installation import Installation
from deployer.models import AuditEvent
from tests.integration.backups.conftest import ADA
from tests.support.waiting import wait_until


def members(file):
    with tarfile.open(file) as archive:
        return archive.getnames()


def database_of(file, folder):
    with tarfile.open(file) as archive:
        archive.extract("deployer.db", folder, filter="data")
    return closing(sqlite3.connect(folder / "deployer.db"))


def test_a_backup_is_one_file_with_a_manifest_and_the_database(backup):
    file = backup()

    assert members(file) == ["manifest.json", "deployer.db"]
    with tarfile.open(file) as archive:
        manifest = json.load(archive.extractfile("manifest.json"))
    assert manifest["schema"] >= "0003"
    assert manifest["version"]
    assert manifest["made_at"].endswith("Z")
    assert set(manifest["files"]) == {"deployer.db"}


def test_the_settings_are_in_it_where_they_are_a_file(installation, tmp_path):
    (tmp_path / "config.toml").write_text("[runner]\nmax_queued = 7\n")
    installation.config = replace(installation.config, source=str(tmp_path / "config.toml"))

    making.make(installation.config, tmp_path / "b", ADA, with_key=False, force=False)

    with tarfile.open(tmp_path / "b") as archive:
        assert archive.extractfile("config.toml").read() == b"[runner]\nmax_queued = 7\n"


def test_only_its_owner_can_read_it(backup):
    assert stat.S_IMODE(backup().stat().st_mode) == 0o600


def test_the_key_is_not_in_it_unless_asked_for(backup, installation):
    key = installation.data_dir.key_file.read_bytes().strip()

    without, with_key = backup("without"), backup("with", with_key=True)

    assert members(with_key) == ["manifest.json", "deployer.db", "key"]
    assert key in gzip.decompress(with_key.read_bytes())
    plain = gzip.decompress(without.read_bytes())
    assert key not in plain
    assert installation.key not in plain


def test_an_older_backup_is_not_overwritten_unless_forced(backup):
    file = backup()
    before = file.read_bytes()

    with pytest.raises(BackupError, match=r"exists already.*--force"):
        backup()
    assert file.read_bytes() == before

    backup(force=True, with_key=True)
    assert file.read_bytes() != before


def test_a_backup_that_fails_leaves_nothing(installation, tmp_path):
    with pytest.raises(BackupError, match="could not be written"):
        making.make(installation.config, tmp_path / "nowhere" / "b", ADA, with_key=False, force=False)

    (tmp_path / "folder").mkdir()
    with pytest.raises(BackupError, match="could not be written"):
        making.make(installation.config, tmp_path / "folder", ADA, with_key=False, force=True)
    assert not list(tmp_path.glob(".deployer-backup-*"))


def test_a_full_disk_is_told_and_leaves_nothing(installation, small_disk):
    with installation.database.write() as connection:
        settings.put(connection, "large", "x" * 4_000_000)

    with pytest.raises(BackupError, match="could not be written"):
        making.make(installation.config, small_disk / "b", ADA, with_key=False, force=False)
    assert not list(small_disk.iterdir())


def test_a_damaged_database_is_told_rather_than_backed_up(installation, config, tmp_path):
    with installation.database.write() as connection:
        settings.put(connection, "large", "x" * 400_000)
    installation.database.settle(wholly=True)
    with config.database_path.open("r+b") as file:
        file.seek(config.database_path.stat().st_size - 300_000)
        file.write(b"\xff" * 100_000)

    with pytest.raises(BackupError, match="damaged"):
        making.make(installation.config, tmp_path / "b", ADA, with_key=False, force=False)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("name", ["a#b", "a?b", "a%23b", "a b"])
def test_a_data_folder_may_have_any_name(name, tmp_path, new_config):
    there = replace(new_config, storage=StorageSettings(str(tmp_path / name / "data")))
    installation = Installation.open(there)
    seen = installation.database.bell.generation
    with closing(sqlite3.connect(there.database_path)) as foreign, foreign:
        foreign.execute("INSERT INTO settings (name, value) VALUES ('mine', 'kept')")
    # Nobody rang: the bell looks at the database itself.
    assert installation.database.wait_for_change(seen, 10) != seen
    installation.database.dispose()

    making.make(there, tmp_path / "b", ADA, with_key=False, force=False)

    with database_of(tmp_path / "b", tmp_path) as database:
        assert database.execute("SELECT value FROM settings WHERE name = 'mine'").fetchone() == ("kept",)
    assert {path.name for path in tmp_path.iterdir()} == {name, "b", "deployer.db"}
    assert restoring.restore(new_config, tmp_path / "b", ADA).ended == 0


def test_a_database_without_our_tables_is_no_installation(config, installation, tmp_path):
    installation.database.dispose()
    for path in config.data_dir.glob("deployer.db*"):
        path.unlink()
    config.database_path.touch()

    with pytest.raises(BackupError, match="holds no tables of Deployer"):
        making.make(config, tmp_path / "b", ADA, with_key=False, force=False)
    assert not (tmp_path / "b").exists()


def test_the_database_stays_of_the_version_that_it_is_of(new_config, tmp_path):
    """The program was replaced, and before the first start of the new one a backup is made."""
    new_config.data_dir.mkdir(mode=0o700)
    command.upgrade(migrations.settings(new_config.database_url), "0001")

    made = making.make(new_config, tmp_path / "b", ADA, with_key=False, force=False)

    assert migrations.is_behind(new_config)
    with tarfile.open(tmp_path / "b") as archive:
        assert json.load(archive.extractfile("manifest.json"))["schema"] == "0001"
    # Its audit log came later.
    assert "audit_events" in made.unnoted
    shutil.rmtree(new_config.data_dir)
    restoring.restore(new_config, tmp_path / "b", ADA)
    assert not migrations.is_behind(new_config)


def test_what_an_earlier_one_left_goes_and_what_one_is_at_stays(backup, tmp_path):
    left = tmp_path / ".deployer-backup-left"
    left.mkdir()
    (left / "deployer.db").write_text("a copy")
    with scratch.held(tmp_path, ".deployer-backup-") as held:
        backup()

        assert not left.exists()
        assert held.exists()
    assert not list(tmp_path.glob(".deployer-backup-*"))


def test_it_goes_to_a_stream_as_well(installation, backup):
    stream = io.BytesIO()

    size = making.make(installation.config, stream, ADA, with_key=False, force=False).size

    assert size == len(stream.getvalue())
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        assert archive.getnames() == ["manifest.json", "deployer.db"]


def test_who_made_it_is_in_the_audit_log(backup, operator):
    file = backup(with_key=True)

    (row,) = operator.rows(sa.select(*AuditEvent.__table__.columns))
    assert (row.actor, row.action, row.subject) == (ADA.name, "backup.made", str(file))
    assert row.detail == "with the key"


def test_under_a_load_of_writes_it_is_of_one_moment(installation, backup, tmp_path):
    """Two rows that are always written together are equal in every backup, however many commits came in between."""
    with installation.database.write() as connection:
        settings.put(connection, "large", "x" * 20_000_000)
    is_over = threading.Event()
    written = []

    def write():
        while not is_over.is_set():
            with installation.database.write() as connection:
                settings.put(connection, "one", str(len(written)))
                settings.put(connection, "other", str(len(written)))
            written.append(1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_until(lambda: written, "a first write")
        for number in range(3):
            before = len(written)
            file = backup(f"backup-{number}")
            during = len(written) - before
            (tmp_path / str(number)).mkdir()
            with database_of(file, tmp_path / str(number)) as database:
                rows = dict(database.execute("SELECT name, value FROM settings WHERE name IN ('one', 'other')"))
                assert rows["one"] == rows["other"]
                assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            # Nobody was kept from writing meanwhile.
            assert during > 0
    finally:
        is_over.set()
        writer.join()


def test_a_copy_of_the_database_after_a_kill_is_sound(config, operator, make_project, make_runner, tmp_path):
    """The three files as they lie there, taken by any means, after the runner was killed amid a flood of output."""
    deployment_id = operator.deploy(make_project("seq 1 200000; sleep 60"))
    runner = make_runner().start()
    operator.wait_for_output(deployment_id, b"1000\n")

    runner.end(signal.SIGKILL)

    for path in config.data_dir.glob("deployer.db*"):
        if not path.name.endswith("-shm"):
            shutil.copy(path, tmp_path / path.name)
    with closing(sqlite3.connect(tmp_path / "deployer.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("SELECT status FROM deployments").fetchall() == [("running",)]
