"""Commands on a server: run directories in ``~/.deployer/spool`` there, followed over one SSH connection.

The connection is made when it is first needed, and again after it was lost. Every method raises ConnectionLost where
the server cannot be reached; what runs there goes on, and the method may simply be called again.
"""

from __future__ import annotations

import os
import shlex
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deployer.errors import ConnectionLost, ExecutorError, ServerRefused, ServerUnfit
from deployer.executors import launcher
from deployer.executors.base import SYSTEM_PATH, Answer, Look, Process, Run, RunState
from deployer.executors.ssh_connection import CALL_LIMIT_S, Address, Connection, Reply
from deployer.executors.ssh_functions import FUNCTIONS, LAUNCHER

FIRST_POLL_S = 0.002
LONGEST_POLL_S = 0.1
FIRST_LOOK_S = 0.004
"""Between looks at a command: short ones at first, growing while nothing happens; and from a launch to the first."""

AHEAD_BYTES = 256 * 1024
"""A look brings along so much of the output behind what was read last."""

_FILE_BYTES = 64 * 1024

_NOT_ASKED = {124: "it took too long", 126: "", 127: ""}
"""Exit codes of timeout(1) and env(1) where the program did not answer by itself; empty: their words say why."""


@dataclass(frozen=True)
class _Host:
    """What a server said of itself when the connection was made."""

    username: str
    uid: str
    home: str
    boot_id: str
    runtime_dir: str | None


class SshExecutor:
    """The executor of a server. See `base.Executor` for what each method promises."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.connections = 0
        """How many connections were made so far."""
        self._connection: Connection | None = None
        self._host: _Host | None = None
        self._woken = threading.Event()
        self._poll_s = FIRST_POLL_S
        self._just_launched = ""
        self._launched_at = 0.0
        self._seen: dict[str, Look] = {}
        # Of each run: from where output was read last, and what a look brought along from there.
        self._read_to: dict[str, int] = {}
        self._ahead: dict[str, bytes] = {}

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    def close(self) -> None:
        connection, self._connection = self._connection, None
        self._host = None
        if connection:
            connection.close()

    def launch(self, run: Run) -> None:
        place = f"{self._home()}/spool/{run.id}"
        environment = dict(run.environment)
        if run.files:
            environment = {name: value.replace("{run_dir}", place) for name, value in environment.items()}
        inputs = {
            **run.files,
            "env": launcher.env_file(environment, run.directory),
            "cmd": launcher.cmd_file(run.script),
        }
        reply = self._ask(_launch_script(run, inputs))
        self._poll_s = FIRST_POLL_S
        self._just_launched, self._launched_at = run.id, time.monotonic()
        if reply.code:
            hint = "Test the connection on the server's page; it says what is missing." if reply.code == 127 else ""
            raise ExecutorError(
                f"The command could not be started on {self.address.name}: {_said(reply)}.", hint=hint
            )

    def look(self, run_id: str) -> Look:
        if run_id == self._just_launched:
            # Even a command that does nothing takes this long: to ask before would only be asked again.
            time.sleep(max(0.0, self._launched_at + FIRST_LOOK_S - time.monotonic()))
            self._just_launched = ""
        offset = self._read_to.get(run_id, 0)
        head, ahead = self._look(run_id, offset, AHEAD_BYTES)
        state, code, is_earlier = head.split()
        size = offset + len(ahead)
        if len(ahead) == AHEAD_BYTES or (offset and not ahead):
            # There may be more than was brought along; or less than was thought.
            size = int(self._call(b"size_of %s" % run_id.encode()).output or 0)
        look = Look(RunState(state.decode()), size, None if code == b"-" else int(code), is_earlier == b"1")
        self._ahead[run_id] = ahead
        if look != self._seen.get(run_id):
            self._seen[run_id] = look
            self._poll_s = FIRST_POLL_S
        return look

    def age_s(self, run_id: str) -> float | None:
        ticks, _, ticks_per_s = self._call(f"age {_words(run_id)}".encode()).text.strip().partition(" ")
        return max(0.0, int(ticks) / int(ticks_per_s)) if ticks_per_s else None

    def read(self, run_id: str, offset: int, limit: int) -> bytes:
        ahead = self._ahead.pop(run_id, b"")
        if offset != self._read_to.get(run_id, 0) or not ahead:
            ahead = self._look(run_id, offset, min(limit, AHEAD_BYTES))[1]
        data = ahead[:limit]
        while 0 < len(data) < limit and len(data) % AHEAD_BYTES == 0:
            # More than one answer holds.
            more = self._look(run_id, offset + len(data), min(limit - len(data), AHEAD_BYTES))[1]
            if not more:
                break
            data += more
        self._read_to[run_id] = offset + len(data)
        return data

    def _look(self, run_id: str, offset: int, limit: int) -> tuple[bytes, bytes]:
        """What can be seen of a run in a line, and a piece of its output."""
        head, _, output = self._call(b"look %s %d %d" % (run_id.encode(), offset, limit)).output.partition(b"\n")
        return head, output

    def wait(self, run_id: str, timeout_s: float) -> None:
        # Without a connection nothing can be seen, so there is only the time to wait for.
        poll_s = self._poll_s if self.is_connected and run_id else timeout_s
        self._woken.wait(max(0.0, min(timeout_s, poll_s)))
        self._woken.clear()
        self._poll_s = min(self._poll_s * 1.5, LONGEST_POLL_S)

    def wake(self) -> None:
        self._woken.set()

    def stop(self, run_id: str, deploy_id: str, *, force: bool) -> bool:
        signal = "KILL" if force else "TERM"
        return self._call(f"stop {_words(run_id, deploy_id)} {signal}".encode()).code == 0

    def survivors(self, run_id: str, deploy_id: str) -> Sequence[Process]:
        reply = self._call(f"survivors {_words(run_id, deploy_id)}".encode())
        rows = (line.partition(" ") for line in reply.text.splitlines())
        return [Process(int(pid), command.strip()) for pid, _, command in rows]

    def collect(self, run_id: str) -> None:
        for known in (self._read_to, self._ahead, self._seen):
            known.pop(run_id, None)
        # Nobody waits for it: the control shell does it before it answers the next question.
        try:
            self._connected().tell(f"collect {_words(run_id)}".encode())
        except ConnectionLost:
            self.close()
            raise

    def remove(self, run_id: str) -> None:
        """Forget a run wholly, without a tombstone. Only for what will never be launched again."""
        self._ask(f'rm -rf "$spool"/{_words(run_id)}'.encode())

    def sweep(self) -> None:
        self._call(b"sweep")

    def uncollected(self) -> Sequence[str]:
        """The ids of the runs that have a directory there and were not collected yet."""
        return self._call(b"uncollected").text.split()

    def base_environment(self) -> dict[str, str]:
        host = self._known_host()
        environment = {
            "PATH": SYSTEM_PATH,
            "HOME": host.home,
            "USER": host.username,
            "LOGNAME": host.username,
            "LANG": "C.UTF-8",
        }
        if host.runtime_dir:
            environment["XDG_RUNTIME_DIR"] = host.runtime_dir
        return environment

    def boot_id(self) -> str:
        return self._known_host().boot_id

    def read_file(self, path: str) -> bytes | None:
        reply = self._ask(b"[ -f %s ] && head -c %d < %s" % (launcher.quote(path), _FILE_BYTES, launcher.quote(path)))
        return reply.output if reply.code == 0 else None

    def probe(self, argv: Sequence[str], *, environment: Mapping[str, str], timeout_s: float) -> Answer:
        given = {**self.base_environment(), **environment}
        exports = b" ".join(b"%s=%s" % (name.encode(), launcher.quote(value)) for name, value in given.items())
        command = b" ".join(launcher.quote(word) for word in argv)
        mark = os.urandom(16).hex().encode()
        script = (
            b'errors=$(mktemp) || { printf %s; echo "mktemp is missing, or /tmp cannot be written"; exit 127; }; '
            b'env -i %s timeout %s %s 2>"$errors"; code=$?; printf %s; cat "$errors"; rm -f "$errors"; exit $code'
        )
        filled = (mark, exports, f"{timeout_s:g}".encode(), command, mark)
        reply = self._ask(script % filled, silence_s=timeout_s + CALL_LIMIT_S)
        output, _, errors = reply.output.partition(mark)
        words = errors.decode(errors="replace")
        if reply.code in _NOT_ASKED:
            why = _NOT_ASKED[reply.code] or words.strip()
            raise ExecutorError(f"{argv[0]} could not be asked on {self.address.name}: {why}.")
        return Answer(reply.code, output.decode(errors="replace"), words)

    # The connection ---------------------------------------------------------------------------------------------

    def _ask(self, script: bytes, **limits: float) -> Reply:
        try:
            return self._connected().ask(script, **limits)
        except ConnectionLost:
            self.close()
            raise

    def _call(self, functions: bytes) -> Reply:
        try:
            return self._connected().call(functions)
        except ConnectionLost:
            self.close()
            raise

    def _connected(self) -> Connection:
        if self._connection is None:
            connection = Connection(self.address)
            try:
                connection.define(FUNCTIONS)
                self._host = _greet(connection, self.address.name)
            except ConnectionLost as error:
                connection.close()
                if (code := connection.ended_with) is None:
                    raise
                raise _without_shell(self.address, code) from error
            except BaseException:
                connection.close()
                raise
            self._connection = connection
            self.connections += 1
        return self._connection

    def _known_host(self) -> _Host:
        self._connected()
        assert self._host is not None
        return self._host

    def _home(self) -> str:
        return f"{self._known_host().home}/.deployer"


def _without_shell(address: Address, code: int) -> ServerRefused:
    """A shell that ends before it said anything is none: nologin, false, or a command that sshd forces."""
    return ServerRefused(
        f"{address.name} lets {address.username} in, but runs no commands: its shell ended at once, with {code}.",
        hint=f"Give the user a shell there, as root: usermod --shell /bin/bash {address.username}",
    )


def _greet(connection: Connection, name: str) -> _Host:
    """Learn who and where we are there, and leave the launcher there."""
    place = f'"$home/{LAUNCHER}"'
    temporary = f'"$home/{LAUNCHER}.{os.urandom(8).hex()}"'
    script = b"greet && { [ -e %s ] || { printf %%s %s > %s && mv %s %s; }; }" % (
        place.encode(),
        launcher.quote_bytes(launcher.SCRIPT.encode()),
        temporary.encode(),
        temporary.encode(),
        place.encode(),
    )
    reply = connection.ask(script)
    lines = reply.text.splitlines()
    if len(lines) < 4 or len(lines[3]) != 36:
        raise ServerUnfit(
            f"{name} cannot run commands: /proc shows no boot id.",
            hint="Deployer needs a Linux there, with /proc mounted.",
        )
    username, uid, home, boot_id = lines[:4]
    if reply.code:
        raise ServerUnfit(
            f"{name} cannot run commands: {home}/.deployer cannot be written.",
            hint=f"Make {home} writable for {username}, and see that its disk is not full.",
        )
    return _Host(username, uid, home, boot_id, lines[4] if len(lines) > 4 else None)


def _launch_script(run: Run, inputs: Mapping[str, bytes]) -> bytes:
    """Whoever makes the run directory writes its inputs there; whoever finds one that never started writes them under
    temporary names and renames them. So two connections that race, a slow one and its replacement, both find complete
    input: the first never writes over a file that is there."""
    mark = os.urandom(16).hex().encode()
    texts, writes, exchanges = [], [], []
    for number, (name, content) in enumerate(inputs.items()):
        if b"\0" in content:
            raise ExecutorError(f"The input {name} of a command cannot hold a NUL.")
        place = b'"$d/"' + launcher.quote(name)
        # Variables and the shell's own printf: no program is started for them, and no argument list bounds them.
        texts.append(b"text%d=%s\n" % (number, launcher.quote_bytes(content)))
        writes.append(b'printf %%s "$text%d" > %s' % (number, place))
        exchanges.append(b'printf %%s "$text%d" > %s.%s && mv %s.%s %s' % (number, place, mark, place, mark, place))
    return b"""exec 2>&1
d=$spool/%s
%sif mkdir "$d" 2>/dev/null && { set -C; %s; } 2>/dev/null; then :; else
set +C; mkdir -p "$d" && { [ -e "$d/pid" ] || { %s; }; }
fi && unset HOME LANG PWD OLDPWD SHLVL _ && exec setsid -f /bin/sh "$home/%s" "$d" %d %s %s >/dev/null 2>&1""" % (
        run.id.encode(),
        b"".join(texts),
        b" && ".join(writes),
        b" && ".join(exchanges),
        LAUNCHER.encode(),
        launcher.blocks(run.max_output_bytes),
        run.nonce.encode(),
        run.shell.encode(),
    )


def _words(*words: str) -> str:
    return " ".join(shlex.quote(word) for word in words)


def _said(reply: Reply) -> str:
    words = reply.text.strip().splitlines()
    return words[-1].rstrip(".") if words else f"the shell there exited with {reply.code}"
