"""``env …``: the variables of a project's commands, or of all projects'."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from deployer.cli.context import Context

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from deployer.models.project import Project

F = TypeVar("F", bound=Callable[..., Any])

_STREAM = Path("-")

_all = click.option("--all", "of_all", is_flag=True, help="Those of all projects; no PROJECT is named then.")
_secret = click.option("--secret", is_flag=True, help="Store it encrypted, never show it again, hide it in logs.")


def _scoped(more: str) -> Callable[[F], F]:
    """The words of a command: a project unless ``--all`` stands in for it, then ``more``."""
    return click.argument("words", nargs=-1, metavar=f"[PROJECT] {more}".strip())


def _split(words: tuple[str, ...], of_all: bool, *, least: int, most: int) -> tuple[str | None, list[str]]:
    """The project's name (None: all) and the further words, of which there are ``least`` to ``most``."""
    usage = click.get_current_context().command.collect_usage_pieces(click.get_current_context())
    count = len(words) if of_all else len(words) - 1
    if count < least or count > most:
        hint = "with --all no project is named" if of_all else "name a project, or say --all"
        raise click.UsageError(f"Give {usage[-1]}: {hint}.")
    return (None, list(words)) if of_all else (words[0], list(words[1:]))


def _find(session: Session, name: str | None) -> Project | None:
    from deployer import projects

    return None if name is None else projects.find(session, name)


def _called(name: str | None) -> str:
    from deployer import variables

    return name or variables.ALL_PROJECTS


@click.group()
def env() -> None:
    """Variables that a project's commands get, or those of all projects (--all)."""


@env.command("set")
@_scoped("NAME=VALUE")
@_all
@_secret
@click.pass_obj
def set_variable(context: Context, words: tuple[str, ...], of_all: bool, secret: bool) -> None:
    """Set a variable. With NAME alone the value is read from standard input, where no other user can see it."""
    from deployer import variables

    project, (assignment,) = _split(words, of_all, least=1, most=1)
    name, has_value, value = assignment.partition("=")
    if not has_value:
        value = sys.stdin.read().removesuffix("\n")
    vault = context.installation.vault
    with context.changing("variable.set", _called(project), name) as session:
        variables.set_variable(session, _find(session, project), name, value, secret=secret, vault=vault)
    click.echo(f"{name} is set; deployments that begin from now on get it.")


@env.command("list")
@_scoped("")
@_all
@click.pass_obj
def list_variables(context: Context, words: tuple[str, ...], of_all: bool) -> None:
    """Names and values in force; secret values are not shown."""
    from sqlalchemy.orm import Session

    from deployer import variables

    name, _ = _split(words, of_all, least=0, most=0)
    with Session(context.installation.database.engine) as session:
        shared = variables.of_all_projects(session.connection())
        project = _find(session, name)
        given = variables.given(project, shared) if project else [variables.Given(one) for one in shared]
        for one in given:
            value = "***" if one.variable.is_secret else one.variable.plain_value
            remark = "  # all projects" if project and one.is_of_all else ""
            remark = "  # overrides the one of all projects" if one.overrides else remark
            click.echo(f"{one.variable.name}={value}{remark}")


@env.command("rm")
@_scoped("NAME")
@_all
@click.pass_obj
def remove(context: Context, words: tuple[str, ...], of_all: bool) -> None:
    """Remove a variable."""
    from deployer import variables

    project, (name,) = _split(words, of_all, least=1, most=1)
    with context.changing("variable.removed", _called(project), name) as session:
        scope = _find(session, project)
        variables.remove(session, scope, variables.find_by_name(session, scope, name))
    click.echo(f"{name} is removed.")


@env.command("import")
@_scoped("[FILE]")
@_all
@click.option("--secret", is_flag=True, help="All of them are secret.")
@click.pass_obj
def import_variables(context: Context, words: tuple[str, ...], of_all: bool, secret: bool) -> None:
    """Set all variables of a dotenv FILE (standard input without one, or with -).

    Where a line cannot be read, nothing is set. A variable that is secret already stays so."""
    from deployer import variables
    from deployer.errors import InvalidInput

    project, rest = _split(words, of_all, least=0, most=1)
    source = Path(rest[0]) if rest else _STREAM
    try:
        raw = sys.stdin.buffer.read() if source == _STREAM else source.read_bytes()
    except OSError as error:
        raise click.ClickException(f"{source} cannot be read: {error.strerror}.") from error
    text = raw.decode("utf-8", "surrogateescape")
    vault = context.installation.vault
    try:
        names = ", ".join(entry.name for entry in variables.read_text(text))
        with context.changing("variables.imported", _called(project), names) as session:
            done = variables.import_text(session, _find(session, project), text, secret=secret, vault=vault)
    except InvalidInput as error:
        if "text" not in error.fields:
            raise
        raise click.ClickException(f"Nothing was set. {error.fields['text']}") from error
    click.echo(f"{'1 variable is' if len(done) == 1 else f'{len(done)} variables are'} set: {names}.")


@env.command("export")
@_scoped("")
@_all
@click.option("--with-secrets", is_flag=True, help="With the values of secret ones; noted in the audit log.")
@click.pass_obj
def export_variables(context: Context, words: tuple[str, ...], of_all: bool, with_secrets: bool) -> None:
    """The variables as dotenv text, which import takes back. Secret ones are named in comments, without their
    values."""
    from sqlalchemy.orm import Session

    from deployer import variables
    from deployer.executors.base import encode

    name, _ = _split(words, of_all, least=0, most=0)
    installation = context.installation
    with Session(installation.database.engine) as session:
        own = variables.of_scope(session, _find(session, name))
        text = variables.export_text(own, installation.vault, with_secrets=with_secrets)
    if with_secrets:
        # Noted before anything is shown.
        with context.changing("variables.exported", _called(name), "with the secret values"):
            pass
    sys.stdout.buffer.write(encode(text))


@env.command("file")
@click.argument("project")
@click.argument("path", required=False, default="")
@click.option("--format", "file_format", type=click.Choice(["dotenv", "json"]), help="How it is written.")
@click.option("--none", is_flag=True, help="No longer write it. A file that is there stays there.")
@click.pass_obj
def set_file(context: Context, project: str, path: str, file_format: str | None, none: bool) -> None:
    """Have all variables in force written into the file PATH, inside the directory where the steps run, before each
    deployment's first step. It is readable by the user of the steps alone, and never takes the place of a file of the
    repository."""
    from deployer import projects, variables

    if bool(path) is none:
        raise click.UsageError("Give a PATH such as .env, or --none.")
    action = "variables_file.removed" if none else "variables_file.set"
    with context.changing(action, project, path or None) as session:
        found = projects.find(session, project)
        chosen = file_format or ("json" if path.endswith(".json") else "dotenv")
        of_all = variables.of_all_projects(session.connection())
        variables.set_file(found, path, chosen, of_all, context.installation.vault)
    if none:
        click.echo("It is no longer written. A file that is there stays there.")
    else:
        click.echo(f"The next deployment writes {path} as {chosen}.")
