"""Releases on a project's page, and going back to one."""

from __future__ import annotations

import itertools

import pytest

from deployer.models.project import Phase
from deployer.project_input import StepInput

_numbers = itertools.count(1)


@pytest.fixture
def released(operator, repository):
    """A project with two releases, of which the second is current."""
    made = operator.make_project(
        repository.url,
        ["true", StepInput("echo up", phase=Phase.ACTIVATE)],
        name=f"released-{next(_numbers)}",
        strategy="release",
    )
    for text in ("one", "two"):
        repository.commit(text, page_html=text)
        operator.wait_for_end(operator.deploy(made))
    return made


def test_the_page_shows_what_is_live_and_each_release_with_its_size(member, operator, released):
    first, second = operator.releases(released)

    page = member.get(f"/projects/{released.name}").page

    rows = [row.words for row in page.find(id="release-rows").find_all("li")]
    assert rows[0].startswith(f"2-{second.commit_sha[:7]}")
    assert rows[1].startswith(f"1-{first.commit_sha[:7]}")
    assert "current" in rows[0]
    assert "Roll back" not in rows[0]
    assert f"Roll back to 1-{first.commit_sha[:7]}" in rows[1]
    assert all("KiB" in row and "by hand, ada" in row for row in rows)


def test_a_member_rolls_back_with_one_press(plain_member, operator, released):
    answer = plain_member.post(f"/projects/{released.name}/rollback")

    assert answer.status == 302
    back = operator.wait_for_end(answer.location.rpartition("/")[2])
    assert (back.trigger, back.status) == ("rollback", "success")
    assert operator.live(released).startswith("1-")


@pytest.mark.parametrize(
    ("named", "status", "said"),
    [
        ("2", 409, "is the current one already"),
        ("9", 404, "has no release 9"),
        ("x", 404, "'x' is no release"),
        ("-1", 404, "'-1' is no release"),
        ("9999999999", 404, "is no release"),
        ("1-../../etc", 404, "is no release"),
    ],
)
def test_what_cannot_be_gone_back_to_is_refused_with_the_reason(member, released, named, status, said):
    answer = member.post(f"/projects/{released.name}/rollback", {"release": named})

    assert answer.status == status
    assert said in answer.page.words


def test_a_project_without_releases_says_so(member, project):
    answer = member.post(f"/projects/{project.name}/rollback")

    assert answer.status == 409
    assert "has no releases" in answer.page.words


def test_the_page_of_the_deployment_that_is_live_rolls_back(member, operator, released):
    *_, last = (one for one in operator.deployments() if one.project_id == released.id)

    page = member.get(f"/deployments/{last.id}").page

    assert page.find(id="roll-back").words.startswith("Roll back to 1-")


def test_a_button_that_is_pressed_twice_goes_back_once(plain_member, operator, released, repository):
    repository.commit("three", page_html="three")
    last = operator.wait_for_end(operator.deploy(released))
    places = (f"/projects/{released.name}", f"/deployments/{last.id}")
    pages = [plain_member.get(path).page for path in places]
    named = {
        button.attributes["value"]
        for page in pages
        for form in page.find_all("form")
        if form.attributes.get("action", "").endswith("/rollback")
        for button in form.find_all("button")[:1]
        if button.attributes.get("class") == "button"
    }
    assert named == {"2"}

    first = plain_member.post(f"/projects/{released.name}/rollback", {"release": "2"})
    operator.wait_for_end(first.location.rpartition("/")[2])
    again = plain_member.post(f"/projects/{released.name}/rollback", {"release": "2"})

    assert again.status == 409
    assert operator.live(released).startswith("2-")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("shared_paths", "../secrets", "must lie inside the release"),
        ("shared_paths", "/etc", "is no path inside the release"),
        ("shared_paths", "a/.git/hooks", "apart from .git"),
        ("health_url", "ftp://example.com", "Give an address such as"),
        ("health_url", "http://169.254.169.254/latest", "link-local"),
        ("health_url", "http://[::ffff:169.254.169.254]/", "link-local"),
        ("health_url", "http://user:word@127.0.0.1/", "without a user name and password"),
        ("health_tries", "0", "Give a number of tries from 1 to 100"),
        ("keep_releases", "many", "Give a number of releases from 1 to 100"),
        ("step_command", "git pull origin main", "with releases the commit is there before the first step"),
    ],
)
def test_what_cannot_be_used_is_told_at_its_field(member, repository, field, value, said):
    given = {
        "name": "wrong",
        "repository_url": repository.url,
        "branch": "main",
        "strategy": "release",
        "step_command": "true",
        field: value,
    }

    answer = member.post("/projects/new", given)

    assert answer.status == 400
    assert said in answer.page.words


def test_what_is_entered_for_releases_is_kept(member, operator, repository):
    given = {
        "name": "entered",
        "repository_url": repository.url,
        "branch": "main",
        "strategy": "release",
        "shared_paths": "storage/\r\n\r\n .env ",
        "keep_releases": "3",
        "health_url": "http://127.0.0.1:3000/health",
        "health_status": "204",
        "step_command": "sudo systemctl restart app",
        "step_phase": "activate",
    }

    assert member.post("/projects/new", given).status == 302

    page = member.get("/projects/entered/edit").page
    assert page.value("keep_releases") == "3"
    assert page.value("health_status") == "204"
    assert page.find(id="shared_paths").words.split() == ["storage/", ".env"]
    words = member.get("/projects/entered").page.words
    assert "after the switch" in words
    assert "GET http://127.0.0.1:3000/health answers 204" in words
