"""The connection breaks when the server has committed, and before it has said so."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

from deployer.models.deployment import Status
from tests.support.cutting_proxy import CuttingProxy
from tests.support.forge import Forge

LINES = 60
CUTS = 8


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


@pytest.mark.parametrize("every", range(2, 8))
def test_a_runner_that_does_not_hear_of_its_commits_runs_nothing_twice_and_loses_no_byte(
    make_line, make_daemon, operator, make_project, tmp_path, every
):
    """Each of its writes is cut in some of these runs: the claim, a command's begin, output and end, the last one."""
    line, url = make_line(every)
    ran = tmp_path / "ran"
    line_by_line = "for i in $(seq {}); do echo {} $i; sleep 0.01; done"
    steps = [f"echo {name} >> {ran}; {line_by_line.format(LINES, name)}" for name in ("one", "two")]
    project = make_project(*steps)
    make_daemon(storage_database_url=url).start()

    line.cuts_left = CUTS
    ids = [operator.deploy(project) for _ in range(2)]
    ended = [operator.wait_for_end(deployment_id, within_s=90) for deployment_id in ids]

    assert [(one.status, one.cause) for one in ended] == [(Status.SUCCESS, None)] * 2
    assert ran.read_text() == "one\ntwo\n" * 2
    for deployment_id in ids:
        for number, name in enumerate(("one", "two")):
            expected = b"".join(f"{name} {line}\n".encode() for line in range(1, LINES + 1))
            assert operator.step_output(deployment_id, number) == expected
        assert operator.events(deployment_id) == ["queued", "running", "success"]
    assert line.cuts_left < CUTS


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
