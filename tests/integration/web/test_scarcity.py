"""A host that gives no more threads, open files or watches: what can go on goes on, and heals by itself."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from deployer.closing_lane import ClosingLane
from tests.support.browser import Browser
from tests.support.daemon import Daemon, altered
from tests.support.database import of_sqlite
from tests.support.events import Viewer
from tests.support.forge import Forge
from tests.support.operator import Operator
from tests.support.standing import logged_in, make_user
from tests.support.waiting import wait_until

NO_WATCHES = """
import errno, os, inotify_simple
def refuse(*_):
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
inotify_simple.INotify.__init__ = refuse
"""

FEW_FILES = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (320, 320))
"""


def no_listening(switch: Path) -> str:
    """While a file is there, nobody can begin to listen for changes."""
    return f"""
import os
from deployer.bell import Bell
listen = Bell.listen
def hardly(self, callback):
    if os.path.exists({str(switch)!r}):
        raise OSError(24, "Too many open files")
    listen(self, callback)
Bell.listen = hardly
"""


def no_threads(switch: Path) -> str:
    """While a file is there, no questions about the health get a thread."""
    return f"""
import os, threading
start = threading.Thread.start
def hardly(self):
    if self.name.startswith("health: ") and os.path.exists({str(switch)!r}):
        raise RuntimeError("can't start new thread")
    start(self)
threading.Thread.start = hardly
"""


def queued(daemon: Daemon, repository) -> str:
    """A deployment that waits; its id."""
    operator = Operator(daemon.installation)
    return operator.deploy(operator.make_project(repository.url, name="waiting"))


def test_a_viewer_who_cannot_be_taken_in_gives_the_place_back(make_daemon, repository, tmp_path):
    switch = tmp_path / "scarce"
    switch.touch()
    daemon = make_daemon("web", server_max_streams=1).start(altered(no_listening(switch)))
    make_user(daemon)
    member = logged_in(daemon)
    deployment_id = queued(daemon, repository)

    for _ in range(5):

        def is_let_in() -> bool:
            with Viewer(member, deployment_id) as viewer:
                assert viewer.status != 200 or list(viewer.frames()) == []
                return viewer.status == 200

        wait_until(is_let_in, "the place of the one before")
    assert daemon.log.count("cannot take connections in: [Errno 24] Too many open files") == 1
    switch.unlink()

    def is_told() -> bool:
        with Viewer(member, deployment_id) as viewer:
            return viewer.status == 200 and next(viewer.frames())["type"] == "status"

    wait_until(is_told, "a viewer who is told something")
    assert "stumbled" not in daemon.log
    assert daemon.end() == 0


@of_sqlite
def test_viewers_are_told_of_changes_where_no_file_can_be_watched(make_daemon, repository):
    daemon = make_daemon("web").start(altered(NO_WATCHES))
    make_user(daemon)
    deployment_id = queued(daemon, repository)

    with Viewer(logged_in(daemon), deployment_id) as viewer:
        assert viewer.until("status")["deployment"]["status"] == "queued"
        Operator(daemon.installation).cancel(deployment_id)
        assert viewer.until("status")["deployment"]["status"] == "cancelled"

    assert daemon.log.count("fs.inotify.max_user_instances") == 1


def test_without_threads_the_health_is_red_and_heals(make_daemon, tmp_path):
    switch = tmp_path / "scarce"
    switch.touch()
    daemon = make_daemon("web").start(altered(no_threads(switch)))

    for _ in range(3):
        answer = Browser(daemon).get("/health")
        assert answer.status == 503
        assert {one["message"].partition(":")[0] for one in answer.json["checks"]} == {"It could not be looked at"}
    switch.unlink()

    def unwell() -> list[str]:
        return [one["name"] for one in Browser(daemon).get("/health").json["checks"] if not one["ok"]]

    # There is no runner beside it.
    wait_until(lambda: unwell() == ["runner"], "the health of the rest")


def test_with_few_files_viewers_leave_room_for_webhooks(make_daemon, repository):
    daemon = make_daemon("web").start(altered(FEW_FILES))
    make_user(daemon)
    member = logged_in(daemon)
    forge = Forge(daemon, Operator(daemon.installation).make_project(repository.url))
    deployment_id = queued(daemon, repository)

    with contextlib.ExitStack() as open_ones:
        viewers = [open_ones.enter_context(Viewer(member, deployment_id))]
        while viewers[-1].status == 200:
            viewers.append(open_ones.enter_context(Viewer(member, deployment_id)))
        assert viewers[-1].status == 503
        assert len(viewers) == 61
        assert forge.push().text == "Deployment triggered"

    assert "leaves room for 120 connections, of them 60 live pages" in daemon.log


class _Worker:
    """What a lane asks of a worker."""

    alive = True

    def lane_is_done(self, conn, *, goes_on: bool) -> None:
        assert not goes_on
        conn.sock.close()


class _Connection:
    def __init__(self) -> None:
        self.sock, self.other_end = socket.socketpair()
        self.other_end.settimeout(10)


@pytest.mark.parametrize("number", [3, 12])
def test_of_too_many_ended_connections_the_oldest_are_not_waited_for(number, monkeypatch):
    monkeypatch.setattr("deployer.closing_lane.LINGER_S", 3600)
    lane = ClosingLane(_Worker(), most=3)
    connections = [_Connection() for _ in range(number)]

    for one in connections:
        lane.add(one)
    for one in connections:
        assert one.other_end.recv(1) == b""

    wait_until(lambda: [one.sock.fileno() for one in connections[:-3]] == [-1] * (number - 3), "their end")
    assert all(one.sock.fileno() >= 0 for one in connections[-3:])
    for one in connections:
        one.other_end.close()
    wait_until(lambda: all(one.sock.fileno() < 0 for one in connections), "the end of the others")
