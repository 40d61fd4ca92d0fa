"""Live logs, and word of changes for lists, as Server-Sent Events (HTML Living Standard, 9.2).

A viewer reads stored rows: a slow one loses nothing, one that comes late gets everything, one that leaves changes
nothing. Frames are JSON objects with a ``type``:

* ``status``: the deployment as it stands, on connect and on each change
* ``command``: a command as it stands, on connect and on each change
* ``log``: lines of a command; their last number is the event's id, from which ``Last-Event-ID`` resumes
* ``done``: the deployment has ended and everything was sent

The stream for lists has one kind, ``changed``: whoever shows a list asks for it again.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from deployer.api import serializers
from deployer.deployments import reading
from deployer.installation import Installation
from deployer.models.deployment import Deployment
from deployer.web.context import installation, orm
from deployer.web.errors import json_error

blueprint = Blueprint("streams", __name__)

KEEP_ALIVE_S = 15.0
LISTS_REST_S = 0.2
"""Changes for lists are looked for no more often: while a command prints, something is committed all the time."""

LISTS_KEEP_ALIVE_S = 5.0
"""Who has left a list is noticed by writing, and lists are left all the time."""

_places: dict[int, threading.BoundedSemaphore] = {}


@blueprint.get("/deployments/<deployment_id>/stream")
def stream(deployment_id: str) -> ResponseReturnValue:
    """Frames from the line behind ``Last-Event-ID`` (or ``?after=``) on."""
    found = reading.find(orm.session(), deployment_id)
    after = _number(request.headers.get("Last-Event-ID")) or _number(request.args.get("after"))
    return _answer(lambda: _frames(installation(), found.id, after))


@blueprint.get("/changes/stream")
def changes() -> ResponseReturnValue:
    """A frame at each change after ``?seen=``, the word that a page carries (see `reading.changes`)."""
    return _answer(lambda: _changes(installation(), request.args.get("seen", "")))


def _answer(begin: Callable[[], Generator[str, None, None]]) -> Response:
    parts = installation()
    places = _places.setdefault(id(parts), threading.BoundedSemaphore(parts.config.server.max_streams))
    if not places.acquire(blocking=False):
        response = json_error(503, "Too many live pages are open (server.max_streams); try again later")
        response.headers["Retry-After"] = "5"
        return response
    frames = _Frames(begin(), places)
    orm.session().rollback()
    response = Response(frames, mimetype="text/event-stream")
    # Told to proxies such as nginx: hand each frame on at once.
    response.headers["X-Accel-Buffering"] = "no"
    response.headers["Cache-Control"] = "no-cache"
    return response


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else 0


class _Frames:
    """The frames of one viewer. Gives its place back when the server closes it, however the viewer left."""

    def __init__(self, frames: Generator[str, None, None], places: threading.BoundedSemaphore) -> None:
        self._frames = frames
        self._places: threading.BoundedSemaphore | None = places

    def __iter__(self) -> Generator[str, None, None]:
        return self._frames

    def close(self) -> None:
        places, self._places = self._places, None
        if places:
            self._frames.close()
            places.release()


def _frames(parts: Installation, deployment_id: str, after: int) -> Generator[str, None, None]:
    database = parts.database
    sent_status: dict[str, Any] = {}
    sent_commands: dict[str, dict[str, Any]] = {}
    # Proxies and browsers learn by the first byte that the stream has begun.
    yield "retry: 1000\n\n"
    while not database.bell.is_closed:
        seen = database.bell.generation
        with Session(database.engine) as session:
            # One snapshot: an end that is seen has all its lines before it.
            deployment = session.scalar(sa.select(Deployment).where(Deployment.id == deployment_id))
            if deployment is None:
                return
            status = serializers.live_deployment(deployment)
            commands = [serializers.command_state(command) for command in deployment.commands]
            pieces, is_more = reading.pieces(session.connection(), deployment_id, after)
        if status != sent_status:
            yield _event({"type": "status", "seq": after, "deployment": status})
            sent_status = status
        for command in commands:
            if sent_commands.get(command["id"]) != command:
                yield _event({"type": "command", "seq": after, "command": command})
                sent_commands[command["id"]] = command
        for piece in pieces:
            after = piece.seq
            text = piece.data.decode("utf-8", "replace")
            frame = {"type": "log", "seq": after, "command": piece.command_id, "kind": piece.kind.value, "text": text}
            yield _event(frame, after)
        if is_more:
            continue
        if status["finished_at"]:
            yield _event({"type": "done", "seq": after, "status": status["status"]})
            return
        if database.wait_for_change(seen, KEEP_ALIVE_S) == seen:
            yield ": still here\n\n"


def _changes(parts: Installation, known: str) -> Generator[str, None, None]:
    database = parts.database
    yield "retry: 1000\n\n"
    written_at = time.monotonic()
    while not database.bell.is_closed:
        looked_at, seen = time.monotonic(), database.bell.generation
        with Session(database.engine) as session:
            present = reading.changes(session)
        if present != known:
            known = present
            yield _event({"type": "changed", "seen": known})
            written_at = looked_at
        elif looked_at - written_at >= LISTS_KEEP_ALIVE_S:
            yield ": still here\n\n"
            written_at = looked_at
        database.wait_for_change(seen, LISTS_KEEP_ALIVE_S)
        time.sleep(max(0.0, looked_at + LISTS_REST_S - time.monotonic()))


def _event(frame: dict[str, Any], number: int | None = None) -> str:
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}data: {json.dumps(frame, ensure_ascii=False, separators=(',', ':'))}\n\n"
