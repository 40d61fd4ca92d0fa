"""The lane of streams: one thread that serves everybody who watches a live log or a list.

A viewer costs a socket and a few numbers. What is watched is looked at once a change, whatever the number of viewers,
and who is at the same place gets the same bytes. Of what a viewer has not taken yet no more than one portion is held;
then it is read for from stored rows again, so nothing piles up and nothing is lost.
"""

from __future__ import annotations

import logging
import select
import socket
import time
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from deployer import sessions
from deployer.api.feeds import Feed
from deployer.api.streams import BEGINNING, LOGIN_CHECK_S, STILL_HERE, Stream
from deployer.connection_lane import POLL_S, ConnectionLane
from deployer.db import Database

log = logging.getLogger("deployer.lanes")

SEND_BUFFER_BYTES = 128 * 1024
"""What the kernel holds of an answer that is not taken."""

BACKLOG_S = 0.02
"""Who is behind is read for so long; then it is seen to what is new for the others."""

LOOKING_SHARE = 3
"""Of the time, looking takes one part of so many more at most, however much is watched."""

LOGINS_UNSEEN_S = 15.0
"""Sessions are looked for after so long also where nothing was committed: they expire."""

BEAT_S = LOGIN_CHECK_S
"""How often it is seen who is silent, who is to hear that we are here, and who is logged in no more."""

_WATCHED = select.EPOLLIN | select.EPOLLRDHUP
_GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


class _Viewer:
    """One connection. ``rest`` is what it was told and has not taken; ``waits`` says that it is in the backlog."""

    __slots__ = ("conn", "has_left", "is_last", "place", "rest", "stream", "touched_at", "waits", "watched")

    def __init__(self, conn: Any, stream: Stream, watched: _Watched) -> None:
        self.conn = conn
        self.stream = stream
        self.place = stream.place
        self.watched = watched
        self.rest: bytes | memoryview = b""
        self.is_last = False
        self.waits = False
        self.has_left = False
        self.touched_at = 0.0


class _Watched:
    """A feed and who watches it. ``is_stale``: something was committed since its last look."""

    __slots__ = ("feed", "is_stale", "look_at", "viewers")

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.viewers: set[_Viewer] = set()
        self.is_stale = True
        self.look_at = 0.0


class StreamLane(ConnectionLane):
    """Takes connections whose ``stream`` was begun: the head of the answer is sent. ``silence_s``: how long a viewer
    may take nothing of what there is for it."""

    def __init__(self, worker: Any, database: Database, silence_s: float) -> None:
        self._database = database
        self._silence_s = silence_s
        self._viewers: dict[Any, _Viewer] = {}
        self._watched: dict[Any, _Watched] = {}
        # Who is to be read for, by feed and place: all of one entry get the same bytes.
        self._backlog: dict[tuple[_Watched, Any], list[_Viewer]] = {}
        self._is_listening = False
        self._has_rung = False
        self._look_at = 0.0
        self._beat_at = 0.0
        self._logins_rung = False
        self._logins_at = 0.0
        super().__init__(worker, "lane of streams")

    def _hear(self) -> None:
        """The bell rang (on its watcher's thread)."""
        if not self._has_rung and (self._viewers or self._database.bell.is_closed):
            self._has_rung = True
            self._wake()

    def _turn(self) -> None:
        for conn, what in self._poll(self._patience_s()):
            # Who was told something while others came in may have left.
            if viewer := self._viewers.get(conn):
                self._attend(viewer, what)
        self._look()
        self._work_off(time.monotonic() + BACKLOG_S)
        if time.monotonic() >= self._beat_at:
            self._beat()

    def _patience_s(self) -> float:
        if self._backlog:
            return 0.0
        due = [max(one.look_at, self._look_at) for one in self._watched.values() if one.is_stale or self._has_rung]
        return max(0.0, min([POLL_S, *(at - time.monotonic() for at in due)]))

    # Viewers ----------------------------------------------------------------------------------------------------

    def _begin(self, conn: Any) -> None:
        stream: Stream = conn.stream
        if not self._is_listening:
            # Not before: a process that nobody watches need not wake at each commit.
            self._database.bell.listen(self._hear)
            self._is_listening = True
        feed = stream.feed
        watched = self._watched.setdefault(feed.subject, _Watched(feed))
        viewer = self._viewers[conn] = _Viewer(conn, stream, watched)
        watched.viewers.add(viewer)
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        # The request is answered to its end; the connection is closed after it.
        conn.parser = None
        self._give(viewer, BEGINNING)

    def _attend(self, viewer: _Viewer, what: int) -> None:
        if what & _GONE or (what & select.EPOLLIN and not self._is_there(viewer)):
            self._leave(viewer.conn, goes_on=False)
        elif what & select.EPOLLOUT:
            self._send(viewer)

    def _is_there(self, viewer: _Viewer) -> bool:
        # A request behind this one is not answered on this connection (RFC 9112, 9.6), so nobody reads it.
        try:
            return bool(viewer.conn.sock.recv(4096))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _give(self, viewer: _Viewer, data: bytes) -> None:
        viewer.rest = data
        viewer.touched_at = time.monotonic()
        self._send(viewer, is_first=True)

    def _send(self, viewer: _Viewer, *, is_first: bool = False) -> None:
        try:
            sent = viewer.conn.sock.send(viewer.rest)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._leave(viewer.conn, goes_on=False)
            return
        if sent < len(viewer.rest):
            viewer.rest = memoryview(viewer.rest)[sent:]
            if sent:
                viewer.touched_at = time.monotonic()
            if is_first:
                self._poller.modify(viewer.conn.sock.fileno(), _WATCHED | select.EPOLLOUT)
            return
        viewer.rest = b""
        if not is_first:
            viewer.touched_at = time.monotonic()
            self._poller.modify(viewer.conn.sock.fileno(), _WATCHED)
        if viewer.is_last:
            self._leave(viewer.conn, goes_on=False)
        elif viewer.watched.feed.is_behind(viewer.place):
            self._queue(viewer)

    def _leave(self, conn: Any, *, goes_on: bool) -> None:
        conn.stream.close()
        # None where taking it in failed.
        if viewer := self._viewers.pop(conn, None):
            viewer.has_left = True
            viewer.rest = b""
            watched = viewer.watched
            watched.viewers.discard(viewer)
            if not watched.viewers:
                del self._watched[watched.feed.subject]
        super()._leave(conn, goes_on=goes_on)

    def _dismiss(self, viewers: Iterable[_Viewer]) -> None:
        for viewer in list(viewers):
            self._leave(viewer.conn, goes_on=False)

    # News -------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Look at what may have changed, and tell those who had everything."""
        now = time.monotonic()
        if now < self._look_at:
            return
        if self._has_rung:
            self._has_rung = False
            self._logins_rung = True
            for one in self._watched.values():
                one.is_stale = True
        due = [one for one in self._watched.values() if one.is_stale and now >= one.look_at]
        for watched in due:
            watched.is_stale = False
            watched.look_at = now + watched.feed.rest_s
            try:
                watched.feed.look()
            except Exception as error:
                self._give_up(watched, error)
                continue
            if watched.feed.is_gone:
                self._dismiss(watched.viewers)
        if not due:
            return
        ended = time.monotonic()
        self._look_at = ended + LOOKING_SHARE * (ended - now)
        # Who had everything is served first: who is behind must not hold anybody up.
        behind, self._backlog = self._backlog, {}
        for watched in due:
            for viewer in watched.viewers:
                if not viewer.rest and not viewer.waits and watched.feed.is_behind(viewer.place):
                    self._queue(viewer)
        for entry in list(self._backlog):
            self._serve(entry, self._backlog.pop(entry))
        for entry, viewers in behind.items():
            self._backlog.setdefault(entry, []).extend(viewers)

    def _queue(self, viewer: _Viewer) -> None:
        viewer.waits = True
        self._backlog.setdefault((viewer.watched, viewer.place), []).append(viewer)

    def _work_off(self, deadline: float) -> None:
        """Read for those who are behind until then, each in turn."""
        while self._backlog:
            entry = next(iter(self._backlog))
            left = self._serve(entry, self._backlog.pop(entry), deadline)
            if left:
                self._backlog.setdefault(entry, []).extend(left)
            if time.monotonic() > deadline:
                return

    def _serve(
        self, entry: tuple[_Watched, Any], viewers: list[_Viewer], deadline: float | None = None
    ) -> list[_Viewer]:
        """Give the next portion to all who are at one place; those for whom there was no time."""
        watched, place = entry
        viewers = [viewer for viewer in viewers if not viewer.has_left]
        if not viewers:
            return []
        try:
            portion = watched.feed.portion(place)
        except Exception as error:
            self._give_up(watched, error)
            return []
        for number, viewer in enumerate(viewers):
            if deadline and time.monotonic() > deadline:
                return viewers[number:]
            viewer.waits = False
            viewer.place = portion.place
            viewer.is_last = portion.is_last
            self._give(viewer, portion.data)
        return []

    def _give_up(self, watched: _Watched, error: Exception) -> None:
        """What is watched cannot be read. Who asks for it again is told what the matter is."""
        log.error("a live page could not be read: %s", error)
        self._dismiss(watched.viewers)

    # Time -------------------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        now = time.monotonic()
        self._beat_at = now + BEAT_S
        for viewer in list(self._viewers.values()):
            silent_s = now - viewer.touched_at
            if viewer.rest:
                if silent_s > self._silence_s:
                    self._leave(viewer.conn, goes_on=False)
            elif not viewer.waits and silent_s >= viewer.watched.feed.keep_alive_s:
                self._give(viewer, STILL_HERE)
        if self._viewers and (self._logins_rung or now >= self._logins_at):
            self._logins_rung = False
            self._logins_at = now + LOGINS_UNSEEN_S
            self._end_logged_out()

    def _end_logged_out(self) -> None:
        wanted = {viewer.stream.session for viewer in self._viewers.values()}
        try:
            with self._database.read() as connection:
                is_open = sessions.still_open(connection, wanted)
        except sa.exc.DBAPIError as error:
            log.error("whether viewers are still logged in could not be read: %s", error)
            return
        self._dismiss(viewer for viewer in self._viewers.values() if viewer.stream.session not in is_open)
