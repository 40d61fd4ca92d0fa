"""A notification: a message that an event owes somebody, kept until it is sent or given up, with the reason."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from deployer.models.base import Base, partial
from deployer.models.channel import Channel
from deployer.models.deployment import Deployment


class Occasion(StrEnum):
    """What a notification tells of."""

    SUCCESS = "success"  # a deployment succeeded
    FAILURE = "failure"  # a deployment failed
    RECOVERY = "recovery"  # the first success after a failure or an interruption
    INTERRUPTION = "interruption"  # the host, the server or the process went away under a deployment
    STARTED = "started"  # a deployment began
    CANCELLATION = "cancellation"  # one that had begun ended without a result: cancelled, or superseded; for forges


BY_MAIL = (Occasion.SUCCESS, Occasion.FAILURE, Occasion.RECOVERY, Occasion.INTERRUPTION)
"""What a project can have told by mail."""

TO_PEOPLE = (Occasion.STARTED, *BY_MAIL)
"""What a chat or a webhook can be told."""


class NotificationStatus(StrEnum):
    """Where a notification stands."""

    PENDING = "pending"  # to be sent, for the first time or again
    SENT = "sent"  # taken by the mail server, or by the channel's
    GIVEN_UP = "given_up"  # could not be sent; the last error says why
    DROPPED = "dropped"  # no longer to be sent, as something later was; the last error says why


PENDING = sa.literal_column("'pending'", sa.String)
"""Written out, so that SQLite uses the partial index of what is due."""


class Notification(Base):
    __tablename__ = "notifications"
    __table_args__ = (
        sa.Index("ix_notifications_due", "next_attempt_at", **partial("status = 'pending'")),
        sa.Index("ix_notifications_created", "created_at"),
    )

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    # Where it goes; None is mail.
    channel_id: Mapped[str | None] = mapped_column(sa.ForeignKey("channels.id", ondelete="CASCADE"), index=True)
    deployment_id: Mapped[str] = mapped_column(sa.ForeignKey("deployments.id", ondelete="CASCADE"), index=True)
    occasion: Mapped[Occasion] = mapped_column(
        sa.Enum(Occasion, native_enum=False, length=16, values_callable=lambda e: [m.value for m in e])
    )
    status: Mapped[NotificationStatus] = mapped_column(
        sa.Enum(NotificationStatus, native_enum=False, length=16, values_callable=lambda e: [m.value for m in e])
    )
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime]
    last_error: Mapped[str | None] = mapped_column(sa.Text)
    # Whom the mail server has taken it for already (addresses with commas between): they do not get it again.
    delivered_to: Mapped[str | None] = mapped_column(sa.Text)
    # What the other side said when it took it, or did not; its beginning, without secrets.
    answer: Mapped[str | None] = mapped_column(sa.Text)
    # What the forge calls the deployment that it was told of.
    remote_id: Mapped[str | None] = mapped_column(sa.String(64))
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]

    channel: Mapped[Channel | None] = relationship()
    deployment: Mapped[Deployment] = relationship()
