"""A project's deliveries, each with its reason in a sentence."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from deployer.models import Delivery
from deployer.web import deliveries
from tests.support.waiting import wait_until


@pytest.fixture
def page_of(member, project):
    def look(query: str = ""):
        answer = member.get(f"/projects/{project.name}/deliveries{query}")
        assert answer.status == 200
        return answer.page

    return look


def rows(page) -> list[tuple[str, str]]:
    return [
        (row.find(class_="verdict").words, row.find(class_="reason").words)
        for row in page.find_all("li", class_="delivery")
    ]


def test_each_delivery_says_what_became_of_it_and_why(forge, page_of):
    forge.event("ping")
    forge.push(guid="one")
    forge.push(guid="one")
    forge.push(ref="refs/heads/next")
    forge.push(head_commit={"id": "1" * 40, "message": "later [skip deploy]", "author": {"name": "G"}})
    forge.send(b"[]")
    forge.send(b"{}", X_Hub_Signature_256=None)
    # Nobody waits for a request with a wrong signature to be recorded.
    wait_until(lambda: len(rows(page_of())) == 7, "all deliveries on the page")

    assert rows(page_of()) == [
        ("unverified", "Refused: the signature is missing or does not match the project's webhook secret."),
        ("refused", "The body is not a JSON object."),
        (
            "ignored",
            "Nothing was deployed: the commit message asks for that, with one of the project's skip markers.",
        ),
        ("ignored", "Branch next ignored: this project deploys the branch main."),
        ("duplicate", "This delivery came before and was dealt with, so it was not run again."),
        ("deployed", "It led to a deployment."),
        ("pong", "The forge's test of the webhook: it works."),
    ]


def test_a_delivery_shows_its_facts_its_headers_and_the_deployment_it_led_to(forge, page_of, operator, member):
    forge.push(guid="abc-def")
    deployment = operator.deployments()[-1]
    operator.wait_for_end(deployment.id)

    (row,) = page_of().find_all("li", class_="delivery")

    assert row.find("a", class_="ref").words == f"DEP-{deployment.number:04d}"
    assert row.find("a", class_="ref").attributes["href"].endswith(f"/DEP-{deployment.number:04d}")
    assert {"push", "refs/heads/main", "1234567"} <= {
        one.words for one in row.find(class_="facts").walk() if one.words
    }
    page = member.get(row.find("a", class_="more-of-it").attributes["href"]).page
    assert page.find("a", class_="ref").words == f"DEP-{deployment.number:04d}"
    headers = {
        one.find("dt").words: one.find("dd").words for one in page.find("dl", class_="header-list").find_all("div")
    }
    assert headers["X-GitHub-Delivery"] == "abc-def"
    assert headers["User-Agent"] == "GitHub-Hookshot/044aadd"
    assert headers["From"] == "127.0.0.1"
    assert not [name for name in headers if "signature" in name.lower()]


def test_neither_a_header_nor_a_payload_can_bring_markup_onto_the_page(forge, page_of, member):
    bad = "<script>alert(1)</script>"
    forge.send(json.dumps({"x": bad}).encode(), event="<b>ping</b>", User_Agent=bad)

    (row,) = page_of().find_all("li", class_="delivery")
    page = member.get(row.find("a", class_="more-of-it").attributes["href"]).page

    assert row.find_all("b") == []
    assert page.find("dl", class_="header-list").find_all("script") == []
    assert bad in page.find("dl", class_="header-list").text
    assert page.find("pre", class_="payload").find_all("script") == []
    assert bad in page.find("pre", class_="payload").text


def test_they_are_filtered_by_verdict_event_branch_and_text(forge, page_of):
    forge.event("ping")
    forge.push(ref="refs/heads/next", after="abcdef" + "0" * 34)
    forge.push(ref="refs/tags/v1")

    assert [verdict for verdict, _ in rows(page_of("?verdict=pong"))] == ["pong"]
    assert [verdict for verdict, _ in rows(page_of("?event=ping"))] == ["pong"]
    assert len(rows(page_of("?branch=next"))) == 1
    assert len(rows(page_of("?branch=v1"))) == 1
    assert len(rows(page_of("?text=ABCDEF"))) == 1
    assert len(rows(page_of("?text=tag+v1+IGNORED"))) == 1
    assert rows(page_of("?event=push&branch=next&text=v1")) == []
    assert rows(page_of("?verdict=nonsense")) == []
    nothing = page_of("?verdict=duplicate")
    assert nothing.find("h2", id="none").words == "Nothing matches"
    assert "Show all deliveries" in [one.words for one in nothing.find_all("a")]
    assert [one.words for one in nothing.find_all("option", selected="")] == ["duplicate"]


def test_without_any_the_page_leads_to_the_webhook(page_of, project):
    page = page_of()

    assert page.find("h2", id="none").words == "No deliveries yet"
    assert f"/projects/{project.name}#webhook" in [one.attributes["href"] for one in page.find_all("a")]


def test_pages_keep_the_filter_and_lead_back(forge, page_of, member):
    for _ in range(deliveries.SHOWN + 3):
        forge.event("issues")
    forge.event("ping")
    first = page_of("?verdict=ignored&event=issues&text=only")
    (older,) = first.find_all("a", rel="next")

    second = member.get(older.attributes["href"]).page

    assert (len(rows(first)), len(rows(second))) == (deliveries.SHOWN, 3)
    (newer,) = second.find_all("a", rel="prev")
    assert rows(member.get(newer.attributes["href"]).page) == rows(first)


def test_of_another_project_none_are_shown(forge, member, make_project):
    forge.event("ping")

    assert rows(member.get(f"/projects/{make_project().name}/deliveries").page) == []
    assert member.get("/projects/no-such-project/deliveries").status == 404


def test_a_delivery_whose_deployment_is_gone_says_so(forge, page_of, operator):
    forge.push()
    operator.wait_for_end(operator.deployments()[-1].id)
    with operator.database.write() as connection:
        connection.execute(
            sa.update(Delivery)
            .where(Delivery.deployment_id == operator.deployments()[-1].id)
            .values(deployment_id="0" * 36)
        )

    (row,) = page_of().find_all("li", class_="delivery")

    assert "Its deployment is gone." in row.words
