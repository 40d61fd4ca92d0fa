"""The health check's script, by itself: real servers, with curl and with python3 alone, in each shell."""

from __future__ import annotations

import contextlib
import http.server
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployer.commands import health_check

SHELLS = {"sh": ["/bin/sh"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}
PROGRAMS = ("date", "getent", "sort", "tr", "sleep", "sh")


class Site(http.server.BaseHTTPRequestHandler):
    """Answers as its path says."""

    def do_GET(self) -> None:
        if self.path == "/elsewhere":
            self._answer(302, b"", Location="/health")
        elif self.path == "/cut-off":
            self._answer(200, b"half of it", length=1000)
        elif self.path == "/endless":
            self._answer(200, b"", length=10**9)
            with contextlib.suppress(OSError):
                self.connection.recv(1)  # until whoever asks has gone
        else:
            self._answer(200 if self.path == "/health" else 503, b"well")

    def _answer(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


class Host:
    """A host with the programs that are linked into ``programs``, and a home."""

    def __init__(self, folder: Path, asker: str, shell: list[str]) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self.programs = folder / "bin"
        self.programs.mkdir()
        self._shell = shell
        for name in (*PROGRAMS, *(("curl",) if asker == "curl" else ())):
            found = shutil.which(name)
            if found is None:
                pytest.skip(f"{name} is not installed")
            (self.programs / name).symlink_to(found)

    def name(self, *addresses: str) -> None:
        """What any host name leads to from now on, as the host's own look-up says it."""
        getent = self.programs / "getent"
        getent.unlink()
        getent.write_text("#!/bin/sh\n" + "".join(f"echo '{one} STREAM name'\n" for one in addresses))
        getent.chmod(0o755)

    def ask(self, url: str = "", command: str = "", deadline_s: int = 10) -> tuple[int, str]:
        """The exit code and the last line."""
        variables = health_check.variables(
            url=url, command=command, shell="sh", status=200, tries=1, interval_s=1, deadline_s=deadline_s
        )
        done = subprocess.run(
            [*(shutil.which(self._shell[0]) or "", *self._shell[1:]), "-e", "-c", health_check.SCRIPT],
            env={"PATH": str(self.programs), "HOME": str(self.home), "DEPLOYER_PYTHON": sys.executable, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout.splitlines()[-1]


@pytest.fixture(params=SHELLS)
def shell(request) -> list[str]:
    argv = SHELLS[request.param]
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{argv[0]} is not installed")
    return argv


@pytest.fixture(params=["curl", "python3"])
def asker(request) -> str:
    return request.param


@pytest.fixture
def host(tmp_path, asker, shell) -> Host:
    return Host(tmp_path, asker, shell)


def test_an_address_is_well_that_answers_as_expected(host, port):
    assert host.ask(f"http://127.0.0.1:{port}/health") == (0, "well at try 1")
    assert host.ask(f"http://localhost:{port}/health") == (0, "well at try 1")


def test_another_status_is_named_and_a_redirect_not_followed(host, port):
    for path, status in (("down", 503), ("elsewhere", 302)):
        url = f"http://127.0.0.1:{port}/{path}"
        assert host.ask(url) == (1, f"{url}: answered {status} instead of 200, at the end of 1 try")


@pytest.mark.parametrize("path", ["cut-off", "endless"])
def test_an_answer_that_does_not_come_to_its_end_is_said_to_be_one(tmp_path, port, path, shell):
    url = f"http://127.0.0.1:{port}/{path}"

    code, said = Host(tmp_path, "curl", shell).ask(url, deadline_s=1)

    assert code == 1
    assert said.startswith(f"{url}: curl: (")
    assert said.endswith(", at the end of 1 try")


def test_a_curlrc_of_the_user_does_not_matter(tmp_path, port, shell):
    host = Host(tmp_path, "curl", shell)
    (host.home / ".curlrc").write_text("verbose\ninclude\n")

    assert host.ask(f"http://127.0.0.1:{port}/health") == (0, "well at try 1")


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "fe80::1", "fd00:ec2::254", "168.63.129.16", "100.100.100.200"),
        *("::ffff:169.254.169.254", "::ffff:168.63.129.16", "64:ff9b::a9fe:a9fe", "64:ff9b::a83f:8110"),
    ],
)
def test_a_name_that_leads_to_where_a_cloud_answers_is_not_asked(tmp_path, address):
    host = Host(tmp_path, "curl", SHELLS["sh"])
    host.name(address)

    assert host.ask("http://app.example/") == (
        1,
        f"app.example is the link-local or metadata address {address}, which is not asked",
    )
    assert health_check.url_problem(f"http://[{address}]/" if ":" in address else f"http://{address}/")


def test_a_name_that_also_leads_there_is_asked_at_its_proper_address(host, port):
    host.name("fe80::1", "127.0.0.1")

    assert host.ask(f"http://app.example:{port}/health") == (0, "well at try 1")


def test_a_command_may_print_much_and_no_newline_at_the_end(host):
    assert host.ask(command="printf %03000000d 1; echo")[0] == 0
    code, said = host.ask(command="printf %03000000d 1; exit 3")

    assert (code, said) == (1, "printf %03000000d 1; exit 3: exited with 3, at the end of 1 try")


def test_of_a_long_command_the_beginning_is_said_and_what_came_of_it(host):
    code, said = host.ask(command=f"false {'x' * 3000}\ntrue")

    assert (code, said) == (1, f"false {'x' * 193}…: exited with 1, at the end of 1 try")
