"""A delivery: one webhook request as received, its verdict and reason, and the deployment it led to."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from deployer.models.base import Base


class Verdict(StrEnum):
    """What became of a delivery."""

    DEPLOYED = "deployed"  # led to a deployment
    IGNORED = "ignored"  # verified, and there was nothing to do
    PONG = "pong"  # the forge's test after the hook was made
    TEST = "test"  # our own test of the webhook, which is not to deploy
    DUPLICATE = "duplicate"  # a delivery that is already dealt with
    REFUSED = "refused"  # verified, but could not be taken (queue full, body unusable)
    UNVERIFIED = "unverified"  # signature missing, malformed or wrong


class Delivery(Base):
    __tablename__ = "deliveries"
    __table_args__ = (sa.Index("ix_deliveries_project_received", "project_id", "received_at"),)

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    project_id: Mapped[str] = mapped_column(sa.ForeignKey("projects.id", ondelete="CASCADE"))
    deployment_id: Mapped[str | None] = mapped_column(sa.String(36))
    # The forge's own id (X-GitHub-Delivery); it is not signed, so it proves nothing.
    guid: Mapped[str | None] = mapped_column(sa.String(64))
    provider: Mapped[str] = mapped_column(sa.String(16))
    event: Mapped[str | None] = mapped_column(sa.String(64))
    ref: Mapped[str | None] = mapped_column(sa.String(512))
    commit_sha: Mapped[str | None] = mapped_column(sa.String(64))
    repository: Mapped[str | None] = mapped_column(sa.String(255))
    headers: Mapped[str | None] = mapped_column(sa.Text)
    remote_address: Mapped[str | None] = mapped_column(sa.String(64))
    verdict: Mapped[Verdict] = mapped_column(
        sa.Enum(Verdict, native_enum=False, length=16, values_callable=lambda e: [m.value for m in e])
    )
    reason: Mapped[str] = mapped_column(sa.Text)
    received_at: Mapped[datetime]
    # The delivery whose payload this one is again; it may be gone.
    replay_of: Mapped[str | None] = mapped_column(sa.String(36))
    # Who had it replayed, or sent as a test; None: it came from the forge.
    asked_by: Mapped[str | None] = mapped_column(sa.String(64))


class DeliveryPayload(Base):
    """The body of a verified delivery, in a table of its own so that lists of deliveries stay small."""

    __tablename__ = "delivery_payloads"

    delivery_id: Mapped[str] = mapped_column(sa.ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True)
    # As it was received.
    size_bytes: Mapped[int]
    # As `deployments.payloads` packs it; None: it was too large to be kept.
    packed: Mapped[bytes | None]


class Counter(Base):
    """How often something happened that a stranger can cause at will, and which is therefore only counted."""

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    value: Mapped[int] = mapped_column(sa.BigInteger)
