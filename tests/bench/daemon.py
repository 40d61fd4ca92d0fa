"""A daemon on a fresh data folder, with one project, for measuring."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

APP = Path(__file__).resolve().parent.parent.parent / "app.py"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Daemon:
    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="deployer-bench-")
        self.root = Path(self._folder.name)
        self.port = free_port()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DEPLOYER_")},
            "DEPLOYER_SERVER_BIND": f"127.0.0.1:{self.port}",
            "DEPLOYER_STORAGE_DATA_DIR": str(self.root / "data"),
            "DEPLOYER_GIT_ALLOW_FILE": "true",
            "DEPLOYER_LOGS_LEVEL": "warning",
        }
        self.repository = self.root / "repository"
        self.sha = self._make_repository()
        self.process: subprocess.Popen[str] | None = None

    def _make_repository(self) -> str:
        def git(*words: str) -> str:
            argv = ["git", "-C", str(self.repository), "-c", "user.name=B", "-c", "user.email=b@localhost", *words]
            return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

        self.repository.mkdir()
        git("init", "--quiet")
        git("symbolic-ref", "HEAD", "refs/heads/main")
        (self.repository / "file").write_text("content\n")
        git("add", "file")
        git("commit", "--quiet", "-m", "first")
        return git("rev-parse", "HEAD")

    def cli(self, *words: str) -> str:
        argv = [sys.executable, str(APP), *words]
        return subprocess.run(argv, env=self.environment, check=True, capture_output=True, text=True).stdout

    def make_project(
        self, name: str, *steps: str, server: str = "local", options: Sequence[str] = ()
    ) -> dict[str, str]:
        options = ["--server", server, *options, *(word for step in steps for word in ("--step", step))]
        made = self.cli(
            "project", "create", name, "--repo", str(self.repository), "--branch", "main", "--json", *options
        )
        return json.loads(made)

    def start(self) -> float:
        """Start ``serve``; the seconds until its first page was answered."""
        begun = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, str(APP), "serve"],
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/login")
                if connection.getresponse().status == 200:
                    return time.perf_counter() - begun
            except OSError:
                time.sleep(0.002)
            finally:
                connection.close()

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(20)
            assert self.process.stdout
            self.process.stdout.close()
            self.process = None

    def close(self) -> None:
        self.stop()
        self._folder.cleanup()

    def processes(self) -> list[int]:
        """The daemon's own processes: web and runner, not the commands."""
        assert self.process
        web = self.process.pid
        children = Path(f"/proc/{web}/task/{web}/children").read_text().split()
        return [web, *map(int, children)]

    def pss_kb(self) -> int:
        total = 0
        for pid in self.processes():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        return total

    def web_memory_kb(self) -> tuple[int, int]:
        """Of the web process alone: its share of what is shared (PSS), and all that it has in memory (RSS)."""
        assert self.process
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()
        kb = {line.split()[0]: line.split()[1] for line in lines}
        return int(kb["Pss:"]), int(kb["Rss:"])

    def cpu_seconds(self) -> float:
        ticks = 0
        for pid in self.processes():
            parts = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
            ticks += int(parts[11]) + int(parts[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def payload(self, size: int = 200) -> bytes:
        """A push of the repository's commit, of about ``size`` bytes."""
        document = {
            "ref": "refs/heads/main",
            "after": self.sha,
            "deleted": False,
            "compare": "https://github.com/b/b/compare/1...2",
            "head_commit": {"id": self.sha, "message": "first", "author": {"name": "B", "email": "b@localhost"}},
            "pusher": {"name": "B"},
            "repository": {"full_name": "b/b"},
            "commits": [],
        }
        while len(json.dumps(document)) < size:
            document["commits"].append({"id": self.sha, "message": "some message", "added": ["a", "b"]})
        return json.dumps(document).encode()

    def push(self, project: dict[str, str], body: bytes, guid: str) -> str:
        """Post a signed push; the deployment's id."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": "push",
            "X-GitHub-Delivery": guid,
            "X-Hub-Signature-256": signature(project["webhook_secret"], body),
        }
        connection.request("POST", f"/webhook/{project['id']}", body, headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.headers["X-Deployment-Id"]

    def database(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.root}/data/deployer.db?mode=ro", uri=True)

    def wait_for_end(self, deployment_id: str) -> str:
        with self.database() as database:
            while True:
                (status,) = database.execute(
                    "SELECT status FROM deployments WHERE id = ?", (deployment_id,)
                ).fetchone()
                if status not in ("queued", "running"):
                    return status
                time.sleep(0.01)

    def step_ms(self, deployment_id: str) -> float:
        """What each step of ``true`` of a deployment took, from the first's beginning to the last's end."""
        with self.database() as database:
            times = database.execute(
                "SELECT started_at, finished_at FROM commands WHERE deployment_id = ? AND line = 'true' "
                "ORDER BY position",
                (deployment_id,),
            ).fetchall()
        return (times[-1][1] - times[0][0]) / len(times)


def signature(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
