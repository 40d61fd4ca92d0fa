"""git over HTTP on loopback: ``git http-backend`` behind a threaded server that wants a name and a password."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

USER = "x-access-token"


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


class WebGit:
    """Serves the repositories in ``root``.

    ``asked`` are the names and passwords that came, ``requests`` is how many requests did.
    """

    def __init__(self, root: Path, password: str) -> None:
        self.root = root
        self.password = password
        self.asked: list[str] = []
        self.requests = 0
        self.redirect_to: str | None = None
        self.address = ""

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.requests += 1
        scheme, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme == "Basic":
            self.asked.append(base64.b64decode(given).decode())
        if self.redirect_to:
            target = f"{self.redirect_to}{environ['PATH_INFO']}?{environ['QUERY_STRING']}"
            start_response("302 Found", [("Location", target)])
            return [b""]
        if self.password and (not self.asked or self.asked[-1] != f"{USER}:{self.password}" or not given):
            start_response("401 Unauthorized", [("WWW-Authenticate", 'Basic realm="git"'), ("Content-Length", "0")])
            return [b""]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        done = subprocess.run(
            ["git", "http-backend"],
            input=body,
            capture_output=True,
            check=True,
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(self.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
                "REMOTE_USER": USER,
                "CONTENT_LENGTH": str(len(body)),
                **{
                    name: environ.get(name, "")
                    for name in ("PATH_INFO", "QUERY_STRING", "REQUEST_METHOD", "CONTENT_TYPE")
                },
                **{name: value for name, value in environ.items() if name.startswith("HTTP_")},
            },
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = [tuple(line.split(": ", 1)) for line in head.decode().split("\r\n")]
        status = next((value for name, value in headers if name == "Status"), "200 OK")
        start_response(status, [one for one in headers if one[0] != "Status"])
        return [content]


@contextmanager
def serve(root: Path, password: str = "", host: str = "127.0.0.1", port: int = 0) -> Iterator[WebGit]:
    served = WebGit(root, password)
    with make_server(host, port, served, server_class=_Server, handler_class=_Quiet) as server:
        served.address = f"http://{host}:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
