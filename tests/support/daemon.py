"""The daemon as people start it: ``python app.py serve`` (or ``web``) on a free port of loopback."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from deployer import config_file
from deployer.config import Config
from deployer.executors import processes
from deployer.installation import Installation
from tests.support import database as databases
from tests.support.browser import Browser
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
APP = ROOT / "app.py"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def environment(folder: Path, **settings: object) -> dict[str, str]:
    """What a daemon with its data in ``folder`` is started with; ``runner_max_queued=2`` and so on are settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DEPLOYER_")}
    if "storage_database_url" not in settings:
        settings["storage_database_url"] = databases.url(folder / "data")
    given = {
        "server_bind": f"127.0.0.1:{free_port()}",
        "storage_data_dir": folder / "data",
        "git_allow_file": True,
        "runner_cancel_grace": 1,
        **settings,
    }
    named = {f"DEPLOYER_{name.upper()}": str(value) for name, value in given.items()}
    return {**inherited, "PYTHONUNBUFFERED": "1", **named}


class Daemon:
    """One installation with its processes. ``greeting`` is the line that a start prints."""

    def __init__(self, folder: Path, command: str = "serve", **settings: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.command = command
        self.environment = environment(folder, **settings)
        self.config: Config = config_file.load(ROOT / "config.example.toml", self.environment)
        self.log_path = folder / "daemon.log"
        self.greeting = ""
        self._process: subprocess.Popen[str] | None = None

    @property
    def host(self) -> str:
        return "127.0.0.1"

    @property
    def port(self) -> int:
        return int(self.config.server.bind.rpartition(":")[2])

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None
        return self._process

    @functools.cached_property
    def installation(self) -> Installation:
        """The same data folder, opened by the test's own process."""
        databases.begin(self.config.storage.database_url)
        return Installation.open(self.config)

    def begin_with(self, database: Path) -> Daemon:
        """A copy of an installation's database as it is after the first start, which takes a while to make."""
        databases.begin_with(self.config, database)
        return self

    def start(self, argv: list[str] | None = None) -> Daemon:
        """Returns when it answers."""
        databases.begin(self.config.storage.database_url)
        with self.log_path.open("a") as log:
            self._process = subprocess.Popen(
                argv or [sys.executable, str(APP), self.command],
                cwd=ROOT if argv else self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        if argv is None:
            assert self.process.stdout is not None
            self.greeting = self.process.stdout.readline()
            assert self.greeting, self.log
        wait_until(self._answers, "an answer of the daemon")
        return self

    def _answers(self) -> bool:
        try:
            return Browser(self).get("/login").status == 200
        except OSError:
            return False

    @property
    def runner_pid(self) -> int | None:
        """The process that holds the runner's lock."""
        held = self.config.data_dir / "runner.lock"
        if not held.exists():
            return None
        inode = f":{held.stat().st_ino} "
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines() if inode in line]
        return next((int(one[4]) for one in locks if one[1] == "FLOCK"), None)

    def end(self, number: signal.Signals = signal.SIGTERM, within_s: float = 15) -> int:
        """Send a signal to the process that was started and wait for its end; its exit code."""
        self.process.send_signal(number)
        return self.wait(within_s)

    def wait(self, within_s: float = 15) -> int:
        process, self._process = self.process, None
        code = process.wait(within_s)
        assert process.stdout is not None
        self.more_output = process.stdout.read()
        process.stdout.close()
        return code

    def close(self) -> None:
        """End everything that was started, also what deployments left running."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
            self.wait()
        if runner := self.runner_pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(runner, signal.SIGKILL)
        if self.config.has_shared_database or self.config.database_path.exists():
            with self.installation.database.read() as connection:
                ids = [row[0] for row in connection.exec_driver_sql("SELECT id FROM deployments")]
            for pid in (pid for one in ids for pid in processes.with_variable(f"DEPLOY_ID={one}".encode())):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.installation.database.dispose()
