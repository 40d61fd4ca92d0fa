"""``POST /webhook/<project>``: verify → record a delivery → enqueue → answer.

This is the one hot path, so it is plain WSGI in front of the Flask application. Requests that come together are
committed together: each request's thread verifies and parses, one writer thread records what has gathered with a
single COMMIT, and only then are they answered. 200 means "on disk".
"""

from __future__ import annotations

import json
import logging
import os
import queue as queues
import re
import threading
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

import sqlalchemy as sa

from deployer import clock, projects
from deployer.deployments import queue, verdicts
from deployer.deployments.queue import Recorded, Request
from deployer.deployments.verdicts import Decision
from deployer.errors import PayloadInvalid, SecretUnreadable, SignatureInvalid, StorageUnavailable
from deployer.installation import Installation
from deployer.models.delivery import Verdict
from deployer.models.project import Project
from deployer.providers import github

log = logging.getLogger("deployer.hooks")

PREFIX = "/webhook/"
MAX_BODY_BYTES = 25 * 1024 * 1024
"""GitHub sends at most 25 MB ("Webhook events and payloads", payload cap)."""

BODY_PATIENCE_S = 60.0
"""For the whole body; each read of it has `server.RECEIVE_PATIENCE_S`."""

MAX_BATCH = 256
RETRY_AFTER_S = 60

_PROJECT_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_KEPT_HEADERS = {
    "HTTP_X_GITHUB_EVENT": "X-GitHub-Event",
    "HTTP_X_GITHUB_DELIVERY": "X-GitHub-Delivery",
    "HTTP_X_GITHUB_HOOK_ID": "X-GitHub-Hook-ID",
    "HTTP_USER_AGENT": "User-Agent",
    "CONTENT_TYPE": "Content-Type",
    "CONTENT_LENGTH": "Content-Length",
}
_UNVERIFIED = Decision(Verdict.UNVERIFIED, "The signature is missing or does not match the project's webhook secret")
_NO_BODY = Decision(Verdict.REFUSED, "The body is not a JSON object")

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


class _Refusal(Exception):
    """An answer that is decided before anything can be recorded."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        self.status = status
        self.text = text


class Receiver:
    """The WSGI application of webhooks."""

    def __init__(self, installation: Installation) -> None:
        self._database = installation.database
        self._vault = installation.vault
        self._writer = DeliveryWriter(installation)
        self._secrets: dict[str, tuple[bytes, bytes]] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        headers: list[tuple[str, str]] = []
        try:
            status, text, deployment_id = self._receive(environ)
            if deployment_id:
                headers.append(("X-Deployment-Id", deployment_id))
            if status is HTTPStatus.TOO_MANY_REQUESTS:
                headers.append(("Retry-After", str(RETRY_AFTER_S)))
        except _Refusal as refusal:
            status, text = refusal.status, refusal.text
            if status is HTTPStatus.METHOD_NOT_ALLOWED:
                headers.append(("Allow", "POST"))
        except (StorageUnavailable, SecretUnreadable, sa.exc.DBAPIError) as error:
            log.error("a delivery could not be recorded: %s", error)
            status, text = HTTPStatus.SERVICE_UNAVAILABLE, "The push could not be recorded; try again later"
        body = text.encode()
        headers += [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
        headers.append(("X-Content-Type-Options", "nosniff"))
        start_response(f"{status.value} {status.phrase}", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _receive(self, environ: Environ) -> tuple[HTTPStatus, str, str | None]:
        if environ["REQUEST_METHOD"] != "POST":
            raise _Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "Send a POST request")
        project_id = environ["PATH_INFO"][len(PREFIX) :]
        secret = self._secret(project_id)
        if secret is None:
            self._writer.count_unknown()
            raise _Refusal(HTTPStatus.NOT_FOUND, "Project not found")
        raw = _read_body(environ)
        signature = environ.get("HTTP_X_HUB_SIGNATURE_256")
        if not raw and signature is None:
            raise _Refusal(HTTPStatus.BAD_REQUEST, "No body")
        for _ in range(3):
            request = self._examine(environ, project_id, secret, raw, signature)
            if request.decision is _UNVERIFIED:
                # Rotated by another process, perhaps: what is stored decides.
                fresh = self._secret(project_id, known=secret)
                if fresh is not None and fresh != secret:
                    secret = fresh
                    continue
                self._writer.record_later(request)
                return HTTPStatus.UNAUTHORIZED, "Unauthorized", None
            recorded = self._writer.record(request)
            if recorded.decision is not None:
                return _answer(recorded)
            # The project was deleted, or its secret rotated, between the check and the transaction.
            fresh = self._secret(project_id, known=secret)
            if fresh is None:
                break
            secret = fresh
        raise _Refusal(HTTPStatus.NOT_FOUND, "Project not found")

    def _secret(self, project_id: str, known: tuple[bytes, bytes] | None = None) -> tuple[bytes, bytes] | None:
        """The stored and the opened webhook secret of a project. With ``known`` the cache is passed by.

        The cache need not be told of changes: a signature that does not match is tried again with what is stored,
        and the writer's transaction refuses one that was checked with a secret that is no longer there.
        """
        if known is None and project_id in self._secrets:
            return self._secrets[project_id]
        if not _PROJECT_ID.match(project_id):
            return None
        with self._database.read() as connection:
            sealed = connection.scalar(sa.select(Project.webhook_secret).where(Project.id == project_id))
        if sealed is None:
            self._secrets.pop(project_id, None)
            return None
        if known is not None and sealed == known[0]:
            return known
        opened = self._vault.open(sealed, projects.place(project_id, "webhook_secret"))
        self._secrets[project_id] = (sealed, opened)
        return self._secrets[project_id]

    def _examine(
        self, environ: Environ, project_id: str, secret: tuple[bytes, bytes], raw: bytes, signature: str | None
    ) -> Request:
        """Verify and parse one request into what is recorded of it."""
        received_at = clock.now()
        address = environ.get("REMOTE_ADDR") or None
        try:
            github.verify(raw, signature, secret[1])
        except SignatureInvalid:
            return Request(project_id, github.NAME, received_at, decision=_UNVERIFIED, remote_address=address)
        name = environ.get("HTTP_X_GITHUB_EVENT")
        try:
            event = github.parse(raw, environ.get("CONTENT_TYPE", ""), name)
            decision = None
        except PayloadInvalid:
            event, decision = None, _NO_BODY
        guid = environ.get("HTTP_X_GITHUB_DELIVERY", "")
        return Request(
            project_id,
            github.NAME,
            received_at,
            event=event,
            decision=decision,
            sealed_secret=secret[0],
            event_name=event.name if event else None,
            guid=guid if 0 < len(guid) <= 64 and guid.isascii() else None,
            headers=json.dumps({label: environ[key][:255] for key, label in _KEPT_HEADERS.items() if key in environ}),
            remote_address=address,
        )


def _answer(recorded: Recorded) -> tuple[HTTPStatus, str, str | None]:
    decision = recorded.decision
    assert decision is not None
    if decision is _NO_BODY:
        return HTTPStatus.BAD_REQUEST, "No body", None
    if decision.reason == verdicts.QUEUE_FULL:
        return HTTPStatus.TOO_MANY_REQUESTS, decision.reason, None
    return HTTPStatus.OK, decision.reason, recorded.deployment_id


def _read_body(environ: Environ) -> bytes:
    """The raw body, of at most 25 MiB."""
    length = environ.get("CONTENT_LENGTH") or ""
    # Without a length the body is chunked, and its server says where it ends (gunicorn's input_terminated).
    rest = int(length) if length.isdigit() else MAX_BODY_BYTES + 1
    if length and rest > MAX_BODY_BYTES:
        raise _Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is larger than 25 MiB")
    if not length and not environ.get("wsgi.input_terminated"):
        return b""
    stream = environ["wsgi.input"]
    deadline = time.monotonic() + BODY_PATIENCE_S
    parts: list[bytes] = []
    size = 0
    try:
        while part := stream.read(min(256 * 1024, rest - size)):
            parts.append(part)
            size += len(part)
            if size > MAX_BODY_BYTES:
                raise _Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is larger than 25 MiB")
            if time.monotonic() > deadline:
                raise _Refusal(HTTPStatus.REQUEST_TIMEOUT, "The body came too slowly")
    except (TimeoutError, BlockingIOError) as error:
        # The listening socket's SO_RCVTIMEO, which every connection inherits.
        raise _Refusal(HTTPStatus.REQUEST_TIMEOUT, "The body came too slowly") from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


class _Slot:
    """One request's place in the writer's queue."""

    __slots__ = ("_done", "error", "recorded", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.recorded: Recorded | None = None
        self.error: Exception | None = None
        self._done = threading.Lock()
        self._done.acquire()

    def wait(self) -> Recorded:
        self._done.acquire()
        if self.error is not None:
            raise self.error
        assert self.recorded is not None
        return self.recorded

    def answer(self, recorded: Recorded | None, error: Exception | None = None) -> None:
        self.recorded, self.error = recorded, error
        self._done.release()


class DeliveryWriter:
    """The one thread of this process that records deliveries, as many in a transaction as have gathered."""

    MAX_LATER = 1000
    """Bad signatures that may wait to be recorded; more are dropped, so that a stranger cannot fill the memory."""

    def __init__(self, installation: Installation) -> None:
        self._database = installation.database
        self._max_queued = installation.config.runner.max_queued
        self._slots: queues.SimpleQueue[_Slot | None] = queues.SimpleQueue()
        self._starting = threading.Lock()
        self._pid = 0
        self._unknown = 0

    def record(self, request: Request) -> Recorded:
        """Record a request; returns once it is on disk. Raises StorageUnavailable."""
        slot = _Slot(request)
        self._put(slot)
        return slot.wait()

    def record_later(self, request: Request) -> None:
        """The same without waiting, for what nobody needs to be told about."""
        if self._slots.qsize() < self.MAX_LATER:
            self._put(_Slot(request))

    def count_unknown(self) -> None:
        """One more request to a project that does not exist."""
        self._unknown += 1
        if self._slots.empty():
            self._put(None)

    def _put(self, slot: _Slot | None) -> None:
        # A thread does not survive the fork of a worker, so it is started by the first request.
        if self._pid != os.getpid():
            with self._starting:
                if self._pid != os.getpid():
                    self._pid = os.getpid()
                    threading.Thread(target=self._work, name="deliveries", daemon=True).start()
        self._slots.put(slot)

    def _work(self) -> None:
        while True:
            gathered = [self._slots.get()]
            while len(gathered) < MAX_BATCH:
                try:
                    gathered.append(self._slots.get_nowait())
                except queues.Empty:
                    break
            self._record([slot for slot in gathered if slot is not None])

    def _record(self, slots: list[_Slot]) -> None:
        unknown, self._unknown = self._unknown, 0
        try:
            with self._database.write() as connection:
                if unknown:
                    queue.count(connection, queue.UNKNOWN_PROJECT, unknown)
                answers = queue.record(connection, [slot.request for slot in slots], self._max_queued)
        except Exception as error:
            if isinstance(error, StorageUnavailable) or len(slots) <= 1:
                self._refuse(slots, error)
            else:
                # One by one, so that a bad one does not take the others with it.
                for slot in slots:
                    self._record([slot])
            return
        for slot, answer in zip(slots, answers, strict=True):
            slot.answer(answer)

    @staticmethod
    def _refuse(slots: list[_Slot], error: Exception) -> None:
        if not isinstance(error, StorageUnavailable):
            log.error("a delivery could not be recorded", exc_info=error)
            error = StorageUnavailable("The push could not be recorded.")
        for slot in slots:
            slot.answer(None, error)
