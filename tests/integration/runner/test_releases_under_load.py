"""A static site that nginx serves from ``current``, under constant load, while releases and rollbacks happen."""

from __future__ import annotations

import getpass
import http.client
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.daemon import free_port
from tests.support.programs import program
from tests.support.waiting import wait_until

RELEASES = 25
"""Each is followed by three rollbacks: to the one before, to itself, and back."""

PAGE_LINES = 6_000
"""A page that takes many reads, so that one of two releases would be seen."""

_NGINX = """
daemon off; user {user}; worker_processes 1; pid {folder}/pid; error_log {folder}/error;
events {{}}
http {{
  access_log off; sendfile on;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{port}; root {root}/current; }}
}}
"""


def page(text: str) -> str:
    return f"{text}\n" * PAGE_LINES


@contextmanager
def nginx(folder: Path, root: str) -> Iterator[int]:
    """Serves ``root/current``; its port."""
    folder.mkdir()
    port = free_port()
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, root=root, port=port, user=getpass.getuser()))
    process = subprocess.Popen([program("nginx"), "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr"])
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)


class Load:
    """Asks for the page without a pause, over connections that are kept and over new ones."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._is_over = threading.Event()
        self.answers: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._threads = [threading.Thread(target=self._ask, args=(is_kept,)) for is_kept in (True, False)]

    def _ask(self, is_kept: bool) -> None:
        link = None
        while not self._is_over.is_set():
            try:
                link = link or http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
                link.request("GET", "/page.html")
                answer = link.getresponse()
                body = answer.read().decode()
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(repr(error))
                continue
            first = body.partition("\n")[0]
            self.answers[first] += 1
            if answer.status != 200 or body != page(first):
                self.wrong.append(f"{answer.status}: {len(body)} bytes that begin with {first!r}")
            if not is_kept:
                link.close()
                link = None
        if link:
            link.close()

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()


def test_no_request_fails_or_is_torn_while_releases_and_rollbacks_happen(
    operator, make_project, repository, runner, tmp_path
):
    site = tmp_path / "site"
    project = make_project("true", strategy="release", path=str(site), keep_releases=3)
    repository.commit("0", page_html=page("release 0"))
    operator.wait_for_end(operator.deploy(project))

    with nginx(tmp_path / "nginx", str(site)) as port:
        wait_until(lambda: is_served(port), "nginx serves the site")
        with Load(port) as load:
            for number in range(1, RELEASES + 1):
                repository.commit(str(number), page_html=page(f"release {number}"))
                assert operator.wait_for_end(operator.deploy(project)).status == "success"
                for wanted in (number, number + 1, number):
                    assert operator.wait_for_end(operator.roll_back(project, wanted)).status == "success"

    print(f"{sum(load.answers.values()):,} answers of {len(load.answers)} releases, {len(load.wrong)} of them wrong")
    assert not load.wrong, load.wrong[:5]
    assert len(load.answers) > RELEASES, load.answers
    assert len(operator.deployments()) == 1 + 4 * RELEASES


def is_served(port: int) -> bool:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        link.request("GET", "/page.html")
        return link.getresponse().status == 200
    except OSError:
        return False
    finally:
        link.close()
