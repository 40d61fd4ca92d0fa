"""A project: a repository, a branch, its step list and variables, and the secrets to reach it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from deployer.models.base import Base, partial
from deployer.models.server import Server


class Strategy(StrEnum):
    """How a project's commits are brought to where they run."""

    CHECKOUT = "checkout"  # one working copy, in which the steps run
    RELEASE = "release"  # a directory for each, built beside what is live and then switched to


class Phase(StrEnum):
    """When a step of a project with releases runs."""

    BUILD = "build"  # before the release becomes the current one, in its directory
    ACTIVATE = "activate"  # after it, in ``current``; also when a former release is gone back to


class FileFormat(StrEnum):
    """How variables are written into a file."""

    DOTENV = "dotenv"  # NAME='value' lines, read alike by sh and by dotenv libraries
    JSON = "json"  # one object of texts


class Project(Base):
    __tablename__ = "projects"
    __table_args__ = (
        # Each claim asks which projects are closed, and few have windows.
        sa.Index("ix_projects_windows", "id", **partial("windows IS NOT NULL")),
    )

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(64), unique=True)
    repository_url: Mapped[str] = mapped_column(sa.String(2048))
    branch: Mapped[str] = mapped_column(sa.String(255))
    # Where its commands run; None is this host.
    server_id: Mapped[str | None] = mapped_column(sa.ForeignKey("servers.id", ondelete="RESTRICT"))
    path: Mapped[str] = mapped_column(sa.String(4096))
    strategy: Mapped[Strategy] = mapped_column(
        sa.Enum(Strategy, native_enum=False, length=16, values_callable=lambda e: [m.value for m in e]),
        default=Strategy.CHECKOUT,
    )
    # With releases: how many are kept, what they share (paths, one a line), and the one that is live.
    keep_releases: Mapped[int] = mapped_column(default=5)
    shared_paths: Mapped[str] = mapped_column(sa.Text, default="")
    current_release_id: Mapped[str | None] = mapped_column(sa.String(36))
    # How it is seen whether what was deployed is well: an address that must answer with a status, or a command; so
    # often, so many seconds apart, within so many seconds. Neither: it is not asked.
    health_url: Mapped[str | None] = mapped_column(sa.String(2048))
    health_command: Mapped[str | None] = mapped_column(sa.Text)
    health_status: Mapped[int] = mapped_column(default=200)
    health_tries: Mapped[int] = mapped_column(default=10)
    health_interval_s: Mapped[int] = mapped_column(default=2)
    health_deadline_s: Mapped[int] = mapped_column(default=60)
    shell: Mapped[str] = mapped_column(sa.String(8), default="sh")
    # The file that its variables are written into before the steps run, relative to where they do; None is none.
    variables_file: Mapped[str | None] = mapped_column(sa.String(1024))
    variables_format: Mapped[FileFormat] = mapped_column(
        sa.Enum(FileFormat, native_enum=False, length=16, values_callable=lambda e: [m.value for m in e]),
        default=FileFormat.DOTENV,
    )
    auto_deploy: Mapped[bool] = mapped_column(default=True)
    # Who sends its pushes (`providers.known`), and how those of a generic sender are read.
    provider: Mapped[str] = mapped_column(sa.String(16), default="github")
    hook_header: Mapped[str] = mapped_column(sa.String(64), default="X-Signature")
    hook_prefix: Mapped[str] = mapped_column(sa.String(32), default="sha256=")
    hook_ref: Mapped[str] = mapped_column(sa.String(255), default="/ref")
    hook_commit: Mapped[str] = mapped_column(sa.String(255), default="/after")
    # Which pushes deploy (`deployments.filters`): patterns and words, one a line.
    branch_patterns: Mapped[str] = mapped_column(sa.Text, default="")
    tag_patterns: Mapped[str] = mapped_column(sa.Text, default="")
    watched_paths: Mapped[str] = mapped_column(sa.Text, default="")
    ignored_paths: Mapped[str] = mapped_column(sa.Text, default="")
    skip_markers: Mapped[str] = mapped_column(sa.Text, default="[skip deploy]\n[deploy skip]")
    cancel_running: Mapped[bool] = mapped_column(default=False)
    # Whether a deployment that was interrupted is run again by itself.
    rerun_interrupted: Mapped[bool] = mapped_column(default=False)
    # The remote is looked at this often (minutes), also where no webhook reaches this host; when it last answered,
    # what the branch was at then, and why it could not be looked at since.
    poll_minutes: Mapped[int | None]
    polled_at: Mapped[datetime | None]
    polled_sha: Mapped[str | None] = mapped_column(sa.String(64))
    poll_error: Mapped[str | None] = mapped_column(sa.Text)
    # How many deployments are kept, and for how many days; None is what the configuration says.
    keep_deployments: Mapped[int | None]
    keep_days: Mapped[int | None]
    # The host that it runs on where it has no server, and several hosts share a database.
    host_id: Mapped[str | None] = mapped_column(sa.String(36))
    # A lock: who froze it, why, and since when. While it is there nothing queued begins.
    locked_by: Mapped[str | None] = mapped_column(sa.String(255))
    locked_because: Mapped[str | None] = mapped_column(sa.Text)
    locked_at: Mapped[datetime | None]
    # When it may be deployed (see `deployer.windows`; None: always), by the clocks of this time zone.
    windows: Mapped[str | None] = mapped_column(sa.Text)
    windows_zone: Mapped[str] = mapped_column(sa.String(64), default="UTC")
    # Whether what was not asked for by an administrator waits for one.
    needs_approval: Mapped[bool] = mapped_column(default=False)
    # Whose commits are deployed: OpenPGP keys (armored) and ssh's allowed signers. Neither: anybody's.
    signature_keys: Mapped[str | None] = mapped_column(sa.Text)
    signature_signers: Mapped[str | None] = mapped_column(sa.Text)
    # What is told by mail, and to whom besides the address in the settings (addresses with commas between).
    mail_on_success: Mapped[bool] = mapped_column(default=False)
    mail_on_failure: Mapped[bool] = mapped_column(default=True)
    mail_on_recovery: Mapped[bool] = mapped_column(default=True)
    mail_on_interruption: Mapped[bool] = mapped_column(default=True)
    mail_to: Mapped[str | None] = mapped_column(sa.Text)
    # The next three are encrypted by security.vault, each bound to this project and column.
    webhook_secret: Mapped[bytes]
    deploy_key_private: Mapped[bytes | None]
    https_token: Mapped[bytes | None]
    deploy_key_public: Mapped[str | None] = mapped_column(sa.String(512))
    connected_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    @property
    def requires_signature(self) -> bool:
        """Whether only commits are deployed that are signed by somebody it trusts."""
        return self.signature_keys is not None or self.signature_signers is not None

    @property
    def is_exact(self) -> bool:
        """Whether the very commit that was checked or approved is deployed, and none that came since."""
        return self.requires_signature or self.needs_approval

    server: Mapped[Server | None] = relationship()
    steps: Mapped[list[Step]] = relationship(
        order_by="Step.position", cascade="all, delete-orphan", passive_deletes=True
    )
    variables: Mapped[list[Variable]] = relationship(
        order_by="Variable.name", cascade="all, delete-orphan", passive_deletes=True
    )


class Step(Base):
    __tablename__ = "steps"
    __table_args__ = (sa.UniqueConstraint("project_id", "position"),)

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    project_id: Mapped[str] = mapped_column(sa.ForeignKey("projects.id", ondelete="CASCADE"))
    position: Mapped[int]
    name: Mapped[str] = mapped_column(sa.String(200))
    command: Mapped[str] = mapped_column(sa.Text)
    phase: Mapped[Phase] = mapped_column(
        sa.Enum(Phase, native_enum=False, length=16, values_callable=lambda e: [m.value for m in e]),
        default=Phase.BUILD,
    )
    timeout_s: Mapped[int | None]
    # How often it is tried again when it fails, and after how many seconds.
    retries: Mapped[int] = mapped_column(default=0)
    retry_wait_s: Mapped[int] = mapped_column(default=0)


HAS_SOMETHING_TO_DO = sa.or_(
    Project.strategy == Strategy.RELEASE, sa.select(sa.literal(1)).where(Step.project_id == Project.id).exists()
)
"""Of a project: a deployment of it would change something. A release without steps is a directory of files."""


class Variable(Base):
    """One environment variable of a project's commands. A secret one is stored encrypted and never shown again."""

    __tablename__ = "variables"
    __table_args__ = (
        sa.UniqueConstraint("project_id", "name"),
        # Rows without a project are no duplicates of each other to the constraint above.
        sa.Index("uq_variables_of_all_projects", "name", unique=True, **partial("project_id IS NULL")),
        sa.CheckConstraint("(plain_value IS NULL) <> (secret_value IS NULL)", name="one_value"),
    )

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    # None is all projects, of which one's own variable of the same name takes the place.
    project_id: Mapped[str | None] = mapped_column(sa.ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(sa.String(255))
    plain_value: Mapped[str | None] = mapped_column(sa.Text)
    secret_value: Mapped[bytes | None]

    @property
    def is_secret(self) -> bool:
        return self.secret_value is not None
