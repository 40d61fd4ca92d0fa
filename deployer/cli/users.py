"""``user …``"""

from __future__ import annotations

import json
import sys

import click

from deployer.cli.context import Context


@click.group()
def user() -> None:
    """Who can log in, and what they may do."""


_password_stdin = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
_admin = click.option("--admin", "is_admin", is_flag=True, help="May do everything; others look, deploy and cancel.")
_json = click.option("--json", "as_json", is_flag=True, help="Answer with JSON.")


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    asked: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return asked


@user.command()
@click.argument("name")
@click.option("--email", required=True)
@_admin
@_password_stdin
@click.pass_obj
def create(context: Context, name: str, email: str, is_admin: bool, password_stdin: bool) -> None:
    """Make a user."""
    from deployer import accounts

    made = accounts.new_user(name, email, _password(password_stdin), is_admin=is_admin)
    with context.changing("user.created", name, f"as {accounts.role(is_admin)}") as session:
        accounts.add(session, made)
    click.echo(f"{name} can log in at {context.config.public_url}/login")


@user.command("list")
@_json
@click.pass_obj
def list_users(context: Context, as_json: bool) -> None:
    """All users with their role and last login."""
    from sqlalchemy.orm import Session

    from deployer import accounts, clock
    from deployer.cli.projects import table

    with Session(context.installation.database.engine) as session:
        rows = [
            {
                "id": one.id,
                "name": one.username,
                "email": one.email,
                "role": accounts.role(one.is_admin),
                "two_factor": one.totp_secret is not None,
                "last_login_at": clock.iso(one.last_login_at),
            }
            for one in accounts.everybody(session)
        ]
    if as_json:
        click.echo(json.dumps(rows))
    elif not rows:
        click.echo("There is no user yet. Make one: python app.py user create NAME --email ADDRESS --admin")
    else:
        cells = [
            [
                str(row["name"]),
                str(row["role"]),
                "on" if row["two_factor"] else "off",
                str(row["last_login_at"] or "never"),
                str(row["email"]),
            ]
            for row in rows
        ]
        click.echo(table([["NAME", "ROLE", "TWO-FACTOR", "LAST LOGIN", "E-MAIL"], *cells]))


@user.command()
@click.option("--email", required=True)
@_admin
@_json
@click.pass_obj
def invite(context: Context, email: str, is_admin: bool, as_json: bool) -> None:
    """Print a link by which one person can make an account within 7 days."""
    from deployer import accounts, clock, invitations

    with context.changing("invitation.created", email, f"as {accounts.role(is_admin)}") as session:
        made, token = invitations.invite(session, email, is_admin=is_admin, by=context.actor)
    link = invitations.link(context.config.public_url, token)
    if as_json:
        click.echo(json.dumps({"id": made.id, "link": link, "expires_at": clock.iso(made.expires_at)}))
    else:
        click.echo(link)


@user.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(context: Context, name: str, yes: bool) -> None:
    """Remove a user; their sessions end."""
    from deployer import accounts

    if not yes:
        click.confirm(f"Remove the user {name}?", abort=True)
    with context.changing("user.removed", name) as session:
        accounts.remove(session, accounts.find(session, name))
    click.echo(f"{name} is removed.")


@user.command()
@click.argument("name")
@click.argument("role", type=click.Choice(["admin", "member"]))
@click.pass_obj
def role(context: Context, name: str, role: str) -> None:
    """Make a user an admin, who may do everything, or a member."""
    from deployer import accounts

    with context.changing("user.role_changed", name, f"now {role}") as session:
        accounts.change_role(session, accounts.find(session, name), is_admin=role == accounts.ADMIN)
    click.echo(f"{name} is {'an admin' if role == accounts.ADMIN else 'a member'} now.")


@user.command("reset-password")
@click.argument("name")
@_password_stdin
@click.pass_obj
def reset_password(context: Context, name: str, password_stdin: bool) -> None:
    """Give a user a new password; their sessions end."""
    from sqlalchemy.orm import Session

    from deployer import accounts

    with Session(context.installation.database.engine) as session:
        user_id = accounts.find(session, name).id
    password_hash = accounts.new_password_hash(_password(password_stdin))
    with context.changing("user.password_reset", name) as session:
        accounts.set_password(session, user_id, password_hash)
    click.echo(f"{name} has a new password, and is logged out everywhere.")


@user.command("reset-2fa")
@click.argument("name")
@click.pass_obj
def reset_two_factor(context: Context, name: str) -> None:
    """Let a user who lost their device log in by password alone again."""
    from deployer import accounts, two_factor

    with context.changing("user.two_factor_reset", name) as session:
        two_factor.switch_off(session, accounts.find(session, name).id)
    click.echo(f"{name} logs in by password alone, until they set up two-factor login again.")
