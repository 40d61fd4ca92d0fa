"""Live logs: many viewers of one deployment over real connections, and pushes posted beside them."""

from __future__ import annotations

import http.client
import json
import re
import select
import socket
import statistics
import subprocess
import sys
import threading
import time
import uuid
from urllib.parse import urlencode

from tests.bench.daemon import APP, Daemon, signature
from tests.bench.table import quantile, row

VIEWERS = 1000
LINES = 100
PUSHES_PER_S = 20

STEP = 'n=0; sleep 1; while [ $n -lt %d ]; do n=$((n+1)); date "+line $n at %%s.%%N."; sleep 0.2; done; echo bye'
_LINE = re.compile(rb"line (\d+) at (\d+\.\d+)\.")


def viewers(daemon: Daemon) -> None:
    watched = daemon.make_project("watched", f"while [ ! -e {daemon.root}/go ]; do sleep 0.05; done", STEP % LINES)
    beside = daemon.make_project("beside", "true")
    words = [sys.executable, str(APP), "user", "create", "ada", "--email", "ada@localhost", "--password-stdin"]
    subprocess.run(words, env=daemon.environment, input=b"correct horse battery\n", check=True, capture_output=True)
    daemon.start()
    cookie = _log_in(daemon)
    before = daemon.web_memory_kb()
    deployment = daemon.push(watched, daemon.payload(), "watched")
    argv = [sys.executable, "-m", "tests.bench.viewers", str(daemon.port), deployment, cookie, str(VIEWERS)]
    client = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert client.stdout
    connected = json.loads(client.stdout.readline())
    pushes = _Pushes(daemon, beside)
    (daemon.root / "go").touch()
    highest = before
    cpu, begun = daemon.cpu_seconds(), time.perf_counter()
    while client.poll() is None:
        time.sleep(0.5)
        highest = max(highest, daemon.web_memory_kb())
    share = (daemon.cpu_seconds() - cpu) / (time.perf_counter() - begun)
    pushes.stop()
    found = json.loads(client.stdout.read())
    client.stdout.close()
    value = f"median {found['median_ms']:.0f} ms, p99 {found['p99_ms']:.0f} ms, most {found['most_ms']:.0f} ms"
    row(f"printed line → {VIEWERS} viewers", "median ≤ 60 ms, p99 ≤ 200 ms", value)
    row("  the first and the last of them", "", f"median {found['first_ms']:.0f} and {found['last_ms']:.0f} ms")
    row("  lines received", f"{VIEWERS} × {LINES}", f"{found['lines']}; {found['wrong']} missed or doubled")
    row("  viewers who saw the end", str(VIEWERS), f"{found['done']}; connected in {connected['took_s']:.1f} s")
    row("  memory of the web process (PSS/RSS)", "≤ 120 MB", f"{_mb(before)} → {_mb(highest)} MB")
    value = f"{pushes.accepted} of {pushes.sent} accepted; slowest {pushes.slowest_ms:.0f} ms"
    row(f"  {PUSHES_PER_S} pushes a second beside", "none refused", value)
    row("  processor, web and runner", "", f"{share * 100:.0f} % of a core")
    daemon.stop()


def _mb(memory: tuple[int, int]) -> str:
    return "/".join(f"{one / 1024:.0f}" for one in memory)


def _log_in(daemon: Daemon) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=10)
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
    connection.request("POST", "/login", urlencode({"username": "ada", "password": "correct horse battery"}), headers)
    answer = connection.getresponse()
    (cookie,) = re.findall(r"connect\.sid=([^;]+)", answer.headers["Set-Cookie"])
    connection.close()
    return cookie


class _Pushes:
    """Signed pushes on one kept connection, so many a second."""

    def __init__(self, daemon: Daemon, project: dict[str, str]) -> None:
        self._daemon = daemon
        self._project = project
        self._is_stopping = threading.Event()
        self.sent = self.accepted = 0
        self.slowest_ms = 0.0
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def stop(self) -> None:
        self._is_stopping.set()
        self._thread.join()

    def _send(self) -> None:
        body = self._daemon.payload(7000)
        sealed = signature(self._project["webhook_secret"], body)
        connection = http.client.HTTPConnection("127.0.0.1", self._daemon.port, timeout=30)
        while not self._is_stopping.wait(1 / PUSHES_PER_S):
            headers = {
                "Content-Type": "application/json",
                "X-GitHub-Event": "push",
                "X-GitHub-Delivery": str(uuid.uuid4()),
                "X-Hub-Signature-256": sealed,
            }
            self.sent += 1
            begun = time.perf_counter()
            connection.request("POST", f"/webhook/{self._project['id']}", body, headers)
            answer = connection.getresponse()
            answer.read()
            self.slowest_ms = max(self.slowest_ms, (time.perf_counter() - begun) * 1e3)
            self.accepted += answer.status == 200
        connection.close()


class _Watcher:
    """One viewer, as cheap as can be: it knows the last line that it got."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.last = 0
        self.rest = b""


def watch(port: int, deployment: str, cookie: str, count: int) -> None:
    """Open so many streams, say so, read them to their ends, and print what was seen."""
    request = (
        f"GET /deployments/{deployment}/stream HTTP/1.1\r\nHost: localhost\r\n"
        f"Accept: text/event-stream\r\nCookie: connect.sid={cookie}\r\n\r\n"
    ).encode()
    poller = select.epoll()
    watchers: dict[int, _Watcher] = {}
    begun = time.perf_counter()
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        sock.sendall(request)
        head = b""
        while b"retry:" not in head:
            part = sock.recv(65536)
            assert part, head
            head += part
        assert b" 200 " in head.partition(b"\r\n")[0], head
        sock.setblocking(False)
        watchers[sock.fileno()] = _Watcher(sock)
        poller.register(sock.fileno(), select.EPOLLIN)
    print(json.dumps({"took_s": time.perf_counter() - begun}), flush=True)
    waits: list[float] = []
    of_line: dict[int, list[float]] = {}
    wrong = done = 0
    while watchers:
        for fd, _ in poller.poll():
            watcher = watchers[fd]
            part = watcher.sock.recv(1 << 20)
            now = time.time()
            if not part:
                poller.unregister(fd)
                watchers.pop(fd).sock.close()
                continue
            data = watcher.rest + part
            # What is not a whole frame is looked at again with what follows.
            whole, _, watcher.rest = data.rpartition(b"\n\n")
            for number, printed_at in _LINE.findall(whole):
                wait_ms = (now - float(printed_at)) * 1e3
                waits.append(wait_ms)
                of_line.setdefault(int(number), []).append(wait_ms)
                wrong += int(number) != watcher.last + 1
                watcher.last = int(number)
            done += b'"type":"done"' in whole
    seen = {
        "median_ms": statistics.median(waits),
        "p99_ms": quantile(waits, 0.99),
        "most_ms": max(waits),
        "first_ms": statistics.median(map(min, of_line.values())),
        "last_ms": statistics.median(map(max, of_line.values())),
        "lines": len(waits),
        "wrong": wrong,
        "done": done,
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
