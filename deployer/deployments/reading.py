"""Looking at deployments: lists for pages, a deployment's log from a number on, its state for a stream."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

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
)
from deployer.models.project import Project
from deployer.models.server import Server

PORTION_BYTES = 1024 * 1024

_REFERENCE = re.compile(r"DEP-0*([1-9][0-9]{0,17})\Z", re.IGNORECASE)
_chunks = table_of(LogChunk)
_SELECT_PIECES = (
    sa.select(_chunks.c.seq, _chunks.c.command_id, _chunks.c.kind, _chunks.c.data, _chunks.c.lines)
    .where(_chunks.c.deployment_id == sa.bindparam("id"), _chunks.c.seq > sa.bindparam("after"))
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
        .order_by(Deployment.finished_at.desc(), Deployment.number.desc())
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


def pieces(connection: sa.Connection, deployment_id: str, after: int) -> tuple[list[LogPiece], bool]:
    """The log from the line behind ``after`` on, in portions of about 1 MiB; and whether more is there already."""
    found: list[LogPiece] = []
    size = 0
    with connection.execute(_SELECT_PIECES, {"id": deployment_id, "after": after}) as rows:
        for seq, command_id, kind, data, lines in rows:
            if size >= PORTION_BYTES:
                return found, True
            found.append(LogPiece(seq, command_id, kind, _from_line(data, after - (seq - lines))))
            size += len(data)
    return found, False


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
    head, tail = _ends(sizes, limit)
    wanted = head + tail
    found = connection.execute(
        sa.select(_chunks.c.seq, _chunks.c.data).where(
            _chunks.c.deployment_id == command.deployment_id, _chunks.c.seq.in_(wanted)
        )
    )
    data: dict[int, bytes] = {row.seq: row.data for row in found}
    # The cut made while it was stored lies behind the head; one made here lies between head and tail.
    left_out = sum(size for _, size in sizes) - sum(len(part) for part in data.values())
    parts: list[bytes] = []
    for seq in wanted:
        parts.append(data[seq])
        if seq == command.cut_after_seq and command.cut_bytes and left_out <= 0:
            parts.append(cut_note(command.cut_bytes))
        elif left_out > 0 and head and seq == head[-1]:
            parts.append(cut_note(left_out + command.cut_bytes))
    return b"".join(parts)


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


def _ends(sizes: Sequence[tuple[int, int]], limit: int) -> tuple[list[int], list[int]]:
    """Numbers of the chunks of the first and of the last ``limit / 2`` bytes (all, where they fit)."""
    if sum(size for _, size in sizes) <= limit:
        return [seq for seq, _ in sizes], []
    head: list[int] = []
    used = 0
    for seq, size in sizes:
        if used + size > limit // 2 and head:
            break
        head.append(seq)
        used += size
    tail: list[int] = []
    used = 0
    for seq, size in reversed(sizes[len(head) :]):
        if used + size > limit // 2:
            break
        tail.append(seq)
        used += size
    return head, tail[::-1]
