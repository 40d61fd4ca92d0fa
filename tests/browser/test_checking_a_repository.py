"""A new project's form asks the repository, and takes over the steps that its files suggest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.faults import Faults
from tests.browser.parts import BrowserContext, Page, expect
from tests.browser.places import command_of, fill_step, has_commands, press
from tests.support.daemon import Daemon
from tests.support.repository import Repository

pytestmark = pytest.mark.browser

SUGGESTED = ("git pull origin trunk", "npm ci", "npm run build")


@pytest.fixture
def built(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "built")
    (made.path / "package.json").write_text(json.dumps({"scripts": {"build": "vite build"}}))
    (made.path / "package-lock.json").write_text("{}")
    made.commit("An application")
    made.git("branch", "--move", "main", "trunk")
    made.git("branch", "next")
    return made


def go_through(page: Page, built: Repository, name: str) -> None:
    """From the address alone to a project with the suggested steps and one of one's own."""
    page.goto("/projects/new")
    page.get_by_label("Name", exact=True).first.fill(name)
    page.get_by_label("Repository address").fill(built.url)
    press(page, "Check the repository")
    expect(page.locator("#seen")).to_contain_text(f"The repository answers; trunk is at {built.tip()[:7]}.")
    expect(page.get_by_label("Branch")).to_have_value("trunk")
    expect(page.locator("#branches option")).to_have_count(2)
    expect(page.get_by_label("Name", exact=True).first).to_have_value(name)
    expect(page.locator("#suggestion .command")).to_have_text(list(SUGGESTED))
    has_commands(page, "git pull origin main", "")
    press(page, "Use these steps instead of those below")
    has_commands(page, *SUGGESTED)
    expect(page.locator("#suggestion")).to_contain_text("The steps below are these.")
    press(page, "Add a step")
    fill_step(page, 4, "echo restarted", name="Restart")
    press(page, "Create the project")
    expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()
    expect(page.locator(".plan > li")).to_have_count(4)
    expect(page.locator(".head .branch")).to_have_text("trunk")


@pytest.mark.parametrize("width", [1280, 390])
def test_a_project_is_made_from_what_its_repository_suggests(
    width: int, open_context: Callable[..., BrowserContext], daemon: Daemon, cookie: str, built: Repository
) -> None:
    page = open_context(daemon, cookie, viewport={"width": width, "height": 900}).new_page()
    go_through(page, built, f"suggested-{width}")


def test_without_scripts_it_is_the_same(
    open_context: Callable[..., BrowserContext], daemon: Daemon, cookie: str, built: Repository
) -> None:
    page = open_context(daemon, cookie, java_script_enabled=False).new_page()
    go_through(page, built, "suggested-plain")


def test_with_scripts_the_page_stays_and_the_answer_is_announced(page: Page, built: Repository) -> None:
    page.goto("/projects/new")
    page.evaluate("document.body.dataset.untouched = 'yes'")
    page.get_by_label("Repository address").fill(built.url)
    press(page, "Check the repository")
    expect(page.locator("#announcer")).to_contain_text("The repository answers; trunk is at ")
    press(page, "Use these steps instead of those below")
    expect(command_of(page, 1)).to_be_focused()
    expect(page.locator("#announcer")).to_have_text("3 steps")
    # The rows that came are rows like others.
    press(page, "Move step 1 down")
    has_commands(page, SUGGESTED[1], SUGGESTED[0], SUGGESTED[2])
    assert page.evaluate("document.body.dataset.untouched") == "yes"


def test_an_address_that_cannot_be_one_is_refused_in_place(page: Page, faults: Faults, built: Repository) -> None:
    faults.expect("status of 400")
    page.goto("/projects/new")
    page.evaluate("document.body.dataset.untouched = 'yes'")
    page.get_by_label("Repository address").fill("ext::sh -c id")
    press(page, "Check the repository")
    expect(page.locator("#repository_url")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#announcer")).to_contain_text("without spaces")
    page.get_by_label("Repository address").fill(f"{built.url}-elsewhere")
    press(page, "Check the repository")
    expect(page.locator("#repository_url")).not_to_have_attribute("aria-invalid", "true")
    expect(page.locator("#seen .box")).to_have_class("box danger said")
    expect(page.locator("#seen")).to_contain_text("create the project first")
    assert page.evaluate("document.body.dataset.untouched") == "yes"
