"""What a forge is told: how a commit stands (and at GitHub, what was deployed where), and what its answers mean.

Pure: calls are built here and answers are read here; `sending` makes them.

Sources: https://docs.github.com/en/rest/commits/statuses and …/rest/deployments, https://docs.gitlab.com/api/commits/
("Set commit pipeline status"), https://docs.gitea.com/api (repoCreateStatus, Forgejo alike).
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlsplit

from deployer import __version__
from deployer.errors import ChannelError
from deployer.models.channel import ChannelKind
from deployer.models.deployment import Status, Trigger
from deployer.models.notification import Occasion
from deployer.notifications.carrier import Answer
from deployer.notifications.message import shortened
from deployer.notifications.telling import Telling

NAMES = {ChannelKind.GITHUB: "GitHub", ChannelKind.GITLAB: "GitLab", ChannelKind.GITEA: "Gitea"}
API_URLS = {ChannelKind.GITHUB: "https://api.github.com", ChannelKind.GITLAB: "https://gitlab.com/api/v4"}
"""Those of the forges that most use; Gitea and Forgejo are everybody's own."""

MAX_DESCRIPTION = 140

_STATES = {
    ChannelKind.GITHUB: ("pending", "success", "failure", "error", "error"),
    ChannelKind.GITLAB: ("running", "success", "failed", "failed", "canceled"),
    ChannelKind.GITEA: ("pending", "success", "failure", "error", "error"),
}
_DEPLOYMENT_STATES = ("in_progress", "success", "failure", "error", "inactive")
_ORDER = (Occasion.STARTED, Occasion.SUCCESS, Occasion.FAILURE, Occasion.INTERRUPTION, Occasion.CANCELLATION)

_RIGHTS = {
    ChannelKind.GITHUB: "It needs “Commit statuses: write” (and “Deployments: write” where an environment is named).",
    ChannelKind.GITLAB: "It needs the scope “api”, and the role Developer or higher.",
    ChannelKind.GITEA: "It needs “repository: read and write”, and its owner write access.",
}

# user@host:path (scp's form), or scheme://user@host:port/path.
_REPOSITORY = re.compile(r"(?:[a-z+]+://(?:[^@/]*@)?([^/:]+)(?::\d+)?/|[^@/:]+@([^/:]+):/?)(.+?)(?:\.git)?/*\Z")


@dataclass(frozen=True)
class Forge:
    """A channel to a forge. ``repository`` (``owner/name``) and ``environment`` may be empty."""

    kind: ChannelKind
    api_url: str
    token: str = field(repr=False)
    repository: str = ""
    environment: str = ""
    environment_url: str = ""

    @property
    def name(self) -> str:
        return NAMES[self.kind]


@dataclass(frozen=True)
class Call:
    """One request to a forge's API. ``body`` is JSON, or empty."""

    method: str
    url: str
    headers: dict[str, str] = field(repr=False)
    body: str = ""


# Where -----------------------------------------------------------------------------------------------------------


def repository_of(forge: Forge, url: str, *, must_be_there: bool) -> str:
    """``owner/name`` of a project's repository, unless the channel names one. Raises ChannelError where the address
    tells none, or (``must_be_there``) leads to another host than the forge's."""
    if forge.repository:
        return forge.repository
    match = _REPOSITORY.match(url)
    if match is None:
        raise ChannelError(
            f"The repository's address tells no owner and name for {forge.name}.",
            hint="Name the repository in the channel.",
            is_permanent=True,
        )
    host = (match[1] or match[2]).lower()
    if must_be_there and not is_host_of(forge, host):
        raise ChannelError(f"The repository is at {host}, not at {web_host(forge)}.", is_permanent=True)
    return match[3]


def is_host_of(forge: Forge, host: str) -> bool:
    """Whether a repository's host is the forge's; ``ssh.github.com`` and the like are."""
    return host == web_host(forge) or host.endswith(f".{web_host(forge)}")


def web_host(forge: Forge) -> str:
    """``github.com`` for ``https://api.github.com``."""
    return (urlsplit(forge.api_url).hostname or "").removeprefix("api.")


# What ------------------------------------------------------------------------------------------------------------


def state(forge: Forge, telling: Telling) -> str:
    """A superseded commit is contained in what is live, or asks for no deployment: nothing is wrong with it."""
    is_fine = telling.occasion is Occasion.CANCELLATION and telling.status is Status.SUPERSEDED
    return _STATES[forge.kind][_ORDER.index(Occasion.SUCCESS if is_fine else telling.occasion)]


def status_call(forge: Forge, repository: str, telling: Telling) -> Call:
    """How the commit stands."""
    given = {
        "state": state(forge, telling),
        "target_url": telling.link,
        "description": _description(telling),
        "context": f"deployer/{telling.project}",
    }
    if forge.kind is ChannelKind.GITLAB:
        path = f"/projects/{quote(repository, safe='')}/statuses/{telling.sha}"
    else:
        path = f"/repos/{quote(repository)}/statuses/{telling.sha}"
    return _call(forge, "POST", path, given)


def deployment_call(forge: Forge, repository: str, telling: Telling) -> Call:
    """GitHub: a deployment of the commit. No merge, and no other status is waited for: it has begun already."""
    given: dict[str, Any] = {
        "ref": telling.sha,
        "task": "deploy",
        "auto_merge": False,
        "required_contexts": [],
        "environment": forge.environment,
        "description": shortened(f"{telling.project} {telling.ref}", MAX_DESCRIPTION),
    }
    return _call(forge, "POST", f"/repos/{quote(repository)}/deployments", given)


def deployment_status_call(
    forge: Forge, repository: str, telling: Telling, remote_id: str, *, is_outdated: bool
) -> Call:
    """GitHub: how a deployment stands. One that is told late, after a newer one was live, is live no longer."""
    found = _DEPLOYMENT_STATES[_ORDER.index(telling.occasion)]
    given: dict[str, Any] = {
        "state": "inactive" if is_outdated and found == "success" else found,
        "log_url": telling.link,
        "description": _description(telling),
        "environment": forge.environment,
        "auto_inactive": not is_outdated,
    }
    if forge.environment_url:
        given["environment_url"] = forge.environment_url
    return _call(forge, "POST", f"/repos/{quote(repository)}/deployments/{quote(remote_id, safe='')}/statuses", given)


def look_call(forge: Forge, repository: str) -> Call:
    """The repository, to see whether it is reached, and what the token may."""
    if forge.kind is ChannelKind.GITLAB:
        return _call(forge, "GET", f"/projects/{quote(repository, safe='')}")
    return _call(forge, "GET", f"/repos/{quote(repository)}")


def _call(forge: Forge, method: str, path: str, given: dict[str, Any] | None = None) -> Call:
    headers = {"User-Agent": f"Deployer/{__version__}", "Accept": "application/json"}
    match forge.kind:
        case ChannelKind.GITHUB:
            headers |= {
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {forge.token}",
                "X-GitHub-Api-Version": "2022-11-28",
            }
        case ChannelKind.GITLAB:
            headers["PRIVATE-TOKEN"] = forge.token
        case _:
            headers["Authorization"] = f"token {forge.token}"
    if given is not None:
        headers["Content-Type"] = "application/json"
    return Call(method, forge.api_url.rstrip("/") + path, headers, json.dumps(given) if given is not None else "")


def _description(telling: Telling) -> str:
    back = telling.asked if telling.trigger is Trigger.ROLLBACK else ""
    words = (f"{telling.ref} {telling.word}", back, telling.duration, telling.cause_line)
    return shortened(" · ".join(filter(None, words)), MAX_DESCRIPTION)


# What it answers --------------------------------------------------------------------------------------------------


def judge(forge: Forge, repository: str, answer: Answer) -> None:
    """Raises ChannelError for what is no success, in words; permanent where a person must do something first."""
    if answer.is_success or _is_said_already(forge, answer):
        return
    name, status, said = forge.name, answer.status, _message(answer)
    wait_s = asked_wait(answer)
    if status == 429 or (status == 403 and (wait_s is not None or "rate limit" in said.lower())):
        raise ChannelError(f"{name} takes no more calls for now ({status}).", wait_s=wait_s, answer=answer.text)
    hint, is_permanent = "", 300 <= status < 500
    match status:
        case 401:
            words, hint = f"{name} refused the token: it is wrong, revoked or has expired.", "Enter another one."
        case 403:
            words, hint = f"The token may not write what is told of {repository} (403).", _RIGHTS[forge.kind]
        case 404:
            words = f"{name} has no repository {repository}, or the token may not see it (404)."
            hint = _RIGHTS[forge.kind]
        case 422:
            words = f"{name} refused what it was told (422): {said or 'it may not know the commit'}."
        case _ if 300 <= status < 400:
            words, hint = f"{name} answered {status}: it leads elsewhere.", "Enter the API's own address."
        case _:
            words = f"{name} answered {status}{f': {said}' if said else ''}."
    raise ChannelError(words, hint=hint, is_permanent=is_permanent, answer=answer.text)


def remote_id(answer: Answer) -> str:
    """GitHub's id of the deployment that was made. Raises ChannelError."""
    found = _json(answer).get("id")
    if not isinstance(found, int):
        raise ChannelError("GitHub made no deployment.", answer=answer.text)
    return str(found)


def may_write(forge: Forge, answer: Answer) -> bool | None:
    """Whether a token may write to a repository, as the forge shows it; None where it does not say."""
    permissions = _json(answer).get("permissions")
    if not isinstance(permissions, dict):
        return None
    if forge.kind is ChannelKind.GITLAB:
        # 30 is Developer: https://docs.gitlab.com/api/access_requests/
        levels = [one.get("access_level", 0) for one in permissions.values() if isinstance(one, dict)]
        return max(levels) >= 30 if levels else None
    found = permissions.get("push")
    return found if isinstance(found, bool) else None


def asked_wait(answer: Answer) -> float | None:
    """Seconds for which the server wants no further call (RFC 9110, 10.2.3, or a limit that is used up); None where
    it does not say."""
    headers = answer.headers
    given = headers.get("retry-after", "").strip()
    if given.isascii() and given.isdecimal():
        return float(given[:9])
    if given:
        try:
            return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
        except (ValueError, TypeError):
            return None
    reset = headers.get("x-ratelimit-reset") or headers.get("ratelimit-reset") or ""
    is_used_up = headers.get("x-ratelimit-remaining") == "0" or answer.status == 429
    if is_used_up and reset.isascii() and reset.isdecimal():
        return max(0.0, float(reset[:12]) - time.time())
    return None


def _is_said_already(forge: Forge, answer: Answer) -> bool:
    """GitLab refuses to be told once more what it knows, as after an answer that got lost."""
    return forge.kind is ChannelKind.GITLAB and answer.status == 400 and "Cannot transition status" in answer.text


def _message(answer: Answer) -> str:
    found = _json(answer)
    said = found.get("message") or found.get("error")
    return shortened(said if isinstance(said, str) else json.dumps(said), 300).rstrip(".") if said else ""


def _json(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
