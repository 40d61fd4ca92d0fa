"""Projects by forms, without any script."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
import sqlalchemy as sa

from deployer import project_secrets
from deployer import projects as use_cases
from deployer.models import Project
from tests.support.forge import Forge

_numbers = itertools.count(1)


def fields(project_name: str, steps=("true",), **more: str | None) -> list[tuple[str, str]]:
    """The project's form as it is sent; what is None is not ticked."""
    rows = [step if isinstance(step, tuple) else (step, "", "") for step in steps]
    given = {
        "name": project_name,
        "repository_url": "https://github.com/grace/app.git",
        "branch": "main",
        "shell": "sh",
    }
    given = {**given, "auto_deploy": "on", **more}
    pairs = [(key, value) for key, value in given.items() if value is not None]
    for command, title, timeout in rows:
        pairs += [("step_command", command), ("step_name", title), ("step_timeout", timeout)]
    return pairs


@pytest.fixture
def name() -> str:
    return f"made-{next(_numbers)}"


@pytest.fixture
def stored(operator):
    def find(name: str):
        with operator.database.write_session() as session:
            project = use_cases.find(session, name)
            _ = project.steps, project.variables
            return project

    return find


def test_a_project_is_made_by_a_form(member, name, stored):
    steps = [("git pull", "", ""), ("npm ci\nnpm run build", "build", "10 min"), ("", "", "")]

    answer = member.post("/projects/new", fields(name, steps, shell="bash"))

    assert (answer.status, answer.location) == (302, f"/projects/{name}")
    project = stored(name)
    assert (project.branch, project.shell, project.auto_deploy, project.cancel_running) == (
        "main",
        "bash",
        True,
        False,
    )
    assert [(one.command, one.name, one.timeout_s) for one in project.steps] == [
        ("git pull", "git pull", None),
        ("npm ci\nnpm run build", "build", 600),
    ]
    assert name in member.get("/").page.words


def test_retries_and_what_is_done_by_itself_are_entered_and_shown_again(member, name, stored):
    given = fields(name, ["npm ci", "make test"], rerun_interrupted="on", poll_minutes="5", keep_deployments="50")
    given += [("step_retries", "2"), ("step_retry_wait", "1 min"), ("step_retries", ""), ("step_retry_wait", "")]

    assert member.post("/projects/new", given).status == 302

    project = stored(name)
    assert [(one.retries, one.retry_wait_s) for one in project.steps] == [(2, 60), (0, 0)]
    assert (project.rerun_interrupted, project.poll_minutes) == (True, 5)
    assert (project.keep_deployments, project.keep_days) == (50, None)
    page = member.get(f"/projects/{name}/edit").page
    assert (page.values("step_retries"), page.values("step_retry_wait")) == (["2", ""], ["1 min", ""])
    assert [page.value(one) for one in ("poll_minutes", "keep_deployments", "keep_days")] == ["5", "50", ""]
    assert "checked" in page.find("input", name="rerun_interrupted").attributes
    assert ["open" in one.attributes for one in page.find_all("details", class_="step-more")] == [True, False]
    shown = member.get(f"/projects/{name}").page
    assert "looked at every 5 min" in shown.words
    assert "tried again 2 times at most, 1 min apart" in shown.find(id="steps").words
    assert "A deployment that is interrupted is run again by itself." in shown.find(id="steps").words

    member.post(f"/projects/{name}/edit", fields(name, ["npm ci"]))

    project = stored(name)
    assert (project.steps[0].retries, project.rerun_interrupted, project.poll_minutes) == (0, False, None)
    assert project.keep_deployments is None


@pytest.mark.parametrize(
    ("field", "text", "words"),
    [
        ("poll_minutes", "0", "Give a number of minutes from 1 to 1440, or nothing."),
        ("poll_minutes", "1441", "Give a number of minutes from 1 to 1440, or nothing."),
        ("poll_minutes", "soon", "Give a number of minutes from 1 to 1440, or nothing."),
        ("poll_minutes", "-5", "Give a number of minutes from 1 to 1440, or nothing."),
        ("keep_deployments", "0", "Give a number of deployments from 1 to 100000, or nothing."),
        ("keep_deployments", "9" * 30, "Give a number of deployments from 1 to 100000, or nothing."),
        ("keep_days", "1.5", "Give a number of days from 1 to 36500, or nothing."),
        ("keep_days", "\u0663", "Give a number of days from 1 to 36500, or nothing."),
    ],
)
def test_a_number_that_is_none_is_refused_at_its_field(member, name, field, text, words):
    answer = member.post("/projects/new", fields(name, **{field: text}, branch="a..b"))

    assert answer.status == 400
    assert answer.page.error_at(field) == words
    assert answer.page.value(field) == text
    assert answer.page.error_at("branch")


@pytest.mark.parametrize(
    ("retries", "wait", "words", "at"),
    [
        ("11", "", "Step 2: the number of retries is from 0 to 10.", "step_retries"),
        ("some", "", "Step 2: the number of retries is from 0 to 10.", "step_retries"),
        ("-1", "", "Step 2: the number of retries is from 0 to 10.", "step_retries"),
        ("1", "2 h", "Step 2: the wait between tries is at most 3600 seconds.", "step_retry_wait"),
        ("1", "soon", "Step 2: give the wait between tries as 30 s or 2 min.", "step_retry_wait"),
    ],
)
def test_retries_that_cannot_be_used_are_refused_at_their_field(member, name, retries, wait, words, at):
    given = fields(name, ["true", "false"])
    given += [("step_retries", ""), ("step_retry_wait", ""), ("step_retries", retries), ("step_retry_wait", wait)]

    answer = member.post("/projects/new", given)

    assert answer.status == 400
    page = answer.page
    assert page.find(id="steps-error").words == words
    (wrong,) = [one for one in page.find(id="steps").walk() if one.attributes.get("aria-invalid")]
    assert (wrong.attributes["name"], wrong.attributes["aria-describedby"]) == (at, "steps-error")
    assert page.values("step_retries") == ["", retries]
    assert [one for one in page.find_all("details", class_="step-more") if "open" in one.attributes]


def test_a_project_is_changed_by_a_form(member, project, stored):
    page = member.get(f"/projects/{project.name}/edit").page
    assert page.value("repository_url") == project.repository_url
    assert page.values("step_command") == ["true"]

    answer = member.post(
        f"/projects/{project.name}/edit", fields(f"{project.name}-new", ["echo new"], auto_deploy=None, branch="next")
    )

    assert (answer.status, answer.location) == (302, f"/projects/{project.name}-new")
    changed = stored(f"{project.name}-new")
    assert (changed.id, changed.branch, changed.auto_deploy) == (project.id, "next", False)
    assert [step.command for step in changed.steps] == ["echo new"]
    assert "by hand only" in member.get(answer.location).page.words


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("add", ["one", "two", "three", ""]),
        ("remove:1", ["one", "three"]),
        ("up:2", ["one", "three", "two"]),
        ("up:0", ["one", "two", "three"]),
        ("down:0", ["two", "one", "three"]),
        ("down:2", ["one", "two", "three"]),
        ("remove:9", ["one", "two", "three"]),
        ("remove:-1", ["one", "two", "three"]),
        ("up:²", ["one", "two", "three"]),
        pytest.param("up:" + "1" * 5000, ["one", "two", "three"], id="up:1…"),
        ("dance", ["one", "two", "three"]),
    ],
)
def test_the_buttons_of_the_step_list_rearrange_it_and_keep_what_was_typed(member, name, operator, action, expected):
    steps = [("one", "first", "1 min"), ("two", "second", "2 min"), ("three", "third", "3 min")]

    answer = member.post("/projects/new", [*fields(name, steps, branch="not yet valid"), ("action", action)])

    page = answer.page
    assert answer.status == 200
    assert page.values("step_command") == expected
    titles = dict(zip(page.values("step_command"), page.values("step_name"), strict=True))
    assert {(command, title) for command, title in titles.items() if command} <= {row[:2] for row in steps}
    assert (page.value("name"), page.value("branch")) == (name, "not yet valid")
    assert operator.rows(sa.select(Project.id).where(Project.name == name)) == []


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"name": ""}, "name", "Use letters, digits"),
        ({"name": "../etc"}, "name", "Use letters, digits"),
        ({"name": "a b"}, "name", "Use letters, digits"),
        ({"branch": ""}, "branch", ""),
        ({"branch": "-x"}, "branch", ""),
        ({"branch": "a..b"}, "branch", ""),
        ({"branch": "a\x7fb"}, "branch", ""),
        ({"repository_url": ""}, "repository_url", "Give the repository's address"),
        ({"repository_url": "-oProxyCommand=x"}, "repository_url", "An address cannot begin with a dash"),
        ({"repository_url": "ext::sh -c id"}, "repository_url", ""),
        ({"repository_url": "https://u:p@github.com/a/b"}, "repository_url", "Leave user and password out"),
        ({"path": "relative"}, "path", "Give an absolute path"),
    ],
)
def test_wrong_input_shows_the_form_again_with_the_words_at_the_field(member, name, changes, field, words):
    answer = member.post("/projects/new", fields(name, ["echo kept"], **changes))

    assert answer.status == 400
    assert answer.page.error_at(field).startswith(words)
    assert answer.page.value(field) == changes[field]
    assert answer.page.values("step_command") == ["echo kept"]
    assert answer.page.find(role="alert").words.startswith("Not saved yet")


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (("", "a name", ""), "Step 2: give a command."),
        (("true", "", "soon"), "Step 2: give the timeout as 90 s, 10 min or 1 h."),
        (("true", "", "0"), "Step 2: the timeout is between 1 and"),
        (("true", "", "9999999 h"), "Step 2: the timeout is between 1 and"),
        (("x" * 200_000, "", ""), "Step 2: a command is at most 100 KiB long."),
    ],
)
def test_a_wrong_step_is_named_by_its_number(member, name, step, words):
    answer = member.post("/projects/new", fields(name, ["true", step]))

    assert answer.status == 400
    assert answer.page.find(id="steps-error").words.startswith(words)


def test_a_name_that_is_taken_is_refused_at_the_field(member, name, project):
    made = member.post("/projects/new", fields(project.name))
    assert (made.status, made.page.error_at("name")) == (400, "Another project has this name.")
    member.post("/projects/new", fields(name))
    changed = member.post(f"/projects/{name}/edit", fields(project.name))
    assert (changed.status, changed.page.error_at("name")) == (400, "Another project has this name.")


def test_a_directory_that_another_project_uses_is_refused_at_the_field(member, name, project):
    answer = member.post("/projects/new", fields(name, path=project.path))

    assert (answer.status, answer.page.error_at("path")) == (
        400,
        f"The project {project.name} already uses this directory, or one inside or around it.",
    )


def test_a_project_without_steps_says_so_when_it_is_deployed(member, name):
    member.post("/projects/new", fields(name, []))

    answer = member.post(f"/projects/{name}/deploy")

    assert answer.status == 400
    assert "The project has no steps. Add one first." in answer.page.words


def variables(member, project) -> dict[str, str]:
    rows = member.get(f"/projects/{project.name}/variables").page.find_all("ul", class_="variables")
    return {one.find(class_="name").words: one.words for row in rows for one in row.find_all("li")}


def test_variables_are_set_replaced_shown_and_deleted(member, project, stored):
    def put(**given: str):
        assert member.post(f"/projects/{project.name}/variables", given).status == 302

    put(variable_name="NODE_ENV", value="test")
    put(variable_name="NODE_ENV", value="a\r\nb <i>")
    put(variable_name="TOKEN", value="hunter2hunter2", secret="on")

    shown = variables(member, project)
    assert shown.keys() == {"NODE_ENV", "TOKEN"}
    assert "a b <i>" in shown["NODE_ENV"]
    assert "not shown again" in shown["TOKEN"]
    assert stored(project.name).variables[0].plain_value == "a\nb <i>"
    variable_id = stored(project.name).variables[0].id
    assert member.post(f"/projects/{project.name}/variables/{variable_id}/delete").status == 302
    assert variables(member, project).keys() == {"TOKEN"}


def test_a_variable_of_another_project_is_neither_changed_nor_deleted_by_its_id(
    member, make_project, operator, stored
):
    mine, other = make_project(), make_project()
    operator.set_variable(other, "KEEP", "me")
    variable_id = stored(other.name).variables[0].id

    answers = [
        member.post(f"/projects/{mine.name}/variables/{variable_id}", {"value": "you"}),
        member.post(f"/projects/{mine.name}/variables/{variable_id}/delete"),
    ]

    assert [answer.status for answer in answers] == [404, 404]
    assert [(one.name, one.plain_value) for one in stored(other.name).variables] == [("KEEP", "me")]


def test_a_variable_is_changed_in_its_place_and_a_secret_one_replaced(
    member, operator, project, stored, installation
):
    operator.set_variable(project, "CERT", "one\ntwo")
    operator.set_variable(project, "TOKEN", "hunter2hunter2", secret=True)
    plain, secret = stored(project.name).variables
    page = member.get(f"/projects/{project.name}/variables").page
    shown, hidden = page.find_all("ul", class_="variables")[0].find_all("li")
    assert shown.find("pre", class_="plain-value").text == "one\ntwo"
    assert shown.find("textarea").text == "one\ntwo"
    assert hidden.find("textarea").text == ""

    for variable, value in ((plain, "three\r\nfour"), (secret, "another secret")):
        answer = member.post(f"/projects/{project.name}/variables/{variable.id}", {"value": value})
        assert (answer.status, answer.location) == (302, f"/projects/{project.name}/variables")

    changed = stored(project.name)
    assert [(one.id, one.name, one.plain_value, one.is_secret) for one in changed.variables] == [
        (plain.id, "CERT", "three\nfour", False),
        (secret.id, "TOKEN", None, True),
    ]
    opened = project_secrets.open_secrets(changed, [], installation.vault).variables
    assert opened == {"CERT": "three\nfour", "TOKEN": "another secret"}


def test_a_value_that_cannot_be_is_refused_at_its_own_field_and_a_secret_one_not_sent_back(
    member, operator, project, stored
):
    operator.set_variable(project, "PLAIN", "value")
    operator.set_variable(project, "TOKEN", "hunter2hunter2", secret=True)
    plain, secret = stored(project.name).variables
    too_long = "x" * 140_000

    refused = member.post(f"/projects/{project.name}/variables/{plain.id}", {"value": too_long})
    short = member.post(f"/projects/{project.name}/variables/{secret.id}", {"value": "abc"})

    assert (refused.status, short.status) == (400, 400)
    assert refused.page.error_at(f"value-{plain.id}")
    assert refused.page.find(id=f"value-{plain.id}").text == too_long
    assert short.page.error_at(f"value-{secret.id}").startswith("A secret has at least")
    assert short.page.find(id=f"value-{secret.id}").text == ""
    opened = [one for one in short.page.find_all("details", class_="change") if "open" in one.attributes]
    assert ["TOKEN" in one.words for one in opened] == [True]


def test_what_cannot_be_undone_is_asked_twice(member, operator, project):
    """The button that does it lies in a disclosure that says what it costs."""
    operator.set_variable(project, "TOKEN", "hunter2hunter2", secret=True)
    operator.set_https_token(project, "ghp_first")
    operator.make_deploy_key(project)
    pages = [member.get(f"/projects/{project.name}{more}").page for more in ("", "/variables")]

    found = {
        one.find("button").words: one.find_all("p")[0].words
        for page in pages
        for one in page.find_all("details", class_="confirm")
        if one.find_all("button")
    }

    assert found.keys() == {
        "Make a new secret",
        "Replace the key",
        "Remove the token",
        "Delete the variable TOKEN",
    }
    assert all(cost.endswith(".") for cost in found.values())
    outside = [one.words for page in pages for one in page.find_all("button")]
    assert all(outside.count(name) == 1 for name in found)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"variable_name": "1A", "value": "x"}, "variable_name"),
        ({"variable_name": "", "value": "x"}, "variable_name"),
        ({"variable_name": "A=B", "value": "x"}, "variable_name"),
        ({"variable_name": "DEPLOY_ID", "value": "x"}, "variable_name"),
        ({"variable_name": "A", "value": "a\0b"}, "value"),
        ({"variable_name": "A", "value": "x" * 140_000}, "value"),
        ({"variable_name": "A", "value": "abc", "secret": "on"}, "value"),
    ],
)
def test_a_variable_that_cannot_be_is_refused_at_its_field(member, project, given, field):
    answer = member.post(f"/projects/{project.name}/variables", given)

    assert answer.status == 400
    assert answer.page.error_at(field)
    assert variables(member, project) == {}


def test_a_refused_secret_is_not_sent_back(member, project):
    given = {"variable_name": "1A", "value": "hunter2hunter2", "secret": "on"}

    answer = member.post(f"/projects/{project.name}/variables", given)

    assert answer.status == 400
    assert "hunter2" not in answer.text


def test_a_deploy_key_is_made_shown_by_its_public_half_and_replaced(member, project):
    def shown() -> str:
        assert member.post(f"/projects/{project.name}/deploy-key").status == 302
        return member.get(f"/projects/{project.name}").page.find(id="deploy-key").words

    first = shown()
    assert re.fullmatch(rf"ssh-ed25519 [A-Za-z0-9+/=]{{68}} deployer:{re.escape(project.name)}", first)
    assert shown() != first


def test_a_token_is_set_replaced_and_removed_and_never_shown(member, project, stored):
    path = f"/projects/{project.name}/token"
    for token in ("ghp_first", "ghp_second"):
        assert member.post(path, {"https_token": token}).status == 302
        assert "ghp_" not in member.get(f"/projects/{project.name}").text
    assert stored(project.name).https_token is not None
    assert member.post(path, {"action": "remove"}).status == 302
    assert stored(project.name).https_token is None


@pytest.mark.parametrize("token", ["abc", "with space", "x" * 5000, "tab\tbed", "new\nline"])
def test_a_token_that_cannot_be_one_is_refused_at_its_field(member, project, token):
    answer = member.post(f"/projects/{project.name}/token", {"https_token": token})

    assert (answer.status, answer.page.error_at("https_token")) == (400, "This is not a usable token.")


def test_a_rotated_secret_is_shown_and_the_old_one_refused(member, daemon, project, stored):
    old = Forge(daemon, project)
    old.event("ping")

    assert member.post(f"/projects/{project.name}/secret").status == 302

    page = member.get(f"/projects/{project.name}").page
    new = Forge(daemon, stored(project.name))
    assert page.find(id="webhook-secret").words == new.secret.decode() != old.secret.decode()
    assert page.find(id="connection").words == "waiting for the first ping"
    assert (old.push().status, new.event("ping").status) == (401, 200)


def test_a_project_is_deleted_only_after_its_name_was_typed(member, project, operator, daemon):
    forge = Forge(daemon, project)
    operator.wait_for_end(operator.deploy(project))
    assert Path(project.path).is_dir()
    path = f"/projects/{project.name}/delete"
    assert member.get(path).status == 200

    refused = member.post(path, {"name": "another"})
    assert (refused.status, refused.page.error_at("name")) == (400, "Type the project's name to confirm.")
    assert member.get(f"/projects/{project.name}").status == 200
    answer = member.post(path, {"name": project.name})

    assert (answer.status, answer.location) == (302, "/")
    assert member.get(f"/projects/{project.name}").status == 404
    assert forge.push().status == 404
    assert not Path(project.path).exists()


def test_a_project_is_not_deleted_while_it_runs(member, operator, running, stored):
    project = stored(operator.deployment(running).project_id)

    answer = member.post(f"/projects/{project.name}/delete", {"name": project.name})

    assert answer.status == 409
    assert f"A deployment of {project.name} is running." in answer.page.words
    assert operator.status(running) == "running"


def test_a_running_deployment_is_cancelled_by_its_button(member, operator, running):
    answer = member.post(f"/deployments/{running}/cancel")

    assert (answer.status, answer.location) == (302, f"/deployments/{running}")
    deployment = operator.wait_for_end(running)
    assert (deployment.status, deployment.cancel_requested_by) == ("cancelled", "ada")
    # Once more changes nothing.
    assert member.post(f"/deployments/{running}/cancel").status == 302
    assert operator.deployment(running) == deployment


def test_a_project_is_deployed_by_its_button(member, operator, project):
    answer = member.post(f"/projects/{project.name}/deploy")

    assert answer.status == 302
    deployment_id = answer.location.removeprefix("/deployments/")
    assert operator.wait_for_end(deployment_id).status == "success"
    assert "success" in member.get(answer.location).page.words
