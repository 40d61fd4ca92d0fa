"""The contract of an executor: start a durable command once, follow it, stop it, clean up after it.

A *run* is one execution of one command. Its directory is named by the command's id, so that a restarted runner finds
it. Every method is idempotent and may be called again after a crash at any point. The order of a run's life::

    launch → (look / read / wait)* → [stop]* → collect → … 24 h … → sweep

Drivers know nothing of tables, web or projects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from deployer.errors import ExecutorError

MAX_VALUE_BYTES = 128 * 1024
"""The longest ``NAME=value`` that Linux hands to a program (MAX_ARG_STRLEN, 32 pages)."""

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

FENCE_PATIENCE_S = 10.0
"""How long a launcher may take from making the fence to writing it."""

TOMBSTONE_S = 24 * 3600
"""How long a collected run directory keeps saying "this ran"."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# fmt: off
_OWNED_BY_SHELL = frozenset((
    "PPID", "UID", "EUID", "SHELLOPTS", "PWD", "OLDPWD", "IFS", "OPTIND", "OPTARG", "LINENO", "_",
    # bash does not hand on what these are set to, or ends when they are set.
    "SHLVL", "GROUPS", "FUNCNAME", "DIRSTACK", "RANDOM", "SRANDOM", "SECONDS", "EPOCHSECONDS", "EPOCHREALTIME",
    "HISTCMD", "PIPESTATUS",
))
# fmt: on


def variable_problem(name: str, value: str) -> str | None:
    """Why ``name=value`` cannot be given to a command, in words; None if it can."""
    if not _NAME.match(name):
        return "a name consists of letters, digits and underscores, and does not begin with a digit"
    if name in _OWNED_BY_SHELL or name.startswith("BASH"):
        return f"{name} belongs to the shell and cannot be set"
    if "\0" in value:
        return "a value cannot hold a NUL"
    try:
        size = len(encode(value))
    except UnicodeEncodeError:
        return "a value cannot hold half a character (a lone surrogate)"
    if len(name) + size + 2 > MAX_VALUE_BYTES:
        return f"a value is at most {MAX_VALUE_BYTES // 1024} KiB long"
    return None


def encode(value: str) -> bytes:
    """The bytes of a value. What was not UTF-8 when it came in goes out as it was."""
    return value.encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Run:
    """All that is needed to start a command.

    ``script`` is shell text; ``directory`` is absolute. ``files`` are further inputs, written 0600 into the run
    directory before the start and removed at collection. With them, a value in ``environment`` may name the directory
    by ``{run_dir}``; without them values are taken as they are.
    """

    id: str
    script: str
    environment: Mapping[str, str]
    directory: str
    nonce: str
    shell: str = "sh"
    max_output_bytes: int = 1 << 30
    files: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in self.environment.items():
            problem = variable_problem(name, value)
            if problem:
                raise ExecutorError(f"The variable {name} cannot be given to a command: {problem}.")
        if "\0" in self.script:
            raise ExecutorError("A command cannot hold a NUL.")


class RunState(Enum):
    """What can be seen of a run."""

    ABSENT = "absent"  # never started: may be launched
    ALIVE = "alive"  # started, and something of it still runs
    EXITED = "exited"  # its exit code is recorded
    LOST = "lost"  # started, not running, and no exit code: it was killed together with its launcher


@dataclass(frozen=True)
class Look:
    """A look at a run. ``size`` is the number of bytes of output so far."""

    state: RunState
    size: int = 0
    exit_code: int | None = None
    is_from_earlier_boot: bool = False


@dataclass(frozen=True)
class Process:
    pid: int
    command: str


@dataclass(frozen=True)
class Answer:
    """What a short probe said: its exit code, and both its outputs as text."""

    code: int
    output: str
    errors: str


class Executor(Protocol):
    """A place where commands run. One thread uses an executor; ``wake`` may come from any."""

    def close(self) -> None:
        """Give up what following needs. What was launched goes on, and another executor can follow it."""

    def launch(self, run: Run) -> None:
        """Start the run, unless it was started before.

        Raises ExecutorError if it cannot be started; it may be tried again then.
        """

    def look(self, run_id: str) -> Look: ...

    def age_s(self, run_id: str) -> float | None:
        """For how many seconds a run has been under way, by what the place's kernel counts: no clock that is set
        changes it. None where that cannot be told: it has not begun, or began in an earlier boot."""

    def read(self, run_id: str, offset: int, limit: int) -> bytes:
        """At most ``limit`` bytes of output from ``offset``; fewer at its end, as the last look saw it or later."""

    def wait(self, run_id: str, timeout_s: float) -> None:
        """Block until there may be something new, ``wake`` was called, or the time is over."""

    def wake(self) -> None: ...

    def stop(self, run_id: str, deploy_id: str, *, force: bool) -> bool:
        """Ask everything that the deployment started to end (TERM), or end it (``force``: KILL).

        False if nothing was there to be told: a launcher that has only just begun has not started its command yet.
        """

    def survivors(self, run_id: str, deploy_id: str) -> Sequence[Process]:
        """What still runs of a deployment: processes that carry its ``DEPLOY_ID``, and those of the run's session."""

    def collect(self, run_id: str) -> None:
        """Remove a finished run's output and inputs, at the latest before the next question is answered. What proves
        that it ran stays for ``TOMBSTONE_S``."""

    def sweep(self) -> None:
        """Remove what collected runs left, once it is old."""

    def base_environment(self) -> dict[str, str]:
        """PATH, HOME, USER, LOGNAME, LANG and, where it exists, XDG_RUNTIME_DIR of the place."""

    def boot_id(self) -> str:
        """A UUID that differs after each start of the place."""

    def read_file(self, path: str) -> bytes | None:
        """A small file of the place (at most 64 KiB of it); None where it cannot be read."""

    def probe(self, argv: Sequence[str], *, environment: Mapping[str, str], timeout_s: float) -> Answer:
        """Run a short read-only program and wait for it."""
