"""Commits show at their forge how they were deployed: in the right order, and whatever the forge answers."""

from __future__ import annotations

import json
import time
from datetime import timedelta

import pytest

from deployer import clock
from deployer.deployments import command_lifecycle, lifecycle
from deployer.deployments.command_lifecycle import PlannedCommand
from deployer.errors import ChannelError
from deployer.models.deployment import Command, CommandKind, Status
from deployer.notifications import sending
from tests.integration.notifications.conftest import MINE, SHA

NOTHING = command_lifecycle.Progress(0, 0, None)
TOKEN = "ghp_0123456789abcdef"
STATUSES = f"/repos/grace/app/statuses/{SHA}"
LINK = "https://deploy.example.com/deployments/DEP-0001"


@pytest.fixture
def project(make_project):
    return make_project(url="git@github.com:grace/app.git")


@pytest.fixture
def make_forge(make_channel, listener):
    """A channel to a forge whose API is the listener."""

    def make(kind: str = "github", **given):
        return make_channel(kind, **{"api_url": listener.url, "token": TOKEN, **given})

    return make


def states(listener) -> list[str]:
    return [one.json["state"] for one in listener.requests]


def test_github_is_told_how_a_commit_stands(listener, make_forge, life, outbox, project):
    channel = make_forge(project=project)
    life.end(life.begin(project), Status.FAILED)

    outbox.send(channel)

    first, second = listener.requests
    assert {first.path, second.path} == {STATUSES}
    assert first.headers["authorization"] == f"Bearer {TOKEN}"
    assert first.headers["accept"] == "application/vnd.github+json"
    assert first.headers["x-github-api-version"] == "2022-11-28"
    assert first.headers["user-agent"].startswith("Deployer/")
    assert (first.json["state"], first.json["context"], first.json["target_url"]) == ("pending", "deployer/app", LINK)
    assert second.json["state"] == "failure"
    assert second.json["description"].startswith("DEP-0001 failed · ")
    assert second.json["description"].endswith(" · step 'test' exited with 1")
    assert [row.status for row in outbox.rows()] == ["sent", "sent"]
    assert TOKEN not in "".join(str(row) for row in outbox.rows())


@pytest.mark.parametrize(
    ("kind", "path", "header", "pending", "ended"),
    [
        ("gitlab", f"/projects/grace%2Fapp/statuses/{SHA}", ("private-token", TOKEN), "running", "canceled"),
        ("gitea", STATUSES, ("authorization", f"token {TOKEN}"), "pending", "error"),
        ("github", STATUSES, ("authorization", f"Bearer {TOKEN}"), "pending", "error"),
    ],
)
def test_a_cancelled_deployment_leaves_no_commit_pending(
    listener, make_forge, life, outbox, project, kind, path, header, pending, ended
):
    channel = make_forge(kind, project=project)
    life.run(project, Status.CANCELLED)

    outbox.send(channel)

    assert states(listener) == [pending, ended]
    assert {one.path for one in listener.requests} == {path}
    assert listener.requests[0].headers[header[0]] == header[1]


def test_a_commit_that_is_live_already_is_not_told_to_have_failed(listener, make_forge, life, outbox, project):
    channel = make_forge(project=project, environment="production")
    listener.answer = lambda request: (201, {}, b'{"id": 7}')
    life.end(life.begin(project), Status.SUPERSEDED, f"{SHA[:7]} is live already")
    outbox.leave_only("cancellation")

    outbox.send(channel)

    status, _, deployment = listener.requests
    assert status.json["state"] == "success"
    assert status.json["description"].startswith("DEP-0001 superseded · ")
    assert deployment.json["state"] == "inactive"


def test_an_environment_makes_a_deployment_and_follows_it(listener, make_forge, life, outbox, project):
    channel = make_forge(project=project, environment="production", environment_url="https://app.example.com")
    made = json.dumps({"id": 4711, "creator": {"login": "x" * 5000}}).encode()
    listener.answer = lambda request: (201, {}, made if request.path.endswith("/deployments") else b"{}")
    life.run(project)

    outbox.send(channel)

    told = [(one.path, one.json) for one in listener.requests]
    assert [path for path, _ in told] == [
        STATUSES,
        "/repos/grace/app/deployments",
        "/repos/grace/app/deployments/4711/statuses",
        STATUSES,
        "/repos/grace/app/deployments/4711/statuses",
    ]
    deployment = told[1][1]
    assert (deployment["ref"], deployment["environment"]) == (SHA, "production")
    assert (deployment["auto_merge"], deployment["required_contexts"]) == (False, [])
    assert [given["state"] for _, given in told[2::2]] == ["in_progress", "success"]
    assert told[4][1]["environment_url"] == "https://app.example.com"
    assert (told[4][1]["log_url"], told[4][1]["auto_inactive"]) == (LINK, True)


def test_a_deployment_that_was_made_is_not_made_again_by_the_next_try(listener, make_forge, life, outbox, project):
    channel = make_forge(project=project, environment="production")
    statuses_answer = 502

    def answer(request):
        if request.path.endswith("/deployments"):
            return 201, {}, b'{"id": 4711}'
        return (statuses_answer if "/deployments/" in request.path else 201), {}, b"{}"

    listener.answer = answer
    life.run(project)
    outbox.leave_only("success")
    outbox.send(channel)
    assert (outbox.row.status, outbox.row.remote_id) == ("pending", "4711")
    statuses_answer = 201
    outbox.is_due()

    outbox.send(channel)

    assert outbox.row.status == "sent"
    assert [one.path for one in listener.requests].count("/repos/grace/app/deployments") == 1


def test_pending_is_not_told_after_the_end(listener, make_forge, life, outbox, project):
    """The forge was down as the deployment began; its end arrived; the beginning is due again."""
    channel = make_forge(project=project)
    listener.answer = lambda request: (503, {}, b"")
    deployment_id = life.begin(project)
    outbox.send(channel)
    listener.answer = lambda request: (201, {}, b"{}")
    life.end(deployment_id)
    outbox.send(channel)
    outbox.is_due()

    outbox.send(channel)

    assert states(listener) == ["pending", "success"]
    started, ended = outbox.rows()
    assert (started.status, started.last_error) == ("dropped", "How it ended was told already.")
    assert ended.status == "sent"


def test_an_earlier_failure_is_not_told_over_a_later_success_of_the_same_commit(
    listener, make_forge, life, outbox, project
):
    channel = make_forge(project=project)
    listener.answer = lambda request: (503, {}, b"")
    life.run(project, Status.FAILED)
    outbox.leave_only("failure")
    outbox.send(channel)
    listener.answer = lambda request: (201, {}, b"{}")
    life.run(project)
    outbox.leave_only("failure", "success")
    outbox.send(channel)
    outbox.is_due()

    outbox.send(channel)

    assert states(listener) == ["failure", "success"]
    assert outbox.rows()[0].last_error == "Something later was told of this commit already."


def test_what_was_live_before_is_told_late_as_live_no_longer(listener, make_forge, life, outbox, project):
    channel = make_forge(project=project, environment="production")
    listener.answer = lambda request: (503, {}, b"")
    life.run(project)
    outbox.leave_only("success")
    outbox.send(channel)
    listener.answer = lambda request: (201, {}, b'{"id": 1}')
    life.run(project, sha="b" * 40)
    outbox.leave_only("success")
    outbox.send(channel)
    outbox.is_due()
    listener.requests.clear()

    outbox.send(channel)

    assert listener.requests[0].json["state"] == "success"
    last = listener.requests[-1].json
    assert (last["state"], last["auto_inactive"]) == ("inactive", False)


@pytest.mark.parametrize(
    ("status", "headers", "wanted_s"),
    [
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "{reset}"}, 1800),
        (429, {"Retry-After": "900"}, 900),
        (403, {"Retry-After": "120"}, 120),
    ],
)
def test_a_rate_limit_is_waited_for(listener, make_forge, life, outbox, project, status, headers, wanted_s):
    channel = make_forge(project=project)
    reset = str(int(time.time()) + 1800)
    given = {name: value.format(reset=reset) for name, value in headers.items()}
    listener.answer = lambda request: (status, given, b'{"message": "API rate limit exceeded"}')
    life.run(project)

    outbox.send(channel)

    first, second = outbox.rows()
    assert first.status == second.status == "pending"
    assert first.last_error == f"GitHub takes no more calls for now ({status})."
    for row in (first, second):
        waits_s = (row.next_attempt_at - clock.now()).total_seconds()
        assert wanted_s - 30 < waits_s <= wanted_s + 1
    assert len(listener.requests) == 1


@pytest.mark.parametrize(
    ("status", "message", "words"),
    [
        (401, "Bad credentials", "GitHub refused the token: it is wrong, revoked or has expired."),
        (403, "Resource not accessible", "The token may not write what is told of grace/app (403)."),
        (404, "Not Found", "GitHub has no repository grace/app, or the token may not see it (404)."),
        (422, f"No commit found for SHA: {SHA}", f"(422): No commit found for SHA: {SHA}."),
    ],
)
def test_a_refusal_is_explained_and_given_up(listener, make_forge, life, outbox, project, status, message, words):
    channel = make_forge(project=project)
    listener.answer = lambda request: (status, {}, json.dumps({"message": message}).encode())
    life.run(project)
    outbox.leave_only("success")

    outbox.send(channel)

    assert outbox.row.status == "given_up"
    assert words in outbox.row.last_error


def test_what_gitlab_knows_already_counts_as_told(listener, make_forge, life, outbox, project):
    channel = make_forge("gitlab", project=project)
    words = 'Cannot transition status via :run from :running (Reason(s): Status cannot transition via \\"run\\")'
    listener.answer = lambda request: (400, {}, f'{{"message": "{words}"}}'.encode())
    life.begin(project)

    outbox.send(channel)

    assert outbox.row.status == "sent"


@pytest.mark.parametrize("asked_for", [None, SHA[:7]])
def test_a_commit_that_is_not_known_yet_is_waited_for(
    listener, make_forge, life, outbox, project, installation, asked_for
):
    channel = make_forge(project=project)
    deployment_id = life.begin(project, sha=asked_for)

    outbox.send(channel)

    assert (outbox.row.status, outbox.row.attempts, listener.requests) == ("pending", 0, [])
    assert outbox.row.next_attempt_at - clock.now() <= timedelta(seconds=5)
    with installation.database.write() as connection:
        lifecycle.record_commit(connection, deployment_id, MINE, commit_sha=SHA)
    outbox.is_due()
    outbox.send(channel)
    assert states(listener) == ["pending"]


def test_an_annotated_tag_is_not_taken_for_a_commit(listener, make_forge, life, outbox, project, operator):
    """Until the fetch the commit on record may be the tag itself, of which no forge takes a status."""
    channel = make_forge(project=project)
    deployment_id = life.begin(project, branch="refs/tags/v1.0", is_fetched=False)

    outbox.send(channel)

    assert (outbox.row.status, outbox.row.attempts, listener.requests) == ("pending", 0, [])
    with operator.database.write_session() as session:
        for position, kind in enumerate((CommandKind.FETCH, CommandKind.CHECKOUT)):
            facts = {"position": position, "kind": kind, "name": kind, "line": kind, "timeout_s": 9, "nonce": ""}
            began = {"status": Status.RUNNING, "started_at": clock.now()}
            session.add(Command(id=clock.new_id(), deployment_id=deployment_id, **facts, **began))
    outbox.is_due()
    outbox.send(channel)
    assert states(listener) == ["pending"]


def test_a_commit_is_told_only_when_the_fetch_has_settled_which_it_is(
    listener, make_forge, life, outbox, project, installation
):
    """The push of a newer one may have come before: then that is deployed, and the older one is not left pending."""
    channel = make_forge(project=project)
    deployment_id = life.begin(project, sha="0" * 40, is_fetched=False)
    fetch, step = (
        PlannedCommand(f"{deployment_id[:30]}-{place}", place, kind, "a", "a", 60, "n")
        for place, kind in enumerate((CommandKind.FETCH, CommandKind.STEP))
    )
    with installation.database.write() as connection:
        command_lifecycle.plan(connection, deployment_id, [fetch, step])
        command_lifecycle.start_command(connection, fetch.id, MINE, None)
    outbox.send(channel)
    assert listener.requests == []

    with installation.database.write() as connection:
        lifecycle.record_commit(connection, deployment_id, MINE, commit_sha=SHA)
        command_lifecycle.finish_command(
            connection, fetch.id, MINE, Status.SUCCESS, exit_code=0, cause=None, progress=NOTHING
        )
        command_lifecycle.start_command(connection, step.id, MINE, None)
    outbox.is_due()
    outbox.send(channel)

    assert [one.path for one in listener.requests] == [STATUSES]


@pytest.mark.parametrize("asked_for", [None, SHA[:7]])
def test_what_ended_before_its_commit_was_known_is_told_nowhere(
    listener, make_forge, life, outbox, project, asked_for
):
    channel = make_forge(project=project)
    life.run(project, Status.FAILED, sha=asked_for)

    outbox.send(channel)

    assert [row.status for row in outbox.rows()] == ["dropped", "dropped"]
    assert listener.requests == []


def test_a_channel_of_all_projects_leaves_other_forges_alone(listener, make_forge, life, outbox, make_project):
    channel = make_forge()
    project = make_project(url="https://gitlab.com/grace/app.git")
    life.run(project)
    outbox.leave_only("success")

    outbox.send(channel)

    assert (outbox.row.status, listener.requests) == ("dropped", [])
    assert outbox.row.last_error == "The repository is at gitlab.com, not at 127.0.0.1."


@pytest.mark.parametrize(
    ("kind", "permissions", "may"),
    [
        ("github", {"push": True}, True),
        ("github", {"push": False}, False),
        ("gitlab", {"project_access": {"access_level": 40}, "group_access": None}, True),
        ("gitlab", {"project_access": {"access_level": 20}, "group_access": None}, False),
        ("gitea", {"push": True}, True),
    ],
)
def test_a_test_only_looks(installation, listener, make_forge, project, kind, permissions, may):
    channel = make_forge(kind, project=project)
    listener.answer = lambda request: (200, {}, json.dumps({"permissions": permissions}).encode())

    if may:
        assert "Nothing was written." in sending.send_test(installation, channel.id)
    else:
        with pytest.raises(ChannelError, match="may not write"):
            sending.send_test(installation, channel.id)

    assert [one.method for one in listener.requests] == ["GET"]
