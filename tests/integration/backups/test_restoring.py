"""Restoring: an installation that goes on where the backup was made, and every way in which it must not."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
from dataclasses import replace

import pytest
import sqlalchemy as sa

from deployer import accounts, invitations, migrations, sessions
from deployer.backups import making, restoring
from deployer.config import StorageSettings
from deployer.errors import BackupError, ConfigError, KeyFileError
from deployer.models import AuditEvent, Notification
from deployer.models.notification import NotificationStatus
from deployer.models.user import Invitation, LoginSession
from tests.integration.backups.conftest import ADA
from tests.support.history import History
from tests.support.operator import Operator
from tests.support.runner_process import RunnerProcess
from tests.support.waiting import wait_until


@pytest.fixture
def repack(tmp_path):
    """A backup with something changed: ``repack(file, members={…}, manifest={…})``; None takes a member out."""

    def repack(file, members=None, manifest=None, kinds=None):
        with tarfile.open(file) as archive:
            parts = {one.name: archive.extractfile(one).read() for one in archive.getmembers()}
        if manifest:
            parts["manifest.json"] = json.dumps({**json.loads(parts["manifest.json"]), **manifest}).encode()
        changed = tmp_path / "changed.tar.gz"
        with tarfile.open(changed, "w:gz") as archive:
            for name, content in {**parts, **(members or {})}.items():
                if content is not None:
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
            for name, kind in (kinds or {}).items():
                member = tarfile.TarInfo(name)
                member.type, member.linkname = kind, "/etc/passwd"
                archive.addfile(member)
        return changed

    return repack


def refused(restore, new_config, file, words):
    """The restore is refused in these words, and the folder is as empty as before."""
    before = sorted(new_config.data_dir.iterdir()) if new_config.data_dir.exists() else []
    with pytest.raises(BackupError, match=words):
        restore(file)
    after = sorted(new_config.data_dir.iterdir()) if new_config.data_dir.exists() else []
    assert after == before


# Going on -------------------------------------------------------------------------------------------------------


def test_a_restored_installation_goes_on_deploying(
    operator, make_project, runner, repository, backup, restore, new_config, open_restored, tmp_path
):
    """With real git: its history is there, and the next push is deployed with the variables of then."""
    project = make_project("cat README.md", 'echo "token $TOKEN"')
    operator.set_variable(project, "TOKEN", "a secret of then", secret=True)
    first = operator.deploy(project)
    operator.wait_for_end(first)
    file = backup(with_key=True)
    runner.kill()

    done = restore(file)
    there = Operator(open_restored())
    assert (done.ended, done.needs_key) == (0, False)
    assert there.log(first) == operator.log(first)
    sha = repository.commit("second", README_md="hello again\n")
    with RunnerThere(new_config, tmp_path):
        second = there.pushed(project, sha)
        assert there.wait_for_end(second).status == "success", there.log(second)
    assert there.deployment(second).number == operator.deployment(first).number + 1
    assert b"hello again" in there.step_output(second)
    assert b"token ***" in there.step_output(second, 1)


class RunnerThere:
    def __init__(self, config, folder):
        self._runner = RunnerProcess(config, folder / "runner-there.log")

    def __enter__(self):
        return self._runner.start()

    def __exit__(self, *_):
        self._runner.kill()


def test_what_had_not_ended_is_ended_and_does_not_run(
    operator, make_project, runner, backup, restore, new_config, open_restored, tmp_path
):
    """Neither what ran nor what waited; a new deployment does, at once."""
    marker = tmp_path / "runs"
    project = make_project(f"echo run >> {marker}; sleep 30")
    running = operator.deploy(project)
    wait_until(marker.exists, "the step runs")
    waiting = operator.deploy(project)
    file = backup(with_key=True)
    runner.kill()

    assert restore(file).ended == 2

    there = Operator(open_restored())
    for deployment_id in (running, waiting):
        found = there.deployment(deployment_id)
        assert (found.status, found.cause) == ("interrupted", restoring.CAUSE)
        assert found.finished_at is not None
        assert there.events(deployment_id)[-1] == "interrupted"
        assert not [one for one in there.commands(deployment_id) if one.status in ("queued", "running")]
    assert not there.rows(sa.select(Notification.id))
    with RunnerThere(new_config, tmp_path):
        there.change(project, steps=["true"])
        assert there.wait_for_end(there.deploy(project)).status == "success"
    assert marker.read_text() == "run\n"


def test_what_ended_after_the_backup_lets_nobody_in_and_is_not_sent_again(
    installation, operator, make_project, backup, restore, open_restored
):
    """A login, an invitation, a set-up link, and a mail: whether they are still good nobody knows any more."""
    waiting = History(installation.database, make_project()).deployment()
    with installation.database.write_session() as session:
        user = accounts.new_user("ada", "ada@example.com", "correct horse battery", is_admin=True)
        accounts.add(session, user)
        sessions.begin(session, user, days=1, address="192.0.2.1", agent="a browser")
        invitations.invite(session, "grace@example.com", is_admin=False, by="ada")
        token = accounts.new_setup_token(session.connection())
        session.execute(sa.update(Notification).values(status=NotificationStatus.PENDING))

    restore(backup(with_key=True))

    there = Operator(open_restored())
    assert not there.rows(sa.select(LoginSession.token_hash))
    assert not there.rows(sa.select(Invitation.id))
    with there.database.read() as connection:
        assert not accounts.is_setup_token(connection, token)
        assert accounts.has_users(connection)
    (mail,) = there.rows(sa.select(*Notification.__table__.columns))
    assert (mail.deployment_id, mail.status) == (waiting, "given_up")
    assert mail.last_error == "Given up: restored from a backup."


def test_without_the_key_it_is_said_that_it_is_needed(
    make_project, installation, backup, restore, new_config, open_restored
):
    make_project()
    file = backup()

    assert restore(file).needs_key

    with pytest.raises(KeyFileError, match="key is missing"):
        open_restored()
    shutil.copy(installation.data_dir.key_file, new_config.data_dir / "key")
    assert open_restored().key == installation.key


def test_where_nothing_is_secret_yet_no_key_is_needed(backup, restore, open_restored):
    assert not restore(backup()).needs_key
    open_restored()


def test_a_key_that_lies_there_already_is_kept(
    make_project, installation, backup, restore, new_config, open_restored
):
    make_project()
    new_config.data_dir.mkdir(mode=0o700)
    shutil.copy(installation.data_dir.key_file, new_config.data_dir / "key")

    assert not restore(backup()).needs_key
    assert open_restored().key == installation.key


def test_everything_is_for_its_user_alone(backup, restore, new_config):
    new_config.data_dir.mkdir(mode=0o755)

    restore(backup(with_key=True))

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in new_config.data_dir.iterdir()}
    assert modes == {"deployer.db": 0o600, "key": 0o600}
    assert stat.S_IMODE(new_config.data_dir.stat().st_mode) == 0o700


def test_the_settings_of_then_are_laid_beside(installation, restore, new_config, tmp_path):
    (tmp_path / "config.toml").write_text("[runner]\nmax_queued = 7\n")
    installation.config = replace(installation.config, source=str(tmp_path / "config.toml"))
    making.make(installation.config, tmp_path / "b", ADA, with_key=False, force=False)

    done = restore(tmp_path / "b")

    assert done.config == new_config.data_dir / "config.toml.restored"
    assert done.config.read_text() == "[runner]\nmax_queued = 7\n"


def test_who_restored_it_is_in_the_audit_log(backup, restore, open_restored):
    restore(backup())

    row = Operator(open_restored()).rows(sa.select(*AuditEvent.__table__.columns).order_by(AuditEvent.id))[-1]
    assert (row.actor, row.action) == (ADA.name, "backup.restored")


def test_it_comes_from_a_stream_as_well(backup, new_config):
    with backup().open("rb") as stream:
        restoring.restore(new_config, stream, ADA)

    assert new_config.database_path.exists()


def test_a_restore_that_was_killed_can_be_begun_anew(backup, restore, new_config):
    (new_config.data_dir / "restoring").mkdir(parents=True)
    (new_config.data_dir / "restoring" / "deployer.db").write_text("half")

    restore(backup())

    assert [path.name for path in new_config.data_dir.iterdir()] == ["deployer.db"]


# What is refused ------------------------------------------------------------------------------------------------


def test_a_folder_that_is_in_use_is_refused(backup, restore, new_config):
    file = backup()
    new_config.data_dir.mkdir()
    (new_config.data_dir / "deployer.db").write_text("mine")

    refused(restore, new_config, file, "is not empty.*move the folder away")
    assert (new_config.data_dir / "deployer.db").read_text() == "mine"


def test_a_running_daemon_is_told_of(config, backup, runner):
    file = backup()
    runner.wait_until_ready()

    with pytest.raises(BackupError, match=r"A runner works on the data folder.*Stop Deployer"):
        restoring.restore(config, file, ADA)


@pytest.fixture
def meanwhile(monkeypatch):
    """Have something done while a backup is being restored: ``meanwhile(act)``."""

    def during(act):
        check = restoring._check_key

        def check_and_act(*given):
            monkeypatch.setattr(restoring, "_check_key", check)
            check(*given)
            act()

        monkeypatch.setattr(restoring, "_check_key", check_and_act)

    return during


def test_nobody_opens_or_fills_a_folder_that_is_being_filled(backup, restore, new_config, open_restored, meanwhile):
    file = backup(with_key=True)

    def others_come():
        with pytest.raises(ConfigError, match=r"A backup is being restored.*Wait for its end"):
            open_restored()
        with pytest.raises(BackupError, match=r"Another process opens the data folder .* or restores"):
            restore(file)

    meanwhile(others_come)
    restore(file)

    assert {path.name for path in new_config.data_dir.iterdir()} == {"deployer.db", "key"}
    open_restored()


@pytest.mark.parametrize("name", ["deployer.db", "deployer.db-wal", "key"])
def test_what_comes_into_the_folder_meanwhile_is_not_written_over(backup, restore, new_config, meanwhile, name):
    meanwhile(lambda: (new_config.data_dir / name).write_text("mine"))

    with pytest.raises(BackupError, match=r"is not empty|File exists"):
        restore(backup(with_key=True))

    assert [path.name for path in new_config.data_dir.iterdir()] == [name]
    assert (new_config.data_dir / name).read_text() == "mine"


def test_while_the_folder_is_opened_none_begins(backup, restore, new_config):
    """It is still empty then, but for what the restore would find later."""
    file = backup()
    new_config.data_dir.mkdir()
    fd = os.open(new_config.data_dir, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_SH)

    refused(restore, new_config, file, "Another process opens the data folder")
    os.close(fd)
    restore(file)


def test_a_place_that_cannot_be_is_told(backup, config, tmp_path):
    (tmp_path / "file").touch()
    file = backup()

    for place in ("file", "file/data", "x" * 300):
        there = replace(config, storage=StorageSettings(str(tmp_path / place)))
        with pytest.raises(BackupError, match="cannot be restored"):
            restoring.restore(there, file, ADA)


def test_another_key_than_the_backups_is_refused(backup, restore, new_config):
    file = backup(with_key=True)
    new_config.data_dir.mkdir()
    (new_config.data_dir / "key").write_text("A" * 43 + "=\n")
    (new_config.data_dir / "key").chmod(0o600)

    refused(restore, new_config, file, "another key")


def test_what_is_no_backup_is_refused(restore, new_config, tmp_path):
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").write_bytes(b"")
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "text", "text")

    refused(restore, new_config, tmp_path / "text", "is none")
    refused(restore, new_config, tmp_path / "empty", "is none")
    refused(restore, new_config, tmp_path / "other.tar.gz", "no backup of Deployer")
    refused(restore, new_config, tmp_path / "nowhere", "cannot be restored")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_backup_that_was_cut_off_is_refused(backup, restore, new_config, share):
    file = backup()
    os.truncate(file, int(file.stat().st_size * share))

    refused(restore, new_config, file, "damaged|is none")


def test_a_byte_that_was_changed_is_noticed(backup, restore, new_config):
    file = backup()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)

    refused(restore, new_config, file, "damaged")


def test_a_member_that_is_not_what_was_put_in_is_noticed(backup, restore, new_config, repack):
    refused(restore, new_config, repack(backup(), {"deployer.db": b"another"}), "deployer.db is not what was put in")
    refused(restore, new_config, repack(backup(force=True), {"deployer.db": None}), "deployer.db is missing")


def test_a_database_that_is_not_sound_is_refused(backup, restore, new_config, repack):
    content = b"SQLite format 3\0" + b"\xff" * 5000
    digest = hashlib.sha256(content).hexdigest()

    changed = repack(backup(), {"deployer.db": content}, {"files": {"deployer.db": digest}})

    refused(restore, new_config, changed, "is not sound")


def test_a_database_without_our_tables_is_refused(backup, restore, new_config, repack):
    digest = hashlib.sha256(b"").hexdigest()

    changed = repack(backup(), {"deployer.db": b""}, {"files": {"deployer.db": digest}})

    refused(restore, new_config, changed, "holds no tables of Deployer")


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "a/../../escaped", "key"])
def test_a_name_that_is_no_part_of_a_backup_is_refused(backup, restore, new_config, repack, name, tmp_path):
    refused(restore, new_config, repack(backup(), {name: b"x"}), "no part of one")
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_only_plain_files_are_taken(backup, restore, new_config, repack, kind):
    changed = repack(backup(), {"deployer.db": None}, kinds={"deployer.db": kind})

    refused(restore, new_config, changed, "no part of one")


def test_a_manifest_that_names_paths_is_refused(backup, restore, new_config, repack):
    changed = repack(backup(), {"../x": b"x"}, {"files": {"deployer.db": "0", "../x": "0"}})

    refused(restore, new_config, changed, "names other files")


@pytest.mark.parametrize("newer", [{"schema": "9999"}, {"format": 2}])
def test_a_backup_of_a_newer_version_is_refused(backup, restore, new_config, repack, newer):
    refused(restore, new_config, repack(backup(), manifest=newer), "newer version of Deployer.*Install that version")


@pytest.mark.parametrize("broken", [{"format": "x"}, {"files": None}, {"made_at": "soon"}, {"schema": 3}])
def test_a_manifest_that_makes_no_sense_is_refused(backup, restore, new_config, repack, broken):
    refused(restore, new_config, repack(backup(), manifest=broken), "manifest cannot be read")


def test_a_restored_database_is_of_the_newest_schema(backup, restore, new_config):
    restore(backup())

    assert not migrations.is_behind(new_config)
