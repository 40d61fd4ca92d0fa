"""The database's server is stopped, restarted or cut off during work: nothing is lost, and all heals by itself."""

from __future__ import annotations

import hashlib
import os
import re
import resource
import subprocess
import time

import psycopg
import pytest

from deployer import counters, settings
from deployer.models.deployment import Status
from tests.support.browser import Browser
from tests.support.disk import fill
from tests.support.forge import Forge
from tests.support.health import turns, unwell
from tests.support.waiting import wait_until

TRIGGERED = (200, "Deployment triggered")
NOT_RECORDED = (503, "The push could not be recorded; try again later")
SOON_S = 30.0
"""Sooner than anything is looked at without having been rung for (`IDLE_WAIT_S`)."""

LINES = 300


def said(answer) -> tuple[int, str]:
    return answer.status, answer.text


def numbered(name: str, marker) -> str:
    """A step that takes a few seconds, and leaves a mark each time it is begun."""
    return f'echo {name} >> {marker}; for i in $(seq {LINES}); do echo "{name} $i"; sleep 0.01; done'


def printed(name: str) -> bytes:
    return b"".join(f"{name} {number}\n".encode() for number in range(1, LINES + 1))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_restart_in_the_middle_of_each_step_costs_no_command_and_no_byte(
    server, make_daemon, operator, make_project, tmp_path
):
    make_daemon().start()
    marker = tmp_path / "begun"
    deployment_id = operator.deploy(make_project(numbered("one", marker), numbered("two", marker)))

    for number, name in enumerate(("one", "two")):
        operator.wait_for_output(deployment_id, f"{name} 40\n".encode(), number)
        server.restart()

    assert operator.wait_for_end(deployment_id, within_s=60).status == Status.SUCCESS
    assert marker.read_text() == "one\ntwo\n"
    assert [sha256(operator.step_output(deployment_id, number)) for number in range(2)] == [
        sha256(printed(name)) for name in ("one", "two")
    ]
    assert operator.events(deployment_id) == ["queued", "running", "success"]


def test_connections_that_are_cut_again_and_again_cost_no_command_and_no_byte(
    server, database, make_daemon, operator, make_project, tmp_path
):
    """The server ends them at whatever they are doing: reading, writing, waiting to be told."""
    make_daemon().start()
    marker = tmp_path / "begun"
    deployment_id = operator.deploy(make_project(numbered("one", marker), numbered("two", marker)))

    def is_over() -> bool:
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{database}' AND pid <> pg_backend_pid() AND client_port <> -1",
        )
        time.sleep(0.3)
        status = server.execute(f"SELECT status FROM deployments WHERE id = '{deployment_id}'", database)
        return Status(status[0][0]).is_final

    wait_until(is_over, "the end", within_s=90)
    operator.database.dispose()

    assert operator.status(deployment_id) is Status.SUCCESS
    assert marker.read_text() == "one\ntwo\n"
    assert [sha256(operator.step_output(deployment_id, number)) for number in range(2)] == [
        sha256(printed(name)) for name in ("one", "two")
    ]


def test_webhooks_are_refused_while_it_is_away_and_taken_again_without_a_restart(
    server, make_daemon, operator, make_project
):
    web = make_daemon("web").start()
    forge = Forge(web, make_project())
    assert said(forge.push()) == TRIGGERED

    server.stop()
    refused = [said(forge.push()) for _ in range(3)]
    page = Browser(web).get("/login")
    red = wait_until(lambda: (found := unwell(web)).keys() >= {"database"} and found, "the database to be red")
    server.start()

    assert refused == [NOT_RECORDED] * 3
    # Whether there is anybody who could log in is not known either.
    assert page.status in (200, 503)
    assert red["database"] == "The database cannot be written. The daemon's log says why."
    (line,) = (one for one in web.log.splitlines() if "health: the database is not well" in one)
    assert re.search(r"refused|terminated|shutting down|closed", line), line
    assert said(forge.push()) == TRIGGERED
    assert Browser(web).get("/login").status == 200
    assert len(operator.deployments()) == 2
    assert turns(web, "runner")
    assert "Traceback" not in web.log, web.log


def test_what_was_answered_is_there_after_a_crash_of_the_server(server, make_daemon, operator, make_project):
    forge = Forge(make_daemon("web").start(), make_project())

    answers = []
    for _ in range(5):
        answers.append(forge.push())
        server.restart()

    assert [said(answer) for answer in answers] == [TRIGGERED] * 5
    stored = {one.id: one.status for one in operator.deployments()}
    assert list(stored) == [answer.headers["X-Deployment-Id"] for answer in answers]
    assert list(stored.values()) == [Status.SUPERSEDED] * 4 + [Status.QUEUED]


def test_the_bell_is_heard_again_after_a_restart(server, make_daemon, operator, make_project):
    forge = Forge(make_daemon().start(), make_project())
    # Its lane has gone to rest by then.
    assert operator.wait_for_end(forge.push().headers["X-Deployment-Id"]).finished_at
    server.restart()

    for _ in range(3):
        answer = forge.push()
        assert said(answer) == TRIGGERED
        wait_until(
            lambda id=answer.headers["X-Deployment-Id"]: operator.status(id) is not Status.QUEUED,
            "its begin",
            within_s=SOON_S,
        )


def test_who_waits_is_told_of_what_was_committed_while_it_did_not_hear(server, installation):
    bell = installation.database.bell
    seen = bell.generation
    server.restart()

    # Rung once when it listens again, for whatever may have been missed.
    again = bell.wait(seen, SOON_S)
    assert again > seen
    with installation.database.write() as connection:
        counters.add(connection, "x", 1)
    assert bell.wait(again, SOON_S) > again


@pytest.mark.parametrize("lock", ["LOCK TABLE deliveries", "SELECT * FROM projects FOR UPDATE"])
def test_what_somebody_else_keeps_locked_is_told_and_heals(
    server, database, make_daemon, operator, make_project, lock
):
    web = make_daemon("web").start()
    forge = Forge(web, make_project())
    with psycopg.connect(server.url(database)) as foreign:
        foreign.execute(lock)
        refused = said(forge.push())
        assert Browser(web).get("/login").status == 200
        foreign.rollback()

    assert refused == NOT_RECORDED
    assert said(forge.push()) == TRIGGERED
    assert len(operator.deployments()) == 1


@pytest.fixture
def small_disk(server):
    """Where the server may keep 24 MiB of tables, and no more."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = server.folder / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m,uid=postgres,mode=700", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    server.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
    yield folder
    server.restart()
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_told_loses_nothing_and_heals(
    small_disk, server, database, installation, make_daemon, operator, make_project
):
    installation.database.dispose()
    server.execute(f"ALTER DATABASE {database} SET TABLESPACE small")
    web = make_daemon("web").start()
    forge = Forge(web, make_project())
    fill(small_disk / "filler")

    # What the server had reserved before is used up first.
    answers = []
    while not answers or (answers[-1].status == 200 and len(answers) < 3000):
        answers.append(forge.push(head_commit={"message": "x" * 9000}))

    assert said(answers[-1]) == NOT_RECORDED
    assert turns(web, "database", "runner")
    assert Browser(web).get("/login").status == 200
    (small_disk / "filler").unlink()
    assert said(forge.push()) == TRIGGERED
    assert len(operator.deployments()) == len(answers)
    assert turns(web, "runner")


def test_the_bell_is_heard_also_in_a_process_with_a_thousand_open_files(server, installation):
    """As one has whose web process serves a thousand viewers while the database restarts."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit[1] < 2048:
        pytest.skip("not so many files may be opened here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, limit[1]))
    taken = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
    try:
        bell = installation.database.bell
        seen = bell.generation
        with installation.database.write() as connection:
            settings.put(connection, "a", "b")
        assert bell.wait(seen, 10) > seen
    finally:
        for one in taken:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
