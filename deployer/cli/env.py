"""``env …``: the variables of a project's commands."""

from __future__ import annotations

import sys

import click

from deployer.cli.context import Context
from deployer.errors import InvalidInput


@click.group()
def env() -> None:
    """Variables that a project's commands get."""


@env.command("set")
@click.argument("project")
@click.argument("assignment", metavar="NAME=VALUE")
@click.option("--secret", is_flag=True, help="Store it encrypted, never show it again, hide it in logs.")
@click.pass_obj
def set_variable(context: Context, project: str, assignment: str, secret: bool) -> None:
    """Set a variable. With NAME alone the value is read from standard input, where no other user can see it."""
    from deployer import project_secrets, projects

    name, has_value, value = assignment.partition("=")
    if not has_value:
        value = sys.stdin.read().removesuffix("\n")
    installation = context.installation
    with context.changing("variable.set", project, name) as session:
        project_secrets.set_variable(
            projects.find(session, project), name, value, secret=secret, vault=installation.vault
        )
    click.echo(f"{name} is set; deployments that begin from now on get it.")


@env.command("list")
@click.argument("project")
@click.pass_obj
def list_variables(context: Context, project: str) -> None:
    """Names and values; secret values are not shown."""
    from sqlalchemy.orm import Session

    from deployer import projects

    with Session(context.installation.database.engine) as session:
        for variable in projects.find(session, project).variables:
            click.echo(f"{variable.name}={'***' if variable.is_secret else variable.plain_value}")


@env.command("rm")
@click.argument("project")
@click.argument("name")
@click.pass_obj
def remove(context: Context, project: str, name: str) -> None:
    """Remove a variable."""
    from deployer import project_secrets, projects

    with context.changing("variable.removed", project, name) as session:
        found = projects.find(session, project)
        wanted = next((variable for variable in found.variables if variable.name == name), None)
        if wanted is None:
            raise InvalidInput({"variable_name": f"{project} has no variable {name}."})
        project_secrets.remove_variable(found, wanted.id)
    click.echo(f"{name} is removed.")
