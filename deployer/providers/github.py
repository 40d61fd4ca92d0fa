"""GitHub's deliveries.

Sources: "Validating webhook deliveries" (HMAC-SHA256 of the raw body in ``X-Hub-Signature-256``, as
``sha256=<hex>``) and "Webhook events and payloads" (``push``, ``ping``) of GitHub's documentation.
"""

from __future__ import annotations

from typing import Any

import msgspec

from deployer.providers import base
from deployer.providers.base import Event, Headers, Instructions, Provider, Push, harmless

MAX_COMMITS = 2048
MAX_FILES = 3000
"""So many commits of a push, and changed files of a commit, are listed at most ("Webhook events and payloads",
``push``)."""


class _Author(msgspec.Struct):
    name: str | None = None
    email: str | None = None


class _Commit(msgspec.Struct):
    message: str | None = None
    author: _Author | None = None


class _Pusher(msgspec.Struct):
    name: str | None = None


class _Repository(msgspec.Struct):
    full_name: str | None = None


class _Payload(msgspec.Struct):
    """The fields that are read; msgspec skips the others without building them."""

    ref: str | None = None
    after: str | None = None
    deleted: bool | None = None
    compare: str | None = None
    head_commit: _Commit | None = None
    pusher: _Pusher | None = None
    repository: _Repository | None = None


class _Files(msgspec.Struct):
    """What a commit changed."""

    added: list[str] | None = None
    modified: list[str] | None = None
    removed: list[str] | None = None


class _PayloadWithPaths(_Payload):
    created: bool | None = None
    forced: bool | None = None
    commits: list[_Files] | None = None


_decoder = msgspec.json.Decoder(_Payload)
_decoder_with_paths = msgspec.json.Decoder(_PayloadWithPaths)


class GitHub(Provider):
    name = "github"
    label = "GitHub"
    signatures = ("X-Hub-Signature-256",)
    kept = ("X-GitHub-Event", "X-GitHub-Delivery", "X-GitHub-Hook-ID")
    instructions = Instructions(
        "Settings → Webhooks → Add webhook",
        "Payload URL",
        "Secret",
        choices=(
            ("Content type", "application/json"),
            ("Events", "Just the push event"),
        ),
        then="GitHub sends a ping at once.",
        page="/settings/hooks/new",
    )

    def verify(self, raw: bytes, headers: Headers, secret: bytes) -> None:
        base.verify_hmac(raw, headers.get("X-Hub-Signature-256"), secret)

    def parse(self, raw: bytes, headers: Headers, *, with_paths: bool = False) -> Event:
        payload = _decode(base.json_of(raw, headers), with_paths)
        name = harmless(headers.get("X-GitHub-Event"), 64) or ""
        repository = harmless(payload.repository.full_name if payload.repository else None, 255)
        if name != "push":
            return Event(name, is_ping=name == "ping", repository=repository)
        return Event(name, push=_push(payload, repository), repository=repository)

    def delivery_id(self, headers: Headers) -> str | None:
        return headers.get("X-GitHub-Delivery")

    def sign(self, body: bytes, secret: bytes, guid: str) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "X-GitHub-Event": "push",
            "X-GitHub-Delivery": guid,
            "X-Hub-Signature-256": base.hmac_of(body, secret),
        }

    def push_document(self, branch: str, sha: str, pusher: str, repository: str) -> dict[str, Any]:
        return {
            "ref": f"{base.BRANCHES}{branch}",
            "before": sha,
            "after": sha,
            "created": False,
            "deleted": False,
            "forced": False,
            "repository": {"full_name": repository},
            "pusher": {"name": pusher},
            "commits": [],
            "head_commit": None,
        }


def _decode(body: bytes, with_paths: bool) -> _Payload:
    if not base.has_many_digits(body):
        try:
            return _decoder_with_paths.decode(body) if with_paths else _decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass  # The slow way decides: it also takes lone surrogates and fields of an unexpected type.
    return _lenient(base.document_of(body))


def _lenient(document: dict[str, Any]) -> _Payload:
    """The same fields from a document in which any of them may be missing or of another type."""
    commit, text = base.part(document, "head_commit"), base.text
    author = base.part(commit, "author")
    commits = document.get("commits")
    try:
        files = msgspec.convert(commits, list[_Files]) if commits else None
    except msgspec.ValidationError:
        files = None
    return _PayloadWithPaths(
        ref=text(document, "ref"),
        after=text(document, "after"),
        deleted=document.get("deleted") is True,
        created=document.get("created") is True,
        forced=document.get("forced") is True,
        compare=text(document, "compare"),
        commits=files,
        head_commit=_Commit(text(commit, "message"), _Author(text(author, "name"), text(author, "email"))),
        pusher=_Pusher(text(base.part(document, "pusher"), "name")),
        repository=_Repository(text(base.part(document, "repository"), "full_name")),
    )


def _push(payload: _Payload, repository: str | None) -> Push:
    ref = harmless(payload.ref, 512) or ""
    is_deleted = bool(payload.deleted) or base.is_zero(payload.after)
    commit = payload.head_commit or _Commit()
    author = commit.author or _Author()
    return Push(
        ref=ref,
        branch=base.branch_of(ref),
        tag=base.tag_of(ref),
        is_deleted=is_deleted,
        sha=None if is_deleted else base.sha_of(payload.after),
        message=harmless(commit.message, 10_000),
        author_name=harmless(author.name, 255),
        author_email=harmless(author.email, 255),
        pusher=harmless(payload.pusher.name if payload.pusher else None, 255),
        compare_url=base.web_address(payload.compare),
        repository=repository,
        paths=_paths(payload) if isinstance(payload, _PayloadWithPaths) else None,
    )


def _paths(payload: _PayloadWithPaths) -> tuple[str, ...] | None:
    """What a forced push takes away, and what a created ref has, is in no commit of the list."""
    commits = payload.commits or []
    if payload.created or payload.forced or len(commits) >= MAX_COMMITS:
        return None
    found: dict[str, None] = {}
    for commit in commits:
        if commit.added is None or commit.modified is None or commit.removed is None:
            return None
        names = [*commit.added, *commit.modified, *commit.removed]
        if len(names) >= MAX_FILES:
            return None
        found.update(dict.fromkeys(names))
    return base.known_paths(found)
