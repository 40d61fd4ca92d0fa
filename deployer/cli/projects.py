"""``project …``"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import click

from deployer.cli import project_options, push_options
from deployer.cli.context import Context
from deployer.cli.project_options import Given
from deployer.cli.push_options import GivenPushes


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
@project_options.taken
@push_options.taken
@_json
@click.pass_obj
def create(
    context: Context, name: str, repo: str, branch: str, as_json: bool, given: Given, pushes_given: GivenPushes
) -> None:
    """Make a project; prints the webhook's address and secret."""
    from deployer import project_secrets, projects, pushes
    from deployer.project_input import ProjectInput

    installation = context.installation
    wanted = ProjectInput(name=name, repository_url=repo, branch=branch, **given.settings())
    with context.changing("project.created", name) as session:
        made = projects.create(
            session, wanted, config=context.config, data_dir=installation.data_dir, vault=installation.vault
        )
        pushes_given.change(session, made)
        provider = pushes.provider_of(made)
        secret = project_secrets.webhook_secret(made, installation.vault).decode()
        facts = {
            "id": made.id,
            "webhook_url": f"{context.config.public_url}/webhook/{made.id}",
            "webhook_secret": secret,
        }
    if as_json:
        click.echo(json.dumps(facts))
        return
    how = provider.instructions
    place = f", under {how.where}," if how.where else ""
    click.echo(f"{name} is made. At {provider.label}{place} enter:")
    fields = [(how.address_label, facts["webhook_url"]), (how.secret_label, secret), *how.choices]
    width = max(len(label) for label, _ in fields)
    for label, value in fields:
        click.echo(f"  {label.ljust(width)}  {value}")
    click.echo(how.then)


@project.command("list")
@_json
@click.pass_obj
def list_projects(context: Context, as_json: bool) -> None:
    """All projects with their last deployment."""
    import sqlalchemy as sa
    from sqlalchemy.orm import Session

    from deployer.deployments import reading, waiting
    from deployer.models.project import Project

    with Session(context.installation.database.engine) as session:
        newest = reading.newest_of_each(session)
        waits = waiting.queue(session.connection())
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
                    "waits_for": (last and last.id in waits and waits[last.id].words) or None,
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
    status = f"{last['status']}: {row['waits_for']}" if row["waits_for"] else last["status"]
    return [row["name"], row["branch"], last["ref"], status, row["repository"]]


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
        found = serializers.project_settings(row) | serializers.protection(row) | serializers.last_look(row)
    if as_json:
        click.echo(json.dumps(found))
        return
    steps = found.pop("steps")
    words = {key: _words(value) for key, value in found.items()}
    width = max(map(len, words))
    for key, said in words.items():
        click.echo(f"{key.replace('_', ' ').ljust(width)}  {said}".rstrip())
    for number, step in enumerate(steps, 1):
        facts = ["after the switch"] if step["phase"] == "activate" else []
        if step["timeout_s"]:
            facts.append(f"timeout {step['timeout_s']} s")
        if step["retries"]:
            times = "once" if step["retries"] == 1 else f"{step['retries']} times"
            facts.append(f"tried again {times} at most, {step['retry_wait_s']} s apart")
        click.echo(f"step {number}".ljust(width) + f"  {step['name']}" + (f"  ({'; '.join(facts)})" if facts else ""))


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "; ".join(map(str, value)) or "–"
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
@project_options.taken
@push_options.taken
@click.pass_obj
def edit(
    context: Context,
    name: str,
    new_name: str | None,
    repo: str | None,
    branch: str | None,
    given: Given,
    pushes_given: GivenPushes,
) -> None:
    """Change what is given; steps, if any are given, replace the whole list."""
    from deployer import projects

    installation = context.installation
    with context.changing("project.changed", new_name or name, f"was {name}" if new_name else None) as session:
        present = projects.find(session, name)
        wanted = projects.as_input(present, installation.data_dir)
        typed = {"name": new_name, "repository_url": repo, "branch": branch}
        changes = {key: value for key, value in typed.items() if value is not None} | given.settings()
        projects.update(
            session,
            present,
            replace(wanted, **changes),
            config=context.config,
            data_dir=installation.data_dir,
        )
        pushes_given.change(session, present)
    click.echo(f"{new_name or name} is changed.")


@project.command()
@click.argument("name")
@click.pass_obj
def secret(context: Context, name: str) -> None:
    """Give a webhook the secret that is read from standard input, made elsewhere (a signing token of GitLab)."""
    from deployer import projects, pushes

    given = sys.stdin.read()
    with context.changing("webhook_secret.entered", name) as session:
        pushes.set_secret(projects.find(session, name), given, context.installation.vault)
    click.echo(f"The webhook of {name} has this secret from now on.")


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
