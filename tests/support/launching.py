"""A run directory and a launcher, as an executor makes and starts them, under a chosen shell."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from deployer.executors import launcher, processes
from tests.support.waiting import wait_until

NONCE = "0123456789abcdef0123456789abcdef"

SHELLS = {
    "dash": ["dash"],
    "bash-posix": ["bash", "--posix"],
    "busybox-ash": ["busybox", "ash"],
}


def available_shells() -> dict[str, list[str]]:
    return {name: argv for name, argv in SHELLS.items() if shutil.which(argv[0])}


class Launching:
    """One command. ``prepare`` writes its input, ``start`` starts a launcher for it."""

    def __init__(self, folder: Path, shell: list[str], name: str = "run") -> None:
        self.shell = shell
        self.directory = folder / name
        self.directory.mkdir(mode=0o700, parents=True)
        self._script = folder / f"{name}.launcher"
        self._script.write_text(launcher.SCRIPT)
        self.launchers: list[subprocess.Popen[bytes]] = []

    def prepare(
        self, script: str | bytes, environment: dict[str, str] | None = None, directory: str | None = None
    ) -> Launching:
        where = directory or str(self.directory.parent)
        given = {"PATH": os.environ["PATH"], **(environment or {})}
        (self.directory / "env").write_bytes(launcher.env_file(given, where))
        text = script if isinstance(script, bytes) else launcher.cmd_file(script)
        (self.directory / "cmd").write_bytes(text)
        return self

    def start(self, *, max_bytes: int = 1 << 30, step_shell: str = "sh", pass_fds: tuple[int, ...] = ()) -> Launching:
        self.launchers.append(
            subprocess.Popen(
                [
                    *self.shell,
                    str(self._script),
                    str(self.directory),
                    str(launcher.blocks(max_bytes)),
                    NONCE,
                    step_shell,
                ],
                env={"PATH": os.environ["PATH"]},
                cwd="/",
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=pass_fds,
            )
        )
        return self

    @property
    def raw(self) -> bytes:
        path = self.directory / "output"
        return path.read_bytes() if path.exists() else b""

    @property
    def output(self) -> bytes:
        """What came before the end mark."""
        text, mark, rest = self.raw.partition(launcher.end_mark(NONCE))
        assert (mark, rest) == (launcher.end_mark(NONCE), b"")
        return text

    @property
    def exit_code(self) -> int | None:
        path = self.directory / "exit"
        text = path.read_text() if path.exists() else ""
        return int(text) if text.endswith("\n") else None

    @property
    def group(self) -> int:
        path = self.directory / "group"
        return wait_until(lambda: int(path.read_text() or 0) if path.exists() else 0, "the command's group")

    def wait(self) -> Launching:
        """Until the exit code is there and everything of the output is."""
        self.wait_for_exit()
        wait_until(lambda: self.raw.endswith(launcher.end_mark(NONCE)), "the end mark")
        return self

    def wait_for_exit(self) -> int:
        wait_until(lambda: self.exit_code is not None, "the exit code", within_s=30)
        assert self.exit_code is not None
        return self.exit_code

    def close(self) -> None:
        for started in self.launchers:
            path = self.directory / "group"
            group = int(path.read_text() or 0) if path.exists() else 0
            pids = [started.pid, *processes.in_session(started.pid), *(processes.in_session(group) if group else [])]
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            started.wait(10)
