"""The health check's script, against real servers of HTTP, by each shell and with each program that can ask."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deployer.commands import health_check

SHELLS = {"sh": ["/bin/sh"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}
NEEDED = ("date", "getent", "head", "sh", "sleep", "sort", "tr")


class _Site(BaseHTTPRequestHandler):
    """``/204`` answers so, ``/redirect`` leads to what is well, ``/slow`` takes long, ``/second`` is well later."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.asked.append(self.path)
        if self.path == "/slow":
            time.sleep(1.5)
        if self.path == "/second":
            self._answer(200 if server.asked.count("/second") > 1 else 503)
        elif self.path == "/redirect":
            self._answer(302, Location="/200")
        else:
            self._answer(int(self.path[1:]) if self.path[1:].isdigit() else 200)

    def _answer(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing: what is asked is noted in ``asked``."""


@pytest.fixture
def site() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    server.asked = []
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    argv = SHELLS[request.param]
    if not shutil.which(argv[0]):
        pytest.skip(f"needs {argv[0]}")
    return argv


@pytest.fixture(params=["curl", "python3"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A PATH on which only one of the two is."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in (*NEEDED, request.param):
        found = sys.executable if name == "python3" else shutil.which(name)
        if found is None:
            pytest.skip(f"needs {name}")
        (folder / name).symlink_to(found)
    return str(folder)


def check(argv: list[str], path: str, **given: Any) -> tuple[int, str]:
    """The exit code, and the last line."""
    wanted = {
        "url": None,
        "command": None,
        "shell": "sh",
        "status": 200,
        "tries": 1,
        "interval_s": 1,
        "deadline_s": 10,
    }
    done = subprocess.run(
        [shutil.which(argv[0]) or "", *argv[1:], "-e", "-c", health_check.SCRIPT],
        env={"PATH": path, **health_check.variables(**(wanted | given))},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()[-1]


def test_an_address_that_answers_with_the_status_is_well(shell, path, site):
    url = f"http://127.0.0.1:{site.server_port}"

    assert check(shell, path, url=url) == (0, "well at try 1")
    assert check(shell, path, url=f"{url}/204", status=204) == (0, "well at try 1")
    assert check(shell, path, url=f"{url}/404") == (1, f"{url}/404: answered 404 instead of 200, at the end of 1 try")
    assert check(shell, path, url=f"{url}/second", tries=3) == (0, "well at try 2")


def test_a_redirect_is_not_followed(shell, path, site):
    url = f"http://127.0.0.1:{site.server_port}/redirect"

    assert check(shell, path, url=url) == (1, f"{url}: answered 302 instead of 200, at the end of 1 try")
    assert site.asked == ["/redirect"]


def test_a_name_leads_to_each_of_its_addresses(path, site):
    """Where ``localhost`` is two addresses, a server that listens to one of them is found."""
    assert check(SHELLS["sh"], path, url=f"http://localhost:{site.server_port}/") == (0, "well at try 1")


def test_nobody_waits_for_a_slow_answer_beyond_the_deadline(path, site):
    url = f"http://127.0.0.1:{site.server_port}/slow"

    code, said = check(SHELLS["sh"], path, url=url, tries=5, deadline_s=1)

    assert code == 1
    assert said.endswith("at the end of 1 try")


def test_what_nobody_listens_to_is_told_in_words(path):
    code, said = check(SHELLS["sh"], path, url="http://127.0.0.1:1/")

    assert code == 1
    assert "refused" in said or "connect" in said


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "[fd00:ec2::254]"])
def test_link_local_addresses_are_not_asked(path, host):
    code, said = check(SHELLS["sh"], path, url=f"http://{host}/latest/meta-data")

    assert code == 1
    assert said.endswith("which is not asked")


def test_a_name_that_leads_to_a_link_local_address_is_not_asked(path, tmp_path):
    getent = Path(path) / "getent"
    getent.unlink()
    getent.write_text("#!/bin/sh\necho '169.254.169.254 STREAM metadata'\n")
    getent.chmod(0o755)

    code, said = check(SHELLS["sh"], path, url="http://metadata.example/")

    assert (code, said) == (1, "metadata.example is the link-local address 169.254.169.254, which is not asked")


def test_without_a_program_that_asks_it_says_what_to_install(path, tmp_path):
    for name in ("curl", "python3"):
        (Path(path) / name).unlink(missing_ok=True)

    assert check(SHELLS["sh"], path, url="http://127.0.0.1:1/") == (
        1,
        "an address is asked by curl or python3, and neither is there: install curl",
    )


def test_a_command_is_well_when_it_exits_with_0(shell, tmp_path):
    everything = os.environ["PATH"]
    once = f"test -e {tmp_path}/up || {{ touch {tmp_path}/up; exit 3; }}"

    assert check(shell, everything, command=once, tries=2) == (0, "well at try 2")
    assert check(shell, everything, command="exit 3\nnever", tries=1) == (
        1,
        "exit 3: exited with 3, at the end of 1 try",
    )
    assert check(shell, everything, command="false | true", shell="bash")[0] == 1
    assert check(shell, everything, command="false | true", shell="sh")[0] == 0
