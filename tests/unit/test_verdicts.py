"""Why a delivery does or does not deploy, in words."""

from __future__ import annotations

import pytest

from deployer.deployments.filters import Filters
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
    decision, _ = decide(event, Filters("main"), auto_deploy=True)

    assert (decision.verdict, decision.reason) == (verdict, reason)
    assert decision.deploys is (verdict is Verdict.DEPLOYED)


def reason(event, auto_deploy=True, **filters) -> str:
    return decide(event, Filters("main", **filters), auto_deploy=auto_deploy)[0].reason


def test_without_auto_deploy_a_push_is_ignored_and_a_ping_still_answered():
    assert reason(push(), auto_deploy=False) == "Auto-deploy is off for this project"
    assert reason(tag("v1"), auto_deploy=False, tags="v*") == "Auto-deploy is off for this project"
    assert reason(Event("ping", is_ping=True), auto_deploy=False) == "pong"


# Branches and tags ------------------------------------------------------------------------------------------------


def branch(name, **fields):
    return push(ref=f"refs/heads/{name}", branch=name, **fields)


def tag(name, **fields):
    return push(ref=f"refs/tags/{name}", branch=None, tag=name, **fields)


TRIGGERED = "Deployment triggered"


@pytest.mark.parametrize(
    ("patterns", "name", "is_taken"),
    [
        ("release/*", "release/1", True),
        ("release/*", "release/1/a", False),
        ("release/*", "release", False),
        ("release/*", "my/release/1", False),
        ("release/*", "main", False),
        ("release/**", "release/1/a", True),
        ("**", "a/b/c", True),
        ("*", "a/b", False),
        ("v?", "v1", True),
        ("v?", "v12", False),
        ("v[0-9]*", "v1.2", True),
        ("v[0-9]*", "vx", False),
        ("v[!0-9]", "vx", True),
        ("v[!0-9]", "v1", False),
        ("v[!0-9]", "v/", False),
        ("main\nrelease/*", "main", True),
        ("**\n!dependabot/**", "dependabot/npm/x", False),
        ("**\n!wip/**\nwip/keep", "wip/keep", True),
        ("a.b", "a+b", False),
        ("a.b", "aXb", False),
        ("main", "main\n", False),
        ("*", "a\nb", True),
    ],
)
def test_patterns_take_branches_as_they_say(patterns, name, is_taken):
    assert Filters("main", patterns).takes_branch(name) is is_taken


def test_with_patterns_each_branch_that_they_match_is_deployed_and_no_other():
    assert reason(branch("release/2"), branches="release/*") == TRIGGERED
    assert reason(branch("main"), branches="release/*\nstable") == (
        "Branch main ignored: this project deploys the branches release/*, stable"
    )


def test_a_tag_is_deployed_where_a_pattern_takes_it():
    assert reason(tag("v1.0"), tags="v*") == TRIGGERED
    assert reason(tag("nightly"), tags="v*") == "Tag nightly ignored: this project deploys the tags v*"
    assert reason(tag("main")) == "Tag main ignored: this project deploys the branch main"


def test_a_tag_that_was_deleted_deploys_nothing():
    assert reason(tag("v1", is_deleted=True, sha=None), tags="*") == "Tag v1 was deleted: nothing to deploy"


@pytest.mark.parametrize("name", ["-x", "a..b", "refs/tags/v1", "refs/heads/main", "x" * 251, "a b", "a\x1bb"])
def test_a_name_that_git_or_deployer_may_take_for_another_deploys_nothing(name):
    for event, filters in ((branch(name), {"branches": "**"}), (tag(name), {"tags": "**"})):
        assert "deploys nothing of such a name" in reason(event, **filters)


def test_a_tags_full_ref_fits_into_a_deployment():
    assert reason(tag("v" * 240), tags="*") == TRIGGERED
    assert "deploys nothing of such a name" in reason(tag("v" * 246), tags="*")


def test_paths_and_markers_hold_no_tag_back():
    event = tag("v1", message="chore: release [skip deploy]", paths=("docs/a.md",))

    assert reason(event, tags="v*", watched="src/**") == TRIGGERED


# Paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "paths", "said"),
    [
        ({"watched": "src/**"}, ("src/a.py", "README.md"), TRIGGERED),
        ({"watched": "src/**"}, ("docs/a.md", "README.md"), "No watched path changed: docs/a.md, README.md"),
        ({"watched": "src/**"}, None, TRIGGERED),
        ({"ignored": "*.md"}, ("docs/a.md",), "Only ignored paths changed: docs/a.md"),
        ({"ignored": "*.md"}, ("docs/a.md", "a.py"), TRIGGERED),
        ({"ignored": "docs/"}, ("docs/deep/a.md",), "Only ignored paths changed: docs/deep/a.md"),
        ({"ignored": "/docs"}, ("src/docs/a.md",), TRIGGERED),
        ({"ignored": "*.md\n!CHANGES.md"}, ("CHANGES.md",), TRIGGERED),
        ({"watched": "src/**", "ignored": "*.md"}, ("src/a.md",), "No watched path changed: src/a.md"),
        ({"watched": "src/**", "ignored": "*.md"}, ("src/a.md", "src/a.py"), TRIGGERED),
        (
            {"watched": "src/**"},
            ("a", "b", "c", "d", "e"),
            "No watched path changed: a, b, c and 2 more",
        ),
    ],
)
def test_a_push_deploys_where_a_path_changed_that_matters(filters, paths, said):
    assert reason(push(paths=paths), **filters) == said


def test_a_long_path_is_shortened_in_the_reason():
    assert len(reason(push(paths=("x" * 5000,)), watched="src")) < 200


# Markers ----------------------------------------------------------------------------------------------------------


def test_a_project_has_markers_of_its_own():
    skipped = "Skipped: the commit message asks for it"

    assert reason(push(message="Fix [Skip CI]"), markers="[skip ci]\n[ci skip]") == skipped
    assert reason(push(message="Fix [skip deploy]"), markers="[skip ci]") == TRIGGERED
    assert reason(push(message="Fix [skip deploy]"), markers="") == TRIGGERED
    assert reason(push(message=None), markers="[skip ci]") == TRIGGERED


# Several refs at once ---------------------------------------------------------------------------------------------


def several(*events):
    first, *more = (one.push for one in events)
    return Event("push", push=first, more=tuple(more))


def test_of_several_refs_all_that_deploy_are_deployed_the_projects_own_branch_first():
    event = several(branch("dev"), branch("release/1"), tag("v1"), branch("main"))

    decision, pushes = decide(event, Filters("main", "main\nrelease/*", "v*"), auto_deploy=True)

    assert decision.deploys
    assert [one.ref for one in pushes] == ["refs/heads/main", "refs/heads/release/1", "refs/tags/v1"]


def test_where_none_of_several_deploys_the_one_that_concerns_the_project_gives_the_reason():
    event = several(branch("dev"), branch("main", is_deleted=True, sha=None), branch("other"))

    decision, pushes = decide(event, Filters("main"), auto_deploy=True)

    assert decision.reason == "Branch main was deleted: nothing to deploy"
    assert [one.branch for one in pushes] == ["main"]
    assert reason(several(branch("dev"), branch("other"))).startswith("Branch dev ignored")
