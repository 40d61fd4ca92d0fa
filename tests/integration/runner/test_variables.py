"""Variables of both scopes as a deployment gives them: in the environment, and in a file."""

from __future__ import annotations

import json
from pathlib import Path

from deployer import projects, variables
from tests.support.waiting import wait_until


def written(operator, deployment_id):
    return next(one for one in operator.commands(deployment_id) if one.kind == "variables")


def test_the_steps_of_every_project_get_those_of_all_projects_unless_they_have_their_own(
    operator, make_project, runner
):
    one, other = (make_project("echo $REGION $TIER", name=name) for name in ("one", "other"))
    operator.set_variable(None, "REGION", "everywhere")
    operator.set_variable(None, "TIER", "basic")
    operator.set_variable(one, "TIER", "special")

    outputs = [operator.step_output(operator.wait_for_end(operator.deploy(each)).id) for each in (one, other)]

    assert outputs == [b"everywhere special\n", b"everywhere basic\n"]


def test_a_secret_of_all_projects_is_hidden_in_each_ones_log_and_cause_even_where_it_is_overridden(
    operator, installation, make_project, runner
):
    project = make_project("echo hunter2hunter2 $TOKEN; exit 7 # hunter2hunter2")
    operator.set_variable(None, "TOKEN", "hunter2hunter2", secret=True)
    operator.set_variable(project, "TOKEN", "another")

    deployment = operator.wait_for_end(operator.deploy(project))

    assert operator.step_output(deployment.id) == b"*** another\n"
    assert deployment.cause == "step 'echo *** $TOKEN; exit 7 # ***' exited with 7"


def test_a_file_holds_what_is_in_force_and_at_the_next_deployment_what_is_then(operator, make_project, runner):
    project = make_project("cat conf/env.json; git status --porcelain")
    operator.set_variable(None, "REGION", "everywhere")
    operator.set_variable(project, "TOKEN", "hunter2hunter2", secret=True)
    operator.write_variables_into(project, "conf/env.json", "json")

    first = operator.wait_for_end(operator.deploy(project))
    file = Path(project.path, "conf/env.json")
    assert json.loads(file.read_text()) == {"REGION": "everywhere", "TOKEN": "hunter2hunter2"}
    assert b'"TOKEN": "***"' in operator.step_output(first.id)
    said = operator.output(written(operator, first.id)).decode()
    assert said == "conf/env.json holds 2 variables as json, readable by this user alone.\n"

    with operator.database.write_session() as session:
        found = projects.find(session, project.id)
        variables.remove(session, found, variables.find_by_name(session, found, "TOKEN"))
    operator.wait_for_end(operator.deploy(project))
    assert json.loads(file.read_text()) == {"REGION": "everywhere"}


def test_a_file_of_the_repository_ends_the_deployment_before_its_first_step(
    operator, repository, make_project, runner
):
    project = make_project("echo never")
    operator.set_variable(project, "A", "b")
    operator.write_variables_into(project, "README.md")

    deployment = operator.wait_for_end(operator.deploy(project))

    assert deployment.cause == "'write the variables into README.md' exited with 1"
    assert "it is a file of the repository" in operator.log(deployment.id)
    assert [step.status for step in operator.steps(deployment.id)] == ["skipped"]
    assert Path(project.path, "README.md").read_text() == "hello\n"
    # The commit was brought before.
    assert deployment.deployed_sha == repository.tip()


def test_a_value_that_the_format_cannot_hold_ends_it_with_the_mend(operator, make_project, runner):
    project = make_project("echo never")
    operator.write_variables_into(project, ".env")
    operator.set_variable(None, "HARD", "squeamish'\"")

    deployment = operator.wait_for_end(operator.deploy(project))

    assert deployment.status == "failed"
    assert deployment.cause.startswith("HARD cannot be written into a dotenv file")
    assert "Write the file as JSON, or change the value" in deployment.cause
    assert "squeamish" not in operator.log(deployment.id)


def test_the_file_is_there_for_a_project_that_pulls_by_itself(operator, repository, make_project, runner):
    project = make_project("git pull --quiet origin main", "cat .env")
    operator.set_variable(project, "A", "b")
    operator.write_variables_into(project, ".env")
    operator.wait_for_end(operator.deploy(project))
    repository.commit("second", README_md="changed\n")

    deployment = operator.wait_for_end(operator.deploy(project))

    assert operator.step_output(deployment.id, 1).endswith(b"\nA='b'\n")
    assert deployment.deployed_sha == repository.tip()


def test_no_value_is_ever_in_an_argument(operator, make_project, runner, tmp_path):
    """Looked for in every process while the steps run: what is written, and what they get."""
    gate = tmp_path / "open"
    project = make_project(f"while [ ! -e {gate} ]; do sleep 0.05; done")
    operator.set_variable(project, "TOKEN", "squeamish-ossifrage", secret=True)
    operator.write_variables_into(project, ".env")
    deployment_id = operator.deploy(project)
    seen: list[bytes] = []

    def look() -> bool:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.append(path.read_bytes())
            except OSError:
                continue
        return bool(operator.steps(deployment_id)) and operator.steps(deployment_id)[0].status == "running"

    wait_until(look, "the step")
    look()
    gate.touch()
    assert operator.wait_for_end(deployment_id).status == "success"
    assert not any(b"squeamish" in one for one in seen)
