"""Why a verified delivery does or does not deploy: a pure decision, in words that sender and user read."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.commands import git
from deployer.deployments.filters import Filters
from deployer.models.delivery import Verdict
from deployer.providers.base import Event, Push

TRIGGERED = "Deployment triggered"
DUPLICATE = "Duplicate delivery"
FOUND_BEFORE = "Already deployed: the commit was found on the branch before this delivery came"
NO_STEPS = "No steps configured"
QUEUE_FULL = "Too many deployments are waiting; try again later"
AUTO_DEPLOY_OFF = "Auto-deploy is off for this project"
SKIPPED = "Skipped: the commit message asks for it"
PONG = "pong"
ARRIVED = "Test delivery: it arrived, and its signature is right"


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


def decide(event: Event, filters: Filters, *, auto_deploy: bool) -> tuple[Decision, tuple[Push, ...]]:
    """What the event means for a project with these filters, and the pushes that it is about: all that are to be
    deployed, that of the project's own branch first; else the one that says most.

    Queue and duplicates are not looked at here.
    """
    if event.is_ping:
        return Decision(Verdict.PONG, PONG), ()
    if event.push is None:
        return _ignored(f"Event {event.name or 'without a name'} ignored: only push deploys"), ()
    if not event.more:
        return _decide(event.push, filters, auto_deploy=auto_deploy), (event.push,)
    decided = [(_decide(push, filters, auto_deploy=auto_deploy), push) for push in event.pushes]
    deploying = [push for decision, push in decided if decision.deploys]
    if deploying:
        deploying.sort(key=lambda push: push.branch != filters.branch)
        return _DEPLOY, tuple(deploying)
    # Why a ref that concerns the project is not deployed says more than that others do not concern it.
    decision, push = next((one for one in decided if _concerns(one[1], filters)), decided[0])
    return decision, (push,)


def _concerns(push: Push, filters: Filters) -> bool:
    if push.tag is not None:
        return filters.takes_tag(push.tag)
    return push.branch is not None and filters.takes_branch(push.branch)


def _decide(push: Push, filters: Filters, *, auto_deploy: bool) -> Decision:
    if push.tag is not None:
        name, kind = push.tag, "Tag"
        if not filters.takes_tag(name):
            wanted = filters.tags_in_words if filters.tags else filters.branches_in_words
            return _ignored(f"Tag {name} ignored: this project deploys {wanted}")
    elif push.branch is not None:
        name, kind = push.branch, "Branch"
        if not filters.takes_branch(name):
            return _ignored(f"Branch {name} ignored: this project deploys {filters.branches_in_words}")
    else:
        return _ignored(f"Ref {push.ref or 'without a name'} ignored: it is not a branch")
    is_by_pattern = name != filters.branch or push.tag is not None
    # A deployment has the full ref of a tag.
    is_none = git.branch_problem(name) or name.startswith("refs/") or (push.tag and git.branch_problem(push.ref))
    if is_by_pattern and is_none:
        return _ignored(f"{kind} {name} ignored: Deployer deploys nothing of such a name")
    if push.is_deleted:
        return _ignored(f"{kind} {name} was deleted: nothing to deploy")
    if push.sha is None:
        return _ignored("Push ignored: it names no commit")
    if not auto_deploy:
        return _ignored(AUTO_DEPLOY_OFF)
    # A tag is set on purpose, on a commit that may say something else to those who build it.
    if push.tag is None:
        if filters.asks_to_be_skipped(push.message):
            return _ignored(SKIPPED)
        if push.paths is not None and (unchanged := filters.nothing_changed(push.paths)):
            return _ignored(unchanged)
    return _DEPLOY


def _ignored(reason: str) -> Decision:
    return Decision(Verdict.IGNORED, reason)


_IN_WORDS = {
    TRIGGERED: "It led to a deployment.",
    DUPLICATE: "This delivery came before and was dealt with, so it was not run again.",
    FOUND_BEFORE: "A look at the repository had found this commit before the delivery came, so it was not run again.",
    NO_STEPS: "Nothing was deployed: the project has no steps.",
    QUEUE_FULL: "Refused: as many deployments were waiting as runner.max_queued allows. Deliver it again later.",
    AUTO_DEPLOY_OFF: "Nothing was deployed: “Deploy each push” is off for this project.",
    SKIPPED: "Nothing was deployed: the commit message asks for that, with one of the project's skip markers.",
    PONG: "The forge's test of the webhook: it works.",
    ARRIVED: f"{ARRIVED}. It was not to deploy anything.",
}


def in_words(verdict: Verdict, reason: str) -> str:
    """A verdict's reason, which is told to the sender in a few words, as a sentence for the project's people."""
    if verdict is Verdict.UNVERIFIED:
        return f"Refused: {reason[0].lower()}{reason[1:]}."
    return _IN_WORDS.get(reason, f"{reason}.")
