"""Why a verified delivery does or does not deploy: a pure decision, in words that sender and user read."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.models.delivery import Verdict
from deployer.providers.base import Event

TRIGGERED = "Deployment triggered"
DUPLICATE = "Duplicate delivery"
FOUND_BEFORE = "Already deployed: the commit was found on the branch before this delivery came"
NO_STEPS = "No steps configured"
QUEUE_FULL = "Too many deployments are waiting; try again later"
AUTO_DEPLOY_OFF = "Auto-deploy is off for this project"
SKIPPED = "Skipped: the commit message asks for it"
PONG = "pong"
ARRIVED = "Test delivery: it arrived, and its signature is right"
SKIP_MARKERS = ("[skip deploy]", "[deploy skip]")


@dataclass(frozen=True, slots=True)
class Decision:
    verdict: Verdict
    reason: str

    @property
    def deploys(self) -> bool:
        return self.verdict is Verdict.DEPLOYED


_DEPLOY = Decision(Verdict.DEPLOYED, TRIGGERED)
TEST = Decision(Verdict.TEST, ARRIVED)
"""Of a test delivery of our own that is not to deploy."""


def decide(event: Event, *, branch: str, auto_deploy: bool) -> Decision:
    """What the event means for a project that deploys ``branch``. Queue and duplicates are not looked at here."""
    if event.is_ping:
        return Decision(Verdict.PONG, PONG)
    push = event.push
    if push is None:
        return _ignored(f"Event {event.name or 'without a name'} ignored: only push deploys")
    if push.tag is not None:
        return _ignored(f"Tag {push.tag} ignored: this project deploys the branch {branch}")
    if push.branch is None:
        return _ignored(f"Ref {push.ref or 'without a name'} ignored: it is not a branch")
    if push.branch != branch:
        return _ignored(f"Branch {push.branch} ignored: this project deploys the branch {branch}")
    if push.is_deleted:
        return _ignored(f"Branch {push.branch} was deleted: nothing to deploy")
    if push.sha is None:
        return _ignored("Push ignored: it names no commit")
    if not auto_deploy:
        return _ignored(AUTO_DEPLOY_OFF)
    if asks_to_be_skipped(push.message):
        return _ignored(SKIPPED)
    return _DEPLOY


def asks_to_be_skipped(message: str | None) -> bool:
    """Whether a commit's message asks for no deployment."""
    return message is not None and any(marker in message.lower() for marker in SKIP_MARKERS)


def _ignored(reason: str) -> Decision:
    return Decision(Verdict.IGNORED, reason)


_IN_WORDS = {
    TRIGGERED: "It led to a deployment.",
    DUPLICATE: "This delivery came before and was dealt with, so it was not run again.",
    FOUND_BEFORE: "A look at the repository had found this commit before the delivery came, so it was not run again.",
    NO_STEPS: "Nothing was deployed: the project has no steps.",
    QUEUE_FULL: "Refused: as many deployments were waiting as runner.max_queued allows. Deliver it again later.",
    AUTO_DEPLOY_OFF: "Nothing was deployed: “Deploy each push” is off for this project.",
    SKIPPED: f"Nothing was deployed: the commit message asks for that with {SKIP_MARKERS[0]}.",
    PONG: "The forge's test of the webhook: it works.",
    ARRIVED: f"{ARRIVED}. It was not to deploy anything.",
}


def in_words(verdict: Verdict, reason: str) -> str:
    """A verdict's reason, which is told to the sender in a few words, as a sentence for the project's people."""
    if verdict is Verdict.UNVERIFIED:
        return f"Refused: {reason[0].lower()}{reason[1:]}."
    return _IN_WORDS.get(reason, f"{reason}.")
