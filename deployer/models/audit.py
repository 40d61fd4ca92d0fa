"""The audit log: everything that somebody changed. Rows are only ever added."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from deployer.models.base import Base


class AuditEvent(Base):
    __tablename__ = "audit_events"
    __table_args__ = (sa.Index("ix_audit_events_action", "action", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(index=True)
    # Who: a user's name, or the system user and that it came by the command line.
    actor: Mapped[str] = mapped_column(sa.String(255))
    # From where: the client's address; None for the command line.
    address: Mapped[str | None] = mapped_column(sa.String(64))
    # What: "project.created" and so on, on which object, with what else is worth knowing. Never a secret.
    action: Mapped[str] = mapped_column(sa.String(64))
    subject: Mapped[str] = mapped_column(sa.String(255))
    detail: Mapped[str | None] = mapped_column(sa.Text)
