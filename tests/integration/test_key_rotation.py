"""The exchange of the key: everything opens at every instant, whoever is killed, and whoever writes meanwhile."""

from __future__ import annotations

import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer import accounts, key_rotation, project_secrets, projects, servers, two_factor, variables
from deployer.audit import Actor
from deployer.errors import SecretUnreadable
from deployer.health import Health
from deployer.installation import Installation
from deployer.models import AuditEvent, Base, Channel, DeliveryPayload, LogChunk, User
from deployer.models.channel import ChannelKind
from deployer.notifications import channels, mail_settings
from deployer.notifications.channels import ChannelInput
from deployer.security import keyfile
from deployer.security.vault import Vault
from deployer.servers import ServerInput
from tests.support.authenticator import switch_on
from tests.support.operator import Operator

ADA = Actor("ada")
PACKAGE = Path(key_rotation.__file__).parent

SEALERS = {"channels", "key_rotation", "project_secrets", "servers", "two_factor", "variables", "mail_settings"}
"""The modules that seal something. What another one seals belongs into `key_rotation.COLUMNS`, then into here."""

# Dies by SIGKILL at the named point of a rotation. It forks for each, so that the program is loaded once.
VICTIM = r"""
import os, signal, sys
from pathlib import Path
from deployer import audit, config_file, key_rotation
from deployer.installation import Installation
from deployer.security import keyfile

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def at_call(owner, name, number, when):
    real, calls = getattr(owner, name), [0]
    def wrapped(*given, **named):
        calls[0] += 1
        if calls[0] == number and when == "before":
            die()
        answer = real(*given, **named)
        if calls[0] == number and when == "after":
            die()
        return answer
    setattr(owner, name, wrapped)

POINTS = {
    "nothing was written": (keyfile, "replace", 1, "before"),
    "the file of both keys has no name yet": (Path, "replace", 1, "before"),
    "the file holds both keys": (keyfile, "replace", 1, "after"),
    "some secrets are sealed anew": (key_rotation, "_store", 3, "after"),
    "all are, and nothing is committed": (audit, "record", 1, "after"),
    "it is committed": (keyfile, "replace", 2, "before"),
    "the file of the new key has no name yet": (Path, "replace", 2, "before"),
    "it is done": (keyfile, "replace", 2, "after"),
}
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        at_call(*POINTS[line.strip()])
        installation = Installation.open(config_file.load(None))
        key_rotation.rotate(installation, audit.Actor("victim"))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""

POINTS = re.findall(r'^    "(.*?)": \(', VICTIM, re.MULTILINE)


class Scene:
    """An installation in which everything is sealed that can be."""

    def __init__(self, installation: Installation, operator: Operator, url: str) -> None:
        self.installation = installation
        self.config = installation.config
        self.path = installation.data_dir.key_file
        self.project = operator.make_project(url)
        operator.set_variable(None, "TOKEN", "of all projects", secret=True)
        operator.set_variable(self.project, "TOKEN", "of the project", secret=True)
        operator.set_https_token(self.project, "ghp_0123456789")
        operator.make_deploy_key(self.project)
        with installation.database.write_session() as session:
            servers.create(session, ServerInput("web1", "127.0.0.1", 9), installation.vault)
            accounts.add(session, accounts.new_user("grace", "grace@example.com", "a long phrase", is_admin=True))
            given = {"host": "127.0.0.1", "username": "u", "from_": "a@example.com", "to": "b@example.com"}
            mail_settings.save(
                session.connection(),
                {**given, "security": "starttls"},
                "mail password",
                config=self.config,
                vault=installation.vault,
            )
            hook = channels.check(ChannelKind.WEBHOOK, ChannelInput("hook", url="https://example.com/in"))
            channels.create(session, ChannelKind.WEBHOOK, hook, None, installation.vault)
        switch_on(installation, "grace")
        self.opened = self.read(installation)
        assert len(self.opened) == 9

    def read(self, by: Installation) -> list[object]:
        """Everything that is sealed, as this process opens it."""
        with by.database.write_session() as session:
            found = projects.find(session, self.project.id)
            secrets = project_secrets.read_secrets(session, found, by.vault)
            user = session.scalars(sa.select(User)).one()
            server = servers.find(session, "web1")
            return [
                secrets.webhook_secret,
                secrets.deploy_key,
                secrets.https_token,
                secrets.variables["TOKEN"],
                *secrets.hidden,
                by.vault.open(server.private_key, servers.place(server.id)),
                two_factor.unseal(user.totp_secret or b"", user.id, by.vault),
                mail_settings.password(session.connection(), self.config, by.vault),
                channels.opened(session.scalars(sa.select(Channel)).one(), by.vault),
            ]

    def fresh(self) -> Iterator[Installation]:
        opened = Installation.open(self.config)
        yield opened
        opened.database.dispose()

    def sealed_with(self) -> set[bytes]:
        """Which of the keys that ever were open something of what is stored."""
        found = set()
        with self.installation.database.read() as connection:
            for key in self.keys:
                try:
                    list(key_rotation._opened(connection, Vault(key)))
                    found.add(key)
                except SecretUnreadable:
                    pass
        return found

    keys: tuple[bytes, ...] = ()


@pytest.fixture
def scene(installation, operator, repository) -> Scene:
    return Scene(installation, operator, repository.url)


def test_every_column_and_setting_that_is_sealed_is_known():
    binary = {
        (table.name, column.name)
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, sa.LargeBinary)
    }
    known = {(one.column.table.name, one.column.name) for one in key_rotation.COLUMNS}

    assert known == binary - {(LogChunk.__tablename__, "data"), (DeliveryPayload.__tablename__, "packed")}
    # The sealed settings are texts; so whoever seals is looked at.
    sealing = {path.stem for path in PACKAGE.rglob("*.py") if re.search(r"vault\.seal\(", path.read_text())}
    assert sealing == SEALERS


def test_everything_is_sealed_with_a_new_key_and_opens(scene):
    old = keyfile.load(scene.path)

    done = key_rotation.rotate(scene.installation, ADA)

    assert (done.count, done.ended_another) == (9, False)
    (new,) = keyfile.load_all(scene.path)
    assert new != old
    assert stat.S_IMODE(scene.path.stat().st_mode) == 0o600
    scene.keys = (old, new)
    assert scene.sealed_with() == {new}
    for later in scene.fresh():
        assert scene.read(later) == scene.opened
    with scene.installation.database.read() as connection:
        row = connection.execute(sa.select(AuditEvent.actor, AuditEvent.action, AuditEvent.detail)).all()[-1]
    assert tuple(row) == ("ada", "key.rotated", "9 secrets sealed anew")
    assert {one.name for one in scene.path.parent.iterdir() if "key" in one.name} == {"key", "key.lock"}


def test_whoever_was_there_before_goes_on_reading_and_writing(scene, operator):
    """Two processes: one exchanges the key, and the other does not know of it."""
    for rotating in scene.fresh():
        for number in range(3):
            key_rotation.rotate(rotating, ADA)
            assert scene.read(scene.installation) == scene.opened
            operator.set_variable(scene.project, f"NEW_{number}", f"set after {number}", secret=True)

    for later in scene.fresh():
        with later.database.write_session() as session:
            found = project_secrets.read_secrets(session, projects.find(session, scene.project.id), later.vault)
    assert [found.variables[f"NEW_{number}"] for number in range(3)] == [f"set after {n}" for n in range(3)]
    key = next(one for one in Health(scene.installation).checks() if one.name == "key")
    assert (key.is_ok, key.message) == (True, "It is the one of the last rotation.")


def test_what_was_read_before_opens_after(scene):
    with scene.installation.database.write_session() as session:
        project = projects.find(session, scene.project.id)
        _ = project.variables
    for rotating in scene.fresh():
        key_rotation.rotate(rotating, ADA)
    # It knows the new key by now, and not only the one of its start.
    scene.installation.vault.seal(b"another", "elsewhere")

    assert project_secrets.open_secrets(project, [], scene.installation.vault).https_token == "ghp_0123456789"


def test_nothing_that_is_set_meanwhile_is_lost(scene):
    """Several writers, each with a vault of its own as a process has, while the key is exchanged again and again."""
    stop = threading.Event()
    written: list[str] = []

    def write(number: int) -> None:
        for mine in scene.fresh():
            count = 0
            while not stop.is_set():
                name = f"W{number}_{count}"
                with mine.database.write_session() as session:
                    project = projects.find(session, scene.project.id)
                    variables.set_variable(session, project, name, f"value of {name}", secret=True, vault=mine.vault)
                written.append(name)
                count += 1

    writers = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for writer in writers:
        writer.start()
    for _ in range(8):
        key_rotation.rotate(scene.installation, ADA)
    stop.set()
    for writer in writers:
        writer.join()

    for later in scene.fresh():
        with later.database.write_session() as session:
            found = project_secrets.read_secrets(session, projects.find(session, scene.project.id), later.vault)
    assert len(written) > 8
    assert {name: found.variables[name] for name in written} == {name: f"value of {name}" for name in written}


@pytest.fixture
def victim(scene) -> Iterator[subprocess.Popen[str]]:
    settings = scene.config.storage
    environment = {
        "PATH": "/usr/bin:/bin",
        "DEPLOYER_STORAGE_DATA_DIR": str(settings.data_dir),
        **({"DEPLOYER_STORAGE_DATABASE_URL": settings.database_url} if settings.database_url else {}),
    }
    with subprocess.Popen(
        [sys.executable, "-c", VICTIM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=PACKAGE.parent,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def test_killed_at_any_point_everything_opens_and_another_call_ends_it(scene, victim, operator):
    scene.keys = keyfile.load_all(scene.path)
    for point in POINTS:
        victim.stdin.write(f"{point}\n")
        victim.stdin.flush()
        assert victim.stdout.readline() == f"{-signal.SIGKILL}\n", point

        left = keyfile.load_all(scene.path)
        scene.keys += tuple(key for key in left if key not in scene.keys)
        # Who was there before, and who comes now, reads everything; what they set is not lost.
        operator.set_variable(scene.project, "SET_AFTER", point, secret=True)
        for later in scene.fresh():
            assert scene.read(later) == scene.opened, point
        assert scene.read(scene.installation) == scene.opened, point
        assert len(left) == (2 if point in POINTS[2:7] else 1), point

        done = key_rotation.rotate(scene.installation, ADA)

        assert done.ended_another == (len(left) == 2), point
        (last,) = keyfile.load_all(scene.path)
        scene.keys += (last,)
        assert scene.sealed_with() == {last}, point
        for later in scene.fresh():
            with later.database.write_session() as session:
                project = projects.find(session, scene.project.id)
                assert variables.value(variables.find_by_name(session, project, "SET_AFTER"), later.vault) == point


def test_where_something_does_not_open_nothing_is_changed_and_it_is_named(scene):
    before = scene.path.read_bytes()
    with scene.installation.database.write() as connection:
        connection.execute(sa.update(User).values(totp_secret=b"x" * 40))

    with pytest.raises(SecretUnreadable, match=r"The secret user:.*:totp_secret cannot be decrypted"):
        key_rotation.rotate(scene.installation, ADA)

    assert scene.path.read_bytes() == before


def test_a_secret_of_one_scope_does_not_open_in_another(scene):
    with Session(scene.installation.database.engine) as session, session.no_autoflush:
        (of_all,) = variables.of_all_projects(session.connection())
        own = variables.find_by_name(session, projects.find(session, scene.project.id), "TOKEN")
        own.secret_value = of_all.secret_value
        with pytest.raises(SecretUnreadable, match="project:"):
            variables.value(own, scene.installation.vault)
