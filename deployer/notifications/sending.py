"""Sending what the outbox holds for a channel: one attempt at a time, and what became of it."""

from __future__ import annotations

import logging
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer import clock
from deployer.db import retrying
from deployer.errors import ChannelError, DeployerError
from deployer.installation import Installation
from deployer.models.project import Project
from deployer.notifications import carrier, channels, forges, job, outbox, transport
from deployer.notifications.forges import Forge
from deployer.notifications.job import Job
from deployer.notifications.message import shown
from deployer.notifications.outbox import Due
from deployer.notifications.transport import Done, Line
from deployer.security.redaction import Redactor

log = logging.getLogger("deployer.channels")

COMMIT_WAIT = timedelta(seconds=5)
"""A deployment by hand knows its commit only after the fetch: so often it is looked for."""


def send_due(installation: Installation, channel_id: str) -> float | None:
    """Make every attempt for a channel that is due; the seconds until the next one, None where nothing is left."""
    while True:
        with installation.database.read() as connection:
            due = outbox.first(connection, channel_id)
        if due is None:
            return None
        wait_s = (due.next_attempt_at - clock.now()).total_seconds()
        if wait_s > 0:
            return wait_s
        _attempt(installation, due)


def send_test(installation: Installation, channel_id: str) -> str:
    """Send a test message to a channel as it is stored, within 15 s; what came of it, in words.

    Raises ChannelError with the other side's words, without the channel's secrets.
    """
    with installation.database.read() as connection, Session(connection) as session:
        channel = channels.find(session, channel_id)
        kind, target, project = channel.kind, channel.target, channel.project
        sealed = channels.opened(channel, installation.vault)
        forge = channels.forge_of(channel, sealed) if kind.is_forge else None
        repository = _repository(session, forge, project) if forge else ""
    line = Line(allow_private=installation.config.outbound.allow_private)
    redactor = Redactor(channels.to_redact(sealed))
    try:
        return transport.test(kind, target, sealed, forge, repository, line)
    except ChannelError as refusal:
        words = shown(str(refusal.args[0]), redactor.whole)
        if refusal.answer:
            words += f"\n{shown(refusal.answer, redactor.whole)[:500]}"
        raise ChannelError(words, hint=refusal.hint) from None


def _repository(session: Session, forge: Forge, project: Project | None) -> str:
    """The repository that a test looks at: the channel's, its project's, or that of any project at this forge."""
    if project:
        return forges.repository_of(forge, project.repository_url, must_be_there=False)
    for url in session.scalars(sa.select(Project.repository_url).order_by(Project.name)):
        try:
            return forges.repository_of(forge, url, must_be_there=True)
        except ChannelError:
            continue
    raise ChannelError(f"No project's repository is at {forges.web_host(forge)} yet, so there is nothing to look at.")


# An attempt ------------------------------------------------------------------------------------------------------


def _attempt(installation: Installation, due: Due) -> None:
    """Claim, send, and record what became of it. Never raises for what is wrong with the channel."""
    found: Job | None = None
    failure: DeployerError | None = None
    try:
        with installation.database.read() as connection:
            found = job.read(installation, connection, due.id)
    except DeployerError as error:
        failure = error
    with installation.database.write() as connection:
        if found and found.pointless:
            outbox.dropped(connection, due, found.pointless)
            return
        if found and found.waits_for_commit:
            outbox.put_off(connection, due, COMMIT_WAIT, "The commit is not known yet.")
            return
        claimed = outbox.claim(connection, due)
    if claimed is None:
        return
    done = Done(remote_id=found.remote_id if found else None)
    if found:
        failure = _try(installation, found, done)
    _record(installation, claimed, found, done, failure)


def _try(installation: Installation, found: Job, done: Done) -> DeployerError | None:
    try:
        transport.send(found, Line(allow_private=installation.config.outbound.allow_private), done)
    except DeployerError as refusal:
        return refusal
    except Exception as error:
        log.exception("a notification could not be made")
        return ChannelError(f"An internal error: {type(error).__name__}; the runner's log says more.")
    return None


def _record(
    installation: Installation, claimed: Due, found: Job | None, done: Done, failure: DeployerError | None
) -> None:
    def clean(text: str) -> str:
        return shown(text, found.redactor.whole) if found else text

    told = failure if isinstance(failure, ChannelError) else None
    answer = clean(told.answer if told and told.answer else done.answer)[: carrier.KEPT_BYTES]
    error = clean(str(failure)) if failure else ""
    if failure:
        log.warning("a notification was not sent (attempt %d): %s", claimed.attempts, error.replace("\n", " "))

    def record() -> None:
        with installation.database.write() as connection:
            if failure is None:
                outbox.sent(connection, claimed, "", answer=answer, remote_id=done.remote_id)
                return
            again_at = outbox.failed(
                connection,
                claimed,
                error,
                is_permanent=told is not None and told.is_permanent,
                answer=answer,
                remote_id=done.remote_id,
                wait_s=told.wait_s if told else None,
            )
            if again_at and found:
                outbox.wait_with(connection, found.channel_id, again_at)

    # What the other side has taken must not be forgotten because the database is busy.
    retrying(record)
