"""A delivery's own page: who sees what of it, and its replay."""

from __future__ import annotations

import json
import os

import pytest

from deployer.deployments import payloads
from tests.support.forge import SHA, push
from tests.support.waiting import wait_until

WRONG = "sha256=" + "0" * 64


@pytest.fixture
def page_of(project):
    """``page_of(browser)``: the page of the newest delivery."""

    def look(browser, path: str = ""):
        listed = browser.get(f"/projects/{project.name}/deliveries").page
        links = listed.find_all("a", class_="more-of-it")
        return browser.get(links[0].attributes["href"]).page if links else None

    return look


def replay(browser, page):
    (action,) = [one.attributes["action"] for one in page.find_all("form") if "/replay" in one.attributes["action"]]
    return browser.post(action)


def test_an_administrator_sees_the_payload_without_secrets(admin, operator, project, forge, page_of):
    operator.set_variable(project, "TOKEN", "hunter2hunter2", secret=True)
    secret = forge.secret.decode()
    forge.push(ref="refs/heads/next", note=f"hunter2hunter2 and {secret}")

    page = page_of(admin)

    shown = page.find("pre", class_="payload").text
    assert json.loads(shown) == push(ref="refs/heads/next", note="*** and ***")
    assert '\n  "ref": "refs/heads/next",' in shown


def test_headers_are_redacted_too(admin, operator, project, forge, page_of):
    operator.set_variable(project, "TOKEN", "hunter2hunter2", secret=True)
    forge.send(b"{}", User_Agent="hunter2hunter2/1.0")

    listed = page_of(admin).find("dl", class_="header-list").words

    assert "***/1.0" in listed
    assert "hunter2" not in listed


def test_members_see_what_became_of_it_and_nothing_that_it_carried(plain_member, forge, page_of):
    forge.push(ref="refs/heads/next")

    page = page_of(plain_member)

    assert "Branch next ignored" in page.words
    assert SHA[:7] in page.words
    assert page.find_all("pre") == []
    assert page.find_all("dl", class_="header-list") == []
    assert [one for one in page.find_all("form") if "/replay" in one.attributes["action"]] == []
    for hidden in ("GitHub-Hookshot", "Make it work", "Grace Hopper", "127.0.0.1"):
        assert hidden not in page.words


def test_what_is_too_large_to_keep_or_to_show_says_so(admin, forge, page_of):
    forge.push(ref="refs/heads/next", noise=os.urandom(2 * payloads.KEPT_BYTES).hex())
    kept_not = page_of(admin)
    forge.push(ref="refs/heads/next", noise="x" * payloads.SHOWN_BYTES)
    shown_not = page_of(admin)

    assert "too many to be kept" in kept_not.words
    assert [one for one in kept_not.find_all("form") if "/replay" in one.attributes["action"]] == []
    assert "too many to be shown" in shown_not.words
    assert replay(admin, shown_not).status == 302


def test_a_delivery_of_another_project_is_not_found(admin, forge, project, make_project):
    forge.event("ping")
    listed = admin.get(f"/projects/{project.name}/deliveries").page
    path = listed.find("a", class_="more-of-it").attributes["href"]

    elsewhere = path.replace(f"/{project.name}/", f"/{make_project().name}/")

    assert admin.get(path).status == 200
    assert (admin.get(elsewhere).status, admin.post(f"{elsewhere}/replay").status) == (404, 404)


def test_a_replay_leads_to_its_deployment_and_names_its_original(admin, forge, operator, page_of):
    operator.wait_for_end(forge.push().headers["X-Deployment-Id"])

    answer = replay(admin, page_of(admin))

    assert answer.status == 302
    newest = operator.deployments()[-1]
    assert answer.location.endswith(newest.id)
    assert newest.triggered_by == "ada"
    page = page_of(admin)
    assert "Replay of" in page.words
    assert "replayed by ada" in page.words


def test_a_replay_that_deploys_nothing_says_why(admin, forge, page_of):
    forge.push(ref="refs/heads/next")

    answer = replay(admin, page_of(admin))

    assert "/deliveries/" in answer.location
    said = admin.get(answer.location).page.find(class_="flash").words
    assert said == "Replayed. Branch next ignored: this project deploys the branch main."


def test_a_refused_replay_says_why_on_the_page(admin, forge, page_of, project):
    forge.event("ping")
    listed = admin.get(f"/projects/{project.name}/deliveries").page
    path = listed.find("a", class_="more-of-it").attributes["href"]

    answer = admin.post(f"{path}/replay")

    assert answer.status == 400
    assert answer.page.find("p", class_="said").words == "Only a push can be replayed."


def test_a_wrong_signature_says_what_to_check_and_when_one_was_right(admin, plain_member, forge, project, page_of):
    def row() -> str:
        listed = admin.get(f"/projects/{project.name}/deliveries").page
        rows = [one for one in listed.find_all("li", class_="delivery") if one.find_all(class_="advice")]
        return rows[0].find(class_="advice").words if rows else ""

    forge.send(b"{}", X_Hub_Signature_256=WRONG)
    assert wait_until(row, "the refused request on the page").endswith("None was right yet.")
    for browser in (admin, plain_member):
        page = page_of(browser)
        assert page.find("h2", id="check-title").words == "What to check"
        for point in ("The secret.", "signed at all", "The content type.", "What stands in between."):
            assert point in page.words
        assert page.find_all("pre") == []

    forge.event("ping")
    assert "The last one that was right came just now." in row()
    (refused,) = [
        one.find("a", class_="more-of-it").attributes["href"]
        for one in admin.get(f"/projects/{project.name}/deliveries?verdict=unverified").page.find_all(
            "li", class_="delivery"
        )
    ]
    assert "it seems to be mended" in admin.get(refused).page.words
