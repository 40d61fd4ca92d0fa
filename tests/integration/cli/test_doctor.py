"""``doctor`` names each thing that could keep Deployer from working, and how to mend it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from deployer import config_file
from deployer.installation import Installation
from tests.support import database
from tests.support.daemon import APP, environment
from tests.support.database import ON_POSTGRESQL, of_sqlite


def findings(done) -> dict[str, str]:
    """The level of what is checked, by its name."""
    lines = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    return {line[6:20].strip(): line[:4].strip() for line in lines}


def test_a_healthy_installation_passes_and_what_could_be_better_is_said(shell, operator):
    done = shell("doctor")

    found = findings(done)
    assert {found[name] for name in ("git", "setsid", "data folder", "key file", "database")} == {"ok"}
    assert found.keys() >= {"disk", "clock", "user", "address", "runner"}
    assert found["runner"] == "warn"
    assert "server.public_url is not set" in done.stdout
    assert "fail" not in found.values()


def test_before_the_first_start_nothing_is_wrong_and_nothing_is_made(shell):
    assert findings(shell("doctor"))["data folder"] == "warn"
    assert not shell.data_dir.exists()


def test_a_running_daemon_is_seen(make_daemon, shell):
    daemon = make_daemon().start()

    done = shell("doctor", **daemon.environment)

    assert findings(done)["runner"] == "ok"
    assert f"http://127.0.0.1:{daemon.port} answers." in done.stdout


@pytest.mark.parametrize(
    ("harm", "name", "words", "mend"),
    [
        (
            lambda data: (data / "key").chmod(0o644),
            "key file",
            "can be read by other users (mode 0644)",
            "Run: chmod 600 ",
        ),
        (lambda data: (data / "key").write_text("x\n"), "key file", "is damaged", "Restore it from a backup"),
        (
            lambda data: (data / "key").unlink(),
            "key file",
            "is missing",
            "Copy it from another host" if ON_POSTGRESQL else "Restore it",
        ),
        (lambda data: data.chmod(0o755), "data folder", "is open to others (0755)", "chmod 700 "),
        pytest.param(
            lambda data: (data / "deployer.db").write_bytes(b"x" * 8192),
            "database",
            "cannot be read",
            "Restore a backup",
            marks=of_sqlite,
        ),
    ],
    ids=["open key", "damaged key", "missing key", "open folder", "damaged database"],
)
def test_each_fault_is_a_failure_with_its_mend(shell, operator, make_project, harm, name, words, mend):
    make_project()
    operator.database.dispose()
    for path in shell.data_dir.glob("deployer.db-*"):
        path.unlink()
    harm(shell.data_dir)

    done = shell("doctor", code=1)

    assert findings(done)[name] == "fail"
    assert words in done.stdout
    assert f"→ {mend}" in done.stdout


def test_missing_programs_are_named_with_their_packages(shell, tmp_path):
    done = shell("doctor", code=1, PATH=str(tmp_path))

    found = findings(done)
    assert (found["git"], found["setsid"], found["ssh"]) == ("fail", "fail", "warn")
    assert "→ apt-get install git" in done.stdout


def test_an_address_without_tls_or_without_an_answer_is_a_warning(shell):
    done = shell("doctor", DEPLOYER_SERVER_PUBLIC_URL="http://127.0.0.1:1")

    assert findings(done)["address"] == "warn"
    assert "http://127.0.0.1:1 is not https." in done.stdout
    assert "http://127.0.0.1:1 does not answer: " in done.stdout


def test_an_address_at_which_something_else_answers_is_a_warning(shell):
    def greet(listening: socket.socket) -> None:
        # Until nobody listens any more.
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(10_000)
                    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=greet, args=[listening], daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"

        done = shell("doctor", DEPLOYER_SERVER_PUBLIC_URL=url)

    assert findings(done)["address"] == "warn"
    assert f"{url} answers, but not as a web server: SSH-2.0-OpenSSH_9.2." in done.stdout


@of_sqlite
@pytest.mark.parametrize("name", ["a#b", "a?b"])
def test_a_data_folder_may_have_any_name(shell, name):
    place = {"DEPLOYER_STORAGE_DATA_DIR": str(shell.folder / name)}
    shell("project", "list", **place)

    done = shell("doctor", **place)

    assert findings(done)["database"] == "ok"
    assert [path.name for path in shell.folder.iterdir()] == [name]


@of_sqlite
def test_a_page_that_is_damaged_is_told_in_one_line(shell, operator, make_project):
    make_project()
    operator.database.settle(wholly=True)
    with operator.database.read() as connection:
        page = connection.exec_driver_sql("SELECT rootpage FROM sqlite_schema WHERE name = 'projects'").scalar()
    operator.database.dispose()
    with operator.installation.config.database_path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)

    said = shell("project", "list", code=1).stderr

    assert said.startswith("Error: The database cannot be used: database disk image is malformed.")
    assert said.count("\n") == 1


def test_a_daemon_as_root_is_a_warning(shell):
    expected = "warn" if os.getuid() == 0 else "ok"

    assert findings(shell("doctor"))["user"] == expected


@pytest.fixture
def as_nobody():
    """What is put before a command to run it as a user who owns nothing."""
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if os.getuid() != 0:
        pytest.skip("needs root to become another user")
    if subprocess.run([*words, sys.executable, str(APP), "--help"], cwd="/", capture_output=True).returncode != 0:
        pytest.skip("needs a Python and a checkout that another user can read")
    return words


@pytest.mark.parametrize("is_reachable", [True, False], ids=["a closed folder", "a folder in a closed one"])
def test_another_user_is_told_in_words_what_is_not_theirs(as_nobody, is_reachable):
    with tempfile.TemporaryDirectory() as made:
        around = Path(made)
        around.chmod(0o755 if is_reachable else 0o700)
        given = environment(around)
        database.begin(given["DEPLOYER_STORAGE_DATABASE_URL"])
        Installation.open(config_file.load(APP.parent / "config.example.toml", given)).database.dispose()

        done = subprocess.run(
            [*as_nobody, sys.executable, str(APP), "doctor"], cwd="/", env=given, capture_output=True, text=True
        )

    assert (done.returncode, done.stderr) == (1, "")
    assert "Run this as the daemon's user." in done.stdout
    found = findings(done)
    assert found["folder" if not is_reachable else "data folder"] == "fail"
    # What lies on a server of its own is another user's as well, as far as its address says so.
    assert (found["key"], found["database"]) == ("fail", "ok" if ON_POSTGRESQL else "fail")
    assert found.keys() >= {"git", "clock", "user", "address", "runner"}


def test_nothing_is_changed_by_asking(shell, operator):
    def state() -> dict[Path, float]:
        return {path: path.stat().st_mtime_ns for path in shell.data_dir.iterdir() if "-" not in path.name}

    before = state()
    shell("doctor")
    assert state() == before
