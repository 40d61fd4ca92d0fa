"""One installation: its configuration, its data folder, its database and its key."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from deployer import migrations
from deployer.config import Config
from deployer.db import Database
from deployer.errors import BackupError, ConfigError, KeyFileError
from deployer.security import keyfile
from deployer.security.vault import Vault


class DataDir:
    """What lies where in the data folder. Everything in it is the daemon's user's alone."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.key_file = root / "key"
        self.key_lock = root / "key.lock"
        self.database = root / "deployer.db"
        self.runner_lock = root / "runner.lock"
        self.host_file = root / "host"
        self.spool = root / "spool"
        self.mirrors = root / "mirrors"
        self.checkouts = root / "checkouts"
        self.scratch = root / "scratch"

    @functools.cached_property
    def host_id(self) -> str:
        """Which of the hosts that share a database this is. Made once, for as long as the data folder lives."""
        try:
            return self.host_file.read_text().strip()
        except FileNotFoundError:
            temporary = self.root / f"host.{os.getpid()}"
            temporary.touch(mode=0o600)
            temporary.write_text(f"{uuid.uuid4()}\n")
            # Of two that make it at once the first one's holds.
            with contextlib.suppress(FileExistsError):
                os.link(temporary, self.host_file)
            temporary.unlink()
            return self.host_file.read_text().strip()

    def mirror(self, project_id: str) -> Path:
        return self.mirrors / f"{project_id}.git"

    def owns(self, path: str) -> bool:
        """Whether a working copy lies in our own folder of working copies."""
        return Path(os.path.normpath(path)).parent == self.checkouts

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Make the folder and what belongs in it (0700). Meanwhile no restore begins to fill it. Raises ConfigError
        where it cannot be made, is not ours, or is being filled."""
        with self._usable():
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.refuse_foreign()
            if self.root.stat().st_mode & 0o077:
                self.root.chmod(0o700)
            fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with self._usable():
                if not _is_locked(fd, fcntl.LOCK_SH):
                    raise ConfigError(
                        f"A backup is being restored into the data folder {self.root}.",
                        hint="Wait for its end, then start Deployer.",
                    )
                for folder in (self.spool, self.mirrors, self.checkouts, self.scratch):
                    folder.mkdir(mode=0o700, exist_ok=True)
                (self.root / "bell").touch(mode=0o600)
            yield
        finally:
            os.close(fd)

    @contextmanager
    def filled(self) -> Iterator[None]:
        """Nobody else opens the folder, or fills it. Raises BackupError where somebody does; OSError."""
        fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if not _is_locked(fd, fcntl.LOCK_EX):
                raise BackupError(
                    f"Another process opens the data folder {self.root}, or restores a backup into it.",
                    hint="Wait for its end, and see what is in the folder then.",
                )
            yield
        finally:
            os.close(fd)

    def refuse_foreign(self) -> None:
        """Raises ConfigError where the folder is another user's: what this one would leave there is not theirs."""
        if self.root.stat().st_uid != os.getuid():
            raise ConfigError(
                f"The data folder {self.root} belongs to another user.",
                hint="Start Deployer as that user, or choose another storage.data_dir.",
            )

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(
                f"The data folder {self.root} cannot be used: {error.strerror}.",
                hint="Make it writable for this user, or choose another storage.data_dir.",
            ) from error


class Installation:
    """Everything that the entry points hand on. ``open`` makes what is missing."""

    def __init__(self, config: Config, data_dir: DataDir, key: bytes) -> None:
        self.config = config
        self.data_dir = data_dir
        self.key = key
        self.vault = Vault(keyfile.KeyFile(data_dir.key_file))
        self.database = Database(config)

    @classmethod
    def open(cls, config: Config) -> Installation:
        """Make the data folder, the key file and the migrated database where they are missing.

        Raises ConfigError or KeyFileError when they cannot be used.
        """
        data_dir = DataDir(config.data_dir)
        with data_dir.opened():
            if not data_dir.key_file.exists() and keeps_secrets(config):
                raise KeyFileError(
                    f"The key file {data_dir.key_file} is missing, and what the database keeps needs it.",
                    hint="Copy it from another host of this database, or restore it from a backup."
                    if config.has_shared_database
                    else "Restore it from a backup; or, to begin anew, move the data folder away.",
                )
            installation = cls(config, data_dir, keyfile.load_or_create(data_dir.key_file))
            if migrations.is_behind(config):
                with exclusive(data_dir.root / "migrate.lock"):
                    migrations.upgrade(config)
            if not config.has_shared_database:
                os.chmod(data_dir.database, 0o600)
        return installation

    @property
    def host_id(self) -> str | None:
        """This host among those that share the database; None where it has one of its own."""
        return self.data_dir.host_id if self.config.has_shared_database else None

    @property
    def runner_is_up(self) -> bool:
        return runner_is_up(self.data_dir)


def keeps_secrets(config: Config) -> bool:
    """Whether there is a database with something in it that only its own key opens."""
    if not config.has_shared_database and not config.database_path.exists():
        return False
    engine = sa.create_engine(config.database_url, poolclass=sa.NullPool)
    sealed = ("projects", "servers", "channels", "users WHERE totp_secret IS NOT NULL")
    return any(_is_there(engine, what) for what in sealed)


def _is_there(engine: sa.Engine, what: str) -> bool:
    try:
        with engine.connect() as connection:
            return connection.scalar(sa.text(f"SELECT 1 FROM {what} LIMIT 1")) is not None  # noqa: S608 (our own words)
    except DBAPIError:
        return False  # empty, older, or no database: whoever opens it says so


def runner_is_up(data_dir: DataDir) -> bool:
    """Whether a runner holds its lock on this data folder."""
    try:
        fd = os.open(data_dir.runner_lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        # A shared lock: of two who ask at once neither takes the other for a runner.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(fd)


def _is_locked(fd: int, how: int) -> bool:
    """Lock an open file or folder without waiting; False where somebody else has it."""
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file; wait for whoever has it. It is given up with the process, however that ends."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
