"""``doctor``: what could keep Deployer from working here, and how to mend it."""

from __future__ import annotations

import ctypes
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import click

from deployer import journal
from deployer.cli.context import Context
from deployer.config import Config
from deployer.errors import DeployerError

if TYPE_CHECKING:
    import sqlalchemy as sa

T = TypeVar("T")

LOW_DISK_BYTES = 1 << 30
PROBE_TIMEOUT_S = 5

Check = Callable[[Config], Iterator["Finding"]]


class Level(Enum):
    OK = "ok"
    WARNING = "warn"
    FAILURE = "fail"


@dataclass(frozen=True)
class Finding:
    level: Level
    about: str
    text: str
    mend: str = ""


@click.command()
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Check git, keys, disk, clock, public address and permissions, and say how to mend what is wrong."""
    context: Context = ctx.obj
    config = context.config
    has_failed = False
    for check in (_git, _shell, _ssh, _gpg, _folder, _key, _database, _disk, _clock, _user, _address, _mail, _runner):
        for finding in _findings(check, config):
            has_failed = has_failed or finding.level is Level.FAILURE
            _show(finding)
    sys.exit(1 if has_failed else 0)


def _findings(check: Check, config: Config) -> Iterator[Finding]:
    try:
        yield from check(config)
    except PermissionError as error:
        about = check.__name__.strip("_")
        yield Finding(Level.FAILURE, about, f"{error.filename} is not this user's.", "Run this as the daemon's user.")


def _show(finding: Finding) -> None:
    colour = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILURE: "red"}[finding.level]
    click.echo(f"{click.style(finding.level.value.ljust(4), fg=colour)}  {finding.about.ljust(14)}  {finding.text}")
    if finding.mend:
        click.echo(f"{'':22}→ {finding.mend}")


def _program(about: str, argv: list[str], package: str, level: Level = Level.FAILURE) -> Finding:
    path = shutil.which(argv[0])
    if path is None:
        return Finding(level, about, f"{argv[0]} is not installed.", f"apt-get install {package}")
    try:
        done = subprocess.run([path, *argv[1:]], capture_output=True, text=True, check=False, timeout=PROBE_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(level, about, f"{path} does not answer: {error}.", f"apt-get install --reinstall {package}")
    lines = (done.stdout or done.stderr).strip().splitlines()
    return Finding(Level.OK, about, lines[0] if lines else path)


def _git(_config: Config) -> Iterator[Finding]:
    yield _program("git", ["git", "--version"], "git")


def _shell(_config: Config) -> Iterator[Finding]:
    yield _program("setsid", ["setsid", "--version"], "util-linux")


def _ssh(_config: Config) -> Iterator[Finding]:
    yield _program("ssh", ["ssh", "-V"], "openssh-client", Level.WARNING)


def _gpg(config: Config) -> Iterator[Finding]:
    """Only projects that trust OpenPGP keys need it; without it their deployments fail."""
    import sqlalchemy as sa

    from deployer.models.project import Project

    is_trusted = sa.select(Project.name).where(Project.signature_keys.is_not(None)).limit(1)
    if shutil.which("gpg") or _asked(config, lambda connection: connection.scalar(is_trusted)):
        yield _program("gpg", ["gpg", "--version"], "gnupg")


def _folder(config: Config) -> Iterator[Finding]:
    folder = config.data_dir
    if not folder.exists():
        yield Finding(Level.WARNING, "data folder", f"{folder} is not there yet.", "It is made by the first start.")
        return
    mode = folder.stat().st_mode & 0o777
    if folder.stat().st_uid != os.getuid():
        yield Finding(
            Level.FAILURE, "data folder", f"{folder} belongs to another user.", "Run this as the daemon's user."
        )
    elif mode & 0o077:
        yield Finding(
            Level.FAILURE, "data folder", f"{folder} is open to others ({mode:04o}).", f"chmod 700 {folder}"
        )
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield Finding(Level.FAILURE, "data folder", f"{folder} cannot be written.", f"chmod 700 {folder}")
    else:
        yield Finding(Level.OK, "data folder", str(folder))


def _key(config: Config) -> Iterator[Finding]:
    from deployer.installation import keeps_secrets
    from deployer.security import keyfile

    path = config.data_dir / "key"
    if not path.exists():
        if keeps_secrets(config):
            yield Finding(
                Level.FAILURE,
                "key file",
                f"{path} is missing.",
                "Copy it from another host of this database, or restore it from a backup."
                if config.has_shared_database
                else "Restore it: what the database keeps needs this key.",
            )
        return
    try:
        keys = keyfile.load_all(path)
    except DeployerError as error:
        yield Finding(Level.FAILURE, "key file", str(error.args[0]), error.hint)
        return
    if len(keys) > 1:
        yield Finding(
            Level.WARNING, "key file", f"An exchange of {path} was cut off.", "End it: python app.py key rotate"
        )
    else:
        yield Finding(Level.OK, "key file", f"{path} is private.")


def _database(config: Config) -> Iterator[Finding]:
    from deployer import migrations

    name, path = config.database_name, config.database_path
    if not config.has_shared_database and not path.exists():
        return
    try:
        verdict = "ok" if config.has_shared_database else _quick_check(path)
        if verdict != "ok":
            yield Finding(Level.FAILURE, "database", f"{path} is damaged: {verdict}", "Restore a backup.")
        elif migrations.is_behind(config):
            yield Finding(Level.WARNING, "database", "It is of an older version.", "The next start brings it up.")
        else:
            yield Finding(
                Level.OK, "database", f"{name} answers." if config.has_shared_database else f"{path} is sound."
            )
    except sqlite3.Error as error:
        yield Finding(Level.FAILURE, "database", f"{path} cannot be read: {error}", "Restore a backup.")
    except DeployerError as error:
        yield Finding(Level.FAILURE, "database", str(error.args[0]), error.hint)


def _quick_check(path: Path) -> str:
    from deployer.sqlite import address

    connection = sqlite3.connect(address(path, "ro"), uri=True, timeout=PROBE_TIMEOUT_S)
    try:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        return str(verdict)
    finally:
        connection.close()


def _disk(config: Config) -> Iterator[Finding]:
    folder = next(path for path in (config.data_dir, *config.data_dir.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    text = f"{free / (1 << 30):.1f} GiB free at {folder}"
    if free < config.storage.min_free_bytes:
        yield Finding(Level.FAILURE, "disk", text, "Make room: less than storage.min_free_bytes are left.")
    elif free < LOW_DISK_BYTES:
        yield Finding(Level.WARNING, "disk", text, "Make room: a full disk stops deployments.")
    else:
        yield Finding(Level.OK, "disk", text)


def _clock(_config: Config) -> Iterator[Finding]:
    """The kernel knows whether anything keeps its clock right (adjtimex(2): TIME_ERROR, STA_UNSYNC)."""
    time_error = 5
    buffer = ctypes.create_string_buffer(512)
    if ctypes.CDLL(None).adjtimex(buffer) == time_error:
        yield Finding(
            Level.WARNING,
            "clock",
            "The clock is not kept in step with the world's.",
            "Switch on time synchronisation: timedatectl set-ntp true",
        )
    else:
        yield Finding(Level.OK, "clock", "kept in step")


def _user(_config: Config) -> Iterator[Finding]:
    if os.getuid() == 0:
        yield Finding(
            Level.WARNING,
            "user",
            "This is root, and every step of every project would be too.",
            "Run Deployer as a user of its own.",
        )
    else:
        yield Finding(Level.OK, "user", f"uid {os.getuid()}")


def _address(config: Config) -> Iterator[Finding]:
    import http.client
    import urllib.error
    import urllib.request

    url = config.public_url
    host = urlsplit(url).hostname or ""
    if not config.server.public_url:
        yield Finding(
            Level.WARNING,
            "address",
            f"server.public_url is not set; links and webhooks say {url}.",
            "Set it to the address under which GitHub reaches this host.",
        )
    elif not config.is_behind_tls:
        yield Finding(
            Level.WARNING, "address", f"{url} is not https.", "Put a proxy with TLS in front, and set https://…"
        )
    try:
        with urllib.request.urlopen(f"{url}/login", timeout=PROBE_TIMEOUT_S):  # noqa: S310 (checked by the configuration)
            yield Finding(Level.OK, "address", f"{url} answers.")
    except urllib.error.HTTPError as error:
        yield Finding(Level.WARNING, "address", f"{url} answers with {error.code}.", "Is that this daemon?")
    except http.client.HTTPException as error:
        words = journal.one_line(str(error)) or type(error).__name__
        yield Finding(
            Level.WARNING, "address", f"{url} answers, but not as a web server: {words}.", "Is that this daemon?"
        )
    except OSError as error:
        yield Finding(
            Level.WARNING,
            "address",
            f"{url} does not answer: {getattr(error, 'reason', error)}.",
            f"Start Deployer, and see that {host} leads here.",
        )


def _asked(config: Config, question: Callable[[sa.Connection], T]) -> T | None:
    """What the database answers; None where it cannot be asked, which its own check says."""
    import sqlalchemy as sa
    from sqlalchemy.exc import DBAPIError

    from deployer import migrations

    # Without the installation: asking changes nothing.
    engine = sa.create_engine(config.database_url, poolclass=sa.NullPool)
    try:
        if migrations.is_behind(config):
            return None
        with engine.connect() as connection:
            return question(connection)
    except (DBAPIError, DeployerError):
        return None
    finally:
        engine.dispose()


def _mail(config: Config) -> Iterator[Finding]:
    from deployer.notifications import mail_settings, smtp

    found = _asked(config, lambda connection: mail_settings.load(connection, config))
    if found is None:
        return
    if not found.is_complete:
        yield Finding(Level.OK, "mail", "not set up; no mails are sent.")
        return
    server = smtp.Server(
        host=found.host,
        port=found.port_in_use,
        security=found.security,
        ca_file=found.ca_file,
        helo=smtp.name_of(config.public_url),
    )
    try:
        said = smtp.greet(server, total_s=PROBE_TIMEOUT_S)
    except DeployerError as error:
        yield Finding(Level.WARNING, "mail", str(error.args[0]), error.hint or "See Settings → Mail.")
    else:
        yield Finding(Level.OK, "mail", f"{found.host}:{found.port_in_use} answers: {said}")


def _runner(config: Config) -> Iterator[Finding]:
    from deployer.installation import DataDir, runner_is_up

    if runner_is_up(DataDir(config.data_dir)):
        yield Finding(Level.OK, "runner", "at work")
    else:
        yield Finding(
            Level.WARNING,
            "runner",
            "It is not running: deployments wait.",
            "systemctl start deployer-runner, or python app.py serve",
        )
