"""What Linux tells of processes in ``/proc`` (proc(5)): identity, session, and whose they are."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Stat:
    """``start_ticks``, since the boot, together with the pid and the boot id names a process for good."""

    pid: int
    state: str
    session: int
    start_ticks: int


@functools.cache
def boot_id() -> str:
    return read("/proc/sys/kernel/random/boot_id").decode().strip()


def read(path: str) -> bytes:
    """A small file's content; empty where it cannot be read. Called many times a second, so without ceremony."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, 1 << 20)
    except OSError:
        return b""  # a process that ended in between
    finally:
        os.close(fd)


def stat(pid: int) -> Stat | None:
    text = read(f"/proc/{pid}/stat")
    if not text:
        return None
    # The program's name stands in parentheses and may hold anything, parentheses too.
    parts = text.rpartition(b") ")[2].split()
    return Stat(pid=pid, state=parts[0].decode(), session=int(parts[3]), start_ticks=int(parts[19]))


def pids() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def in_session(session: int) -> list[int]:
    """Living processes of a session (zombies are not)."""
    found = (stat(pid) for pid in pids())
    return [one.pid for one in found if one and one.session == session and one.state not in "ZX"]


def with_variable(assignment: bytes) -> list[int]:
    """Living processes of this user that were started with ``NAME=value`` in their environment."""
    needle = b"\0" + assignment + b"\0"
    found = []
    for pid in pids():
        environment = read(f"/proc/{pid}/environ")
        if needle in b"\0" + environment + b"\0":
            one = stat(pid)
            if one and one.state not in "ZX":
                found.append(pid)
    return found


def command_line(pid: int) -> str:
    return read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode("utf-8", "replace").strip()
