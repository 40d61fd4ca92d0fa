"""``logs``: what a deployment printed, or prints."""

from __future__ import annotations

import sys

import click

from deployer.cli.context import Context


@click.command()
@click.argument("deployment")
@click.option("--follow", is_flag=True, help="Go on until it ends; the exit code tells how it ended.")
@click.pass_obj
def logs(context: Context, deployment: str, follow: bool) -> None:
    """Show the log of DEPLOYMENT (its id, or DEP-0042)."""
    from sqlalchemy.orm import Session

    from deployer.cli import follow as terminal
    from deployer.deployments import reading

    installation = context.installation
    with Session(installation.database.engine) as session:
        found = reading.find(session, deployment)
        deployment_id, ref, is_open = found.id, found.ref, not found.status.is_final
    if not follow:
        terminal.show(installation.database, deployment_id)
        return
    if is_open and not installation.runner_is_up:
        click.echo(f"The runner is not running; {ref} waits for it. Start it: python app.py serve", err=True)
    status = terminal.follow(installation.database, deployment_id)
    sys.exit(0 if status == "success" else 1)
