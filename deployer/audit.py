"""The audit log: who changed what, from where. Written in the transaction of the change itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer import clock
from deployer.db import Database
from deployer.models.audit import AuditEvent
from deployer.models.base import table_of

FAILED_LOGIN = "login.failed"
NOBODY = "(not logged in)"
"""The actor of a failed login. No user can have this name."""

KEPT_FAILED_LOGINS = 1000
"""Failed logins that are kept, the newest: a stranger can make as many as they like."""

_events = table_of(AuditEvent)


@dataclass(frozen=True)
class Actor:
    """Who acts. ``address`` is the client's; None for the command line."""

    name: str
    address: str | None = None


def record(
    connection: sa.Connection, actor: Actor, action: str, subject: str = "", detail: str | None = None
) -> None:
    """Note a change. ``action`` is a noun and what became of it: ``project.created``. No secret goes in here."""
    connection.execute(
        _events.insert().values(
            at=clock.now(),
            actor=actor.name[:255],
            address=actor.address[:64] if actor.address else None,
            action=action,
            subject=subject[:255],
            detail=detail,
        )
    )


@contextmanager
def changing(
    database: Database, actor: Actor, action: str, subject: str = "", detail: str | None = None
) -> Iterator[Session]:
    """A write transaction for a person's wish, noted in the audit log if it is committed."""
    with database.write_session() as session:
        yield session
        session.flush()
        record(session.connection(), actor, action, subject, detail)


def record_failed_login(connection: sa.Connection, address: str, username: str, why: str) -> None:
    """Note that somebody could not log in. ``username`` is that of a user, or empty: what a stranger typed may be a
    password."""
    record(connection, Actor(NOBODY, address), FAILED_LOGIN, username, why)
    is_failed = _events.c.action == FAILED_LOGIN
    oldest_kept = (
        sa.select(_events.c.id)
        .where(is_failed)
        .order_by(_events.c.id.desc())
        .limit(1)
        .offset(KEPT_FAILED_LOGINS - 1)
        .scalar_subquery()
    )
    connection.execute(_events.delete().where(is_failed, _events.c.id < oldest_kept))


def find(
    session: Session, *, actor: str = "", action: str = "", text: str = "", before: int | None = None, limit: int = 50
) -> Sequence[AuditEvent]:
    """The newest events that match all that is given. ``text`` is looked for in subject and detail; ``before`` is the
    id of the last event of the page before."""
    wanted = sa.select(AuditEvent).order_by(AuditEvent.id.desc()).limit(limit)
    if actor:
        wanted = wanted.where(AuditEvent.actor == actor)
    if action:
        wanted = wanted.where(AuditEvent.action == action)
    if text:
        wanted = wanted.where(
            AuditEvent.subject.contains(text, autoescape=True) | AuditEvent.detail.contains(text, autoescape=True)
        )
    if before is not None:
        wanted = wanted.where(AuditEvent.id < before)
    return session.scalars(wanted).all()


def actors_and_actions(session: Session) -> tuple[list[str], list[str]]:
    """Everybody and everything that the log names, sorted."""
    actors = session.scalars(sa.select(AuditEvent.actor).distinct().order_by(AuditEvent.actor))
    actions = session.scalars(sa.select(AuditEvent.action).distinct().order_by(AuditEvent.action))
    return list(actors), list(actions)
