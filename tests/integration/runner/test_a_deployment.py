"""A deployment from its beginning to its end."""

from __future__ import annotations


def test_a_deployment_runs_its_steps_in_order_and_ends_in_success(operator, repository, make_project, runner):
    project = make_project("echo one", "echo two; cat README.md")

    deployment = operator.wait_for_end(operator.deploy(project))

    assert (deployment.status, deployment.cause) == ("success", None)
    assert [(c.kind, c.status, c.exit_code) for c in operator.commands(deployment.id)] == [
        ("fetch", "success", 0),
        ("checkout", "success", 0),
        ("step", "success", 0),
        ("step", "success", 0),
    ]
    assert operator.step_output(deployment.id, 0) == b"one\n"
    assert operator.step_output(deployment.id, 1) == b"two\nhello\n"
    assert deployment.deployed_sha == repository.tip()
    assert operator.events(deployment.id) == ["queued", "running", "success"]


def test_a_failing_step_ends_the_deployment_with_its_name_and_code_and_skips_the_rest(operator, make_project, runner):
    project = make_project("true", "echo before; exit 3", "echo never")

    deployment = operator.wait_for_end(operator.deploy(project))

    assert (deployment.status, deployment.cause) == ("failed", "step 'echo before; exit 3' exited with 3")
    first, second, third = operator.steps(deployment.id)
    assert (first.status, second.status, third.status) == ("success", "failed", "skipped")
    assert (second.exit_code, third.exit_code) == (3, None)
    assert third.started_at is None


def test_a_step_ends_at_its_first_failing_line(operator, make_project, runner):
    deployment = operator.wait_for_end(operator.deploy(make_project("echo one\nfalse\necho two")))

    assert deployment.status == "failed"
    assert operator.step_output(deployment.id) == b"one\n"


def test_a_death_by_signal_is_named_in_the_cause(operator, make_project, runner):
    deployment = operator.wait_for_end(operator.deploy(make_project("kill -9 $$")))

    assert (deployment.status, deployment.cause) == (
        "failed",
        "step 'kill -9 $$' exited with 137 (ended by SIGKILL)",
    )


def test_log_numbers_grow_over_all_commands_by_the_lines_they_hold(operator, make_project, runner):
    project = make_project("printf 'a\\nb\\nc'", "printf 'd\\n'")

    deployment = operator.wait_for_end(operator.deploy(project))

    chunks = operator.chunks(deployment.id)
    assert [chunk.seq for chunk in chunks] == sorted({chunk.seq for chunk in chunks})
    last = 0
    for chunk in chunks:
        assert chunk.seq - chunk.lines == last
        last = chunk.seq


def test_later_edits_of_the_project_do_not_change_what_a_running_deployment_does(operator, make_project, runner):
    project = make_project("echo started; while [ ! -e go ]; do sleep 0.01; done", "echo old")
    deployment_id = operator.deploy(project)
    operator.wait_for_output(deployment_id, b"started")

    changed = operator.change(project, steps=["echo new"])
    with open(f"{changed.path}/go", "w"):
        pass

    deployment = operator.wait_for_end(deployment_id)
    assert deployment.status == "success"
    assert operator.step_output(deployment_id, 1) == b"old\n"
