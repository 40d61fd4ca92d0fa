"""``project create``, ``list``, ``edit`` and ``delete``"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deployer import project_secrets, projects

URL = "https://github.com/grace/app.git"
pytestmark = pytest.mark.usefixtures("operator")


def stored(operator, name: str):
    with operator.database.write_session() as session:
        project = projects.find(session, name)
        _ = project.steps, project.variables
        return project


def test_a_project_is_made_with_its_steps_in_their_order(shell, operator):
    done = shell("project", "create", "app", "--repo", URL, "--step", "git pull origin main", "--step", "npm install")

    project = stored(operator, "app")
    assert [step.command for step in project.steps] == ["git pull origin main", "npm install"]
    assert (project.repository_url, project.branch, project.auto_deploy, project.shell) == (URL, "main", True, "sh")
    secret = project_secrets.open_secrets(project, operator.installation.vault).webhook_secret.decode()
    assert f"Payload URL   http://127.0.0.1:{shell.environment['DEPLOYER_SERVER_BIND'][10:]}/webhook/" in done.stdout
    assert f"Secret        {secret}\n" in done.stdout


def test_json_has_id_address_and_secret_and_nothing_else(shell, operator):
    done = shell(
        *("project", "create", "app", "--repo", URL, "--step", "true", "--json"),
        DEPLOYER_SERVER_PUBLIC_URL="https://deploy.example.com/",
    )

    answer = json.loads(done.stdout)
    assert list(answer) == ["id", "webhook_url", "webhook_secret"]
    project = stored(operator, "app")
    assert answer["id"] == project.id
    assert answer["webhook_url"] == f"https://deploy.example.com/webhook/{project.id}"
    assert (
        answer["webhook_secret"]
        == project_secrets.open_secrets(project, operator.installation.vault).webhook_secret.decode()
    )


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("a b", [], "name: Use letters, digits"),
        ("app", ["--branch", "a..b"], "branch: "),
        ("app", ["--repo", "ext::sh -c id"], "repository_url: "),
        ("app", ["--repo", "-x"], "repository_url: An address cannot begin with a dash."),
        ("app", ["--step", " "], "steps: Step 1: give a command."),
        ("app", ["--step", b"\xff".decode(errors="surrogateescape")], "steps: Step 1: "),
        ("app", ["--path", "relative"], "path: Give an absolute path"),
        ("app", ["--path", b"/\xff".decode(errors="surrogateescape")], "path: "),
    ],
)
def test_input_that_cannot_be_used_is_told_in_one_line(shell, name, options, words):
    done = shell("project", "create", name, "--repo", URL, *options, code=1)

    assert done.stderr.startswith(f"Error: {words}")
    assert done.stderr.count("\n") == 1


def test_a_local_path_needs_the_setting(shell, repository):
    done = shell("project", "create", "app", "--repo", repository.url, DEPLOYER_GIT_ALLOW_FILE="no", code=1)

    assert "git.allow_file" in done.stderr


def test_the_list_says_what_to_do_while_it_is_empty(shell):
    assert shell("project", "list").stdout.startswith("There is no project yet. Make one: ")
    assert json.loads(shell("project", "list", "--json").stdout) == []


def test_the_list_shows_each_project_with_its_last_deployment(shell, operator, make_project):
    make_project(name="api")
    deployment_id = operator.deploy(make_project(name="web"))
    operator.cancel(deployment_id)

    lines = [line.split() for line in shell("project", "list").stdout.splitlines()]
    first, second = json.loads(shell("project", "list", "--json").stdout)

    assert lines[0] == ["NAME", "BRANCH", "LAST", "STATUS", "REPOSITORY"]
    assert [lines[1][0], lines[2][:4]] == ["api", ["web", "main", "DEP-0001", "cancelled"]]
    assert first.keys() == {"id", "name", "repository", "branch", "auto_deploy", "last_deployment"}
    assert (first["name"], first["last_deployment"]) == ("api", None)
    assert second["last_deployment"] == {"id": deployment_id, "ref": "DEP-0001", "status": "cancelled"}


def test_an_edit_changes_what_is_given_and_keeps_the_rest(shell, operator, make_project):
    before = make_project("one", "two", name="app")

    shell("project", "edit", "app", "--branch", "next", "--no-auto-deploy")
    changed = stored(operator, "app")
    assert (changed.branch, changed.auto_deploy, changed.repository_url) == ("next", False, before.repository_url)
    assert [step.command for step in changed.steps] == ["one", "two"]

    done = shell("project", "edit", "app", "--name", "web", "--step", "three", "--auto-deploy")
    assert done.stdout == "web is changed.\n"
    changed = stored(operator, "web")
    assert (changed.id, changed.auto_deploy, [step.command for step in changed.steps]) == (before.id, True, ["three"])


def test_what_is_not_there_is_told(shell):
    assert shell("project", "edit", "app", code=1).stderr == "Error: Project not found\n"
    assert shell("deploy", "app", code=1).stderr == "Error: Project not found\n"
    assert shell("cancel", "DEP-0001", code=1).stderr == "Error: Deployment not found\n"


def test_a_project_is_deleted_after_a_yes(shell, operator, make_project):
    project = make_project(name="app")
    Path(project.path).mkdir()

    assert shell("project", "delete", "app", given="n\n", code=1).stderr == "Aborted!\n"
    assert stored(operator, "app").id == project.id
    assert shell("project", "delete", "app", given="y\n").stdout.endswith("app is deleted.\n")

    assert shell("project", "delete", "app", "--yes", code=1).stderr == "Error: Project not found\n"
    assert not Path(project.path).exists()
