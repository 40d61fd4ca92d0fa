"""``POST /webhook/<project>``: verify → record a delivery → enqueue → answer.

This is the one hot path, so it is plain WSGI in front of the Flask application. Requests that come together are
committed together: each request's thread verifies and parses, one writer thread records what has gathered with a
single COMMIT, and only then are they answered. 200 means "on disk".
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import msgspec
import sqlalchemy as sa
from werkzeug.exceptions import RequestTimeout

from deployer import clock, project_secrets
from deployer.delivery_writer import DeliveryWriter
from deployer.deployments import payloads, verdicts
from deployer.deployments.deliveries import READ_AS, Recorded, Request
from deployer.deployments.verdicts import Decision
from deployer.errors import PayloadInvalid, SecretUnreadable, SignatureInvalid, StorageUnavailable
from deployer.installation import Installation
from deployer.models.delivery import Verdict
from deployer.models.project import Project
from deployer.providers.base import Provider
from deployer.providers.generic import Settings
from deployer.providers.known import provider
from deployer.security import keyfile, marks

log = logging.getLogger("deployer.hooks")

PREFIX = "/webhook/"
MAX_BODY_BYTES = 25 * 1024 * 1024
"""GitHub sends at most 25 MB ("Webhook events and payloads", payload cap)."""

BODY_PATIENCE_S = 60.0
"""For the whole body. Our own web process holds each wait for its next bytes to that (`deployer.request_reader`)."""

RETRY_AFTER_S = 60

_PROJECT_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_KEPT_HEADERS = ("User-Agent", "Content-Type", "Content-Length")
"""Of every request, beside what its provider keeps."""

_UNVERIFIED = Decision(Verdict.UNVERIFIED, "The signature is missing or does not match the project's webhook secret")
_NO_BODY = Decision(Verdict.REFUSED, "The body is not a JSON object")

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


@dataclass(frozen=True)
class Answer:
    """What a webhook request is answered with: plain text, and headers that say more."""

    status: HTTPStatus
    text: str
    deployment_id: str | None = None

    def send(self, start_response: StartResponse, *, is_head: bool = False) -> list[bytes]:
        """As a WSGI answer."""
        body = self.text.encode()
        start_response(f"{self.status.value} {self.status.phrase}", self._headers(body))
        return [] if is_head else [body]

    def wire(self, *, is_kept: bool) -> bytes:
        """As bytes of HTTP/1.1 (RFC 9112)."""
        body = self.text.encode()
        lines = [f"HTTP/1.1 {self.status.value} {self.status.phrase}", f"Date: {formatdate(usegmt=True)}"]
        lines += [f"{name}: {value}" for name, value in self._headers(body)]
        lines.append(f"Connection: {'keep-alive' if is_kept else 'close'}\r\n\r\n")
        return "\r\n".join(lines).encode("latin-1") + body

    def _headers(self, body: bytes) -> list[tuple[str, str]]:
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("X-Content-Type-Options", "nosniff"),
        ]
        if self.deployment_id:
            headers.append(("X-Deployment-Id", self.deployment_id))
        if self.status is HTTPStatus.TOO_MANY_REQUESTS:
            headers.append(("Retry-After", str(RETRY_AFTER_S)))
        if self.status is HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("Allow", "POST"))
        return headers


_NOT_FOUND = Answer(HTTPStatus.NOT_FOUND, "Project not found")
_TOO_LARGE = Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is larger than 25 MiB")
_TOO_SLOW = Answer(HTTPStatus.REQUEST_TIMEOUT, "The body came too slowly")
_NOT_RECORDED = Answer(HTTPStatus.SERVICE_UNAVAILABLE, "The push could not be recorded; try again later")


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a project: its webhook secret, as it is stored and opened, and how its requests are read."""

    sealed: bytes
    secret: bytes
    read_as: tuple[object, ...]
    provider: Provider
    with_paths: bool


class _Headers:
    """A request's headers, as WSGI names them (PEP 3333)."""

    def __init__(self, environ: Environ) -> None:
        self._environ = environ

    def get(self, name: str, /) -> str | None:
        return self._environ.get(_wsgi_name(name))


@lru_cache(maxsize=256)
def _wsgi_name(header: str) -> str:
    name = header.upper().replace("-", "_")
    return name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"


class _Refusal(Exception):
    """An answer that is decided before anything can be recorded."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


class Receiver:
    """The WSGI application of webhooks."""

    def __init__(self, installation: Installation) -> None:
        self._database = installation.database
        self._vault = installation.vault
        self._mark_key = keyfile.derive(installation.key, marks.FIELD)
        self._writer = DeliveryWriter(installation)
        self._known: dict[str, _Known] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        (answer,) = self.receive([environ])
        return answer.send(start_response, is_head=environ["REQUEST_METHOD"] == "HEAD")

    def receive(self, environs: Sequence[Environ]) -> list[Answer]:
        """Answers to requests that are there together, in their order; what they ask for is then on disk."""
        answers: list[Answer | None] = [None] * len(environs)
        deciding = {index: self._decide(environ) for index, environ in enumerate(environs)}
        recorded: dict[int, Recorded | StorageUnavailable | None] = dict.fromkeys(deciding)
        while recorded:
            requests: dict[int, Request] = {}
            for index, known in recorded.items():
                try:
                    step = deciding[index]
                    requests[index] = step.throw(known) if isinstance(known, Exception) else step.send(known)
                except StopIteration as done:
                    answers[index] = done.value
                except _Refusal as refusal:
                    answers[index] = refusal.answer
                except (StorageUnavailable, SecretUnreadable, sa.exc.DBAPIError) as error:
                    log.error("a delivery could not be recorded: %s", error)
                    answers[index] = _NOT_RECORDED
            recorded = dict(zip(requests, self._writer.record(list(requests.values())), strict=True))
        return [answer or _NOT_RECORDED for answer in answers]

    def _decide(self, environ: Environ) -> Generator[Request, Recorded | None, Answer]:
        """One request from its head to its answer. Yields what is to be recorded, and is sent what became of it."""
        if environ["REQUEST_METHOD"] != "POST":
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, "Send a POST request")
        project_id = environ["PATH_INFO"][len(PREFIX) :]
        known = self._look_up(project_id)
        if known is None:
            self._writer.count_unknown()
            return _NOT_FOUND
        raw = _read_body(environ)
        if not raw and all(_wsgi_name(name) not in environ for name in known.provider.signatures):
            return Answer(HTTPStatus.BAD_REQUEST, "No body")
        for _ in range(3):
            request = self._examine(environ, project_id, known, raw)
            if request.decision is _UNVERIFIED:
                # Changed by another process, perhaps: what is stored decides.
                fresh = self._look_up(project_id, known)
                if fresh is not None and fresh is not known:
                    known = fresh
                    continue
                self._writer.record_later(request)
                return Answer(HTTPStatus.UNAUTHORIZED, "Unauthorized")
            recorded = yield request
            if recorded and recorded.decision is not None:
                return _answer(recorded.decision, recorded.deployment_id)
            # The project was deleted or changed between the check and the transaction.
            fresh = self._look_up(project_id, known)
            if fresh is None:
                break
            known = fresh
        return _NOT_FOUND

    def _look_up(self, project_id: str, known: _Known | None = None) -> _Known | None:
        """What is known of a project; None where there is none. With ``known`` the cache is passed by, and that is
        answered where it still holds.

        The cache need not be told of changes: a signature that does not match is tried again with what is stored,
        and the writer's transaction refuses what was examined by settings that are no longer there.
        """
        if known is None and project_id in self._known:
            return self._known[project_id]
        if not _PROJECT_ID.match(project_id):
            return None
        with self._database.read() as connection:
            row = connection.execute(_SELECT_KNOWN.where(Project.id == project_id)).first()
        if row is None:
            self._known.pop(project_id, None)
            return None
        sealed, read_as = row[0], row[1:]
        if known is not None and (sealed, read_as) == (known.sealed, known.read_as):
            return known
        secret = self._vault.open(sealed, project_secrets.place(project_id, "webhook_secret"))
        found = _Known(sealed, secret, read_as, provider(row[1], Settings(*row[2:6])), any(row[6:]))
        self._known[project_id] = found
        return found

    def _examine(self, environ: Environ, project_id: str, known: _Known, raw: bytes) -> Request:
        """Verify and parse one request into what is recorded of it."""
        received_at = clock.now()
        address = environ.get("REMOTE_ADDR") or None
        forge, headers = known.provider, _Headers(environ)
        try:
            forge.verify(raw, headers, known.secret)
        except SignatureInvalid:
            return Request(project_id, forge.name, received_at, decision=_UNVERIFIED, remote_address=address)
        try:
            event = forge.parse(raw, headers, with_paths=known.with_paths)
            decision = None
        except PayloadInvalid:
            event, decision = None, _NO_BODY
        mark = marks.find(raw, self._mark_key, project_id)
        if mark and event and not mark.deploys:
            decision = verdicts.TEST
        guid = forge.delivery_id(headers) or ""
        return Request(
            project_id,
            forge.name,
            received_at,
            event=event,
            decision=decision,
            sealed_secret=known.sealed,
            read_as=known.read_as,
            event_name=event.name if event else None,
            guid=guid if 0 < len(guid) <= 64 and guid.isascii() else None,
            headers=_kept_headers(environ, forge),
            remote_address=address,
            payload=payloads.pack(raw),
            asked_by=mark.by if mark else None,
        )


_SELECT_KNOWN = sa.select(Project.webhook_secret, *READ_AS)


@lru_cache(maxsize=64)
def _kept_names(kept: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((name, _wsgi_name(name)) for name in (*kept, *_KEPT_HEADERS))


def _kept_headers(environ: Environ, forge: Provider) -> str:
    kept = {name: environ[key][:255] for name, key in _kept_names(forge.kept) if key in environ}
    return msgspec.json.encode(kept).decode()


def _answer(decision: Decision, deployment_id: str | None) -> Answer:
    if decision is _NO_BODY:
        return Answer(HTTPStatus.BAD_REQUEST, "No body")
    if decision.reason == verdicts.QUEUE_FULL:
        return Answer(HTTPStatus.TOO_MANY_REQUESTS, decision.reason)
    return Answer(HTTPStatus.OK, decision.reason, deployment_id)


def _read_body(environ: Environ) -> bytes:
    """The raw body, of at most 25 MiB."""
    length = environ.get("CONTENT_LENGTH") or ""
    # Without a length the body is chunked, and its server says where it ends (gunicorn's input_terminated).
    rest = int(length) if length.isdigit() else MAX_BODY_BYTES + 1
    if length and rest > MAX_BODY_BYTES:
        raise _Refusal(_TOO_LARGE)
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
                raise _Refusal(_TOO_LARGE)
            if time.monotonic() > deadline:
                raise _Refusal(_TOO_SLOW)
    except (RequestTimeout, TimeoutError, BlockingIOError) as error:
        raise _Refusal(_TOO_SLOW) from error
    return parts[0] if len(parts) == 1 else b"".join(parts)
