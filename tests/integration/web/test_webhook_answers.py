"""The table of answers to POST /webhook/<project>, row by row and in its order."""

from __future__ import annotations

import uuid

import pytest

from tests.support.forge import FORM, SHA, push

ZERO = "0" * 40


def said(answer) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    return answer.status, answer.text


def test_an_unknown_project_is_not_found(forge):
    forge.path = f"/webhook/{uuid.uuid4()}"

    assert said(forge.push()) == (404, "Project not found")


@pytest.mark.parametrize("path", ["/webhook/", "/webhook/app", "/webhook/..%2f..", "/webhook/%00", "/webhook/%ff"])
def test_an_address_that_is_no_project_at_all_is_not_found(forge, path):
    forge.path = path

    assert said(forge.push()) == (404, "Project not found")


def test_an_unknown_project_is_told_before_its_body_is_read(forge):
    forge.path = f"/webhook/{uuid.uuid4()}"
    with forge.raw(f"POST {forge.path} HTTP/1.1\nHost: x\nContent-Length: 99999999") as sock:
        assert sock.recv(65536).startswith(b"HTTP/1.1 404 ")


def test_an_empty_body_without_a_signature_is_no_body(forge):
    assert said(forge.send(b"", X_Hub_Signature_256=None)) == (400, "No body")


def test_an_empty_body_with_a_wrong_signature_is_unauthorized(forge):
    assert said(forge.send(b"", X_Hub_Signature_256="sha256=" + "0" * 64)) == (401, "Unauthorized")


def test_an_empty_body_with_a_right_signature_is_no_body(forge):
    assert said(forge.send(b"")) == (400, "No body")


@pytest.mark.parametrize("signature", [None, "", "sha256=", "sha256=zz", "sha1=" + "0" * 40, "sha256=" + "0" * 64])
def test_a_signature_that_is_missing_malformed_or_wrong_is_unauthorized(forge, signature):
    assert said(forge.send(b'{"ref": "refs/heads/main"}', X_Hub_Signature_256=signature)) == (401, "Unauthorized")


def test_an_old_sha1_signature_does_not_stand_in_for_a_missing_one(forge):
    answer = forge.send(b"{}", X_Hub_Signature_256=None, X_Hub_Signature="sha1=" + "0" * 40)

    assert said(answer) == (401, "Unauthorized")


def test_a_body_that_is_both_unsigned_and_unusable_is_unauthorized(forge):
    assert said(forge.send(b"{", X_Hub_Signature_256="sha256=" + "0" * 64)) == (401, "Unauthorized")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"null",
        b"42",
        b'"push"',
        b"\xff\xfe",
        b"payload={}",
        b'{"a": NaN}',
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"a":' + b"7" * 5_000 + b"}",
    ],
    ids=["broken", "list", "null", "number", "string", "bytes", "form", "nan", "deep", "digits"],
)
def test_a_signed_body_that_is_no_json_object_is_no_body(forge, body):
    assert said(forge.send(body)) == (400, "No body")


@pytest.mark.parametrize("body", [b"", b"payload=", b"payload=%7B", b"load=%7B%7D", b"payload=%ff"])
def test_a_signed_form_without_a_usable_payload_is_no_body(forge, body):
    assert said(forge.send(body, Content_Type=FORM)) == (400, "No body")


def test_a_ping_is_answered_with_pong(forge):
    assert said(forge.event("ping", zen="Keep it logically awesome.")) == (200, "pong")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ref": "refs/heads/next"}, "Branch next ignored: this project deploys the branch main"),
        ({"ref": "refs/tags/main"}, "Tag main ignored: this project deploys the branch main"),
        ({"ref": "refs/notes/main"}, "Ref refs/notes/main ignored: it is not a branch"),
        ({"deleted": True, "after": ZERO}, "Branch main was deleted: nothing to deploy"),
        ({"after": ZERO}, "Branch main was deleted: nothing to deploy"),
        ({"after": "main"}, "Push ignored: it names no commit"),
        ({"head_commit": {"message": "Later [skip deploy]"}}, "Skipped: the commit message asks for it"),
        ({"head_commit": {"message": "x\n\n[Deploy Skip]"}}, "Skipped: the commit message asks for it"),
    ],
)
def test_a_push_that_asks_for_nothing_is_answered_with_the_reason(forge, changes, reason):
    answer = forge.push(**changes)

    assert said(answer) == (200, reason)
    assert answer.headers["X-Deployment-Id"] is None


def test_another_event_is_answered_with_the_reason(forge):
    assert said(forge.event("issues", action="opened")) == (200, "Event issues ignored: only push deploys")


def test_a_push_of_a_project_without_auto_deploy_is_answered_with_the_reason(forge, project, operator):
    operator.change(project, auto_deploy=False)

    assert said(forge.push()) == (200, "Auto-deploy is off for this project")


def test_a_push_to_a_project_without_steps_is_answered_with_the_reason(forge, project, operator):
    operator.change(project, steps=())

    assert said(forge.push()) == (200, "No steps configured")


def test_a_push_to_the_branch_triggers_a_deployment_and_names_it(forge, operator, project):
    answer = forge.push()

    assert said(answer) == (200, "Deployment triggered")
    deployment = operator.deployment(answer.headers["X-Deployment-Id"])
    assert (deployment.project_id, deployment.trigger) == (project.id, "push")


def test_a_form_as_github_can_send_it_triggers_a_deployment(forge, operator):
    answer = forge.push_form()

    assert said(answer) == (200, "Deployment triggered")
    assert operator.deployment(answer.headers["X-Deployment-Id"]).commit_sha == SHA


def test_the_repository_named_in_the_payload_is_recorded_and_not_compared(forge, operator):
    answer = forge.push(repository={"full_name": "somebody/else"})

    assert operator.deployment(answer.headers["X-Deployment-Id"]).repository == "somebody/else"


def test_who_pushed_what_is_stored(forge, operator):
    deployment = operator.deployment(forge.push().headers["X-Deployment-Id"])

    sent = push()
    assert deployment.commit_sha == sent["after"]
    assert deployment.commit_message == sent["head_commit"]["message"]
    assert (deployment.author_name, deployment.author_email) == ("Grace Hopper", "grace@example.com")
    assert deployment.pusher == "grace"
    assert deployment.compare_url == sent["compare"]


def test_lone_surrogates_and_nuls_are_made_harmless(forge, operator):
    body = b'{"ref":"refs/heads/main","after":"%s","head_commit":{"message":"a\\ud800b\\u0000c"}}' % SHA.encode()

    answer = forge.send(body)

    assert operator.deployment(answer.headers["X-Deployment-Id"]).commit_message == "a?b\N{REPLACEMENT CHARACTER}c"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_another_method_than_post_is_refused(forge, stranger, method):
    answer = stranger.request(method, forge.path)

    assert answer.status == 405
    assert answer.headers["Allow"] == "POST"
    assert answer.text == ("" if method == "HEAD" else "Send a POST request")
