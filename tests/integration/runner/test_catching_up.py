"""A push that no delivery told of deploys all the same: found at the start, after an outage, and by polling."""

from __future__ import annotations

import getpass
import os
from datetime import timedelta

import pytest
import sqlalchemy as sa

from deployer import clock, projects
from deployer.deployments import looks
from deployer.deployments.looks import Look, Outcome, Why
from deployer.models import Project
from deployer.runner.lookout import Lookout
from tests.support import web_git
from tests.support.daemon import free_port
from tests.support.repository import git
from tests.support.ssh_server import SshServer, require_sshd
from tests.support.waiting import wait_until

TOKEN = "ghp_ThisIsATokenOfTheProject0123456789"
AT_START = "seen as the runner started; no delivery had told of it"


@pytest.fixture
def row(operator):
    """A project as it is on record now."""

    def row(project):
        wanted = sa.select(*Project.__table__.columns).where(Project.__table__.c.id == project.id)
        (found,) = operator.rows(wanted)
        return found

    return row


@pytest.fixture
def set_back(installation):
    """Have the last look at a project be so long ago."""

    def set_back(project, **ago) -> None:
        with installation.database.write() as connection:
            then = clock.now() - timedelta(**ago)
            connection.execute(sa.update(Project).where(Project.id == project.id).values(polled_at=then))

    return set_back


@pytest.fixture
def live(operator, repository, make_runner):
    """A project whose first commit was pushed, deployed, and seen; its runner is gone."""

    def live(project):
        runner = make_runner().start()
        assert operator.wait_for_end(operator.pushed(project, repository.tip())).status == "success"
        wait_until_seen(operator, project, repository.tip())
        runner.kill()
        return project

    return live


def wait_until_seen(operator, project, sha) -> None:
    seen = sa.select(Project.__table__.c.polled_sha).where(Project.__table__.c.id == project.id)
    wait_until(lambda: operator.rows(seen)[0].polled_sha == sha, f"{sha} is seen", within_s=30)


def wait_for_more(operator, count=1):
    """The deployments from the second on, once they have ended."""

    def there():
        found = operator.deployments()[1:]
        return found if len(found) >= count and all(one.finished_at for one in found) else None

    return wait_until(there, "a deployment of what was found", within_s=30)


@pytest.fixture
def web_copy(tmp_path, repository):
    """The repository as it is served over HTTP: ``update`` brings there what was committed since."""
    folder = tmp_path / "web"
    folder.mkdir()
    git("clone", "--quiet", "--mirror", repository.url, str(folder / "app.git"))
    return folder


def update(web_copy) -> None:
    git("-C", str(web_copy / "app.git"), "fetch", "--quiet", "--prune")


# At the start -------------------------------------------------------------------------------------------------------


def test_a_push_while_the_runner_was_down_is_deployed_at_its_start(
    operator, repository, make_project, make_runner, live
):
    project = live(make_project("cat VERSION.txt || true"))
    missed = repository.commit("Second: nobody told", VERSION_txt="2\n")

    runner = make_runner().start()
    (found,) = wait_for_more(operator)

    assert (found.status, found.trigger, found.deployed_sha) == ("success", "poll", missed)
    assert found.triggered_by == AT_START
    assert (found.author_name, found.commit_message) == ("Ada Lovelace", "Second: nobody told")
    assert operator.step_output(found.id) == b"2\n"
    assert f"DEP-0002 app: main is at {missed[:7]}, {AT_START}" in runner.log
    assert f"DEP-0002 app: started (poll, {AT_START}, {missed[:7]})" in runner.log
    wait_until_seen(operator, project, missed)


def test_a_project_that_was_deployed_by_hand_alone_is_caught_up_too(operator, repository, make_project, make_runner):
    runner = make_runner().start()
    operator.wait_for_end(operator.deploy(make_project("true")))
    runner.kill()
    missed = repository.commit()

    make_runner().start()

    assert [one.deployed_sha for one in wait_for_more(operator)] == [missed]


def test_a_branch_that_was_put_back_meanwhile_is_followed(operator, repository, make_project, make_runner, live):
    first = repository.tip()
    repository.commit(VERSION_txt="2\n")
    live(make_project("ls"))
    repository.git("reset", "--quiet", "--hard", first)

    make_runner().start()
    (found,) = wait_for_more(operator)

    assert (found.status, found.deployed_sha) == ("success", first)
    assert b"VERSION" not in operator.step_output(found.id)


def test_what_is_found_and_fails_is_not_tried_again_by_the_next_runner(
    operator, repository, make_project, make_runner, live, row
):
    project = live(make_project("test ! -e VERSION.txt"))
    broken = repository.commit(VERSION_txt="2\n")
    runner = make_runner().start()
    assert [one.status for one in wait_for_more(operator)] == ["failed"]
    runner.kill()
    before = row(project).polled_at

    make_runner().start()

    wait_until(lambda: row(project).polled_at > before, "another look")
    assert row(project).polled_sha == broken
    assert len(operator.deployments()) == 2


@pytest.mark.parametrize("words", ["[skip deploy]", "[DEPLOY SKIP]"])
def test_a_commit_whose_message_asks_for_it_is_not_run_and_not_found_again(
    operator, repository, make_project, make_runner, live, row, words
):
    project = live(make_project("touch ran"))
    skipped = repository.commit(f"Fix a comment {words}")
    runner = make_runner().start()
    (found,) = wait_for_more(operator)

    assert (found.status, found.commit_sha, found.deployed_sha) == ("superseded", skipped, None)
    assert found.cause == f"the commit message asks for no deployment, with {words.lower()}"
    assert [step.status for step in operator.steps(found.id)] == ["skipped"]
    runner.kill()
    before = row(project).polled_at
    make_runner().start()
    wait_until(lambda: row(project).polled_at > before, "another look")
    assert len(operator.deployments()) == 2


def test_without_auto_deploy_nothing_is_looked_at(operator, repository, make_project, make_runner, live, row):
    project = operator.change(live(make_project("true")), auto_deploy=False)
    other = make_project("true", name="other")
    operator.push(other, repository.tip())
    repository.commit()
    before = row(project).polled_at

    make_runner().start()

    wait_until(lambda: row(other).polled_at, "a look at the other project")
    assert row(project).polled_at == before
    assert {one.project_id for one in operator.deployments()[1:]} == {other.id}


def test_a_project_that_never_deployed_is_not_deployed_for_the_first_time(
    operator, repository, make_project, make_runner, row
):
    unknown, polled = make_project("true", name="unknown"), make_project("true", name="polled")
    with operator.database.write_session() as session:
        projects.find(session, polled.id).poll_minutes = 5

    make_runner().start()

    wait_until_seen(operator, polled, repository.tip())
    assert row(unknown).polled_at is None
    assert operator.deployments() == []


def test_a_branch_that_is_gone_is_told_and_nothing_deployed(
    operator, repository, make_project, make_runner, live, row
):
    project = live(make_project("true"))
    repository.git("branch", "--move", "main", "trunk")

    runner = make_runner().start()

    wait_until(lambda: row(project).poll_error, "an error")
    assert row(project).poll_error == "The repository has no branch main. Push that branch, or choose another one."
    assert "app: the repository cannot be looked at, and is tried again: The repository has no branch" in runner.log
    assert len(operator.deployments()) == 1
    assert runner.is_running


def test_a_branch_whose_name_merely_ends_alike_is_another_one(
    operator, repository, make_project, make_runner, live, row
):
    project = live(make_project("true"))
    repository.git("checkout", "--quiet", "-b", "x/refs/heads/main")
    repository.commit()
    before = row(project).polled_at

    make_runner().start()

    wait_until(lambda: row(project).polled_at > before, "another look")
    assert row(project).polled_sha == repository.tip("main")


# By SSH and HTTPS ---------------------------------------------------------------------------------------------------


def test_a_deploy_key_is_used_for_a_look(
    operator, repository, make_project, make_runner, tmp_path, config, live, monkeypatch
):
    require_sshd()
    ssh = SshServer(tmp_path / "sshd")
    pinned = tmp_path / "pinned"
    pinned.write_text(ssh.known_hosts)
    object.__setattr__(config.git, "known_hosts", str(pinned))
    with ssh.running():
        project = make_project("true", url=f"ssh://{getpass.getuser()}@127.0.0.1:{ssh.port}{repository.path}")
        ssh.authorize(operator.make_deploy_key(project))
        live(project)
        missed = repository.commit()

        make_runner().start()
        (found,) = wait_for_more(operator)

    assert (found.status, found.deployed_sha) == ("success", missed)


def test_a_token_that_is_refused_is_told_without_it(
    operator, repository, make_project, make_runner, web_copy, live, row
):
    port = free_port()
    with web_git.serve(web_copy, TOKEN, port=port) as server:
        project = make_project("true", url=server.url("app.git"))
        operator.set_https_token(project, TOKEN)
        live(project)
    with web_git.serve(web_copy, "another password", port=port) as server:
        runner = make_runner().start()
        wait_until(lambda: row(project).poll_error, "an error")

    assert "Authentication failed" in row(project).poll_error
    assert "Give a token that may read this repository" in row(project).poll_error
    assert f"{web_git.USER}:{TOKEN}" in server.asked
    for told in (row(project).poll_error, runner.log):
        assert TOKEN not in told


# When the network was away ------------------------------------------------------------------------------------------


def test_an_outage_is_told_once_and_what_was_pushed_meanwhile_is_deployed_after_it(
    operator, repository, make_project, make_runner, web_copy, live, row
):
    port = free_port()
    with web_git.serve(web_copy, port=port) as server:
        project = live(make_project("true", url=server.url("app.git")))
    runner = make_runner().start()
    wait_until(lambda: row(project).poll_error, "an error")
    missed = repository.commit()
    update(web_copy)

    with web_git.serve(web_copy, port=port):
        (found,) = wait_for_more(operator)

    assert (found.status, found.deployed_sha, found.triggered_by) == ("success", missed, AT_START)
    assert runner.log.count("the repository cannot be looked at") == 1
    wait_until(lambda: "app: the repository can be looked at again" in runner.log, "the end of the outage")
    assert row(project).poll_error is None


def test_when_the_network_is_back_every_project_is_compared(
    operator, repository, make_project, make_runner, web_copy, live, set_back
):
    """One is polled and shows the outage; the other one's repository was reachable again before anybody looked."""
    port = free_port()
    with web_git.serve(web_copy, port=port) as server:
        polled = live(make_project("true", name="polled", url=server.url("app.git")))
        with operator.database.write_session() as session:
            projects.find(session, polled.id).poll_minutes = 60
        other = make_project("true", name="other")
        runner = make_runner().start()
        operator.wait_for_end(operator.pushed(other, repository.tip()))
        for one in (polled, other):
            wait_until_seen(operator, one, repository.tip())
        count = len(operator.deployments())
    set_back(polled, hours=2)
    wait_until(lambda: "polled: the repository cannot be looked at" in runner.log, "the outage is noticed")
    missed = repository.commit()
    update(web_copy)

    with web_git.serve(web_copy, port=port):
        found = wait_for_more(operator, count + 1)[-2:]

    assert {(one.project_id, one.deployed_sha) for one in found} == {(polled.id, missed), (other.id, missed)}
    why = {one.project_id: one.triggered_by for one in found}
    assert why[other.id] == "seen as the network was back; no delivery had told of it"


# On a schedule ------------------------------------------------------------------------------------------------------


def test_polling_finds_a_push_without_any_webhook(operator, repository, make_project, make_runner, live, set_back):
    project = live(make_project("true"))
    runner = make_runner().start().wait_until_ready()
    with operator.database.write_session() as session:
        projects.find(session, project.id).poll_minutes = 5
    missed = repository.commit()
    set_back(project, minutes=6)

    (found,) = wait_for_more(operator)

    assert (found.status, found.deployed_sha) == ("success", missed)
    assert found.triggered_by in ("seen by looking every 5 minutes", AT_START)
    assert runner.is_running


def test_a_delivery_that_comes_after_the_look_does_not_deploy_again(
    operator, repository, make_project, make_runner, live
):
    project = live(make_project("true"))
    missed = repository.commit()
    make_runner().start()
    (found,) = wait_for_more(operator)

    answer = operator.push(project, missed)

    assert answer.deployment_id == found.id
    assert [one.deployed_sha for one in operator.deployments()].count(missed) == 1


def test_a_delivery_and_a_look_at_the_same_moment_deploy_once(operator, repository, make_project, make_runner, live):
    project = live(make_project("sleep 0.3"))
    for _ in range(5):
        missed = repository.commit()
        runner = make_runner().start().wait_until_ready()
        operator.push(project, missed)
        wait_until_seen(operator, project, missed)
        wait_until(lambda: all(one.finished_at for one in operator.deployments()), "the end of all of them")
        runner.kill()
        ran = [one for one in operator.deployments() if one.commit_sha == missed and one.started_at]
        assert [one.status for one in ran] == ["success"], ran


# Without a runner's process: clocks ---------------------------------------------------------------------------------


@pytest.fixture
def lookout(installation):
    return Lookout(installation)


def finished(lookout) -> None:
    wait_until(lambda: all(look.done() for _, _, look in lookout._under_way.values()), "the end of the looks")


def take_one_look(lookout) -> None:
    """At every project, as at a start, and take in what was found."""
    lookout.turn()
    finished(lookout)
    lookout.turn()


def test_a_clock_that_ran_on_while_the_process_stood_still_has_everything_compared(
    operator, repository, make_project, live, lookout, monkeypatch
):
    live(make_project("true"))
    take_one_look(lookout)
    missed = repository.commit()
    lookout.turn()
    assert not lookout._under_way

    apart = lookout._clocks_apart
    monkeypatch.setattr("deployer.runner.lookout._clocks_apart", lambda: apart + 3600)
    lookout.turn()
    finished(lookout)

    (found,) = operator.deployments()[1:]
    assert (found.commit_sha, found.triggered_by) == (
        missed,
        "seen as the host was awake again; no delivery had told of it",
    )


@pytest.mark.parametrize(("ago", "is_due"), [(timedelta(hours=5), False), (timedelta(hours=7), True)])
def test_each_project_is_compared_every_few_hours(
    operator, repository, make_project, live, lookout, set_back, ago, is_due
):
    """The other project was looked at just now, so that only the interval counts."""
    project = live(make_project("true"))
    other = make_project("true", name="other")
    operator.push(other, repository.tip())
    take_one_look(lookout)
    set_back(project, seconds=ago.total_seconds())

    lookout.turn()

    assert (project.id in lookout._under_way) is is_due
    finished(lookout)


@pytest.mark.parametrize(("ago", "is_due"), [(timedelta(minutes=9), False), (timedelta(minutes=11), True)])
def test_where_nothing_was_looked_at_for_a_while_one_project_shows_whether_the_network_is_there(
    make_project, live, lookout, set_back, ago, is_due
):
    project = live(make_project("true"))
    take_one_look(lookout)
    set_back(project, seconds=ago.total_seconds())

    lookout.turn()

    assert (project.id in lookout._under_way) is is_due
    finished(lookout)


def test_many_projects_are_not_polled_at_the_same_moment(installation, operator, make_project, lookout):
    now = clock.now()
    for number in range(20):
        project = make_project("true", name=f"app{number}")
        with installation.database.write_session() as session:
            made = projects.find(session, project.id)
            made.poll_minutes, made.polled_at, made.polled_sha = 10, now, "a" * 40
    with installation.database.read() as connection:
        followed = looks.followed(connection)

    waits = sorted(lookout._next(one)[1] for one in followed)

    assert 590 < waits[0] < waits[-1] <= 660
    assert waits[-1] - waits[0] > 20


def test_a_look_of_the_future_does_not_stop_the_next(operator, repository, make_project, live, lookout, set_back):
    """The clock was put back an hour."""
    project = live(make_project("true"))
    take_one_look(lookout)
    set_back(project, hours=-1)

    lookout.turn()

    assert project.id in lookout._under_way
    finished(lookout)


def test_no_look_leaves_anything_behind(installation, make_project, live, lookout):
    live(make_project("true"))
    lookout.turn()
    finished(lookout)

    assert os.listdir(installation.data_dir.scratch) == []


def test_a_tip_that_asks_for_no_deployment_leaves_its_place_to_the_push_that_it_took_it_from(
    operator, repository, make_project, runner
):
    project = make_project("echo started; while [ ! -e ../go ]; do sleep 0.01; done")
    first = operator.pushed(project, repository.commit())
    operator.wait_for_output(first, b"started")
    wanted = repository.commit("wanted")
    pushed = operator.pushed(project, wanted)
    tip = repository.commit("docs [skip deploy]")
    with operator.database.write() as connection:
        (followed,) = looks.followed(connection)
        assert looks.record(connection, Look(followed, clock.now(), tip, Why.POLL), 10).outcome is Outcome.NEWS
    assert operator.status(pushed) == "superseded"

    with open(f"{project.path}/../go", "w"):
        pass

    found = operator.deployments()[-1]
    ended = operator.wait_for_end(found.id)
    assert (ended.status, ended.deployed_sha, ended.commit_message) == ("success", wanted, "wanted")


def test_a_tip_that_asks_for_no_deployment_is_on_record_where_what_it_displaced_is_live_already(
    operator, repository, make_project, runner
):
    project = make_project("echo started; while [ ! -e ../go ]; do sleep 0.01; done")
    older, newer = repository.commit("older"), repository.commit("newer")
    first = operator.pushed(project, newer)
    operator.wait_for_output(first, b"started")
    late = operator.pushed(project, older)
    tip = repository.commit("docs [skip deploy]")
    with operator.database.write() as connection:
        (followed,) = looks.followed(connection)
        assert looks.record(connection, Look(followed, clock.now(), tip, Why.POLL), 10).outcome is Outcome.NEWS
    assert operator.status(late) == "superseded"

    with open(f"{project.path}/../go", "w"):
        pass

    ended = operator.wait_for_end(operator.deployments()[-1].id)
    assert (ended.status, ended.commit_sha, ended.commit_message) == ("superseded", tip, "docs [skip deploy]")
    assert ended.cause == "the commit message asks for no deployment, with [skip deploy]"
