"""What the outbox holds reaches people: whole, once, and without secrets."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from deployer import clock
from deployer.deployments import claims, command_lifecycle, lifecycle
from deployer.deployments.command_lifecycle import PlannedCommand
from deployer.models import LogChunk
from deployer.models.deployment import ChunkKind, CommandKind, Status
from deployer.notifications import delivery, mail_settings
from tests.support.mail_server import html_of, text_of

MINE = "my runner"
SECRET = "squeamish ossifrage"


@pytest.fixture
def fail(operator, installation, mail_server):
    """Have a project's next deployment fail in a step, with this output; its id."""

    def make(
        project, *, line: str = "npm ci", output: bytes = b"", cause: str = "step 'npm ci' exited with 1", **facts
    ):
        with installation.database.write() as connection:
            mail_settings.mark(connection, installation.config)
        deployment_id = operator.deploy(project)
        command_id = clock.new_id()
        planned = PlannedCommand(command_id, 0, CommandKind.STEP, "npm ci", line, 60, "nonce")
        nothing = command_lifecycle.Progress(0, 0, None)
        with installation.database.write_session() as session:
            connection = session.connection()
            claims.claim(connection, MINE, host_id=installation.host_id)
            if facts:
                lifecycle.record_commit(connection, deployment_id, MINE, **facts)
            command_lifecycle.plan(connection, deployment_id, [planned])
            command_lifecycle.start_command(connection, command_id, MINE, "boot")
            for number, part in enumerate(output.splitlines(keepends=True), 1):
                session.add(
                    LogChunk(
                        deployment_id=deployment_id,
                        seq=number,
                        command_id=command_id,
                        lines=1,
                        kind=ChunkKind.OUTPUT,
                        data=part,
                        created_at=clock.now(),
                    )
                )
            session.flush()
            command_lifecycle.finish_command(
                connection, command_id, MINE, Status.FAILED, exit_code=1, cause=cause, progress=nothing
            )
            lifecycle.fail(connection, deployment_id, MINE, cause)
        return deployment_id

    return make


def test_a_failure_is_told_with_its_command_and_the_last_50_lines(
    installation, make_project, fail, outbox, mail_server
):
    output = b"".join(b"\x1b[3%dmline %d\x1b[0m\n" % (number % 8, number) for number in range(1, 201))
    deployment_id = fail(make_project(), output=output, commit_message="Mend\n\nmore", author_name="Grace")

    assert delivery.send_due(installation) is None

    (mail,) = mail_server.mails
    ref = "DEP-0001"
    assert mail["Subject"] == f"[app] failed: {ref} npm ci exited with 1"
    for said in (text_of(mail), html_of(mail)):
        assert "$ npm ci" in said
        assert "line 200" in said
        assert "line 151" in said
        assert "line 150" not in said
        assert "\x1b" not in said
        assert f"https://deploy.example.com/deployments/{ref}" in said
    row = outbox.row
    assert (row.deployment_id, row.status, row.attempts) == (deployment_id, "sent", 1)
    assert (row.last_error, row.delivered_to) == (None, "ops@example.com")
    assert mail["Message-ID"] == f"<notification.{row.id}@deploy.example.com>"


def test_a_projects_own_addresses_get_its_mails_too_and_nobody_gets_one_twice(
    installation, make_project, fail, mail_server
):
    fail(make_project(mail_to="ada@example.com, ops@example.com"))

    delivery.send_due(installation)

    (envelope,) = mail_server.envelopes
    assert envelope.rcpt_tos == ["ops@example.com", "ada@example.com"]


def test_secrets_are_taken_out_again_wherever_they_stand(installation, operator, make_project, fail, mail_server):
    """Also one that the log could not hide: set later, or broken up by colours that a mail does not have."""
    project = make_project()
    fail(
        project,
        line=f"curl -u me:{SECRET} https://example.com",
        output=f"token: {SECRET}\nsquea\x1b[31mmish ossi\x1b[0mfrage\n".encode(),
        cause=f"step '{SECRET}' exited with 1",
        commit_message=f"Use {SECRET}",
        author_name=SECRET,
    )
    operator.set_variable(project, "TOKEN", SECRET, secret=True)

    delivery.send_due(installation)

    (mail,) = mail_server.mails
    for said in (str(mail["Subject"]), text_of(mail), html_of(mail), mail.as_string()):
        assert "ossifrage" not in said
    assert mail["Subject"] == "[app] failed: DEP-0001 *** exited with 1"
    assert text_of(mail).count("***") >= 5


def test_a_secret_that_the_cut_of_a_long_log_would_halve_is_not_shown(
    installation, operator, make_project, fail, mail_server
):
    project = make_project()
    secret = random.Random(20250115).randbytes(2000).hex()
    # No line end for longer than what is read of a log's end, which begins within a secret, wherever that is.
    fail(project, output=secret.encode() * 30)
    operator.set_variable(project, "LONG", secret, secret=True)

    delivery.send_due(installation)

    (mail,) = mail_server.mails
    said = text_of(mail)
    assert "***" in said
    assert not [part for part in (secret[at : at + 8] for at in range(len(secret) - 8)) if part in said]


@pytest.mark.parametrize("evil", ["x\r\nBcc: eve@example.net\r\n\r\nbody", "=?utf-8?q?x=0D=0ABcc:_eve@example.net?="])
def test_nobody_gets_a_mail_because_a_commit_says_so(installation, make_project, fail, mail_server, evil):
    fail(make_project(), commit_message=evil, author_name=evil, author_email=evil, cause=evil, branch=evil)

    delivery.send_due(installation)

    (envelope,), (mail,) = mail_server.envelopes, mail_server.mails
    assert envelope.rcpt_tos == ["ops@example.com"]
    assert mail["Bcc"] is None
    assert mail["Subject"].startswith("[app] failed: DEP-0001 ")


def test_a_mail_that_the_server_does_not_take_now_comes_later_and_once(
    installation, make_project, fail, outbox, mail_server
):
    fail(make_project())
    mail_server.stop()
    wait_s = delivery.send_due(installation)
    row = outbox.row
    assert (row.status, row.attempts) == ("pending", 1)
    assert "does not answer: Connection refused." in row.last_error
    assert 0 < wait_s <= 60

    outbox.is_due()
    delivery.send_due(installation)
    assert (outbox.row.status, outbox.row.attempts) == ("pending", 2)

    mail_server.start()
    outbox.is_due()
    assert delivery.send_due(installation) is None
    assert delivery.send_due(installation) is None

    assert (outbox.row.status, outbox.row.attempts, outbox.row.last_error) == ("sent", 3, None)
    assert len(mail_server.mails) == 1


def test_after_a_day_of_trying_it_is_given_up_visibly(installation, make_project, fail, outbox, mail_server):
    fail(make_project())
    mail_server.stop()
    outbox.is_due(age=timedelta(hours=25))

    assert delivery.send_due(installation) is None

    assert outbox.row.status == "given_up"
    assert "does not answer" in outbox.row.last_error


def test_a_refusal_for_good_is_given_up_at_once_and_a_wrong_password_is_not(
    installation, make_project, fail, outbox, mail_server
):
    mail_server.refuse["ops@example.com"] = "550 5.1.1 no such user"
    fail(make_project())
    delivery.send_due(installation)
    assert (outbox.row.status, outbox.row.attempts) == ("given_up", 1)
    assert outbox.row.last_error == "The mail server refused ops@example.com: 550 5.1.1 no such user"


def test_a_wrong_password_can_be_mended_within_the_day(
    installation, make_project, fail, outbox, make_mail_server, with_smtp, authority
):
    locked = make_mail_server("starttls", login=True)
    given = {"ca_file": str(authority.ca_file)}
    with_smtp(locked.smtp_settings(password="a wrong one", **given))
    fail(make_project())
    delivery.send_due(installation)
    assert (outbox.row.status, "535" in outbox.row.last_error) == ("pending", True)
    assert "a wrong one" not in outbox.row.last_error

    with_smtp(locked.smtp_settings(**given))
    outbox.is_due()
    delivery.send_due(installation)

    assert outbox.row.status == "sent"
    assert len(locked.mails) == 1


def test_of_several_recipients_only_those_who_did_not_get_it_get_it_later(
    installation, make_project, fail, outbox, mail_server
):
    mail_server.refuse["ada@example.com"] = "450 4.2.0 greylisted"
    fail(make_project(mail_to="ada@example.com, bob@example.com"))
    delivery.send_due(installation)
    assert (outbox.row.status, outbox.row.delivered_to) == ("pending", "ops@example.com, bob@example.com")
    assert outbox.row.last_error == "The mail server refused ada@example.com: 450 4.2.0 greylisted"

    mail_server.refuse.clear()
    outbox.is_due()
    delivery.send_due(installation)

    assert [one.rcpt_tos for one in mail_server.envelopes] == [
        ["ops@example.com", "bob@example.com"],
        ["ada@example.com"],
    ]
    first, second = mail_server.mails
    assert first["Message-ID"] == second["Message-ID"]
    assert outbox.row.status == "sent"


def test_a_project_that_is_deleted_takes_its_mails_along(installation, operator, make_project, fail, outbox):
    from deployer import projects

    project = make_project()
    fail(project)
    with installation.database.write_session() as session:
        projects.delete(session, projects.find(session, project.name), installation.data_dir)

    assert delivery.send_due(installation) is None
    assert outbox.rows() == []


def test_what_is_owed_when_mail_is_switched_off_is_given_up_and_not_kept_for_later(
    installation, make_project, fail, outbox, with_smtp, mail_server
):
    fail(make_project())
    with_smtp(type(installation.config.smtp)())

    delivery.send_due(installation)

    assert (outbox.row.status, outbox.row.last_error) == ("given_up", "SMTP not configured")
    assert mail_server.mails == []
