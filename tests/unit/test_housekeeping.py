"""What the hourly tidying does, and that one chore that fails does not stop the others."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from deployer import accounts, clock, invitations, logins, scratch, sessions
from deployer.config import RetentionSettings
from deployer.executors.local import LocalExecutor
from deployer.models.user import Invitation, LoginSession, Throttle
from deployer.runner import housekeeping
from tests.support.history import History


@pytest.fixture
def executor(installation):
    made = LocalExecutor(installation.data_dir.spool)
    yield made
    made.close()


@pytest.fixture
def throttles(operator):
    return lambda: {one.key for one in operator.rows(sa.select(*Throttle.__table__.columns))}


@pytest.fixture
def note(installation):
    """Put a throttle on record: when the last failure was, and until when the next try has to wait."""

    def note(key: str, *, failed_at, blocked_until) -> None:
        with installation.database.write() as connection:
            connection.execute(
                sa.insert(Throttle).values(
                    key=key, failures=3, last_failure_at=failed_at, blocked_until=blocked_until
                )
            )

    return note


def test_failed_logins_that_no_longer_count_are_forgotten(installation, executor, throttles, note):
    now = clock.now()
    long_ago = now - logins.FORGET_AFTER - timedelta(minutes=1)
    note("account:old", failed_at=long_ago, blocked_until=long_ago)
    note("account:recent", failed_at=now - timedelta(minutes=1), blocked_until=now - timedelta(minutes=1))
    note("account:blocked", failed_at=long_ago, blocked_until=now + timedelta(minutes=1))

    housekeeping.tidy(installation, executor)

    assert throttles() == {"account:recent", "account:blocked"}


def test_sessions_that_have_ended_are_forgotten(installation, operator, executor):
    with installation.database.write_session() as session:
        user = accounts.new_user("ada", "ada@example.com", "correct horse battery", is_admin=True)
        accounts.add(session, user)
        for days in (-1, 1):
            sessions.begin(session, user, days=days, address="192.0.2.1", agent="a browser")

    housekeeping.tidy(installation, executor)

    (left,) = operator.rows(sa.select(*LoginSession.__table__.columns))
    assert left.expires_at > clock.now()


def test_invitations_that_have_ended_are_forgotten(installation, operator, executor):
    with installation.database.write_session() as session:
        for email in ("late@example.com", "good@example.com"):
            invitations.invite(session, email, is_admin=False, by="ada")
        session.flush()
        session.execute(
            sa.update(Invitation)
            .where(Invitation.email == "late@example.com")
            .values(expires_at=clock.now() - timedelta(seconds=1))
        )

    housekeeping.tidy(installation, executor)

    assert [row.email for row in operator.rows(sa.select(*Invitation.__table__.columns))] == ["good@example.com"]


def test_a_chore_that_fails_is_told_and_does_not_stop_the_others(installation, executor, throttles, note, caplog):
    long_ago = clock.now() - logins.FORGET_AFTER - timedelta(minutes=1)
    note("account:old", failed_at=long_ago, blocked_until=long_ago)
    shutil.rmtree(installation.data_dir.spool)

    housekeeping.tidy(installation, executor)

    assert throttles() == set()
    assert "a part of the housekeeping failed" in caplog.text


def test_what_a_killed_web_process_left_in_the_scratch_folder_goes(installation):
    scratch = installation.data_dir.scratch
    for name, age_s in (("old", 3600), ("young", 5)):
        (scratch / name).mkdir()
        (scratch / name / "deploy_key").write_text("private")
        then = time.time() - age_s
        os.utime(scratch / name, (then, then))

    housekeeping.clear_scratch(scratch)

    assert [one.name for one in scratch.iterdir()] == ["young"]


def test_what_somebody_is_at_in_the_scratch_folder_stays_however_long_it_takes(installation):
    """A backup that goes through a slow pipe."""
    with scratch.held(installation.data_dir.scratch, "slow-") as folder:
        (folder / "deployer.db").write_text("a copy")
        then = time.time() - 3600
        os.utime(folder, (then, then))

        housekeeping.clear_scratch(installation.data_dir.scratch)

        assert (folder / "deployer.db").exists()
    assert not folder.exists()


def test_mirrors_of_projects_that_are_gone_go(installation, make_project):
    """Whoever deleted the project was killed before it could remove them."""
    mirrors = installation.data_dir.mirrors
    kept = installation.data_dir.mirror(make_project().id)
    for folder in (kept, mirrors / "gone.git"):
        (folder / "objects").mkdir(parents=True)

    housekeeping.remove_mirrors(installation)

    assert list(mirrors.iterdir()) == [kept]


def test_what_is_no_longer_kept_goes(installation, operator, executor, make_project):
    installation.config = replace(installation.config, retention=RetentionSettings(deployments=2))
    history = History(installation.database, make_project())
    made = [history.deployment() for _ in range(4)]

    housekeeping.tidy(installation, executor)

    assert [one.id for one in operator.deployments()] == made[2:]
