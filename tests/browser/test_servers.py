"""A server is added, let in, compared, tested and deployed to in the browser, on a phone and on a desk."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from deployer.executors.host_keys import fingerprint
from tests.browser.faults import Faults
from tests.browser.parts import BrowserContext, Locator, Page, expect
from tests.browser.places import fill_step, log, press, state
from tests.support.daemon import Daemon
from tests.support.operator import Operator
from tests.support.ordinary_user import OrdinaryUser, who
from tests.support.repository import Repository
from tests.support.ssh_server import SshServer

pytestmark = pytest.mark.browser


@pytest.fixture
def no_servers(daemon: Daemon, operator: Operator) -> Iterator[None]:
    """At the end there is no server any more."""
    yield
    for one in operator.deployments():
        operator.wait_for_end(one.id)
    with daemon.installation.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM projects WHERE server_id IS NOT NULL")
        connection.exec_driver_sql("DELETE FROM servers")


def panel(page: Page, title: str) -> Locator:
    return page.locator("section").filter(has=page.get_by_role("heading", name=title))


def add(page: Page, name: str, ssh: SshServer) -> None:
    page.get_by_role("link", name="Add a server").click()
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Host", exact=True).fill("127.0.0.1")
    page.get_by_label("Port", exact=True).fill(str(ssh.port))
    page.get_by_label("User", exact=True).fill(ssh.user)
    press(page, "Add the server")
    expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()


@pytest.mark.usefixtures("no_servers")
@pytest.mark.parametrize(("width", "scripts"), [(390, True), (1280, True), (1280, False)])
def test_a_project_is_deployed_to_a_server_that_the_pages_alone_set_up(
    width: int,
    scripts: bool,
    open_context: Callable[..., BrowserContext],
    daemon: Daemon,
    cookie: str,
    operator: Operator,
    repository: Repository,
    ssh: SshServer,
    user: OrdinaryUser,
) -> None:
    viewport = {"width": width, "height": 900}
    page = open_context(daemon, cookie, viewport=viewport, java_script_enabled=scripts).new_page()
    name = f"there-{width}-{scripts}".lower()
    page.goto("/")
    page.get_by_role("navigation").get_by_role("link", name="Servers").click()
    expect(page.get_by_role("heading", name="Every project runs on this host so far")).to_be_visible()
    add(page, "web1", ssh)

    # Not trusted, not let in: the test says which comes first.
    press(page, "Test the connection")
    expect(panel(page, "3. Test the connection")).to_contain_text("The host key of web1 is not trusted yet.")
    expect(page.locator("#offered")).to_have_text(fingerprint(ssh.host_key))
    press(page, "It is the same: trust it")
    expect(panel(page, "2. Compare its host key").locator(".status")).to_have_text("trusted")
    press(page, "Test the connection")
    expect(panel(page, "3. Test the connection")).to_contain_text("it does not take Deployer's key")
    expect(panel(page, "3. Test the connection").locator(".status")).to_have_text("not ready")

    ssh.authorize(page.locator("#authorized-keys").inner_text())
    press(page, "Test the connection")
    expect(panel(page, "3. Test the connection").locator(".status")).to_have_text("ready")
    expect(page.locator(".findings > li")).to_have_count(8)
    expect(page.locator(".findings > li[data-status=success]")).to_have_count(8)

    page.get_by_role("link", name="make a new project here").click()
    page.get_by_label("Name", exact=True).first.fill(name)
    page.get_by_label("Repository address").fill(repository.url)
    expect(page.get_by_label("Server", exact=True).locator("option:checked")).to_contain_text("web1")
    fill_step(page, 1, "id -un; pwd; cat README.md", name="Look around")
    press(page, "Create the project")
    press(page, "Deploy now")
    if not scripts:
        # The page says what was true when it was asked for.
        operator.wait_for_end(operator.deployments()[-1].id)
        page.reload()
    expect(state(page)).to_have_text("success")
    copy = f"{user.home}/.deployer/checkouts/{name}"
    expect(log(page, "Look around")).to_have_text(f"{who(user)}\n{copy}\nhello\n", use_inner_text=False)

    page.goto("/servers")
    expect(page.locator(".row")).to_contain_text("ready")
    expect(page.locator(".row")).to_contain_text("one project")
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.usefixtures("no_servers")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_changed_host_key_is_seen_and_the_new_one_trusted_or_the_server_removed(
    width: int,
    open_context: Callable[..., BrowserContext],
    daemon: Daemon,
    cookie: str,
    operator: Operator,
    repository: Repository,
    ssh: SshServer,
    faults: Faults,
) -> None:
    faults.expect("status of 4")
    page = open_context(daemon, cookie, viewport={"width": width, "height": 900}).new_page()
    server_id = operator.make_server(ssh)
    project = operator.make_project(repository.url, name=f"moved-{width}", server=server_id)
    before = fingerprint(ssh.host_key)
    ssh.stop()
    ssh.make_host_key()
    ssh.start()

    page.goto("/servers/web1")
    press(page, "Test the connection")
    warning = panel(page, "2. Compare its host key")
    expect(warning.get_by_role("alert")).to_contain_text("another host key than the trusted one")
    expect(warning).to_contain_text(before)
    expect(page.locator("#offered")).to_have_text(fingerprint(ssh.host_key))
    press(page, "It is the same: trust the new key")
    press(page, "Test the connection")
    expect(panel(page, "3. Test the connection").locator(".status")).to_have_text("ready")

    page.get_by_role("link", name="Remove this server…").click()
    expect(page.get_by_role("button", name="Remove the server")).to_have_count(0)
    page.locator(".box").get_by_role("link", name=project.name).click()
    page.get_by_label("Server", exact=True).select_option(label="this host")
    press(page, "Save")
    page.goto("/servers/web1/delete")
    press(page, "Remove the server")
    expect(page.locator(".flash")).to_contain_text("Take its line out of ~/.ssh/authorized_keys there.")
    expect(page.get_by_role("heading", name="Every project runs on this host so far")).to_be_visible()


@pytest.mark.usefixtures("no_servers")
def test_the_line_is_copied_by_its_button(
    open_context: Callable[..., BrowserContext], daemon: Daemon, cookie: str, operator: Operator, ssh: SshServer
) -> None:
    context = open_context(daemon, cookie, permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    operator.make_server(ssh)
    page.goto("/servers/web1")

    page.locator("[data-copy=authorized-keys]").click()

    expect(page.locator("[data-copy=authorized-keys]")).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#authorized-keys").inner_text()
