"""A start against a server that is away, or does not let us in, says so in one line; the password is never in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployer import config_file
from deployer.installation import Installation
from tests.support.browser import Browser
from tests.support.command_lines import command_lines
from tests.support.daemon import APP, Daemon, environment, free_port
from tests.support.forge import Forge
from tests.support.operator import Operator
from tests.support.standing import logged_in, make_user

PASSWORD = "squeamish-ossifrage"
ENCODED = "p%40ss%2Fwo%3Ard"
"""``p@ss/wo:rd`` in an address."""


def run(folder: Path, url: str, *words: str) -> subprocess.CompletedProcess[str]:
    given = environment(folder, storage_database_url=url)
    return subprocess.run(
        [sys.executable, str(APP), *words], cwd=folder, env=given, capture_output=True, text=True, timeout=60
    )


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a refused start writes."""
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("command", ["serve", "web", "runner"])
def test_a_server_that_is_away_is_told_in_a_line(tmp_path, command):
    done = run(tmp_path, f"postgresql://deployer:{PASSWORD}@127.0.0.1:{free_port()}/app", command)

    line = error_of(done)
    assert line.startswith("Error: The database app on 127.0.0.1 cannot be opened: connection failed: ")
    assert line.endswith("Connection refused. Start its server, or correct storage.database_url.")
    assert PASSWORD not in line


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("deployer:{password}@no-such-host.invalid/app", "failed to resolve host 'no-such-host.invalid'"),
        ("deployer:{password}@127.0.0.1:{port}/nowhere", 'database "nowhere" does not exist'),
        ("stranger:{password}@127.0.0.1:{port}/postgres", 'role "stranger" does not exist'),
        ("deployer:{password}@127.0.0.1:{port}/postgres?sslmode=require", "server does not support SSL"),
        ("deployer:{password}@127.0.0.1:{port}/postgres?nonsense=1", 'invalid connection option "nonsense"'),
    ],
)
def test_what_is_wrong_with_the_address_is_told_in_the_drivers_words(server, tmp_path, address, words):
    done = run(tmp_path, "postgresql://" + address.format(password=PASSWORD, port=server.port), "web")

    line = error_of(done)
    assert words in line
    assert PASSWORD not in line


def test_doctor_says_it_with_its_mend(tmp_path):
    done = run(tmp_path, f"postgresql://deployer:{PASSWORD}@127.0.0.1:{free_port()}/app", "doctor")

    said = [line for line in done.stdout.splitlines() if line.startswith("fail")]
    assert len(said) == 1
    assert said[0].startswith("fail  database        The database app on 127.0.0.1 cannot be opened: ")
    assert "→ Start its server, or correct storage.database_url." in done.stdout
    assert done.returncode == 1
    assert PASSWORD not in done.stdout + done.stderr


@pytest.fixture
def guarded(server, database):
    """The address of a database whose role must say its password, and which is nobody else's."""
    role = f"keeper_of_{database}"
    server.guard(role, "p@ss/wo:rd")
    server.execute(f"ALTER DATABASE {database} OWNER TO {role}")
    for (table,) in server.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", database):
        server.execute(f'ALTER TABLE "{table}" OWNER TO {role}', database)
    return f"postgresql://{role}:{{}}@127.0.0.1:{server.port}/{database}"


def test_a_wrong_password_is_told_without_it(guarded, tmp_path):
    line = error_of(run(tmp_path, guarded.format(PASSWORD), "web"))

    assert 'password authentication failed for user "keeper_of_' in line
    assert PASSWORD not in line


def test_the_password_is_nowhere_to_be_seen(guarded, tmp_path, repository):
    """It lies in the configuration file, and goes no further than to the server."""
    daemon = Daemon(tmp_path, storage_database_url="")
    url = guarded.format(ENCODED)
    (tmp_path / "config.toml").write_text(f'[storage]\ndatabase_url = "{url}"\n')
    del daemon.environment["DEPLOYER_STORAGE_DATABASE_URL"]
    daemon.config = config_file.load(tmp_path / "config.toml", daemon.environment)
    hidden = [ENCODED.encode(), b"p@ss/wo:rd"]
    try:
        seen = []
        daemon.start()
        make_user(daemon)
        operator = Operator(daemon.installation)
        forge = Forge(daemon, operator.make_project(repository.url, ["env; echo started; sleep 1"]))
        answer = forge.push(after=repository.tip())
        deployment_id = answer.headers["X-Deployment-Id"]
        operator.wait_for_output(deployment_id, b"started")
        seen.append(b"\n".join(command_lines()))
        operator.wait_for_end(deployment_id)
        member = logged_in(daemon)
        seen += [member.get(path).text.encode() for path in ("/", "/settings", f"/deployments/{deployment_id}")]
        seen += [Browser(daemon).get("/health").text.encode(), daemon.greeting.encode(), daemon.log.encode()]
        seen += [operator.log(deployment_id).encode(), repr(daemon.config).encode()]
        doctor = subprocess.run(
            [sys.executable, str(APP), "doctor"], cwd=tmp_path, env=daemon.environment, capture_output=True
        )
        seen += [doctor.stdout, doctor.stderr]
    finally:
        daemon.close()

    assert b"ok    database        The database" in doctor.stdout
    assert str(APP).encode() in seen[0]
    for where in seen:
        assert not any(one in where for one in hidden)


def test_a_key_of_another_host_is_needed_and_told(server, database, installation, operator, make_project, tmp_path):
    """A second host that made a key of its own could open nothing of what the first one keeps."""
    make_project()
    second = tmp_path / "second"
    second.mkdir()

    line = error_of(run(second, server.url(database), "web"))

    assert line == (
        f"Error: The key file {second}/data/key is missing, and what the database keeps needs it. "
        "Copy it from another host of this database, or restore it from a backup."
    )
    assert not (second / "data" / "key").exists()
    (second / "data" / "key").write_bytes((installation.data_dir.key_file).read_bytes())
    os.chmod(second / "data" / "key", 0o600)
    given = environment(second, storage_database_url=server.url(database))
    Installation.open(config_file.load(APP.parent / "config.example.toml", given)).database.dispose()
