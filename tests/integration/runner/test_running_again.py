"""Where a project says so, what was interrupted is run again by itself."""

from __future__ import annotations

import pytest

from deployer.deployments import claims, lifecycle, reruns
from deployer.errors import LostClaim
from deployer.models.deployment import Status

EARLIER_BOOT = "00000000-0000-0000-0000-000000000000"
AGAIN = "; the deployment is run again by itself"


def interrupt_the_next(installation, cause: str = "the host was rebooted") -> str:
    """Let the queue's first begin, and its host go away under it; its id."""
    with installation.database.write() as connection:
        deployment_id = claims.claim(connection, "runner", host_id=installation.host_id)
        assert deployment_id
        lifecycle.end(connection, deployment_id, "runner", Status.INTERRUPTED, cause)
    return deployment_id


def queued(operator) -> list:
    return [one for one in operator.deployments() if one.status == "queued"]


def test_a_deployment_whose_host_was_rebooted_is_run_again_and_says_so(
    operator, repository, make_project, make_runner
):
    project = make_project(
        "echo x >> ../begun; echo started; [ $(wc -l < ../begun) = 2 ] || sleep 1000; cat VERSION.txt",
        rerun_interrupted=True,
    )
    pushed = repository.commit("Older", VERSION_txt="older\n")
    runner = make_runner().start()
    first = operator.pushed(project, pushed)
    operator.wait_for_output(first, b"started")
    runner.kill()
    repository.commit("Newer", VERSION_txt="newer\n")
    command = operator.steps(first)[0]
    pid_file = operator.installation.data_dir.spool / command.id / "pid"
    pid, started, _boot = pid_file.read_text().split()
    pid_file.write_text(f"{pid} {started} {EARLIER_BOOT}\n")
    # Else the runner's comparison with the remote could have queued the newer commit by then, which goes before.
    operator.change(project, auto_deploy=False)

    runner.start()

    interrupted = operator.wait_for_end(first)
    assert interrupted.status == "interrupted"
    assert interrupted.cause.startswith("the host was rebooted while step ")
    assert interrupted.cause.endswith(AGAIN)
    assert operator.steps(first)[0].cause == interrupted.cause.removesuffix(AGAIN)
    (retry,) = [one for one in operator.deployments() if one.retry_of == first]
    again = operator.wait_for_end(retry.id)
    assert (again.status, again.trigger, again.triggered_by) == ("success", "retry", None)
    assert again.deployed_sha == pushed
    # Its step ends only as the second that was begun.
    assert operator.step_output(again.id) == b"started\nolder\n"
    assert "started (retry by itself, " in runner.log


def test_it_is_off_unless_the_project_says_so(operator, installation, make_project):
    first = operator.deploy(make_project())

    interrupt_the_next(installation)

    assert operator.deployment(first).cause == "the host was rebooted"
    assert len(operator.deployments()) == 1


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED, Status.SUCCESS])
def test_no_other_end_is_followed_by_a_rerun(operator, installation, make_project, status):
    operator.deploy(make_project(rerun_interrupted=True))
    with installation.database.write() as connection:
        deployment_id = claims.claim(connection, "runner", host_id=installation.host_id)
        lifecycle.end(connection, deployment_id, "runner", status, "as the test wants it")

    assert len(operator.deployments()) == 1


def test_a_newer_push_that_waits_is_run_instead(operator, installation, make_project, repository):
    project = make_project(rerun_interrupted=True)
    first = operator.pushed(project, repository.tip())
    with installation.database.write() as connection:
        assert claims.claim(connection, "runner", host_id=installation.host_id) == first
    newer = operator.pushed(project, repository.commit())

    with installation.database.write() as connection:
        lifecycle.interrupt(connection, first, "runner", "the host was rebooted")

    assert [one.id for one in queued(operator)] == [newer]
    assert operator.deployment(first).cause == "the host was rebooted; not run again, since a newer deployment waits"


def test_after_three_reruns_in_a_row_a_person_decides_and_then_it_begins_anew(operator, installation, make_project):
    operator.deploy(make_project(rerun_interrupted=True))

    ids = [interrupt_the_next(installation) for _ in range(1 + reruns.MOST_IN_A_ROW)]

    assert queued(operator) == []
    causes = [operator.deployment(one).cause for one in ids]
    assert causes == [f"the host was rebooted{AGAIN}"] * 3 + [
        "the host was rebooted; not run again, since it was by itself 3 times in a row"
    ]
    assert [operator.deployment(one).retry_of for one in ids] == [None, *ids[:3]]

    with installation.database.write() as connection:
        connection.exec_driver_sql("UPDATE deployments SET commit_sha = '" + "a" * 40 + "'")
    operator.retry(ids[-1])
    interrupt_the_next(installation)
    assert len(queued(operator)) == 1


def test_what_somebody_wanted_to_end_is_not_run_again(operator, installation, make_project):
    first = operator.deploy(make_project(rerun_interrupted=True))
    with installation.database.write() as connection:
        claims.claim(connection, "runner", host_id=installation.host_id)
    operator.cancel(first)

    with installation.database.write() as connection:
        lifecycle.interrupt(connection, first, "runner", "the host was rebooted")

    assert queued(operator) == []


def test_a_runner_that_lost_its_claim_enqueues_nothing(operator, installation, make_project):
    first = operator.deploy(make_project(rerun_interrupted=True))
    with installation.database.write() as connection:
        claims.claim(connection, "runner", host_id=installation.host_id)

    with installation.database.write() as connection, pytest.raises(LostClaim):
        lifecycle.interrupt(connection, first, "another runner", "the host was rebooted")

    assert len(operator.deployments()) == 1


def test_a_project_whose_first_step_cannot_give_way_deploys_the_newest(
    operator, installation, make_project, repository
):
    project = make_project("git pull && true", rerun_interrupted=True)
    operator.pushed(project, repository.tip())

    interrupt_the_next(installation)

    (again,) = queued(operator)
    assert (again.trigger, again.commit_sha) == ("retry", None)


def test_what_a_person_asked_for_meanwhile_is_run_instead(operator, installation, make_project, repository):
    """It would be behind in the queue, and put an older commit over the newest."""
    project = make_project(rerun_interrupted=True)
    first = operator.pushed(project, repository.tip())
    with installation.database.write() as connection:
        assert claims.claim(connection, "runner", host_id=installation.host_id) == first
    newest = operator.deploy(project)

    with installation.database.write() as connection:
        lifecycle.interrupt(connection, first, "runner", "the host was rebooted")

    assert [one.id for one in queued(operator)] == [newest]


def test_a_branch_that_is_no_longer_deployed_is_not_run_again(operator, installation, make_project, repository):
    project = make_project(rerun_interrupted=True)
    first = operator.pushed(project, repository.tip())
    with installation.database.write() as connection:
        assert claims.claim(connection, "runner", host_id=installation.host_id) == first
    operator.change(project, branch="release")

    with installation.database.write() as connection:
        lifecycle.interrupt(connection, first, "runner", "the host was rebooted")

    assert queued(operator) == []
    assert operator.deployment(first).cause.endswith("the project deploys another branch by now")
