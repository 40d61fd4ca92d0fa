"""A flood: pushes to many projects as fast as they are taken, while somebody looks at the dashboard."""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

from tests.bench.daemon import APP, Daemon
from tests.bench.table import quantile, row
from tests.support.browser import Browser
from tests.support.flood import Target, send

PUSHES = 10_000
PROJECTS = 50
PASSWORD = "correct horse battery"


class Visitor(threading.Thread):
    """Loads the home page all the time; ``times`` in seconds."""

    def __init__(self, browser: Browser) -> None:
        super().__init__(daemon=True)
        self._browser = browser
        self.times: list[float] = []
        self.is_done = False

    def run(self) -> None:
        while not self.is_done:
            begun = time.perf_counter()
            assert self._browser.get("/").status == 200
            self.times.append(time.perf_counter() - begun)
            time.sleep(0.2)


def flood(daemon: Daemon) -> None:
    projects = [daemon.make_project(f"flood-{number}", "true") for number in range(PROJECTS)]
    words = ["user", "create", "ada", "--email", "ada@example.com", "--admin", "--password-stdin"]
    argv = [sys.executable, str(APP), *words]
    subprocess.run(argv, env=daemon.environment, input=PASSWORD, check=True, text=True, stdout=subprocess.DEVNULL)
    body = daemon.payload(7000)
    targets = [Target(one["id"], one["webhook_secret"].encode(), body) for one in projects]
    daemon.start()
    browser = Browser(SimpleNamespace(host="127.0.0.1", port=daemon.port))  # type: ignore[arg-type]
    assert browser.log_in("ada", PASSWORD).status == 302
    visitor = Visitor(browser)
    visitor.start()
    while not visitor.times:
        time.sleep(0.05)
    web, runner = daemon.processes()
    before, before_runner = _memory_kb(web), _memory_kb(runner)
    answers = send(daemon.port, targets, PUSHES, connections=16)
    visitor.is_done = True
    visitor.join()
    peak, peak_runner = _memory_kb(web, "VmHWM"), _memory_kb(runner, "VmHWM")
    drained = _wait_for_queue(daemon)
    with daemon.database() as database:
        counts = dict(database.execute("SELECT status, count(*) FROM deployments GROUP BY status"))
        known = {one for (one,) in database.execute("SELECT id FROM deployments")}
        newest = dict(
            database.execute(
                "SELECT project_id, status FROM deployments "
                "WHERE number IN (SELECT max(number) FROM deployments GROUP BY project_id)"
            )
        )
    lost = len(set(answers.deployments) - known)
    pages = sorted(visitor.times)
    row(f"{PUSHES} signed pushes to {PROJECTS} projects", "all answered with 200", f"{answers.statuses}")
    row("  taken in", "", f"{answers.seconds:.1f} s ({PUSHES / answers.seconds:.0f}/s)")
    row("  slowest answer", "", f"{answers.slowest_s * 1e3:.0f} ms")
    row("  answered, but not on record", "0", str(lost))
    row("  on record", "the newest of each well ended", f"{counts}; newest: {set(newest.values())}")
    row("  queue worked off, after the last push", "", f"{drained:.1f} s")
    row("  memory of the web process", "≤ 30 MB more", f"{before / 1024:.0f} → at most {peak / 1024:.0f} MB")
    row("  memory of the runner", "flat", f"{before_runner / 1024:.0f} → at most {peak_runner / 1024:.0f} MB")
    value = f"median {statistics.median(pages) * 1e3:.0f} ms, p99 {quantile(pages, 0.99) * 1e3:.0f} ms"
    row("  home page meanwhile", "answers", value)
    daemon.stop()


def _wait_for_queue(daemon: Daemon) -> float:
    begun = time.perf_counter()
    with daemon.database() as database:
        while database.execute("SELECT 1 FROM deployments WHERE status IN ('queued', 'running')").fetchone():
            time.sleep(0.05)
    return time.perf_counter() - begun


def _memory_kb(pid: int, what: str = "VmRSS") -> int:
    line = next(one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith(f"{what}:"))
    return int(line.split()[1])
