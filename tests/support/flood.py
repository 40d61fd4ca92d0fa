"""Many signed pushes at once, over connections that are kept, as a forge behind a proxy sends them."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Target:
    """A project's webhook, and a push for it."""

    project_id: str
    secret: bytes
    body: bytes


@dataclass
class Answers:
    """``statuses`` counts them, ``deployments`` are the ids that were answered; ``slowest_s`` took the longest."""

    statuses: dict[int, int] = field(default_factory=dict)
    deployments: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    seconds: float = 0.0


def send(port: int, targets: Sequence[Target], count: int, *, connections: int = 8) -> Answers:
    """Post ``count`` pushes, to each target in turn, as fast as they are taken."""
    answers = Answers()
    lock = threading.Lock()
    numbers = iter(range(count))

    def post() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                break
            target = targets[number % len(targets)]
            headers = {
                "Content-Type": "application/json",
                "X-GitHub-Event": "push",
                "X-GitHub-Delivery": f"flood-{number}",
                "X-Hub-Signature-256": "sha256=" + hmac.new(target.secret, target.body, hashlib.sha256).hexdigest(),
            }
            begun = time.monotonic()
            connection.request("POST", f"/webhook/{target.project_id}", target.body, headers)
            answer = connection.getresponse()
            answer.read()
            taken = time.monotonic() - begun
            with lock:
                answers.statuses[answer.status] = answers.statuses.get(answer.status, 0) + 1
                answers.slowest_s = max(answers.slowest_s, taken)
                if deployment_id := answer.headers["X-Deployment-Id"]:
                    answers.deployments.append(deployment_id)
        connection.close()

    begun = time.monotonic()
    threads = [threading.Thread(target=post) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers.seconds = time.monotonic() - begun
    return answers
