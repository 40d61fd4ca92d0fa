"""A deployment is ended from its page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deployer.models import Project
from tests.browser.parts import BrowserContext, Page, expect
from tests.browser.places import entry, log, press, state
from tests.support.daemon import Daemon
from tests.support.operator import Operator
from tests.support.repository import Repository
from tests.support.standing import logged_in, make_user

pytestmark = pytest.mark.browser


def test_a_cancel_ends_a_running_deployment_and_every_open_page_shows_it_without_a_reload(
    make_daemon: Callable[..., Daemon],
    open_context: Callable[..., BrowserContext],
    repository: Repository,
    tmp_path: Path,
) -> None:
    # It gives a cancelled step all the time that it wants.
    daemon = make_daemon(runner_cancel_grace=60).start()
    make_user(daemon)
    operator = Operator(daemon.installation)
    may_end = tmp_path / "may-end"
    tidy_up = f"trap 'while [ ! -e {may_end} ]; do sleep 0.01; done; echo tidied up; exit 1' TERM"
    steady = f"{tidy_up}; echo started; while :; do sleep 0.01; done"
    deployment_id = operator.deploy(operator.make_project(repository.url, [steady, "echo never"]))
    operator.wait_for_output(deployment_id, b"started")
    context = open_context(daemon, logged_in(daemon).cookie)
    page, other = context.new_page(), context.new_page()
    other.goto(f"/deployments/{deployment_id}")
    expect(log(other, "trap")).to_contain_text("started")
    other.evaluate("document.body.dataset.untouched = 'yes'")
    page.goto(f"/deployments/{deployment_id}")
    expect(state(page)).to_have_text("running")
    press(page, "Cancel")
    for one in (page, other):
        expect(one.locator("#about .actions")).to_have_text("Cancel requested by ada…")
    page.evaluate("document.body.dataset.untouched = 'yes'")
    may_end.touch()
    for one in (page, other):
        expect(state(one)).to_have_text("cancelled")
        expect(log(one, "trap")).to_contain_text("tidied up")
        expect(entry(one, "trap").locator(".command-status")).to_have_text("cancelled")
        expect(entry(one, "echo never").locator(".command-status")).to_have_text("skipped")
        expect(one.get_by_role("button", name="Retry", exact=True)).to_be_visible()
        assert one.evaluate("document.body.dataset.untouched") == "yes"


def test_a_cancel_takes_a_waiting_deployment_out_of_the_queue(
    page: Page, operator: Operator, make_project: Callable[..., Project], running: str
) -> None:
    waiting = operator.deploy(make_project("echo never"))
    page.goto("/")
    page.locator(".card[data-status=queued]").click()
    expect(state(page)).to_have_text("queued")
    press(page, "Cancel")
    expect(state(page)).to_have_text("cancelled")
    assert operator.commands(waiting) == []
    expect(page.locator("#commands")).to_have_text("Nothing was run.")
