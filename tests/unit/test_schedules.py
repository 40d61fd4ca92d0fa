"""Schedules: what is deployed when their time comes, and what is said where it is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from apscheduler.schedulers.background import BackgroundScheduler

from deployer import clock, projects, protection, time_zones
from deployer.deployments import schedules
from deployer.errors import InvalidInput, InvalidTransition, NotFound
from deployer.models import Schedule
from deployer.models.base import table_of
from deployer.runner.timetable import Timetable
from tests.support.waiting import wait_until

NIGHT = datetime(2026, 11, 23, 2, tzinfo=UTC)
"""03:00 in Berlin."""

_schedules = table_of(Schedule)


class Time:
    def __init__(self) -> None:
        self.now = NIGHT - timedelta(hours=6)


@pytest.fixture
def time(monkeypatch):
    """The time that the program sees; a test moves it."""
    made = Time()
    monkeypatch.setattr(clock, "now", lambda: made.now)
    return made


@pytest.fixture
def project(make_project):
    return make_project()


@pytest.fixture
def add(operator, project, time):
    def make(expression: str = "0 3 * * *", zone: str = "Europe/Berlin") -> str:
        with operator.database.write_session() as session:
            return schedules.add(session, project.id, expression, zone, "ada").id

    return make


@pytest.fixture
def stored(operator):
    def read(schedule_id: str):
        (row,) = operator.rows(_schedules.select().where(_schedules.c.id == schedule_id))
        return row

    return read


@pytest.fixture
def fire(write, time):
    """What a runner does at this time about a schedule."""
    return lambda schedule_id, max_queued=10: write(schedules.fire, schedule_id, time.now, max_queued)


def test_at_its_time_the_newest_of_the_branch_is_deployed_and_the_next_time_is_noted(
    operator, project, add, stored, fire, time
):
    nightly = add()
    assert stored(nightly).next_at == NIGHT
    assert fire(nightly) is None

    time.now = NIGHT + timedelta(seconds=2)
    deployment = operator.deployment(fire(nightly))

    assert (deployment.trigger, deployment.branch, deployment.commit_sha) == ("schedule", "main", None)
    assert deployment.triggered_by == "every day at 03:00 Europe/Berlin"
    row = stored(nightly)
    assert (row.last_at, row.last_deployment_id) == (NIGHT, deployment.id)
    assert row.next_at == NIGHT + timedelta(days=1)
    # Another runner that saw it due as well.
    assert fire(nightly) is None
    assert len(operator.deployments()) == 1


def test_of_two_runners_that_see_it_due_at_once_one_deploys(operator, write, add, time, monkeypatch):
    nightly = add()
    time.now = NIGHT
    real = schedules._take

    def taken_meanwhile(connection, row, next_at):
        monkeypatch.setattr(schedules, "_take", real)
        assert schedules.fire(connection, nightly, time.now, 10) is not None
        return real(connection, row, next_at)

    monkeypatch.setattr(schedules, "_take", taken_meanwhile)

    assert write(schedules.fire, nightly, time.now, 10) is None
    assert len(operator.deployments()) == 1


@pytest.mark.parametrize(
    ("late", "is_made_up_for"),
    [(timedelta(minutes=59), True), (timedelta(hours=1), True), (timedelta(minutes=61), False)],
)
def test_what_came_while_no_runner_was_there_is_made_up_for_within_an_hour_and_missed_later(
    operator, add, stored, fire, time, late, is_made_up_for
):
    nightly = add()
    time.now = NIGHT + late

    assert (fire(nightly) is not None) is is_made_up_for

    row = stored(nightly)
    assert row.next_at == NIGHT + timedelta(days=1)
    assert len(operator.deployments()) == int(is_made_up_for)
    if is_made_up_for:
        assert (row.last_at, row.missed_at) == (NIGHT, None)
    else:
        assert (row.last_at, row.missed_at, row.missed_because) == (None, NIGHT, "the runner was not running")


def test_of_many_times_that_passed_the_last_counts_once(operator, add, stored, fire, time):
    often, nightly = add("*/5 * * * *"), add()
    time.now = NIGHT + timedelta(days=3, hours=5, minutes=2)

    assert fire(often) is not None
    assert fire(often) is None
    assert fire(nightly) is None

    assert stored(often).last_at == NIGHT + timedelta(days=3, hours=5)
    assert stored(nightly).missed_at == NIGHT + timedelta(days=3)


def test_while_its_last_one_waits_none_is_added_and_another_schedules_is(operator, add, stored, fire, time):
    nightly, other = add(), add("0 3 * * *", "UTC")
    time.now = NIGHT
    fire(nightly)
    time.now = NIGHT + timedelta(days=1)

    assert fire(nightly) is None
    assert stored(nightly).missed_because == "DEP-0001, of the time before, still waited"
    assert fire(other) is None
    time.now = NIGHT + timedelta(days=1, hours=1)
    assert fire(other) is not None
    operator.cancel(operator.deployments()[0].id)
    time.now = NIGHT + timedelta(days=2)
    assert fire(nightly) is not None


def test_what_cannot_be_queued_is_missed_with_the_reason(operator, project, add, stored, fire, time):
    nightly = add()
    time.now = NIGHT
    assert fire(nightly, max_queued=0) is None
    assert stored(nightly).missed_because == "as many deployments waited as runner.max_queued allows"
    operator.change(project, steps=[])
    time.now = NIGHT + timedelta(days=1)
    assert fire(nightly) is None
    assert stored(nightly).missed_because == "the project had no steps"


def test_releases_without_steps_are_something_to_deploy(operator, make_project, fire, time):
    site = make_project(name="site", strategy="release", path="/srv/site")
    operator.change(site, steps=[])
    with operator.database.write_session() as session:
        nightly = schedules.add(session, site.id, "0 3 * * *", "Europe/Berlin", "ada").id
    time.now = NIGHT

    assert fire(nightly) is not None


def test_a_zone_that_this_host_does_not_know_any_more_ends_a_schedule_and_no_other(
    operator, write, add, stored, time
):
    nightly = add()
    write(lambda connection: connection.execute(_schedules.update().values(zone="Europe/Atlantis")))
    time.now = NIGHT

    assert write(schedules.fire, nightly, time.now, 10) is None
    assert stored(nightly).next_at is None
    assert "no time zone Europe/Atlantis" in stored(nightly).missed_because
    assert time_zones.with_date(NIGHT, "Europe/Atlantis") == "Mon 2026-11-23 02:00 UTC"
    with operator.database.write_session() as session, pytest.raises(InvalidTransition, match="Remove it"):
        schedules.enable(session, stored(nightly).project_id, 1, is_enabled=True)


def test_one_that_is_switched_off_is_not_due_and_goes_on_from_when_it_is_switched_on(
    operator, project, add, stored, fire, time
):
    nightly = add()

    def enable(is_enabled: bool) -> None:
        with operator.database.write_session() as session:
            schedules.enable(session, project.id, 1, is_enabled=is_enabled)

    enable(False)
    time.now = NIGHT + timedelta(days=2, hours=3)
    assert fire(nightly) is None
    enable(True)
    assert fire(nightly) is None
    row = stored(nightly)
    assert (row.next_at, row.missed_at) == (NIGHT + timedelta(days=3), None)


def test_what_cannot_be_one_is_refused_at_its_field(operator, project, add):
    with operator.database.write_session() as session:
        with pytest.raises(InvalidInput) as refused:
            schedules.add(session, project.id, "0 25 * * *", "Berlin", "ada")
        schedules.add(session, project.id, " 0  3 * * * ", "UTC", "ada")
        with pytest.raises(InvalidInput, match="has this schedule already"):
            schedules.add(session, project.id, "0 3 * * *", "UTC", "ada")
        with pytest.raises(NotFound, match="no schedule 7"):
            schedules.remove(session, project.id, 7)

    assert set(refused.value.fields) == {"expression", "zone"}


def test_a_project_that_is_deleted_takes_its_schedules_along(operator, project, add):
    add()
    with operator.database.write_session() as session:
        projects.delete(session, projects.find(session, project.id), operator.installation.data_dir)

    assert operator.rows(_schedules.select()) == []


# The timetable


@pytest.fixture
def timetable(installation):
    scheduler = BackgroundScheduler(daemon=True, timezone="UTC")
    scheduler.start()
    yield Timetable(installation, scheduler), scheduler
    scheduler.shutdown()


def planned(scheduler) -> datetime | None:
    (job,) = scheduler.get_jobs() or [None]
    return job and job.next_run_time


def test_apscheduler_is_told_the_next_moment_and_told_anew_after_a_change(
    operator, write, project, add, timetable, time
):
    table, scheduler = timetable
    table.look()
    assert planned(scheduler) is None
    # Far from now, so that APScheduler, which has a clock of its own, does not come before the test has looked.
    time.now = NIGHT.replace(year=2096)
    add("0 5 * * *", "UTC")
    table.look()
    assert planned(scheduler) == time.now.replace(hour=5)
    add("0 4 * * *", "UTC")
    table.look()
    assert planned(scheduler) == time.now.replace(hour=4)
    with operator.database.write_session() as session:
        schedules.remove(session, project.id, 1)
        schedules.remove(session, project.id, 2)
    table.look()
    assert planned(scheduler) is None


def test_when_the_planned_moment_comes_whoever_waits_is_woken(operator, add, stored, timetable, time, installation):
    table, _ = timetable
    nightly = add()
    time.now = NIGHT
    # Due a moment ago: it is done at once.
    table.look()
    assert [one.trigger for one in operator.deployments()] == ["schedule"]
    # By APScheduler's own clock this is past, so it comes at once.
    seen = installation.database.bell.generation
    table._plan(datetime(2026, 1, 1, tzinfo=UTC))

    wait_until(lambda: installation.database.bell.generation > seen, "the bell")
    assert stored(nightly).next_at == NIGHT + timedelta(days=1)


def test_when_a_window_opens_lanes_look_again_once(operator, project, timetable, time, installation, monkeypatch):
    table, _ = timetable
    rung: list[datetime] = []
    monkeypatch.setattr(installation.database.bell, "announce", lambda: rung.append(time.now))
    with operator.database.write_session() as session:
        protection.set_windows(projects.find(session, project.id), "daily 02:00-03:00", "UTC")
    opens_at = NIGHT.replace(year=2096)
    for time.now in (opens_at - timedelta(minutes=1), opens_at - timedelta(seconds=1), opens_at, opens_at):
        table.look()

    assert rung == [opens_at]
