"""GitLab's deliveries.

Sources: "Webhooks" (the secret token in ``X-Gitlab-Token``, the signing token of GitLab 19 and newer, the headers of
a delivery) and "Webhook events" (``Push Hook``, ``Tag Push Hook``) of GitLab's documentation; the specification of
Standard Webhooks for how a signing token signs.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from typing import Any

from deployer.errors import SignatureInvalid
from deployer.providers import base
from deployer.providers.base import Event, Headers, Instructions, Provider, Push, harmless

SIGNING = "whsec_"
"""How a signing token begins. What is behind it is the key, in base64."""

TOLERANCE_S = 5 * 60
"""A signature that was made longer ago, or later by so much, is refused (Standard Webhooks: the time is to be near;
its reference libraries take five minutes)."""

_TIMESTAMP = re.compile(r"[0-9]{1,12}\Z")
_PUSHES = ("push", "tag_push")


class GitLab(Provider):
    name = "gitlab"
    label = "GitLab"
    signatures = ("webhook-signature", "X-Gitlab-Token")
    kept = (
        "X-Gitlab-Event",
        "X-Gitlab-Event-UUID",
        "X-Gitlab-Webhook-UUID",
        "X-Gitlab-Instance",
        "Idempotency-Key",
        "webhook-id",
        "webhook-timestamp",
    )
    instructions = Instructions(
        "Settings → Webhooks → Add new webhook",
        "URL",
        "Secret token",
        choices=(
            ("Trigger", "Push events; and Tag push events, where tags are to deploy"),
            (
                "Signing token",
                "if your GitLab offers one: generate it there, and enter it here as a secret made elsewhere",
            ),
        ),
        then="GitLab sends nothing by itself. Test → Push events sends the newest push again, which then deploys.",
        page="/-/hooks",
    )

    def verify(self, raw: bytes, headers: Headers, secret: bytes) -> None:
        """By what the secret is: a signing token signs, and nothing else is then a proof; any other is a token."""
        base.require_secret(secret)
        if secret.startswith(SIGNING.encode()):
            _verify_signature(raw, headers, secret)
            return
        token = headers.get("X-Gitlab-Token")
        if token is None:
            raise SignatureInvalid("The token is missing.")
        if not hmac.compare_digest(hashlib.sha256(_bytes(token)).digest(), hashlib.sha256(secret).digest()):
            raise SignatureInvalid("The token does not match.")

    def parse(self, raw: bytes, headers: Headers, *, with_paths: bool = False) -> Event:
        document = base.document_of(raw)
        name = harmless(headers.get("X-Gitlab-Event"), 64) or ""
        repository = harmless(base.text(base.part(document, "project"), "path_with_namespace"), 255)
        # A system hook says only in its body what it is about.
        kind = base.text(document, "object_kind") or base.text(document, "event_name")
        if kind not in _PUSHES:
            return Event(name, repository=repository)
        return Event(name, push=_push(document, repository, with_paths), repository=repository)

    def delivery_id(self, headers: Headers) -> str | None:
        # It stays the same when GitLab tries again; the event's does not differ between the hooks of a project.
        return headers.get("Idempotency-Key") or headers.get("webhook-id") or headers.get("X-Gitlab-Event-UUID")

    def sign(self, body: bytes, secret: bytes, guid: str) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "X-Gitlab-Event": "Tag Push Hook" if b'"tag_push"' in body else "Push Hook",
            "Idempotency-Key": guid,
        }
        if not secret.startswith(SIGNING.encode()):
            return headers | {"X-Gitlab-Token": secret.decode()}
        now = str(int(time.time()))
        return headers | {
            "webhook-id": guid,
            "webhook-timestamp": now,
            "webhook-signature": f"v1,{base64.b64encode(_signature(body, guid, now, secret)).decode()}",
        }

    def push_document(self, branch: str, sha: str, pusher: str, repository: str) -> dict[str, Any]:
        return {
            "object_kind": "push",
            "event_name": "push",
            "before": "0" * len(sha),
            "after": sha,
            "ref": f"{base.BRANCHES}{branch}",
            "checkout_sha": sha,
            "user_username": pusher,
            "project": {"path_with_namespace": repository},
            "commits": [],
            "total_commits_count": 0,
        }


def signing_problem(secret: str) -> str | None:
    """Why ``secret``, which begins as a signing token does, is none; None if it is one."""
    try:
        key = base64.b64decode(secret.removeprefix(SIGNING), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < 16:
        return f"a signing token is {SIGNING} and at least 16 bytes in base64; copy all of it"
    return None


def _bytes(value: str) -> bytes:
    """A header's value as it came: WSGI decodes it as Latin-1 (PEP 3333)."""
    return value.encode("latin-1", "replace")


def _verify_signature(raw: bytes, headers: Headers, secret: bytes) -> None:
    given = headers.get("webhook-signature")
    guid, timestamp = headers.get("webhook-id"), headers.get("webhook-timestamp")
    if not given or not guid or not timestamp or not _TIMESTAMP.match(timestamp):
        raise SignatureInvalid("The signature is missing or malformed.")
    if abs(time.time() - int(timestamp)) > TOLERANCE_S:
        raise SignatureInvalid("The signature was made too long ago, or this host's clock is wrong.")
    expected = b"v1," + base64.b64encode(_signature(raw, guid, timestamp, secret))
    # While a token is exchanged there are several signatures, with spaces between.
    if not any(hmac.compare_digest(expected, _bytes(one)) for one in given.split(" ")):
        raise SignatureInvalid("The signature does not match.")


def _signature(raw: bytes, guid: str, timestamp: str, secret: bytes) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(SIGNING.encode()), validate=True)
    except binascii.Error:
        key = b""
    base.require_secret(key)
    return hmac.digest(key, _bytes(f"{guid}.{timestamp}.") + raw, hashlib.sha256)


def _push(document: Mapping[str, Any], repository: str | None, with_paths: bool) -> Push:
    text = base.text
    ref = harmless(text(document, "ref"), 512) or ""
    after, before = text(document, "after"), text(document, "before")
    is_deleted = base.is_zero(after)
    # Of an annotated tag ``after`` is the tag, and this its commit.
    sha = base.sha_of(text(document, "checkout_sha")) or base.sha_of(after)
    commits = base.objects(document, "commits")
    # The newest twenty, the newest last.
    head: Mapping[str, Any] = next((one for one in reversed(commits) if text(one, "id") == sha), {})
    author = base.part(head, "author")
    page = text(base.part(document, "project"), "web_url")
    is_update = base.sha_of(before) is not None and not is_deleted
    return Push(
        ref=ref,
        branch=base.branch_of(ref),
        tag=base.tag_of(ref),
        is_deleted=is_deleted,
        sha=None if is_deleted else sha,
        message=harmless(text(head, "message"), 10_000),
        author_name=harmless(text(author, "name"), 255),
        author_email=harmless(text(author, "email"), 255),
        pusher=harmless(text(document, "user_username") or text(document, "user_name"), 255),
        compare_url=base.web_address(f"{page}/-/compare/{before}...{after}") if page and is_update else None,
        repository=repository,
        paths=_paths(document, commits) if with_paths and is_update else None,
    )


def _paths(document: Mapping[str, Any], commits: list[Mapping[str, Any]]) -> tuple[str, ...] | None:
    total = document.get("total_commits_count")
    if not isinstance(total, int) or total != len(commits):
        return None
    return base.paths_of(commits)
