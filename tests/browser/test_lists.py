"""Lists: at once when something changes, in pages, and by a filter."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from deployer.models import Project
from tests.browser.parts import BrowserContext, Page, expect
from tests.browser.places import press
from tests.support.daemon import Daemon
from tests.support.forge import Forge
from tests.support.operator import Operator
from tests.support.repository import Repository
from tests.support.standing import Gate, logged_in, make_user

pytestmark = pytest.mark.browser

WIDTHS = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}


def mark(page: Page) -> None:
    page.evaluate("document.body.dataset.untouched = 'yes'")


def is_untouched(page: Page) -> bool:
    return bool(page.evaluate("document.body.dataset.untouched") == "yes")


@pytest.fixture
def pushes(daemon: Daemon, project: Project, repository: Repository) -> Callable[[str], None]:
    forge = Forge(daemon, project)
    sha = repository.tip()

    def push(message: str) -> None:
        forge.push(after=sha, head_commit={"id": sha, "message": message, "author": {"name": "Grace"}})

    return push


def test_a_push_appears_on_the_open_home_page_within_two_seconds(
    page: Page, project: Project, pushes: Callable[[str], None]
) -> None:
    with page.expect_response("**/changes/stream?**"):
        page.goto("/")
    row = page.locator(".projects > .row").filter(has=page.get_by_role("link", name=project.name, exact=True))
    expect(row).to_contain_text("Not deployed yet")
    # Nothing runs, so the page by itself would ask again in five seconds.
    expect(page.locator("#overview")).to_have_attribute("data-refresh", "5")
    mark(page)
    began = time.monotonic()
    pushes("A push that shows at once")
    expect(row).to_contain_text("A push that shows at once", timeout=2_000)
    assert time.monotonic() - began < 2
    expect(row).to_contain_text("success")
    assert is_untouched(page)


def test_a_page_that_is_not_seen_does_not_listen_and_looks_again_when_it_is(
    page: Page, project: Project, pushes: Callable[[str], None], daemon: Daemon
) -> None:
    with page.expect_response("**/changes/stream?**"):
        page.goto("/")
    opened: list[str] = []
    page.on("request", lambda request: opened.append(request.url) if "/changes/stream" in request.url else None)
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
    page.evaluate(hide % "true" + "document.dispatchEvent(new Event('visibilitychange'))")
    pushes("Pushed while nobody looked")
    page.evaluate(hide % "false" + "document.dispatchEvent(new Event('visibilitychange'))")

    expect(page.locator("#overview")).to_contain_text("Pushed while nobody looked")
    assert len(opened) == 1


@pytest.mark.parametrize("width", WIDTHS)
def test_deployments_are_found_by_the_form_and_stay_found_while_new_ones_arrive(
    width: str,
    open_context: Callable[..., BrowserContext],
    daemon: Daemon,
    cookie: str,
    project: Project,
    pushes: Callable[[str], None],
    operator: Operator,
) -> None:
    pushes("The price of rye")
    operator.wait_for_end(operator.deployments()[-1].id)
    page = open_context(daemon, cookie, viewport=WIDTHS[width]).new_page()
    page.goto("/")
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Deployments").click()
    page.get_by_label("Find").fill("PRICE OF")
    page.get_by_label("Project").select_option(project.name)
    press(page, "Filter")
    expect(page.locator(".count")).to_contain_text("1 deployment matches")
    expect(page.locator(".row.deployment")).to_have_count(1)
    mark(page)
    pushes("The price of rye again")
    pushes("Something else")
    expect(page.locator(".count")).to_contain_text("2 deployments match")
    expect(page.locator(".row.deployment")).to_have_count(2)
    assert is_untouched(page)
    page.get_by_label("Find").fill("no such words")
    page.get_by_label("Find").press("Enter")
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    page.get_by_role("link", name="Clear the filter").click()
    expect(page.locator(".row.deployment").first).to_contain_text("Something else")


@pytest.fixture
def many(daemon: Daemon, operator: Operator, repository: Repository, gate: Gate) -> Iterator[Project]:
    project = operator.make_project(repository.url, [gate.step], name=f"many-{time.monotonic_ns()}")
    ids = [operator.deploy(project) for _ in range(53)]
    yield project
    for one in ids:
        operator.cancel(one)
    gate.open()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_project_s_older_deployments_are_a_page_away(
    width: str, open_context: Callable[..., BrowserContext], daemon: Daemon, cookie: str, many: Project
) -> None:
    page = open_context(daemon, cookie, viewport=WIDTHS[width]).new_page()
    page.goto(f"/projects/{many.name}")
    page.get_by_role("link", name="All of them, with a filter").click()
    rows = page.locator(".row.deployment")
    expect(rows).to_have_count(50)
    newest = rows.first.locator(".ref").inner_text()
    page.get_by_role("link", name="Older").click()
    expect(rows).to_have_count(3)
    expect(page.get_by_label("Project")).to_have_value(many.name)
    page.get_by_role("link", name="Newer").click()
    expect(rows).to_have_count(50)
    expect(rows.first.locator(".ref")).to_have_text(newest)


def test_a_project_s_deliveries_are_read_filtered_and_opened(
    page: Page, project: Project, daemon: Daemon, pushes: Callable[[str], None]
) -> None:
    forge = Forge(daemon, project)
    page.goto(f"/projects/{project.name}/deliveries")
    expect(page.get_by_role("heading", name="No deliveries yet")).to_be_visible()
    forge.event("ping")
    expect(page.locator(".row.delivery")).to_contain_text("The forge's test of the webhook: it works.")
    pushes("A push")
    expect(page.locator(".row.delivery")).to_have_count(2)
    page.get_by_label("Verdict").select_option("deployed")
    page.get_by_role("button", name="Filter").click()
    row = page.locator(".row.delivery")
    expect(row).to_have_count(1)
    row.get_by_role("link", name="Details").click()
    expect(page.locator(".header-list")).to_contain_text("GitHub-Hookshot/044aadd")
    expect(page.locator("pre.payload")).to_contain_text('"message": "A push"')
    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("DEP-")
    page.go_back()
    page.go_back()
    expect(row).to_have_count(2)
    row = row.first
    row.locator(".ref").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("DEP-")


def test_without_places_for_listeners_a_list_goes_on_asking(
    make_daemon: Callable[..., Daemon],
    open_context: Callable[..., BrowserContext],
    repository: Repository,
    faults: object,
) -> None:
    faults.expect("status of 503")  # type: ignore[attr-defined]
    daemon = make_daemon("web", server_max_streams=1).start()
    make_user(daemon)
    cookie = logged_in(daemon).cookie
    operator = Operator(daemon.installation)
    project = operator.make_project(repository.url)
    first, second = (open_context(daemon, cookie).new_page() for _ in range(2))
    for page in (first, second):
        page.goto("/")
        expect(page.locator(".projects")).to_contain_text("Not deployed yet")
    operator.deploy(project)
    for page in (first, second):
        expect(page.locator("#overview")).to_contain_text("queued")
