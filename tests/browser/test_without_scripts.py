"""Everything but live updates works in a browser that runs no scripts."""

from __future__ import annotations

import pytest

from tests.browser.parts import Page, expect
from tests.browser.places import entry, fill_step, has_commands, log, log_in, press, state
from tests.support.operator import Operator
from tests.support.repository import Repository
from tests.support.standing import PASSWORD, USER, Gate

pytestmark = pytest.mark.browser


def test_without_scripts_a_project_is_made_deployed_read_and_cancelled(
    plain: Page, operator: Operator, repository: Repository, gate: Gate
) -> None:
    page = plain
    page.goto("/projects/new")
    log_in(page, USER, PASSWORD)
    page.get_by_label("Name", exact=True).first.fill("plain")
    page.get_by_label("Repository address").fill(repository.url)
    pull, show = "git pull origin main", r"printf '\033[31mred\033[0m <i>text</i>\n'"
    fill_step(page, 2, show, name="Print")
    press(page, "Add a step")
    has_commands(page, pull, show, "")
    fill_step(page, 3, "true", timeout="2 min")
    press(page, "Add a step")
    has_commands(page, pull, show, "true", "")
    fill_step(page, 4, gate.step, name="Wait")
    press(page, "Move step 4 up")
    has_commands(page, pull, show, gate.step, "true")
    press(page, "Remove step 4")
    has_commands(page, pull, show, gate.step)
    press(page, "Move step 1 down")
    has_commands(page, show, pull, gate.step)
    expect(page.get_by_label("Repository address")).to_have_value(repository.url)
    press(page, "Create the project")
    expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    press(page, "Deploy now")
    expect(page.get_by_role("heading", level=1)).to_contain_text("DEP-")

    # The page says what was true when it was asked for; another look shows more.
    deployment = operator.deployments()[-1]
    operator.wait_for_output(deployment.id, b"started", 2)
    page.reload()
    expect(state(page)).to_have_text("running")
    expect(log(page, "Wait")).to_have_text("started")
    press(page, "Cancel")
    operator.wait_for_end(deployment.id)
    page.reload()
    expect(state(page)).to_have_text("cancelled")
    expect(log(page, "Print").locator(".fg-1")).to_have_text("red")
    # Of a deployment that was cut short, what went well is closed, and opens without scripts too.
    entry(page, "Print").locator("summary").click()
    expect(log(page, "Print")).to_be_visible()
    assert log(page, "Print").text_content() == "red <i>text</i>\n"
    page.get_by_role("link", name="Settings").click()
    press(page, "Log out")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
