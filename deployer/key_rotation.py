"""The exchange of the key for a new one: everything that is sealed is sealed anew.

It can be cut off at any instant. First the key file holds both keys, so that whatever the database holds can be
opened; then one transaction seals everything with the new one; then the file holds that alone. Web and runner go on
meanwhile: they seal within write transactions, which come before this one or see the new key, and look at the file
again where something does not open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa

from deployer import audit, project_secrets, servers, settings, two_factor, variables
from deployer.audit import Actor
from deployer.installation import Installation, exclusive
from deployer.models.base import Base, table_of
from deployer.models.channel import Channel
from deployer.models.project import Project, Variable
from deployer.models.server import Server
from deployer.models.user import User
from deployer.notifications import channels, mail_settings
from deployer.security import keyfile
from deployer.security.vault import Vault

FINGERPRINT = "key.fingerprint"
"""The setting that says which key the last rotation sealed everything with."""


@dataclass(frozen=True)
class Sealed:
    """A column of sealed secrets, and where the vault says that the one of a row is stored."""

    column: sa.Column[Any]
    place: Callable[[sa.Row[Any]], str]


def _column(model: type[Base], name: str, place: Callable[[sa.Row[Any]], str]) -> Sealed:
    return Sealed(table_of(model).c[name], place)


COLUMNS = (
    _column(Project, "webhook_secret", lambda row: project_secrets.place(row.id, "webhook_secret")),
    _column(Project, "deploy_key_private", lambda row: project_secrets.place(row.id, "deploy_key")),
    _column(Project, "https_token", lambda row: project_secrets.place(row.id, "https_token")),
    _column(Variable, "secret_value", lambda row: variables.place(row.project_id, row.name)),
    _column(Server, "private_key", lambda row: servers.place(row.id)),
    _column(User, "totp_secret", lambda row: two_factor.place(row.id)),
    _column(Channel, "sealed", lambda row: channels.place(row.id)),
)
"""Every column that the vault seals. A table's key is its ``id``."""

SETTINGS = {mail_settings.PREFIX + mail_settings.PASSWORD: mail_settings.PLACE}
"""Settings that are sealed, in hexadecimal, and their places."""


@dataclass(frozen=True)
class Rotated:
    """What a rotation did: how many secrets it sealed anew, and whether it ended one that had been cut off."""

    count: int
    ended_another: bool


def rotate(installation: Installation, actor: Actor) -> Rotated:
    """Exchange the key. Where an earlier exchange was cut off, that one is brought to its end instead.

    Raises SecretUnreadable where something does not open with the present key: nothing is changed then. Raises
    KeyFileError and StorageUnavailable; what was begun is harmless, and another call goes on with it.
    """
    path = installation.data_dir.key_file
    with exclusive(installation.data_dir.key_lock):
        keys = keyfile.load_all(path)
        ended_another = len(keys) > 1
        if not ended_another:
            with installation.database.read() as connection:
                for _ in _opened(connection, Vault(keys[0])):
                    pass
            keys = (keyfile.new(), *keys)
            keyfile.replace(path, *keys)
        with installation.database.write() as connection:
            count = _seal_anew(connection, Vault(lambda: keys))
            settings.put(connection, FINGERPRINT, keyfile.fingerprint(keys[0]))
            audit.record(connection, actor, "key.rotated", "", f"{count} secrets sealed anew")
        keyfile.replace(path, keys[0])
    return Rotated(count, ended_another)


def is_rotated_to(connection: sa.Connection, key: bytes) -> bool:
    """Whether the last rotation sealed everything with this key."""
    return settings.get(connection, FINGERPRINT) == keyfile.fingerprint(key)


@dataclass(frozen=True)
class _Secret:
    plain: bytes
    place: str
    store: Callable[[bytes], None]


def _seal_anew(connection: sa.Connection, vault: Vault) -> int:
    count = 0
    for secret in _opened(connection, vault):
        secret.store(vault.seal(secret.plain, secret.place))
        count += 1
    return count


def _opened(connection: sa.Connection, vault: Vault) -> Iterator[_Secret]:
    """Everything that is sealed, opened, with how another form of it is stored. Raises SecretUnreadable."""
    for one in COLUMNS:
        for row in connection.execute(sa.select(one.column.table).where(one.column.is_not(None))).all():
            place = one.place(row)
            plain = vault.open(row._mapping[one.column.name], place)
            yield _Secret(plain, place, partial(_store, connection, one.column, row.id))
    for name, place in SETTINGS.items():
        if found := settings.get(connection, name):
            yield _Secret(vault.open(bytes.fromhex(found), place), place, partial(_put, connection, name))


def _store(connection: sa.Connection, column: sa.Column[Any], row_id: str, sealed: bytes) -> None:
    connection.execute(sa.update(column.table).where(column.table.c.id == row_id).values({column.name: sealed}))


def _put(connection: sa.Connection, name: str, sealed: bytes) -> None:
    settings.put(connection, name, sealed.hex())
