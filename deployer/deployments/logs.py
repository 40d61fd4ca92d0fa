"""A deployment's log, as it is stored: from a number on for a viewer, and a command's in one piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from deployer.models.base import table_of
from deployer.models.deployment import ChunkKind, Command, LogChunk

PORTION_BYTES = 1024 * 1024
PIECE_BYTES = 16 * 1024
_NO_END = 2**31 - 1

_chunks = table_of(LogChunk)
_SELECT_PIECES = (
    sa.select(_chunks.c.seq, _chunks.c.command_id, _chunks.c.kind, _chunks.c.data, _chunks.c.lines)
    .where(
        _chunks.c.deployment_id == sa.bindparam("id"),
        _chunks.c.seq > sa.bindparam("after"),
        _chunks.c.seq <= sa.bindparam("until"),
    )
    .order_by(_chunks.c.seq)
    .execution_options(stream_results=True, yield_per=4)
)
_SELECT_LAST_SEQ = sa.select(sa.func.max(_chunks.c.seq)).where(_chunks.c.deployment_id == sa.bindparam("id"))


@dataclass(frozen=True, slots=True)
class LogPiece:
    """Lines of a log. ``seq`` is the number of the last of them."""

    seq: int
    command_id: str
    kind: ChunkKind
    data: bytes


def pieces(
    connection: sa.Connection,
    deployment_id: str,
    after: int,
    *,
    until: int = _NO_END,
    portion_bytes: int = PORTION_BYTES,
) -> tuple[list[LogPiece], bool]:
    """The log behind the line ``after`` up to the end of a chunk, ``until``, in portions of about so many bytes; and
    whether more of it is there already."""
    found: list[LogPiece] = []
    size = 0
    with connection.execute(_SELECT_PIECES, {"id": deployment_id, "after": after, "until": until}) as rows:
        for seq, command_id, kind, data, lines in rows:
            before = max(after, seq - lines)
            for last, part in _numbered(_from_line(data, before - (seq - lines)), before):
                if size >= portion_bytes:
                    return found, True
                found.append(LogPiece(last, command_id, kind, part))
                size += len(part)
    return found, False


def _numbered(data: bytes, before: int) -> Iterator[tuple[int, bytes]]:
    """``data``, whose first line follows the number ``before``, in parts that end with a line, of about 16 KiB; each
    with the number of its last line."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start + PIECE_BYTES - 1) + 1 if len(data) - start > PIECE_BYTES else 0
        part = data[start : end or len(data)]
        before += part.count(b"\n") + (not part.endswith(b"\n"))
        yield before, part
        start += len(part)


def _from_line(data: bytes, skipped: int) -> bytes:
    """``data`` without its first ``skipped`` lines."""
    if skipped <= 0:
        return data
    # Only a newline ends a line here; bytes.splitlines would also split at a carriage return.
    return b"\n".join(data.split(b"\n")[skipped:])


def last_seq(connection: sa.Connection, deployment_id: str) -> int:
    """The number of the newest line of a deployment's log; 0 where it has none."""
    return connection.scalar(_SELECT_LAST_SEQ, {"id": deployment_id}) or 0


def of_command(connection: sa.Connection, command: Command, limit: int) -> bytes:
    """A command's log in one piece: at most ``limit`` bytes, from head and tail, and what was left out said."""
    rows = connection.execute(
        sa.select(_chunks.c.seq, sa.func.length(_chunks.c.data))
        .where(_chunks.c.command_id == command.id)
        .order_by(_chunks.c.seq)
    )
    sizes: list[tuple[int, int]] = [(seq, size) for seq, size in rows]
    total = sum(size for _, size in sizes)
    if total <= limit:
        pieces = _data_of(connection, command, [seq for seq, _ in sizes])
        whole = b"".join(pieces.values())
        cut_at = _cut_in(command, pieces)
        return whole if cut_at is None else whole[:cut_at] + cut_note(command.cut_bytes) + whole[cut_at:]
    head = b"".join(_data_of(connection, command, _first(sizes, limit // 2)).values())
    head = head[: _line_end(head, limit // 2)]
    pieces = _data_of(connection, command, _first(sizes[::-1], limit // 2)[::-1])
    tail = b"".join(pieces.values())
    start = _line_start(tail, len(tail) - limit // 2)
    left_out = total - len(head) - (len(tail) - start)
    cut_at = _cut_in(command, pieces)
    if cut_at is None or cut_at <= start:
        return head + cut_note(left_out + command.cut_bytes) + tail[start:]
    # The tail goes back to where output was cut as it was stored.
    return head + cut_note(left_out) + tail[start:cut_at] + cut_note(command.cut_bytes) + tail[cut_at:]


def _data_of(connection: sa.Connection, command: Command, wanted: Sequence[int]) -> dict[int, bytes]:
    """Chunks that follow each other in a command's log, by their numbers."""
    if not wanted:
        return {}
    found = connection.execute(
        sa.select(_chunks.c.seq, _chunks.c.data)
        .where(
            _chunks.c.deployment_id == command.deployment_id,
            _chunks.c.seq.between(wanted[0], wanted[-1]),
            _chunks.c.command_id == command.id,
        )
        .order_by(_chunks.c.seq)
    )
    return {row.seq: row.data for row in found}


def _cut_in(command: Command, pieces: dict[int, bytes]) -> int | None:
    """How far into these chunks output was cut as it was stored; None where it was not."""
    if not command.cut_bytes or command.cut_after_seq not in pieces:
        return None
    return sum(len(data) for seq, data in pieces.items() if seq <= (command.cut_after_seq or 0))


def _first(sizes: Sequence[tuple[int, int]], wanted: int) -> list[int]:
    """The numbers of the first chunks that together have at least so many bytes."""
    found: list[int] = []
    for seq, size in sizes:
        if wanted <= 0:
            break
        found.append(seq)
        wanted -= size
    return found


def _line_end(data: bytes, limit: int) -> int:
    """Where to end a head of at most ``limit`` bytes: behind a line where one ends nearby, or between characters."""
    end = data.rfind(b"\n", limit // 2, limit) + 1
    return end or _character(data, limit)


def _line_start(data: bytes, least: int) -> int:
    """Where to begin a tail that may begin at ``least``: the same, seen from the other side."""
    newline = data.find(b"\n", least, least + (len(data) - least) // 2)
    if newline >= 0:
        return newline + 1
    while least < len(data) and data[least] & 0xC0 == 0x80:
        least += 1
    return least


def _character(data: bytes, end: int) -> int:
    """The last boundary between characters of UTF-8 up to ``end``, as far as there are any."""
    for back in range(4):
        if end - back <= 0 or end - back >= len(data) or data[end - back] & 0xC0 != 0x80:
            return end - back
    return end


def tail_of_command(connection: sa.Connection, command: Command, limit: int) -> tuple[bytes, bool]:
    """The last ``limit`` bytes of a command's log, and whether there is more before them."""
    rows = connection.execute(
        sa.select(_chunks.c.data)
        .where(_chunks.c.deployment_id == command.deployment_id, _chunks.c.command_id == command.id)
        .order_by(_chunks.c.seq.desc())
        .execution_options(stream_results=True, yield_per=4)
    )
    parts: list[bytes] = []
    size = 0
    with rows:
        for (data,) in rows:
            parts.append(data)
            size += len(data)
            if size > limit:
                break
    return b"".join(reversed(parts))[-limit:], size > limit


def cut_note(size: int) -> bytes:
    return f"\n[… {size} bytes of output were left out here …]\n".encode()
