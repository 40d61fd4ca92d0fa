"""Prints the table of speed and size. ``make bench``, or ``make bench ARGS='start pushes'`` for some of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from inotify_simple import INotify, flags

from tests.bench import history, releases, servers
from tests.bench.daemon import Daemon, free_port, signature
from tests.bench.flood import flood
from tests.bench.table import quantile, row
from tests.bench.viewers import viewers

FLOOD_S = 8
PUSH_BYTES = 7000


def start(daemon: Daemon) -> None:
    first = daemon.start()
    daemon.stop()
    times = []
    for _ in range(7):
        times.append(daemon.start())
        daemon.stop()
    row(
        "start → first page",
        "≤ 600 ms",
        f"{statistics.median(times) * 1e3:.0f} ms (very first: {first * 1e3:.0f} ms)",
    )


def idle(daemon: Daemon) -> None:
    daemon.start()
    time.sleep(3)
    pss = daemon.pss_kb()
    before, begun = daemon.cpu_seconds(), time.perf_counter()
    time.sleep(20)
    share = (daemon.cpu_seconds() - before) / (time.perf_counter() - begun)
    row("idle PSS over all processes", "≤ 80 MB", f"{pss / 1024:.1f} MB in {len(daemon.processes())} processes")
    row("idle CPU", "≤ 0.3 % of a core", f"{share * 100:.2f} %")
    daemon.stop()


def pushes(daemon: Daemon) -> None:
    """Signed pushes by wrk, beside Debian's `webhook`, in turns."""
    if not shutil.which("wrk"):
        print("wrk is missing: apt-get install wrk")
        return
    project = daemon.make_project("flood", "true")
    body = daemon.payload(PUSH_BYTES)
    script = daemon.root / "push.lua"
    (daemon.root / "body").write_bytes(body)
    script.write_text(_LUA % (daemon.root / "body", signature(project["webhook_secret"], body)))
    daemon.start()
    idle_pss = daemon.pss_kb()
    ours, peers = [], []
    for _ in range(3):
        ours.append(_wrk(f"http://127.0.0.1:{daemon.port}/webhook/{project['id']}", script))
        if shutil.which("webhook"):
            peers.append(_peer(daemon.root, project["webhook_secret"], script))
    end_pss = daemon.pss_kb()
    rate = statistics.median(one[0] for one in ours)
    p99 = statistics.median(one[1] for one in ours)
    row("signed pushes accepted/s, 7 kB, wrk -t1 -c16", "≥ 1.0 × webhook", f"{rate:.0f}/s; p99 {p99:.1f} ms")
    if peers:
        peer_rate = statistics.median(one[0] for one in peers)
        peer_p99 = statistics.median(one[1] for one in peers)
        row("  webhook 2.8.0 in the same run", "", f"{peer_rate:.0f}/s; p99 {peer_p99:.1f} ms")
        row("  ratio", "≥ 1.0; p99 ≤ 1.0", f"{rate / peer_rate:.2f}; p99 {p99 / peer_p99:.2f}")
    row("  memory", "flat", f"{idle_pss / 1024:.0f} → {end_pss / 1024:.0f} MB")
    with daemon.database() as database:
        counts = dict(database.execute("SELECT status, count(*) FROM deployments GROUP BY status"))
        (deliveries,) = database.execute("SELECT count(*) FROM deliveries").fetchone()
    row("  on record", "every push", f"{deliveries} deliveries; {counts}")
    daemon.stop()


_LUA = """
local file = io.open("%s"); local body = file:read("*a"); file:close()
local run, n = os.time() .. math.random(1000000), 0
request = function()
  n = n + 1
  return wrk.format("POST", nil, {
    ["Content-Type"] = "application/json", ["X-GitHub-Event"] = "push",
    ["X-GitHub-Delivery"] = run .. "-" .. n, ["X-Hub-Signature-256"] = "%s"}, body)
end
"""


def _wrk(url: str, script: Path) -> tuple[float, float]:
    """Answers a second, and the 99th percentile of their time in ms. Fails where an answer was not 200."""
    argv = ["wrk", "-t1", "-c16", f"-d{FLOOD_S}", "--latency", "-s", str(script), url]
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in said, said
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", said).groups()
    return rate, float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]


def _peer(root: Path, secret: str, script: Path) -> tuple[float, float]:
    port = free_port()
    is_signed = {
        "type": "payload-hmac-sha256",
        "secret": secret,
        "parameter": {"source": "header", "name": "X-Hub-Signature-256"},
    }
    is_main = {"type": "value", "value": "refs/heads/main", "parameter": {"source": "payload", "name": "ref"}}
    rule = {"and": [{"match": is_signed}, {"match": is_main}]}
    hooks = root / "hooks.json"
    hooks.write_text(json.dumps([{"id": "push", "execute-command": "/bin/true", "trigger-rule": rule}]))
    argv = ["webhook", "-hooks", str(hooks), "-ip", "127.0.0.1", "-port", str(port)]
    peer = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(1)
        return _wrk(f"http://127.0.0.1:{port}/hooks/push", script)
    finally:
        peer.kill()
        peer.wait()


def latency(daemon: Daemon) -> None:
    """From the beginning of the request to the command's shell saying that it runs (it writes ``group``)."""
    project = daemon.make_project("latency", "git pull origin main")
    body = daemon.payload()
    daemon.start()
    daemon.wait_for_end(daemon.push(project, body, "warm-up"))
    times = []
    for number in range(100):
        watch = _FirstCommand(daemon.root / "data" / "spool")
        begun = time.perf_counter()
        deployment = daemon.push(project, body, f"latency-{number}")
        times.append((watch.wait() - begun) * 1e3)
        daemon.wait_for_end(deployment)
        time.sleep(0.02)
    value = f"median {statistics.median(times):.1f} ms, p99 {quantile(times, 0.99):.1f} ms"
    row("push → first instruction of the first command", "median ≤ 6 ms, p99 ≤ 15 ms", value)
    daemon.stop()


class _FirstCommand:
    """Waits for the next run directory in the spool, and in it for the sign that the command's shell has begun."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._inotify = INotify()
        self._inotify.add_watch(str(spool), flags.CREATE)
        self._seen = 0.0
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        directory = None
        while True:
            for event in self._inotify.read(timeout=10_000):
                if event.name == "group":
                    self._seen = time.perf_counter()
                    return
                if event.mask & flags.ISDIR and directory is None:
                    directory = self._spool / event.name
                    self._inotify.add_watch(str(directory), flags.CREATE)
                    if (directory / "group").exists():
                        self._seen = time.perf_counter()
                        return

    def wait(self) -> float:
        self._thread.join()
        self._inotify.close()
        return self._seen


def step(daemon: Daemon) -> None:
    count = 60
    project = daemon.make_project("steps", "git pull origin main", *["true"] * count)
    daemon.start()
    daemon.wait_for_end(daemon.push(project, daemon.payload(), "warm-up"))
    per_step, bare = [], []
    for number in range(5):
        deployment = daemon.push(project, daemon.payload(), f"steps-{number}")
        daemon.wait_for_end(deployment)
        per_step.append(daemon.step_ms(deployment))
        for _ in range(40):
            begun = time.perf_counter()
            subprocess.run(["/bin/sh", "-e", "-c", "true"], check=True)
            bare.append((time.perf_counter() - begun) * 1e3)
    taken, alone = statistics.median(per_step), statistics.median(bare)
    value = f"{taken - alone:.2f} ms ({taken:.2f} against {alone:.2f}; fsync {_fsync_ms(daemon.root):.2f} ms)"
    row("a step of `true`, over the same line in sh -e", "≤ 2.5 ms", value)
    daemon.stop()


def _fsync_ms(folder: Path) -> float:
    times = []
    with open(folder / "fsync", "wb") as file:
        for _ in range(100):
            file.write(b"x" * 4096)
            file.flush()
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times)


def output(daemon: Daemon) -> None:
    line = "yes 0123456789abcdef0123456789abcdef0123456789abcdef | head -c 100000000"
    project = daemon.make_project("output", "git pull origin main", line)
    daemon.start()
    daemon.wait_for_end(daemon.push(project, daemon.payload(), "warm-up"))
    before = daemon.pss_kb()
    through, plain = [], []
    for number in range(5):
        deployment = daemon.push(project, daemon.payload(), f"output-{number}")
        daemon.wait_for_end(deployment)
        with daemon.database() as database:
            ((begun_at, ended_at),) = database.execute(
                "SELECT started_at, finished_at FROM commands WHERE deployment_id = ? AND line = ?",
                (deployment, line),
            ).fetchall()
        through.append((ended_at - begun_at) / 1e3)
        with tempfile.NamedTemporaryFile(dir=daemon.root) as file:
            begun = time.perf_counter()
            subprocess.run(["/bin/sh", "-e", "-c", f"{line} > {file.name}"], check=True)
            plain.append(time.perf_counter() - begun)
    ratio = statistics.median(a / b for a, b in zip(through, plain, strict=True))
    value = f"{ratio:.2f} × ({statistics.median(through):.2f} s against {statistics.median(plain):.2f} s)"
    row("100 MB printed by one command, against > file", "≤ 1.3 ×", value)
    row("  memory", "flat", f"{before / 1024:.0f} → {daemon.pss_kb() / 1024:.0f} MB")
    daemon.stop()


MEASURES: dict[str, Callable[[Daemon], None]] = {
    "start": start,
    "idle": idle,
    "pushes": pushes,
    "flood": flood,
    "latency": latency,
    "step": step,
    "output": output,
    "rollback": releases.rollback,
    "viewers": viewers,
    "retention": history.retention,
    "ssh-launch": servers.launch,
    "ssh-step": servers.step,
}


def main() -> None:
    wanted = sys.argv[1:] or list(MEASURES)
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}\n")
    row("measured", "aim", "value")
    for name in wanted:
        daemon = Daemon()
        try:
            MEASURES[name](daemon)
        finally:
            daemon.close()


if __name__ == "__main__":
    main()
