"""Several processes write at the same moment: what must happen once happens once, and the latest wins."""

from __future__ import annotations

import functools
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

import pytest
import sqlalchemy as sa

from deployer import servers
from deployer.db import Database
from deployer.deployments import claims, lifecycle, queue
from deployer.errors import LostClaim
from deployer.models import Deployment, DeploymentEvent
from deployer.models.deployment import Status
from deployer.servers import ServerInput
from tests.support.forge import Forge, push
from tests.support.waiting import wait_until

T = TypeVar("T")
R = TypeVar("R")

TRIGGERED = (200, "Deployment triggered")


def all_at_once(act: Callable[[T], R], given: Sequence[T]) -> list[R]:
    """Call ``act`` with each, in threads that begin at the same moment; what they return, or an error of one."""
    together = threading.Barrier(len(given))

    def run(one: T) -> R:
        together.wait()
        return act(one)

    with ThreadPoolExecutor(len(given)) as threads:
        return list(threads.map(run, given))


@pytest.fixture
def forges(make_daemon, make_project):
    """Two web processes of one project, on two hosts."""
    project = make_project()
    return [Forge(make_daemon("web").start(), project) for _ in range(2)]


def test_the_same_delivery_at_two_hosts_leads_to_one_deployment(forges, operator):
    for guid in [str(uuid.uuid4()) for _ in range(5)]:
        answers = all_at_once(functools.partial(Forge.push, guid=guid), forges * 3)

        triggered = [answer for answer in answers if answer.headers["X-Deployment-Id"]]
        assert {answer.status for answer in answers} == {200}
        assert len(triggered) == 1
        ours = [one.id for one in operator.deployments() if one.delivery_guid == guid]
        assert ours == [triggered[0].headers["X-Deployment-Id"]]


def test_of_pushes_at_two_hosts_the_latest_wins_and_every_one_is_on_record(forges, operator):
    answers = [*chain(*all_at_once(lambda forge: [forge.push() for _ in range(10)], forges * 4))]

    assert {(answer.status, answer.text) for answer in answers} == {TRIGGERED}
    deployments = operator.deployments()
    assert {one.id for one in deployments} == {answer.headers["X-Deployment-Id"] for answer in answers}
    assert [one.status for one in deployments] == [Status.SUPERSEDED] * 79 + [Status.QUEUED]
    by_id = {one.id: one.number for one in deployments}
    assert all(by_id[one.superseded_by] > one.number for one in deployments[:-1])


def test_of_many_runners_each_deployment_is_claimed_by_one_and_never_two_of_a_project(
    installation, operator, make_project, config
):
    projects = [make_project(name=f"app-{number}") for number in range(8)]
    wanted = [operator.deploy(project) for _ in range(6) for project in projects]
    claimed: list[str] = []
    two_of_a_project = (
        sa.select(Deployment.project_id)
        .where(Deployment.status == Status.RUNNING)
        .group_by(Deployment.project_id)
        .having(sa.func.count() > 1)
    )

    def work(number: int) -> None:
        database = Database(config)
        while len(claimed) < len(wanted):
            with database.write() as connection:
                deployment_id = claims.claim(connection, f"runner-{number}", None, installation.host_id)
            if deployment_id is None:
                continue
            claimed.append(deployment_id)
            with database.read() as connection:
                assert connection.execute(two_of_a_project).all() == []
            with database.write() as connection:
                lifecycle.succeed(connection, deployment_id, f"runner-{number}")
        database.dispose()

    all_at_once(work, range(8))

    assert sorted(claimed) == sorted(wanted)
    begun = operator.rows(
        sa.select(Deployment.number, Deployment.project_id)
        .join(DeploymentEvent, DeploymentEvent.deployment_id == Deployment.id)
        .where(DeploymentEvent.event == "running")
        .order_by(DeploymentEvent.id)
    )
    assert len(begun) == len(wanted)
    # Each project's in the order of the queue.
    for project in projects:
        numbers = [row.number for row in begun if row.project_id == project.id]
        assert numbers == sorted(numbers)


def test_nothing_is_claimed_while_somebody_decides_by_what_is_queued(
    installation, operator, make_daemon, make_project
):
    """As a push does: else the commit that a poll has found and a push tells of would run twice."""
    database, project = installation.database, make_project("true")
    make_daemon().start()
    operator.wait_for_end(operator.deploy(project))
    waits = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")

    with database.write() as deciding:
        with database.write(alone=False) as beside:
            queued = queue.deploy_by_hand(beside, project.id, "ada", 100)
        wait_until(lambda: deciding.scalar(waits), "the runner, which waits for its turn to claim")
        assert lifecycle.request_cancel(deciding, queued, "ada")

    assert operator.deployment(queued).status == Status.CANCELLED
    assert operator.wait_for_end(operator.deploy(project)).status == Status.SUCCESS
    assert operator.steps(queued) == []


@pytest.mark.parametrize(
    ("message", "stored"),
    [
        ("before\0after", "before"),
        ("x" * 100_000, "xxx"),
        ("half \ud83d a character", "half"),
        ("🚀 ünïcødé \u202e", "🚀 ünïcødé"),
    ],
    ids=["NUL", "100,000 characters", "a lone surrogate", "beyond ASCII"],
)
def test_whatever_a_commit_says_is_taken(make_daemon, operator, make_project, message, stored):
    forge = Forge(make_daemon("web").start(), make_project())
    name = "n" * 5_000
    author = {"name": f"{name}\0", "email": f"{name}@example.com"}

    answer = forge.push(
        head_commit={**push()["head_commit"], "message": message, "author": author},
        pusher={"name": name},
        compare=f"https://github.com/{name}",
        repository={"full_name": f"grace/{name}"},
    )

    assert (answer.status, answer.text) == TRIGGERED
    (deployment,) = operator.deployments()
    assert deployment.commit_message.startswith(stored)
    assert "\0" not in deployment.commit_message


def test_what_is_longer_than_its_column_says_or_holds_a_nul_is_stored_as_on_sqlite(
    installation, operator, make_project
):
    """The lengths in the models are for their reader. No text that got this far may make a write fail."""
    deployment_id = operator.deploy(make_project())
    with installation.database.write() as connection:
        connection.execute(sa.update(Deployment).values(pusher="n" * 5_000, commit_message="a\0b"))

    deployment = operator.deployment(deployment_id)
    assert deployment.pusher == "n" * 5_000
    assert deployment.commit_message == "a\ufffdb"


def test_of_two_hosts_one_deploys_to_a_server_at_a_time(installation, operator, make_project):
    with installation.database.write_session() as session:
        server_id = servers.create(session, ServerInput("web1", "127.0.0.1", 22, "deploy"), installation.vault).id
    ids = [operator.deploy(make_project(name=name, server=server_id)) for name in ("one", "two")]

    def claim(runner: str) -> str | None:
        with installation.database.write() as connection:
            return claims.claim(connection, runner, server_id, runner)

    assert claim("here") == ids[0]
    assert claim("there") is None
    with installation.database.write() as connection:
        lifecycle.succeed(connection, ids[0], "here")
    assert claim("there") == ids[1]


def test_output_that_is_being_written_down_is_there_before_another_runner_takes_over(
    installation, operator, make_project, config
):
    """Else it would begin where that output begins, and store it a second time."""
    deployment_id = operator.deploy(make_project())
    with installation.database.write() as connection:
        assert claims.claim(connection, "one", None, installation.host_id) == deployment_id
    other = Database(config)
    waits = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")

    def take_over() -> bool:
        with other.write() as connection:
            return claims.hand_over(connection, deployment_id, "one", "two")

    with ThreadPoolExecutor(1) as threads:
        with installation.database.write(alone=False) as connection:
            claims.hold(connection, deployment_id, "one")
            taking = threads.submit(take_over)
            wait_until(lambda: connection.scalar(waits), "the other runner, which waits")
            assert not taking.done()
        assert taking.result()
    other.dispose()

    with pytest.raises(LostClaim), installation.database.write(alone=False) as connection:
        claims.hold(connection, deployment_id, "one")
