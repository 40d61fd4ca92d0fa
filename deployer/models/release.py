"""A release: a directory made by a successful build, which can be made current again without a rebuild."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from deployer.models.base import Base


class Release(Base):
    __tablename__ = "releases"
    __table_args__ = (sa.UniqueConstraint("project_id", "number"),)

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    project_id: Mapped[str] = mapped_column(sa.ForeignKey("projects.id", ondelete="CASCADE"))
    number: Mapped[int]
    commit_sha: Mapped[str] = mapped_column(sa.String(64))
    # The deployment that built it. Its steps that activated it, as JSON: they are run again when it is gone back to,
    # whatever the project's are by then.
    deployment_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    activate_steps: Mapped[str] = mapped_column(sa.Text)
    # On disk, without what it shares with others; known once it was built.
    size_bytes: Mapped[int | None] = mapped_column(sa.BigInteger)
    created_at: Mapped[datetime]
    # When it became the current one last; None: its build failed, or is under way.
    activated_at: Mapped[datetime | None]
    # When its directory was removed.
    removed_at: Mapped[datetime | None]

    @property
    def name(self) -> str:
        """Its directory's: ``12-1a2b3c4``."""
        return f"{self.number}-{self.commit_sha[:7]}"
