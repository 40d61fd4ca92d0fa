"""What is kept of a project's history, what goes, and that nothing of it is left behind."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
import sqlalchemy as sa

from deployer import clock, retention
from deployer.config import RetentionSettings
from deployer.deployments import claims, lifecycle, reading
from deployer.models import (
    AuditEvent,
    Base,
    Command,
    Counter,
    Delivery,
    DeliveryPayload,
    DeploymentEvent,
    LogChunk,
    Notification,
    Project,
)
from deployer.models.delivery import Verdict
from deployer.models.deployment import Status, Trigger
from deployer.models.notification import NotificationStatus
from deployer.runner import trimming
from tests.support.history import History

UNLIMITED = RetentionSettings(deployments=0, days=0, deliveries=0, delivery_days=0, audit_days=0)


@pytest.fixture
def project(make_project):
    return make_project()


@pytest.fixture
def history(installation, project):
    return History(installation.database, project)


@pytest.fixture
def trim(installation):
    """``trim(deployments=2)``: the configuration says so, and nothing else is limited."""

    def trim(**settings):
        trimming.trim(installation.database, RetentionSettings(**{**vars(UNLIMITED), **settings}))

    return trim


@pytest.fixture
def ids(operator):
    return lambda: [one.id for one in operator.deployments()]


@pytest.fixture
def deliveries(operator):
    return lambda: {one.id for one in operator.rows(sa.select(*Delivery.__table__.columns))}


@pytest.fixture
def limit(installation, project):
    """The project's own limits."""

    def limit(**columns):
        with installation.database.write() as connection:
            connection.execute(sa.update(Project).where(Project.id == project.id).values(**columns))

    return limit


# Deployments ----------------------------------------------------------------------------------------------------


def test_the_newest_are_kept(history, trim, ids):
    made = [history.deployment() for _ in range(5)]

    trim(deployments=2)

    assert ids() == made[3:]


def test_what_is_older_than_its_days_goes(history, trim, ids):
    history.deployment(days_ago=31)
    young = history.deployment(days_ago=29)

    trim(days=30)

    assert ids() == [young]


def test_without_limits_everything_is_kept(history, trim, ids):
    made = [history.deployment(days_ago=5000) for _ in range(3)]

    trim()

    assert ids() == made


def test_beyond_the_count_or_too_old_is_enough(history, trim, ids):
    history.deployment(days_ago=40)
    history.deployment(days_ago=3)
    kept = [history.deployment(days_ago=2), history.deployment(days_ago=1)]

    trim(deployments=2, days=30)

    assert ids() == kept


def test_a_projects_own_limits_come_before_the_configurations(history, trim, ids, limit):
    made = [history.deployment(days_ago=10) for _ in range(4)]

    limit(keep_deployments=3, keep_days=20)
    trim(deployments=1, days=1)
    assert ids() == made[1:]

    limit(keep_deployments=0, keep_days=0)
    trim(deployments=1, days=1)
    assert ids() == made[1:]


def test_each_project_is_counted_for_itself(installation, history, make_project, trim, ids):
    other = History(installation.database, make_project(name="other"))
    made = [history.deployment(), other.deployment(), history.deployment(), other.deployment()]

    trim(deployments=1)

    assert ids() == made[2:]


def test_what_has_not_ended_stays_however_many_there_are(history, trim, ids):
    made = [
        history.deployment(Status.RUNNING, days_ago=50),
        history.deployment(Status.QUEUED, days_ago=50, trigger=Trigger.MANUAL),
        history.deployment(Status.SUCCESS),
        history.deployment(Status.SUCCESS),
    ]

    trim(deployments=1, days=30)

    assert ids() == [*made[:2], made[3]]


def test_what_is_live_stays_however_old_it_is(history, trim, ids):
    history.deployment(days_ago=400)
    live = history.deployment(days_ago=300)
    failed = [history.deployment(Status.FAILED, days_ago=5) for _ in range(4)]

    trim(deployments=2, days=30)

    assert ids() == [live, *failed[2:]]


def test_what_is_live_is_the_success_that_ended_last(history, trim, ids):
    """Another one jumped the queue."""
    history.deployment(days_ago=50, number=2)
    last = history.deployment(days_ago=40, number=1)
    newest = history.deployment(Status.FAILED)

    trim(days=30)

    assert ids() == [last, newest]


def test_what_is_live_is_told_without_the_clock(installation, project, history, trim, ids):
    """It was put back between the two: what ended last says the earlier time."""
    history.deployment(days_ago=4, deployed_sha="1" * 40)
    live = history.deployment(days_ago=5, deployed_sha="2" * 40)
    newest = history.deployment(Status.FAILED)
    with installation.database.read() as connection:
        assert reading.live_sha(connection, project.id) == "2" * 40

    trim(deployments=1)

    assert ids() == [live, newest]


@pytest.mark.parametrize("status", [Status.FAILED, Status.INTERRUPTED, Status.CANCELLED])
@pytest.mark.parametrize("limits", [{"deployments": 1}, {"days": 1}])
def test_what_was_given_up_stays_until_its_server_was_asked(history, trim, ids, status, limits):
    """A command of it may run there still, and is known by its row alone."""
    history.deployment(status, days_ago=3.1)
    kept = [history.deployment(status, days_ago=2.9), history.deployment()]

    trim(**limits)

    assert ids() == kept


@pytest.mark.parametrize("limits", [{"deployments": 1}, {"days": 1}])
def test_what_a_forge_can_redeliver_stays(history, trim, ids, limits):
    history.deployment(days_ago=3.1, delivery_guid="one")
    history.deployment(days_ago=2.9)
    kept = [
        history.deployment(days_ago=2.9, delivery_guid="two"),
        history.deployment(Status.SUPERSEDED, days_ago=2.9, delivery_guid="three"),
        history.deployment(Status.SUPERSEDED),
        history.deployment(),
    ]

    trim(**limits)

    assert ids() == kept


def test_a_redelivery_is_a_duplicate_however_little_is_kept(installation, project, operator, history, trim):
    first = operator.push(project, "1" * 40, guid="one")
    with installation.database.write() as connection:
        claimed = claims.claim(connection, "runner", host_id=installation.host_id)
        assert claimed == first.deployment_id
        lifecycle.succeed(connection, claimed, "runner")
    history.deployment()
    trim(deployments=1)

    again = operator.push(project, "1" * 40, guid="one")

    assert again.decision.verdict is Verdict.DUPLICATE


@pytest.mark.parametrize("limits", [{"deployments": 1}, {"days": 1}])
def test_what_a_mail_is_still_to_tell_of_stays(installation, history, trim, ids, limits):
    history.deployment(days_ago=9)
    untold = history.deployment(days_ago=8)
    newest = history.deployment()
    with installation.database.write() as connection:
        is_of_it = Notification.deployment_id == untold
        connection.execute(sa.update(Notification).where(is_of_it).values(status=NotificationStatus.PENDING))

    trim(**limits)
    assert ids() == [untold, newest]

    with installation.database.write() as connection:
        connection.execute(sa.update(Notification).values(status=NotificationStatus.GIVEN_UP))
    trim(**limits)
    assert ids() == [newest]


def test_a_projects_last_deployment_stays(history, trim, ids):
    """It says how the project stands: the list of projects shows it, and a success after it is a recovery."""
    live = history.deployment(days_ago=90)
    history.deployment(Status.FAILED, days_ago=80)
    last = history.deployment(Status.FAILED, days_ago=70)
    history.deployment(Status.SUPERSEDED, days_ago=60)

    trim(days=30)

    assert ids() == [live, last]


def test_what_was_superseded_is_counted_apart(history, trim, ids):
    """A flood of pushes takes the place of nothing else, and does not stay for ever either."""
    ran = [history.deployment() for _ in range(2)]
    superseded = [history.deployment(Status.SUPERSEDED) for _ in range(6)]
    last = history.deployment()

    trim(deployments=3)

    assert ids() == [*ran, *superseded[3:], last]


def test_what_a_waiting_retry_goes_on_from_stays(history, trim, ids):
    history.deployment(Status.FAILED, days_ago=50)
    failed = history.deployment(Status.FAILED, days_ago=40)
    retry = history.deployment(Status.QUEUED, trigger=Trigger.RETRY, retry_of=failed)

    trim(days=30)

    assert ids() == [failed, retry]


def test_everything_of_a_deployment_goes_with_it(installation, history, trim, operator):
    history.deployment(chunks=40)
    kept = history.deployment(chunks=3)

    trim(deployments=1)

    for model in (Command, LogChunk, DeploymentEvent, Notification):
        assert {one.deployment_id for one in operator.rows(sa.select(*model.__table__.columns))} == {kept}, model
    assert len(operator.chunks(kept)) == 3
    with installation.database.read() as connection:
        assert not connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()


def test_a_long_log_goes_in_portions_of_bounded_size(installation, history, operator):
    """A portion holds at least one chunk, and the deployment itself only when nothing else of it is left."""
    old = [history.deployment(chunks=50), history.deployment(chunks=2)]
    size = retention.ROW_BYTES * 10
    portions = []
    ids = list(old)
    while ids:
        with installation.database.read() as connection:
            portions.append(retention.portion(connection, ids, size))
        with installation.database.write() as connection:
            retention.remove(connection, portions[-1])
        ids = [one for one in ids if one not in portions[-1].whole]

    assert [one.logs.get(old[0]) for one in portions[:5]] == [10, 20, 30, 40, 50]
    assert all(not one.whole for one in portions[:5])
    assert [one for portion in portions for one in portion.whole] == old
    assert not operator.rows(sa.select(*LogChunk.__table__.columns))


def test_what_is_removed_is_no_cascade(installation, history):
    """With the rows that depend on it gone before, the deletion of a deployment is one of a single row."""
    deployment_id = history.deployment(chunks=5)
    with installation.database.read() as connection:
        portion = retention.portion(connection, [deployment_id], 1_000_000)
    statements = []
    sa.event.listen(installation.database.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))

    with installation.database.write() as connection:
        retention.remove(connection, portion)

    tables = [statement.split()[2] for statement in statements if statement.startswith("DELETE")]
    assert tables == ["log_chunks", "commands", "deployment_events", "notifications", "deployments"]
    children = {
        table.name
        for table in Base.metadata.sorted_tables
        for key in table.foreign_keys
        if key.column.table.name == "deployments"
    }
    assert children <= set(tables)


def test_the_space_is_given_back(installation, config, history, trim):
    for _ in range(30):
        history.deployment(chunks=500)
    before = _size(config)

    trim(deployments=1)

    assert _size(config) < before / 4
    with installation.database.read() as connection:
        free, every = (connection.exec_driver_sql(f"PRAGMA {name}_count").scalar() for name in ("freelist", "page"))
        assert free <= every // 20
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


def _size(config):
    return sum(path.stat().st_size for path in config.data_dir.glob("deployer.db*") if not path.name.endswith("-shm"))


def test_a_pace_grows_while_it_is_quick_and_shrinks_while_it_is_slow():
    pace = trimming.Pace(64, least=16, most=256)

    sizes = []
    for took_s in (0.0, 0.0, 0.0, 0.006, 0.02, 0.02, 0.02, 0.02, 0.02):
        pace.learn(took_s)
        sizes.append(pace.size)

    assert sizes == [128, 256, 256, 256, 128, 64, 32, 16, 16]


# Deliveries -----------------------------------------------------------------------------------------------------


def test_the_newest_deliveries_are_kept(history, trim, deliveries):
    made = [history.delivery(days_ago=9 - number) for number in range(6)]

    trim(deliveries=4)

    assert deliveries() == set(made[2:])


def test_of_deliveries_of_one_moment_as_many_are_kept(installation, history, trim, deliveries):
    for _ in range(6):
        history.delivery()
    with installation.database.write() as connection:
        connection.execute(sa.update(Delivery).values(received_at=clock.now()))

    trim(deliveries=4)

    assert len(deliveries()) == 4


def test_deliveries_have_days_of_their_own(history, trim, deliveries, limit):
    history.delivery(days_ago=31)
    young = history.delivery(days_ago=29)

    limit(keep_days=1)
    trim(delivery_days=30)

    assert deliveries() == {young}


@pytest.mark.parametrize("limits", [{"delivery_days": 30}, {"deliveries": 1}])
def test_the_delivery_of_a_deployment_stays_until_that_has_ended(history, trim, deliveries, limits):
    for status in (Status.SUCCESS, Status.FAILED):
        history.delivery(days_ago=40, deployment_id=history.deployment(status, days_ago=40), verdict=Verdict.DEPLOYED)
    waiting = [
        history.delivery(days_ago=40, deployment_id=history.deployment(status), verdict=Verdict.DEPLOYED)
        for status in (Status.QUEUED, Status.RUNNING)
    ]
    newest = history.delivery()

    trim(**limits)

    assert deliveries() == {*waiting, newest}


def test_the_last_word_of_the_forge_on_the_branch_stays(history, trim, deliveries):
    history.delivery(days_ago=50, ref="refs/heads/main")
    last = history.delivery(days_ago=40, ref="refs/heads/main")
    history.delivery(days_ago=35, ref="refs/heads/main", verdict=Verdict.UNVERIFIED)
    history.delivery(days_ago=35, ref="refs/heads/main", asked_by="ada")
    history.delivery(days_ago=35, ref="refs/heads/other")

    trim(delivery_days=30)

    assert deliveries() == {last}


def test_payloads_go_with_their_deliveries_a_few_at_a_time(installation, history, trim, deliveries, operator):
    """However many and large they are, a transaction takes out about as much as it has time for."""
    for _ in range(6):
        history.delivery(days_ago=31, payload=os.urandom(900_000))
    young = history.delivery(payload=b"{}")
    limits = retention.Limits(0, 0, 0, 30)
    project_id = operator.rows(sa.select(Project.id))[0].id
    with installation.database.read() as connection:
        at_once = retention.expired_deliveries(connection, project_id, limits, clock.now(), 128 * 1024)

    trim(delivery_days=30)

    assert len(at_once) == 1
    assert deliveries() == {young}
    assert [one.delivery_id for one in operator.rows(sa.select(DeliveryPayload.delivery_id))] == [young]


def test_counters_stay(installation, history, trim, operator):
    with installation.database.write() as connection:
        connection.execute(sa.insert(Counter).values(name="webhook.unknown_project", value=3))

    trim(deployments=1, days=1, deliveries=1, delivery_days=1, audit_days=1)

    assert [one.value for one in operator.rows(sa.select(*Counter.__table__.columns))] == [3]


# The audit log --------------------------------------------------------------------------------------------------


def test_the_audit_log_has_an_age_of_its_own(installation, trim, operator):
    with installation.database.write() as connection:
        for days in (401, 399, 0):
            at = clock.now() - timedelta(days=days)
            connection.execute(sa.insert(AuditEvent).values(at=at, actor="ada", action="x", subject=str(days)))

    trim(days=1)
    assert len(operator.rows(sa.select(AuditEvent.id))) == 3

    trim(audit_days=400)
    assert [one.subject for one in operator.rows(sa.select(AuditEvent.subject))] == ["399", "0"]


# In words -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deployments", "days", "words"),
    [
        (200, 365, "the newest 200, for 365 days"),
        (1500, 0, "the newest 1,500"),
        (0, 1, "for 1 day"),
        (0, 0, ""),
    ],
)
def test_what_is_kept_is_said_in_words(deployments, days, words):
    assert retention.Limits(deployments, days, 0, 0).in_words == words
