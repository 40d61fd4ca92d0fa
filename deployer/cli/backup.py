"""``backup`` and ``restore``."""

from __future__ import annotations

import io
import os
import shlex
import signal
import sys
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import click

from deployer.cli.context import Context
from deployer.config import Config
from deployer.errors import BackupError

_STREAM = Path("-")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--with-key", is_flag=True, help="Put the key in as well. The file then opens every secret.")
@click.option("--force", is_flag=True, help="Overwrite FILE if it exists.")
@click.pass_obj
def backup(context: Context, file: Path, with_key: bool, force: bool) -> None:
    """Write everything that is kept (projects, deployments, logs, users) and the settings into FILE, while Deployer
    runs. With - it goes to standard output."""
    from deployer.audit import Actor
    from deployer.backups import making
    from deployer.installation import DataDir

    config = context.config
    _refuse_postgresql(config, "pg_dump --format=custom --file=deployer.dump {} (it asks for the password)")
    if file == _STREAM and sys.stdout.isatty():
        raise BackupError("A backup is nothing to look at.", hint="Redirect it into a file, or name one.")
    # Packing takes a processor for a while; the daemon and the commands come first.
    os.nice(10)
    # Unbuffered, so that nothing is left to be written where it ends early.
    target = io.FileIO(sys.stdout.fileno(), "wb", closefd=False) if file == _STREAM else file
    # Whoever ends it gets it tidied up: a copy of the database does not stay behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    made = making.make(config, target, Actor(context.actor), with_key=with_key, force=force)
    click.echo(f"The backup is written ({made.size / 1e6:,.1f} MB).", err=file == _STREAM)
    if made.unnoted:
        click.echo(f"It could not be noted in the audit log. {made.unnoted}", err=True)
    key_file = DataDir(config.data_dir).key_file
    if with_key:
        click.echo("It holds the key: whoever has this file can open every secret in it.", err=True)
    else:
        click.echo(f"The key is not in it. Keep a copy of {key_file} in another place.", err=True)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def restore(context: Context, file: Path) -> None:
    """Fill an empty data folder from the backup FILE (- reads standard input). Deployer must not be running."""
    from deployer import clock
    from deployer.audit import Actor
    from deployer.backups import restoring

    config = context.config
    _refuse_postgresql(
        config,
        "pg_restore --no-owner --dbname={} deployer.dump (it asks for the password) into an empty database, with "
        "Deployer stopped",
    )
    source = sys.stdin.buffer if file == _STREAM else file
    done = restoring.restore(config, source, Actor(context.actor))
    click.echo(f"{config.data_dir} is as it was at {clock.iso(done.made_at)}.")
    if done.ended:
        many = "1 deployment" if done.ended == 1 else f"{done.ended} deployments"
        click.echo(f"{many} had not ended then, and will not go on: see “interrupted”, and deploy again.")
    if done.config:
        click.echo(f"The settings of then are in {done.config}; those in use were left alone.")
    if done.needs_key:
        click.echo(
            f"The key was not in the backup. Put it to {config.data_dir / 'key'} (chmod 600) before you start "
            "Deployer: without it nothing that is secret can be read."
        )


def _refuse_postgresql(config: Config, command: str) -> None:
    """PostgreSQL has tools of its own for this."""
    if not config.has_shared_database:
        return
    url = urlsplit(config.storage.database_url)
    # Not the password, in either of its places: every user could see it in the command.
    query = urlencode([(name, value) for name, value in parse_qsl(url.query) if name != "password"])
    place = url._replace(netloc=url.netloc.replace(f":{url.password}@", "@"), query=query).geturl()
    raise BackupError(
        "The database is a PostgreSQL, which has tools of its own for this.",
        hint=f"Run: {command.format(shlex.quote(place))}, and keep {config.data_dir / 'key'} in another place.",
    )
