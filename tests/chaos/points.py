"""The points of a runner's work at which it is killed, by the names of the product's own functions.

Nothing in the product knows of this: a process that is to die at a point wraps the named function before its work
begins (`arm`), and kills itself there. A name that no longer exists is an error, and so is a point that is never
reached; both mean that this list has to follow the product.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from tests.support.database import ON_POSTGRESQL

Counts = Callable[[tuple[Any, ...], Any], bool]


@dataclass(frozen=True)
class Point:
    """Die ``before`` or ``after`` the ``nth`` call of ``target`` (``module:Class.function``).

    Of `Database.write`, a context manager, ``uncommitted`` is right before its COMMIT, ``committed`` right after it.
    ``halfway`` of a function that sends bytes: half of them are sent. ``slowly`` of one that starts a launcher: it
    does, but that launcher waits for another one, of the next runner. ``means`` says what is done and what is not.
    ``scene`` is what the deployment does: it is run (``deploy``), cancelled while it runs (``cancel``), or met by a
    new runner while it runs (``resume``). With ``of_step`` only calls count that are about a step of the project,
    which writes down what it does; Deployer's own commands do not.
    """

    target: str
    when: str
    means: str
    nth: int = 1
    scene: str = "deploy"
    of_step: bool = False

    def __str__(self) -> str:
        return f"{self.when} {self.target}#{self.nth} ({self.means})"

    def again(self, nth: int) -> Point:
        return replace(self, nth=nth)


def _of_step(target: str, when: str, means: str, nth: int = 1) -> Point:
    return Point(target, when, means, nth, of_step=True)


_RECORD = "deployer.runner.record:Record"
_D, _F, _S = "deployer.runner.deploy:Deploy", "deployer.runner.follow:Follower", "deployer.runner.log_sink:LogSink"
_L, _C = "deployer.deployments.lifecycle", "deployer.deployments.command_lifecycle"
_CLAIMS = "deployer.deployments.claims"
_LANE, _DB = "deployer.runner.lane:Lane", "deployer.db:Database"
_REVISION = "deployer.runner.revision:Revision"
_BELL = "deployer.postgresql:NotifyBell.ring" if ON_POSTGRESQL else "deployer.sqlite:Bell.ring"
_CONNECTION = "deployer.executors.ssh_connection:Connection"
_LOCAL, _SSH = "deployer.executors.local", "deployer.executors.ssh"


def _following(executor: str) -> list[Point]:
    """From the launch to the collection, which each executor does in its own way."""
    return [
        _of_step(f"{executor}.launch", "before", "the command's row is written, its launcher is not started"),
        _of_step(f"{executor}.launch", "after", "the launcher is started, and nobody has looked yet"),
        _of_step(f"{executor}.look", "after", "there was one look"),
        _of_step(f"{executor}.read", "after", "output is read, and not taken"),
        _of_step(f"{executor}.collect", "before", "the end is committed, the run is not collected"),
        _of_step(f"{executor}.collect", "after", "the run is collected"),
        Point(f"{executor}.stop", "before", "the cancel is noted, and nothing is told", scene="cancel"),
        Point(f"{executor}.stop", "after", "what runs is told to end", scene="cancel"),
    ]


EVERYWHERE = [
    # From the queue to the first command.
    Point(f"{_CLAIMS}:claim", "after", "the claim is written, not committed"),
    Point(f"{_LANE}._claim", "after", "the claim is committed, nothing is planned"),
    Point(f"{_C}:plan", "after", "the plan is written, not committed"),
    Point(f"{_D}._plan", "after", "the plan and the first command's row are committed, nothing is launched"),
    # From a command's row to its launcher.
    Point(f"{_C}:start_command", "after", "the command's row is written, not committed"),
    Point(f"{_RECORD}.begin", "before", "the commit is settled, the next command's row is not written"),
    Point(f"{_RECORD}.begin", "after", "the next command's row is committed, its launcher is not started"),
    _of_step("deployer.runner.inputs:Inputs.run_of", "after", "the command's input is made, and not laid down"),
    # From the output to its chunk.
    _of_step(f"{_S}.feed", "after", "output is taken, not committed"),
    _of_step(f"{_S}.store", "after", "the chunk is written, how far that is not"),
    _of_step(f"{_C}:record_output", "after", "the chunk and how far it is are written, not committed"),
    _of_step(f"{_RECORD}.save", "after", "the chunk is committed"),
    _of_step(f"{_S}.settle", "before", "the chunk is committed, and the sink does not know"),
    # From the exit to the end.
    _of_step(f"{_F}._exited", "before", "the exit is seen, nothing is written"),
    _of_step(f"{_F}.follow", "after", "it is known how the command ended, nothing is written"),
    _of_step(f"{_RECORD}.end_command", "before", "nothing of the end is written"),
    _of_step(f"{_C}:finish_command", "after", "the command's end is written, not committed"),
    _of_step(f"{_RECORD}.end_command", "after", "the command's end is committed, the run is not collected"),
    Point(f"{_D}._name_survivors", "after", "what still runs is named, the end is not written"),
    Point(f"{_L}:end", "after", "the deployment's end is written, not committed"),
    Point(f"{_D}.run", "after", "the deployment's end is committed"),
    # The fetch, whose end leaves a question to be settled.
    Point(f"{_REVISION}.settle", "before", "the fetch has ended, the commit is not settled"),
    Point(f"{_L}:record_commit", "after", "the commit is written, not committed"),
    Point(f"{_REVISION}.settle", "after", "the commit is settled, the next command is not begun"),
    # A new runner, that meets what the former one left.
    Point(f"{_CLAIMS}:adopt", "after", "what runs is taken over, not committed", scene="resume"),
    Point("deployer.runner.loop:Runner._begin", "after", "what runs is taken over, nobody goes on", scene="resume"),
    Point("deployer.runner.job:load", "after", "the deployment is read, nothing is done", scene="resume"),
    Point(f"{_S}.resume", "after", "it is known what is stored, nothing more is read", scene="resume"),
    Point("deployer.runner.housekeeping:collect_finished", "after", "what had ended is collected", scene="resume"),
    # A cancel.
    Point(f"{_F}._begin_stop", "before", "the cancel is seen, nothing is noted", scene="cancel"),
    Point(f"{_C}:record_stop", "after", "why it is ended is written, not committed", scene="cancel"),
    Point(f"{_F}._begin_stop", "after", "what runs is told to end, and has not ended", scene="cancel"),
    Point(f"{_F}._everything_ended", "before", "the step has ended, what it left may run", scene="cancel"),
    # Any transaction, and what comes right behind it.
    Point(f"{_DB}.write", "uncommitted", "everything is written, nothing is committed"),
    Point(f"{_DB}.write", "committed", "everything is committed, nobody has gone on"),
    Point(_BELL, "before", "everything is committed, nobody is told"),
]

HERE = [
    *_following(f"{_LOCAL}:LocalExecutor"),
    _of_step(f"{_LOCAL}:_write_private", "before", "the run directory is made, and empty"),
    _of_step(f"{_LOCAL}:_write_private", "after", "one of the command's inputs is laid down"),
    _of_step(f"{_LOCAL}:_write_private", "after", "all of the command's inputs are laid down", nth=2),
    _of_step(f"{_LOCAL}:subprocess.Popen", "before", "everything is laid down, the launcher is not started"),
    _of_step(f"{_LOCAL}:subprocess.Popen", "after", "the launcher has only just begun"),
    _of_step(f"{_LOCAL}:subprocess.Popen", "slowly", "the launcher is so slow that another one races it"),
    _of_step(f"{_LOCAL}:os.unlink", "after", "the run is collected by half", nth=2),
]

THERE = [
    *_following(f"{_SSH}:SshExecutor"),
    Point(f"{_SSH}:SshExecutor._connected", "after", "the server is reached, and not asked for anything"),
    _of_step(f"{_SSH}:_launch_script", "after", "the launch is ready to be sent"),
    _of_step(f"{_CONNECTION}._send", "halfway", "half of the launch is sent"),
    _of_step(f"{_CONNECTION}._send", "after", "the launch is sent, not answered"),
    _of_step(f"{_CONNECTION}._send", "slowly", "the launcher is so slow that another one races it"),
    Point("deployer.runner.housekeeping:tidy_server", "before", "the server is reached, what was left lies there"),
    Point("deployer.runner.housekeeping:tidy_server", "after", "what was left there is collected"),
]

WEB = [
    Point("deployer.deployments.deliveries:record", "after", "a push is written, not committed"),
    Point("deployer.delivery_writer:DeliveryWriter._record", "after", "a push is committed, not answered"),
    Point("deployer.hooks:Receiver.receive", "after", "the answer is ready, not sent"),
]

_SETSID = b"exec setsid -f /bin/sh "

_ONLY: dict[str, Counts] = {
    f"{_CLAIMS}:claim": lambda _, result: result is not None,
    f"{_LANE}._claim": lambda _, result: result is not None,
    f"{_SSH}:SshExecutor.read": lambda _, result: bool(result),
    f"{_LOCAL}:LocalExecutor.read": lambda _, result: bool(result),
    f"{_LOCAL}:_write_private": lambda args, _: args[0].name in ("env", "cmd"),
    f"{_LOCAL}:subprocess.Popen": lambda args, _: args[0][0] == "/bin/sh",
    f"{_LOCAL}:os.unlink": lambda args, _: os.path.basename(args[0]) in ("output", "cmd", "env", "group"),
    f"{_CONNECTION}._send": lambda args, _: _SETSID in args[1],
    f"{_DB}.write": lambda *_: _is_of_a_lane(),
    _BELL: lambda *_: _is_of_a_lane(),
}
"""Which calls count, where not all of them do: of a call that is to die before, the result is None."""


def arm(point: Point) -> None:
    """Have this process die at the point. Raises AttributeError where the product has no such name any more."""
    module, _, path = point.target.partition(":")
    *way, name = path.split(".")
    owner = functools.reduce(getattr, way, importlib.import_module(module))
    original = getattr(owner, name)
    counts = _ONLY.get(point.target, lambda *_: True)
    numbers = itertools.count(1)

    is_at_step = _watch_commands() if point.of_step else lambda: True

    def is_it(args: tuple[Any, ...], result: Any = None) -> bool:
        return is_at_step() and counts(args, result) and next(numbers) == point.nth

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if point.when == "before" and is_it(args):
            _die()
        if point.when in ("halfway", "slowly") and is_it(args):
            original(*(_half(args) if point.when == "halfway" else _slow(args)), **kwargs)
            _die()
        result = original(*args, **kwargs)
        if point.when == "after" and is_it(args, result):
            _die()
        return result

    @contextlib.contextmanager
    def transaction(*args: Any, **kwargs: Any) -> Iterator[Any]:
        counted = is_it(args)
        with original(*args, **kwargs) as connection:
            yield connection
            if counted and point.when == "uncommitted":
                _die()
        if counted:
            _die()

    setattr(owner, name, transaction if point.when in ("uncommitted", "committed") else wrapped)


def _watch_commands() -> Callable[[], bool]:
    """Whether the lane of the asking thread is at a step of the project."""
    from deployer.models.deployment import Command, CommandKind
    from deployer.runner.deploy import Deploy

    present = threading.local()
    original = Deploy._run_command

    def run_command(self: Deploy, command: Command, *rest: Any) -> Any:
        present.kind = command.kind
        return original(self, command, *rest)

    Deploy._run_command = run_command  # type: ignore[method-assign]
    return lambda: getattr(present, "kind", None) is CommandKind.STEP


def _half(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Of a connection and what is sent over it."""
    return (args[0], args[1][: len(args[1]) // 2])


_RACE = 'n=0; until [ -e "$3/pid" ] || [ $n -gt 5000000 ]; do n=$((n+1)); done; exec "$@"'
"""Waits for the fence of another launcher, and arrives as that one goes on. ``$3`` is the run directory."""


def _slow(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Of a launcher's argv, or of a connection and the launch that is sent over it."""
    if isinstance(args[0], list):
        return (["/bin/sh", "-c", _RACE, "sh", *args[0]],)
    return (args[0], args[1].replace(_SETSID, _SETSID + b"-c '" + _RACE.encode() + b"' sh /bin/sh "))


def _is_of_a_lane() -> bool:
    """Not the housekeeping, which comes at its own times."""
    return threading.current_thread().name.startswith("lane-")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()  # a signal to oneself may take a moment; not one more instruction is to be done
