"""``server …``: the hosts that projects are deployed to over SSH."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from deployer.cli.context import Context
from deployer.cli.projects import table

_COLOURS = {"ok": "green", "warning": "yellow", "failure": "red"}
_json = click.option("--json", "as_json", is_flag=True, help="Answer with JSON.")


@click.group()
def server() -> None:
    """The hosts that projects are deployed to over SSH."""


@server.command()
@click.argument("name")
@click.option("--host", required=True, help="Host name or IP address.")
@click.option("--port", type=int, default=22, show_default=True)
@click.option("--user", "username", required=True, help="The user to log in as; steps run as this user.")
@click.option("--extra-path", multiple=True, help="A folder that comes first in PATH; may be given many times.")
@_json
@click.pass_obj
def add(
    context: Context, name: str, host: str, port: int, username: str, extra_path: tuple[str, ...], as_json: bool
) -> None:
    """Add a server: makes a key for it, and scans its host key."""
    from deployer import servers
    from deployer.executors.host_keys import fingerprint
    from deployer.servers import ServerInput

    wanted = ServerInput(name, host, port, username, "\n".join(extra_path))
    with context.changing("server.created", name) as session:
        made = servers.create(session, wanted, context.installation.vault)
    # The question to the server is asked outside any transaction.
    scanned = servers.try_scan(made)
    with context.changing("server.scanned", name) as session:
        servers.offer(servers.find(session, made.id), scanned)
    seen = fingerprint(scanned) if scanned else None
    line = servers.authorized_keys(made)
    if as_json:
        facts = {
            "id": made.id,
            "public_key": made.public_key,
            "authorized_keys": line,
            "host_key_fingerprint": seen,
        }
        click.echo(json.dumps(facts))
        return
    click.echo(f"{name} is added. Three steps remain.")
    click.echo(f"1. On {host}, put this line into ~{username}/.ssh/authorized_keys:\n   {line}")
    if seen:
        click.echo(f"2. Compare the host key's fingerprint with the one there, then trust it:\n   {seen}")
        click.echo(f"   deployer server trust {name} {seen}")
    else:
        click.echo(f"2. {host} port {port} does not answer yet. When it does: deployer server scan {name}")
    click.echo(f"3. deployer server test {name}")


@server.command()
@click.argument("name")
@_json
@click.pass_obj
def scan(context: Context, name: str, as_json: bool) -> None:
    """Show the host key that a server offers now."""
    from sqlalchemy.orm import Session

    from deployer import servers
    from deployer.executors import host_keys

    with Session(context.installation.database.engine) as reading:
        found = servers.find(reading, name)
        reading.expunge(found)
    offered = servers.scan(found)
    with context.changing("server.scanned", name) as session:
        servers.offer(servers.find(session, name), offered)
    pinned = host_keys.fingerprint(found.host_key) if found.host_key else None
    seen = host_keys.fingerprint(offered)
    if as_json:
        click.echo(json.dumps({"offered": seen, "pinned": pinned}))
        return
    click.echo(f"offered  {host_keys.kind(offered)} {seen}")
    if pinned and found.host_key:
        click.echo(f"pinned   {host_keys.kind(found.host_key)} {pinned}")
    if seen != pinned:
        click.echo(f"Compare it with the one there, then: deployer server trust {name} {seen}")


@server.command()
@click.argument("name")
@click.argument("fingerprint")
@click.pass_obj
def trust(context: Context, name: str, fingerprint: str) -> None:
    """Pin the host key of NAME whose FINGERPRINT (SHA256:…) you have compared."""
    from sqlalchemy.orm import Session

    from deployer import servers

    with Session(context.installation.database.engine) as reading:
        found = servers.find(reading, name)
        reading.expunge(found)
    # What was offered when the server was added may be old by now, or was never seen.
    scanned = servers.try_scan(found)
    with context.changing("server.trusted", name, fingerprint) as session:
        present = servers.find(session, name)
        if scanned:
            servers.offer(present, scanned)
        servers.trust(present, fingerprint)
    click.echo(f"The host key of {name} is pinned. Next: deployer server test {name}")


@server.command()
@click.argument("name")
@_json
@click.pass_obj
def test(context: Context, name: str, as_json: bool) -> None:
    """Try the connection and what commands need there; takes some seconds."""
    from deployer import server_check
    from deployer.audit import Actor

    report = server_check.test(context.installation, name, Actor(context.actor))
    if as_json:
        click.echo(json.dumps({"ok": report.is_good, "findings": json.loads(report.as_json())}))
    else:
        for one in report.findings:
            level = click.style(one.level.value.ljust(7), fg=_COLOURS[one.level])
            click.echo(f"{level}  {one.about.ljust(10)}  {one.text}")
            if one.mend:
                click.echo(f"{'':21}→ {one.mend}")
    sys.exit(0 if report.is_good else 1)


@server.command("list")
@_json
@click.pass_obj
def list_servers(context: Context, as_json: bool) -> None:
    """All servers."""
    import sqlalchemy as sa
    from sqlalchemy.orm import Session

    from deployer.executors.host_keys import fingerprint
    from deployer.models.server import Server

    with Session(context.installation.database.engine) as session:
        rows: list[dict[str, Any]] = [
            {
                "id": one.id,
                "name": one.name,
                "host": one.host,
                "port": one.port,
                "user": one.username,
                "host_key_fingerprint": fingerprint(one.host_key) if one.host_key else None,
            }
            for one in session.scalars(sa.select(Server).order_by(Server.name))
        ]
    if as_json:
        click.echo(json.dumps(rows))
    elif not rows:
        click.echo("Projects run on this host. Add another: deployer server add NAME --host HOST --user USER")
    else:
        cells = [
            [
                row["name"],
                f"{row['user']}@{row['host']}:{row['port']}",
                row["host_key_fingerprint"] or "not trusted yet",
            ]
            for row in rows
        ]
        click.echo(table([["NAME", "ADDRESS", "HOST KEY"], *cells]))


@server.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(context: Context, name: str, yes: bool) -> None:
    """Forget a server and its key."""
    from deployer import servers

    if not yes:
        click.confirm(f"Forget {name} and its key?", abort=True)
    with context.changing("server.deleted", name) as session:
        servers.delete(session, servers.find(session, name))
    click.echo(f"{name} is removed. Take its line out of ~/.ssh/authorized_keys there.")
