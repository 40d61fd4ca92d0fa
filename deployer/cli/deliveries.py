"""``deliveries``: what the forge sent for a project, and what became of it."""

from __future__ import annotations

import json

import click

from deployer.cli.context import Context

VERDICTS = ("deployed", "ignored", "pong", "test", "duplicate", "refused", "unverified")
"""`Verdict`, written out: loading the tables takes a while, and help needs none of them."""


@click.command()
@click.argument("project")
@click.option("--verdict", type=click.Choice(VERDICTS), help="Only those of which this became.")
@click.option("--event", default="", help="Only those of this event, for example push.")
@click.option("--branch", default="", help="Only those of this branch or tag.")
@click.option("--text", default="", help="Only those in which this occurs, or whose commit begins so.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many, the newest first.")
@click.option("--json", "as_json", is_flag=True, help="Answer with JSON.")
@click.pass_obj
def deliveries(
    context: Context, project: str, verdict: str | None, event: str, branch: str, text: str, limit: int, as_json: bool
) -> None:
    """What the forge sent to PROJECT's webhook, what became of it, and why."""
    from sqlalchemy.orm import Session

    from deployer import clock, projects
    from deployer.cli.projects import table
    from deployer.deployments import paging, reading, search, verdicts

    wanted = search.WantedDeliveries(verdict or "", event, branch, text)
    with Session(context.installation.database.engine) as session:
        found = search.deliveries(session, projects.find(session, project).id, wanted, paging.FIRST, limit).rows
        led_to = reading.led_to(session, found)
        rows = [
            {
                "id": one.id,
                "receivedAt": clock.iso(one.received_at),
                "verdict": one.verdict.value,
                "event": one.event,
                "ref": one.ref,
                "commit": one.commit_sha,
                "deployment": led_to[one.deployment_id].ref if one.deployment_id in led_to else None,
                "askedBy": one.asked_by,
                "replayOf": one.replay_of,
                "reason": verdicts.in_words(one.verdict, one.reason),
            }
            for one in found
        ]
    if as_json:
        click.echo(json.dumps(rows))
    elif not rows:
        click.echo("No delivery came yet." if wanted.is_everything else "No delivery has all of that.")
    else:
        columns = ("receivedAt", "verdict", "event", "ref", "commit", "deployment", "reason")
        cells = [[_cell(name, row[name]) for name in columns] for row in rows]
        click.echo(table([["AT", *(name.upper() for name in columns[1:])], *cells]))


def _cell(name: str, value: str | None) -> str:
    from deployer.security.control_sequences import CONTROL

    text = " ".join(CONTROL.sub("", value or "–").split())
    return text[:7] if name == "commit" else text
