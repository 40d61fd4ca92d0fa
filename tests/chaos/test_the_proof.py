"""The proof itself: a promise that was broken is told, each in its words."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from deployer.models import Command, Delivery, Deployment, DeploymentEvent, LogChunk
from tests.chaos import proof, scene
from tests.chaos.scene import Sent
from tests.support.runner_process import RunnerProcess

pytestmark = pytest.mark.chaos


@pytest.fixture(scope="module")
def _made(tmp_path_factory):
    """A scene whose one deployment went well, and with it nothing is wrong."""
    folder = tmp_path_factory.mktemp("proof")
    with scene.here(folder) as made:
        runner = RunnerProcess(made.daemon.config, folder / "runner.log").start()
        try:
            part = made.make_part("brief", ("brief", "0"), ("quiet", "7"), ("quiet", "0"))
            pushed = made.operator.push(part.project, made.sha, guid="a-push").deployment_id
            made.asked.pushes.append(Sent("a-push", part.project.id, 200, pushed))
            assert made.operator.wait_for_end(pushed).status == "failed"
            proof.wait_until_collected(made)
        finally:
            runner.kill()
        yield made


@pytest.fixture
def made(_made):
    """Whatever a test breaks is whole again after it."""
    files = {path: path.read_bytes() for path in _made.place.iterdir()}
    with _made.operator.database.read() as connection:
        tables = {
            model: [dict(row) for row in connection.execute(sa.select(model.__table__)).mappings()]
            for model in (Deployment, DeploymentEvent, Command, LogChunk, Delivery)
        }
    assert proof.prove(_made).violations == []
    yield _made
    for path, content in files.items():
        path.write_bytes(content)
    with _made.operator.database.write() as connection:
        for model in reversed(tables):
            connection.execute(sa.delete(model.__table__))
        for model, rows in tables.items():
            if rows:
                connection.execute(sa.insert(model.__table__), rows)
    _made.asked.pushes[1:] = []
    _made.asked.by_hand.clear()


def said(made) -> str:
    return "\n".join(proof.prove(made).violations)


def change(made, statement) -> None:
    with made.operator.database.write() as connection:
        assert connection.execute(statement).rowcount


def deployment_id(made) -> str:
    return made.asked.pushes[0].deployment_id


def test_a_step_that_ran_twice_is_told(made):
    with (made.place / "begun").open("a") as file:
        file.write(f"{deployment_id(made)} 1\n")

    assert "began its steps like this: [0, 1, 1]" in said(made)


def test_a_step_that_never_ran_is_told(made):
    (made.place / "begun").write_text("")

    assert "began 0 steps, not 2" in said(made)


def test_a_byte_that_is_lost_and_one_that_is_doubled_are_told(made):
    chunks = LogChunk.__table__
    change(made, sa.update(chunks).where(chunks.c.kind == "output").values(data=b"another text"))
    assert "the log of step 0 is another one: " in said(made)

    change(made, sa.delete(chunks).where(chunks.c.kind == "output"))
    assert "the log of step 0 is another one: 0 bytes are stored" in said(made)


def test_a_gap_in_the_numbers_is_told(made):
    chunks = LogChunk.__table__
    change(made, sa.update(chunks).values(seq=chunks.c.seq + 100))

    assert "follow line 0" in said(made)


def test_a_wrong_end_is_told(made):
    change(made, sa.update(Deployment.__table__).values(status="success", deployed_sha=made.sha))
    told = said(made)
    assert "ended success (" in told
    assert "has the events ['queued', 'running', 'failed']" in told

    change(made, sa.update(Command.__table__).where(Command.position == 3).values(exit_code=8))
    assert "step 1 is failed with 8, not failed with 7" in said(made)


def test_a_push_that_was_answered_and_is_gone_is_told(made):
    made.asked.pushes.append(Sent("another", made.asked.pushes[0].project_id, 200, "no such deployment"))

    told = said(made)

    assert "push another was answered 200 and is not on record" in told
    assert "push another was answered 200, and its deployment no such deployment is gone" in told


def test_a_wish_that_is_gone_is_told(made):
    made.asked.by_hand.append("no such deployment")

    assert "no such deployment, asked for by hand, is gone" in said(made)


def test_what_still_waits_is_told(made):
    change(made, sa.update(Deployment.__table__).values(status="queued"))

    assert "ended queued" in said(made)


def test_what_was_not_collected_is_told(made):
    run = next(one for one in made.spools[0].iterdir() if one.is_dir())
    (run / "output").touch()
    try:
        assert f"{run} was not collected: ['output']" in said(made)
    finally:
        (run / "output").unlink()
