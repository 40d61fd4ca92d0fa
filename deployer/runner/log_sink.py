"""From raw output to stored log: end mark, redaction, numbering, bounds.

A sink belongs to one command. What it stores and how far it has read are committed together, so that a runner that
is killed at any point neither loses nor doubles a byte.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from deployer import clock
from deployer.deployments import command_lifecycle, logs
from deployer.deployments.command_lifecycle import Progress
from deployer.errors import LostClaim
from deployer.models.base import table_of
from deployer.models.deployment import ChunkKind, LogChunk
from deployer.security.redaction import Redactor

READ_BYTES = 1024 * 1024
MAX_CHUNK_BYTES = 256 * 1024
"""Chunks are what viewers get at a time."""

LONGEST_CHARACTER = 4
"""In UTF-8, in bytes (RFC 3629)."""

_chunks = table_of(LogChunk)
_INSERT_CHUNKS = _chunks.insert()


class Numbering:
    """The numbers of a deployment's log lines: one counter over all its commands."""

    def __init__(self, last: int) -> None:
        self.last = last

    @classmethod
    def of(cls, connection: sa.Connection, deployment_id: str) -> Numbering:
        return cls(logs.last_seq(connection, deployment_id))

    def take(self, data: bytes) -> tuple[int, int]:
        """The number of the last line of ``data``, and how many lines it has. A piece without a newline is one."""
        lines = data.count(b"\n") + (not data.endswith(b"\n"))
        self.last += lines
        return self.last, lines


class LogSink:
    """Takes a command's output and stores it, redacted and bounded to head and tail.

    ``position`` is the raw offset to read from next. Pending data is written by ``flush`` in the caller's
    transaction.
    """

    def __init__(
        self,
        *,
        deployment_id: str,
        command_id: str,
        mark: bytes,
        redactor: Redactor,
        numbering: Numbering,
        max_bytes: int,
        offset: int = 0,
        cut_bytes: int = 0,
        cut_after_seq: int | None = None,
    ) -> None:
        self._deployment_id = deployment_id
        self._command_id = command_id
        self._mark = mark
        self._redactor = redactor
        self._numbering = numbering
        self._half = max_bytes // 2
        self._cut_bytes = cut_bytes
        self._cut_after_seq = cut_after_seq
        self._head_bytes = 0
        self._head_seq = 0
        self._tail: deque[tuple[int, int]] = deque()
        self._tail_bytes = 0
        self._held_mark = b""
        self._held_text = b""
        self._behind = 0
        self._pending: list[tuple[ChunkKind, bytes]] = []
        # Numbered, but not known to be committed: written again should the transaction fail.
        self._unsaved: list[dict[str, Any]] = []
        self._dropped: list[int] = []
        self._has_news = False
        self.position = offset
        self.is_complete = False

    def resume(self, connection: sa.Connection) -> None:
        """Learn what an earlier runner stored of this command."""
        rows = connection.execute(
            sa.select(_chunks.c.seq, sa.func.length(_chunks.c.data))
            .where(_chunks.c.command_id == self._command_id)
            .order_by(_chunks.c.seq)
        ).all()
        for seq, size in rows:
            self._account(seq, size)

    @property
    def has_pending(self) -> bool:
        return bool(self._pending) or self._has_news

    @property
    def pending_bytes(self) -> int:
        return sum(len(data) for _, data in self._pending)

    @property
    def tail_bytes(self) -> int:
        """How much of the end of a flood is kept."""
        return self._half

    @property
    def is_past_head(self) -> bool:
        return self._head_bytes >= self._half

    def feed(self, raw: bytes) -> None:
        """Take the next raw bytes, which begin at ``position``. What follows the end mark is ignored."""
        if self.is_complete:
            return
        self.position += len(raw)
        text = self._held_mark + raw if self._held_mark else raw
        end = text.find(self._mark)
        if end >= 0:
            self.is_complete = True
            self._held_mark = b""
            # The offset stays before the mark: whoever goes on after a restart must see it too.
            self._behind = len(text) - end
            shown = self._redactor.feed(text[:end]) + self._redactor.finish()
        else:
            keep = _overlap(text, self._mark)
            self._held_mark = text[len(text) - keep :] if keep else b""
            shown = self._redactor.feed(text[: len(text) - keep] if keep else text)
        self._show(shown, is_last=self.is_complete)

    def finish(self) -> None:
        """No more will come: what was held back is shown."""
        shown = self._redactor.feed(self._held_mark) + self._redactor.finish()
        self._held_mark = b""
        self._show(shown, is_last=True)

    def give_up(self) -> None:
        """No more can be read, though there may be more: what was held back is not shown, since it may be the first
        half of a secret."""
        self._redactor.finish()
        self._held_mark = self._held_text = b""

    def _show(self, shown: bytes, *, is_last: bool) -> None:
        """Chunks end between characters, so that each can be decoded by itself."""
        shown = self._held_text + shown
        # What is held is unchanged raw output: the mask of a secret is ASCII.
        keep = 0 if is_last else _unfinished(shown)
        self._held_text = shown[len(shown) - keep :] if keep else b""
        if len(shown) > keep:
            self._pending.append((ChunkKind.OUTPUT, shown[: len(shown) - keep]))

    def skip_to(self, target: int, window: bytes) -> None:
        """Leave out output up to raw offset ``target``; the head is stored, so this is the one cut.

        ``window`` is what surrounds the place, from ``skip_margin`` bytes before it. The place is moved behind a
        secret that lies across it, and to the beginning of a character.
        """
        assert self.is_past_head
        assert not self._pending
        place = self._redactor.cut_after(window, self.skip_margin)
        target += place + _continued(window[place:]) - self.skip_margin
        self._note_cut(target - self._offset())
        self._redactor.finish()
        self._held_mark = self._held_text = b""
        self.position = target
        self._drop_tail(0)
        self._has_news = True

    @property
    def skip_margin(self) -> int:
        return self._redactor.longest + LONGEST_CHARACTER

    def system(self, message: str) -> None:
        """A line of Deployer's own, about the command."""
        self._pending.append((ChunkKind.SYSTEM, self._redactor.text(message).encode() + b"\n"))

    def flush(self, connection: sa.Connection, runner_id: str) -> None:
        """Store what is pending together with the offset; `settle` follows the commit. Raises LostClaim."""
        command_lifecycle.record_output(connection, self._command_id, runner_id, self.store(connection))

    def store(self, connection: sa.Connection) -> Progress:
        """Write what is pending; the caller writes how far that is in the same transaction, and settles after it.

        Raises LostClaim where these lines are there already: by another runner, or by a commit of this one that was
        not answered.
        """
        self._number_pending()
        if self._unsaved:
            try:
                connection.execute(_INSERT_CHUNKS, self._unsaved)
            except IntegrityError as error:
                raise LostClaim(f"Output of command {self._command_id} is stored already.") from error
        if self._dropped:
            connection.execute(
                _chunks.delete().where(
                    _chunks.c.deployment_id == self._deployment_id, _chunks.c.seq.in_(self._dropped)
                )
            )
        return Progress(self._offset(), self._cut_bytes, self._cut_after_seq)

    def settle(self) -> None:
        """The transaction of the last `flush` is committed."""
        self._unsaved.clear()
        self._dropped.clear()
        self._has_news = False

    def _number_pending(self) -> None:
        now = clock.now()
        # So small that the tail always keeps the newest: its number must stay known, and the end readable.
        largest = min(self._half // 4, MAX_CHUNK_BYTES)
        pieces = ((kind, part) for kind, data in _merged(self._pending) for part in _parts(data, largest))
        for kind, data in pieces:
            seq, lines = self._numbering.take(data)
            self._unsaved.append(
                {
                    "deployment_id": self._deployment_id,
                    "seq": seq,
                    "command_id": self._command_id,
                    "lines": lines,
                    "kind": kind,
                    "data": data,
                    "created_at": now,
                }
            )
            self._account(seq, len(data))
        self._has_news = self._has_news or bool(self._pending)
        self._pending.clear()
        if self._tail_bytes > self._half:
            self._drop_tail(self._half)

    def _offset(self) -> int:
        return self.position - self._behind - len(self._held_mark) - self._redactor.held - len(self._held_text)

    def _account(self, seq: int, size: int) -> None:
        if not self.is_past_head:
            self._head_bytes += size
            self._head_seq = seq
        else:
            self._tail.append((seq, size))
            self._tail_bytes += size

    def _note_cut(self, size: int) -> None:
        self._cut_bytes += size
        if self._cut_after_seq is None:
            self._cut_after_seq = self._head_seq

    def _drop_tail(self, limit: int) -> None:
        while self._tail and self._tail_bytes > limit:
            seq, size = self._tail.popleft()
            self._tail_bytes -= size
            self._note_cut(size)
            self._dropped.append(seq)


def _merged(pending: list[tuple[ChunkKind, bytes]]) -> list[tuple[ChunkKind, bytes]]:
    """Neighbours of one kind as one chunk."""
    merged: list[tuple[ChunkKind, list[bytes]]] = []
    for kind, data in pending:
        if merged and merged[-1][0] is kind:
            merged[-1][1].append(data)
        else:
            merged.append((kind, [data]))
    return [(kind, b"".join(parts)) for kind, parts in merged]


def _parts(data: bytes, largest: int) -> Iterator[bytes]:
    """``data`` in parts of at most ``largest`` bytes, which end with a line where one ends, or between characters."""
    start = 0
    while len(data) - start > largest:
        end = data.rfind(b"\n", start, start + largest) + 1
        if not end:
            end = start + largest - _unfinished(data[start : start + largest])
        yield data[start:end]
        start = end
    yield data[start:]


def _overlap(text: bytes, mark: bytes) -> int:
    """How many bytes at the end of ``text`` could be the beginning of ``mark``."""
    start = text.rfind(mark[:1], max(0, len(text) - len(mark) + 1))
    if start < 0:
        return 0
    return len(text) - start if mark.startswith(text[start:]) else 0


def _continued(text: bytes) -> int:
    """How many bytes at the beginning of ``text`` go on with a character that began before it."""
    count = 0
    while count < min(len(text), LONGEST_CHARACTER - 1) and text[count] & 0xC0 == 0x80:
        count += 1
    return count


def _unfinished(text: bytes) -> int:
    """How many bytes at the end of ``text`` begin a UTF-8 character (RFC 3629) without finishing it."""
    for back in range(1, min(3, len(text)) + 1):
        byte = text[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back if length > back else 0
        if byte < 0x80:
            return 0
    return 0
