"""What a deployment's end owes, when it is tried, and when it is given up."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from deployer import clock
from deployer.config import SmtpSettings
from deployer.deployments import claims, lifecycle
from deployer.models import Deployment, Notification
from deployer.models.deployment import Status
from deployer.models.notification import BY_MAIL
from deployer.notifications import mail_settings, outbox

MINE = "my runner"
COMPLETE = SmtpSettings(host="127.0.0.1", from_="deploy@example.com", to="ops@example.com")
EVERYTHING = {f"mail_on_{occasion}": True for occasion in BY_MAIL}
NOTHING = {f"mail_on_{occasion}": False for occasion in BY_MAIL}


@pytest.fixture
def sends_mails(installation, write):
    write(mail_settings.mark, replace(installation.config, smtp=COMPLETE))


@pytest.fixture
def run(operator, write):
    """Have a project's next deployment end: ``run(project, Status.FAILED)``; its id."""

    def make(project, status: Status) -> str:
        deployment_id = operator.deploy(project)
        assert write(claims.claim, MINE) == deployment_id
        write(lifecycle.end, deployment_id, MINE, status, None if status is Status.SUCCESS else "a cause")
        return deployment_id

    return make


@pytest.fixture
def owed(operator):
    """What is in the outbox, by what it tells of."""

    def look() -> list[str]:
        wanted = sa.select(*Notification.__table__.columns).order_by(Notification.created_at, Notification.id)
        return [row.occasion for row in operator.rows(wanted)]

    return look


def rows(operator):
    return operator.rows(sa.select(*Notification.__table__.columns))


# What is owed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "occasion"),
    [(Status.SUCCESS, "success"), (Status.FAILED, "failure"), (Status.INTERRUPTED, "interruption")],
)
def test_an_end_owes_what_the_project_asks_for(make_project, run, operator, sends_mails, status, occasion):
    deployment_id = run(make_project(**{**NOTHING, f"mail_on_{occasion}": True}), status)

    (row,) = rows(operator)
    assert (row.deployment_id, row.occasion, row.status, row.attempts) == (deployment_id, occasion, "pending", 0)
    assert row.created_at == row.next_attempt_at == operator.deployment(deployment_id).finished_at


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.FAILED, Status.INTERRUPTED])
def test_an_end_owes_nothing_that_the_project_does_not_ask_for(make_project, run, owed, sends_mails, status):
    run(make_project(**NOTHING), status)

    assert owed() == []


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.SUPERSEDED])
def test_of_cancelled_and_superseded_deployments_nothing_is_told(make_project, run, owed, sends_mails, status):
    run(make_project(**EVERYTHING), status)

    assert owed() == []


def test_a_new_project_tells_of_everything_but_plain_successes(make_project, run, owed, sends_mails):
    project = make_project()
    for status in (Status.SUCCESS, Status.FAILED, Status.SUCCESS, Status.INTERRUPTED):
        run(project, status)

    assert owed() == ["failure", "recovery", "interruption"]


@pytest.mark.parametrize("down", [Status.FAILED, Status.INTERRUPTED])
@pytest.mark.parametrize("between", [None, Status.CANCELLED, Status.SUPERSEDED])
def test_the_first_success_after_a_failure_or_an_interruption_is_a_recovery(
    make_project, run, owed, sends_mails, down, between
):
    project = make_project(**{**NOTHING, "mail_on_recovery": True, "mail_on_success": True})
    for status in filter(None, (Status.SUCCESS, down, between, Status.SUCCESS, Status.SUCCESS)):
        run(project, status)

    assert owed() == ["success", "recovery", "success"]


def test_who_wants_no_recoveries_but_successes_is_told_of_a_success(make_project, run, owed, sends_mails):
    project = make_project(**{**NOTHING, "mail_on_success": True})
    for status in (Status.FAILED, Status.SUCCESS):
        run(project, status)

    assert owed() == ["success"]


def test_another_projects_failure_makes_no_recovery(make_project, run, owed, sends_mails):
    run(make_project(name="other", **NOTHING), Status.FAILED)
    run(make_project(), Status.SUCCESS)

    assert owed() == []


def test_what_ended_last_counts_and_not_what_was_asked_for_last(make_project, run, owed, sends_mails, write):
    """A deployment that jumps the queue has the higher number, and ends before the other begins."""
    project = make_project(**{**NOTHING, "mail_on_recovery": True})
    jumped = run(project, Status.FAILED)
    run(project, Status.SUCCESS)
    write(lambda c: c.execute(sa.update(Deployment).where(Deployment.id == jumped).values(number=100)))
    assert owed() == ["recovery"]

    run(project, Status.SUCCESS)

    assert owed() == ["recovery"]


def test_what_ended_last_is_told_without_the_clock(make_project, run, owed, sends_mails, monkeypatch):
    project = make_project(**{**NOTHING, "mail_on_recovery": True})
    run(project, Status.FAILED)
    true_now = clock.now
    monkeypatch.setattr(clock, "now", lambda: true_now() - timedelta(hours=1))
    run(project, Status.SUCCESS)

    run(project, Status.SUCCESS)

    assert owed() == ["recovery"]


def test_while_no_mail_can_be_sent_nothing_is_owed(installation, make_project, run, owed, write):
    project = make_project(**EVERYTHING)
    run(project, Status.FAILED)
    assert owed() == []

    write(mail_settings.mark, replace(installation.config, smtp=COMPLETE))
    run(project, Status.FAILED)
    assert owed() == ["failure"]

    write(mail_settings.mark, installation.config)
    run(project, Status.FAILED)
    assert owed() == ["failure"]


def test_an_end_that_is_refused_owes_nothing(operator, write, make_project, owed, sends_mails):
    project = make_project(**EVERYTHING)
    operator.deploy(project)
    deployment_id = write(claims.claim, MINE)

    with pytest.raises(lifecycle.LostClaim):
        write(lifecycle.fail, deployment_id, "another runner", "a cause")

    assert owed() == []


def test_a_push_path_asks_the_outbox_nothing(operator, make_project, sends_mails, monkeypatch):
    def never(*_arguments):
        raise AssertionError

    monkeypatch.setattr(outbox, "owe", never)
    project = make_project(**EVERYTHING)

    operator.push(project, "a" * 40)
    operator.cancel(operator.pushed(project, "b" * 40))


# Attempts -------------------------------------------------------------------------------------------------------


@pytest.fixture
def due(make_project, run, write, sends_mails):
    """A notification that is due, as the outbox hands it out."""
    run(make_project(), Status.FAILED)
    return write(outbox.first)


def test_waits_grow_from_a_minute_to_two_hours():
    waits = [outbox.wait_after(attempts).total_seconds() / 60 for attempts in range(1, 10)]

    assert waits == [1, 2, 4, 8, 16, 32, 64, 120, 120]
    assert outbox.wait_after(10_000) == timedelta(hours=2)


def test_an_attempt_is_counted_before_it_is_made_and_can_be_made_once(write, operator, due):
    claimed = write(outbox.claim, due)

    assert write(outbox.claim, due) is None
    (row,) = rows(operator)
    assert (row.attempts, row.status) == (1, "pending")
    # Nobody else begins another before this one's time is over; who is killed now sends it then.
    assert row.next_attempt_at - clock.now() > timedelta(seconds=50)
    assert claimed.attempts == 1


def test_what_was_sent_is_not_due_any_more(write, operator, due):
    claimed = write(outbox.claim, due)

    assert write(outbox.sent, claimed, "ops@example.com")

    (row,) = rows(operator)
    assert (row.status, row.last_error, row.sent_at is not None) == ("sent", None, True)
    assert write(outbox.first) is None
    assert not write(outbox.failed, claimed, "too late")


def test_a_failure_is_kept_with_its_words_and_tried_again(write, operator, due):
    claimed = write(outbox.claim, due)

    write(outbox.failed, claimed, "450 later")

    (row,) = rows(operator)
    assert (row.status, row.last_error, row.attempts) == ("pending", "450 later", 1)
    assert timedelta(seconds=50) < row.next_attempt_at - clock.now() <= timedelta(minutes=1)


def aged(write, due, age: timedelta) -> outbox.Due:
    created_at = clock.now() - age
    values = {"created_at": created_at, "next_attempt_at": created_at}
    write(lambda c: c.execute(sa.update(Notification).where(Notification.id == due.id).values(**values)))
    return write(outbox.claim, write(outbox.first))


def test_the_last_attempt_is_made_when_a_day_is_over(write, operator, due):
    claimed = aged(write, due, timedelta(hours=23, minutes=59, seconds=30))

    write(outbox.failed, claimed, "still down")

    (row,) = rows(operator)
    assert (row.status, row.next_attempt_at) == ("pending", claimed.created_at + timedelta(days=1))


def test_after_a_day_it_is_given_up_with_the_last_error(write, operator, due):
    claimed = aged(write, due, timedelta(hours=24, seconds=1))

    write(outbox.failed, claimed, "still down")

    (row,) = rows(operator)
    assert (row.status, row.last_error) == ("given_up", "still down")
    assert write(outbox.first) is None


def test_what_will_be_refused_again_is_given_up_at_once(write, operator, due):
    write(outbox.failed, write(outbox.claim, due), "550 no such user", is_permanent=True)

    assert [row.status for row in rows(operator)] == ["given_up"]


def test_what_was_given_up_is_tried_again_by_hand_and_nothing_else_is(write, operator, due):
    assert not write(outbox.try_again, due.id)
    assert not write(outbox.try_again, "nothing")
    write(outbox.failed, write(outbox.claim, due), "550 no", is_permanent=True)

    assert write(outbox.try_again, due.id)

    (row,) = rows(operator)
    assert (row.status, row.attempts, row.last_error) == ("pending", 0, "550 no")
    assert write(outbox.first).next_attempt_at <= clock.now()


def test_what_was_done_long_ago_is_forgotten_and_what_is_owed_is_not(write, operator, due, make_project, run):
    write(outbox.sent, aged(write, due, timedelta(days=91)), "")
    run(make_project(name="other"), Status.FAILED)
    write(
        lambda c: c.execute(
            sa.update(Notification)
            .where(Notification.status == "pending")
            .values(created_at=clock.now() - timedelta(days=91))
        )
    )

    write(outbox.forget)

    assert [row.status for row in rows(operator)] == ["pending"]
