"""A log that can be watched no more says so, and asks no further."""

from __future__ import annotations

import pytest

from deployer import projects
from tests.browser.faults import Faults
from tests.browser.parts import BrowserContext, Page, expect
from tests.browser.places import log_in
from tests.support.daemon import Daemon
from tests.support.standing import PASSWORD, USER, logged_in

pytestmark = pytest.mark.browser


def watched(context: BrowserContext, deployment_id: str) -> tuple[Page, list[str]]:
    """A page that watches, and what it asks the daemon for."""
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"/deployments/{deployment_id}")
    expect(page.locator("#live")).to_have_text("Live")
    return page, asked


def asks_no_more(page: Page, asked: list[str]) -> None:
    """For longer than it would wait between two questions, told by its own clock."""
    before = len(asked)
    page.clock.run_for(60_000)
    page.evaluate("fetch('/favicon.ico').catch(() => null)")
    assert [one for one in asked[before:] if not one.endswith("/favicon.ico")] == []


def test_after_the_end_of_the_login_it_offers_to_log_in_again(
    daemon: Daemon, open_context, running: str, faults: Faults
) -> None:
    faults.expect("status of 401|status of 404")
    context = open_context(daemon, logged_in(daemon).cookie)
    page, asked = watched(context, running)
    page.clock.install()
    context.request.post("/logout", headers={"Sec-Fetch-Site": "same-origin"})
    note = page.locator("#live")

    expect(note).to_have_text("Log in again to go on watching", timeout=30_000)

    asks_no_more(page, asked)
    note.get_by_role("link", name="Log in again").click()
    log_in(page, USER, PASSWORD)
    expect(page.locator("#live")).to_have_text("Live")


def test_of_a_deployment_that_was_removed_it_says_so(
    daemon: Daemon, open_context, operator, make_project, running: str, faults: Faults
) -> None:
    faults.expect("status of 404")
    # It waits for the one that runs.
    project = make_project("true")
    deployment_id = operator.deploy(project)
    page, asked = watched(open_context(daemon, logged_in(daemon).cookie), deployment_id)
    page.clock.install()
    with daemon.installation.database.write_session() as session:
        session.delete(projects.find(session, project.id))

    expect(page.locator("#live")).to_have_text("This deployment was removed", timeout=30_000)

    asks_no_more(page, asked)
