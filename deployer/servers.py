"""Use cases of servers: adding one, trusting its host key, changing and deleting it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer import clock, settings
from deployer.errors import ConnectionLost, InvalidInput, InvalidTransition, NotFound, ServerRefused
from deployer.executors import host_keys
from deployer.executors.ssh_connection import Address, scan_host_key
from deployer.models.deployment import RUNNING, Deployment
from deployer.models.project import Project
from deployer.models.server import Server
from deployer.patience import LIMIT_S, within
from deployer.security import deploy_keys
from deployer.security.vault import Vault

LOCAL = "this host"
"""What the server without a row is called."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*\.?\Z")
_USERNAME = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,63}\Z")
_FINGERPRINT = re.compile(r"(?:SHA256:)?([A-Za-z0-9+/]{43})=?\Z")


@dataclass(frozen=True)
class ServerInput:
    """What a person enters. ``extra_path`` holds folders, one a line."""

    name: str
    host: str
    port: int = 22
    username: str = "deploy"
    extra_path: str = ""


def validate(given: ServerInput) -> None:
    """Raises InvalidInput with an error for each field that cannot be used."""
    errors: dict[str, str] = {}
    if not _NAME.match(given.name):
        errors["name"] = "Use letters, digits, dots, dashes and underscores, beginning with a letter or digit."
    elif given.name == "local":
        errors["name"] = "“local” means this host; choose another name."
    elif given.name == "new":
        errors["name"] = "“new” is the address of the form for new servers; choose another name."
    if not _is_host(given.host):
        errors["host"] = "Give a host name or an IP address, without user and port."
    if not 1 <= given.port <= 65535:
        errors["port"] = "A port is between 1 and 65535."
    if not _USERNAME.match(given.username):
        errors["username"] = "Give the user to log in as, for example deploy."
    try:
        settings.checked_path(given.extra_path.splitlines())
    except InvalidInput as error:
        errors["extra_path"] = error.fields["path"]
    if errors:
        raise InvalidInput(errors)


def _is_host(host: str) -> bool:
    # What stands behind the % of an IPv6 address may be anything for ipaddress; interfaces are named like hosts.
    address, percent, zone = host.partition("%")
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return _HOST.match(host) is not None
    return not percent or (":" in address and _HOST.match(zone) is not None)


def create(session: Session, given: ServerInput, vault: Vault) -> Server:
    """A new server with a key of its own. Its host key is not trusted yet. Raises InvalidInput."""
    validate(given)
    _refuse_taken_name(session, given.name, None)
    server_id = clock.new_id()
    private, public = deploy_keys.generate(f"deployer:{given.name}")
    now = clock.now()
    server = Server(
        id=server_id,
        private_key=vault.seal(private, place(server_id)),
        public_key=public,
        created_at=now,
        updated_at=now,
    )
    _apply(server, given)
    session.add(server)
    session.flush()
    return server


def update(session: Session, server: Server, given: ServerInput) -> None:
    """Change a server. Another host or port is another host key to trust. Raises InvalidInput, InvalidTransition."""
    validate(given)
    _refuse_taken_name(session, given.name, server.id)
    is_elsewhere = (given.host, given.port) != (server.host, server.port)
    if is_elsewhere or given.username != server.username:
        _refuse_while_in_use(session, server)
        server.tested_at = server.test_report = None
    if is_elsewhere:
        server.host_key = server.offered_host_key = None
    _apply(server, given)
    server.updated_at = clock.now()


def _apply(server: Server, given: ServerInput) -> None:
    server.name = given.name
    server.host = given.host
    server.port = given.port
    server.username = given.username
    server.extra_path = "\n".join(settings.checked_path(given.extra_path.splitlines())) or None


def _refuse_taken_name(session: Session, name: str, own_id: str | None) -> None:
    taken = session.scalar(sa.select(Server.id).where(Server.name == name))
    if taken and taken != own_id:
        raise InvalidInput({"name": "Another server has this name."})


def _refuse_while_in_use(session: Session, server: Server) -> None:
    running = session.scalar(
        sa.select(Project.name)
        .join(Deployment, Deployment.project_id == Project.id)
        .where(Project.server_id == server.id, Deployment.status == RUNNING)
        .limit(1)
    )
    if running:
        raise InvalidTransition(
            f"A deployment of {running} is running on {server.name}.", hint="Cancel it or wait for its end."
        )


def delete(session: Session, server: Server) -> None:
    """Forget a server and its key. Raises InvalidTransition while projects are deployed to it."""
    names = session.scalars(
        sa.select(Project.name).where(Project.server_id == server.id).order_by(Project.name)
    ).all()
    if names:
        raise InvalidTransition(
            f"{server.name} is the server of {', '.join(names)}.",
            hint="Move these projects to another server, or delete them first.",
        )
    session.delete(server)


def find(session: Session, name_or_id: str) -> Server:
    """Raises NotFound."""
    server = session.scalar(
        sa.select(Server)
        .where((Server.name == name_or_id) | (Server.id == name_or_id))
        .order_by(Server.id != name_or_id)
        .limit(1)
    )
    if server is None:
        raise NotFound(f"There is no server {name_or_id}.")
    return server


def listed(session: Session) -> list[tuple[Server, int]]:
    """All servers by name, each with the number of its projects."""
    rows = session.execute(
        sa.select(Server, sa.func.count(Project.id))
        .outerjoin(Project, Project.server_id == Server.id)
        .group_by(Server.id)
        .order_by(sa.func.lower(Server.name))
    )
    return [(server, count) for server, count in rows]


def projects_of(session: Session, server: Server) -> list[str]:
    """The names of the projects that are deployed to a server."""
    wanted = sa.select(Project.name).where(Project.server_id == server.id).order_by(sa.func.lower(Project.name))
    return list(session.scalars(wanted))


def exists(connection: sa.Connection, server_id: str) -> bool:
    return connection.scalar(sa.select(sa.literal(1)).where(Server.id == server_id)) is not None


def make_key(server: Server, vault: Vault) -> None:
    """A new key; the earlier one is forgotten."""
    private, public = deploy_keys.generate(f"deployer:{server.name}")
    server.private_key = vault.seal(private, place(server.id))
    server.public_key = public
    server.tested_at = server.test_report = None
    server.updated_at = clock.now()


def authorized_keys(server: Server) -> str:
    """The line for ``~/.ssh/authorized_keys`` (sshd(8)): commands, and nothing else that a key could be used for."""
    return f"restrict {server.public_key}"


# The host key ---------------------------------------------------------------------------------------------------


def scan(server: Server) -> str:
    """The host key that the server offers at the moment. Raises ConnectionLost, after 15 s at
    the latest, and ServerRefused."""
    host, port, pinned = server.host, server.port, server.host_key
    try:
        return within(LIMIT_S, lambda: scan_host_key(host, port, like=pinned))
    except TimeoutError as error:
        raise ConnectionLost(f"{host}:{port} cannot be reached: no answer for {LIMIT_S:.0f} s.") from error


def try_scan(server: Server) -> str | None:
    """The same; None where the server cannot be reached."""
    try:
        return scan(server)
    except (ConnectionLost, ServerRefused):
        return None


def offer(server: Server, host_key: str | None) -> None:
    """Remember a host key that was seen, for a person to compare."""
    server.offered_host_key = host_key if host_key != server.host_key else None


def trust(server: Server, given: str) -> None:
    """Pin the offered host key, whose fingerprint a person has compared. Raises InvalidInput."""
    offered = server.offered_host_key
    match = _FINGERPRINT.match(given.strip())
    if not match:
        raise InvalidInput({"fingerprint": "Give the fingerprint as ssh-keygen -lf prints it: SHA256:…"})
    wanted = f"SHA256:{match[1]}"
    if server.host_key and host_keys.fingerprint(server.host_key) == wanted:
        server.offered_host_key = None
        return
    known = offered or server.host_key
    if known is None:
        raise InvalidInput({"fingerprint": f"{server.name} has offered no host key yet. Scan it first."})
    if offered is None or host_keys.fingerprint(offered) != wanted:
        text = f"{server.name} offers {host_keys.fingerprint(known)}, and not {wanted}. Nothing was trusted."
        raise InvalidInput({"fingerprint": text})
    server.host_key, server.offered_host_key = offered, None
    # What was found, was found at whatever has another key.
    server.tested_at = server.test_report = None
    server.updated_at = clock.now()


# What the executor needs ----------------------------------------------------------------------------------------


def address_of(server: Server, vault: Vault) -> Address:
    """Raises ServerRefused while its host key is not trusted, SecretUnreadable where the key file is another one."""
    if server.host_key is None:
        raise ServerRefused(
            f"The host key of {server.name} is not trusted yet.",
            hint="Compare its fingerprint on the server's page and trust it there.",
        )
    return Address(
        name=server.name,
        host=server.host,
        port=server.port,
        username=server.username,
        host_key=server.host_key,
        private_key=vault.open(server.private_key, place(server.id)),
    )


def place(server_id: str) -> str:
    """Where a server's key is stored, as the vault binds it."""
    return f"server:{server_id}:private_key"
