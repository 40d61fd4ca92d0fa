"""From the first start to a failed deployment and its cause, by what the pages show alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.browser.parts import BrowserContext, Page, expect
from tests.browser.places import command_of, entry, fill_step, has_commands, log, press, state, step
from tests.support.browser import Browser
from tests.support.daemon import Daemon
from tests.support.forge import Forge
from tests.support.repository import Repository

pytestmark = pytest.mark.browser

MESSAGE = "Greet <b>everybody</b> & <img src=x onerror=alert(1)>"


class PastedForge(Forge):
    """GitHub, told what the project's page shows."""

    def __init__(self, daemon: Daemon, address: str, secret: str) -> None:
        self.daemon = daemon
        self.path = urlsplit(address).path
        self.secret = secret.encode()
        self._browser = Browser(daemon)

    def push_commit(self, repository: Repository, message: str) -> None:
        sha = repository.tip()
        author = {"name": "Grace Hopper", "email": "grace@example.com"}
        answer = self.push(after=sha, head_commit={"id": sha, "message": message, "author": author})
        assert (answer.status, answer.text) == (200, "Deployment triggered")


def set_up(page: Page, daemon: Daemon) -> None:
    link = re.search(r"http://\S+/setup\?token=\S+", daemon.greeting)
    assert link, daemon.greeting
    page.goto(link[0])
    page.get_by_label("User name").fill("ada")
    page.get_by_label("E-mail address").fill("ada@example.com")
    page.get_by_label("Password", exact=True).fill("correct horse battery")
    page.get_by_label("The same password again").fill("correct horse battery")
    press(page, "Create the account")
    expect(page.get_by_role("heading", name="Push to GitHub, and this server deploys it")).to_be_visible()


def create_project(page: Page, repository: Repository, greet: str) -> None:
    page.get_by_role("link", name="Create the first project").click()
    expect(page.get_by_label("Name", exact=True).first).to_be_focused()
    page.get_by_label("Name", exact=True).first.fill("shop")
    page.get_by_label("Repository address").fill(repository.url)
    expect(page.get_by_label("Branch")).to_have_value("main")
    has_commands(page, "git pull origin main", "")
    fill_step(page, 2, "echo restarted", name="Restart")
    press(page, "Add a step")
    expect(command_of(page, 3)).to_be_focused()
    fill_step(page, 3, "test ! -e broken.txt || exit 3", name="Check the build", timeout="1 min")
    press(page, "Add a step")
    fill_step(page, 4, greet, name="Greet")
    press(page, "Add a step")
    fill_step(page, 5, "rm -rf /nowhere", name="A mistake")
    # By buttons, by keys, and gone again.
    press(page, "Move step 3 up")
    expect(command_of(page, 2)).to_have_value("test ! -e broken.txt || exit 3")
    expect(page.get_by_role("button", name="Move step 2 up")).to_be_focused()
    command_of(page, 4).press("Alt+ArrowUp")
    expect(command_of(page, 3)).to_be_focused()
    command_of(page, 3).press("Alt+ArrowUp")
    expect(command_of(page, 2)).to_have_value(greet)
    expect(page.locator("#announcer")).to_have_text("Step 3 is now step 2")
    press(page, "Remove step 5")
    has_commands(page, "git pull origin main", greet, "test ! -e broken.txt || exit 3", "echo restarted")
    expect(step(page, 4).get_by_role("button", name="Move step 4 down")).to_be_disabled()
    press(page, "Create the project")
    expect(page.get_by_role("heading", level=1, name="shop")).to_be_visible()


def connect(page: Page, daemon: Daemon) -> PastedForge:
    connection = page.locator("#connection")
    expect(connection).to_have_text("waiting for the first ping")
    secret = page.locator("#webhook-secret")
    expect(secret).to_be_hidden()
    page.get_by_text("Show", exact=True).click()
    expect(secret).to_be_visible()
    forge = PastedForge(daemon, page.locator("#webhook-url").inner_text(), secret.inner_text())
    page.evaluate("document.body.dataset.untouched = 'yes'")
    assert forge.event("ping", zen="Design for failure.").text == "pong"
    expect(connection).to_contain_text("connected")
    expect(page.locator("#deliveries")).to_contain_text("pong")
    assert page.evaluate("document.body.dataset.untouched") == "yes"
    return forge


def test_a_first_user_gets_from_the_set_up_link_to_a_failed_deployment_and_its_cause(
    make_daemon: Callable[..., Daemon], open_context: Callable[..., BrowserContext], tmp_path: Path
) -> None:
    daemon = make_daemon().start()
    repository = Repository(tmp_path / "shop")
    repository.commit("first", README_md="hello\n")
    is_open = tmp_path / "open"
    greet = (
        r"printf 'hello \033[1;32mgreen\033[0m\n<b id=injected>bold</b> & <script>alert(1)</script>\n'; "
        f"while [ ! -e {is_open} ]; do sleep 0.01; done; echo goodbye"
    )
    page = open_context(daemon).new_page()
    set_up(page, daemon)
    create_project(page, repository, greet)
    forge = connect(page, daemon)

    # A push runs, and every line is there while its step still runs.
    sha = repository.commit(MESSAGE, index_html="<p>hello</p>\n")
    forge.push_commit(repository, MESSAGE)
    page.get_by_role("link", name="Deployer").click()
    card = page.locator(".card[data-status=running]")
    expect(card).to_contain_text("shop DEP-0001")
    expect(card).to_contain_text(MESSAGE)
    card.click()
    expect(page.locator(".lead")).to_have_text(MESSAGE)
    expect(page.locator("#about")).to_contain_text(sha[:7])
    expect(page.locator("#about")).to_contain_text("push by grace")
    expect(log(page, "Greet")).to_contain_text("<b id=injected>bold</b> & <script>alert(1)</script>")
    expect(log(page, "Greet").locator(".bold.fg-2")).to_have_text("green")
    expect(entry(page, "Greet")).to_have_attribute("data-status", "running")
    expect(entry(page, "Check the build")).to_have_attribute("data-status", "queued")
    expect(state(page)).to_have_text("running")
    is_open.touch()
    expect(log(page, "Greet")).to_contain_text("goodbye")
    expect(log(page, "Restart")).to_have_text("restarted\n", use_inner_text=False)
    expect(state(page)).to_have_text("success")
    expect(page).to_have_title("DEP-0001 success · shop")
    expect(page.get_by_role("button", name="Deploy this commit again")).to_be_visible()
    shown = log(page, "Greet").text_content()
    assert shown == "hello green\n<b id=injected>bold</b> & <script>alert(1)</script>\ngoodbye\n"
    # Loaded, it reads the same.
    page.reload()
    assert log(page, "Greet").text_content() == shown
    expect(log(page, "Greet").locator(".bold.fg-2")).to_have_text("green")
    expect(page.locator("#injected")).to_have_count(0)

    # A push whose step fails says which step, how, and what was not run.
    repository.commit("Break it", broken_txt="oh\n")
    forge.push_commit(repository, "Break it")
    page.get_by_role("link", name="Deployer").click()
    failed = page.locator(".card[data-status=failed]")
    expect(failed).to_contain_text("DEP-0002")
    expect(failed).to_contain_text("Check the build")
    failed.click()
    expect(state(page)).to_have_text("failed")
    expect(page.locator("#about .cause")).to_contain_text("Check the build")
    expect(page.locator("#about .cause")).to_contain_text("exited with 3")
    expect(entry(page, "Check the build").locator(".exit")).to_have_text("exit 3")
    expect(entry(page, "Check the build").locator(".command-status")).to_have_text("failed")
    expect(entry(page, "Restart").locator(".command-status")).to_have_text("skipped")
    expect(log(page, "Restart")).to_have_text("")
    page.get_by_role("navigation", name="Breadcrumb").get_by_role("link", name="shop").click()
    expect(page.locator("#deployments .row").first).to_contain_text("exited with 3")
    expect(page.locator("#deliveries .row")).to_have_count(3)
