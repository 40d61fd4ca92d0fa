"""Releases in the browser: chosen in the form, seen on the project's page, and gone back from with one press."""

from __future__ import annotations

import pytest

from deployer.models import Project
from tests.browser.parts import Page, expect
from tests.browser.places import press, state, step
from tests.support.operator import Operator
from tests.support.repository import Repository

pytestmark = pytest.mark.browser


def test_a_project_gets_releases_and_goes_back_with_one_press(
    page: Page, operator: Operator, project: Project, repository: Repository
) -> None:
    page.goto(f"/projects/{project.name}/edit")
    expect(page.get_by_label("What releases share")).to_be_hidden()
    page.get_by_label("A release each").check()
    page.get_by_label("What releases share").fill("storage/")
    step(page, 1).get_by_label("Runs").select_option("after it")
    press(page, "Save")
    expect(page.locator("#steps")).to_contain_text("after the switch")
    for text in ("one", "two"):
        repository.commit(text, page_html=text)
        operator.wait_for_end(operator.deploy(project))
    page.goto(f"/projects/{project.name}")
    first, second = (f"{one.number}-{one.commit_sha[:7]}" for one in operator.releases(project))
    rows = page.locator("#release-rows li")
    expect(rows.first).to_contain_text(f"{second} current")

    press(page, "Roll back to the release before the current")

    expect(state(page)).to_have_text("success")
    expect(page.locator("#about")).to_contain_text("rollback by ada")
    page.go_back()
    expect(rows.nth(1)).to_contain_text(f"{first} current")
