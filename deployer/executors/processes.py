"""What Linux tells of processes in ``/proc`` (proc(5)): identity, session, and whose they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Stat:
    """``start_ticks`` together with the pid and the boot id names a process for good."""

    pid: int
    state: str
    session: int
    start_ticks: int


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def stat(pid: int) -> Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The program's name stands in parentheses and may hold anything, parentheses too.
    parts = text.rpartition(") ")[2].split()
    return Stat(pid=pid, state=parts[0], session=int(parts[3]), start_ticks=int(parts[19]))


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
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue  # another user's, or gone
        if needle in b"\0" + environment + b"\0":
            one = stat(pid)
            if one and one.state not in "ZX":
                found.append(pid)
    return found


def command_line(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return text.replace(b"\0", b" ").decode("utf-8", "replace").strip()
