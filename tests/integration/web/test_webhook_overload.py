"""What a webhook answers when the queue is full or the database cannot take it; and that 200 means "on disk"."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading

import pytest
import sqlalchemy as sa

from deployer.models import Project
from deployer.models.deployment import Status
from tests.support import database
from tests.support.browser import Browser
from tests.support.database import of_sqlite
from tests.support.forge import Forge
from tests.support.operator import Operator

TRIGGERED = (200, "Deployment triggered")


def said(answer) -> tuple[int, str]:
    return answer.status, answer.text


@pytest.fixture
def web(make_daemon):
    """The web process alone: nothing that is queued is taken out again."""
    return make_daemon("web", runner_max_queued=2)


@pytest.fixture
def web_operator(web):
    return Operator(web.installation)


def test_as_many_deployments_wait_as_may_and_one_more_is_asked_to_come_later(web, web_operator, repository):
    web.start()
    forges = [Forge(web, web_operator.make_project(repository.url, name=f"app-{n}")) for n in range(3)]
    assert [said(forge.push()) for forge in forges[:2]] == [TRIGGERED] * 2

    refused = forges[2].push(guid="11111111-1111-1111-1111-111111111111")

    assert said(refused) == (429, "Too many deployments are waiting; try again later")
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.headers["X-Deployment-Id"] is None
    # A push that takes the place of a waiting one needs no room, and what is not queued is answered as ever.
    assert said(forges[0].push()) == TRIGGERED
    assert said(forges[2].event("ping")) == (200, "pong")
    waiting = [one.id for one in web_operator.deployments() if one.status == "queued"]
    assert len(waiting) == 2
    # The refused one may be delivered again as soon as there is room.
    web_operator.cancel(waiting[0])
    assert said(forges[2].push(guid="11111111-1111-1111-1111-111111111111")) == TRIGGERED


def test_sixteen_senders_at_once_have_every_push_on_record_and_one_left_waiting(web, web_operator, repository):
    web.start()
    project = web_operator.make_project(repository.url)
    forge = Forge(web, project)
    answers = []

    def send() -> None:
        answers.extend(forge.push() for _ in range(10))

    threads = [threading.Thread(target=send) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {said(answer) for answer in answers} == {TRIGGERED}
    deployments = web_operator.deployments()
    assert {one.id for one in deployments} == {answer.headers["X-Deployment-Id"] for answer in answers}
    assert len(deployments) == 160
    assert [one.status for one in deployments] == ["superseded"] * 159 + ["queued"]
    known = {one.id for one in deployments}
    assert all(one.superseded_by in known for one in deployments[:-1])


def test_a_database_that_somebody_else_keeps_locked_is_told_and_heals(web, web_operator, repository):
    web.start()
    forge = Forge(web, web_operator.make_project(repository.url))
    answers = []
    sender = threading.Thread(target=lambda: answers.append(forge.push()))
    with database.locked(web.config):
        sender.start()
        # What need not be written is answered meanwhile.
        assert Browser(web).get("/login").status == 200
        sender.join()

    assert [said(answer) for answer in answers] == [(503, "The push could not be recorded; try again later")]
    assert said(forge.push()) == TRIGGERED
    assert len(web_operator.deployments()) == 1


def test_a_secret_that_cannot_be_decrypted_is_told_without_saying_which(web, web_operator, repository):
    web.start()
    project = web_operator.make_project(repository.url)
    forge = Forge(web, project)
    with web.installation.database.write() as connection:
        connection.execute(sa.update(Project).values(webhook_secret=bytes(60)))

    answer = forge.push()

    assert said(answer) == (503, "The push could not be recorded; try again later")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 6 MiB."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)


@of_sqlite
def test_a_full_disk_is_told_loses_nothing_and_heals(small_disk, make_daemon, repository):
    web = make_daemon("web", folder=small_disk).start()
    operator = Operator(web.installation)
    forge = Forge(web, operator.make_project(repository.url))
    fill(small_disk / "filler")
    assert shutil.disk_usage(small_disk).free == 0

    # What SQLite had reserved before is used up first.
    message = {"head_commit": {"message": "x" * 9000}}
    answers = []
    while not answers or (answers[-1].status == 200 and len(answers) < 3000):
        answers.append(forge.push(**message))

    assert said(answers[-1]) == (503, "The push could not be recorded; try again later")
    (small_disk / "filler").unlink()
    assert said(forge.push()) == TRIGGERED
    assert len(operator.deployments()) == len(answers)


def test_what_was_answered_is_on_disk_when_everything_is_killed_right_after(make_daemon, repository):
    daemon = make_daemon().start()
    operator = Operator(daemon.installation)
    forge = Forge(daemon, operator.make_project(repository.url, ["sleep 1000"]))
    # The first one keeps the runner busy.
    operator.wait_for_output(forge.push(after=repository.tip()).headers["X-Deployment-Id"], b"", 0)

    answer = forge.push()
    os.kill(daemon.runner_pid, signal.SIGKILL)
    daemon.end(signal.SIGKILL)

    assert said(answer) == TRIGGERED
    # Nobody who was there before has it open any more.
    daemon.installation.database.dispose()
    assert operator.status(answer.headers["X-Deployment-Id"]) is Status.QUEUED
