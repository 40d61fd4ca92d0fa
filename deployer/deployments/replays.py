"""Replays: the kept payload of a delivery, looked at and decided on again by a person's wish."""

from __future__ import annotations

import json

from sqlalchemy.orm import Session

from deployer import clock
from deployer.deployments import payloads, queue
from deployer.deployments.deliveries import Request
from deployer.deployments.payloads import Packed
from deployer.errors import InvalidInput, PayloadInvalid
from deployer.models.delivery import Delivery, DeliveryPayload, Verdict
from deployer.models.project import Project
from deployer.providers import generic
from deployer.providers.base import Event
from deployer.providers.known import PROVIDERS, provider

FIELD = "replay"
"""What an InvalidInput of this module is about."""


def problem(delivery: Delivery, payload: DeliveryPayload | None) -> str:
    """Why a delivery cannot be replayed, as a sentence; empty where it can."""
    if delivery.verdict is Verdict.TEST:
        return "A test delivery has nothing to replay. Send another one."
    if delivery.ref is None:
        return "Only a push can be replayed."
    if payload is None:
        return "Its payload is not kept, so it cannot be replayed."
    if payload.packed is None:
        return "Its payload was too large to be kept, so it cannot be replayed. The forge can deliver it again."
    return ""


def prepare(session: Session, delivery: Delivery, by: str) -> Request:
    """What is to be recorded (`deliveries.record`) where ``by`` has a delivery replayed.

    Raises InvalidInput (``replay``) where that cannot be.
    """
    payload = payloads.find(session, delivery.id)
    why_not = problem(delivery, payload)
    if why_not or payload is None or payload.packed is None:
        raise InvalidInput({FIELD: why_not})
    try:
        event = _parsed(session, delivery, payloads.unpack(payload.packed))
    except PayloadInvalid as error:
        raise InvalidInput({FIELD: f"Its payload cannot be read any more: {error}"}) from error
    for sha in {push.sha for push in event.pushes if push.sha}:
        try:
            queue.refuse_commit(session.connection(), delivery.project_id, sha)
        except InvalidInput as error:
            raise InvalidInput({FIELD: "; ".join(error.fields.values())}) from error
    return Request(
        project_id=delivery.project_id,
        provider=delivery.provider,
        received_at=clock.now(),
        event=event,
        event_name=delivery.event,
        headers=delivery.headers,
        payload=Packed(payload.size_bytes, payload.packed),
        asked_by=by,
        replay_of=delivery.id,
    )


def headers_of(delivery: Delivery) -> dict[str, str]:
    """Those that were kept; of a request that was not verified none are."""
    kept = json.loads(delivery.headers) if delivery.headers else {}
    return {str(name): str(value) for name, value in kept.items()}


def _parsed(session: Session, delivery: Delivery, raw: bytes) -> Event:
    """By the provider that sent it, and what a project says of a generic one now."""
    if delivery.provider not in PROVIDERS:
        raise PayloadInvalid(f"Deliveries of {delivery.provider} are not known.")
    project = session.get_one(Project, delivery.project_id)
    said = generic.Settings(project.hook_header, project.hook_prefix, project.hook_ref, project.hook_commit)
    return provider(delivery.provider, said).parse(raw, headers_of(delivery), with_paths=True)
