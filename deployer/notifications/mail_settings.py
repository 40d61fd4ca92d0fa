"""How mails are sent: what the configuration says, and where it says nothing, what the dashboard says.

The configuration (file or environment) wins field by field; what it sets cannot be changed in the dashboard. The
password of the dashboard is sealed by the vault, and never shown again.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import sqlalchemy as sa

from deployer import mail_addresses, settings
from deployer.config import MIN_SMTP_PASSWORD, SMTP_SECURITY, Config, SmtpSettings, is_host
from deployer.errors import InvalidInput, MailError
from deployer.models.base import table_of
from deployer.models.setting import Setting
from deployer.notifications import outbox
from deployer.security.vault import Vault

PREFIX = "mail."
PASSWORD = "password"  # noqa: S105 (a name)
PLACE = "setting:mail.password"
"""Where the password is stored, as the vault binds it."""

FIELDS = ("host", "port", "security", "username", "from_", "to")
"""What the dashboard offers besides the password. The file of authorities is a matter of the host, and not there."""

PORTS = {"starttls": 587, "tls": 465, "none": 25}
DEFAULT_SECURITY = "starttls"

_settings = table_of(Setting)
_SELECT = sa.select(_settings.c.name, _settings.c.value).where(_settings.c.name.like(f"{PREFIX}%"))


@dataclass(frozen=True)
class MailSettings:
    """What is in force. ``fixed`` names the fields that the configuration sets; ``port`` is 0 where none is given."""

    host: str = ""
    port: int = 0
    security: str = DEFAULT_SECURITY
    username: str = ""
    from_: str = ""
    to: str = ""
    ca_file: str = ""
    has_password: bool = False
    fixed: frozenset[str] = frozenset()

    @property
    def is_complete(self) -> bool:
        """Whether mails can be sent: a server, a sender, and somebody who gets them."""
        return bool(self.host and self.from_ and self.to)

    @property
    def port_in_use(self) -> int:
        return self.port or PORTS[self.security]


def load(connection: sa.Connection, config: Config) -> MailSettings:
    stored = _stored(connection)
    given: SmtpSettings = config.smtp
    fixed = frozenset(one.name for one in fields(SmtpSettings) if getattr(given, one.name))
    values = {name: getattr(given, name) if name in fixed else stored.get(name, "") for name in FIELDS}
    return MailSettings(
        host=values["host"],
        port=int(values["port"] or 0),
        security=values["security"] or DEFAULT_SECURITY,
        username=values["username"],
        from_=values["from_"],
        to=values["to"],
        ca_file=given.ca_file,
        has_password=PASSWORD in fixed or PASSWORD in stored,
        fixed=fixed,
    )


def password(connection: sa.Connection, config: Config, vault: Vault) -> str:
    """The password in force; empty where there is none. Raises SecretUnreadable."""
    sealed = _stored(connection).get(PASSWORD)
    if config.smtp.password or not sealed:
        return config.smtp.password
    return vault.open(bytes.fromhex(sealed), PLACE).decode()


def save(
    connection: sa.Connection, given: Mapping[str, str], new_password: str, *, config: Config, vault: Vault
) -> MailSettings:
    """Store what was entered (texts, by the names of FIELDS); what the configuration sets is left as it is.

    An empty password keeps the stored one. That goes only to the server that it was entered for: with another host it
    has to be entered again. Without a user name it is forgotten. Raises InvalidInput.
    """
    present = load(connection, config)
    wanted, errors = _read(present, given)
    is_new_password = bool(new_password) and PASSWORD not in present.fixed
    keeps = not is_new_password and PASSWORD not in present.fixed and PASSWORD in _stored(connection)
    if is_new_password and len(new_password) < MIN_SMTP_PASSWORD:
        errors["password"] = f"A password has at least {MIN_SMTP_PASSWORD} characters."
    elif is_new_password and not wanted.username:
        errors["username"] = "Give the user name that belongs to the password."
    elif keeps and wanted.username and wanted.host != present.host and wanted.host:
        errors["password"] = "Enter the password again: it was given for another server."  # noqa: S105
    is_login = bool(wanted.username) and (is_new_password or keeps or PASSWORD in present.fixed)
    if is_login and wanted.security == "none" and wanted.host and not is_loopback(wanted.host):
        errors["security"] = "A password is not sent without encryption. Choose STARTTLS or TLS."
    if errors:
        raise InvalidInput(errors)
    for name in FIELDS:
        if name not in present.fixed:
            settings.put(connection, PREFIX + name, str(getattr(wanted, name) or "") or None)
    if is_new_password:
        settings.put(connection, PREFIX + PASSWORD, vault.seal(new_password.encode(), PLACE).hex())
    elif not wanted.username:
        settings.put(connection, PREFIX + PASSWORD, None)
    mark(connection, config)
    return load(connection, config)


def mark(connection: sa.Connection, config: Config) -> None:
    """Say for the outbox whether mails can be sent, unless it is said already."""
    is_complete = load(connection, config).is_complete
    if is_complete != is_marked(connection):
        settings.put(connection, outbox.MARK, "yes" if is_complete else None)


def is_marked(connection: sa.Connection) -> bool:
    return settings.get(connection, outbox.MARK) is not None


def require_complete(found: MailSettings) -> None:
    """Raises MailError, in the words of the session API, where mails cannot be sent."""
    if not found.is_complete:
        raise MailError("SMTP not configured", is_permanent=True)


def is_loopback(host: str) -> bool:
    """Whether what is sent there does not leave this host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _stored(connection: sa.Connection) -> dict[str, str]:
    return {name.removeprefix(PREFIX): value for name, value in connection.execute(_SELECT)}


def _read(present: MailSettings, given: Mapping[str, str]) -> tuple[MailSettings, dict[str, str]]:
    """What would be in force, and what is wrong with it. Without a host no mail is sent, and little can be wrong."""
    errors: dict[str, str] = {}
    texts = {name: given.get(name, "").strip() for name in FIELDS if name not in present.fixed}
    port = texts.pop("port", None)
    wanted = replace(present, **texts)  # type: ignore[arg-type]
    if port is not None:
        is_port = port.isascii() and port.isdecimal() and len(port) < 6 and 0 < int(port) < 65536
        if port and not is_port:
            errors["port"] = "Give a number between 1 and 65535, or none."
        wanted = replace(wanted, port=int(port) if is_port else 0)
    if wanted.security not in SMTP_SECURITY:
        errors["security"] = "Choose STARTTLS, TLS or no encryption."
    if wanted.host and not is_host(wanted.host):
        errors["host"] = "Give the name of a mail server, such as smtp.example.com, without a port."
    if len(wanted.username) > 255 or not wanted.username.isprintable():
        errors["username"] = "This is not a usable user name."
    try:
        if wanted.from_ or wanted.host:
            mail_addresses.sender(wanted.from_)
    except ValueError:
        errors["from_"] = "Give an address such as deploy@example.com, or Deployer <deploy@example.com>."
    try:
        if not mail_addresses.split(wanted.to) and wanted.host:
            errors["to"] = "Give at least one address."
    except ValueError as error:
        errors["to"] = str(error)
    return wanted, errors
