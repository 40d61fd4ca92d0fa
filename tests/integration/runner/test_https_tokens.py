"""A private repository over HTTP, reached with the project's token."""

from __future__ import annotations

import pytest

from tests.support import web_git
from tests.support.command_lines import command_lines
from tests.support.repository import git

TOKEN = "ghp_ThisIsATokenOfTheProject0123456789"


@pytest.fixture
def served(tmp_path, repository):
    (tmp_path / "web").mkdir()
    git("clone", "--quiet", "--bare", repository.url, str(tmp_path / "web" / "app.git"))
    with web_git.serve(tmp_path / "web", TOKEN) as server:
        yield server


def test_a_private_repository_is_deployed_with_its_token(operator, served, make_project, runner):
    project = make_project("cat README.md", url=served.url("app.git"))
    operator.set_https_token(project, TOKEN)

    deployment = operator.wait_for_end(operator.deploy(project))

    assert deployment.status == "success"
    assert operator.step_output(deployment.id) == b"hello\n"
    assert f"{web_git.USER}:{TOKEN}" in served.asked
    assert TOKEN not in operator.log(deployment.id)
    with open(f"{project.path}/.git/config") as file:
        assert TOKEN not in file.read()


def test_a_wrong_token_fails_with_gits_words_and_without_a_prompt(operator, served, make_project, runner):
    project = make_project("true", url=served.url("app.git"))
    operator.set_https_token(project, "ghp_wrong_wrong_wrong")

    deployment = operator.wait_for_end(operator.deploy(project))

    assert deployment.status == "failed"
    assert "Authentication failed" in operator.log(deployment.id)
    assert "ghp_wrong" not in operator.log(deployment.id)


def test_without_a_token_a_private_repository_is_refused_and_nobody_is_asked(operator, served, make_project, runner):
    deployment = operator.wait_for_end(operator.deploy(make_project("true", url=served.url("app.git"))))

    assert deployment.status == "failed"
    assert "terminal prompts disabled" in operator.log(deployment.id)
    assert served.asked == []


def test_a_redirect_to_another_host_does_not_get_the_token(operator, served, make_project, runner, tmp_path):
    project = make_project("true", url=served.url("app.git"))
    operator.set_https_token(project, TOKEN)
    with web_git.serve(tmp_path / "web", "another password", host="127.0.0.2") as elsewhere:
        served.redirect_to = elsewhere.address

        deployment = operator.wait_for_end(operator.deploy(project))

    assert deployment.status == "failed"
    assert elsewhere.requests > 0
    assert elsewhere.asked == []


def test_a_token_is_in_no_command_line(operator, served, make_project, runner):
    project = make_project("true", url=served.url("app.git"))
    operator.set_https_token(project, TOKEN)
    deployment_id = operator.deploy(project)
    seen: list[bytes] = []
    while not operator.status(deployment_id).is_final:
        seen += command_lines()
    assert operator.status(deployment_id) == "success"
    assert any(b"fetch" in line for line in seen)
    assert not any(TOKEN.encode() in line for line in seen)
