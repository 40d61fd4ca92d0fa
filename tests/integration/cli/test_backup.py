"""``backup`` and ``restore`` as a person types them."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys

import pytest

from deployer import settings
from tests.support import database
from tests.support.daemon import APP
from tests.support.database import of_sqlite


@pytest.fixture
def elsewhere(shell):
    """Settings of a data folder that does not exist yet."""
    return {"DEPLOYER_STORAGE_DATA_DIR": str(shell.folder / "elsewhere")}


@of_sqlite
def test_a_backup_is_made_and_restored_elsewhere(shell, operator, make_project, elsewhere):
    make_project(name="app")

    said = shell("backup", "b.tar.gz")
    assert said.stdout.startswith("The backup is written (")
    assert f"Keep a copy of {shell.data_dir / 'key'} in another place." in said.stderr
    assert stat.S_IMODE((shell.folder / "b.tar.gz").stat().st_mode) == 0o600

    said = shell("restore", "b.tar.gz", **elsewhere)
    place = shell.folder / "elsewhere"
    assert f"{place} is as it was at 2" in said.stdout
    assert f"The key was not in the backup. Put it to {place / 'key'} (chmod 600)" in said.stdout
    assert "The key file" in shell("project", "list", code=1, **elsewhere).stderr
    (place / "key").write_bytes((shell.data_dir / "key").read_bytes())
    (place / "key").chmod(0o600)
    assert "app" in shell("project", "list", **elsewhere).stdout


@of_sqlite
def test_with_the_key_it_is_said_what_the_file_opens(shell, operator, make_project, elsewhere):
    make_project(name="app")

    said = shell("backup", "--with-key", "b.tar.gz")

    assert "whoever has this file can open every secret in it" in said.stderr
    assert "The key" not in shell("restore", "b.tar.gz", **elsewhere).stdout
    assert "app" in shell("project", "list", **elsewhere).stdout


@of_sqlite
def test_a_backup_goes_through_a_pipe(shell, operator, elsewhere):

    argv = [sys.executable, str(APP)]
    made = subprocess.run(
        [*argv, "backup", "-"], cwd=shell.folder, env=shell.environment, capture_output=True, check=True
    )
    assert b"The backup is written" in made.stderr

    shell("restore", "-", given=made.stdout, **elsewhere)

    assert (shell.folder / "elsewhere" / "deployer.db").exists()


@of_sqlite
def test_one_that_is_ended_leaves_no_copy_behind(shell, operator):
    """Its reader does not read, so that it waits with the copy of the database beside it."""
    with operator.database.write() as connection:
        settings.put(connection, "large", os.urandom(1_000_000).hex())
    argv = [sys.executable, str(APP), "backup", "-"]
    place = operator.installation.data_dir.scratch
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(argv, cwd=shell.folder, env=shell.environment, **pipes) as made:
        assert made.stdout.read(1) == b"\x1f"
        assert list(place.glob(".deployer-backup-*/deployer.db"))

        made.terminate()

        assert made.wait(timeout=20) == 128 + signal.SIGTERM
        assert made.stderr.read() == b""
    assert list(place.iterdir()) == []


@of_sqlite
def test_one_that_cannot_be_noted_is_a_backup_all_the_same(shell, operator):
    with database.locked(operator.installation.config):
        said = shell("backup", "b")

    assert said.stdout.startswith("The backup is written (")
    assert (
        "It could not be noted in the audit log. The database cannot be written: database is locked." in said.stderr
    )
    assert (shell.folder / "b").exists()


@of_sqlite
@pytest.mark.parametrize("command", ["backup", "restore"])
def test_a_place_that_cannot_be_is_told_in_one_line(shell, operator, command):
    shell("backup", "b")

    for words, given in (
        ((command, "x" * 300), {}),
        ((command, "b/c"), {}),
        ((command, "b", *(["--force"] if command == "backup" else [])), {"DEPLOYER_STORAGE_DATA_DIR": "x" * 300}),
    ):
        said = shell(*words, code=1, **given).stderr
        assert said.startswith("Error: ")
        assert said.count("\n") == 1


@of_sqlite
def test_an_older_file_stays_unless_forced(shell, operator):
    (shell.folder / "b").write_text("mine")

    assert (
        "b exists already. Choose another name, or overwrite it with --force." in shell("backup", "b", code=1).stderr
    )
    assert (shell.folder / "b").read_text() == "mine"
    shell("backup", "--force", "b")


@of_sqlite
def test_without_an_installation_there_is_nothing_to_back_up(shell):
    assert "There is nothing to back up" in shell("backup", "b", code=1).stderr
    assert not shell.data_dir.exists()


@of_sqlite
def test_what_had_not_ended_is_told(shell, operator, make_project, elsewhere):
    operator.deploy(make_project())
    shell("backup", "--with-key", "b")

    assert "1 deployment had not ended then" in shell("restore", "b", **elsewhere).stdout


@of_sqlite
def test_the_settings_file_comes_back_beside(shell, operator, elsewhere):
    (shell.folder / "config.toml").write_text("[runner]\nmax_queued = 7\n")
    shell("backup", "b")

    said = shell("restore", "b", **elsewhere)

    restored = shell.folder / "elsewhere" / "config.toml.restored"
    assert f"The settings of then are in {restored}" in said.stdout
    assert restored.read_text() == "[runner]\nmax_queued = 7\n"


@of_sqlite
def test_a_folder_in_use_is_refused(shell, operator):
    shell("backup", "b")

    assert "is not empty. Stop Deployer and move the folder away" in shell("restore", "b", code=1).stderr


def test_of_a_postgresql_the_right_command_is_told(shell):
    place = "postgresql://deployer:s3cret@db.example.com:5433/deployer?sslmode=require&password=s3cret"
    url = {"DEPLOYER_STORAGE_DATABASE_URL": place}
    shown = "'postgresql://deployer@db.example.com:5433/deployer?sslmode=require'"

    asks = "(it asks for the password)"
    for command, words in (
        ("backup", f"Run: pg_dump --format=custom --file=deployer.dump {shown} {asks}, and keep "),
        (
            "restore",
            f"Run: pg_restore --no-owner --dbname={shown} deployer.dump {asks} into an empty database, with "
            "Deployer stopped, and keep ",
        ),
    ):
        said = shell(command, "b", code=1, **url)
        assert words in said.stderr
        assert "s3cret" not in said.stderr
    assert not shell.data_dir.exists()
    assert not (shell.folder / "b").exists()
