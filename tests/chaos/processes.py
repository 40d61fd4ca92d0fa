"""The daemon's processes as a service has them: whoever ends is started again, whatever ended it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

from tests.chaos.scene import Scene
from tests.support.daemon import APP
from tests.support.waiting import wait_until

IN_USE = "Address already in use"


class Processes:
    """Web and runner, each alone (``split``) or as ``app.py serve`` has them. ``ended`` is what ended by itself."""

    def __init__(self, scene: Scene) -> None:
        self._daemon = scene.daemon
        self._database = scene.installation.data_dir.database
        self.is_split = True
        self.ended: list[str] = []
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._log_from = 0

    @property
    def log(self) -> str:
        path = self._daemon.log_path
        return path.read_text() if path.exists() else ""

    @property
    def log_size(self) -> int:
        path = self._daemon.log_path
        return path.stat().st_size if path.exists() else 0

    def is_ready_since(self, size: int) -> bool:
        """Whether a runner has begun its work since the log had this size."""
        path = self._daemon.log_path
        if not path.exists():
            return False
        with path.open("rb") as file:
            file.seek(size)
            return b"runner is ready" in file.read()

    def up(self) -> None:
        """Start what is to run and does not."""
        for name in ("web", "runner") if self.is_split else ("serve",):
            process = self._running.get(name)
            if process and process.poll() is None:
                continue
            if process:
                self._note(name, process)
            with self._daemon.log_path.open("ab") as log:
                self._running[name] = subprocess.Popen(
                    [sys.executable, str(APP), name],
                    cwd=self._daemon.folder,
                    env=self._daemon.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def _note(self, name: str, process: subprocess.Popen[bytes]) -> None:
        # An address that a killed process has not yet given back is tried again, as systemd does.
        if process.returncode and IN_USE not in self.log[-2000:]:
            self.ended.append(f"{name} ended by itself, with {process.returncode}")

    def kill_web(self) -> bool:
        """SIGKILL. False where there is none at the moment."""
        return self._kill("web" if self.is_split else "serve")

    def kill_runner(self) -> bool:
        if self.is_split:
            return self._kill("runner")
        pid = self._daemon.runner_pid
        if pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self._daemon.runner_pid != pid, "the runner's death")
        return True

    def _kill(self, name: str) -> bool:
        process = self._running.get(name)
        if process is None or process.poll() is not None:
            return False
        process.kill()
        process.wait()
        del self._running[name]
        return True

    def restart(self, name: str, number: signal.Signals) -> None:
        """As ``systemctl restart``."""
        self._running[name].send_signal(number)
        self._running.pop(name).wait(20)
        self.up()

    def switch(self) -> None:
        """The other way of running them. Everything ends before."""
        self.end()
        self.is_split = not self.is_split

    def end(self) -> None:
        """Politely."""
        for name, process in self._running.items():
            if process.poll() is not None:
                self._note(name, process)
                continue
            process.terminate()
            # Asked before it had begun, it ends by the signal itself.
            if process.wait(20) not in (0, -signal.SIGTERM):
                self.ended.append(f"{name} ended with {process.returncode} when it was asked to end")
        self._running.clear()
        wait_until(lambda: self._daemon.runner_pid is None, "the runner's end")

    def close(self) -> None:
        """However it went."""
        for process in self._running.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        self._running.clear()
        if pid := self._daemon.runner_pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
