"""Check access: what the repository says, in words that help, and without a secret."""

from __future__ import annotations

import base64
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deployer import access
from deployer.errors import GitError
from tests.support import web_git
from tests.support.repository import git

TOKEN = "ghp_A1b2C3d4E5f6"


def asked(member, project):
    answer = member.post(f"/projects/{project.name}/check-access")
    assert answer.status == 200
    return answer, answer.page.find(class_="access-said").words


def test_a_repository_that_answers_is_told_with_the_branchs_commit(member, project, make_project, repository):
    answer, said = asked(member, project)
    _, with_steps = asked(member, make_project("npm ci", "npm test"))

    assert with_steps == f"The repository answers; main is at {repository.tip()[:7]}."
    # Where there are hardly any steps yet, the next thing is to have them suggested.
    assert said.startswith(with_steps)
    assert answer.page.find(class_="access-said").find("a").attributes["href"] == f"/projects/{project.name}/edit"


def test_a_missing_branch_is_told(member, make_project):
    _, said = asked(member, make_project(branch="next"))

    assert said.startswith("The repository answers, but has no branch next.")
    assert said.endswith("Push that branch, or choose another one.")


def test_a_repository_that_is_not_there_is_told_with_what_to_do(member, make_project, tmp_path):
    _, said = asked(member, make_project(url=str(tmp_path / "nothing")))

    assert "does not appear to be a git repository" in said
    assert "Check the address" in said


def test_a_host_that_cannot_be_reached_is_told_with_what_to_do(member, make_project):
    _, said = asked(member, make_project(url="http://127.0.0.1:1/app.git"))

    assert "unable to access" in said
    assert "Check the address" in said


def test_a_token_is_used(member, make_project, operator, repository, tmp_path):
    git("clone", "--quiet", "--bare", repository.url, str(tmp_path / "served" / "app.git"))
    with web_git.serve(tmp_path / "served", TOKEN) as served:
        project = make_project(url=served.url("app.git"))
        _, said = asked(member, project)
        assert "Give a token that may read this repository" in said
        operator.set_https_token(project, TOKEN)
        _, said = asked(member, project)

    assert said.startswith("The repository answers; main is at ")


class _Echo(BaseHTTPRequestHandler):
    """A forge that repeats what it was told, as some do in their error pages."""

    def do_GET(self) -> None:
        given = self.headers.get("Authorization", "")
        plain = base64.b64decode(given.partition(" ")[2] or b"").decode()
        body = f"you said {given} that is {plain}\n".encode()
        self.send_response(403 if given else 401)
        if not given:
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def echoing():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/app.git"
        server.shutdown()
        thread.join()


def test_a_forge_that_repeats_the_token_does_not_get_it_onto_the_page(member, make_project, operator, echoing):
    project = make_project(url=echoing)
    operator.set_https_token(project, TOKEN)

    answer, said = asked(member, project)

    assert "you said" in said
    assert TOKEN not in answer.text
    assert base64.b64encode(f"{web_git.USER}:{TOKEN}".encode()).decode() not in answer.text


def test_a_repository_that_does_not_answer_is_given_up(installation, monkeypatch):
    """The web process waits 15 s at most; here the same function waits one."""
    monkeypatch.setattr(access, "TIMEOUT_S", 1)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as silent:
        # It listens, and never accepts.
        url = f"http://127.0.0.1:{silent.server_port}/app.git"
        with (
            pytest.raises(GitError, match="did not answer within 1 s"),
            access.visit(url, None, config=installation.config, data_dir=installation.data_dir) as visit,
        ):
            visit.branches()
    assert not list(installation.data_dir.scratch.iterdir())
