"""A test delivery: a signed push of the branch's tip, sent to a webhook's public address as a forge would send it.

So it passes what stands in front of Deployer: names, firewalls, proxies, certificates. The address comes from the
configuration and may be a private one; no redirect is followed, since forges follow none.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import time
import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer import __version__, access, audit, clock, outbound, project_secrets, webhook_answers
from deployer.audit import Actor
from deployer.deployments import verdicts
from deployer.errors import AddressRefused, GitError
from deployer.installation import Installation
from deployer.models.delivery import Delivery, Verdict
from deployer.models.project import Project
from deployer.patience import LIMIT_S, within
from deployer.project_secrets import ProjectSecrets
from deployer.providers.base import Provider
from deployer.pushes import provider_of
from deployer.security import keyfile, marks
from deployer.security.control_sequences import CONTROL
from deployer.security.marks import Mark
from deployer.security.redaction import Redactor
from deployer.security.vault import Vault
from deployer.webhook_answers import Phase, Reply, Said

LEAST_S = 3.0
"""So long the address may take at least, however long the repository took to name the branch's tip."""

SHOWN_CHARACTERS = 600
"""Of the body that came back so much is shown."""

_READ_BYTES = 16 * 1024


@dataclass(frozen=True)
class Target:
    """A project, as far as a test delivery to it at ``url`` needs it."""

    url: str
    project_id: str
    name: str
    repository_url: str
    branch: str
    provider: Provider
    secrets: ProjectSecrets


@dataclass(frozen=True)
class Outcome:
    """What came of a test delivery, after how long; and the id of what it is here, where it arrived."""

    url: str
    said: Said
    took_s: float | None = None
    delivery_id: str | None = None


def target(session: Session, project: Project, url: str, vault: Vault) -> Target:
    """Raises SecretUnreadable."""
    secrets = project_secrets.read_secrets(session, project, vault)
    return Target(
        url, project.id, project.name, project.repository_url, project.branch, provider_of(project), secrets
    )


def run(installation: Installation, to: Target, actor: Actor, *, deploys: bool) -> Outcome:
    """Send a push of the branch's tip, within `patience.LIMIT_S` and what asking for that tip takes beyond.

    Without ``deploys`` it is recorded, and nothing else. Sending it is noted in the audit log. The caller holds no
    transaction: Deployer itself is to answer meanwhile.
    """
    begun = time.monotonic()
    tip = _tip(installation, to)
    if isinstance(tip, Said):
        return Outcome(to.url, tip)
    detail = "to be deployed" if deploys else None
    # Before it is sent: what it does is noted also where this process ends meanwhile.
    with audit.changing(installation.database, actor, "delivery.test_sent", to.name, detail):
        pass
    guid = str(uuid.uuid4())
    mark = marks.make(keyfile.derive(installation.key, marks.FIELD), to.project_id, Mark(actor.name, deploys))
    push = to.provider.push_document(to.branch, tip, actor.name, _repository(to.repository_url))
    body = json.dumps({marks.FIELD: mark, **push}).encode()
    headers = to.provider.sign(body, to.secrets.webhook_secret, guid)
    left_s = max(LEAST_S, LIMIT_S - (time.monotonic() - begun))
    sent_at = clock.now()
    answered, took_s = send(to.url, body, headers, left_s)
    found = _recorded(installation, to.project_id, guid, actor.name, sent_at)
    became = None
    if found:
        words = verdicts.in_words(found.verdict, found.reason)
        became = words if found.verdict is Verdict.TEST else f"It arrived. {words}"
    if isinstance(answered, Reply):
        reply = _shown(answered, Redactor(to.secrets.to_redact()))
        answered = webhook_answers.of_reply(reply, place_of(to.url), became)
    elif became:
        answered = webhook_answers.of_silence(answered, became)
    return Outcome(to.url, answered, took_s, found.id if found else None)


def _tip(installation: Installation, to: Target) -> str | Said:
    """The commit that the branch is at; or why nothing was sent."""
    config = installation.config
    try:
        with access.visit(to.repository_url, to.secrets, config=config, data_dir=installation.data_dir) as visit:
            tip = visit.tip(to.branch)
    except GitError as error:
        return Said(False, f"Nothing was sent, since the branch's tip is not known: {error.args[0]}", error.hint)
    if tip is None:
        message = f"Nothing was sent: the repository answers, but has no branch {to.branch}."
        return Said(False, message, "Push that branch, or choose another one.")
    return tip


def send(url: str, body: bytes, headers: dict[str, str], limit_s: float) -> tuple[Reply | Said, float]:
    """What was answered, or why nothing was; and after how many seconds. Takes ``limit_s`` at most."""
    exchange = _Exchange(url, body, headers, limit_s)
    begun = time.monotonic()
    answered: Reply | Said
    try:
        answered = within(limit_s, exchange.run)
    except (AddressRefused, OSError, UnicodeError, http.client.HTTPException) as error:
        answered = webhook_answers.failure(error, exchange.phase, exchange.place, limit_s)
    finally:
        exchange.close()
    return answered, time.monotonic() - begun


def place_of(url: str) -> str:
    """``host:port`` of an address."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


class _Exchange:
    """One request and its answer. ``phase`` is how far it got, for whoever gives up waiting."""

    def __init__(self, url: str, body: bytes, headers: dict[str, str], limit_s: float) -> None:
        self._url = urlsplit(url)
        self._body = body
        self._headers = headers
        self._limit_s = limit_s
        self._is_tls = self._url.scheme == "https"
        self._host = self._url.hostname or ""
        self._port = self._url.port or (443 if self._is_tls else 80)
        self._sock: socket.socket | None = None
        self.place = place_of(url)
        self.phase = Phase.CONNECT

    def run(self) -> Reply:
        self._sock = outbound.connect(self._host, self._port, self._limit_s)
        if self._is_tls:
            self.phase = Phase.TLS
            self._sock = ssl.create_default_context().wrap_socket(self._sock, server_hostname=self._host)
        self.phase = Phase.ANSWER
        connection = http.client.HTTPConnection(self._host, self._port)
        connection.sock = self._sock
        sent = {
            "Host": self._url.netloc.rpartition("@")[2],
            "User-Agent": f"Deployer/{__version__} (test delivery)",
            "Connection": "close",
            **self._headers,
        }
        # Whoever refuses a body may answer and close before it has all of it.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", self._url.path, self._body, sent)
        answer = connection.getresponse()
        body = answer.read(_READ_BYTES).decode("utf-8", "replace")
        return Reply(answer.status, answer.reason, dict(answer.headers.items()), body)

    def close(self) -> None:
        """Also ends what still waits for this connection in another thread."""
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
            self._sock.close()


def _recorded(installation: Installation, project_id: str, guid: str, by: str, sent_at: datetime) -> Any:
    """What was recorded of the delivery ``guid``; or of one that the same person sent since, by its mark: a proxy may
    put an id of its own in the place of the delivery's."""
    is_marked = sa.and_(Delivery.asked_by == by, Delivery.replay_of.is_(None), Delivery.received_at >= sent_at)
    with installation.database.read() as connection:
        wanted = sa.select(Delivery.id, Delivery.verdict, Delivery.reason).where(
            Delivery.project_id == project_id, sa.or_(Delivery.guid == guid, is_marked)
        )
        return connection.execute(wanted.order_by(Delivery.received_at.desc()).limit(1)).first()


def _repository(address: str) -> str:
    """``owner/name`` of a repository's address."""
    return "/".join(address.rstrip("/").removesuffix(".git").replace(":", "/").split("/")[-2:])


def _shown(reply: Reply, hidden: Redactor) -> Reply:
    """The beginning of what came back: no secret, and nothing but text."""

    def plain(text: str) -> str:
        found = CONTROL.sub("", hidden.text(text.encode("utf-8", "replace").decode("utf-8"))).strip()
        return found if len(found) <= SHOWN_CHARACTERS else f"{found[:SHOWN_CHARACTERS]}…"

    headers = {name: plain(value) for name, value in reply.headers.items()}
    return replace(reply, phrase=plain(reply.phrase), headers=headers, body=plain(reply.body))
