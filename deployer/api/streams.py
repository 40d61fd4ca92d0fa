"""Live logs, and word of changes for lists, as Server-Sent Events (HTML Living Standard, 9.2).

A viewer reads stored rows: a slow one loses nothing, one that comes late gets everything, one that leaves changes
nothing. Frames are JSON objects with a ``type``:

* ``status``: the deployment as it stands, on connect and on each change
* ``command``: a command as it stands, on connect and on each change
* ``log``: lines of a command; their last number is the event's id, from which ``Last-Event-ID`` resumes
* ``done``: the deployment has ended and everything was sent

The stream for lists has one kind, ``changed``: whoever shows a list asks for it again.

Our own web process hands what is answered here to the lane of streams (`deployer.stream_lane`), where a viewer costs
no thread. Under any other WSGI server the stream goes on in the thread that asked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response, current_app, request
from flask.blueprints import BlueprintSetupState
from flask.sansio.app import App
from flask.typing import ResponseReturnValue

from deployer import sessions
from deployer.api.feeds import ChangesFeed, Feed, LogFeed, LogPlace
from deployer.db import Database
from deployer.deployments import reading
from deployer.security import tokens
from deployer.web.context import installation, me, orm
from deployer.web.errors import json_error

blueprint = Blueprint("streams", __name__)

BEGINNING = b"retry: 1000\n\n"
"""Proxies and browsers learn by the first bytes that the stream has begun."""

STILL_HERE = b": still here\n\n"

LOGIN_CHECK_S = 1.0
"""Whether a viewer's session has ended is looked for no more often."""

_PLACES = "deployer.streams"
_LAST_NUMBER = 2**31 - 1


@blueprint.record_once
def _make_places(state: BlueprintSetupState) -> None:
    limit_streams(state.app, state.app.extensions["deployer"].config.server.max_streams)


def limit_streams(app: App, most: int) -> None:
    """How many streams there may be at once. Before the first one."""
    app.extensions[_PLACES] = threading.BoundedSemaphore(most)


@blueprint.get("/deployments/<deployment_id>/stream")
def stream(deployment_id: str) -> ResponseReturnValue:
    """Frames from the line behind ``Last-Event-ID`` (or ``?after=``) on."""
    found = reading.find(orm.session(), deployment_id)
    after = _number(request.headers.get("Last-Event-ID")) or _number(request.args.get("after"))
    return _answer(LogFeed(installation().database, found.id), LogPlace(after))


@blueprint.get("/changes/stream")
def changes() -> ResponseReturnValue:
    """A frame at each change after ``?seen=``, the word that a page carries (see `reading.changes`)."""
    return _answer(ChangesFeed(installation().database), request.args.get("seen", ""))


def _answer(feed: Feed, place: Any) -> Response:
    places: threading.BoundedSemaphore = current_app.extensions[_PLACES]
    if not places.acquire(blocking=False):
        response = json_error(503, "Too many live pages are open (server.max_streams); try again later")
        response.headers["Retry-After"] = "5"
        return response
    begun = Stream(installation().database, feed, place, tokens.digest(me().token), places)
    # Passed on as it is: the web process knows a stream by its class.
    response = Response(begun, mimetype="text/event-stream", direct_passthrough=True)
    # Told to proxies such as nginx: hand each frame on at once.
    response.headers["X-Accel-Buffering"] = "no"
    response.headers["Cache-Control"] = "no-cache"
    return response


def _number(text: str | None) -> int:
    is_number = text and text.isascii() and text.isdigit() and len(text) < 10
    return min(int(text), _LAST_NUMBER) if text and is_number else 0


class Stream:
    """One viewer's stream: what is watched, and from which place on. ``session`` is the hash of the login's token.

    Closing it gives its place among `server.max_streams` back, however the viewer left. Iterating over it is the way
    of other WSGI servers.
    """

    def __init__(
        self, database: Database, feed: Feed, place: Any, session: str, places: threading.BoundedSemaphore
    ) -> None:
        self._database = database
        self._places: threading.BoundedSemaphore | None = places
        self.feed = feed
        self.place = place
        self.session = session

    def close(self) -> None:
        places, self._places = self._places, None
        if places:
            places.release()

    def __iter__(self) -> Iterator[bytes]:
        database, feed, place = self._database, self.feed, self.place
        yield BEGINNING
        written_at, check_at = time.monotonic(), 0.0
        while not database.bell.is_closed:
            looked_at, seen = time.monotonic(), database.bell.generation
            feed.look()
            if looked_at >= check_at:
                check_at = looked_at + LOGIN_CHECK_S
                with database.read() as connection:
                    is_logged_in = bool(sessions.still_open(connection, [self.session]))
            if feed.is_gone or not is_logged_in:
                return
            while feed.is_behind(place):
                portion = feed.portion(place)
                place, written_at = portion.place, looked_at
                yield portion.data
                if portion.is_last:
                    return
            if looked_at - written_at >= feed.keep_alive_s:
                written_at = looked_at
                yield STILL_HERE
            database.wait_for_change(seen, feed.keep_alive_s)
            time.sleep(max(0.0, looked_at + feed.rest_s - time.monotonic()))
