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
    secret = project_secrets.webhook_secret(project, operator.installation.vault).decode()
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
    assert answer["webhook_secret"] == project_secrets.webhook_secret(project, operator.installation.vault).decode()


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
    assert first.keys() == {"id", "name", "repository", "branch", "auto_deploy", "last_deployment", "waits_for"}
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


def test_retries_and_what_is_done_by_itself_are_options(shell, operator):
    shell(
        *("project", "create", "app", "--repo", URL, "--step", "npm ci", "--retries", "2", "--retry-wait", "30"),
        *("--rerun-interrupted", "--poll-minutes", "5", "--keep-deployments", "50", "--keep-days", "90"),
    )
    project = stored(operator, "app")
    assert [(step.retries, step.retry_wait_s) for step in project.steps] == [(2, 30)]
    assert (project.rerun_interrupted, project.poll_minutes) == (True, 5)
    assert (project.keep_deployments, project.keep_days) == (50, 90)

    shell("project", "edit", "app", "--branch", "next", "--keep-days", "0")
    project = stored(operator, "app")
    assert [(step.retries, step.retry_wait_s) for step in project.steps] == [(2, 30)]
    assert (project.rerun_interrupted, project.poll_minutes, project.keep_deployments) == (True, 5, 50)
    assert project.keep_days is None

    shell("project", "edit", "app", "--no-rerun-interrupted", "--poll-minutes", "0", "--keep-deployments", "0")
    project = stored(operator, "app")
    assert (project.rerun_interrupted, project.poll_minutes, project.keep_deployments) == (False, None, None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--step", "true", "--retries", "11"], "steps: Step 1: the number of retries is from 0 to 10."),
        (
            ["--step", "true", "--retry-wait", "3601"],
            "steps: Step 1: the wait between tries is at most 3600 seconds.",
        ),
        (
            ["--retries", "1"],
            "steps: --timeout, --retries and --retry-wait are those of the steps given with --step.",
        ),
        (["--poll-minutes", "1441"], "poll_minutes: Give a number of minutes from 1 to 1440, or nothing."),
        (["--keep-days", "-1"], "keep_days: Give a number of days from 1 to 36500, or nothing."),
    ],
)
def test_numbers_that_cannot_be_used_are_told_in_one_line(shell, options, words):
    assert shell("project", "create", "app", "--repo", URL, *options, code=1).stderr == f"Error: {words}\n"


def test_a_project_is_shown_with_all_that_was_entered_and_no_secret(shell, operator):
    shell(
        *("project", "create", "app", "--repo", URL, "--step", "git pull", "--step", "npm ci", "--timeout", "90"),
        *("--retries", "2", "--retry-wait", "30", "--poll-minutes", "5"),
        *("--mail-on", "success,failure", "--mail-to", "ops@example.com"),
    )
    secret = project_secrets.webhook_secret(stored(operator, "app"), operator.installation.vault).decode()

    lines = shell("project", "show", "app").stdout
    document = json.loads(shell("project", "show", "app", "--json").stdout)

    said = [" ".join(line.split()) for line in lines.splitlines()]
    assert {"poll minutes 5", "keep days –", "auto deploy yes", "rerun interrupted no"} <= set(said)
    assert {"mail on success yes", "mail on recovery no", "mail to ops@example.com"} <= set(said)
    assert {name: document[name] for name in document if name.startswith("mail_")} == {
        "mail_on_success": True,
        "mail_on_failure": True,
        "mail_on_recovery": False,
        "mail_on_interruption": False,
        "mail_to": "ops@example.com",
    }
    assert said[-1] == "step 2 npm ci (timeout 90 s; tried again 2 times at most, 30 s apart)"
    assert (document["name"], document["poll_minutes"], document["rerun_interrupted"]) == ("app", 5, False)
    assert document["steps"][1] == {
        "name": "npm ci",
        "command": "npm ci",
        "phase": "build",
        "timeout_s": 90,
        "retries": 2,
        "retry_wait_s": 30,
    }
    assert secret not in lines + str(document)


def test_what_is_not_there_is_told(shell):
    assert shell("project", "show", "app", code=1).stderr == "Error: Project not found\n"
    assert shell("retry", "DEP-0001", code=1).stderr == "Error: Deployment not found\n"
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
