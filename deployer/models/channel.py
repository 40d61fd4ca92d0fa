"""A channel: where notifications go besides mail. A chat, a webhook, or a commit's status at its forge."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from deployer.models.base import Base, partial
from deployer.models.project import Project


class ChannelKind(StrEnum):
    """How a channel is spoken to."""

    APPRISE = "apprise"  # a chat or push service, by one of Apprise's addresses
    WEBHOOK = "webhook"  # JSON to an address, signed by us
    GITHUB = "github"  # commit statuses, and deployments where an environment is named
    GITLAB = "gitlab"  # commit statuses
    GITEA = "gitea"  # commit statuses, of Forgejo too

    @property
    def is_forge(self) -> bool:
        """Whether it is told how a commit stands, and not people of what happened."""
        return self in (ChannelKind.GITHUB, ChannelKind.GITLAB, ChannelKind.GITEA)


class Channel(Base):
    __tablename__ = "channels"
    __table_args__ = (
        sa.Index("uq_channels_name_of_project", "project_id", "name", unique=True),
        sa.Index("uq_channels_name_of_all", "name", unique=True, **partial("project_id IS NULL")),
    )

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    # None: of all projects.
    project_id: Mapped[str | None] = mapped_column(sa.ForeignKey("projects.id", ondelete="CASCADE"))
    kind: Mapped[ChannelKind] = mapped_column(
        sa.Enum(ChannelKind, native_enum=False, length=16, values_callable=lambda e: [m.value for m in e])
    )
    name: Mapped[str] = mapped_column(sa.String(64))
    # All that is ever shown of where it leads: a service, and a host.
    target: Mapped[str] = mapped_column(sa.String(255))
    # What is no secret, as JSON: a forge's API, repository and environment.
    facts: Mapped[str] = mapped_column(sa.Text, default="{}")
    # Addresses, tokens and secrets, as JSON encrypted by security.vault and bound to this channel.
    sealed: Mapped[bytes]
    is_enabled: Mapped[bool] = mapped_column(default=True)
    # What it is told. A forge is told everything that changes how a commit stands.
    on_started: Mapped[bool] = mapped_column(default=False)
    on_success: Mapped[bool] = mapped_column(default=False)
    on_failure: Mapped[bool] = mapped_column(default=False)
    on_recovery: Mapped[bool] = mapped_column(default=False)
    on_interruption: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    project: Mapped[Project | None] = relationship()
