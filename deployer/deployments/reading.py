"""Looking at deployments: lists for pages, a deployment's log from a number on, its state for a stream."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from deployer.errors import NotFound
from deployer.models.audit import AuditEvent
from deployer.models.base import table_of
from deployer.models.delivery import Delivery, Verdict
from deployer.models.deployment import (
    QUEUED,
    RUNNING,
    ChunkKind,
    Command,
    Deployment,
    DeploymentEvent,
    LogChunk,
    Status,
    last_event,
)
from deployer.models.project import Project
from deployer.models.server import Server

PORTION_BYTES = 1024 * 1024
PIECE_BYTES = 16 * 1024
_NO_END = 2**31 - 1

# No more digits than the number's column holds: a longer one is nobody's.
_REFERENCE = re.compile(r"DEP-0*([1-9][0-9]{0,8})\Z", re.IGNORECASE)
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


def find(session: Session, id_or_ref: str) -> Deployment:
    """By id or reference (``DEP-0042``). Raises NotFound."""
    match = _REFERENCE.match(id_or_ref)
    is_it = Deployment.number == int(match[1]) if match else Deployment.id == id_or_ref
    deployment = session.scalar(sa.select(Deployment).where(is_it).options(joinedload(Deployment.project)))
    if deployment is None:
        raise NotFound("Deployment not found")
    return deployment


def retries_of(session: Session, deployment: Deployment) -> Sequence[Deployment]:
    """The deployments that run a deployment's commit again, in their order."""
    return session.scalars(
        sa.select(Deployment)
        .where(
            Deployment.project_id == deployment.project_id,
            Deployment.number > deployment.number,
            Deployment.retry_of == deployment.id,
        )
        .order_by(Deployment.number)
    ).all()


def retried_by(session: Session, deployment: Deployment) -> Deployment | None:
    """The one whose commit a deployment runs again; None where it is none such, or where that one is gone."""
    if deployment.retry_of is None:
        return None
    return session.scalar(sa.select(Deployment).where(Deployment.id == deployment.retry_of))


def active(session: Session) -> Sequence[Deployment]:
    """What runs and what waits, in the order of the queue."""
    # Each by its own partial index; a condition with "or" would look at every deployment there ever was.
    numbers = sa.union_all(
        *(sa.select(Deployment.number).where(Deployment.status == one) for one in (RUNNING, QUEUED))
    )
    return session.scalars(
        sa.select(Deployment)
        .where(Deployment.number.in_(numbers))
        .order_by(Deployment.status.desc(), Deployment.number)
        .options(joinedload(Deployment.project))
    ).all()


def of_project(session: Session, project_id: str, limit: int) -> Sequence[Deployment]:
    """The newest of a project."""
    return session.scalars(
        sa.select(Deployment)
        .where(Deployment.project_id == project_id)
        .order_by(Deployment.number.desc())
        .limit(limit)
    ).all()


def newest_pushed(session: Session, project_id: str, branch: str) -> str | None:
    """The commit that the forge named last for a branch, whatever became of it; None where it never named one."""
    return session.scalar(
        sa.select(Delivery.commit_sha)
        .where(
            Delivery.project_id == project_id,
            Delivery.ref == f"refs/heads/{branch}",
            Delivery.commit_sha.is_not(None),
            Delivery.verdict != Verdict.UNVERIFIED,
        )
        .order_by(Delivery.received_at.desc())
        .limit(1)
    )


def live_sha(connection: sa.Connection, project_id: str) -> str | None:
    """The commit that the last successful deployment of a project left."""
    return connection.scalar(
        sa.select(Deployment.deployed_sha)
        .where(Deployment.project_id == project_id, Deployment.status == Status.SUCCESS)
        .order_by(last_event(Deployment.id).desc())
        .limit(1)
    )


def changes(session: Session) -> str:
    """A word that differs after each change of a deployment's status, and of what a person changed."""
    newest = [sa.select(sa.func.max(column)).scalar_subquery() for column in (DeploymentEvent.id, AuditEvent.id)]
    return ".".join(str(number or 0) for number in session.execute(sa.select(*newest)).one())


def servers_given_up(connection: sa.Connection, since: datetime) -> Sequence[str]:
    """The servers of deployments that were interrupted or cancelled since then: the runner may have been out of
    contact with them."""
    return connection.scalars(
        sa.select(Server.id)
        .join(Project, Project.server_id == Server.id)
        .join(Deployment, Deployment.project_id == Project.id)
        .where(
            Deployment.status.in_((Status.INTERRUPTED, Status.CANCELLED)),
            Deployment.finished_at > since,
        )
        .distinct()
    ).all()


def newest_of_each(session: Session) -> dict[str, Deployment]:
    """Each project's last deployment that was not merely superseded, by the project's id."""
    # Backwards through each project's own; to group all of them would take as long as there are deployments.
    newest = (
        sa.select(Deployment.number)
        .where(Deployment.project_id == Project.id, Deployment.status != Status.SUPERSEDED)
        .order_by(Deployment.number.desc())
        .limit(1)
        .correlate(Project)
        .scalar_subquery()
    )
    found = session.scalars(
        sa.select(Deployment).where(Deployment.number.in_(sa.select(newest).select_from(Project)))
    )
    return {deployment.project_id: deployment for deployment in found}


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


def log_of(connection: sa.Connection, command: Command, limit: int) -> bytes:
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


def end_of_log(connection: sa.Connection, command: Command, limit: int) -> tuple[bytes, bool]:
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


def _is_here(project: Any) -> sa.ColumnElement[bool]:
    """Whether a project's lane is one that this host opens, as claims have it."""
    return sa.or_(project.server_id.is_not(None), project.host_id.is_(None), project.host_id == sa.bindparam("host"))


_running = table_of(Deployment).alias()
_at_work = table_of(Project).alias()
_WAITS_FOR_NOTHING = (
    sa.select(sa.literal(1))
    .select_from(Deployment)
    .join(Project, Project.id == Deployment.project_id)
    .where(
        Deployment.status == QUEUED,
        _is_here(Project),
        ~sa.select(sa.literal(1))
        .where(
            _running.c.status == RUNNING,
            _at_work.c.id == _running.c.project_id,
            _at_work.c.server_id.is_not_distinct_from(Project.server_id),
            _is_here(_at_work.c),
        )
        .correlate(Project)
        .exists(),
    )
    .limit(1)
)
_NEWEST_START = (
    sa.select(DeploymentEvent.deployment_id)
    .join(Deployment, Deployment.id == DeploymentEvent.deployment_id)
    .join(Project, Project.id == Deployment.project_id)
    .where(DeploymentEvent.event == Status.RUNNING, _is_here(Project))
    .order_by(DeploymentEvent.id.desc())
    .limit(1)
)


def standstill(connection: sa.Connection, host_id: str | None = None) -> str | None:
    """Where something waits though nothing runs where it is to: what began last, which should be another one soon.
    Of hosts that share a database it is that of this one: what waits for another's runner is not its affair."""
    if connection.scalar(_WAITS_FOR_NOTHING, {"host": host_id}) is None:
        return None
    return connection.scalar(_NEWEST_START, {"host": host_id}) or ""
