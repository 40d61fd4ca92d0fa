"""The runner sends mails beside its work: nothing that a mail server does delays or loses anything."""

from __future__ import annotations

from deployer.deployments import claims, lifecycle
from deployer.notifications import mail_settings
from deployer.project_input import StepInput
from tests.support.mail_server import MailServer, text_of
from tests.support.waiting import wait_until


def test_a_failure_and_its_recovery_are_told_in_one_thread(operator, make_project, runner, mail_server, outbox):
    project = make_project("echo the reason; exit 3")
    operator.wait_for_end(operator.deploy(project))
    (first,) = mail_server.wait_for(1)
    operator.change(project, steps=["true"])
    for _ in range(2):
        operator.wait_for_end(operator.deploy(project))
    _, second = mail_server.wait_for(2)

    assert first["Subject"] == "[app] failed: DEP-0001 echo the reason; exit 3 exited with 3"
    assert "$ echo the reason; exit 3\nthe reason\n" in text_of(first).replace("\r\n", "\n")
    assert second["Subject"] == "[app] recovered: DEP-0002 first"
    assert first["In-Reply-To"] == second["In-Reply-To"]
    assert first["Message-ID"] != second["Message-ID"]
    wait_until(lambda: [row.status for row in outbox.rows()] == ["sent", "sent"], "both are recorded")
    assert [row.occasion for row in outbox.rows()] == ["failure", "recovery"]


def test_of_several_tries_the_last_of_the_step_that_failed_is_quoted(
    operator, make_project, runner, mail_server, outbox
):
    flaky = StepInput("echo x >> ../begun; echo not this; [ $(wc -l < ../begun) = 2 ]", name="flaky", retries=1)
    broken = StepInput("echo y >> ../tried; echo try $(wc -l < ../tried); exit 3", name="broken", retries=1)
    operator.wait_for_end(operator.deploy(make_project(flaky, broken)))

    (mail,) = mail_server.wait_for(1)

    assert mail["Subject"] == "[app] failed: DEP-0001 broken exited with 3, after 2 tries"
    text = text_of(mail).replace("\r\n", "\n")
    assert "exit 3\ntry 2\n" in text
    assert "not this" not in text.replace("echo not this", "")


def test_a_mail_server_that_hangs_delays_no_deployment(operator, make_project, runner, silent, outbox):
    failing = make_project("exit 1", name="failing")
    operator.wait_for_end(operator.deploy(failing))
    wait_until(lambda: silent.waiting == 1, "the mailer waits for the silent server")

    fine = make_project("echo well", name="fine")
    for _ in range(3):
        assert operator.wait_for_end(operator.deploy(fine)).status == "success"

    # All of that happened while the one attempt was still being made.
    assert (silent.waiting, outbox.row.attempts, outbox.row.last_error) == (1, 1, None)


def test_a_down_time_of_the_mail_server_delays_its_mails_and_loses_none(
    operator, make_project, make_runner, mail_server, outbox
):
    mail_server.stop()
    make_runner().start()
    operator.wait_for_end(operator.deploy(make_project("exit 1")))
    row = outbox.wait_for(attempts=1, status="pending")
    wait_until(lambda: outbox.row.last_error, "the error is recorded")
    assert row.deployment_id == operator.deployments()[0].id

    mail_server.start()
    outbox.is_due()

    outbox.wait_for(status="sent", attempts=2)
    assert len(mail_server.mails) == 1


def test_a_runner_killed_between_the_end_and_the_mail_has_lost_nothing(
    installation, operator, make_project, make_runner, mail_server, outbox
):
    """The end is committed, and with it what it owes; that runner did not come to sending it."""
    deployment_id = operator.deploy(make_project())
    with installation.database.write() as connection:
        mail_settings.mark(connection, installation.config)
        claims.claim(connection, "a runner that is killed", host_id=installation.host_id)
    with installation.database.write() as connection:
        lifecycle.fail(connection, deployment_id, "a runner that is killed", "a cause")

    make_runner().start()

    outbox.wait_for(status="sent", deployment_id=deployment_id)
    assert len(mail_server.mails) == 1


def test_a_runner_killed_while_it_sends_leaves_the_mail_to_the_next_one(
    operator, make_project, make_runner, silent, outbox
):
    runner = make_runner().start()
    operator.wait_for_end(operator.deploy(make_project("exit 1")))
    wait_until(lambda: silent.waiting == 1, "the mail is being sent")
    runner.kill()
    assert (outbox.row.status, outbox.row.attempts) == ("pending", 1)
    silent.close()

    with MailServer(port=silent.port) as mail_server:
        outbox.is_due()
        runner.start()
        row = outbox.wait_for(status="sent", attempts=2)
        assert [mail["Message-ID"] for mail in mail_server.mails] == [f"<notification.{row.id}@deploy.example.com>"]


def test_what_the_configuration_says_at_the_runners_start_decides_what_is_owed(
    installation, operator, make_project, make_runner, mail_server
):
    def is_marked() -> bool:
        with installation.database.read() as connection:
            return mail_settings.is_marked(connection)

    assert not is_marked()
    make_runner().start().wait_until_ready()
    assert is_marked()


def test_without_a_mail_server_nothing_is_owed(operator, make_project, runner, outbox):
    operator.wait_for_end(operator.deploy(make_project("exit 1")))

    assert outbox.rows() == []
