"""What live pages are told: read once for all who watch the same, encoded once for all who are at the same place.

A feed looks at the database once a change (`Feed.look`), in one snapshot, and then says what follows for a viewer at
a place (`Feed.portion`). The place is all that is kept of a viewer, so a slow one is simply read for again, and one
that comes late is one whose place is the beginning.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer.api import serializers
from deployer.db import Database
from deployer.deployments import logs, reading
from deployer.models.deployment import Deployment

PORTION_BYTES = 64 * 1024
"""About as much of a log as is held for a viewer who is slow to take it."""

P = TypeVar("P", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Portion:
    """Frames as they go over the wire, and the place of who has them. ``is_last``: nothing follows, ever."""

    data: bytes
    place: Any
    is_last: bool = False


class Feed(Protocol):
    """The news of one subject. What it is told of and what it tells is as of its last look.

    ``subject`` is equal for feeds that tell the same. ``rest_s``: it is looked for news no more often.
    ``keep_alive_s``: how long a viewer hears nothing at most. ``is_gone``: there is no such subject any more.
    """

    rest_s: float
    keep_alive_s: float
    is_gone: bool

    @property
    def subject(self) -> Hashable: ...

    def look(self) -> None: ...

    def is_behind(self, place: Any) -> bool:
        """Whether there is something to tell somebody at this place."""
        ...

    def portion(self, place: Any) -> Portion:
        """What follows there, in portions of about 64 KiB."""
        ...


class LogPlace(NamedTuple):
    """The number of the last line that a viewer has, and the version of the states that it was told."""

    after: int
    version: int = 0


@dataclass(frozen=True, slots=True)
class _State:
    """The deployment or a command as it stands since ``version``."""

    kind: str
    document: bytes
    version: int

    def frame(self, seq: int) -> bytes:
        return b'data: {"type":"%b","seq":%d,"%b":%b}\n\n' % (
            _FRAME_TYPES[self.kind],
            seq,
            self.kind.encode(),
            self.document,
        )


_FRAME_TYPES = {"deployment": b"status", "command": b"command"}


class LogFeed:
    """A deployment's log and states. Places are `LogPlace`."""

    rest_s = 0.01
    keep_alive_s = 15.0

    def __init__(self, database: Database, deployment_id: str) -> None:
        self.is_gone = False
        self._database = database
        self._id = deployment_id
        self._version = 0
        self._states: list[_State] = []
        self._last_seq = 0
        self._ended_as: str | None = None

    @property
    def subject(self) -> Hashable:
        return ("deployment", self._id)

    def look(self) -> None:
        with Session(self._database.engine) as session:
            # One snapshot: an end that is seen has all its lines before it.
            deployment = session.scalar(sa.select(Deployment).where(Deployment.id == self._id))
            if deployment is None:
                self.is_gone = True
                return
            states = [("deployment", serializers.live_deployment(deployment))]
            states += [("command", serializers.command_state(command)) for command in deployment.commands]
            self._last_seq = logs.last_seq(session.connection(), self._id)
            self._ended_as = deployment.status.value if deployment.finished_at else None
        self._take(states)

    def _take(self, states: list[tuple[str, dict[str, Any]]]) -> None:
        known = {(one.kind, one.document): one for one in self._states}
        coming = self._version + 1
        self._states = []
        for kind, document in states:
            encoded = msgspec.json.encode(document)
            # A document names its own id, so that equal ones are of the same.
            self._states.append(known.get((kind, encoded)) or _State(kind, encoded, coming))
        if any(one.version == coming for one in self._states):
            self._version = coming

    def is_behind(self, place: LogPlace) -> bool:
        return place.version < self._version or place.after < self._last_seq or self._ended_as is not None

    def portion(self, place: LogPlace) -> Portion:
        after, is_more = place.after, False
        frames = [one.frame(after) for one in self._states if one.version > place.version]
        if after < self._last_seq:
            with self._database.read() as connection:
                pieces, is_more = logs.pieces(
                    connection, self._id, after, until=self._last_seq, portion_bytes=PORTION_BYTES
                )
            frames += map(_log_frame, pieces)
            after = pieces[-1].seq if is_more else self._last_seq
        is_last = self._ended_as is not None and not is_more
        if is_last:
            frames.append(b'data: {"type":"done","seq":%d,"status":%b}\n\n' % (after, _json(self._ended_as)))
        return Portion(b"".join(frames), LogPlace(after, self._version), is_last)


def _log_frame(piece: logs.LogPiece) -> bytes:
    return b'id: %d\ndata: {"type":"log","seq":%d,"command":%b,"kind":%b,"text":%b}\n\n' % (
        piece.seq,
        piece.seq,
        _json(piece.command_id),
        _json(piece.kind.value),
        _json(piece.data.decode("utf-8", "replace")),
    )


class ChangesFeed:
    """Word of changes for lists. A place is the word that a viewer knows (see `reading.changes`)."""

    # While a command prints, something is committed all the time.
    rest_s = 0.2
    # Where who leaves is noticed by writing alone: lists are left all the time.
    keep_alive_s = 5.0
    is_gone = False

    def __init__(self, database: Database) -> None:
        self._database = database
        self._word: str | None = None

    @property
    def subject(self) -> Hashable:
        return "changes"

    def look(self) -> None:
        with Session(self._database.engine) as session:
            self._word = reading.changes(session)

    def is_behind(self, place: str) -> bool:
        return self._word is not None and place != self._word

    def portion(self, place: str) -> Portion:
        if not self.is_behind(place):
            return Portion(b"", place)
        return Portion(b'data: {"type":"changed","seen":%b}\n\n' % _json(self._word), self._word)


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)
