"""The group of all commands, and those that start processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from deployer import __version__
from deployer.cli import (
    audit,
    backup,
    deliveries,
    deployments,
    doctor,
    env,
    key,
    logs,
    mail,
    notify,
    projects,
    protection,
    schedules,
    servers,
    users,
)
from deployer.cli.context import Context
from deployer.errors import DeployerError


class _Group(click.Group):
    """Errors that the program raises on purpose are told in one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DeployerError as error:
            raise click.ClickException(str(error)) from error
        except Exception as error:
            words = _of_the_database(error)
            if words is None:
                raise
            raise click.ClickException(words) from error


def _of_the_database(error: Exception) -> str | None:
    """What a database says that cannot be used now; None of another error."""
    # Loaded only where it is needed: it takes a while.
    from sqlalchemy.exc import DBAPIError

    from deployer.db import reason

    if not isinstance(error, DBAPIError):
        return None
    return f"The database cannot be used: {reason(error.orig)}. See what is wrong with it: python app.py doctor"


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="Deployer")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="Settings (default: ./config.toml, if it exists).",
)
@click.pass_context
def cli(ctx: click.Context, config_file: Path | None) -> None:
    """Push to GitHub; your server deploys it."""
    ctx.obj = Context(config_file)


@cli.command()
@click.pass_obj
def serve(context: Context) -> None:
    """Start web and runner."""
    from deployer import journal, serving

    settings = context.config
    journal.start(settings)
    serving.serve(settings, announce)


@cli.command()
@click.pass_obj
def web(context: Context) -> None:
    """Start the web process alone."""
    from deployer import journal, serving
    from deployer.application import create_app

    settings = context.config
    journal.start(settings)
    sock = serving.listen(settings)
    installation = context.installation
    app = create_app(installation)
    announce(serving.greeting(installation))
    installation.database.dispose()
    serving.run_web(app, installation, sock, on_stop=lambda: None)
    serving.leave()


@cli.command()
@click.option("--with-parent", type=int, hidden=True, help="End with the process of this id, which starts this one.")
@click.pass_obj
def runner(context: Context, with_parent: int | None) -> None:
    """Start the runner alone."""
    from deployer import journal, serving, systemd

    if with_parent:
        serving.end_with_parent(with_parent)
    journal.start(context.config)
    installation = context.installation
    systemd.notify("READY=1")
    serving.run_runner(installation)


@cli.command()
@click.pass_obj
def link(context: Context) -> None:
    """Print the address; while nobody can log in, with a new set-up link."""
    from deployer import serving

    announce(serving.greeting(context.installation))


@cli.command()
def demo() -> None:
    """Show the whole job in this terminal, without GitHub."""
    from deployer.cli.demo import show

    sys.exit(show())


def announce(line: str) -> None:
    click.echo(line)
    sys.stdout.flush()


for _command in (
    users.user,
    projects.project,
    servers.server,
    env.env,
    deployments.deploy,
    deployments.retry,
    deployments.rollback,
    deployments.cancel,
    deliveries.deliveries,
    protection.approve,
    schedules.schedule,
    logs.logs,
    mail.mail,
    notify.notify,
    audit.audit,
    key.key,
    backup.backup,
    backup.restore,
    doctor.doctor,
):
    cli.add_command(_command)
for _command in (protection.lock, protection.unlock, protection.protect):
    projects.project.add_command(_command)


def main() -> None:
    # The command of an installation (systemd/deployer) says by which name it was called.
    cli(prog_name=os.environ.get("DEPLOYER_COMMAND", "app.py"))
