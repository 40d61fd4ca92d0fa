"""A process learns at once that another has committed something; and in any case soon."""

from __future__ import annotations

import itertools
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from deployer.bell import FileBell
from tests.support.database import of_sqlite

FAR_AWAY_S = 30.0
"""Longer than any wait here may take; reached only when a change was not noticed."""


@pytest.fixture
def bell_file(tmp_path):
    path = tmp_path / "bell"
    path.touch()
    return path


def in_another_process(code: str, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        check=True,
        cwd=Path(__file__).parents[2],
    )


def count_project(path) -> None:
    """A commit that touches no bell, as of another program."""
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO settings (name, value) VALUES ('x', 'y')")
    connection.close()


def test_a_ring_in_another_process_wakes_who_waits(bell_file):
    """The probe never changes, so that only the ring can have woken it."""
    bell = FileBell(bell_file, lambda: 0)
    seen = bell.generation
    in_another_process(
        """
        import sys
        from pathlib import Path
        from deployer.bell import FileBell
        FileBell(Path(sys.argv[1]), lambda: 0).ring()
        """,
        str(bell_file),
    )

    assert bell.wait(seen, FAR_AWAY_S) > seen


def test_a_change_that_nobody_rang_for_is_caught_by_the_net(bell_file):
    numbers = itertools.chain([1, 1], itertools.repeat(2))
    bell = FileBell(bell_file, lambda: next(numbers))
    seen = bell.generation

    assert bell.wait(seen, FAR_AWAY_S) > seen


def test_nothing_rings_where_nothing_changed(bell_file):
    bell = FileBell(bell_file, lambda: 0)
    seen = bell.generation

    assert bell.wait(seen, 1.2) == seen


def test_a_ring_between_looking_and_waiting_is_not_missed(bell_file):
    bell = FileBell(bell_file, lambda: 0)
    for _ in range(50):
        seen = bell.generation
        bell.ring()
        assert bell.wait(seen, FAR_AWAY_S) > seen


def test_the_very_first_look_misses_nothing_that_is_committed_after_it(tmp_path):
    """Whoever has a generation is watched for, from that moment on."""
    for number in range(50):
        path = tmp_path / f"bell{number}"
        path.touch()
        bell = FileBell(path, lambda: 0)
        seen = bell.generation
        bell.ring()
        assert bell.wait(seen, FAR_AWAY_S) > seen


def test_everybody_who_waits_is_woken(bell_file):
    bells = [FileBell(bell_file, lambda: 0) for _ in range(3)]
    seen = [bell.generation for bell in bells]
    bells[0].ring()

    assert all(bell.wait(number, FAR_AWAY_S) > number for bell, number in zip(bells, seen, strict=True))


def test_a_listener_is_called_at_each_change(bell_file):
    called = threading.Event()
    bell = FileBell(bell_file, lambda: 0)
    bell.listen(called.set)
    bell.ring()

    assert called.wait(FAR_AWAY_S)


def test_a_listener_that_fails_leaves_the_bell_to_the_others(bell_file):
    bell = FileBell(bell_file, lambda: 0)

    def fail() -> None:
        raise OSError("a listener that went wrong")

    bell.listen(fail)
    for _ in range(2):
        seen = bell.generation
        bell.ring()
        assert bell.wait(seen, FAR_AWAY_S) > seen


def test_what_a_listener_uses_can_be_closed_once_it_is_forgotten(bell_file):
    """A file descriptor that is closed under a call could by then be another file's."""
    bell = FileBell(bell_file, lambda: 0)
    called, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def listener() -> None:
        called.set()
        may_end.wait(FAR_AWAY_S)
        ended.set()

    bell.listen(listener)
    bell.ring()
    assert called.wait(FAR_AWAY_S)
    forgetting = threading.Thread(target=lambda: (bell.forget(listener), forgotten.append(ended.is_set())))
    forgotten: list[bool] = []
    forgetting.start()
    forgetting.join(0.2)
    assert forgetting.is_alive()
    may_end.set()
    forgetting.join(FAR_AWAY_S)

    assert forgotten == [True]


def test_a_closed_bell_holds_nobody(bell_file):
    bell = FileBell(bell_file, lambda: 0)
    seen = bell.generation
    woken = threading.Event()
    thread = threading.Thread(target=lambda: (bell.wait(seen, FAR_AWAY_S), woken.set()))
    thread.start()
    bell.close()
    thread.join(FAR_AWAY_S / 2)

    assert woken.is_set()
    bell.wait(bell.generation, FAR_AWAY_S)


def test_a_bell_that_cannot_be_rung_is_no_error(tmp_path):
    FileBell(tmp_path / "nowhere" / "bell", lambda: 0).ring()


def test_a_commit_in_another_process_wakes_who_waits_for_the_database(installation, operator, config):
    seen = installation.database.bell.generation
    in_another_process(
        """
        import sys
        from deployer.config import Config, StorageSettings
        from deployer.db import Database
        from deployer.settings import put
        with Database(Config(storage=StorageSettings(*sys.argv[1:]))).write() as connection:
            put(connection, "x", "y")
        """,
        config.storage.data_dir,
        config.storage.database_url,
    )

    assert installation.database.wait_for_change(seen, FAR_AWAY_S) > seen


@of_sqlite
def test_a_commit_of_another_program_is_noticed_too(installation, config):
    seen = installation.database.bell.generation
    count_project(config.database_path)

    assert installation.database.wait_for_change(seen, FAR_AWAY_S) > seen


def test_reading_rings_nothing(installation, operator):
    seen = installation.database.bell.generation
    for _ in range(5):
        operator.deployments()

    assert installation.database.wait_for_change(seen, 1.2) == seen


@of_sqlite
def test_a_queued_deployment_is_begun_though_nobody_rang(installation, operator, make_project, make_runner):
    project = make_project("true")
    runner = make_runner().start().wait_until_ready()
    # Its watch stands once it has begun something.
    operator.wait_for_end(operator.deploy(project))
    bell_file = installation.data_dir.root / "bell"
    bell_file.unlink()

    deployment_id = operator.deploy(project)

    assert operator.wait_for_end(deployment_id).status == "success"
    assert runner.is_running
    assert not bell_file.exists()
