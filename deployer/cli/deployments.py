"""``deploy``, ``retry``, ``rollback`` and ``cancel``, and following a deployment in the terminal."""

from __future__ import annotations

import json
import sys

import click

from deployer.cli.context import Context


@click.command()
@click.argument("project")
@click.option("--commit", metavar="SHA", help="A commit of the branch, whole or shortened, instead of its newest.")
@click.option("--outside-windows", is_flag=True, help="Do not wait for the project's next deploy window.")
@click.option("--follow", is_flag=True, help="Show the log as it comes; the exit code tells how it ended.")
@click.pass_obj
def deploy(context: Context, project: str, commit: str | None, outside_windows: bool, follow: bool) -> None:
    """Deploy the newest commit of PROJECT's branch now, or a certain one."""
    from deployer import projects
    from deployer.deployments import queue

    detail = queue.detail(commit, ignores_windows=outside_windows)
    with context.changing("deployment.requested", project, detail) as session:
        deployment_id = queue.deploy_by_hand(
            session.connection(),
            projects.find(session, project).id,
            context.actor,
            context.config.runner.max_queued,
            commit,
            is_admin=True,
            ignores_windows=outside_windows,
        )
    _enqueued(context, deployment_id, follow=follow)


@click.command()
@click.argument("deployment")
@click.option("--from-failed", is_flag=True, help="Leave out the steps that succeeded.")
@click.option("--follow", is_flag=True, help="Show the log as it comes; the exit code tells how it ended.")
@click.pass_obj
def retry(context: Context, deployment: str, from_failed: bool, follow: bool) -> None:
    """Run the commit of DEPLOYMENT (its id, or DEP-0042) again."""
    from sqlalchemy.orm import Session

    from deployer.audit import Actor
    from deployer.deployments import reading
    from deployer.deployments import retry as again

    with Session(context.installation.database.engine) as session:
        found = reading.find(session, deployment)
    database, max_queued = context.installation.database, context.config.runner.max_queued
    new_id = again.ask(database, Actor(context.actor), found, max_queued, from_failed=from_failed, is_admin=True)
    _enqueued(context, new_id, follow=follow)


@click.command()
@click.argument("project")
@click.argument("release", required=False)
@click.option("--follow", is_flag=True, help="Show the log as it comes; the exit code tells how it ended.")
@click.pass_obj
def rollback(context: Context, project: str, release: str | None, follow: bool) -> None:
    """Make an earlier RELEASE of PROJECT live again, named as 12 or 12-1a2b3c4; without one, that before the current.

    Nothing is built: it is switched to and activated.
    """
    from deployer import projects
    from deployer.deployments import releases

    with context.changing("deployment.rollback_requested", project, release) as session:
        deployment_id = releases.roll_back(
            session.connection(),
            projects.find(session, project).id,
            context.actor,
            context.config.runner.max_queued,
            releases.number_of(release) if release else None,
        )
    _enqueued(context, deployment_id, follow=follow)


def _enqueued(context: Context, deployment_id: str, *, follow: bool) -> None:
    """Say which deployment waits now, and show its log where that was asked for."""
    from sqlalchemy.orm import Session

    from deployer.deployments import reading, waiting

    installation = context.installation
    with Session(installation.database.engine) as session:
        ref = reading.find(session, deployment_id).ref
        waits = waiting.of(session.connection(), deployment_id)
    click.echo(f"{ref} {context.config.public_url}/deployments/{deployment_id}")
    if waits and waits.words:
        click.echo(f"It waits: {waits.words}.", err=True)
    if not installation.runner_is_up:
        click.echo("The runner is not running; the deployment waits. Start it: python app.py serve", err=True)
    if follow:
        from deployer.cli.follow import follow as follow_log

        status = follow_log(installation.database, deployment_id)
        sys.exit(0 if status == "success" else 1)


@click.command()
@click.argument("deployment")
@click.option("--json", "as_json", is_flag=True, help="Answer with JSON.")
@click.pass_obj
def cancel(context: Context, deployment: str, as_json: bool) -> None:
    """Cancel DEPLOYMENT (its id, or DEP-0042)."""
    from sqlalchemy.orm import Session

    from deployer.deployments import lifecycle, reading

    database = context.installation.database
    with Session(database.engine) as session:
        found = reading.find(session, deployment)
        deployment_id, ref = found.id, found.ref
    with context.changing("deployment.cancel_requested", ref) as session:
        is_accepted = lifecycle.request_cancel(session.connection(), deployment_id, context.actor)
        status = lifecycle.status_of(session.connection(), deployment_id)
    assert status is not None
    if as_json:
        click.echo(json.dumps({"id": deployment_id, "ref": ref, "cancelled": is_accepted, "status": status.value}))
    elif not is_accepted:
        click.echo(f"{ref} has already ended: {status}.")
    elif status.is_final:
        click.echo(f"{ref} is cancelled.")
    else:
        click.echo(f"{ref} is being cancelled.")
    if not is_accepted:
        sys.exit(1)
