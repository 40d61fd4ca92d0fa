"""A viewer of a live log: Server-Sent Events over a real connection, one frame at a time."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.browser import Browser


class Viewer:
    """Use it as a context manager. Frames are dictionaries, with ``id`` where one came."""

    def __init__(self, browser: Browser, deployment_id: str, *, last_event_id: int | None = None, query: str = ""):
        self._connection = browser.connection()
        headers = {"Accept": "text/event-stream", "Cookie": f"connect.sid={browser.cookie}"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = str(last_event_id)
        self._connection.request("GET", f"/deployments/{deployment_id}/stream{query}", headers=headers)
        self.response = self._connection.getresponse()
        self.status = self.response.status

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.response.close()
        self._connection.close()

    def frames(self) -> Iterator[dict[str, Any]]:
        """Until the stream ends."""
        data: str | None = None
        number: int | None = None
        while line := self.response.readline().decode():
            name, _, value = line.rstrip("\n").partition(": ")
            if name == "data":
                data = value
            elif name == "id":
                number = int(value)
            elif not line.strip() and data is not None:
                frame = json.loads(data)
                if number is not None:
                    frame["id"] = number
                yield frame
                data = number = None

    def until(self, kind: str, **wanted: Any) -> dict[str, Any]:
        """The next frame of this type and these values; those before it are passed by."""
        for frame in self.frames():
            if frame["type"] == kind and all(frame.get(name) == value for name, value in wanted.items()):
                return frame
        raise AssertionError(f"the stream ended without {kind} {wanted}")

    def until_text(self, text: str) -> dict[str, Any]:
        for frame in self.frames():
            if text in frame.get("text", ""):
                return frame
        raise AssertionError(f"the stream ended without {text!r}")


def slow_viewer(browser: Browser, deployment_id: str) -> socket.socket:
    """A viewer who asked for a stream and takes nothing of it, with hardly any room for what it does not take."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(30)
    sock.connect((browser.daemon.host, browser.daemon.port))
    lines = [
        f"GET /deployments/{deployment_id}/stream HTTP/1.1",
        "Host: deployer",
        f"Cookie: connect.sid={browser.cookie}",
    ]
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    return sock


def frames_of(sock: socket.socket) -> list[dict[str, Any]]:
    """All that comes on a connection until its end."""
    seen = bytearray()
    while part := sock.recv(1 << 20):
        seen += part
    return [json.loads(line[6:]) for line in seen.decode().split("\n") if line.startswith("data: ")]
