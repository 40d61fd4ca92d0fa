"""A schedule: the times at which a project's newest commit is deployed, whether or not anybody pushed."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from deployer.models.base import Base


class Schedule(Base):
    __tablename__ = "schedules"
    __table_args__ = (sa.UniqueConstraint("project_id", "number"),)

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    project_id: Mapped[str] = mapped_column(sa.ForeignKey("projects.id", ondelete="CASCADE"))
    # By which people name it, within its project.
    number: Mapped[int]
    # Five fields (see `deployer.cron`), by the clocks of this time zone.
    expression: Mapped[str] = mapped_column(sa.String(200))
    zone: Mapped[str] = mapped_column(sa.String(64))
    is_enabled: Mapped[bool] = mapped_column(default=True)
    # When it is due: who moves this on, under the condition that it is still what was seen, deploys.
    next_at: Mapped[datetime | None] = mapped_column(index=True)
    # For when it last led to a deployment, and to which; and when it last did not, and why.
    last_at: Mapped[datetime | None]
    last_deployment_id: Mapped[str | None] = mapped_column(sa.String(36))
    missed_at: Mapped[datetime | None]
    missed_because: Mapped[str | None] = mapped_column(sa.Text)
    created_by: Mapped[str] = mapped_column(sa.String(255))
    created_at: Mapped[datetime]
