"""Deliveries of Bitbucket Cloud, and of Bitbucket Server and Data Center.

Sources: "Manage webhooks" (the HMAC-SHA256 of the raw body in ``X-Hub-Signature``, as ``sha256=<hex>``) and "Event
payloads" of Atlassian's documentation for each. One request tells of all refs that a push changed. Which paths
changed is in neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from deployer.providers import base
from deployer.providers.base import Event, Headers, Instructions, Provider, Push, harmless

MAX_CHANGES = 1000
"""Changed refs of one request that are looked at."""

_RAW_AUTHOR = re.compile(r"(?P<name>[^<]*?)\s*<(?P<email>[^>]*)>")


class _Bitbucket(Provider):
    signatures = ("X-Hub-Signature",)

    def verify(self, raw: bytes, headers: Headers, secret: bytes) -> None:
        base.verify_hmac(raw, headers.get("X-Hub-Signature"), secret)


class BitbucketCloud(_Bitbucket):
    name = "bitbucket"
    label = "Bitbucket Cloud"
    kept = ("X-Event-Key", "X-Request-UUID", "X-Hook-UUID", "X-Attempt-Number")
    instructions = Instructions(
        "Repository settings → Webhooks → Add webhook",
        "URL",
        "Secret",
        choices=(("Status", "Active"), ("Triggers", "Repository push")),
        then="Bitbucket sends nothing by itself: the next push appears here.",
        page="/admin/webhooks",
    )

    def parse(self, raw: bytes, headers: Headers, *, with_paths: bool = False) -> Event:
        document = base.document_of(raw)
        name = harmless(headers.get("X-Event-Key"), 64) or ""
        repository = harmless(base.text(base.part(document, "repository"), "full_name"), 255)
        if name != "repo:push":
            return Event(name, repository=repository)
        pusher = _person(base.part(document, "actor"))
        changes = base.objects(base.part(document, "push"), "changes")[:MAX_CHANGES]
        return _event(name, [_cloud_push(one, pusher, repository) for one in changes], repository)

    def delivery_id(self, headers: Headers) -> str | None:
        return headers.get("X-Request-UUID")

    def sign(self, body: bytes, secret: bytes, guid: str) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "X-Event-Key": "repo:push",
            "X-Request-UUID": guid,
            "X-Hub-Signature": base.hmac_of(body, secret),
        }

    def push_document(self, branch: str, sha: str, pusher: str, repository: str) -> dict[str, Any]:
        new = {"type": "branch", "name": branch, "target": {"type": "commit", "hash": sha}}
        return {
            "actor": {"nickname": pusher},
            "repository": {"full_name": repository},
            "push": {"changes": [{"new": new, "old": None, "created": True, "closed": False, "forced": False}]},
        }


class BitbucketServer(_Bitbucket):
    name = "bitbucket-server"
    label = "Bitbucket Server or Data Center"
    kept = ("X-Event-Key", "X-Request-Id")
    instructions = Instructions(
        "Repository settings → Webhooks → Create webhook",
        "URL",
        "Secret",
        choices=(("Events", "Repository: Push"),),
        then="“Test connection” is answered with 401 where it is not signed: look at the next push instead.",
    )

    def parse(self, raw: bytes, headers: Headers, *, with_paths: bool = False) -> Event:
        document = base.document_of(raw)
        name = harmless(headers.get("X-Event-Key"), 64) or ""
        place = base.part(document, "repository")
        project, slug = base.text(base.part(place, "project"), "key"), base.text(place, "slug")
        repository = harmless(f"{project}/{slug}", 255) if project and slug else None
        if name != "repo:refs_changed":
            return Event(name, is_ping=name == "diagnostics:ping", repository=repository)
        pusher = harmless(base.text(base.part(document, "actor"), "name"), 255)
        commits = [base.part(document, "toCommit"), *base.objects(document, "commits")]
        changes = base.objects(document, "changes")[:MAX_CHANGES]
        return _event(name, [_server_push(one, commits, pusher, repository) for one in changes], repository)

    def delivery_id(self, headers: Headers) -> str | None:
        return headers.get("X-Request-Id")

    def sign(self, body: bytes, secret: bytes, guid: str) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "X-Event-Key": "repo:refs_changed",
            "X-Request-Id": guid,
            "X-Hub-Signature": base.hmac_of(body, secret),
        }

    def push_document(self, branch: str, sha: str, pusher: str, repository: str) -> dict[str, Any]:
        project, _, slug = repository.partition("/")
        ref = f"{base.BRANCHES}{branch}"
        change = {
            "ref": {"id": ref, "displayId": branch, "type": "BRANCH"},
            "refId": ref,
            "fromHash": "0" * len(sha),
            "toHash": sha,
            "type": "ADD",
        }
        return {
            "eventKey": "repo:refs_changed",
            "actor": {"name": pusher},
            "repository": {"slug": slug, "project": {"key": project}},
            "changes": [change],
        }


def _event(name: str, pushes: Sequence[Push], repository: str | None) -> Event:
    if not pushes:
        return Event(name, push=Push(ref=""), repository=repository)
    return Event(name, push=pushes[0], more=tuple(pushes[1:]), repository=repository)


def _person(account: Mapping[str, Any]) -> str | None:
    return harmless(base.text(account, "nickname") or base.text(account, "display_name"), 255)


def _cloud_push(change: Mapping[str, Any], pusher: str | None, repository: str | None) -> Push:
    """``new`` is what a branch or tag has become, ``old`` what it was; one of them is null where it was made or
    deleted."""
    new, old = base.part(change, "new"), base.part(change, "old")
    is_deleted = not new and bool(old)
    what = new or old
    name, kind = base.text(what, "name") or "", base.text(what, "type")
    # Mercurial's kinds are of the past.
    prefix = {"branch": base.BRANCHES, "tag": base.TAGS, "annotated_tag": base.TAGS}.get(kind or "")
    ref = harmless(f"{prefix}{name}", 512) or "" if prefix and name else ""
    target = base.part(new, "target")
    author = base.part(target, "author")
    match = _RAW_AUTHOR.match(base.text(author, "raw") or "")
    return Push(
        ref=ref,
        branch=base.branch_of(ref),
        tag=base.tag_of(ref),
        is_deleted=is_deleted,
        sha=None if is_deleted else base.sha_of(base.text(target, "hash")),
        message=harmless(base.text(target, "message"), 10_000),
        author_name=harmless(match["name"], 255) if match else _person(base.part(author, "user")),
        author_email=harmless(match["email"], 255) if match else None,
        pusher=pusher,
        compare_url=base.web_address(base.text(base.part(change, "links", "html"), "href")),
        repository=repository,
    )


def _server_push(
    change: Mapping[str, Any], commits: Sequence[Mapping[str, Any]], pusher: str | None, repository: str | None
) -> Push:
    """The newest commit is told apart from the changes, and by newer versions only."""
    ref = harmless(base.text(change, "refId") or base.text(base.part(change, "ref"), "id"), 512) or ""
    to = base.text(change, "toHash")
    is_deleted = base.text(change, "type") == "DELETE" or base.is_zero(to)
    head = next((one for one in commits if to and base.text(one, "id") == to), {})
    author = base.part(head, "author")
    return Push(
        ref=ref,
        branch=base.branch_of(ref),
        tag=base.tag_of(ref),
        is_deleted=is_deleted,
        sha=None if is_deleted else base.sha_of(to),
        message=harmless(base.text(head, "message"), 10_000),
        author_name=harmless(base.text(author, "displayName") or base.text(author, "name"), 255),
        author_email=harmless(base.text(author, "emailAddress"), 255),
        pusher=pusher,
        repository=repository,
    )
