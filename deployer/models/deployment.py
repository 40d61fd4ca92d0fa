"""A deployment, its commands, their log chunks, and the events of its life.

Only ``deployments.lifecycle`` and ``deployments.command_lifecycle`` write a status.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Mapped, mapped_column, relationship

from deployer.models.base import Base, partial
from deployer.models.project import Phase, Project


class Status(StrEnum):
    """Where a deployment or a command stands."""

    QUEUED = "queued"  # recorded, not begun
    RUNNING = "running"  # claimed by a runner
    SUCCESS = "success"  # every command exited with 0
    FAILED = "failed"  # ended by its own fault; the cause says which
    CANCELLED = "cancelled"  # a person asked for it
    INTERRUPTED = "interrupted"  # the host or the process went away under it; the cause says how
    SUPERSEDED = "superseded"  # a newer push took its place (deployments only)
    SKIPPED = "skipped"  # never begun because an earlier one did not succeed (commands only)

    @property
    def is_final(self) -> bool:
        return self not in (Status.QUEUED, Status.RUNNING)


class Trigger(StrEnum):
    """What asked for a deployment."""

    PUSH = "push"  # a verified delivery
    POLL = "poll"  # the remote, looked at, had a commit that no delivery had brought
    MANUAL = "manual"  # a person's wish
    RETRY = "retry"  # the commit of an earlier deployment again
    ROLLBACK = "rollback"  # a release that was live before
    SCHEDULE = "schedule"  # its time had come

    @property
    def follows_branch(self) -> bool:
        """Whether it deploys what the branch has come to, so that a newer one takes its place."""
        return self in (Trigger.PUSH, Trigger.POLL)


class CommandKind(StrEnum):
    """Who composed a command."""

    FETCH = "fetch"  # built in: the forge's branches into the project's mirror
    SEND = "send"  # built in: the mirror's branches to the project's server
    CHECKOUT = "checkout"  # built in: the commit from the mirror into the working copy
    VARIABLES = "variables"  # built in: the variables into a file where the steps run
    CLONE = "clone"  # built in: the working copy of a project that pulls by itself
    RELEASE = "release"  # built in: a release's directory, with the commit
    SWITCH = "switch"  # built in: a release becomes the current one
    BACK = "back"  # built in: the former release becomes the current one again
    HEALTH = "health"  # built in: the project's health check
    PRUNE = "prune"  # built in: releases that are no longer kept are removed
    STEP = "step"  # a line of the project's step list


QUEUED = sa.literal_column("'queued'", sa.String)
RUNNING = sa.literal_column("'running'", sa.String)
SUPERSEDED = sa.literal_column("'superseded'", sa.String)
"""Written out instead of bound: SQLite uses a partial index only where it can read the value in the statement."""

FOLLOWS_BRANCH = sa.text("trigger IN ('push', 'poll')")
"""`Trigger.follows_branch`, in a query as in the index, to the letter."""

DELIVERY_IS_SPENT = sa.text("status NOT IN ('failed', 'interrupted')")
"""The deployment of a delivery id that must not be run again; in a query as in the index, to the letter."""


def _status_column() -> Mapped[Status]:
    return mapped_column(
        sa.Enum(Status, native_enum=False, length=16, values_callable=lambda e: [member.value for member in e])
    )


class Deployment(Base):
    __tablename__ = "deployments"
    __table_args__ = (
        # Never two of one project at once, whoever claims.
        sa.Index(
            "uq_deployments_running_project",
            "project_id",
            unique=True,
            **partial("status = 'running'"),
        ),
        # Latest wins: one queued push for a project and branch.
        sa.Index(
            "uq_deployments_queued_push",
            "project_id",
            "branch",
            unique=True,
            **partial(f"status = 'queued' AND {FOLLOWS_BRANCH.text}"),
        ),
        # A delivery is run once; again only after it failed or was lost.
        sa.Index(
            "uq_deployments_delivery",
            "project_id",
            "delivery_guid",
            unique=True,
            **partial(DELIVERY_IS_SPENT.text),
        ),
        # The queue, in its order.
        sa.Index(
            "ix_deployments_queued",
            "number",
            **partial("status = 'queued'"),
        ),
        sa.Index("ix_deployments_project_number", "project_id", "number"),
        {"sqlite_autoincrement": True},
    )

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(sa.String(36), unique=True)
    project_id: Mapped[str] = mapped_column(sa.ForeignKey("projects.id", ondelete="CASCADE"))
    status: Mapped[Status] = _status_column()
    cause: Mapped[str | None] = mapped_column(sa.Text)
    trigger: Mapped[Trigger] = mapped_column(
        sa.Enum(Trigger, native_enum=False, length=16, values_callable=lambda e: [member.value for member in e])
    )
    triggered_by: Mapped[str | None] = mapped_column(sa.String(255))
    # Of a tag its full ref, which is no branch's name here: so each ref has a queue of its own.
    branch: Mapped[str] = mapped_column(sa.String(255))
    # The commit asked for; of a manual deployment it is empty until the runner has resolved the branch's tip.
    commit_sha: Mapped[str | None] = mapped_column(sa.String(64))
    # What was really in the working copy at the end.
    deployed_sha: Mapped[str | None] = mapped_column(sa.String(64))
    commit_message: Mapped[str | None] = mapped_column(sa.Text)
    author_name: Mapped[str | None] = mapped_column(sa.String(255))
    author_email: Mapped[str | None] = mapped_column(sa.String(255))
    pusher: Mapped[str | None] = mapped_column(sa.String(255))
    compare_url: Mapped[str | None] = mapped_column(sa.String(2048))
    repository: Mapped[str | None] = mapped_column(sa.String(255))
    delivery_guid: Mapped[str | None] = mapped_column(sa.String(64))
    superseded_by: Mapped[str | None] = mapped_column(sa.String(36))
    queued_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    cancel_requested_by: Mapped[str | None] = mapped_column(sa.String(255))
    runner_id: Mapped[str | None] = mapped_column(sa.String(36))
    # The deployment whose commit this one runs again; and the first of the project's steps to be run, counted from 0,
    # where the ones before it need not be.
    retry_of: Mapped[str | None] = mapped_column(sa.String(36))
    from_step: Mapped[int | None]
    # With releases: the one that it makes, or goes back to; and the one that was current as it switched.
    release_id: Mapped[str | None] = mapped_column(sa.String(36))
    former_release_id: Mapped[str | None] = mapped_column(sa.String(36))
    # Who said that it may begin, where its project asks for that; and whether it need not wait for a window.
    approved_by: Mapped[str | None] = mapped_column(sa.String(255))
    approved_at: Mapped[datetime | None]
    ignores_windows: Mapped[bool] = mapped_column(default=False)

    project: Mapped[Project] = relationship()
    commands: Mapped[list[Command]] = relationship(order_by="[Command.position, Command.attempt]", viewonly=True)

    @property
    def ref(self) -> str:
        return reference(self.number)

    @property
    def sha(self) -> str | None:
        return self.deployed_sha or self.commit_sha

    @property
    def tag(self) -> str | None:
        """The tag that it deploys; None where it deploys a branch."""
        return tag_of(self.branch)

    @property
    def branch_or_tag(self) -> str:
        return self.tag or self.branch


TAGS = "refs/tags/"


def tag_of(branch: str) -> str | None:
    """The tag in a deployment's column ``branch``; None where that holds a branch."""
    return branch[len(TAGS) :] if branch.startswith(TAGS) else None


def reference(number: int) -> str:
    """The short name of a deployment that people say to each other: ``DEP-0042``."""
    return f"DEP-{number:04d}"


class Command(Base):
    __tablename__ = "commands"
    __table_args__ = (sa.UniqueConstraint("deployment_id", "position", "attempt"),)

    # Derived from deployment, position and attempt, so that a restarted runner computes the same one.
    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    deployment_id: Mapped[str] = mapped_column(sa.ForeignKey("deployments.id", ondelete="CASCADE"))
    position: Mapped[int]
    # Which try of its step it is, from 1; and how many more may follow, each after so many seconds.
    attempt: Mapped[int] = mapped_column(default=1)
    retries: Mapped[int] = mapped_column(default=0)
    retry_wait_s: Mapped[int] = mapped_column(default=0)
    # A later try waits until then.
    not_before: Mapped[datetime | None]
    kind: Mapped[CommandKind] = mapped_column(
        sa.Enum(CommandKind, native_enum=False, length=16, values_callable=lambda e: [m.value for m in e])
    )
    name: Mapped[str] = mapped_column(sa.String(200))
    line: Mapped[str] = mapped_column(sa.Text)
    # Of a step of a project with releases.
    phase: Mapped[Phase | None] = mapped_column(
        sa.Enum(Phase, native_enum=False, length=16, values_callable=lambda e: [m.value for m in e])
    )
    timeout_s: Mapped[int]
    status: Mapped[Status] = _status_column()
    cause: Mapped[str | None] = mapped_column(sa.Text)
    exit_code: Mapped[int | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    # Which boot of its place it was begun in: after another one, what is not there is lost, not unbegun.
    boot_id: Mapped[str | None] = mapped_column(sa.String(36))
    # Random, written after the last byte of output, so that the reader knows that it has everything.
    nonce: Mapped[str] = mapped_column(sa.String(32))
    # Bytes of raw output that are stored, redacted or cut: where reading goes on.
    output_offset: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    # Bytes of output that were not kept, between the kept head and the kept tail.
    cut_bytes: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    # The number after which the cut lies; chunks up to it are the head.
    cut_after_seq: Mapped[int | None]

    @property
    def tries(self) -> int:
        """How often its step is tried at most."""
        return self.retries + 1

    @property
    def tells_its_try(self) -> bool:
        """Whether it is worth a word which try it is: of the first only once it has failed."""
        return self.retries > 0 and (self.attempt > 1 or self.status is Status.FAILED)


class ChunkKind(StrEnum):
    """Who speaks in a log chunk."""

    OUTPUT = "output"  # the command
    SYSTEM = "system"  # Deployer, about the command


class LogChunk(Base):
    """A numbered piece of a command's output.

    ``seq`` is the number of its last line; it holds the lines ``seq - lines + 1 … seq``. A piece after the
    last newline counts as a line. Numbers only grow within a deployment.
    """

    __tablename__ = "log_chunks"

    deployment_id: Mapped[str] = mapped_column(sa.ForeignKey("deployments.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    command_id: Mapped[str] = mapped_column(sa.ForeignKey("commands.id", ondelete="CASCADE"), index=True)
    lines: Mapped[int]
    kind: Mapped[ChunkKind] = mapped_column(
        sa.Enum(ChunkKind, native_enum=False, length=8, values_callable=lambda e: [m.value for m in e])
    )
    data: Mapped[bytes]
    created_at: Mapped[datetime]


class DeploymentEvent(Base):
    """One change of a deployment's status: when, to what, and by whom or why."""

    __tablename__ = "deployment_events"
    __table_args__ = (sa.Index("ix_deployment_events_deployment_id", "deployment_id"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    deployment_id: Mapped[str] = mapped_column(sa.ForeignKey("deployments.id", ondelete="CASCADE"))
    at: Mapped[datetime]
    event: Mapped[str] = mapped_column(sa.String(24))
    detail: Mapped[str | None] = mapped_column(sa.Text)


def last_event(deployment_id: sa.ColumnElement[str] | InstrumentedAttribute[str]) -> sa.ScalarSelect[int]:
    """The id of a deployment's last event. Those of deployments that have ended say in which order they did, whatever
    the clocks said then: of one project only one runs at a time, and ids only grow."""
    events = DeploymentEvent.__table__
    return (
        sa.select(sa.func.max(events.c.id))
        .where(events.c.deployment_id == deployment_id)
        .correlate_except(events)
        .scalar_subquery()
    )


LOOK_BACK = 100
"""Of a project's successes so many are looked at, the newest by their numbers: one may have jumped the queue."""


def last_success(project_id: str, branch: str | None = None) -> sa.Select[tuple[int]]:
    """The number of the deployment that made what is live: the last of a project's successes to end; or of those of
    one branch."""
    is_one = [Deployment.project_id == project_id, Deployment.status == Status.SUCCESS]
    if branch is not None:
        is_one.append(Deployment.branch == branch)
    newest = (
        sa.select(Deployment.number, last_event(Deployment.id).label("ended"))
        .where(*is_one)
        .order_by(Deployment.number.desc())
        .limit(LOOK_BACK)
        .subquery()
    )
    return sa.select(newest.c.number).order_by(newest.c.ended.desc()).limit(1)
