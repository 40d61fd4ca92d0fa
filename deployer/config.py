"""The settings, and what their values may be.

The dataclasses below are the only list of them. ``config.example.toml`` documents each, and a test holds the two
together. `config_file` reads them.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from deployer import mail_addresses
from deployer.errors import ConfigError

SMTP_SECURITY = ("starttls", "tls", "none")
MIN_SMTP_PASSWORD = 4
"""A shorter secret cannot be hidden in what the server says."""


@dataclass(frozen=True)
class ServerSettings:
    bind: str = "127.0.0.1:8420"
    public_url: str = ""
    trusted_proxies: int = 0
    threads: int = 64
    max_streams: int = 2000


@dataclass(frozen=True)
class StorageSettings:
    data_dir: str = "data"
    # May hold a password.
    database_url: str = field(default="", repr=False)
    min_free_bytes: int = 256 * 1024 * 1024


@dataclass(frozen=True)
class RunnerSettings:
    max_queued: int = 100
    default_timeout: int = 1800
    cancel_grace: int = 10
    host_lost_after: int = 600


@dataclass(frozen=True)
class GitSettings:
    allow_file: bool = False
    timeout: int = 600
    known_hosts: str = ""
    catch_up_hours: int = 6


@dataclass(frozen=True)
class SshSettings:
    reconnect_for: int = 600


@dataclass(frozen=True)
class LogSettings:
    max_bytes_per_command: int = 16 * 1024 * 1024
    max_spool_bytes: int = 1024 * 1024 * 1024
    level: str = "info"


@dataclass(frozen=True)
class RetentionSettings:
    """0 is without a limit. A project may have its own of the first two."""

    deployments: int = 200
    days: int = 365
    deliveries: int = 1000
    delivery_days: int = 30
    audit_days: int = 400


@dataclass(frozen=True)
class AuthSettings:
    session_days: int = 30


@dataclass(frozen=True)
class SmtpSettings:
    """What is empty here (a port of 0 too) is entered in the dashboard."""

    host: str = ""
    port: int = 0
    security: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    from_: str = ""
    to: str = ""
    ca_file: str = ""


@dataclass(frozen=True)
class OutboundSettings:
    allow_private: bool = False


@dataclass(frozen=True)
class Config:
    """All settings. ``source`` is the file they came from, for messages."""

    server: ServerSettings = field(default_factory=ServerSettings)
    storage: StorageSettings = field(default_factory=StorageSettings)
    runner: RunnerSettings = field(default_factory=RunnerSettings)
    git: GitSettings = field(default_factory=GitSettings)
    ssh: SshSettings = field(default_factory=SshSettings)
    logs: LogSettings = field(default_factory=LogSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    auth: AuthSettings = field(default_factory=AuthSettings)
    smtp: SmtpSettings = field(default_factory=SmtpSettings)
    outbound: OutboundSettings = field(default_factory=OutboundSettings)
    source: str = ""

    @property
    def data_dir(self) -> Path:
        return Path(self.storage.data_dir).expanduser().absolute()

    @property
    def database_path(self) -> Path:
        """The file of a database that is this data folder's own."""
        return self.data_dir / "deployer.db"

    @property
    def database_name(self) -> str:
        """What messages call it; a password is not in it."""
        if not self.storage.database_url:
            return f"The database {self.database_path}"
        url = urlsplit(self.storage.database_url)
        return f"The database {url.path[1:]} on {url.hostname or 'this host'}"

    @property
    def has_shared_database(self) -> bool:
        """Whether the database is a PostgreSQL, which several hosts may use."""
        return bool(self.storage.database_url)

    @property
    def database_url(self) -> str:
        """With the driver named, as SQLAlchemy takes it."""
        _, found, rest = self.storage.database_url.partition("://")
        return f"postgresql+psycopg://{rest}" if found else f"sqlite:///{quote(str(self.database_path))}"

    @property
    def public_url(self) -> str:
        """The address under which GitHub and browsers reach the daemon, without a trailing slash."""
        return self.server.public_url.rstrip("/") or f"http://{self.server.bind}"

    @property
    def is_behind_tls(self) -> bool:
        return self.public_url.startswith("https://")


SECTIONS: tuple[str, ...] = tuple(f.name for f in fields(Config) if f.name != "source")


@dataclass(frozen=True)
class Setting:
    """One key of a section. ``name`` is its field, which differs where the key is a word of Python (``from``)."""

    name: str
    type: Any
    is_secret: bool


def key_of(name: str) -> str:
    """The key in the file, and in the variable's name, of a field."""
    return name.removesuffix("_")


def section_type(name: str) -> Any:
    """The dataclass of a section."""
    return typing.get_type_hints(Config)[name]


def settings_of(section: str) -> dict[str, Setting]:
    """The settings of a section by their keys."""
    kind = section_type(section)
    types = typing.get_type_hints(kind)
    every: tuple[Field[Any], ...] = fields(kind)
    # What dataclasses do not show, errors do not show either.
    return {key_of(one.name): Setting(one.name, types[one.name], not one.repr) for one in every}


def check(config: Config) -> None:
    """Raises ConfigError for a value that cannot work, with its source, the key's path and what was expected."""

    def refuse(key: str, expected: str) -> None:
        section, name = key.split(".")
        setting = settings_of(section)[name]
        value = getattr(getattr(config, section), setting.name)
        found = "" if setting.is_secret else f", but is {value!r}"
        raise ConfigError(f"{config.source or 'environment'}: {key}: should be {expected}{found}.")

    bounds = {
        "server.trusted_proxies": (0, 16),
        "server.threads": (2, 1000),
        "server.max_streams": (1, 10_000),
        "runner.max_queued": (1, 1_000_000),
        "runner.default_timeout": (1, 7 * 86400),
        "runner.cancel_grace": (0, 600),
        "runner.host_lost_after": (20, 30 * 86400),
        "git.timeout": (1, 86400),
        "git.catch_up_hours": (0, 8760),
        "ssh.reconnect_for": (1, 7 * 86400),
        "storage.min_free_bytes": (0, 1 << 50),
        "logs.max_bytes_per_command": (64 * 1024, 1 << 32),
        "logs.max_spool_bytes": (1024 * 1024, 1 << 40),
        "retention.deployments": (0, 1_000_000),
        "retention.days": (0, 36_500),
        "retention.deliveries": (0, 10_000_000),
        "retention.delivery_days": (0, 36_500),
        "retention.audit_days": (0, 36_500),
        "auth.session_days": (1, 3650),
        "smtp.port": (0, 65535),
    }
    for key, (low, high) in bounds.items():
        section, name = key.split(".")
        if not low <= getattr(getattr(config, section), name) <= high:
            refuse(key, f"between {low} and {high}")
    host, _, port = config.server.bind.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        refuse("server.bind", "HOST:PORT, for example 127.0.0.1:8420")
    if config.server.public_url and not _is_web_address(config.server.public_url):
        refuse("server.public_url", "an address such as https://deploy.example.com")
    if not config.storage.data_dir:
        refuse("storage.data_dir", "a folder")
    if config.storage.database_url and not is_database_url(config.storage.database_url):
        refuse("storage.database_url", "an address such as postgresql://USER:PASSWORD@HOST/DATABASE")
    if config.logs.level not in ("debug", "info", "warning", "error"):
        refuse("logs.level", "debug, info, warning or error")
    _check_smtp(config.smtp, refuse)


def _check_smtp(smtp: SmtpSettings, refuse: Callable[[str, str], None]) -> None:
    if smtp.host and not is_host(smtp.host):
        refuse("smtp.host", "the name or the address of a mail server")
    if smtp.security not in ("", *SMTP_SECURITY):
        refuse("smtp.security", "starttls, tls or none")
    if 0 < len(smtp.password) < MIN_SMTP_PASSWORD:
        refuse("smtp.password", f"at least {MIN_SMTP_PASSWORD} characters long")
    try:
        if smtp.from_:
            mail_addresses.sender(smtp.from_)
    except ValueError:
        refuse("smtp.from", "an address such as deploy@example.com, or Deployer <deploy@example.com>")
    try:
        mail_addresses.split(smtp.to)
    except ValueError:
        refuse("smtp.to", "e-mail addresses with commas between")
    if smtp.ca_file and not Path(smtp.ca_file).is_absolute():
        refuse("smtp.ca_file", "the absolute path of a file of certificates")


def is_host(text: str) -> bool:
    """Whether this can be the name of a host, or its address (IPv6 without brackets)."""
    return len(text) <= 253 and re.fullmatch(r"[A-Za-z0-9._:-]+", text) is not None and not text.startswith("-")


def is_database_url(text: str) -> bool:
    """Whether it names a PostgreSQL database."""
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        return False
    return url.scheme in ("postgresql", "postgres") and len(url.path) > 1 and not url.fragment


def _is_web_address(text: str) -> bool:
    try:
        url = urlsplit(text)
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.hostname) and not url.query and not url.fragment
