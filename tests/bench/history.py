"""What webhooks feel of it when a long history is backed up, or trimmed, beside them."""

from __future__ import annotations

import http.client
import os
import sqlite3
import threading
import time
import uuid
from pathlib import Path

from tests.bench.daemon import Daemon, signature
from tests.bench.table import quantile, row

PROJECTS = 10
DEPLOYMENTS = 20_000
CHUNK_BYTES = 25_000
CHUNKS = 4
LONG_LOG_CHUNKS = 64
"""Of 256 KiB: of every 500th deployment, whose log is as long as logs get."""

KEPT = 100
APART_S = 0.005


def retention(daemon: Daemon) -> None:
    """Push while nothing else happens; while a backup of 20,000 deployments with 2 GB of logs is made; and while
    they are trimmed to 1,000."""
    projects = [daemon.make_project(f"history-{number}", "true") for number in range(PROJECTS)]
    path = daemon.root / "data" / "deployer.db"
    _fill(path, [project["id"] for project in projects])
    before = _size(path)
    daemon.environment["DEPLOYER_RETENTION_DEPLOYMENTS"] = "0"
    daemon.start()
    time.sleep(2)
    calm = _Pusher(daemon, projects[0])
    time.sleep(20)
    _tell("webhooks at rest, beside 20,000 deployments", calm.stop())
    pusher = _Pusher(daemon, projects[0])
    begun = time.perf_counter()
    daemon.cli("backup", str(daemon.root / "backup.tar.gz"))
    taken_s = time.perf_counter() - begun
    _tell("  while a backup is made", pusher.stop())
    packed = (daemon.root / "backup.tar.gz").stat().st_size
    row("  the backup", "", f"{taken_s:.0f} s; {before / 1e6:.0f} → {packed / 1e6:.0f} MB (of random bytes)")
    daemon.stop()
    # The system still writes gigabytes of that backup; they belong to the line above.
    (daemon.root / "backup.tar.gz").unlink()
    os.sync()

    daemon.environment["DEPLOYER_RETENTION_DEPLOYMENTS"] = str(KEPT)
    daemon.start()
    begun = time.perf_counter()
    # As before: what two processes that start cost each other is not what trimming costs.
    time.sleep(2)
    pusher = _Pusher(daemon, projects[0])
    while _deployments(path) > PROJECTS * KEPT or not _is_settled(path):
        time.sleep(0.2)
    taken_s = time.perf_counter() - begun
    _tell("  while they are trimmed, and the space given back", pusher.stop())
    row("  20,000 deployments → 1,000", "", f"{taken_s:.0f} s; {before / 1e6:.0f} → {_size(path) / 1e6:.0f} MB")
    daemon.stop()


def _tell(what: str, times_ms: list[float]) -> None:
    value = (
        f"longest {max(times_ms):.1f} ms; p99 {quantile(times_ms, 0.99):.1f} ms, "
        f"median {quantile(times_ms, 0.5):.1f} ms of {len(times_ms)}"
    )
    row(what, "longest ≤ 50 ms", value)


class _Pusher:
    """Posts signed pushes of another branch over one connection, and takes their times."""

    def __init__(self, daemon: Daemon, project: dict[str, str]) -> None:
        self._daemon = daemon
        self._project = project
        self._times_ms: list[float] = []
        self._is_over = False
        self._thread = threading.Thread(target=self._push)
        self._thread.start()

    def _push(self) -> None:
        body = self._daemon.payload(7000).replace(b"refs/heads/main", b"refs/heads/other")
        connection = http.client.HTTPConnection("127.0.0.1", self._daemon.port, timeout=30)
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": "push",
            "X-Hub-Signature-256": signature(self._project["webhook_secret"], body),
        }
        while not self._is_over:
            begun = time.perf_counter()
            headers["X-GitHub-Delivery"] = str(uuid.uuid4())
            connection.request("POST", f"/webhook/{self._project['id']}", body, headers)
            answer = connection.getresponse()
            answer.read()
            self._times_ms.append((time.perf_counter() - begun) * 1e3)
            assert answer.status == 200, answer.status
            time.sleep(APART_S)
        connection.close()

    def stop(self) -> list[float]:
        """The times in ms, but for the first: that of a daemon which has just begun."""
        self._is_over = True
        self._thread.join()
        return self._times_ms[1:]


def _fill(path: Path, projects: list[str]) -> None:
    """Deployments of a former time, as rows."""
    database = sqlite3.connect(path)
    now_ms = int(time.time() * 1000)
    for number in range(DEPLOYMENTS):
        deployment, command = str(uuid.uuid4()), str(uuid.uuid4())
        at = now_ms - (DEPLOYMENTS - number) * 60_000
        database.execute(
            "INSERT INTO deployments (id, project_id, status, trigger, branch, commit_sha, queued_at, started_at, "
            "finished_at) VALUES (?, ?, 'success', 'push', 'main', ?, ?, ?, ?)",
            (deployment, projects[number % len(projects)], "1" * 40, at, at, at),
        )
        database.execute(
            "INSERT INTO commands (id, deployment_id, position, kind, name, line, timeout_s, status, nonce, "
            "output_offset, cut_bytes) VALUES (?, ?, 0, 'step', 'make', 'make', 60, 'success', '', 0, 0)",
            (command, deployment),
        )
        database.executemany(
            "INSERT INTO deployment_events (deployment_id, at, event) VALUES (?, ?, ?)",
            [(deployment, at, event) for event in ("queued", "running", "success")],
        )
        is_long = number % 500 == 0
        size, count = (256 * 1024, LONG_LOG_CHUNKS) if is_long else (CHUNK_BYTES, CHUNKS)
        database.executemany(
            "INSERT INTO log_chunks (deployment_id, seq, command_id, lines, kind, data, created_at) "
            "VALUES (?, ?, ?, 100, 'output', ?, ?)",
            [(deployment, seq * 100, command, os.urandom(size), at) for seq in range(1, count + 1)],
        )
        if number % 200 == 0:
            database.commit()
    database.commit()
    database.close()


def _deployments(path: Path) -> int:
    return _ask(path, "SELECT count(*) FROM deployments")


def _is_settled(path: Path) -> bool:
    return _ask(path, "PRAGMA freelist_count") <= _ask(path, "PRAGMA page_count") // 20


def _ask(path: Path, question: str) -> int:
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        (answer,) = database.execute(question).fetchone()
        return int(answer)
    finally:
        database.close()


def _size(path: Path) -> int:
    return sum(one.stat().st_size for one in path.parent.glob("deployer.db*") if not one.name.endswith("-shm"))
