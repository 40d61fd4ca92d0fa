"""Why a delivery does or does not deploy, in words."""

from __future__ import annotations

import pytest

from deployer.deployments.verdicts import decide
from deployer.models.delivery import Verdict
from deployer.providers.base import Event, Push

SHA = "a" * 40


def push(**fields):
    return Event("push", push=Push(**{"ref": "refs/heads/main", "branch": "main", "sha": SHA, **fields}))


@pytest.mark.parametrize(
    ("event", "verdict", "reason"),
    [
        (push(), Verdict.DEPLOYED, "Deployment triggered"),
        (Event("ping", is_ping=True), Verdict.PONG, "pong"),
        (Event("issues"), Verdict.IGNORED, "Event issues ignored: only push deploys"),
        (Event(""), Verdict.IGNORED, "Event without a name ignored: only push deploys"),
        (
            push(ref="refs/tags/main", branch=None, tag="main"),
            Verdict.IGNORED,
            "Tag main ignored: this project deploys the branch main",
        ),
        (push(ref="refs/x", branch=None), Verdict.IGNORED, "Ref refs/x ignored: it is not a branch"),
        (push(ref="", branch=None), Verdict.IGNORED, "Ref without a name ignored: it is not a branch"),
        (push(branch="dev"), Verdict.IGNORED, "Branch dev ignored: this project deploys the branch main"),
        (push(branch="Main"), Verdict.IGNORED, "Branch Main ignored: this project deploys the branch main"),
        (push(is_deleted=True, sha=None), Verdict.IGNORED, "Branch main was deleted: nothing to deploy"),
        (push(sha=None), Verdict.IGNORED, "Push ignored: it names no commit"),
        (push(message="Fix [skip deploy]"), Verdict.IGNORED, "Skipped: the commit message asks for it"),
        (push(message="Fix\n\n[Deploy Skip]"), Verdict.IGNORED, "Skipped: the commit message asks for it"),
        (push(message="skip deploy"), Verdict.DEPLOYED, "Deployment triggered"),
    ],
)
def test_a_delivery_gets_its_verdict_and_its_reason(event, verdict, reason):
    decision = decide(event, branch="main", auto_deploy=True)

    assert (decision.verdict, decision.reason) == (verdict, reason)
    assert decision.deploys is (verdict is Verdict.DEPLOYED)


def test_without_auto_deploy_a_push_is_ignored_and_a_ping_still_answered():
    assert decide(push(), branch="main", auto_deploy=False).reason == "Auto-deploy is off for this project"
    assert decide(Event("ping", is_ping=True), branch="main", auto_deploy=False).reason == "pong"
