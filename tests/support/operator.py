"""The person who makes projects, asks for deployments, and reads how they went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer import clock, project_secrets, projects, pushes, servers, variables
from deployer.deployments import deliveries, lifecycle, queue, releases, retry
from deployer.executors.host_keys import fingerprint
from deployer.installation import Installation
from deployer.models import Command, Deployment, DeploymentEvent, LogChunk, Project, Release
from deployer.models.deployment import ChunkKind, Status
from deployer.project_input import ProjectInput, StepInput
from deployer.providers.base import Event, Push, branch_of, tag_of
from deployer.servers import ServerInput
from tests.support.ssh_server import SshServer
from tests.support.waiting import wait_until


class Operator:
    """Everything by the program's own use cases; what is read is read from the database."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.database = installation.database

    # Projects

    def make_project(
        self, url: str, steps: Sequence[str | StepInput] = ("true",), *, name: str = "app", **given: Any
    ) -> Project:
        wanted = ProjectInput(name=name, repository_url=url, branch="main", steps=_steps(steps))
        with self.database.write_session() as session:
            project = projects.create(
                session,
                replace(wanted, **given),
                config=self.installation.config,
                data_dir=self.installation.data_dir,
                vault=self.installation.vault,
            )
            return self._loaded(session, project)

    def make_server(self, ssh: SshServer, name: str = "web1") -> str:
        """A server whose key is let in and whose host key is trusted; its id."""
        with self.database.write_session() as session:
            given = ServerInput(name, "127.0.0.1", ssh.port, ssh.user)
            server = servers.create(session, given, self.installation.vault)
            ssh.authorize(servers.authorized_keys(server))
            servers.offer(server, ssh.host_key)
            servers.trust(server, fingerprint(ssh.host_key))
            return server.id

    def change(self, project: Project, **given: Any) -> Project:
        with self.database.write_session() as session:
            present = projects.find(session, project.id)
            wanted = projects.as_input(present, self.installation.data_dir)
            if "steps" in given:
                given["steps"] = _steps(given["steps"])
            projects.update(
                session,
                present,
                replace(wanted, **given),
                config=self.installation.config,
                data_dir=self.installation.data_dir,
            )
            return self._loaded(session, present)

    def change_pushes(self, project: Project, **given: str) -> None:
        with self.database.write_session() as session:
            present = projects.find(session, project.id)
            pushes.change(session, present, replace(pushes.as_input(present), **given))

    def set_variable(self, project: Project | None, name: str, value: str, *, secret: bool = False) -> None:
        """Of a project, or of all."""
        with self.database.write_session() as session:
            variables.set_variable(
                session,
                projects.find(session, project.id) if project else None,
                name,
                value,
                secret=secret,
                vault=self.installation.vault,
            )

    def write_variables_into(self, project: Project, path: str, file_format: str = "dotenv") -> None:
        with self.database.write_session() as session:
            of_all = variables.of_all_projects(session.connection())
            found = projects.find(session, project.id)
            variables.set_file(found, path, file_format, of_all, self.installation.vault)

    def set_https_token(self, project: Project, token: str) -> None:
        with self.database.write_session() as session:
            project_secrets.set_https_token(projects.find(session, project.id), token, self.installation.vault)

    def make_deploy_key(self, project: Project) -> str:
        """Its public half."""
        with self.database.write_session() as session:
            found = projects.find(session, project.id)
            project_secrets.make_deploy_key(found, self.installation.vault)
            assert found.deploy_key_public is not None
            return found.deploy_key_public

    @staticmethod
    def _loaded(session: Session, project: Project) -> Project:
        session.flush()
        session.refresh(project)
        _ = project.steps, project.variables, project.server
        return project

    def releases(self, project: Project) -> list[SimpleNamespace]:
        """In the order of their numbers."""
        wanted = sa.select(*Release.__table__.columns).where(Release.project_id == project.id)
        return self.rows(wanted.order_by(Release.number))

    def live(self, project: Project) -> str | None:
        """The name of the current release on record."""
        with self.database.read() as connection:
            found = releases.current(connection, project.id)
        return found.name if found else None

    # Asking

    def deploy(self, project: Project, *, by: str = "ada", commit: str | None = None, **given: bool) -> str:
        limit = self.installation.config.runner.max_queued
        with self.database.write() as connection:
            return queue.deploy_by_hand(connection, project.id, by, limit, commit, **given)

    def retry(self, deployment_id: str, *, by: str = "ada", from_failed: bool = False) -> str:
        limit = self.installation.config.runner.max_queued
        with self.database.write() as connection:
            return retry.retry(connection, deployment_id, by, limit, from_failed=from_failed)

    def roll_back(self, project: Project, number: int | None = None, *, by: str = "ada") -> str:
        limit = self.installation.config.runner.max_queued
        with self.database.write() as connection:
            return releases.roll_back(connection, project.id, by, limit, number)

    def push(
        self, project: Project, sha: str, *, ref: str = "", guid: str | None = None, pusher: str = "grace"
    ) -> deliveries.Recorded:
        """A verified push delivery for the project's branch, or for a full ``ref``."""
        ref = ref or f"refs/heads/{project.branch}"
        push = Push(ref=ref, branch=branch_of(ref), tag=tag_of(ref), sha=sha, pusher=pusher)
        with self.database.write() as connection:
            secret = connection.scalar(sa.select(Project.webhook_secret).where(Project.id == project.id))
            request = deliveries.Request(
                project_id=project.id,
                provider="github",
                received_at=clock.now(),
                event=Event("push", push=push),
                sealed_secret=secret or b"",
                event_name="push",
                guid=guid,
            )
            (answer,) = deliveries.record(connection, [request], self.installation.config.runner.max_queued)
        return answer

    def pushed(self, project: Project, sha: str, *, ref: str = "") -> str:
        """The deployment that a push led to."""
        deployment_id = self.push(project, sha, ref=ref).deployment_id
        assert deployment_id is not None
        return deployment_id

    def cancel(self, deployment_id: str, by: str = "ada") -> bool:
        with self.database.write() as connection:
            return lifecycle.request_cancel(connection, deployment_id, by)

    # Reading

    def deployment(self, deployment_id: str) -> SimpleNamespace:
        return self._one(sa.select(*Deployment.__table__.columns).where(Deployment.id == deployment_id))

    def deployments(self) -> list[SimpleNamespace]:
        return self.rows(sa.select(*Deployment.__table__.columns).order_by(Deployment.number))

    def commands(self, deployment_id: str) -> list[SimpleNamespace]:
        wanted = sa.select(*Command.__table__.columns).where(Command.deployment_id == deployment_id)
        return self.rows(wanted.order_by(Command.position, Command.attempt))

    def steps(self, deployment_id: str) -> list[SimpleNamespace]:
        """The commands that are lines of the step list."""
        return [command for command in self.commands(deployment_id) if command.kind == "step"]

    def chunks(self, deployment_id: str) -> list[SimpleNamespace]:
        wanted = sa.select(*LogChunk.__table__.columns).where(LogChunk.deployment_id == deployment_id)
        return self.rows(wanted.order_by(LogChunk.seq))

    def events(self, deployment_id: str) -> list[str]:
        wanted = sa.select(*DeploymentEvent.__table__.columns).where(DeploymentEvent.deployment_id == deployment_id)
        return [event.event for event in self.rows(wanted.order_by(DeploymentEvent.id))]

    def output(self, command: SimpleNamespace) -> bytes:
        """What the command printed, as it is stored."""
        return self._said(command, ChunkKind.OUTPUT)

    def remarks(self, command: SimpleNamespace) -> str:
        """What Deployer says about the command."""
        return self._said(command, ChunkKind.SYSTEM).decode()

    def step_output(self, deployment_id: str, number: int = 0) -> bytes:
        return self.output(self.steps(deployment_id)[number])

    def log(self, deployment_id: str) -> str:
        return b"".join(chunk.data for chunk in self.chunks(deployment_id)).decode()

    def _said(self, command: SimpleNamespace, kind: ChunkKind) -> bytes:
        chunks = self.chunks(command.deployment_id)
        return b"".join(one.data for one in chunks if one.command_id == command.id and one.kind is kind)

    def status(self, deployment_id: str) -> Status:
        return Status(self.deployment(deployment_id).status)

    def wait_for_end(self, deployment_id: str, *, within_s: float = 20.0) -> SimpleNamespace:
        wait_until(
            lambda: self.status(deployment_id).is_final,
            f"the end of {self.deployment(deployment_id)}",
            within_s=within_s,
        )
        return self.deployment(deployment_id)

    def wait_for_output(self, deployment_id: str, text: bytes, number: int = 0) -> None:
        """Until a step has printed something, as a viewer would see it."""

        def is_there() -> bool:
            steps = self.steps(deployment_id)
            return len(steps) > number and text in self.output(steps[number])

        wait_until(is_there, f"{text!r} in the log")

    def _one(self, statement: sa.Select[Any]) -> SimpleNamespace:
        (row,) = self.rows(statement)
        return row

    def rows(self, statement: sa.Select[Any]) -> list[SimpleNamespace]:
        with self.database.read() as connection:
            return [SimpleNamespace(**row._mapping) for row in connection.execute(statement)]


def _steps(given: Sequence[str | StepInput]) -> list[StepInput]:
    return [StepInput(step) if isinstance(step, str) else step for step in given]
