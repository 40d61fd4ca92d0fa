"""Handing one notification to its channel: a chat by Apprise, a signed webhook, or a forge's API."""

from __future__ import annotations

import time
from dataclasses import dataclass

from deployer import clock
from deployer.errors import ChannelError
from deployer.models.channel import ChannelKind
from deployer.notifications import carrier, chat, forges, signed_webhook
from deployer.notifications.carrier import Answer
from deployer.notifications.forges import Call, Forge
from deployer.notifications.job import Job


@dataclass
class Done:
    """What an attempt has achieved so far, also where it fails after that."""

    answer: str = ""
    remote_id: str | None = None


class Line:
    """The way out for one attempt: all its requests together have so long."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._ends_at = time.monotonic() + carrier.SEND_TIMEOUT_S

    def notify(self, url: str, body: str, tone: str) -> None:
        carrier.notify(url, body, tone, allow_private=self._allow_private, timeout_s=self._left_s)

    def post(self, url: str, headers: dict[str, str], body: str) -> Answer:
        return carrier.request("POST", url, headers, body, allow_private=self._allow_private, timeout_s=self._left_s)

    def call(self, call: Call) -> Answer:
        return carrier.request(
            call.method,
            call.url,
            call.headers,
            call.body,
            allow_private=self._allow_private,
            timeout_s=self._left_s,
            read_bytes=carrier.READ_BYTES,
        )

    @property
    def _left_s(self) -> float:
        left_s = self._ends_at - time.monotonic()
        if left_s <= 0:
            raise ChannelError(f"It took longer than {carrier.SEND_TIMEOUT_S:g} s.")
        return round(left_s, 1)


def send(job: Job, line: Line, done: Done) -> None:
    """Raises ChannelError. What was achieved before that is in ``done``."""
    if job.forge:
        _tell_forge(job, job.forge, line, done)
    elif job.kind is ChannelKind.WEBHOOK:
        at = clock.now()
        document = signed_webhook.body(job.told, at)
        done.answer = _post(line, job.sealed, job.told.occasion, job.told.notification_id, document).text
    else:
        line.notify(job.sealed["url"], chat.line(job.told), chat.TONES[job.told.occasion])


def test(
    kind: ChannelKind, target: str, sealed: dict[str, str], forge: Forge | None, repository: str, line: Line
) -> str:
    """Send what says that it is a test; at a forge only look. What came of it, in words. Raises ChannelError."""
    if forge:
        answer = line.call(forges.look_call(forge, repository))
        forges.judge(forge, repository, answer)
        if forges.may_write(forge, answer) is False:
            raise ChannelError(f"{forge.name} shows {repository}, but the token may not write to it.")
        return f"{forge.name} shows {repository} to the token. Nothing was written."
    if kind is ChannelKind.WEBHOOK:
        delivery = clock.new_id()
        answer = _post(line, sealed, "test", delivery, signed_webhook.test_body(delivery, clock.now()))
        return f"{target} answered {answer.status}."
    line.notify(sealed["url"], chat.TEST_LINE, "info")
    return f"{target} took the test message."


def _post(line: Line, sealed: dict[str, str], event: str, delivery: str, document: str) -> Answer:
    headers = signed_webhook.headers(event, delivery, clock.now(), document, sealed["secret"])
    answer = line.post(sealed["url"], headers, document)
    signed_webhook.judge(answer, carrier.where(sealed["url"]), forges.asked_wait(answer))
    return answer


def _tell_forge(job: Job, forge: Forge, line: Line, done: Done) -> None:
    told = job.told
    repository = forges.repository_of(forge, told.repository_url, must_be_there=False)

    def call(made: Call) -> Answer:
        answer = line.call(made)
        forges.judge(forge, repository, answer)
        return answer

    done.answer = call(forges.status_call(forge, repository, told)).text
    if not forge.environment:
        return
    if done.remote_id is None:
        done.remote_id = forges.remote_id(call(forges.deployment_call(forge, repository, told)))
    status = forges.deployment_status_call(forge, repository, told, done.remote_id, is_outdated=job.is_outdated)
    done.answer = call(status).text
