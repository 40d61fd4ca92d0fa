"""``mail test``, the switches of ``project create`` and ``edit``, and what ``doctor`` says of the mail server."""

from __future__ import annotations

import pytest

from deployer import projects
from deployer.notifications import mail_settings
from tests.integration.cli.test_doctor import findings
from tests.support.daemon import free_port
from tests.support.mail_server import MailServer

URL = "https://github.com/grace/app.git"
pytestmark = pytest.mark.usefixtures("operator")


def environment(server: MailServer, **given: str) -> dict[str, str]:
    """The settings as variables."""
    named = {name.rstrip("_"): str(value) for name, value in server.settings(**given).items()}
    return {f"DEPLOYER_SMTP_{name.upper()}": value for name, value in named.items()}


def test_a_test_mail_is_sent_and_told(shell):
    with MailServer() as server:
        done = shell("mail", "test", **environment(server))

    assert done.stdout == "Test email sent to ops@example.com\n"
    assert [mail["Subject"] for mail in server.mails] == ["[Deployer] test mail"]


def test_a_refusal_is_told_in_the_servers_words_in_one_line(shell):
    with MailServer(login=True) as server:
        done = shell("mail", "test", code=1, **environment(server, password="a wrong one"))

    assert "535 5.7.8 Authentication credentials invalid" in done.stderr
    assert "a wrong one" not in done.stderr + done.stdout
    assert done.stderr.startswith("Error: The mail server refused the login: ")


def test_without_settings_it_is_told(shell):
    assert shell("mail", "test", code=1).stderr == "Error: SMTP not configured\n"


def test_settings_of_the_dashboard_are_used_too(shell, operator):
    with MailServer() as server:
        installation = operator.installation
        given = {name: str(value) for name, value in server.settings().items()}
        with installation.database.write() as connection:
            mail_settings.save(connection, given, "", config=installation.config, vault=installation.vault)
        shell("mail", "test")

    assert len(server.mails) == 1


def switches(operator, name: str) -> tuple[list[str], str | None]:
    with operator.database.write_session() as session:
        project = projects.find(session, name)
        occasions = ("success", "failure", "recovery", "interruption")
        return [one for one in occasions if getattr(project, f"mail_on_{one}")], project.mail_to


def test_a_projects_switches_are_set_and_kept(shell, operator):
    shell("project", "create", "app", "--repo", URL)
    assert switches(operator, "app") == (["failure", "recovery", "interruption"], None)

    shell("project", "edit", "app", "--mail-on", "success, failure", "--mail-to", "ada@example.com,bob@example.com")
    assert switches(operator, "app") == (["success", "failure"], "ada@example.com, bob@example.com")

    shell("project", "edit", "app", "--branch", "next")
    assert switches(operator, "app") == (["success", "failure"], "ada@example.com, bob@example.com")

    shell("project", "edit", "app", "--mail-on", "none", "--mail-to", "")
    assert switches(operator, "app") == ([], None)

    shell("project", "create", "other", "--repo", URL, "--mail-on", "recovery", "--mail-to", "ada@example.com")
    assert switches(operator, "other") == (["recovery"], "ada@example.com")


def test_switches_and_addresses_that_are_none_are_refused(shell):
    done = shell("project", "create", "app", "--repo", URL, "--mail-on", "failure,sucess", code=1)
    assert done.stderr.startswith("Error: mail_on: sucess is none of success, failure, recovery, interruption")
    done = shell("project", "create", "app", "--repo", URL, "--mail-to", "ada", code=1)
    assert done.stderr == "Error: mail_to: 'ada' is not an e-mail address.\n"


def test_the_doctor_says_whether_the_mail_server_answers(shell):
    done = shell("doctor")
    assert findings(done)["mail"] == "ok"
    assert "not set up; no mails are sent." in done.stdout

    with MailServer() as server:
        done = shell("doctor", **environment(server))
    assert findings(done)["mail"] == "ok"
    assert f"127.0.0.1:{server.port} answers: " in done.stdout
    assert server.mails == []

    server.port = free_port()
    done = shell("doctor", **environment(server))
    assert findings(done)["mail"] == "warn"
    assert f"127.0.0.1:{server.port} does not answer: Connection refused." in done.stdout
