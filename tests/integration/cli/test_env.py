"""``env``: variables of a project and of all, in and out as text, and as a file."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from deployer import project_secrets, projects
from deployer.cli.context import Context
from deployer.cli.main import cli
from deployer.models import AuditEvent
from tests.support import database
from tests.support.forge import Forge


@pytest.fixture
def typed(operator, monkeypatch):
    """Commands as they are typed, without a process for each."""
    monkeypatch.setattr(Context, "installation", operator.installation)

    def run(*words: str, given: str = "", code: int = 0) -> Result:
        done = CliRunner().invoke(cli, words, input=given)
        assert done.exit_code == code, done.output
        return done

    return run


@pytest.fixture
def opened(operator):
    def read(name: str = "app") -> project_secrets.ProjectSecrets:
        with operator.database.write_session() as session:
            found = projects.find(session, name)
            return project_secrets.read_secrets(session, found, operator.installation.vault)

    return read


def events(operator) -> list[tuple[str, str, str | None]]:
    columns = (AuditEvent.action, AuditEvent.subject, AuditEvent.detail)
    with operator.database.read() as connection:
        return [tuple(row) for row in connection.execute(sa.select(*columns).order_by(AuditEvent.id))]


def test_variables_of_both_scopes_are_set_listed_and_removed(typed, operator, make_project, opened):
    make_project()
    typed("env", "set", "--all", "REGION=everywhere")
    typed("env", "set", "TIER=a=b", "--all")
    typed("env", "set", "app", "TIER=special")
    typed("env", "set", "--all", "TOKEN", "--secret", given="hunter2hunter2\n")

    assert typed("env", "list", "app").stdout.splitlines() == [
        "REGION=everywhere  # all projects",
        "TIER=special  # overrides the one of all projects",
        "TOKEN=***  # all projects",
    ]
    assert typed("env", "list", "--all").stdout == "REGION=everywhere\nTIER=a=b\nTOKEN=***\n"
    assert opened().variables == {"REGION": "everywhere", "TIER": "special", "TOKEN": "hunter2hunter2"}
    assert "app has no variable REGION." in typed("env", "rm", "app", "REGION", code=1).stderr
    typed("env", "rm", "--all", "REGION")
    assert opened().variables.keys() == {"TIER", "TOKEN"}
    assert ("variable.set", "all projects", "TOKEN") in events(operator)
    assert "hunter2" not in str(events(operator))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("set", "A=b"), "name a project, or say --all"),
        (("set", "--all", "app", "A=b"), "with --all no project is named"),
        (("list",), "name a project, or say --all"),
        (("file", "app"), "Give a PATH such as .env, or --none."),
    ],
)
def test_who_forgets_the_scope_is_told(typed, words, said):
    assert said in typed("env", *words, code=2).stderr


def test_a_text_goes_in_and_comes_out_again(typed, operator, make_project, opened, tmp_path):
    make_project()
    (tmp_path / "app.env").write_text("NODE_ENV=production\nNOTE='two\nlines'\n")

    first = typed("env", "import", "app", str(tmp_path / "app.env"))
    typed("env", "import", "app", "-", "--secret", given="TOKEN=hunter2hunter2")
    refused = typed("env", "import", "app", given="GOOD=1\nTOKEN=squeamish\noops squeamish\n", code=1)
    public = typed("env", "export", "app").stdout
    whole = typed("env", "export", "app", "--with-secrets").stdout

    assert first.stdout == "2 variables are set: NODE_ENV, NOTE.\n"
    assert "Nothing was set. Line 3: give NAME=value" in refused.stderr
    assert "squeamish" not in refused.stderr
    assert public == ("NODE_ENV='production'\nNOTE='two\nlines'\n# TOKEN is secret, and its value is not exported.\n")
    assert whole.endswith("TOKEN='hunter2hunter2'\n")
    assert opened().variables == {"NODE_ENV": "production", "NOTE": "two\nlines", "TOKEN": "hunter2hunter2"}
    assert opened().secret_variables == {"TOKEN"}
    assert events(operator)[-1] == ("variables.exported", "app", "with the secret values")


def test_the_file_is_chosen_by_its_path(typed, operator, make_project):
    made = make_project()
    operator.set_variable(made, "HARD", "'\"")

    refused = typed("env", "file", "app", ".env", code=1).stderr
    said = typed("env", "file", "app", "conf/x.json").stdout

    assert "HARD cannot be written into a dotenv file" in refused
    assert said == "The next deployment writes conf/x.json as json.\n"
    shown = operator.change(made)
    assert (shown.variables_file, shown.variables_format) == ("conf/x.json", "json")
    typed("env", "file", "app", "--none")
    assert operator.change(made).variables_file is None


def test_the_key_is_exchanged_beside_a_running_daemon_that_goes_on(at_daemon, there, repository, busy):
    project = there.make_project(repository.url, ['echo "<$TOKEN>"'], name="rotated")
    there.set_variable(project, "TOKEN", "hunter2hunter2", secret=True)
    forge = Forge(busy, project)
    before = forge.push(after=repository.tip())
    there.wait_for_end(before.headers["X-Deployment-Id"])

    if database.ON_POSTGRESQL:
        refused = at_daemon("key", "rotate", code=1).stderr
        assert "Other hosts may share the database" in refused
    said = at_daemon("key", "rotate", "--others-are-stopped").stdout

    assert "holds a new key, and" in said
    repository.commit("another")
    after = forge.push(after=repository.tip())
    deployment = there.wait_for_end(after.headers["X-Deployment-Id"])
    assert (after.status, deployment.status) == (200, "success")
    assert there.step_output(deployment.id) == b"<***>\n"
