"""``audit``: who changed what."""

from __future__ import annotations

import json

import click

from deployer.cli.context import Context


@click.command()
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many, the newest first.")
@click.option("--json", "as_json", is_flag=True, help="Answer with JSON.")
@click.pass_obj
def audit(context: Context, limit: int, as_json: bool) -> None:
    """Who changed what, when and from where."""
    from sqlalchemy.orm import Session

    from deployer import audit, clock
    from deployer.cli.projects import table

    with Session(context.installation.database.engine) as session:
        rows = [
            {
                "id": one.id,
                "at": clock.iso(one.at),
                "actor": one.actor,
                "address": one.address,
                "action": one.action,
                "subject": one.subject,
                "detail": one.detail,
            }
            for one in audit.find(session, limit=limit)
        ]
    if as_json:
        click.echo(json.dumps(rows))
    elif not rows:
        click.echo("Nothing was changed yet.")
    else:
        columns = ("at", "actor", "address", "action", "subject", "detail")
        cells = [[str(row[column] or "–") for column in columns] for row in rows]
        click.echo(table([[column.upper() for column in columns], *cells]))
