"""Deployments and deliveries of long ago, as rows: whole histories in a moment."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from deployer import clock
from deployer.db import Database
from deployer.deployments import payloads
from deployer.models import (
    Command,
    Delivery,
    DeliveryPayload,
    Deployment,
    DeploymentEvent,
    LogChunk,
    Notification,
    Project,
)
from deployer.models.delivery import Verdict
from deployer.models.deployment import ChunkKind, CommandKind, Status, Trigger
from deployer.models.notification import NotificationStatus, Occasion


class History:
    """Writes what happened to a project, days ago."""

    def __init__(self, database: Database, project: Project) -> None:
        self._database = database
        self._project = project

    def deployment(
        self, status: Status = Status.SUCCESS, *, days_ago: float = 0, chunks: int = 1, **fields: Any
    ) -> str:
        """A deployment that was asked for and ended then, with a command, its log of so many chunks, an event and a
        notification; its id."""
        at = _ago(days_ago)
        deployment_id, command_id = clock.new_id(), clock.new_id()
        row = {
            "id": deployment_id,
            "project_id": self._project.id,
            "status": status,
            "trigger": Trigger.PUSH,
            "branch": self._project.branch,
            "queued_at": at,
            "finished_at": at if status.is_final else None,
            **fields,
        }
        command = {
            "id": command_id,
            "deployment_id": deployment_id,
            "position": 0,
            "kind": CommandKind.STEP,
            "name": "build",
            "line": "make",
            "timeout_s": 60,
            "status": status,
            "nonce": "n",
        }
        log = [
            {
                "deployment_id": deployment_id,
                "seq": number,
                "command_id": command_id,
                "lines": 1,
                "kind": ChunkKind.OUTPUT,
                "data": b"line\n",
                "created_at": at,
            }
            for number in range(1, chunks + 1)
        ]
        mail = {
            "id": clock.new_id(),
            "deployment_id": deployment_id,
            "occasion": Occasion.SUCCESS,
            "status": NotificationStatus.SENT,
            "next_attempt_at": at,
            "created_at": at,
        }
        with self._database.write() as connection:
            connection.execute(sa.insert(Deployment), [row])
            connection.execute(sa.insert(Command), [command])
            if log:
                connection.execute(sa.insert(LogChunk), log)
            connection.execute(
                sa.insert(DeploymentEvent), [{"deployment_id": deployment_id, "at": at, "event": str(status)}]
            )
            connection.execute(sa.insert(Notification), [mail])
        return deployment_id

    def delivery(
        self,
        *,
        days_ago: float = 0,
        deployment_id: str | None = None,
        verdict: Verdict = Verdict.IGNORED,
        ref: str = "refs/heads/other",
        asked_by: str | None = None,
        payload: bytes | None = None,
    ) -> str:
        """A delivery that came then; its id."""
        delivery_id = clock.new_id()
        row = {
            "id": delivery_id,
            "project_id": self._project.id,
            "deployment_id": deployment_id,
            "provider": "github",
            "event": "push",
            "verdict": verdict,
            "reason": "other branch",
            "ref": ref,
            "commit_sha": "1" * 40,
            "received_at": _ago(days_ago),
            "asked_by": asked_by,
        }
        with self._database.write() as connection:
            connection.execute(sa.insert(Delivery), [row])
            if payload is not None:
                packed = payloads.pack(payload)
                kept = {"delivery_id": delivery_id, "size_bytes": packed.size_bytes, "packed": packed.packed}
                connection.execute(sa.insert(DeliveryPayload), [kept])
        return delivery_id


def _ago(days: float) -> datetime:
    return clock.now() - timedelta(days=days)
