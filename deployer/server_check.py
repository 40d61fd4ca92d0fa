"""Whether a server can run projects: a short question that a person waits for, at most `patience.LIMIT_S`.

It looks at what commands need there, and starts a durable command, cuts the connection, and sees whether the command
went on: some login managers end what a user leaves behind.
"""

from __future__ import annotations

import json
import shlex
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum

from sqlalchemy.orm import Session

from deployer import audit, clock, servers
from deployer.audit import Actor
from deployer.errors import (
    ConnectionLost,
    ExecutorError,
    HostKeyChanged,
    SecretUnreadable,
    ServerRefused,
    ServerUnfit,
)
from deployer.executors.base import Answer, Run, RunState
from deployer.executors.ssh import SshExecutor
from deployer.executors.ssh_connection import Address
from deployer.installation import Installation
from deployer.patience import LIMIT_S, within

PROBE_TIMEOUT_S = 5.0
CUT_FOR_S = 1.0
SURVIVAL_PATIENCE_S = 4.0
LOW_DISK_KIB = 1024 * 1024

_TOOLS = (
    "cat",
    "date",
    "env",
    "find",
    "grep",
    "head",
    "ls",
    "mktemp",
    "mv",
    "rm",
    "sort",
    "stat",
    "tail",
    "timeout",
    "wc",
)


_GIT_HEEDS = (
    "GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=deployer.test GIT_CONFIG_VALUE_0=heeds git config --get deployer.test"
)
_DD_SKIPS = "f=$(mktemp) && printf abc > $f && dd if=$f bs=1 count=1 iflag=skip_bytes skip=1; rm -f $f"


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``mend`` says what to do, where something is to be done."""

    level: Level
    about: str
    text: str
    mend: str = ""


@dataclass(frozen=True)
class Report:
    """What was found. ``offered_host_key`` is the key that was refused because another one is pinned."""

    findings: tuple[Finding, ...]
    offered_host_key: str | None = None

    @property
    def is_of_pinned_key(self) -> bool:
        """Whether the server showed the pinned host key; the other findings are of that server then."""
        return any(one.about == "connection" and one.level is Level.OK for one in self.findings)

    @property
    def is_good(self) -> bool:
        return all(one.level is not Level.FAILURE for one in self.findings)

    def as_json(self) -> str:
        return json.dumps([asdict(one) for one in self.findings])

    @classmethod
    def from_json(cls, text: str) -> Report:
        return cls(tuple(Finding(**{**one, "level": Level(one["level"])}) for one in json.loads(text)))


def test(installation: Installation, name_or_id: str, actor: Actor) -> Report:
    """Test a server and remember what was found. No transaction is open while the server is asked.

    Raises NotFound.
    """
    with Session(installation.database.engine) as session:
        server = servers.find(session, name_or_id)
        session.expunge(server)
    try:
        address = servers.address_of(server, installation.vault)
    except ServerRefused as error:
        report = Report((Finding(Level.FAILURE, "host key", str(error.args[0]), error.hint),))
    except SecretUnreadable as error:
        mend = f"{error.hint} Or make a new key on the server's page.".strip()
        report = Report((Finding(Level.FAILURE, "key", str(error.args[0]), mend),))
    else:
        report = check(address, (server.extra_path or "").splitlines())
    with audit.changing(installation.database, actor, "server.tested", server.name) as session:
        present = servers.find(session, server.id)
        present.tested_at = clock.now()
        present.test_report = report.as_json()
        if report.offered_host_key or report.is_of_pinned_key:
            # Where the pinned key was seen again, another one that was seen before waits for nobody any more.
            servers.offer(present, report.offered_host_key)
    return report


def check(address: Address, extra_path: list[str]) -> Report:
    """Look at a server. What keeps it from being looked at (unreachable, key refused, host key changed) is a finding
    too, and the last one then."""
    executor = SshExecutor(address)
    findings: list[Finding] = []
    offered = None

    def look() -> None:
        # One by one, so that what was found is there when patience ends.
        for one in _look(executor, extra_path):
            findings.append(one)

    try:
        within(LIMIT_S, look)
    except TimeoutError:
        mend = "See whether the server is overloaded, and whether its name is resolved quickly."
        text = f"{address.name} took longer than {LIMIT_S:.0f} s. The test was given up."
        findings = [*findings, Finding(Level.FAILURE, "connection", text, mend)]
    except HostKeyChanged as error:
        offered = error.offered
        findings.append(Finding(Level.FAILURE, "host key", str(error.args[0]), error.hint))
    except ConnectionLost as error:
        mend = "Check host, port and firewall, and that sshd runs there."
        findings.append(Finding(Level.FAILURE, "connection", str(error), mend))
    except ServerUnfit as error:
        findings.append(Finding(Level.FAILURE, "commands", str(error.args[0]), error.hint))
    except ServerRefused as error:
        findings.append(Finding(Level.FAILURE, "login", str(error.args[0]), error.hint))
    except ExecutorError as error:
        findings.append(Finding(Level.FAILURE, "commands", str(error.args[0]), error.hint))
    finally:
        executor.close()
    return Report(tuple(findings), offered)


def _look(executor: SshExecutor, extra_path: list[str]) -> Iterator[Finding]:
    environment = executor.base_environment()
    address = executor.address
    yield Finding(
        Level.OK,
        "connection",
        f"{address.username}@{address.host}:{address.port} answers; its host key is the pinned one.",
    )
    yield from _system(executor)
    can_start = True
    for one in _programs(executor):
        can_start = can_start and not (one.about == "setsid" and one.level is Level.FAILURE)
        yield one
    yield _disk(executor, environment["HOME"])
    yield from _path(executor, extra_path)
    # Without setsid no command can be started, and that is said already.
    if can_start:
        yield _durability(executor)


def _ask(executor: SshExecutor, script: str) -> Answer:
    # A program that is not there is an answer, and not a question that could not be asked (126 and 127 say that).
    argv = ["/bin/sh", "-c", f"{{ {script}\n}} || exit 1"]
    return executor.probe(argv, environment={}, timeout_s=PROBE_TIMEOUT_S)


def _system(executor: SshExecutor) -> Iterator[Finding]:
    name = _ask(executor, "uname -sr").output.strip()
    if not name.startswith("Linux"):
        yield Finding(
            Level.FAILURE, "system", f"This is {name or 'an unknown system'}.", "Deployer needs Linux there."
        )
    elif _ask(executor, "read -r line < /proc/$$/stat").code:
        yield Finding(Level.FAILURE, "system", "/proc shows no processes.", "Mount /proc there.")
    else:
        yield Finding(Level.OK, "system", f"{name}, with /proc.")


def _programs(executor: SshExecutor) -> Iterator[Finding]:
    git = _ask(executor, "git --version")
    if git.code:
        yield Finding(Level.FAILURE, "git", "git is not installed.", "Install it there, as root: apt-get install git")
    elif _ask(executor, _GIT_HEEDS).output.strip() != "heeds":
        text = f"{git.output.strip()} is too old: it does not heed what Deployer tells it in its environment."
        yield Finding(Level.FAILURE, "git", text, "Install git 2.31 or newer there.")
    else:
        yield Finding(Level.OK, "git", git.output.strip())
    if _ask(executor, "setsid -f true").code:
        yield Finding(
            Level.FAILURE,
            "setsid",
            "setsid -f does not work.",
            "Install it there, as root: apt-get install util-linux",
        )
    else:
        yield Finding(Level.OK, "setsid", "setsid -f works.")
    script = f"for tool in {shlex.join(_TOOLS)}; do command -v $tool >/dev/null || echo $tool; done"
    missing = _ask(executor, script).output.split()
    if missing:
        text = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing."
        mend = "Install what holds them there, as root: apt-get install coreutils findutils grep"
        yield Finding(Level.FAILURE, "shell", text, mend)
    elif _ask(executor, _DD_SKIPS).output != "b":
        text = "dd cannot begin at a byte (iflag=skip_bytes), so that no output could be read."
        yield Finding(Level.FAILURE, "shell", text, "Install it there, as root: apt-get install coreutils")
    else:
        yield Finding(Level.OK, "shell", "/bin/sh and the basic tools are there.")


def _disk(executor: SshExecutor, home: str) -> Finding:
    script = (
        f"cd {shlex.quote(home)} && df -Pk . | {{ read -r head; read -r name size used free rest; echo $free; }}; "
        "mkdir -p .deployer && touch .deployer/probe && rm .deployer/probe"
    )
    answer = _ask(executor, script)
    if answer.code:
        return Finding(Level.FAILURE, "disk", f"{home} cannot be written.", f"Make {home} writable for this user.")
    free_kib = int(answer.output.strip() or 0)
    text = f"{free_kib / 1024 / 1024:.1f} GiB free at {home}."
    if free_kib < LOW_DISK_KIB:
        return Finding(Level.WARNING, "disk", text, "Make room: a full disk stops deployments.")
    return Finding(Level.OK, "disk", text)


def _path(executor: SshExecutor, extra_path: list[str]) -> Iterator[Finding]:
    missing = [one for one in extra_path if _ask(executor, f"test -d {shlex.quote(one)}").code]
    if missing:
        text = f"There is no {', no '.join(missing)}."
        yield Finding(Level.WARNING, "PATH", text, "Correct the extra folders in the server's form.")
    else:
        yield Finding(Level.OK, "PATH", ":".join([*extra_path, executor.base_environment()["PATH"]]))


def _durability(executor: SshExecutor) -> Finding:
    """Start a command, cut the connection, and look for it over a new one."""
    run = Run(
        id=f"probe-{uuid.uuid4()}",
        script=f"sleep {CUT_FOR_S + 0.5:g}; echo survived",
        environment=executor.base_environment(),
        directory="/",
        nonce=uuid.uuid4().hex,
    )
    try:
        executor.launch(run)
        executor.close()
        time.sleep(CUT_FOR_S)
        deadline = time.monotonic() + SURVIVAL_PATIENCE_S
        while (look := executor.look(run.id)).state in (RunState.ALIVE, RunState.ABSENT):
            if time.monotonic() > deadline:
                break
            executor.wait(run.id, 0.2)
        has_survived = look.state is RunState.EXITED and look.exit_code == 0
        executor.remove(run.id)
    except ConnectionLost:
        raise
    except ExecutorError as error:
        return Finding(Level.FAILURE, "durability", str(error.args[0]), error.hint)
    if has_survived:
        return Finding(Level.OK, "durability", "A command goes on while the connection is cut.")
    username = executor.address.username
    return Finding(
        Level.FAILURE,
        "durability",
        "A command ends when the connection does: the login manager ends what a user leaves behind.",
        f"Run there as root: loginctl enable-linger {username} (or set KillUserProcesses=no in logind.conf)",
    )
