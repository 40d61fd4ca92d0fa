"""The session API, to the letter of its contract."""

from __future__ import annotations

import re
import uuid

import pytest

from deployer.project_input import StepInput
from tests.support.operator import Operator
from tests.support.standing import logged_in, make_user

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")

UNAUTHENTICATED = (401, {"success": False, "error": "Authentication required"})


def said(answer):
    assert answer.headers["Content-Type"] == "application/json"
    return answer.status, answer.json


def test_a_deployment_is_triggered_by_the_projects_id(member, operator, project):
    status, answer = said(member.post_json("/deploy", {"projectId": project.id}))

    assert status == 200
    assert answer.keys() == {"success", "deployId"}
    assert answer["success"] is True
    assert UUID.match(answer["deployId"])
    deployment = operator.deployment(answer["deployId"])
    assert (deployment.project_id, deployment.trigger, deployment.triggered_by) == (project.id, "manual", "ada")


def test_proj_id_is_taken_for_project_id(member, operator, project):
    _, answer = said(member.post_json("/deploy", {"projId": project.id}))

    assert operator.deployment(answer["deployId"]).project_id == project.id


def test_a_certain_commit_can_be_asked_for(member, operator, project, repository):
    _, answer = said(member.post_json("/deploy", {"projectId": project.id, "commit": repository.tip()[:8]}))

    assert operator.wait_for_end(answer["deployId"]).deployed_sha == repository.tip()


@pytest.mark.parametrize("commit", [7, ["abc1234"], "main", "abc12"])
def test_what_is_no_commit_is_a_bad_request(member, project, operator, commit):
    status, answer = said(member.post_json("/deploy", {"projectId": project.id, "commit": commit}))

    assert (status, answer["success"]) == (400, False)
    assert "commit" in answer["error"]
    assert not [one for one in operator.deployments() if one.project_id == project.id]


def test_a_deployment_of_no_project_is_not_found(member):
    answer = member.post_json("/deploy", {"projectId": str(uuid.uuid4())})

    assert said(answer) == (404, {"success": False, "error": "Project not found"})


@pytest.mark.parametrize(
    "document", [{}, {"projectId": None}, {"projectId": ""}, {"projectId": 7}, {"projectId": []}]
)
def test_a_missing_project_id_is_a_bad_request_in_the_same_shape(member, document):
    status, answer = said(member.post_json("/deploy", document))

    assert (status, answer) == (400, {"success": False, "error": "projectId is required"})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"projectId": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"projectId": ' + b"7" * 5_000 + b"}",
    ],
    ids=["empty", "broken", "list", "null", "bytes", "surrogate", "surrogate-name", "deep", "digits"],
)
def test_a_body_that_is_no_json_object_is_a_bad_request_in_the_same_shape(member, body):
    answer = member.request("POST", "/deploy", body, {"Content-Type": "application/json"})

    status, document = said(answer)
    assert (status, document.keys(), document["success"]) == (400, {"success", "error"}, False)


@pytest.mark.parametrize("wrong", ["\0", "x" * 100_000, "../../etc/passwd", "' OR 1=1 --"])
def test_an_id_that_cannot_be_one_is_not_found(member, wrong):
    assert said(member.post_json("/deploy", {"projectId": wrong})) == (
        404,
        {"success": False, "error": "Project not found"},
    )


def test_a_project_without_steps_cannot_be_deployed(member, operator, project):
    operator.change(project, steps=())

    status, answer = said(member.post_json("/deploy", {"projectId": project.id}))

    assert (status, answer["success"]) == (400, False)
    assert "no steps" in answer["error"]


@pytest.mark.parametrize("path", ["/deploy/x", "/deploy/DEP-0001", "/deploy/3f0f7a3a-9d1c-4a53-9d0d-6f1f0a3b2c11"])
def test_a_stranger_learns_nothing_of_deployments(stranger, path):
    assert said(stranger.get(path)) == UNAUTHENTICATED


def test_a_stranger_triggers_nothing(stranger, operator, project):
    assert said(stranger.post_json("/deploy", {"projectId": project.id})) == UNAUTHENTICATED
    assert said(stranger.post_json("/deploy", {})) == UNAUTHENTICATED
    assert [one for one in operator.deployments() if one.project_id == project.id] == []


def test_a_cookie_that_was_made_up_is_none(stranger, project):
    for cookie in ("x", "eyJfdXNlcl9pZCI6IjEifQ.aaaa.bbbb", "s%3Aabc"):
        stranger.cookie = cookie
        assert said(stranger.post_json("/deploy", {"projectId": project.id})) == UNAUTHENTICATED


def test_an_unknown_deployment_is_not_found(member):
    assert said(member.get(f"/deploy/{uuid.uuid4()}")) == (404, {"success": False, "error": "Deployment not found"})


def test_errors_of_the_api_are_json_whatever_is_accepted(member):
    for method, path, status in (("GET", "/deploy", 405), ("PUT", "/deploy/x", 405), ("GET", "/deploy/x/y", 404)):
        answer = member.request(method, path, headers={"Accept": "text/html", "Sec-Fetch-Site": "same-origin"})
        got, document = said(answer)
        assert (got, document.keys(), document["success"]) == (status, {"success", "error"}, False)


def test_a_finished_deployment_is_told_with_its_logs_in_order(member, operator, make_project, repository):
    project = make_project("echo one", "echo two >&2; exit 3", "echo never")
    deployment_id = operator.deploy(project)
    operator.wait_for_end(deployment_id)

    status, answer = said(member.get(f"/deploy/{deployment_id}"))

    assert (status, answer["success"]) == (200, True)
    assert answer.keys() == {"success", "deployment", "logs", "project"}
    deployment = answer["deployment"]
    assert {"id", "proj_id", "started_at", "finished_at", "status"} <= deployment.keys()
    assert (deployment["id"], deployment["proj_id"], deployment["status"]) == (deployment_id, project.id, "failed")
    for log in answer["logs"]:
        contract = {"id", "deploy_id", "cmd", "log", "success", "started_at", "finished_at", "status"}
        assert log.keys() == contract | {"attempt", "tries"}
        assert (log["attempt"], log["tries"]) == (1, 1)
        assert UUID.match(log["id"])
        assert log["deploy_id"] == deployment_id
        assert log["success"] is (log["status"] == "success")
    assert [(one["cmd"], one["log"], one["success"], one["status"]) for one in answer["logs"][-2:]] == [
        ("echo one", "one\n", True, "success"),
        ("echo two >&2; exit 3", "two\n", False, "failed"),
    ]
    assert answer["project"] == {
        "id": project.id,
        "name": project.name,
        "github_url": repository.url,
        "branch_name": "main",
    }
    moments = [deployment["queued_at"], deployment["started_at"]]
    moments += [one[end] for one in answer["logs"] for end in ("started_at", "finished_at")]
    moments.append(deployment["finished_at"])
    assert all(MOMENT.match(moment) for moment in moments)
    assert moments == sorted(moments)


def test_each_try_of_a_step_is_a_log_of_its_own_in_its_place(member, operator, make_project):
    flaky = StepInput("echo now; exit 3", retries=1)
    deployment_id = operator.deploy(make_project("echo before", flaky, "echo never"))
    operator.wait_for_end(deployment_id)

    logs = said(member.get(f"/deploy/{deployment_id}"))[1]["logs"]

    assert [(one["cmd"], one["attempt"], one["tries"], one["status"]) for one in logs[-3:]] == [
        ("echo before", 1, 1, "success"),
        ("echo now; exit 3", 1, 2, "failed"),
        ("echo now; exit 3", 2, 2, "failed"),
    ]
    assert logs[-2]["log"] == "now\nTrying again: try 2 of 2.\n"
    assert logs[-1]["log"] == "now\n"


# Retrying -------------------------------------------------------------------------------------------------------


def test_a_deployment_is_retried_from_the_first_or_from_the_failed_step(member, operator, make_project):
    failed = operator.wait_for_end(operator.deploy(make_project("echo one", "exit 3")))

    from_failed = said(member.post_json(f"/deploy/{failed.id}/retry", {"fromFailed": True}))
    second = operator.wait_for_end(from_failed[1]["deployId"])
    whole = said(member.post_json(f"/deploy/DEP-{failed.number:04d}/retry", {}))
    third = operator.wait_for_end(whole[1]["deployId"])

    assert (from_failed[0], from_failed[1].keys()) == (200, {"success", "deployId"})
    assert [(one.retry_of, one.from_step, one.triggered_by) for one in (second, third)] == [
        (failed.id, 1, "ada"),
        (failed.id, None, "ada"),
    ]
    assert said(member.get(f"/deploy/{second.id}"))[1]["deployment"]["retry_of"] == failed.id


def test_what_cannot_be_retried_is_told_in_the_same_shape(member, operator, running, project):
    well = operator.deploy(project)
    operator.cancel(well)
    cases = [
        (f"/deploy/{running}/retry", {}, 409, "has not ended yet"),
        (f"/deploy/{well}/retry", {"fromFailed": True}, 409, "came to no commit"),
        (f"/deploy/{uuid.uuid4()}/retry", {}, 404, "Deployment not found"),
        (f"/deploy/{well}/retry", {"fromFailed": "yes"}, 400, "fromFailed is true or false"),
        (f"/deploy/{well}/retry", [], 400, "Send a JSON object"),
    ]
    before = len(operator.deployments())
    for path, document, wanted, words in cases:
        status, answer = said(member.post_json(path, document))
        assert (status, answer.keys(), answer["success"]) == (wanted, {"success", "error"}, False), path
        assert words in answer["error"]
    assert len(operator.deployments()) == before


def test_a_stranger_retries_nothing(stranger, running):
    assert said(stranger.post_json(f"/deploy/{running}/retry", {})) == UNAUTHENTICATED


def test_a_running_command_has_an_entry_whose_success_is_null(member, running):
    status, answer = said(member.get(f"/deploy/{running}"))

    assert (status, answer["deployment"]["status"]) == (200, "running")
    assert answer["deployment"]["finished_at"] is None
    *before, log = answer["logs"]
    assert all(one["success"] is True for one in before)
    assert (log["log"], log["success"], log["status"], log["finished_at"]) == ("started\n", None, "running", None)


def test_a_waiting_deployment_has_no_logs_yet(member, operator, running, project):
    deployment_id = operator.deploy(project)

    _, answer = said(member.get(f"/deploy/{deployment_id}"))

    assert (answer["deployment"]["status"], answer["deployment"]["started_at"], answer["logs"]) == (
        "queued",
        None,
        [],
    )


def test_a_log_over_one_mib_is_carried_by_its_ends_and_says_so(member, operator, make_project):
    deployment_id = operator.deploy(make_project("echo first; yes 0123456789abcde | head -c 2M; echo last"))
    operator.wait_for_end(deployment_id)

    log = said(member.get(f"/deploy/{deployment_id}"))[1]["logs"][-1]["log"]

    assert log.startswith("first\n")
    assert log.endswith("last\n")
    assert "bytes of output were left out here" in log
    assert len(log) <= 1024 * 1024 + 100


def test_more_than_may_wait_are_asked_to_come_later(make_daemon, repository):
    web = make_daemon("web", runner_max_queued=1).start()
    make_user(web)
    project = Operator(web.installation).make_project(repository.url)
    member = logged_in(web)
    assert member.post_json("/deploy", {"projectId": project.id}).status == 200

    answer = member.post_json("/deploy", {"projectId": project.id})

    assert said(answer) == (
        429,
        {"success": False, "error": "Too many deployments are waiting; try again later"},
    )
    assert int(answer.headers["Retry-After"]) > 0
