"""``project …``"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import click

from deployer.cli import project_options as options
from deployer.cli.context import Context


@click.group()
def project() -> None:
    """What is deployed, and how."""


_json = click.option("--json", "as_json", is_flag=True, help="Answer with JSON.")


@project.command()
@click.argument("name")
@click.option(
    "--repo", required=True, help="The repository's address: https://…, ssh://… or git@host:owner/name.git."
)
@click.option("--branch", default="main", show_default=True)
@options.steps
@options.timeout
@options.retries
@options.retry_wait
@click.option("--server", default="", help="The server that it is deployed to (default: this host).")
@click.option("--path", default="", help="The working copy (default: in a folder of Deployer's own).")
@click.option("--shell", type=click.Choice(["sh", "bash"]), default="sh", show_default=True)
@options.auto
@options.rerun
@options.poll
@options.keep
@options.keep_days
@options.mail_on
@options.mail_to
@_json
@click.pass_obj
def create(
    context: Context,
    name: str,
    repo: str,
    branch: str,
    steps: tuple[str, ...],
    timeout: int | None,
    retries: int | None,
    retry_wait: int | None,
    server: str,
    path: str,
    shell: str,
    auto_deploy: bool | None,
    rerun_interrupted: bool | None,
    poll_minutes: int | None,
    keep_deployments: int | None,
    keep_days: int | None,
    mail_on: str | None,
    mail_to: str | None,
    as_json: bool,
) -> None:
    """Make a project; prints the webhook's address and secret."""
    from deployer import project_secrets, projects
    from deployer.projects import ProjectInput

    installation = context.installation
    wanted = ProjectInput(
        name=name,
        repository_url=repo,
        branch=branch,
        steps=options.entered_steps(steps, timeout, retries, retry_wait),
        server=server,
        path=path,
        shell=shell,
        auto_deploy=auto_deploy is not False,
        rerun_interrupted=rerun_interrupted is True,
        poll_minutes=poll_minutes or None,
        keep_deployments=keep_deployments or None,
        keep_days=keep_days or None,
        mail_to=mail_to or "",
        **options.mail_switches(mail_on),
    )
    with context.changing("project.created", name) as session:
        made = projects.create(
            session, wanted, config=context.config, data_dir=installation.data_dir, vault=installation.vault
        )
        secret = project_secrets.open_secrets(made, installation.vault).webhook_secret.decode()
        facts = {
            "id": made.id,
            "webhook_url": f"{context.config.public_url}/webhook/{made.id}",
            "webhook_secret": secret,
        }
    if as_json:
        click.echo(json.dumps(facts))
        return
    click.echo(f"{name} is made. At GitHub, under Settings → Webhooks → Add webhook, enter:")
    click.echo(f"  Payload URL   {facts['webhook_url']}")
    click.echo("  Content type  application/json")
    click.echo(f"  Secret        {secret}")


@project.command("list")
@_json
@click.pass_obj
def list_projects(context: Context, as_json: bool) -> None:
    """All projects with their last deployment."""
    import sqlalchemy as sa
    from sqlalchemy.orm import Session

    from deployer.deployments import reading
    from deployer.models.project import Project

    with Session(context.installation.database.engine) as session:
        newest = reading.newest_of_each(session)
        rows = []
        for one in session.scalars(sa.select(Project).order_by(Project.name)):
            last = newest.get(one.id)
            rows.append(
                {
                    "id": one.id,
                    "name": one.name,
                    "repository": one.repository_url,
                    "branch": one.branch,
                    "auto_deploy": one.auto_deploy,
                    "last_deployment": last and {"id": last.id, "ref": last.ref, "status": last.status.value},
                }
            )
    if as_json:
        click.echo(json.dumps(rows))
    elif not rows:
        click.echo("There is no project yet. Make one: python app.py project create NAME --repo URL --step COMMAND")
    else:
        click.echo(table([["NAME", "BRANCH", "LAST", "STATUS", "REPOSITORY"], *map(_cells, rows)]))


def _cells(row: dict[str, Any]) -> list[str]:
    last = row["last_deployment"] or {"ref": "–", "status": "never deployed"}
    return [row["name"], row["branch"], last["ref"], last["status"], row["repository"]]


@project.command()
@click.argument("name")
@_json
@click.pass_obj
def show(context: Context, name: str, as_json: bool) -> None:
    """What is known of a project; no secrets."""
    from sqlalchemy.orm import Session

    from deployer import projects
    from deployer.api import serializers

    with Session(context.installation.database.engine) as session:
        row = projects.find(session, name)
        found = serializers.project_settings(row) | serializers.last_look(row)
    if as_json:
        click.echo(json.dumps(found))
        return
    steps = found.pop("steps")
    words = {key: _words(value) for key, value in found.items()}
    width = max(map(len, words))
    for key, said in words.items():
        click.echo(f"{key.replace('_', ' ').ljust(width)}  {said}".rstrip())
    for number, step in enumerate(steps, 1):
        facts = [f"timeout {step['timeout_s']} s"] if step["timeout_s"] else []
        if step["retries"]:
            times = "once" if step["retries"] == 1 else f"{step['retries']} times"
            facts.append(f"tried again {times} at most, {step['retry_wait_s']} s apart")
        click.echo(f"step {number}".ljust(width) + f"  {step['name']}" + (f"  ({'; '.join(facts)})" if facts else ""))


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else str(value)


def table(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


@project.command()
@click.argument("name")
@click.option("--name", "new_name")
@click.option("--repo")
@click.option("--branch")
@options.steps
@options.timeout
@options.retries
@options.retry_wait
@click.option("--server", help="The server that it is deployed to; “local” is this host.")
@click.option("--path")
@click.option("--shell", type=click.Choice(["sh", "bash"]))
@options.auto
@options.rerun
@options.poll
@options.keep
@options.keep_days
@options.mail_on
@options.mail_to
@click.pass_obj
def edit(
    context: Context,
    name: str,
    new_name: str | None,
    repo: str | None,
    branch: str | None,
    steps: tuple[str, ...],
    timeout: int | None,
    retries: int | None,
    retry_wait: int | None,
    server: str | None,
    path: str | None,
    shell: str | None,
    auto_deploy: bool | None,
    rerun_interrupted: bool | None,
    poll_minutes: int | None,
    keep_deployments: int | None,
    keep_days: int | None,
    mail_on: str | None,
    mail_to: str | None,
) -> None:
    """Change what is given; steps, if any are given, replace the whole list."""
    from deployer import projects

    installation = context.installation
    with context.changing("project.changed", new_name or name, f"was {name}" if new_name else None) as session:
        present = projects.find(session, name)
        wanted = projects.as_input(present, installation.data_dir)
        changes: dict[str, Any] = {
            "name": new_name,
            "repository_url": repo,
            "branch": branch,
            "server": server,
            # A directory of the former place means nothing at another one.
            "path": "" if path is None and server is not None else path,
            "shell": shell,
            "auto_deploy": auto_deploy,
            "rerun_interrupted": rerun_interrupted,
            "mail_to": mail_to,
            **options.mail_switches(mail_on),
            "steps": options.entered_steps(steps, timeout, retries, retry_wait) or None,
        }
        numbers = {"poll_minutes": poll_minutes, "keep_deployments": keep_deployments, "keep_days": keep_days}
        given = {key: value for key, value in changes.items() if value is not None}
        # Nothing is said by 0, and left as it was by nothing.
        given |= {key: value or None for key, value in numbers.items() if value is not None}
        projects.update(
            session,
            present,
            replace(wanted, **given),
            config=context.config,
            data_dir=installation.data_dir,
        )
    click.echo(f"{new_name or name} is changed.")


@project.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(context: Context, name: str, yes: bool) -> None:
    """Delete a project with its history, and its working copy if that lies in the data folder."""
    from deployer import projects

    if not yes:
        click.confirm(f"Delete {name} with all its deployments and logs?", abort=True)
    installation = context.installation
    with context.changing("project.deleted", name) as session:
        folders = projects.delete(session, projects.find(session, name), installation.data_dir)
    projects.remove_files(folders)
    click.echo(f"{name} is deleted.")
