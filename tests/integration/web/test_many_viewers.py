"""The lane of streams: many viewers, slow ones, ones who leave, and ones who may look no more."""

from __future__ import annotations

import threading
import time

import pytest
import sqlalchemy as sa

from deployer import accounts, projects, sessions
from deployer.api.feeds import LogFeed, LogPlace
from deployer.models.user import LoginSession
from deployer.security import tokens
from tests.support.events import Viewer, frames_of, slow_viewer
from tests.support.operator import Operator
from tests.support.standing import MEMBER, logged_in, make_user
from tests.support.waiting import wait_until

FLOOD_LINES = 60_000


def texts(frames) -> str:
    return "".join(frame["text"] for frame in frames if frame["type"] == "log" and frame["kind"] == "output")


def steps_text(frames, operator, deployment_id: str) -> str:
    """What the project's own step printed, as these frames tell it."""
    ids = {step.id for step in operator.steps(deployment_id)}
    return texts(frame for frame in frames if frame["type"] == "log" and frame["command"] in ids)


def threads_of(pid: int) -> int:
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Threads:"))


def flood(gate) -> str:
    return f"{gate.step}; seq 1 {FLOOD_LINES}"


FLOODED = "started\nended\n" + "".join(f"{n}\n" for n in range(1, FLOOD_LINES + 1))


def test_two_hundred_viewers_get_every_line_and_cost_no_threads(daemon, member, operator, make_project, gate):
    deployment_id = operator.deploy(make_project(f"{gate.step}; for n in 1 2 3 4 5; do echo $n; sleep 0.05; done"))
    operator.wait_for_output(deployment_id, b"started")
    before = threads_of(daemon.process.pid)
    viewers = [Viewer(member, deployment_id) for _ in range(200)]
    assert [viewer.status for viewer in viewers] == [200] * 200
    assert threads_of(daemon.process.pid) - before <= daemon.config.server.threads

    gate.open()
    seen = []
    for viewer in viewers:
        with viewer:
            frames = list(viewer.frames())
            assert frames[-1]["type"] == "done"
            seen.append(steps_text(frames, operator, deployment_id))

    assert set(seen) == {"started\nended\n1\n2\n3\n4\n5\n"}


def test_who_takes_nothing_during_a_flood_loses_nothing_and_holds_nobody_up(member, operator, make_project, gate):
    deployment_id = operator.deploy(make_project(flood(gate)))
    operator.wait_for_output(deployment_id, b"started")
    slow = [slow_viewer(member, deployment_id) for _ in range(3)]
    gate.open()

    with Viewer(member, deployment_id) as quick:
        told = steps_text(list(quick.frames()), operator, deployment_id)
    assert told == FLOODED

    for sock in slow:
        frames = frames_of(sock)
        sock.close()
        assert steps_text(frames, operator, deployment_id) == FLOODED
        assert frames[-1] == {"type": "done", "seq": frames[-1]["seq"], "status": "success"}


def test_a_flood_is_watched_whole_while_it_is_printed_and_resumed_in_its_midst(member, operator, make_project, gate):
    deployment_id = operator.deploy(make_project(flood(gate)))
    seen = []

    def watch() -> None:
        with Viewer(member, deployment_id) as viewer:
            seen.append(list(viewer.frames()))

    watchers = [threading.Thread(target=watch) for _ in range(10)]
    for one in watchers:
        one.start()
    gate.open()
    for one in watchers:
        one.join()

    assert [steps_text(frames, operator, deployment_id) for frames in seen] == [FLOODED] * 10
    ids = [frame["id"] for frame in seen[0] if frame["type"] == "log"]
    assert ids == sorted(set(ids))
    middle = ids[len(ids) // 2]
    with Viewer(member, deployment_id, last_event_id=middle) as viewer:
        rest = texts(viewer.frames())
    assert texts(frame for frame in seen[0] if frame.get("id", 0) > middle) == rest


def test_one_line_without_an_end_reaches_everybody(member, operator, make_project):
    deployment_id = operator.deploy(make_project("head -c 700000 /dev/zero | tr '\\0' x"))
    with Viewer(member, deployment_id) as viewer:
        assert steps_text(list(viewer.frames()), operator, deployment_id) == "x" * 700_000


def test_who_watches_another_deployment_hears_nothing_of_this_one(member, operator, make_project, running, gate):
    other = operator.deploy(make_project("echo other"))
    with Viewer(member, other) as viewer:
        assert viewer.until("status")["deployment"]["id"] == other
        gate.open()
        frames = list(viewer.frames())

    assert {frame["deployment"]["id"] for frame in frames if frame["type"] == "status"} == {other}
    known = {command.id for command in operator.commands(other)}
    assert {frame["command"] for frame in frames if frame["type"] == "log"} <= known
    assert steps_text(frames, operator, other) == "other\n"


def test_a_member_may_watch(plain_member, running, gate):
    with Viewer(plain_member, running) as viewer:
        viewer.until_text("started")


def test_a_second_request_behind_a_stream_is_not_answered_and_does_no_harm(member, running, gate):
    sock = slow_viewer(member, running)
    sock.sendall(b"GET /login HTTP/1.1\r\nHost: deployer\r\n\r\n" * 50)
    gate.open()

    frames = frames_of(sock)
    sock.close()

    assert frames[-1]["type"] == "done"


@pytest.mark.parametrize("how", ["logged out", "expired"])
def test_streams_end_with_the_login(daemon, running, how):
    person = logged_in(daemon, MEMBER)
    with Viewer(person, running) as viewer:
        viewer.until_text("started")
        if how == "logged out":
            person.post("/logout")
        else:
            with daemon.installation.database.write() as connection:
                newest = sa.select(sa.func.max(LoginSession.created_at)).scalar_subquery()
                hashed = connection.scalar(
                    sa.update(LoginSession)
                    .where(LoginSession.created_at == newest)
                    .values(expires_at=LoginSession.created_at)
                    .returning(LoginSession.token_hash)
                )
            assert hashed

        since = time.monotonic()
        frames = list(viewer.frames())

        # A second, or a little more.
        assert time.monotonic() - since < 10
        assert "done" not in [frame["type"] for frame in frames]


def test_streams_of_a_project_that_is_deleted_end(daemon, member, operator, make_project, running):
    project = make_project("true")
    waiting = operator.deploy(project)
    with Viewer(member, waiting) as viewer:
        viewer.until("status")
        with daemon.installation.database.write_session() as session:
            session.delete(projects.find(session, project.id))

        assert "done" not in [frame["type"] for frame in viewer.frames()]


def test_sessions_that_are_open_are_told_from_those_that_are_not(daemon):
    with daemon.installation.database.write_session() as session:
        user = accounts.find(session, MEMBER)
        known = tokens.digest(sessions.begin(session, user, days=1, address="", agent=""))
        old = tokens.digest(sessions.begin(session, user, days=-1, address="", agent=""))
        session.flush()
        assert sessions.still_open(session.connection(), [known, old, tokens.digest("none")]) == {known}


def test_who_takes_nothing_for_long_gives_the_place_to_others(make_daemon, repository, gate):
    daemon = make_daemon(server_max_streams=1).start()
    make_user(daemon)
    member = logged_in(daemon)
    operator = Operator(daemon.installation)
    deployment_id = operator.deploy(operator.make_project(repository.url, [f"seq 1 400000; {gate.step}"]))
    operator.wait_for_output(deployment_id, b"started")
    stuck = slow_viewer(member, deployment_id)

    def is_let_in() -> bool:
        with Viewer(member, deployment_id) as viewer:
            return viewer.status == 200

    wait_until(lambda: not is_let_in(), "the stuck viewer's place to be taken")
    # The limit of silence is 20 s.
    wait_until(is_let_in, "its place", within_s=60)
    stuck.close()


def test_what_is_read_for_one_place_is_a_portion_however_much_there_is(installation, operator, make_project):
    deployment_id = operator.deploy(make_project(f"seq 1 {FLOOD_LINES}"))
    operator.wait_for_end(deployment_id)
    feed = LogFeed(installation.database, deployment_id)
    feed.look()
    place, portions, is_last = LogPlace(0), [], False
    while not is_last:
        portion = feed.portion(place)
        assert portion.place.after > place.after or portion.is_last
        place, is_last = portion.place, portion.is_last
        portions.append(portion.data)

    assert len(portions) > 4
    assert max(map(len, portions)) < 256 * 1024
