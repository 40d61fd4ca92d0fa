"""``user …``"""

from __future__ import annotations

import sys

import click

from deployer.cli.context import Context
from deployer.errors import InvalidInput


@click.group()
def user() -> None:
    """Who can log in."""


@user.command()
@click.argument("name")
@click.option("--email", required=True)
@click.option("--admin", "is_admin", is_flag=True, help="May do everything.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.pass_obj
def create(context: Context, name: str, email: str, is_admin: bool, password_stdin: bool) -> None:
    """Make a user."""
    from deployer import accounts

    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    try:
        accounts.create_user(context.installation.database, name, email, password, is_admin=is_admin)
    except InvalidInput as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{name} can log in at {context.config.public_url}/login")
