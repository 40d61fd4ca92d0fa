"""Servers in every state that their pages show, without a host behind them."""

from __future__ import annotations

import sqlalchemy as sa

from deployer import clock, servers
from deployer.models import Project, Server
from deployer.security import deploy_keys
from deployer.server_check import Finding, Level, Report
from deployer.servers import ServerInput
from tests.support.operator import Operator

LONG = "a-rather-long-name-of-a-server-without-any-place-to-break-it-xxx"
HOST = f"{'very-' * 10}long.{'sub.' * 20}example.invalid"

_REPORT = (
    Finding(Level.OK, "connection", "deploy@web1.example.com:22 answers; its host key is the pinned one."),
    Finding(Level.OK, "system", "Linux 6.1.0-18-amd64, with /proc."),
    Finding(Level.OK, "git", "git version 2.39.5"),
    Finding(Level.OK, "setsid", "setsid -f works."),
    Finding(Level.OK, "shell", "/bin/sh and the basic tools are there."),
    Finding(Level.OK, "disk", "12.4 GiB free at /home/deploy."),
    Finding(Level.OK, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    Finding(Level.OK, "durability", "A command goes on while the connection is cut."),
)
GOOD = Report(_REPORT)
BAD = Report(
    (
        *_REPORT[:2],
        Finding(Level.FAILURE, "git", "git is not installed.", "Install it there, as root: apt-get install git"),
        *_REPORT[3:5],
        Finding(Level.WARNING, "disk", "0.3 GiB free at /home/deploy.", "Make room: a full disk stops deployments."),
        Finding(Level.WARNING, "PATH", f"There is no /opt/{'x' * 80}.", "Correct the extra folders."),
        Finding(
            Level.FAILURE,
            "durability",
            "A command ends when the connection does: the login manager ends what a user leaves behind.",
            "Run there as root: loginctl enable-linger deploy (or set KillUserProcesses=no in logind.conf)",
        ),
    )
)


def _host_key() -> str:
    return " ".join(deploy_keys.generate("x")[1].split()[:2])


def make(operator: Operator, url: str) -> None:
    """``unseen``, ``compared``, ``good`` (with a project), ``bad``, ``changed``, and one with long names."""
    wanted: dict[str, tuple[bool, bool, Report | None]] = {
        # name: whether a key is trusted, whether one is offered, and what the last test found
        "unseen": (False, False, None),
        "compared": (False, True, None),
        "good": (True, False, GOOD),
        "bad": (True, False, BAD),
        "changed": (True, True, None),
        LONG: (True, True, BAD),
    }
    with operator.database.write_session() as session:
        for name, (is_trusted, is_offered, report) in wanted.items():
            host = HOST if name == LONG else f"{name}.example.invalid"
            given = ServerInput(name, host, 2222 if name == LONG else 22)
            server = servers.create(session, given, operator.installation.vault)
            server.host_key = _host_key() if is_trusted else None
            server.offered_host_key = _host_key() if is_offered else None
            if report:
                server.tested_at, server.test_report = clock.now(), report.as_json()
    operator.make_project(url, name="on-a-server", server="good", path="~/apps/on-a-server")


def remove(operator: Operator) -> None:
    with operator.database.write_session() as session:
        session.execute(sa.delete(Project).where(Project.server_id.is_not(None)))
        session.execute(sa.delete(Server))
