"""What lies on disk is its user's alone, and a start with a key that others can read is refused."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from tests.support.daemon import APP
from tests.support.database import ON_POSTGRESQL, everything_stored
from tests.support.operator import Operator


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def start(daemon) -> subprocess.CompletedProcess[str]:
    """A start that is expected to end at once."""
    argv = [sys.executable, str(APP), daemon.command]
    return subprocess.run(argv, env=daemon.environment, cwd=daemon.folder, capture_output=True, text=True, timeout=30)


def test_the_data_folder_is_private_and_everything_in_it(daemon, forge, operator, repository):
    operator.wait_for_end(forge.push(after=repository.tip()).headers["X-Deployment-Id"])
    folder = daemon.config.data_dir

    assert mode(folder) == 0o700
    assert mode(folder / "key") == 0o600
    open_to_others = {path.name: oct(mode(path)) for path in folder.iterdir() if mode(path) & 0o077}
    assert open_to_others == {}
    files = {"key", "spool", *(() if ON_POSTGRESQL else ("deployer.db", "deployer.db-wal"))}
    assert files <= {path.name for path in folder.iterdir()}


def test_each_installation_makes_a_key_of_its_own(daemon, proxied_daemon):
    keys = {(one.config.data_dir / "key").read_bytes() for one in (daemon, proxied_daemon)}

    assert len(keys) == 2
    assert all(len(key.strip()) == 44 for key in keys)


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660])
def test_a_start_with_a_key_that_others_can_read_is_refused(make_daemon, bits):
    daemon = make_daemon("web")
    key = daemon.installation.data_dir.key_file
    key.chmod(bits)

    done = start(daemon)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip() == (
        f"Error: The key file {key} can be read by other users (mode {bits:04o}). Run: chmod 600 {key}"
    )


@pytest.mark.parametrize("command", ["web", "serve", "runner"])
def test_a_start_without_the_key_that_the_database_needs_is_refused_and_makes_no_other(
    make_daemon, repository, command
):
    daemon = make_daemon(command)
    Operator(daemon.installation).make_project(repository.url)
    key = daemon.installation.data_dir.key_file
    kept = key.rename(daemon.folder / "key of the backup")

    done = start(daemon)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip() == (
        f"Error: The key file {key} is missing, and what the database keeps needs it. "
        + (
            "Copy it from another host of this database, or restore it from a backup."
            if ON_POSTGRESQL
            else "Restore it from a backup; or, to begin anew, move the data folder away."
        )
    )
    assert not key.exists()
    kept.rename(key)
    if command != "runner":
        daemon.start()


def test_a_start_without_a_key_makes_one_while_the_database_keeps_nothing(make_daemon):
    daemon = make_daemon("web")
    assert not (daemon.config.data_dir / "key").exists()

    daemon.start()

    assert mode(daemon.config.data_dir / "key") == 0o600


def test_a_data_folder_that_was_open_is_closed_by_the_start(make_daemon):
    daemon = make_daemon("web")
    os.chmod(daemon.config.data_dir, 0o755)

    daemon.start()

    assert mode(daemon.config.data_dir) == 0o700


def test_secrets_are_not_readable_in_the_database(daemon, operator, make_project):
    project = make_project()
    operator.set_variable(project, "TOKEN", "plainly-visible-secret", secret=True)
    operator.set_https_token(project, "ghp_plainly_visible")
    operator.make_deploy_key(project)

    stored = everything_stored(daemon.config)

    assert project.name.encode() in stored
    for secret in (b"plainly-visible-secret", b"ghp_plainly_visible", b"PRIVATE KEY", b"correct horse battery"):
        assert secret not in stored
