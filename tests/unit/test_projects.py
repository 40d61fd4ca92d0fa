"""Making, changing and deleting projects, and what they keep sealed."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer import project_input, project_secrets, projects, variables
from deployer.deployments import claims
from deployer.errors import InvalidInput, InvalidTransition, NotFound, SecretUnreadable
from deployer.models import Command, Counter, Deployment, LogChunk, Project, Variable
from deployer.project_input import ProjectInput, StepInput
from deployer.security.vault import Vault

URL = "https://git.example.com/app.git"
GOOD = {"name": "app", "repository_url": URL, "branch": "main"}


@pytest.fixture
def session(installation):
    with installation.database.write_session() as session:
        yield session


@pytest.fixture
def edit(installation):
    """Call a function with a project that is loaded in a write transaction."""

    def call(project, function, *arguments, **named):
        with installation.database.write_session() as session:
            return function(projects.find(session, project.id), *arguments, **named)

    return call


def secrets_of(installation, project):
    with Session(installation.database.engine) as session:
        return project_secrets.read_secrets(session, projects.find(session, project.id), installation.vault)


# Making ---------------------------------------------------------------------------------------------------------


def test_a_project_gets_a_secret_of_its_own_and_a_place_in_the_data_folder(installation, make_project):
    first, second = make_project(name="first"), make_project(name="second")

    found = [secrets_of(installation, one).webhook_secret for one in (first, second)]
    assert all(len(secret) == 64 for secret in found)
    assert found[0] != found[1]
    assert first.path == str(installation.data_dir.checkouts / "first")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", "", "Use letters"),
        ("name", "a b", "Use letters"),
        ("name", "../etc", "Use letters"),
        ("name", ".hidden", "Use letters"),
        ("name", "-x", "Use letters"),
        ("name", "ä", "Use letters"),
        ("name", "x" * 65, "Use letters"),
        ("name", "app\n", "Use letters"),
        ("repository_url", "", "Give the repository's address"),
        ("repository_url", "ext::sh -c id", "Give the repository's address, without spaces"),
        ("repository_url", "https://a:b@host/x", "Leave user and password out"),
        ("branch", "", "Give the branch"),
        ("branch", "--force", "cannot begin with a dash"),
        ("path", "relative/path", "Give an absolute path"),
        ("path", "/a\0b", "Give an absolute path"),
        ("path", "/a\nb", "Give an absolute path"),
        ("path", "/a\ud800", "Give an absolute path"),
        ("path", "/" + "x" * 5000, "Give an absolute path"),
        ("shell", "zsh", "Choose sh or bash"),
        ("steps", [StepInput("")], "Step 1: give a command."),
        ("steps", [StepInput("true"), StepInput(" \n ")], "Step 2: give a command."),
        ("steps", [StepInput("a\0b")], "Step 1: a command cannot hold a NUL."),
        ("steps", [StepInput("x\ud800")], "Step 1: "),
        ("steps", [StepInput("true", name="x\ud800")], "Step 1: "),
        ("steps", [StepInput("true", name="x" * 300)], "Step 1: "),
        ("steps", [StepInput("x" * 102401)], "Step 1: a command is at most 100 KiB long."),
        ("steps", [StepInput("true", timeout_s=0)], "Step 1: the timeout is between 1 and 604800 seconds."),
        ("steps", [StepInput("true", timeout_s=604801)], "Step 1: the timeout is between"),
        ("steps", [StepInput("true")] * 101, "A project has at most 100 steps."),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_field(session, installation, field, value, said):
    given = ProjectInput(**{**GOOD, field: value})

    with pytest.raises(InvalidInput) as caught:
        projects.create(
            session, given, config=installation.config, data_dir=installation.data_dir, vault=installation.vault
        )

    assert list(caught.value.fields) == [field]
    assert said in caught.value.fields[field]


@pytest.mark.parametrize("paths", ["storage/\nstorage/logs/", "a/b/c.txt\na/b"])
def test_what_lies_inside_a_shared_path_is_not_shared_again(make_project, paths):
    with pytest.raises(InvalidInput, match="is shared as a whole; leave it out"):
        make_project(strategy="release", shared_paths=paths)


@pytest.mark.parametrize("shared", [".env/", ".env", "conf/", ".env/more"])
def test_the_variables_are_written_into_no_shared_path(operator, make_project, shared):
    path = "conf/app.env" if shared == "conf/" else ".env"
    project = make_project(strategy="release", shared_paths=f"storage/\n{shared}")
    with pytest.raises(InvalidInput, match="shared by the releases") as caught:
        operator.write_variables_into(project, path)
    assert list(caught.value.fields) == ["variables_file"]

    operator.change(project, shared_paths="storage/\n.environment")
    operator.write_variables_into(project, path)
    with pytest.raises(InvalidInput, match="the variables are written into") as caught:
        operator.change(project, shared_paths=shared)
    assert list(caught.value.fields) == ["shared_paths"]
    assert operator.change(project, strategy="checkout", path="", shared_paths=shared).shared_paths == shared


def test_shared_paths_beside_each_other_may_begin_alike(make_project):
    assert make_project(strategy="release", shared_paths="log\nlogs/\nlogs.old/a\nlogs.old/b").shared_paths


def test_all_mistakes_are_told_at_once(installation):
    with pytest.raises(InvalidInput) as caught:
        project_input.validate(ProjectInput("", "", "", path="x", shell="fish"), installation.config)

    assert set(caught.value.fields) == {"name", "repository_url", "branch", "path", "shell"}


def test_a_name_and_a_directory_are_taken_once(make_project):
    make_project(name="app", path="/srv/app")
    with pytest.raises(InvalidInput) as caught:
        make_project(name="app")
    assert caught.value.fields == {"name": "Another project has this name."}
    with pytest.raises(InvalidInput) as caught:
        make_project(name="other", path="/srv/app/")
    assert caught.value.fields == {"path": "The project app already uses this directory, or one inside or around it."}


@pytest.mark.parametrize(
    "path", ["/srv/app/public", "/srv", "/srv/app/../app/x", "/srv/x/../app", "//srv/app", "/srv/./app//"]
)
def test_a_directory_inside_or_around_another_projects_is_refused(make_project, operator, path):
    make_project(name="app", path="/srv/app")
    other = make_project(name="other", path="/srv/application")
    said = {"path": "The project app already uses this directory, or one inside or around it."}

    with pytest.raises(InvalidInput) as made:
        make_project(name="third", path=path)
    with pytest.raises(InvalidInput) as changed:
        operator.change(other, path=path)

    assert made.value.fields == changed.value.fields == said


@pytest.mark.parametrize(
    "path",
    [
        "{data}",
        "{data}/",
        "/{data}",
        "{data}/spool",
        "{data}/mirrors/app",
        "{data}/checkouts",
        "{data}/checkouts/",
        "{data}/checkouts/app/..",
        "{data}/checkouts/app/nested",
        "{data}/checkouts/../spool",
        "/srv/..{data}/key",
    ],
)
def test_a_directory_in_the_data_folder_is_refused(installation, make_project, path):
    given = path.format(data=installation.data_dir.root)

    with pytest.raises(InvalidInput) as caught:
        make_project(path=given)

    assert caught.value.fields == {"path": "Give a directory apart from Deployer's own data folder, or none."}


@pytest.mark.parametrize("path", ["/..", "/.", "/srv/..", "//"])
def test_the_root_of_the_file_system_is_refused_however_it_is_written(make_project, path):
    with pytest.raises(InvalidInput) as caught:
        make_project(path=path)

    assert caught.value.fields == {"path": "Give a directory of its own, not the root of the file system."}


def test_a_place_in_our_own_folder_is_ours_and_only_that(installation):
    owns, ours = installation.data_dir.owns, installation.data_dir.checkouts

    assert owns(f"{ours}/app")
    assert owns(f"{ours}/app/")
    assert owns(f"{ours}/x/../app")
    for foreign in (
        ours,
        f"{ours}/",
        f"{ours}/.",
        f"{ours}/..",
        f"{ours}/app/..",
        f"{ours}/../spool",
        f"{ours}x/app",
    ):
        assert not owns(str(foreign))
    assert not owns(f"{ours}/app/nested")
    assert not owns("/srv/app")


def test_a_step_is_named_by_the_first_line_of_its_command(make_project):
    project = make_project("npm ci\nnpm run build", StepInput("true", name=" Restart "), "x" * 80)

    assert [step.name for step in project.steps] == ["npm ci", "Restart", "x" * 59 + "…"]


def test_line_ends_of_a_form_become_those_of_a_shell(make_project):
    assert make_project("one\r\ntwo\r\n").steps[0].command == "one\ntwo"


# Changing -------------------------------------------------------------------------------------------------------


def test_steps_are_put_into_a_new_order(operator, make_project):
    project = make_project("one", "two", "three")

    changed = operator.change(project, steps=["three", "one", "four"])

    assert [(step.position, step.command) for step in changed.steps] == [(0, "three"), (1, "one"), (2, "four")]


def test_a_change_that_is_refused_changes_nothing(operator, make_project):
    project = make_project("one")
    make_project(name="other")
    with pytest.raises(InvalidInput):
        operator.change(project, name="other", steps=["two"])

    with Session(operator.database.engine) as session:
        found = projects.find(session, project.id)
        assert (found.name, [step.command for step in found.steps]) == ("app", ["one"])


def test_a_project_keeps_its_own_name_and_directory(operator, make_project):
    project = make_project(path="/srv/app")

    assert operator.change(project, branch="dev").path == "/srv/app"


def test_an_emptied_directory_goes_back_to_the_data_folder(operator, installation, make_project):
    project = make_project(path="/srv/app")

    assert operator.change(project, path="").path == str(installation.data_dir.checkouts / "app")


# Deleting -------------------------------------------------------------------------------------------------------


def test_a_deleted_project_is_gone_with_its_history(installation, operator, make_project):
    project, other = make_project("true", name="app"), make_project(name="other")
    operator.set_variable(project, "A", "b")
    operator.deploy(project)
    kept = operator.deploy(other)

    with installation.database.write_session() as session:
        folders = projects.delete(session, projects.find(session, project.id), installation.data_dir)

    assert folders == [installation.data_dir.mirror(project.id), Path(project.path)]
    with Session(installation.database.engine) as session:
        with pytest.raises(NotFound):
            projects.find(session, project.id)
        assert session.scalars(sa.select(Deployment.id)).all() == [kept]
        for table in (Variable, Command, LogChunk, Counter):
            assert session.scalar(sa.select(sa.func.count()).select_from(table)) == 0


def test_a_directory_that_is_not_ours_is_never_removed(installation, make_project, tmp_path):
    project = make_project(path=str(tmp_path / "site"))

    with installation.database.write_session() as session:
        folders = projects.delete(session, projects.find(session, project.id), installation.data_dir)

    assert folders == [installation.data_dir.mirror(project.id)]


@pytest.mark.parametrize(
    "path", ["{checkouts}", "{checkouts}/..", "{checkouts}/../../site", "{checkouts}/app/nested"]
)
def test_a_path_on_record_that_only_looks_like_ours_is_not_removed_either(installation, make_project, path):
    """As an earlier version may have stored it."""
    project = make_project()
    stored = path.format(checkouts=installation.data_dir.checkouts)
    with installation.database.write() as connection:
        connection.execute(sa.update(Project).where(Project.id == project.id).values(path=stored))

    with installation.database.write_session() as session:
        folders = projects.delete(session, projects.find(session, project.id), installation.data_dir)

    assert folders == [installation.data_dir.mirror(project.id)]


def test_a_project_is_not_deleted_while_a_deployment_of_it_runs(installation, operator, make_project):
    project = make_project()
    operator.deploy(project)
    with installation.database.write() as connection:
        claims.claim(connection, "runner")

    with (
        pytest.raises(InvalidTransition, match="is running"),
        installation.database.write_session() as session,
    ):
        projects.delete(session, projects.find(session, project.id), installation.data_dir)

    assert len(operator.deployments()) == 1


def test_releases_are_not_taken_elsewhere_while_a_deployment_makes_one(
    installation, operator, make_project, tmp_path
):
    project = make_project(strategy="release")
    operator.deploy(project)
    with installation.database.write() as connection:
        claims.claim(connection, "runner")

    with pytest.raises(InvalidInput) as refused:
        operator.change(project, path=str(tmp_path / "elsewhere"))

    assert list(refused.value.fields) == ["path"]
    assert operator.change(project, keep_releases=3).path == project.path


# Secrets --------------------------------------------------------------------------------------------------------


def test_no_secret_is_in_the_database_in_the_clear(installation, operator, make_project, edit):
    project = make_project()
    operator.set_https_token(project, "ghp_the_token_of_the_project")
    operator.make_deploy_key(project)
    operator.set_variable(project, "PASSWORD", "correct-horse-battery", secret=True)
    operator.set_variable(project, "COLOUR", "a-plain-value")
    opened = secrets_of(installation, project)
    installation.database.dispose()

    stored = b"".join(path.read_bytes() for path in installation.data_dir.root.iterdir() if path.is_file())

    assert b"a-plain-value" in stored
    body = [line for line in opened.deploy_key.splitlines() if not line.startswith(b"---")]
    for secret in (b"ghp_the_token", b"correct-horse", opened.webhook_secret, *body):
        assert secret not in stored


def test_secrets_open_as_they_were_entered_and_are_all_redacted(installation, operator, make_project):
    project = make_project()
    operator.set_https_token(project, " ghp_token ")
    operator.make_deploy_key(project)
    operator.set_variable(project, "PASSWORD", "zwei\nZeilen \udcff", secret=True)
    operator.set_variable(project, "COLOUR", "blue")

    opened = secrets_of(installation, project)

    assert opened.https_token == "ghp_token"
    assert opened.variables == {"PASSWORD": "zwei\nZeilen \udcff", "COLOUR": "blue"}
    assert set(opened.to_redact()) == {
        opened.webhook_secret,
        b"ghp_token",
        opened.deploy_key,
        b"zwei\nZeilen " + b"\xff",
    }
    assert "ghp_token" not in repr(opened)


def test_secrets_of_one_project_do_not_open_in_another(installation, make_project):
    first, second = make_project(name="first"), make_project(name="second")
    with installation.database.write() as connection:
        connection.execute(
            sa.update(Project).where(Project.id == second.id).values(webhook_secret=first.webhook_secret)
        )

    with pytest.raises(SecretUnreadable):
        secrets_of(installation, second)


def test_with_another_key_secrets_are_unreadable_and_the_error_says_what_to_do(installation, make_project):
    project = make_project()
    with Session(installation.database.engine) as session, pytest.raises(SecretUnreadable, match="Restore the key"):
        project_secrets.read_secrets(session, projects.find(session, project.id), Vault(b"x" * 32))


def test_a_variable_that_is_set_again_is_replaced(installation, operator, make_project):
    project = make_project()
    operator.set_variable(project, "A", "first", secret=True)
    operator.set_variable(project, "A", "second")

    opened = secrets_of(installation, project)
    assert (opened.variables, opened.secret_variables) == ({"A": "second"}, frozenset())


@pytest.mark.parametrize(
    ("name", "value", "secret", "field"),
    [
        ("", "x", False, "variable_name"),
        ("A B", "x", False, "variable_name"),
        ("1A", "x", False, "variable_name"),
        ("PPID", "x", False, "variable_name"),
        ("UID", "x", False, "variable_name"),
        ("SHELLOPTS", "x", False, "variable_name"),
        ("BASH_ENV", "x", False, "variable_name"),
        ("DEPLOY_ID", "x", False, "variable_name"),
        ("DEPLOYER_TOKEN", "x", False, "variable_name"),
        ("A", "x\0y", False, "value"),
        ("A", "x" * 128 * 1024, False, "value"),
        ("A", "\ud800", False, "value"),
        ("A", "abc", True, "value"),
        ("A", "", True, "value"),
    ],
)
def test_a_variable_that_cannot_be_used_is_refused_by_its_field(operator, make_project, name, value, secret, field):
    project = make_project()

    with pytest.raises(InvalidInput) as caught:
        operator.set_variable(project, name, value, secret=secret)

    assert list(caught.value.fields) == [field]


@pytest.mark.parametrize("token", ["abc", "with space", "line\nline", "x" * 5000, "nul\0nul", "\ud800\ud800"])
def test_a_token_that_cannot_be_one_is_refused(operator, make_project, token):
    with pytest.raises(InvalidInput) as caught:
        operator.set_https_token(make_project(), token)

    assert list(caught.value.fields) == ["https_token"]


def test_an_empty_token_removes_it(installation, operator, make_project):
    project = make_project()
    operator.set_https_token(project, "ghp_token")
    operator.set_https_token(project, "")

    assert secrets_of(installation, project).https_token is None


@pytest.mark.parametrize(
    ("url", "is_kept"),
    [
        ("https://github.com/ada/other.git", True),
        ("https://GitHub.com/ada/app.git", True),
        ("https://git.example.com/ada/app.git", False),
        ("https://github.com:8443/ada/app.git", False),
        ("git@github.com:ada/app.git", False),
    ],
)
def test_a_token_stays_with_the_host_that_it_was_given_for(installation, operator, make_project, url, is_kept):
    project = make_project(url="https://github.com/ada/app.git")
    operator.set_https_token(project, "ghp_token")

    changed = operator.change(project, repository_url=url)

    assert (secrets_of(installation, changed).https_token == "ghp_token") is is_kept


def test_a_new_webhook_secret_takes_the_old_ones_place_and_the_connection_is_to_be_shown_again(
    installation, make_project, edit
):
    project = make_project()
    before = secrets_of(installation, project).webhook_secret
    edit(project, project_secrets.rotate_webhook_secret, installation.vault)

    assert secrets_of(installation, project).webhook_secret != before
    assert edit(project, lambda found: found.connected_at) is None


def test_a_removed_variable_is_gone(installation, operator, make_project):
    project = make_project()
    operator.set_variable(project, "A", "b")
    with installation.database.write_session() as session:
        found = projects.find(session, project.id)
        variables.remove(session, found, found.variables[0])

    assert secrets_of(installation, project).variables == {}


def test_a_project_is_found_by_name_or_id(installation, make_project):
    project = make_project()
    with Session(installation.database.engine) as session:
        assert projects.find(session, "app").id == projects.find(session, project.id).id == project.id


def test_a_directory_around_the_data_folder_or_a_link_into_it_is_refused(make_project, installation, tmp_path):
    """Deleting the project, or a step that cleans its directory, would take the database with it."""
    link = tmp_path / "link"
    link.symlink_to(installation.data_dir.spool)
    for path in (installation.data_dir.root.parent, link):
        with pytest.raises(InvalidInput) as caught:
            make_project(path=str(path))
        assert "data folder" in caught.value.fields["path"]
