"""Sending what the outbox holds: the facts from the tables, the mail from them, and one attempt at a time."""

from __future__ import annotations

import logging

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from deployer import clock, mail_addresses, project_secrets
from deployer.db import retrying
from deployer.deployments import logs
from deployer.errors import DeployerError, MailError
from deployer.installation import Installation
from deployer.models.deployment import Command, Deployment, Status
from deployer.models.notification import Notification
from deployer.notifications import mail_settings, message, outbox, smtp
from deployer.notifications.mail_settings import MailSettings
from deployer.notifications.message import Envelope, Letter
from deployer.notifications.outbox import Due
from deployer.security.redaction import Redactor

log = logging.getLogger("deployer.mail")

STEP_TIMEOUT_S = 30.0
TOTAL_TIMEOUT_S = 120.0
TEST_TIMEOUT_S = 15.0
"""What a person waits for, altogether."""

_LOG_BYTES = 64 * 1024
"""Of a log this much is searched for its last lines."""


def send_due(installation: Installation) -> float | None:
    """Make every attempt that is due; the seconds until the next one, None where nothing is left to be sent."""
    while True:
        with installation.database.read() as connection:
            due = outbox.first(connection)
        if due is None:
            return None
        wait_s = (due.next_attempt_at - clock.now()).total_seconds()
        if wait_s > 0:
            return wait_s
        _attempt(installation, due)


def send_test(installation: Installation) -> str:
    """Send a test mail with the settings in force, within 15 s; to whom it went.

    Raises MailError with the server's own words.
    """
    with installation.database.read() as connection:
        found = mail_settings.load(connection, installation.config)
        mail_settings.require_complete(found)
        server = _server(installation, connection, found)
    envelope = _envelope(installation, found, None)
    mail = message.render_test(envelope).as_bytes()
    refused = smtp.send(
        server,
        mail,
        envelope.sender[1],
        envelope.recipients,
        step_s=TEST_TIMEOUT_S,
        total_s=TEST_TIMEOUT_S,
    )
    if refused:
        raise MailError("\n".join(map(str, refused.values())))
    return ", ".join(envelope.recipients)


# An attempt -----------------------------------------------------------------------------------------------------


def _attempt(installation: Installation, due: Due) -> None:
    """Claim, send, and record what became of it. Never raises for what is wrong with the mail or its server."""
    with installation.database.write() as connection:
        claimed = outbox.claim(connection, due)
    if claimed is None:
        return
    delivered: list[str] = []
    error: str | None = None
    is_permanent = False
    try:
        refused = _send(installation, claimed.id, delivered)
    except DeployerError as refusal:
        error, is_permanent = str(refusal), isinstance(refusal, MailError) and refusal.is_permanent
    except Exception as failure:
        log.exception("a mail could not be made")
        error = f"An internal error: {type(failure).__name__}; the runner's log says more."
    else:
        if refused:
            error = "\n".join(map(str, refused.values()))
            is_permanent = all(one.is_permanent for one in refused.values())
    if error:
        log.warning("a mail was not sent (attempt %d): %s", claimed.attempts, error.replace("\n", " "))

    def record() -> None:
        with installation.database.write() as connection:
            addresses = ", ".join(delivered)
            if error is None:
                outbox.sent(connection, claimed, addresses)
            else:
                outbox.failed(connection, claimed, error, is_permanent=is_permanent, delivered_to=addresses)

    # What the server has taken must not be forgotten because the database is busy.
    retrying(record)


def _send(installation: Installation, notification_id: str, delivered: list[str]) -> dict[str, MailError]:
    """Send a notification to those who do not have it yet; ``delivered`` gets everybody who has it afterwards."""
    with installation.database.read() as connection:
        found = mail_settings.load(connection, installation.config)
        mail_settings.require_complete(found)
        server = _server(installation, connection, found)
        with Session(connection) as session:
            notification = session.scalars(
                sa.select(Notification)
                .where(Notification.id == notification_id)
                .options(joinedload(Notification.deployment).joinedload(Deployment.project))
            ).one()
            delivered.extend(mail_addresses.split(notification.delivered_to or ""))
            project = notification.deployment.project
            secrets = project_secrets.read_secrets(session, project, installation.vault)
            redactor = Redactor(secrets.to_redact())
            letter = _letter(connection, notification, redactor)
            envelope = _envelope(installation, found, project.mail_to)
    mail = message.render(letter, envelope, redactor.whole).as_bytes()
    wanted = [one for one in envelope.recipients if one not in delivered]
    if not wanted:
        return {}
    refused = smtp.send(server, mail, envelope.sender[1], wanted, step_s=STEP_TIMEOUT_S, total_s=TOTAL_TIMEOUT_S)
    delivered.extend(one for one in wanted if one not in refused)
    return refused


def _server(installation: Installation, connection: sa.Connection, found: MailSettings) -> smtp.Server:
    config = installation.config
    return smtp.Server(
        host=found.host,
        port=found.port_in_use,
        security=found.security,
        username=found.username,
        password=mail_settings.password(connection, config, installation.vault) if found.username else "",
        ca_file=found.ca_file,
        helo=smtp.name_of(config.public_url),
    )


def _envelope(installation: Installation, found: MailSettings, more: str | None) -> Envelope:
    recipients = mail_addresses.split(found.to)
    recipients += [one for one in mail_addresses.split(more or "") if one not in recipients]
    return Envelope(mail_addresses.sender(found.from_), recipients, installation.config.public_url)


def _letter(connection: sa.Connection, notification: Notification, redactor: Redactor) -> Letter:
    deployment = notification.deployment
    command = _culprit(deployment)
    return Letter(
        notification_id=notification.id,
        project_id=deployment.project_id,
        project=deployment.project.name,
        occasion=notification.occasion,
        ref=deployment.ref,
        branch=f"{deployment.tag} (tag)" if deployment.tag else deployment.branch,
        written_at=notification.created_at,
        cause=deployment.cause,
        sha=deployment.sha,
        commit_message=deployment.commit_message,
        author=deployment.author_name,
        started_at=deployment.started_at,
        finished_at=deployment.finished_at,
        command=command.line if command else None,
        log=_end_of_log(connection, command, redactor) if command else None,
    )


def _culprit(deployment: Deployment) -> Command | None:
    """The command with which a deployment ended, where it ended badly."""
    if deployment.status is Status.SUCCESS:
        return None
    # The last: before it there may be tries that failed, of this step or of one that succeeded in the end.
    return next((one for one in reversed(deployment.commands) if one.status is deployment.status), None)


def _end_of_log(connection: sa.Connection, command: Command, redactor: Redactor) -> bytes:
    """The end of a log, cut where no secret is cut in two: its second half could not be told from other text."""
    end, is_cut = logs.tail_of_command(connection, command, _LOG_BYTES + redactor.longest)
    return end[redactor.cut_after(end, redactor.longest) :] if is_cut else end
