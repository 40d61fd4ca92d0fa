"""A runner: the process that claims deployments, on which host, and when it was last known to work."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from deployer.models.base import Base


class Runner(Base):
    """Where hosts share a database, the others go by its heartbeat: one that has stopped loses its claims."""

    __tablename__ = "runners"

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    # The host, by the id in its data folder and by its name.
    host_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    host_name: Mapped[str] = mapped_column(sa.String(255))
    started_at: Mapped[datetime]
    # By the database's clock, so that hosts need not agree on the time.
    heartbeat_at: Mapped[datetime]
