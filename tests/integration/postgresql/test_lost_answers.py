"""The connection breaks when the server has committed, and before it has said so."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable, Iterator

import pytest

from deployer.executors import processes
from deployer.models.deployment import Status
from tests.support.cutting_proxy import CuttingProxy
from tests.support.forge import Forge

LINES = 60
CUTS = 6


@pytest.fixture
def make_line(server, database) -> Iterator[Callable[..., tuple[CuttingProxy, str]]]:
    """A line to the database that is cut, and the address at which it begins."""
    made: list[CuttingProxy] = []

    def make(every: int) -> tuple[CuttingProxy, str]:
        made.append(CuttingProxy(server.port, every))
        return made[-1], server.url(database).replace(f":{server.port}/", f":{made[-1].port}/")

    yield make
    for line in made:
        line.close()


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_a_runner_that_does_not_hear_of_its_commits_runs_nothing_twice_and_loses_no_byte(
    make_line, make_daemon, operator, make_project, tmp_path, every
):
    """Each of its writes is cut in some of these runs: a command's begin, its output, its end, the deployment's."""
    line, url = make_line(every)
    ran = tmp_path / "ran"
    line_by_line = "for i in $(seq {}); do echo {} $i; sleep 0.01; done"
    steps = [f"echo {name} >> {ran}; {line_by_line.format(LINES, name)}" for name in ("one", "two")]
    project = make_project(*steps)
    make_daemon(storage_database_url=url).start()

    deployment_id = operator.deploy(project)
    operator.wait_for_output(deployment_id, b"one 5\n")
    line.cuts_left = CUTS
    ended = operator.wait_for_end(deployment_id, within_s=60)

    assert (ended.status, ended.cause) == (Status.SUCCESS, None)
    assert ran.read_text() == "one\ntwo\n"
    for number, name in enumerate(("one", "two")):
        expected = b"".join(f"{name} {line}\n".encode() for line in range(1, LINES + 1))
        assert operator.step_output(deployment_id, number) == expected
    assert operator.events(deployment_id) == ["queued", "running", "success"]
    assert line.cuts_left < CUTS


def test_a_claim_whose_commit_was_not_answered_is_gone_on_with(
    make_line, make_daemon, operator, make_project, tmp_path
):
    line, url = make_line(every=1)
    ran = tmp_path / "ran"
    project = make_project(f"echo once >> {ran}")
    make_daemon(storage_database_url=url).start()
    # It works, so that what comes is found at once.
    assert operator.wait_for_end(operator.deploy(project)).status == Status.SUCCESS

    # Of the heartbeat's commits at most one can fall among these.
    line.cuts_left = 3
    deployment_id = operator.deploy(project)

    assert operator.wait_for_end(deployment_id).status == Status.SUCCESS
    assert ran.read_text() == "once\nonce\n"


def test_a_push_whose_commit_was_not_answered_is_refused_and_its_redelivery_is_known(
    make_line, make_daemon, operator, make_project
):
    line, url = make_line(every=1)
    web = make_daemon("web", storage_database_url=url).start()
    forge = Forge(web, make_project())
    guid = str(uuid.uuid4())
    assert forge.push().status == 200

    line.cuts_left = 1
    refused = forge.push(guid=guid)
    again = forge.push(guid=guid)

    assert refused.status == 503
    assert (again.status, again.headers["X-Deployment-Id"]) == (200, None)
    (ours,) = [one for one in operator.deployments() if one.delivery_guid == guid]
    assert ours.status == Status.QUEUED


def test_a_success_that_was_not_answered_leaves_alone_what_it_started(
    make_line, make_daemon, operator, make_project, tmp_path
):
    """The app that was just deployed must not be ended for it."""
    line, url = make_line(every=1)
    started, go = tmp_path / "started", tmp_path / "go"
    project = make_project(
        f"setsid sh -c 'echo $$ > {started}; exec sleep 1000' </dev/null >/dev/null 2>&1 &\n"
        f"echo waiting; while [ ! -e {go} ]; do sleep 0.01; done"
    )
    daemon = make_daemon(storage_database_url=url).start()
    deployment_id = operator.deploy(project)
    operator.wait_for_output(deployment_id, b"waiting")
    line.cuts_left = 2
    go.touch()

    assert operator.wait_for_end(deployment_id, within_s=60).status == Status.SUCCESS
    # The runner has understood that it was its own success once it does the next.
    assert operator.wait_for_end(operator.deploy(make_project("true", name="next")), within_s=60).status == "success"
    assert line.cuts_left < 2
    pid = int(started.read_text())
    assert processes.stat(pid), daemon.log
    os.kill(pid, signal.SIGKILL)
