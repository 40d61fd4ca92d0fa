"""GitHub, as far as a webhook's receiver sees it."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from deployer import project_secrets
from deployer.models import Project
from tests.support.browser import FORM, Answer, Browser

if TYPE_CHECKING:
    from tests.support.daemon import Daemon

SHA = "1234567890abcdef1234567890abcdef12345678"


def push(**changes: Any) -> dict[str, Any]:
    """A push event's payload: the fields that GitHub sends and Deployer reads."""
    return {
        "ref": "refs/heads/main",
        "before": "0" * 39 + "1",
        "after": SHA,
        "deleted": False,
        "compare": "https://github.com/grace/app/compare/1...2",
        "head_commit": {
            "id": SHA,
            "message": "Make it work",
            "author": {"name": "Grace Hopper", "email": "grace@example.com"},
        },
        "pusher": {"name": "grace"},
        "repository": {"full_name": "grace/app"},
        **changes,
    }


def sign(body: bytes, secret: bytes) -> str:
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


class Forge:
    """Sends deliveries for one project, signed with the secret that was entered there."""

    def __init__(self, daemon: Daemon, project: Project, headers: dict[str, str] | None = None) -> None:
        self.daemon = daemon
        self.path = f"/webhook/{project.id}"
        self.secret = project_secrets.webhook_secret(project, daemon.installation.vault)
        self._browser = Browser(daemon, headers=headers)

    def headers(self, body: bytes, *, event: str = "push", guid: str | None = None) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/044aadd",
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": guid or str(uuid.uuid4()),
            "X-Hub-Signature-256": sign(body, self.secret),
        }

    def send(self, body: bytes, *, event: str = "push", guid: str | None = None, **headers: str | None) -> Answer:
        """One delivery. ``X_Hub_Signature_256=None`` leaves that header out, a value replaces it."""
        sent: dict[str, str | None] = dict(self.headers(body, event=event, guid=guid))
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        given = {name: value for name, value in sent.items() if value is not None}
        return self._browser.request("POST", self.path, body, given)

    def push(self, *, guid: str | None = None, **changes: Any) -> Answer:
        return self.send(json.dumps(push(**changes)).encode(), guid=guid)

    def push_form(self, **changes: Any) -> Answer:
        body = urlencode({"payload": json.dumps(push(**changes))}).encode()
        return self.send(body, Content_Type=FORM)

    def event(self, event: str, **payload: Any) -> Answer:
        return self.send(json.dumps(payload).encode(), event=event)

    def raw(self, head: str) -> socket.socket:
        """A connection on which a request's head was sent."""
        sock = socket.create_connection((self.daemon.host, self.daemon.port), timeout=30)
        sock.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        return sock
