"""What a deployment's beginning and end owe the channels that asked for it, in the transaction of that change."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from deployer.models.base import table_of
from deployer.models.channel import Channel, ChannelKind
from deployer.models.deployment import Deployment, Status
from deployer.models.notification import Occasion
from deployer.notifications import outbox

_channels = table_of(Channel)
_deployments = table_of(Deployment)

# Every deployment's beginning and end ask, so what that needs is built once.
_SELECT_CHANNELS = (
    sa.select(
        _deployments.c.project_id,
        _channels.c.id,
        _channels.c.kind,
        _channels.c.on_started,
        _channels.c.on_success,
        _channels.c.on_failure,
        _channels.c.on_recovery,
        _channels.c.on_interruption,
    )
    .join(
        _channels,
        sa.or_(_channels.c.project_id == _deployments.c.project_id, _channels.c.project_id.is_(None)),
    )
    .where(_deployments.c.id == sa.bindparam("id"), _channels.c.is_enabled)
    .order_by(_channels.c.id)
)

_ENDS = {
    Status.SUCCESS: Occasion.SUCCESS,
    Status.FAILED: Occasion.FAILURE,
    Status.INTERRUPTED: Occasion.INTERRUPTION,
    Status.CANCELLED: Occasion.CANCELLATION,
    Status.SUPERSEDED: Occasion.CANCELLATION,
}


def began(connection: sa.Connection, deployment_id: str, at: datetime) -> None:
    """Of a deployment that began: to whom that matters, and to every forge."""
    owed = [
        (one.id, Occasion.STARTED)
        for one in connection.execute(_SELECT_CHANNELS, {"id": deployment_id})
        if one.on_started or ChannelKind(one.kind).is_forge
    ]
    if owed:
        outbox.put(connection, owed, deployment_id, at)


def ended(connection: sa.Connection, deployment_id: str, status: Status, at: datetime) -> None:
    """Of one that had begun and ended with ``status``: by mail and to the channels.

    As in mails a success after a failure or an interruption is a recovery, and who wants no recoveries but successes
    is told of a success. People are told nothing of cancelled and superseded deployments; forges are, lest a commit
    stays pending there.
    """
    outbox.owe(connection, deployment_id, status, at)
    channels = connection.execute(_SELECT_CHANNELS, {"id": deployment_id}).all()
    if not channels:
        return
    is_recovery = status is Status.SUCCESS and outbox.was_down(connection, channels[0].project_id, deployment_id)
    owed = [(one.id, _occasion(one, status, is_recovery=is_recovery)) for one in channels]
    told = [(channel_id, occasion) for channel_id, occasion in owed if occasion]
    if told:
        outbox.put(connection, told, deployment_id, at)


def _occasion(channel: Any, status: Status, *, is_recovery: bool) -> Occasion | None:
    occasion = _ENDS[status]
    if ChannelKind(channel.kind).is_forge:
        return occasion
    if occasion is Occasion.CANCELLATION:
        return None
    if is_recovery and channel.on_recovery:
        return Occasion.RECOVERY
    return occasion if getattr(channel, f"on_{occasion}") else None
