"""What a webhook is told: JSON, signed over its raw bytes as GitHub signs its own."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime
from typing import Any

from deployer import __version__, clock
from deployer.errors import ChannelError
from deployer.notifications.carrier import Answer
from deployer.notifications.telling import Telling

AGAIN = frozenset((404, 408, 409, 425, 429))
"""Refusals that may be over at the next try: 404 is what a proxy says while the service behind it restarts."""


def body(telling: Telling, at: datetime) -> str:
    """The document of a notification, as it goes over the wire. ASCII, so that its bytes are beyond doubt."""
    lasted = telling.started_at and telling.finished_at and (telling.finished_at - telling.started_at).total_seconds()
    return _document(
        telling.occasion,
        telling.notification_id,
        at,
        project={"name": telling.project, "repository": telling.repository_url},
        deployment={
            "id": telling.deployment_id,
            "ref": telling.ref,
            "url": telling.link,
            "status": telling.status,
            "trigger": telling.trigger,
            "triggered_by": telling.triggered_by,
            "branch": telling.branch or None,
            "tag": telling.tag,
            "release": telling.release,
            "cause": telling.cause or None,
            "queued_at": clock.iso(telling.queued_at),
            "started_at": clock.iso(telling.started_at),
            "finished_at": clock.iso(telling.finished_at),
            "duration_s": lasted,
        },
        commit={
            "sha": telling.sha,
            "message": telling.commit_message or None,
            "author": telling.author or None,
        },
    )


def test_body(delivery: str, at: datetime) -> str:
    return _document("test", delivery, at)


def _document(event: str, delivery: str, at: datetime, **more: Any) -> str:
    return json.dumps({"event": event, "delivery": delivery, "sent_at": clock.iso(at), **more})


def headers(event: str, delivery: str, at: datetime, document: str, secret: str) -> dict[str, str]:
    """Those of a document. ``delivery`` is the same for every try of one notification."""
    return {
        "Content-Type": "application/json",
        "User-Agent": f"Deployer/{__version__}",
        "X-Deployer-Event": event,
        "X-Deployer-Delivery": delivery,
        "X-Deployer-Timestamp": str(int(at.timestamp())),
        "X-Deployer-Signature-256": signature(document, secret),
    }


def signature(document: str, secret: str) -> str:
    return "sha256=" + hmac.new(secret.encode(), document.encode(), hashlib.sha256).hexdigest()


def judge(answer: Answer, place: str, wait_s: float | None) -> None:
    """Raises ChannelError for what is no success; ``wait_s`` is what the server asked for."""
    if answer.is_success:
        return
    if 300 <= answer.status < 400:
        raise ChannelError(
            f"{place} answered {answer.status}: it leads elsewhere, and redirects are not followed.",
            hint="Enter the address that it leads to.",
            is_permanent=True,
            answer=answer.text,
        )
    raise ChannelError(
        f"{place} answered {answer.status}.",
        is_permanent=400 <= answer.status < 500 and answer.status not in AGAIN,
        wait_s=wait_s,
        answer=answer.text,
    )
