"""A deployment's log in the terminal, as it comes."""

from __future__ import annotations

import sys
import time

import click
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from deployer import clock
from deployer.db import Database, reason
from deployer.deployments import logs, reading, waiting
from deployer.models.deployment import ChunkKind, Command, Deployment, Status
from deployer.security.control_sequences import only_colours

_COLOURS = {
    Status.SUCCESS: "green",
    Status.FAILED: "red",
    Status.INTERRUPTED: "red",
    Status.CANCELLED: "yellow",
    Status.SUPERSEDED: "yellow",
}
_MARKS = {Status.SUCCESS: "✓", Status.CANCELLED: "–", Status.SUPERSEDED: "–"}
_PATIENCE_S = 10.0
_RETRY_S = 1.0
_INTERRUPTED = 130
"""128 + SIGINT, as shells say it."""


def follow(database: Database, deployment_id: str) -> str:
    """Print headings, output and results until the end; the final status. Raises NotFound when it is deleted.

    Ctrl-C ends the process, and leaves the deployment alone.
    """
    with Session(database.engine) as session:
        ref = reading.find(session, deployment_id).ref
    try:
        return _print(database, deployment_id, is_followed=True).value
    except KeyboardInterrupt:
        click.echo(f"\n{ref} goes on. Come back to it: python app.py logs {ref} --follow", err=True)
        sys.exit(_INTERRUPTED)


def show(database: Database, deployment_id: str) -> None:
    """Print what there is by now. Raises NotFound when it is deleted."""
    _print(database, deployment_id, is_followed=False)


def _print(database: Database, deployment_id: str, *, is_followed: bool) -> Status:
    after = 0
    shown: dict[str, Status] = {}
    line = _Line()
    is_away = False
    told: str | None = None
    while True:
        seen = database.bell.generation if is_followed else 0
        try:
            deployment, commands, pieces, is_more = _look(database, deployment_id, after)
        except DBAPIError as error:
            # A file's fault does not mend itself; a server comes back.
            if not (is_followed and database.is_shared):
                raise
            if not is_away:
                line.end()
                click.echo(f"The database is away, and is waited for: {reason(error.orig)}.", err=True)
            is_away = True
            time.sleep(_RETRY_S)
            continue
        is_away = False
        if deployment.status is Status.QUEUED and told != (why := _reason_to_wait(database, deployment_id)):
            told = why
            click.echo(click.style(f"{deployment.ref} is queued{f': {why}' if why else ''}", dim=True))
        for command in commands:
            _show_start(command, shown)
            for piece in (one for one in pieces if one.command_id == command.id):
                after = max(after, piece.seq)
                line.write(piece.data, is_system=piece.kind is ChunkKind.SYSTEM)
            has_more = is_more and pieces[-1].command_id == command.id
            if has_more or not command.status.is_final:
                break
            if shown.get(command.id) is Status.RUNNING:
                line.end()
            _show_end(command, shown)
        if is_more:
            continue
        if deployment.status.is_final:
            _show_result(deployment)
            return deployment.status
        if not is_followed:
            line.end()
            click.echo(click.style(f"{deployment.ref} {deployment.status}", dim=True))
            return deployment.status
        database.wait_for_change(seen, _PATIENCE_S)


def _look(
    database: Database, deployment_id: str, after: int
) -> tuple[Deployment, list[Command], list[logs.LogPiece], bool]:
    """A deployment with its commands, and its log behind a line; whether there is more of that."""
    with Session(database.engine) as session:
        deployment = reading.find(session, deployment_id)
        pieces, is_more = logs.pieces(session.connection(), deployment_id, after)
        return deployment, list(deployment.commands), pieces, is_more


def _reason_to_wait(database: Database, deployment_id: str) -> str:
    with database.read() as connection:
        found = waiting.of(connection, deployment_id)
    return only_colours(found.words) if found else ""


def _show_start(command: Command, shown: dict[str, Status]) -> None:
    if command.id in shown:
        return
    if command.status is Status.SKIPPED and command.cause:
        # Of a retry: what need not run again.
        shown[command.id] = command.status
        click.echo(click.style(f"– {only_colours(command.line.splitlines()[0])}: {command.cause}", dim=True))
    if command.started_at is None:
        return
    shown[command.id] = Status.RUNNING
    tries = f" (try {command.attempt} of {command.tries})" if command.attempt > 1 else ""
    click.echo(click.style(f"▶ {only_colours(command.line.splitlines()[0])}{tries}", bold=True))


def _show_end(command: Command, shown: dict[str, Status]) -> None:
    if not command.status.is_final or shown.get(command.id) is not Status.RUNNING:
        return
    shown[command.id] = command.status
    assert command.started_at is not None
    assert command.finished_at is not None
    took = clock.duration_words((command.finished_at - command.started_at).total_seconds())
    mark = _MARKS.get(command.status, "✗")
    words = "" if command.status is Status.SUCCESS else f" {only_colours(command.cause or command.status)}"
    click.echo(click.style(f"{mark}{words} ({took})", fg=_COLOURS[command.status]))


def _show_result(deployment: Deployment) -> None:
    cause = f": {only_colours(deployment.cause)}" if deployment.cause else ""
    line = f"{deployment.ref} {deployment.status}{cause}"
    click.echo(click.style(line, fg=_COLOURS[deployment.status], bold=True))


class _Line:
    """The line that output is at: a heading begins one of its own, whatever the command printed last."""

    def __init__(self) -> None:
        self._is_open = False

    def write(self, data: bytes, *, is_system: bool) -> None:
        text = only_colours(data.decode("utf-8", "replace"))
        if is_system:
            # Also where there are no colours it is told from what the command says.
            self.end()
            text = "".join(click.style(f"deployer: {one}", dim=True) for one in text.splitlines(keepends=True))
        # click drops colours where the output is not a terminal.
        click.echo(text, nl=False)
        self._is_open = not text.endswith(("\n", "\n\x1b[0m"))
        sys.stdout.flush()

    def end(self) -> None:
        if self._is_open:
            click.echo()
            self._is_open = False
