"""Several hosts on one database: a claim has one winner, and what a host leaves is neither lost nor run twice."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from deployer import clock, health
from deployer.config import Config, GitSettings, RunnerSettings, StorageSettings
from deployer.deployments import claims, command_lifecycle, lifecycle, reading, runners
from deployer.deployments.command_lifecycle import PlannedCommand
from deployer.executors import processes
from deployer.health import RunnerWatch
from deployer.installation import Installation
from deployer.models import Runner
from deployer.models.deployment import CommandKind
from deployer.runner.heartbeat import STEADY_S, Heartbeat
from tests.support import database
from tests.support.operator import Operator
from tests.support.runner_process import RunnerProcess
from tests.support.servers import _user, make_ssh, ssh, user  # noqa: F401 (fixtures)
from tests.support.waiting import wait_until

COUNT = "echo once >> {ran}; for n in $(seq 1 {lines}); do echo line $n; sleep 0.01; done"


class Host:
    """A data folder of its own, with its runner."""

    def __init__(self, config: Config, log: Path) -> None:
        self.config = config
        self.installation = Installation.open(config)
        self.operator = Operator(self.installation)
        self.runner = RunnerProcess(config, log)

    @property
    def id(self) -> str:
        return self.installation.data_dir.host_id


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Hosts that share a database and a key: ``make_host("one")``."""
    name = f"hosts_{os.getpid()}_{tmp_path.parent.name.rpartition('-')[2]}_{tmp_path.name}"[:60].lower()
    database.server().make(name)
    made: list[Host] = []

    def make(folder: str, **runner: int) -> Host:
        data_dir = tmp_path / folder
        if made:
            data_dir.mkdir(mode=0o700)
            shutil.copy2(made[0].config.data_dir / "key", data_dir / "key")
        config = Config(
            storage=StorageSettings(str(data_dir), database.server().url(name)),
            git=GitSettings(allow_file=True),
            runner=RunnerSettings(cancel_grace=1, **runner),
        )
        made.append(Host(config, tmp_path / f"{folder}.log"))
        return made[-1]

    yield make
    for host in made:
        if host.runner.is_running:
            host.runner.kill()
    for deployment in made[0].operator.deployments() if made else ():
        for pid in processes.with_variable(f"DEPLOY_ID={deployment.id}".encode()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    for host in made:
        host.installation.database.dispose()


@pytest.fixture
def one(make_host: Callable[..., Host]) -> Host:
    return make_host("one", host_lost_after=600)


@pytest.fixture
def two(make_host: Callable[..., Host], one: Host) -> Host:
    return make_host("two", host_lost_after=600)


def stop_heart(host: Host, seconds_ago: int = 60) -> None:
    """Its runner stands still, and has done so for a while."""
    os.kill(host.runner.pid, signal.SIGSTOP)
    with host.installation.database.write() as connection:
        connection.execute(
            sa.update(Runner)
            .where(Runner.host_id == host.id)
            .values(heartbeat_at=sa.literal_column(f"heartbeat_at - {seconds_ago * 1000}"))
        )


def expected(lines: int) -> bytes:
    return b"".join(b"line %d\n" % n for n in range(1, lines + 1))


def test_each_host_deploys_its_own_projects(one, two, repository, tmp_path):
    here = one.operator.make_project(repository.url, ["pwd"], name="here")
    there = two.operator.make_project(repository.url, ["pwd"], name="there")
    one.runner.start()
    two.runner.start()

    ids = [one.operator.deploy(project) for project in (here, there)]

    for deployment_id, host in zip(ids, (one, two), strict=True):
        assert one.operator.wait_for_end(deployment_id).status == "success"
        assert str(host.config.data_dir).encode() in one.operator.step_output(deployment_id)


def test_a_deployment_of_a_host_without_a_runner_waits_for_it(one, two, repository):
    project = one.operator.make_project(repository.url, ["echo here"], name="here")
    other = two.operator.make_project(repository.url, ["true"], name="there")
    two.runner.start()

    waiting = one.operator.deploy(project)
    assert one.operator.wait_for_end(one.operator.deploy(other)).status == "success"
    assert one.operator.status(waiting) == "queued"

    one.runner.start()
    assert one.operator.wait_for_end(waiting).status == "success"


def test_a_project_comes_to_another_host_when_somebody_there_says_so(one, two, repository):
    project = one.operator.make_project(repository.url, ["pwd"], name="here")
    one.runner.start().wait_until_ready()
    two.runner.start()
    with two.installation.database.read() as connection:
        assert runners.elsewhere(connection, project, two.id) == socket.gethostname()
        assert runners.elsewhere(connection, project, one.id) is None

    # An edit alone moves nothing.
    assert two.operator.change(project, branch="main").host_id == one.id
    assert two.operator.change(project, server="local").host_id == two.id
    one.runner.kill()

    deployment_id = one.operator.deploy(project)
    assert one.operator.wait_for_end(deployment_id).status == "success"
    assert str(two.config.data_dir).encode() in one.operator.step_output(deployment_id)


def test_what_any_host_can_deploy_is_deployed_once(one, two, repository, ssh, user):  # noqa: F811
    """Eight projects of one server, and two runners after each of them."""
    ran = user.owns_folder("ran") / "times"
    server = one.operator.make_server(ssh)
    projects = [
        one.operator.make_project(repository.url, [f"echo {n} >> {ran}"], name=f"app-{n}", server=server)
        for n in range(8)
    ]
    ids = [one.operator.deploy(project) for project in projects]
    one.runner.start()
    two.runner.start()

    ended = [one.operator.wait_for_end(deployment_id, within_s=60) for deployment_id in ids]

    assert [(one.status, one.cause) for one in ended] == [("success", None)] * 8
    assert sorted(ran.read_text().split()) == [str(n) for n in range(8)]


def test_a_step_on_a_server_is_gone_on_with_by_another_host_and_late_writes_change_nothing(
    one,
    two,
    repository,
    ssh,  # noqa: F811
    user,  # noqa: F811
):
    ran = user.owns_folder("ran") / "times"
    server = one.operator.make_server(ssh)
    steps = [COUNT.format(ran=ran, lines=400), f"echo after; echo after >> {ran}"]
    project = one.operator.make_project(repository.url, steps, server=server)
    one.runner.start()
    deployment_id = one.operator.deploy(project)
    one.operator.wait_for_output(deployment_id, b"line 20\n")

    stop_heart(one)
    two.runner.start()
    deployment = one.operator.wait_for_end(deployment_id, within_s=60)
    before = one.operator.deployment(deployment_id), one.operator.chunks(deployment_id)
    os.kill(one.runner.pid, signal.SIGCONT)
    wait_until(lambda: "no longer this runner's" in one.runner.log, "the late write of the first runner")

    assert (deployment.status, deployment.cause) == ("success", None)
    assert ran.read_text() == "once\nafter\n"
    counted, after = one.operator.steps(deployment_id)
    assert one.operator.output(counted) == expected(400)
    assert one.operator.output(after) == b"after\n"
    assert (one.operator.deployment(deployment_id), one.operator.chunks(deployment_id)) == before
    # And it goes on working.
    again = one.operator.deploy(project)
    assert one.operator.wait_for_end(again, within_s=60).status == "success"


def test_what_ran_on_a_host_that_does_not_come_back_is_ended_by_the_others(one, two, repository, tmp_path):
    project = one.operator.make_project(repository.url, ["echo started; sleep 600"], name="here")
    one.runner.start()
    deployment_id = one.operator.deploy(project)
    one.operator.wait_for_output(deployment_id, b"started")
    queued = one.operator.deploy(project)

    stop_heart(one, 700)
    two.runner.start()
    deployment = one.operator.wait_for_end(deployment_id, within_s=60)
    assert deployment.status == "interrupted"
    assert deployment.cause.endswith("did not come back within 10 min (runner.host_lost_after)")
    assert [step.status for step in one.operator.steps(deployment_id)] == ["interrupted"]
    assert one.operator.status(queued) == "queued"

    # It was only asleep: what it still runs of that deployment is ended, and the next one's turn comes.
    one.operator.change(project, steps=["echo next"])
    os.kill(one.runner.pid, signal.SIGCONT)
    assert one.operator.wait_for_end(queued, within_s=60).status == "success"
    wait_until(
        lambda: not list(processes.with_variable(f"DEPLOY_ID={deployment_id}".encode())),
        "the end of what the lost deployment left running",
    )
    assert one.operator.deployment(deployment_id) == deployment


def test_a_host_that_is_only_slow_keeps_what_runs_there(one, two, repository):
    """Before ``host_lost_after`` nobody else can tell how a command on it goes on."""
    project = one.operator.make_project(repository.url, ["echo started; sleep 2; echo ended"], name="here")
    other = two.operator.make_project(repository.url, ["true"], name="there")
    one.runner.start()
    deployment_id = one.operator.deploy(project)
    one.operator.wait_for_output(deployment_id, b"started")

    stop_heart(one, 60)
    two.runner.start()
    assert one.operator.wait_for_end(one.operator.deploy(other)).status == "success"
    os.kill(one.runner.pid, signal.SIGCONT)

    assert one.operator.wait_for_end(deployment_id).status == "success"
    assert one.operator.step_output(deployment_id) == b"started\nended\n"


def test_a_runner_that_is_started_again_takes_over_what_its_own_host_left_and_nothing_else(one, two, repository):
    ids = []
    for host, name in ((one, "here"), (two, "there")):
        project = host.operator.make_project(repository.url, ["echo started; sleep 3; echo ended"], name=name)
        host.runner.start()
        ids.append(host.operator.deploy(project))
        host.operator.wait_for_output(ids[-1], b"started")
    kept = one.operator.deployment(ids[1]).runner_id

    one.runner.kill()
    one.runner.start().wait_until_ready()

    assert one.operator.deployment(ids[1]).runner_id == kept
    for deployment_id in ids:
        assert one.operator.wait_for_end(deployment_id).status == "success"
        assert one.operator.step_output(deployment_id) == b"started\nended\n"


def test_a_second_runner_on_one_data_folder_waits_here_too(one, repository):
    one.runner.start().wait_until_ready()
    second = RunnerProcess(one.config, one.config.data_dir.parent / "second.log").start()
    wait_until(lambda: "another runner works on this data folder" in second.log, "word that it waits")

    one.runner.kill()
    second.wait_until_ready()
    second.kill()


def test_a_project_made_for_a_server_may_be_deployed_by_whoever_is_there(one, two, repository, ssh):  # noqa: F811
    server = one.operator.make_server(ssh)
    project = one.operator.make_project(repository.url, ["echo there"], server=server)
    two.runner.start()

    deployment_id = one.operator.deploy(project)

    assert one.operator.wait_for_end(deployment_id, within_s=40).status == "success"


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_after_an_outage_of_the_database_nobody_is_judged_before_he_could_beat_again(one, two, repository):
    """All heartbeats are old then, and whoever comes first would end what runs well on all the others."""
    database = two.installation.database
    project = one.operator.make_project(repository.url, ["echo started; sleep 600"], name="here")
    one.runner.start()
    deployment_id = one.operator.deploy(project)
    one.operator.wait_for_output(deployment_id, b"started")
    stop_heart(one, 700)

    now, taken = Clock(), []
    heart = Heartbeat(
        two.installation, "two", runners.Host(two.id, "two"), after_taking=lambda: taken.append(1), now=now
    )
    heart.beat()
    now.seconds += STEADY_S + 1  # the database was away for so long
    heart.beat()
    assert one.operator.status(deployment_id) == "running"
    for _ in range(6):
        now.seconds += runners.BEAT_S
        heart.beat()

    assert one.operator.status(deployment_id) == "interrupted"
    assert taken == []
    database.dispose()


def test_each_deployment_that_is_taken_over_is_told_of_when_it_is_ours(one, two, repository, ssh):  # noqa: F811
    """A lane that looks before it is ours would not look again."""
    ids = []
    server = one.operator.make_server(ssh)
    with one.installation.database.write() as connection:
        runners.register(connection, "one", runners.Host(one.id, "one"))
    for name in ("app1", "app2"):
        project = one.operator.make_project(repository.url, ["true"], name=name, server=server)
        ids.append(one.operator.deploy(project))
        with one.installation.database.write() as connection:
            lifecycle.begin(connection, ids[-1], "one")
            planned = PlannedCommand(clock.new_id(), 0, CommandKind.STEP, "true", "true", 60, "nonce")
            command_lifecycle.plan(connection, ids[-1], [planned])
            command_lifecycle.start_command(connection, planned.id, "one", None)
    with one.installation.database.write() as connection:
        connection.execute(sa.update(Runner).values(heartbeat_at=sa.literal_column("heartbeat_at - 60000")))

    now, seen = Clock(), []

    def taken() -> None:
        with two.installation.database.read() as connection:
            seen.append(len(claims.running_of(connection, "two", server, two.id)))

    heart = Heartbeat(two.installation, "two", runners.Host(two.id, "two"), after_taking=taken, now=now)
    for _ in range(7):
        heart.beat()
        now.seconds += runners.BEAT_S

    assert seen == [1, 2]


def test_what_waits_for_another_host_is_no_standstill_here_and_what_that_one_does_hides_none(one, two, repository):
    project = two.operator.make_project(repository.url, ["true"], name="there")
    elsewhere = two.operator.deploy(project)
    with one.installation.database.read() as connection:
        assert reading.standstill(connection, one.id) is None
        assert reading.standstill(connection, two.id) == ""

    begin(two, elsewhere)
    waiting = one.operator.deploy(one.operator.make_project(repository.url, ["true"], name="here"))

    with one.installation.database.read() as connection:
        assert reading.standstill(connection, one.id) == ""
        assert reading.standstill(connection, two.id) is None
    begin(one, waiting)
    again = one.operator.deploy(one.operator.make_project(repository.url, ["true"], name="another"))
    with one.installation.database.write() as connection:
        lifecycle.succeed(connection, waiting, "runner of one")
    with one.installation.database.read() as connection:
        # What began last here, though there something began, too.
        assert reading.standstill(connection, one.id) == waiting
    begin(one, again)
    with one.installation.database.read() as connection:
        assert reading.standstill(connection, one.id) is None


def test_the_runners_health_is_of_this_host(one, two, repository, monkeypatch):
    """A push waits for a project of the other host, where no runner is; here there is nothing to do."""
    monkeypatch.setattr(RunnerWatch, "_sign", lambda _: None)
    monkeypatch.setattr(health, "STUCK_AFTER_S", 0.0)
    two.operator.deploy(two.operator.make_project(repository.url, ["true"], name="there"))
    one.runner.start().wait_until_ready()
    watch = RunnerWatch(one.installation)

    assert watch.look().is_ok
    assert watch.look().is_ok


def begin(host: Host, deployment_id: str) -> None:
    with host.installation.database.write() as connection:
        assert lifecycle.begin(connection, deployment_id, f"runner of {host.config.data_dir.name}")
