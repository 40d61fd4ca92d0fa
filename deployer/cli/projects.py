"""``project …``"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import click

from deployer.cli.context import Context
from deployer.errors import InvalidInput


@click.group()
def project() -> None:
    """What is deployed, and how."""


_steps = click.option("--step", "steps", multiple=True, help="A command; give it once for each step, in order.")
_timeout = click.option("--timeout", type=click.IntRange(1), help="Seconds that each of these steps may take.")
_auto = click.option("--auto-deploy/--no-auto-deploy", default=None, help="Whether a push deploys (default: yes).")
_mail_on = click.option(
    "--mail-on", help="What is told by mail: success, failure, recovery, interruption, with commas between; or none."
)
_mail_to = click.option("--mail-to", help="Addresses besides the one in the settings, with commas between.")
_json = click.option("--json", "as_json", is_flag=True, help="Answer with JSON.")


@project.command()
@click.argument("name")
@click.option(
    "--repo", required=True, help="The repository's address: https://…, ssh://… or git@host:owner/name.git."
)
@click.option("--branch", default="main", show_default=True)
@_steps
@_timeout
@click.option("--server", default="", help="The server that it is deployed to (default: this host).")
@click.option("--path", default="", help="The working copy (default: in a folder of Deployer's own).")
@click.option("--shell", type=click.Choice(["sh", "bash"]), default="sh", show_default=True)
@_auto
@_mail_on
@_mail_to
@_json
@click.pass_obj
def create(
    context: Context,
    name: str,
    repo: str,
    branch: str,
    steps: tuple[str, ...],
    timeout: int | None,
    server: str,
    path: str,
    shell: str,
    auto_deploy: bool | None,
    mail_on: str | None,
    mail_to: str | None,
    as_json: bool,
) -> None:
    """Make a project; prints the webhook's address and secret."""
    from deployer import project_secrets, projects
    from deployer.projects import ProjectInput, StepInput

    installation = context.installation
    wanted = ProjectInput(
        name=name,
        repository_url=repo,
        branch=branch,
        steps=[StepInput(step, timeout_s=timeout) for step in steps],
        server=server,
        path=path,
        shell=shell,
        auto_deploy=auto_deploy is not False,
        mail_to=mail_to or "",
        **_switches(mail_on),
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


def _switches(mail_on: str | None) -> dict[str, bool]:
    """What ``--mail-on`` says of each occasion; nothing where it was not given."""
    from deployer.models.notification import Occasion

    if mail_on is None:
        return {}
    wanted = {word.strip() for word in mail_on.split(",") if word.strip()} - {"none"}
    unknown = wanted - set(Occasion)
    if unknown:
        words = ", ".join(Occasion)
        raise InvalidInput({"mail_on": f"{min(unknown)} is none of {words}; write none for no mails."})
    return {f"mail_on_{occasion}": occasion in wanted for occasion in Occasion}


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


def table(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


@project.command()
@click.argument("name")
@click.option("--name", "new_name")
@click.option("--repo")
@click.option("--branch")
@_steps
@_timeout
@click.option("--server", help="The server that it is deployed to; “local” is this host.")
@click.option("--path")
@click.option("--shell", type=click.Choice(["sh", "bash"]))
@_auto
@_mail_on
@_mail_to
@click.pass_obj
def edit(
    context: Context,
    name: str,
    new_name: str | None,
    repo: str | None,
    branch: str | None,
    steps: tuple[str, ...],
    timeout: int | None,
    server: str | None,
    path: str | None,
    shell: str | None,
    auto_deploy: bool | None,
    mail_on: str | None,
    mail_to: str | None,
) -> None:
    """Change what is given; steps, if any are given, replace the whole list."""
    from deployer import projects
    from deployer.projects import StepInput

    installation = context.installation
    with context.changing("project.changed", new_name or name, f"was {name}" if new_name else None) as session:
        present = projects.find(session, name)
        wanted = projects.as_input(present, installation.data_dir)
        changes = {
            "name": new_name,
            "repository_url": repo,
            "branch": branch,
            "server": server,
            # A directory of the former place means nothing at another one.
            "path": "" if path is None and server is not None else path,
            "shell": shell,
            "auto_deploy": auto_deploy,
            "mail_to": mail_to,
            **_switches(mail_on),
            "steps": [StepInput(step, timeout_s=timeout) for step in steps] or None,
        }
        given = {key: value for key, value in changes.items() if value is not None}
        projects.update(
            session,
            present,
            replace(wanted, **given),  # type: ignore[arg-type]
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
