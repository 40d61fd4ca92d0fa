"""A flood of pushes to several projects: all are answered and on record, the last of each wins, pages go on."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from tests.support.flood import Target, send
from tests.support.forge import Forge, push
from tests.support.operator import Operator
from tests.support.standing import logged_in, make_user
from tests.support.waiting import wait_until

PUSHES = 1000
PROJECTS = 10


def memory_mib(pid: int, what: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(one.split()[1]) for one in lines if one.startswith(f"{what}:")) / 1024


def test_a_flood_of_pushes_loses_none_deploys_the_last_of_each_and_leaves_the_dashboard_usable(
    make_daemon, repository
):
    # No more room in the queue than one for each project: none of the pushes needs more.
    daemon = make_daemon(runner_max_queued=PROJECTS).start()
    make_user(daemon)
    person = logged_in(daemon)
    operator = Operator(daemon.installation)
    projects = [operator.make_project(repository.url, name=f"app-{n}") for n in range(PROJECTS)]
    body = json.dumps(push(after=repository.tip())).encode()
    targets = [Target(one.id, Forge(daemon, one).secret, body) for one in projects]
    assert person.get("/").status == 200
    before = memory_mib(daemon.process.pid, "VmRSS")
    pages: list[int] = []
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(0.2):
            pages.append(person.get("/").status)

    visitor = threading.Thread(target=look)
    visitor.start()
    answers = send(daemon.port, targets, PUSHES)
    is_over.set()
    visitor.join()

    assert answers.statuses == {200: PUSHES}
    assert memory_mib(daemon.process.pid, "VmHWM") - before < 30
    assert set(pages) <= {200}
    wait_until(
        lambda: not [one for one in operator.deployments() if one.status in ("queued", "running")],
        "the end of the queue",
        within_s=120,
    )
    deployments = operator.deployments()
    assert {one.id for one in deployments} == set(answers.deployments)
    assert len(deployments) == PUSHES
    newest = {one.project_id: one for one in deployments}
    assert len(newest) == PROJECTS
    assert {one.status for one in newest.values()} == {"success"}
    # Whatever else was not deployed gave way to a later one of its project.
    numbers = {one.id: one.number for one in deployments}
    for one in deployments:
        assert one.status in ("success", "superseded"), one.cause
        if one.superseded_by:
            assert numbers[one.superseded_by] > one.number
