"""The check of a repository in a project's form: what it says, what it suggests, and what it never does."""

from __future__ import annotations

import json
import os

import pytest

from deployer import access
from deployer.errors import GitError
from deployer.suggestions import Contents
from tests.support import web_git
from tests.support.repository import Repository, git

TOKEN = "ghp_A1b2C3d4E5f6"


@pytest.fixture
def built(tmp_path):
    """A repository with an application in it."""
    made = Repository(tmp_path / "built")
    (made.path / "package.json").write_text(json.dumps({"scripts": {"build": "vite build"}}))
    (made.path / "package-lock.json").write_text("{}")
    (made.path / "src").mkdir()
    (made.path / "src" / "go.mod").write_text("")
    made.commit("An application")
    return made


def fields(url: str, **more: str) -> list[tuple[str, str]]:
    given = {"name": "cafe", "repository_url": url, "branch": "main", "shell": "sh", "action": "check", **more}
    return [*given.items(), ("step_command", "git pull origin main"), ("step_name", ""), ("step_timeout", "")]


def hidden(page) -> list[tuple[str, str]]:
    """What the form carries along."""
    return [
        (one.attributes["name"], one.attributes.get("value", "")) for one in page.find_all("input", type="hidden")
    ]


def said(page) -> str:
    return page.find(id="seen").words


def commands(page) -> list[str]:
    return [one.words for one in page.find(id="suggestion").find_all("code", class_="command")]


def check(member, url: str, path: str = "/projects/new", **more: str):
    answer = member.post(path, fields(url, **more))
    assert answer.status == 200, answer.text
    return answer.page


def test_a_check_shows_branches_and_suggests_steps_and_saves_nothing(member, built, operator):
    built.git("branch", "next")
    page = check(member, built.url)

    assert said(page) == f"The repository answers; main is at {built.tip()[:7]}. Its files suggest 3 steps"
    assert [one.attributes["value"] for one in page.find("datalist", id="branches").find_all("option")] == [
        "main",
        "next",
    ]
    assert commands(page) == ["git pull origin main", "npm ci", "npm run build"]
    assert page.values("step_command") == ["git pull origin main"]
    with operator.database.read() as connection:
        assert not connection.exec_driver_sql("SELECT 1 FROM projects WHERE name = 'cafe'").first()


def test_a_button_puts_the_suggested_steps_into_the_list(member, built):
    page = check(member, built.url)

    applied = member.post("/projects/new", [*fields(built.url, action="suggested"), *hidden(page)]).page

    assert applied.values("step_command") == ["git pull origin main", "npm ci", "npm run build"]
    assert "The steps below are these." in applied.find(id="suggestion").words
    assert (applied.value("name"), applied.value("repository_url")) == ("cafe", built.url)
    # What was seen stays on the form over its other buttons, and over an error.
    added = member.post("/projects/new", [*fields(built.url, action="add"), *hidden(page)]).page
    refused = member.post("/projects/new", [*fields(built.url, action="save", name="not a name"), *hidden(page)])
    assert (said(added), commands(added)) == (said(page), commands(page))
    assert (refused.status, commands(refused.page)) == (400, commands(page))


def test_where_main_was_a_guess_the_repository_s_own_branch_is_entered(member, tmp_path):
    made = Repository(tmp_path / "trunk")
    made.commit("first", Cargo_toml="")
    made.git("branch", "--move", "main", "trunk")
    for guess in ("main", ""):
        page = check(member, made.url, branch=guess)
        assert said(page).startswith("The repository answers; trunk is at ")
        assert page.value("branch") == "trunk"
        assert commands(page) == ["git pull origin trunk", "cargo build --release"]

    missing = check(member, made.url, branch="next")
    assert said(missing) == (
        "The repository answers, but has no branch next. Push that branch, or choose another one."
    )
    assert missing.value("branch") == "next"


def test_files_of_the_branch_that_was_chosen_count(member, built):
    built.git("checkout", "--quiet", "-b", "rust")
    built.git("rm", "--quiet", "package.json", "package-lock.json")
    built.commit("Rewritten", Cargo_toml="", Cargo_lock="")

    assert commands(check(member, built.url, branch="rust")) == [
        "git pull origin rust",
        "cargo build --release --locked",
    ]


def test_where_no_file_tells_it_says_so(member, repository):
    page = check(member, repository.url)

    assert said(page) == f"The repository answers; main is at {repository.tip()[:7]}."
    assert page.find(id="suggestion").words == "No file in its root says how it is built: add those steps."


def test_an_empty_repository_is_told(member, tmp_path):
    page = check(member, Repository(tmp_path / "empty").url)

    assert said(page) == "The repository answers, but it is empty. Push a commit first."


def test_an_address_that_cannot_be_one_is_refused_at_its_field(member):
    for url in ("ext::sh -c id", "-oProxyCommand=x", "https://u:p@github.com/a/b", "http://10.0.0.1/a", ""):
        answer = member.post("/projects/new", fields(url))
        assert answer.status == 400
        assert answer.page.error_at("repository_url")
        assert answer.page.values("step_command") == ["git pull origin main"]


def test_a_path_of_this_host_is_refused_where_it_is_not_allowed(make_daemon, built):
    from tests.support.standing import logged_in, make_user

    daemon = make_daemon("web", git_allow_file=False).start()
    make_user(daemon)

    answer = logged_in(daemon).post("/projects/new", fields(built.url))

    assert "git.allow_file" in answer.page.error_at("repository_url")


@pytest.fixture
def private(built, tmp_path):
    git("clone", "--quiet", "--bare", built.url, str(tmp_path / "served" / "app.git"))
    with web_git.serve(tmp_path / "served", TOKEN) as served:
        yield served


def test_of_a_private_repository_a_new_form_says_how_it_goes_on(member, private):
    page = check(member, private.url("app.git"))

    assert "could not read Username" in said(page) or "Authentication failed" in said(page)
    assert said(page).endswith(
        "If it is private, create the project first: its page makes the deploy key or takes the token, "
        "and checks again."
    )


def test_a_project_that_its_check_could_not_reach_begins_with_letting_it_in(member, private, operator):
    page = check(member, private.url("app.git"), name="let-in")

    answer = member.post(
        "/projects/new", [*fields(private.url("app.git"), action="save", name="let-in"), *hidden(page)]
    )

    assert (answer.status, answer.location) == (302, "/projects/let-in#access")
    assert member.get("/projects/let-in").page.find(class_="flash").words.startswith("The project is made.")


def test_the_form_of_a_project_asks_with_the_project_s_token(member, operator, make_project, private):
    project = make_project(url=private.url("app.git"))
    operator.set_https_token(project, TOKEN)

    page = check(member, project.repository_url, f"/projects/{project.name}/edit")

    # Over HTTP, too: the file that is looked into is fetched by itself where the server leaves files out.
    assert commands(page) == ["git pull origin main", "npm ci", "npm run build"]
    assert TOKEN not in str(page.text)


def test_a_project_s_token_is_not_given_to_another_host(member, operator, make_project, private, tmp_path):
    project = make_project(url=private.url("app.git"))
    operator.set_https_token(project, TOKEN)
    with web_git.serve(tmp_path / "served", "another password") as elsewhere:
        page = check(member, elsewhere.url("app.git"), f"/projects/{project.name}/edit")

        assert elsewhere.requests
        assert elsewhere.asked == []
    assert "The repository answers" not in said(page)


def test_a_server_that_leaves_files_out_is_asked_for_the_one_that_is_read(installation, private, tmp_path):
    git("-C", str(tmp_path / "served" / "app.git"), "config", "uploadpack.allowFilter", "true")
    private.password = ""
    with access.visit(
        private.url("app.git"), None, config=installation.config, data_dir=installation.data_dir
    ) as visit:
        contents = visit.contents("main")

    assert contents == Contents(
        frozenset(["package.json", "package-lock.json", "src"]), b'{"scripts": {"build": "vite build"}}'
    )


def test_a_server_that_refuses_to_leave_files_out_is_asked_for_all(installation, built):
    built.git("config", "uploadpack.allowFilter", "true")
    built.git("config", "uploadpackfilter.allow", "false")
    with access.visit(built.url, None, config=installation.config, data_dir=installation.data_dir) as visit:
        assert visit.contents("main").package_json == b'{"scripts": {"build": "vite build"}}'


def test_a_repository_that_is_too_large_is_given_up_and_leaves_nothing(installation, built, monkeypatch):
    monkeypatch.setattr(access, "MAX_FILE_BYTES", 1024 * 1024)
    (built.path / "larger").write_bytes(os.urandom(4 * 1024 * 1024))
    built.commit("A film")
    with (
        pytest.raises(GitError, match="holds more than 1 MiB"),
        access.visit(built.url, None, config=installation.config, data_dir=installation.data_dir) as visit,
    ):
        visit.contents("main")
    assert not list(installation.data_dir.scratch.iterdir())


def test_a_repository_s_own_hooks_and_settings_do_not_run(installation, built, tmp_path):
    """THREATS 15: what a repository brings is data."""
    ran = tmp_path / "ran"
    template = tmp_path / "template" / "hooks"
    template.mkdir(parents=True)
    for name in ("post-checkout", "reference-transaction", "post-merge"):
        (template / name).write_text(f"#!/bin/sh\ntouch {ran}\n")
        (template / name).chmod(0o755)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".gitconfig").write_text(f"[init]\n\ttemplateDir = {template.parent}\n")
    with access.visit(built.url, None, config=installation.config, data_dir=installation.data_dir) as visit:
        visit._environment["HOME"] = str(tmp_path / "home")
        assert visit.branches().default == "main"
        assert "package.json" in visit.contents("main").names
    assert not ran.exists()
