"""The audit log: who changed what, from where. Written in the transaction of the change itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer import clock
from deployer.db import Database
from deployer.models.audit import AuditEvent
from deployer.models.base import table_of

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
