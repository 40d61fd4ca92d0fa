"""Of pushes that come while one runs, the last is deployed."""

from __future__ import annotations


def test_of_many_pushes_while_one_runs_only_the_last_is_deployed(operator, repository, make_project, runner):
    project = make_project("echo started; while [ ! -e ../go ]; do sleep 0.01; done")
    first = operator.pushed(project, repository.commit())
    operator.wait_for_output(first, b"started")

    shas = [repository.commit() for _ in range(5)]
    pushed = [operator.pushed(project, sha) for sha in shas]
    with open(f"{project.path}/../go", "w"):
        pass

    last = operator.wait_for_end(pushed[-1])
    assert (last.status, last.deployed_sha) == ("success", shas[-1])
    assert operator.status(first) == "success"
    for one in pushed[:-1]:
        assert operator.status(one) == "superseded"
        assert operator.commands(one) == []


def test_a_project_may_ask_that_a_newer_push_cancels_the_running_one(operator, repository, make_project, runner):
    project = make_project("echo started; [ -e done.txt ] || sleep 1000", cancel_running=True)
    first = operator.pushed(project, repository.commit())
    operator.wait_for_output(first, b"started")

    second = operator.pushed(project, repository.commit(done_txt=""))

    assert operator.wait_for_end(first).cause == "cancelled by a newer push"
    assert operator.wait_for_end(second).status == "success"


def test_two_projects_are_deployed_one_after_the_other_in_the_order_of_the_queue(operator, make_project, make_runner):
    steps = ("date +%s%N; sleep 0.05; date +%s%N",)
    waiting = [operator.deploy(make_project(*steps, name=f"app{number}")) for number in range(3)]
    make_runner().start()

    moments = []
    for deployment_id in waiting:
        assert operator.wait_for_end(deployment_id).status == "success"
        moments += operator.step_output(deployment_id).split()
    assert moments == sorted(moments)


def test_a_delivery_that_comes_late_does_not_displace_the_newer_commit_that_waits(
    operator, repository, make_project, runner
):
    project = make_project("echo started; while [ ! -e ../go ]; do sleep 0.01; done")
    first = operator.pushed(project, repository.commit())
    operator.wait_for_output(first, b"started")
    older, newer = repository.commit("older"), repository.commit("newer")
    repository.commit("not pushed yet")

    operator.pushed(project, newer)
    late = operator.pushed(project, older)
    with open(f"{project.path}/../go", "w"):
        pass

    ended = operator.wait_for_end(late)
    assert (ended.status, ended.deployed_sha, ended.commit_message) == ("success", newer, "newer")
