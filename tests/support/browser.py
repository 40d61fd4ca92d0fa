"""A browser without scripts: pages and forms over real HTTP, with a cookie."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from tests.support.page import Page

if TYPE_CHECKING:
    from tests.support.daemon import Daemon

Fields = Mapping[str, str] | Sequence[tuple[str, str]]
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def page(self) -> Page:
        return Page(self.text)

    @property
    def location(self) -> str:
        return self.headers["Location"] or ""


class Browser:
    """``cookie`` is the value of ``connect.sid``, kept as the answers set it."""

    def __init__(self, daemon: Daemon, cookie: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        self.daemon = daemon
        self.cookie = cookie
        self.headers = dict(headers or {})

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.daemon.host, self.daemon.port, timeout=30)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = self.connection()
        sent = {**self.headers, **(headers or {})}
        if self.cookie:
            sent["Cookie"] = f"connect.sid={self.cookie}"
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        finally:
            connection.close()
        self._keep_cookie(answer)
        return answer

    def _keep_cookie(self, answer: Answer) -> None:
        for line in answer.headers.get_all("Set-Cookie") or []:
            if morsel := SimpleCookie(line).get("connect.sid"):
                self.cookie = morsel.value or None

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.request("GET", path, headers=headers)

    def post(self, path: str, fields: Fields = (), headers: Mapping[str, str] | None = None) -> Answer:
        """A form of the site's own pages, as a browser sends it."""
        said = {"Content-Type": FORM, "Sec-Fetch-Site": "same-origin"}
        return self.request("POST", path, urlencode(fields).encode(), {**said, **(headers or {})})

    def post_json(self, path: str, document: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """What a program sends: no header says where it comes from."""
        said = {"Content-Type": "application/json"}
        return self.request("POST", path, json.dumps(document).encode(), {**said, **(headers or {})})

    def log_in(self, username: str, password: str, **fields: str) -> Answer:
        return self.post("/login", {"username": username, "password": password, **fields})
