"""Deliveries of Gitea and of Forgejo, which come from one another and send alike.

Sources: "Webhooks" of Gitea's documentation (the HMAC-SHA256 of the raw body in ``X-Gitea-Signature``, in hexadecimal
and without a prefix; the same in ``X-Hub-Signature-256``) and of Forgejo's (``X-Forgejo-…`` beside it).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployer.errors import SignatureInvalid
from deployer.providers import base
from deployer.providers.base import Event, Headers, Instructions, Provider, Push, harmless


class Gitea(Provider):
    name = "gitea"
    label = "Gitea or Forgejo"
    signatures = ("X-Gitea-Signature", "X-Forgejo-Signature", "X-Hub-Signature-256")
    kept = (
        "X-Gitea-Event",
        "X-Gitea-Delivery",
        "X-Gitea-Event-Type",
        "X-Forgejo-Event",
        "X-Forgejo-Delivery",
        "X-Forgejo-Event-Type",
    )
    instructions = Instructions(
        "Settings → Webhooks → Add webhook → Gitea (or Forgejo)",
        "Target URL",
        "Secret",
        choices=(
            ("HTTP method", "POST"),
            ("POST content type", "application/json"),
            ("Trigger on", "Push events"),
            ("Branch filter", "* (Deployer has filters of its own)"),
        ),
        then="Then open the webhook and press “Test delivery”: it appears here, and does not deploy.",
        page="/settings/hooks/gitea/new",
    )

    def verify(self, raw: bytes, headers: Headers, secret: bytes) -> None:
        for name in self.signatures:
            given = headers.get(name)
            if given is not None:
                base.verify_hmac(raw, given, secret, "sha256=" if name.startswith("X-Hub") else "")
                return
        raise SignatureInvalid("The signature is missing.")

    def parse(self, raw: bytes, headers: Headers, *, with_paths: bool = False) -> Event:
        document = base.document_of(base.json_of(raw, headers))
        name = harmless(headers.get("X-Gitea-Event") or headers.get("X-Forgejo-Event"), 64) or ""
        repository = harmless(base.text(base.part(document, "repository"), "full_name"), 255)
        if name != "push":
            return Event(name, repository=repository)
        before, after = base.text(document, "before"), base.text(document, "after")
        if before == after and base.sha_of(after):
            # The test delivery of a webhook's page: the default branch's tip, pushed onto itself.
            return Event(name, is_ping=True, repository=repository)
        return Event(name, push=_push(document, repository, with_paths), repository=repository)

    def delivery_id(self, headers: Headers) -> str | None:
        return headers.get("X-Gitea-Delivery") or headers.get("X-Forgejo-Delivery")

    def sign(self, body: bytes, secret: bytes, guid: str) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "X-Gitea-Event": "push",
            "X-Gitea-Delivery": guid,
            "X-Gitea-Signature": base.hmac_of(body, secret, ""),
        }

    def push_document(self, branch: str, sha: str, pusher: str, repository: str) -> dict[str, Any]:
        return {
            "ref": f"{base.BRANCHES}{branch}",
            "before": "0" * len(sha),
            "after": sha,
            "commits": [],
            "total_commits": 0,
            "head_commit": None,
            "repository": {"full_name": repository},
            "pusher": {"login": pusher},
        }


def _push(document: Mapping[str, Any], repository: str | None, with_paths: bool) -> Push:
    text = base.text
    ref = harmless(text(document, "ref"), 512) or ""
    after = text(document, "after")
    is_deleted = base.is_zero(after)
    commits = base.objects(document, "commits")
    head = base.part(document, "head_commit") or next((one for one in commits if text(one, "id") == after), {})
    author, pusher = base.part(head, "author"), base.part(document, "pusher")
    is_update = base.sha_of(text(document, "before")) is not None
    return Push(
        ref=ref,
        branch=base.branch_of(ref),
        tag=base.tag_of(ref),
        is_deleted=is_deleted,
        sha=None if is_deleted else base.sha_of(after),
        message=harmless(text(head, "message"), 10_000),
        author_name=harmless(text(author, "name"), 255),
        author_email=harmless(text(author, "email"), 255),
        pusher=harmless(text(pusher, "login") or text(pusher, "username"), 255),
        compare_url=base.web_address(text(document, "compare_url")),
        repository=repository,
        paths=_paths(document, commits) if with_paths and is_update else None,
    )


def _paths(document: Mapping[str, Any], commits: list[Mapping[str, Any]]) -> tuple[str, ...] | None:
    """Only the newest commits are listed, beside how many there were; older versions do not say how many."""
    total = document.get("total_commits")
    if not isinstance(total, int) or total != len(commits):
        return None
    return base.paths_of(commits)
