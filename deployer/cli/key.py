"""``key …``: the key that secrets are encrypted with."""

from __future__ import annotations

import click

from deployer.cli.context import Context
from deployer.errors import KeyFileError


@click.group()
def key() -> None:
    """The key that everything secret in the database is encrypted with."""


@key.command()
@click.option(
    "--others-are-stopped",
    is_flag=True,
    help="Where hosts share a database: Deployer is stopped on every other one, and gets the new key file.",
)
@click.pass_obj
def rotate(context: Context, others_are_stopped: bool) -> None:
    """Exchange the key for a new one, and encrypt everything anew.

    Deployer may run meanwhile. Where this is cut off, nothing is lost: run it again.
    """
    from deployer import audit, key_rotation

    installation = context.installation
    path = installation.data_dir.key_file
    if context.config.has_shared_database and not others_are_stopped:
        raise KeyFileError(
            "Other hosts may share the database, and each has a copy of the key.",
            hint="Stop Deployer on all of them, run this with --others-are-stopped on one, copy its key file to the "
            "others, and start them.",
        )
    done = key_rotation.rotate(installation, audit.Actor(context.actor))
    if done.ended_another:
        click.echo("A rotation that had been cut off is brought to its end.")
    many = "1 secret is" if done.count == 1 else f"{done.count} secrets are"
    click.echo(f"{path} holds a new key, and {many} encrypted with it.")
    click.echo("A backup from before opens with the former key only: keep your copy of it as long as that backup.")
    click.echo("Keep a copy of the new key in another place. Everybody logs in anew after the next restart.")
    if context.config.has_shared_database:
        click.echo(f"Copy {path} to the other hosts now, before Deployer starts there.")
