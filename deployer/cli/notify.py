"""``notify …``: the channels that are told of deployments, and what they were sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from deployer.cli.context import Context
from deployer.cli.projects import table

if TYPE_CHECKING:
    from deployer.models.channel import Channel

_json = click.option("--json", "as_json", is_flag=True, help="Answer with JSON.")


@click.group()
def notify() -> None:
    """Chats, webhooks and forges that are told how deployments went."""


@notify.command("list")
@_json
@click.pass_obj
def list_channels(context: Context, as_json: bool) -> None:
    """All channels, with where they lead and what they are told."""
    import sqlalchemy as sa
    from sqlalchemy.orm import Session

    from deployer.models.channel import Channel
    from deployer.notifications import channels

    with Session(context.installation.database.engine) as session:
        rows: list[dict[str, Any]] = [
            {
                "id": one.id,
                "name": _called(one),
                "kind": one.kind,
                "target": one.target,
                "project": one.project.name if one.project else None,
                "events": [] if one.kind.is_forge else [str(it) for it in channels.occasions_of(one)],
                "enabled": one.is_enabled,
            }
            for one in session.scalars(sa.select(Channel).order_by(Channel.name, Channel.id))
        ]
    if as_json:
        click.echo(json.dumps(rows))
    elif not rows:
        click.echo("No channels yet. Add one in the dashboard, under Notifications of a project or in the settings.")
    else:
        cells = [
            [
                row["name"],
                row["target"],
                "switched off" if not row["enabled"] else ", ".join(row["events"]) or "every deployment of a commit",
            ]
            for row in rows
        ]
        click.echo(table([["NAME", "LEADS TO", "IS TOLD"], *cells]))


@notify.command()
@click.argument("channel")
@click.pass_obj
def test(context: Context, channel: str) -> None:
    """Send a test message to CHANNEL (NAME, or PROJECT/NAME), and say what came of it."""
    from sqlalchemy.orm import Session

    from deployer.notifications import channels, sending

    with Session(context.installation.database.engine) as session:
        channel_id = channels.find_named(session, channel).id
    click.echo(sending.send_test(context.installation, channel_id))


@notify.command("log")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@_json
@click.pass_obj
def show_log(context: Context, limit: int, as_json: bool) -> None:
    """What was sent, and what became of it; the newest first."""
    import sqlalchemy as sa
    from sqlalchemy.orm import Session, joinedload

    from deployer import clock
    from deployer.models.deployment import Deployment
    from deployer.models.notification import Notification

    newest = (
        sa.select(Notification)
        .order_by(Notification.created_at.desc(), Notification.id.desc())
        .limit(limit)
        .options(joinedload(Notification.deployment).joinedload(Deployment.project), joinedload(Notification.channel))
    )
    with Session(context.installation.database.engine) as session:
        rows: list[dict[str, Any]] = [
            {
                "at": clock.iso(one.created_at),
                "status": one.status,
                "deployment": one.deployment.ref,
                "project": one.deployment.project.name,
                "event": one.occasion,
                "channel": _called(one.channel) if one.channel else "mail",
                "tries": one.attempts,
                "error": one.last_error,
                "answer": one.answer,
            }
            for one in session.scalars(newest)
        ]
    if as_json:
        click.echo(json.dumps(rows))
    elif not rows:
        click.echo("Nothing was sent yet.")
    else:
        cells = [
            [
                row["at"],
                row["status"],
                row["deployment"],
                row["event"],
                row["channel"],
                str(row["tries"]),
                (row["error"] or "").split("\n")[0],
            ]
            for row in rows
        ]
        click.echo(table([["TIME", "STATUS", "DEPLOYMENT", "EVENT", "TO", "TRIES", "ERROR"], *cells]))


def _called(channel: Channel) -> str:
    """What `notify test` takes."""
    return f"{channel.project.name}/{channel.name}" if channel.project else channel.name
