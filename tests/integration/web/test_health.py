"""``GET /health``, for monitors: green, red with what to do, never slow, and nothing for strangers to learn."""

from __future__ import annotations

import html
import threading
import time

import pytest

from tests.support import database
from tests.support.browser import Browser
from tests.support.database import ON_POSTGRESQL, of_sqlite
from tests.support.disk import fill, use_up_what_is_reserved
from tests.support.health import health, turns, unwell
from tests.support.operator import Operator
from tests.support.standing import MEMBER, PASSWORD, logged_in, make_user
from tests.support.waiting import wait_until

LOCKED = "another program keeps it locked"
AT_A_LOSS = "The database cannot be written. The daemon's log says why."


def tells_of_the_lock(text: str) -> bool:
    # Of a lock that PostgreSQL stopped waiting for the log alone has the words.
    return LOCKED in text or (ON_POSTGRESQL and AT_A_LOSS in text)


def test_a_daemon_that_can_work_is_well_and_says_so_to_anybody(daemon, stranger):
    answer = wait_until(lambda: (got := stranger.get("/health")).status == 200 and got, "a healthy daemon")

    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Set-Cookie"] is None
    assert answer.json == {
        "status": "ok",
        "checks": [
            {"name": "database", "ok": True, "message": "It can be written."},
            {"name": "disk", "ok": True, "message": "There is room."},
            {"name": "key", "ok": True, "message": "It is the one of the start."},
            {"name": "runner", "ok": True, "message": "It is at work."},
        ],
    }


def test_head_says_the_same_without_a_body(daemon, stranger):
    answer = stranger.request("HEAD", "/health")

    assert (answer.status, answer.body) == (200, b"")


def test_without_a_runner_it_is_red_and_says_how_to_start_it(make_daemon):
    web = make_daemon("web").start()

    assert unwell(web) == {
        "runner": "The runner is not running: deployments wait. "
        "Start it: systemctl start deployer-runner, or python app.py runner."
    }


def test_a_locked_database_turns_it_red_in_time_and_it_heals(make_daemon):
    daemon = make_daemon().start()
    turns(daemon)
    with database.locked(daemon.config):
        slowest = 0.0
        wait_until(lambda: "database" in unwell(daemon), "the database to be red")
        for _ in range(20):
            began = time.monotonic()
            found = unwell(daemon)
            slowest = max(slowest, time.monotonic() - began)
            assert list(found) == ["database"]
            assert tells_of_the_lock(found["database"]), found
            time.sleep(0.1)

    assert slowest < 3
    turns(daemon)
    assert daemon.log.count("health: the database is not well") == 1
    assert daemon.log.count("health: the database is well again") == 1


@of_sqlite
def test_a_full_disk_turns_database_and_disk_red_and_it_heals(roomy_disk, make_daemon):
    daemon = make_daemon(folder=roomy_disk, storage_min_free_bytes=1024 * 1024).start()
    turns(daemon)
    fill(roomy_disk / "filler")
    use_up_what_is_reserved(daemon.config.database_path)

    found = turns(daemon, "database", "disk")

    assert found["database"] == "The database cannot be written: its disk is full. Make room there."
    assert (
        found["disk"]
        == "The disk of the data folder is nearly full: 0 MiB are free, and 1 MiB should be. Make room there."
    )
    (roomy_disk / "filler").unlink()
    turns(daemon)


def test_little_room_is_red_before_it_hurts(make_daemon):
    daemon = make_daemon(storage_min_free_bytes=1 << 50).start()

    found = turns(daemon, "disk")

    assert found["disk"].startswith("The disk of the data folder is nearly full: ")


def test_a_disk_that_turned_read_only_is_told(failing_disk, make_daemon):
    on_it = {"disk"} if ON_POSTGRESQL else {"database", "disk"}
    daemon = make_daemon(folder=failing_disk.place, storage_min_free_bytes=0).start()
    # Opened while that is possible, for the end of the test.
    assert Operator(daemon.installation).deployments() == []
    turns(daemon)

    failing_disk.fail()

    # Where the runner happens to end there, no other can begin either.
    wait_until(lambda: on_it <= set(unwell(daemon)), "the fault to be told", within_s=30)
    found = unwell(daemon)
    assert set(found) - {"runner"} == on_it, daemon.log
    assert found["disk"].startswith("The disk of the data folder cannot be written: it is read-only.")
    assert all(found[name].startswith("The database cannot be ") for name in on_it - {"disk"})


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("gone", "The key file is missing. Restore it from a backup before the next start"),
        ("open to others", "can be read by other users, and the next start would be refused. Run chmod 600 on it."),
        (
            "another",
            "The key file holds another key than at the start. Restore it from a backup before the next start",
        ),
        ("damaged", "The key file is damaged, or cannot be read. Restore it from a backup before the next start"),
    ],
)
def test_a_key_file_that_a_next_start_could_not_use_is_told_before_it(make_daemon, fault, said):
    daemon = make_daemon().start()
    turns(daemon)
    key = daemon.config.data_dir / "key"
    content = key.read_bytes()
    if fault == "gone":
        key.unlink()
    elif fault == "open to others":
        key.chmod(0o644)
    else:
        key.write_bytes(b"A" * 43 + b"=" if fault == "another" else b"nonsense")

    found = turns(daemon, "key")

    assert said in found["key"]
    key.touch()
    key.chmod(0o600)
    key.write_bytes(content)
    turns(daemon)


def test_strangers_who_ask_all_the_time_do_not_load_the_disk(make_daemon):
    daemon = make_daemon().start()
    turns(daemon)

    def probes() -> int:
        with daemon.installation.database.read() as connection:
            return connection.exec_driver_sql("SELECT value FROM counters WHERE name = 'health.probes'").scalar()

    before, began = probes(), time.monotonic()
    threads = [threading.Thread(target=lambda: [health(daemon) for _ in range(25)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert probes() - before <= 1 + (time.monotonic() - began) / 5


def test_whoever_is_logged_in_sees_what_is_wrong_on_every_page_and_a_stranger_does_not(make_daemon):
    daemon = make_daemon().start()
    make_user(daemon)
    make_user(daemon, MEMBER, is_admin=False)
    people = [logged_in(daemon), logged_in(daemon, MEMBER)]
    turns(daemon)
    for person in people:
        assert "trouble" not in person.get("/").page.text
    key = daemon.config.data_dir / "key"
    key.rename(key.with_name("kept"))
    turns(daemon, "key")

    for person in people:
        for path in ("/", "/deployments", "/account"):
            assert "The key file is missing" in person.get(path).text
    assert "The key file is missing" not in Browser(daemon).get("/login").text
    key.with_name("kept").rename(key)
    turns(daemon)
    assert all("The key file is missing" not in person.get("/").text for person in people)


def test_pages_of_a_locked_database_are_answered_and_say_so(make_daemon):
    daemon = make_daemon().start()
    make_user(daemon)
    person = logged_in(daemon, password=PASSWORD)
    with database.locked(daemon.config):
        wait_until(lambda: "database" in unwell(daemon), "the database to be red")

        began = time.monotonic()
        answer = person.get("/")

        assert time.monotonic() - began < 3
        assert answer.status == 200
        assert tells_of_the_lock(html.unescape(answer.text))
