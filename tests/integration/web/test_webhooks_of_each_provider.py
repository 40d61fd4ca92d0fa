"""Recorded deliveries of each provider, sent to a project that says that it takes them."""

from __future__ import annotations

import json

import pytest

from deployer import projects, pushes
from deployer.models import Delivery
from deployer.providers.known import PROVIDERS
from tests.support.browser import Browser
from tests.support.forge import Forge
from tests.support.payloads import GENERIC, NEW, body_of, recorded, signed

TRIGGERED = (200, "Deployment triggered")
HOOK = {f"hook_{name}": getattr(GENERIC, name) for name in ("header", "prefix", "ref", "commit")}


@pytest.fixture
def send(daemon, operator, project):
    """Send a recorded delivery, signed with the project's secret."""
    secret = Forge(daemon, project).secret
    browser = Browser(daemon)

    def send(name, case="push", **changes):
        one = recorded(name, case, secret)
        if changes:
            one = signed(name, json.dumps(body_of(name, case) | changes).encode(), dict(one.headers), secret)
        answer = browser.request("POST", f"/webhook/{project.id}", one.raw, dict(one.headers))
        return answer.status, answer.text

    return send


@pytest.fixture
def delivered(operator, project, daemon):
    """The newest delivery on record."""

    def delivered():
        rows = operator.rows(
            Delivery.__table__.select().where(Delivery.project_id == project.id).order_by(Delivery.id)
        )
        return rows[-1]

    return delivered


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_push_of_the_chosen_provider_deploys_and_any_other_is_refused(operator, project, send, delivered, name):
    operator.change_pushes(project, provider=name, **(HOOK if name == "generic" else {}))

    assert send(name) == TRIGGERED

    found = delivered()
    assert (found.provider, found.ref, found.commit_sha, found.verdict) == (name, "refs/heads/main", NEW, "deployed")
    (deployment,) = [one for one in operator.deployments() if one.project_id == project.id]
    assert (deployment.branch, deployment.commit_sha) == ("main", NEW)
    kept = json.loads(found.headers)
    assert set(kept) & set(PROVIDERS[name].kept)
    assert "X-Gitlab-Token" not in kept
    assert send("github" if name == "gitlab" else "gitlab") == (401, "Unauthorized")


def test_the_same_delivery_once_more_is_a_duplicate(operator, project, send):
    operator.change_pushes(project, provider="gitlab")

    assert send("gitlab") == TRIGGERED
    assert send("gitlab") == (200, "Duplicate delivery")


def test_a_forges_test_is_answered(operator, project, send):
    operator.change_pushes(project, provider="gitea")

    assert send("gitea", "ping") == (200, "pong")


def test_an_empty_body_is_told_by_the_chosen_providers_signature(daemon, operator, project):
    operator.change_pushes(project, provider="gitlab")
    browser = Browser(daemon)

    def said(headers):
        answer = browser.request("POST", f"/webhook/{project.id}", b"", {"Content-Length": "0", **headers})
        return answer.status, answer.text

    assert said({}) == (400, "No body")
    assert said({"X-Hub-Signature-256": "sha256=" + "0" * 64}) == (400, "No body")
    assert said({"X-Gitlab-Token": "wrong"}) == (401, "Unauthorized")


def test_one_request_with_several_refs_deploys_each_that_the_project_takes(operator, project, send, delivered):
    operator.change_pushes(project, provider="bitbucket", branch_patterns="main\nrelease/*", tag_patterns="v*")

    assert send("bitbucket", "several") == TRIGGERED

    mine = [one for one in operator.deployments() if one.project_id == project.id]
    assert [one.branch for one in mine] == ["main", "release/2.x", "refs/tags/v1.4.0"]
    assert delivered().deployment_id == mine[0].id
    assert [one.delivery_guid is not None for one in mine] == [True, False, False]
    assert send("bitbucket", "several") == (200, "Duplicate delivery")


def test_filters_that_are_entered_hold_for_the_next_push(operator, project, send):
    """Also where the web process has read the project's former settings."""
    assert send("github") == TRIGGERED

    operator.change_pushes(project, watched_paths="infra/**")
    said = "No watched path changed: docs/picking.md, README.md, src/scale.py and 2 more"
    assert send("github") == (200, said)
    operator.change_pushes(project, watched_paths="infra/**\nsrc/")
    assert send("github", after="b" * 40) != (200, said)
    operator.change_pushes(project, watched_paths="", ignored_paths="**")
    assert send("github")[1].startswith("Only ignored paths changed: ")
    operator.change_pushes(project, ignored_paths="", skip_markers="weigh apples")
    assert send("github") == (200, "Skipped: the commit message asks for it")


def test_where_paths_are_not_all_told_a_push_deploys(operator, project, send):
    operator.change_pushes(project, watched_paths="infra/**")

    assert send("github", "force_push") == TRIGGERED


def test_a_tag_is_deployed_where_a_pattern_takes_it(operator, project, send, delivered):
    assert send("github", "annotated_tag") == (200, "Tag v1.5.0 ignored: this project deploys the branch main")
    operator.change_pushes(project, tag_patterns="v*")

    assert send("github", "annotated_tag") == TRIGGERED
    assert delivered().ref == "refs/tags/v1.5.0"
    assert send("github", "deleted_tag") == (200, "Tag v1.4.0 was deleted: nothing to deploy")


def test_a_signing_token_of_gitlab_is_entered_and_then_leaves_no_other_proof(daemon, operator, project):
    token = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    operator.change_pushes(project, provider="gitlab")
    old = Forge(daemon, project).secret
    with operator.database.write_session() as session:
        pushes.set_secret(projects.find(session, project.id), token, operator.installation.vault)

    def send(one):
        return Browser(daemon).request("POST", f"/webhook/{project.id}", one.raw, dict(one.headers)).status

    assert send(recorded("gitlab", secret=token.encode())) == 200
    assert send(recorded("gitlab", secret=old)) == 401
    bare = recorded("gitlab")
    bare.headers["X-Gitlab-Token"] = token
    assert send(bare) == 401
