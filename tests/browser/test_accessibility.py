"""Every page, as axe-core sees it: light and dark, wide and narrow. And none scrolls sideways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from deployer import clock, invitations, projects, protection
from deployer.deployments import schedules
from deployer.models import Delivery, Notification, Variable
from deployer.models.notification import NotificationStatus, Occasion
from deployer.models.project import Phase
from deployer.project_input import StepInput
from tests.browser import channel_scene, server_scene
from tests.browser.faults import Faults
from tests.browser.parts import BrowserContext, Page, axe_script, expect
from tests.browser.places import fill_step, log_in, press, state, step
from tests.support.authenticator import switch_on
from tests.support.daemon import Daemon
from tests.support.forge import Forge
from tests.support.operator import Operator
from tests.support.repository import Repository
from tests.support.standing import PASSWORD, make_user
from tests.support.waiting import wait_until

pytestmark = pytest.mark.browser

LONG = "a-rather-long-name-without-any-place-to-break-it-" + "x" * 12
COLOURS = (
    "for n in 30 31 32 33 34 35 36 37 90 91 92 93 94 95 96 97 40 41 42 43 44 45 46 47 100 103 107 1 2 3 4 7 9; do"
)


@pytest.fixture(scope="module")
def axe() -> str:
    return axe_script()


@pytest.fixture(scope="module")
def scene(
    daemon: Daemon, repository: Repository, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Deployments in every state, of projects with and without much to show; their ids."""
    operator = Operator(daemon.installation)
    is_open = tmp_path_factory.mktemp("scene") / "open"
    ids: dict[str, str] = {}
    loud = operator.make_project(
        repository.url,
        [f'{COLOURS} printf "\\033[${{n}}mcolour $n\\033[0m "; done; echo {"long " * 60}', f"echo {'y' * 200}"],
        name=LONG,
    )
    operator.set_variable(loud, "NODE_ENV", "production")
    operator.set_variable(loud, "A_SECRET", "squeamish", secret=True)
    operator.set_variable(loud, "A_VERY_LONG_NAME_OF_A_VARIABLE_FOR_A_NARROW_PAGE", "z" * 120)
    operator.set_variable(None, "NODE_ENV", "staging")
    operator.set_variable(None, "REGION", "eu-central-1")
    operator.set_variable(None, "SENTRY_DSN", "squeamish", secret=True)
    operator.set_variable(loud, "CERTIFICATE", "-----BEGIN-----\nMIIB\n-----END-----")
    operator.write_variables_into(loud, "config/production.json", "json")
    operator.set_https_token(loud, "ghp_0123456789abcdef")
    operator.make_deploy_key(loud)
    ids["success"] = operator.deploy(loud)
    operator.wait_for_end(ids["success"])
    forge = Forge(daemon, loud)
    forge.event("ping", zen="Design for failure.")
    forge.event("issues")
    forge.push(ref="refs/heads/another-branch-with-quite-a-long-name-" + "b" * 40, noise="n" * 300)
    forge.send(b"{}", X_Hub_Signature_256="sha256=" + "0" * 64)
    failing = operator.make_project(repository.url, ["echo about to fail; exit 7", "echo never"], name="failing")
    ids["failed"] = operator.deploy(failing)
    operator.wait_for_end(ids["failed"])
    flaky = StepInput("echo no; exit 7", name="A step with a name that is long enough to be cut " * 3, retries=2)
    tried = operator.make_project(repository.url, ["echo well", flaky, "echo never"], name="tried", poll_minutes=5)
    ids["tried"] = operator.deploy(tried)
    operator.wait_for_end(ids["tried"])
    ids["retried"] = operator.retry(ids["tried"], from_failed=True)
    operator.wait_for_end(ids["retried"])
    operator.make_project(repository.url, [], name="bare")
    released = operator.make_project(
        repository.url,
        ["true", StepInput("echo up", phase=Phase.ACTIVATE)],
        name="released",
        strategy="release",
        health_command="test -e README.md",
    )
    for _ in range(2):
        ids["released"] = operator.deploy(released)
        operator.wait_for_end(ids["released"])
    gated = operator.make_project(
        repository.url, [f"echo started; while [ ! -e {is_open} ]; do sleep 0.05; done", "echo next"], name="busy"
    )
    ids["running"] = operator.deploy(gated)
    operator.wait_for_output(ids["running"], b"started")
    sha = repository.tip()
    Forge(daemon, failing).push(
        after=sha,
        head_commit={"id": sha, "message": "A subject " * 12 + "\n\nand a body", "author": {"name": "Grace"}},
    )
    ids["queued"] = operator.deployments()[-1].id
    ids["cancelled"] = operator.deploy(loud)
    operator.cancel(ids["cancelled"])
    owe_mails(operator, ids["failed"])
    member = make_user(daemon, "a-rather-long-name-of-a-member-without-any-place-to-break-it-xx", is_admin=False)
    switch_on(daemon.installation, member.username)
    server_scene.make(operator, repository.url)
    ids["held"] = make_held(operator, repository)
    told = channel_scene.make(operator, "failing", ids["failed"])
    marks = {"member": member.id, "hook": told["webhook"], "github": told["github"]}
    yield {**ids, **marks, **deliveries_of(operator, loud.id)}
    is_open.touch()
    operator.cancel(ids["held"])
    for one in ids.values():
        operator.wait_for_end(one)
    server_scene.remove(operator)
    channel_scene.remove(operator)
    with operator.database.write() as connection:
        connection.execute(sa.delete(Variable).where(Variable.project_id.is_(None)))


def deliveries_of(operator: Operator, project_id: str) -> dict[str, str]:
    """The newest delivery of each verdict; their ids."""
    found = sa.select(Delivery.verdict, Delivery.id).where(Delivery.project_id == project_id)

    def newest() -> dict[str, str]:
        return {str(one.verdict): one.id for one in operator.rows(found.order_by(Delivery.received_at))}

    # Nobody waits for a request with a wrong signature to be recorded.
    wait_until(lambda: "unverified" in newest(), "every delivery")
    return newest()


MAIL_STATUSES = (NotificationStatus.PENDING, NotificationStatus.SENT, NotificationStatus.GIVEN_UP)


def make_held(operator: Operator, repository: Repository) -> str:
    """A deployment that waits for all that one can wait for, of a project with schedules."""
    project = operator.make_project(repository.url, ["true"], name="held")
    with operator.database.write_session() as session:
        found = projects.find(session, project.id)
        protection.lock(found, "ada", f"the sale ends on Sunday {LONG}")
        day = f"{clock.now() + timedelta(days=3):%a}"
        protection.set_windows(found, f"{day} 09:00-17:00", "America/Argentina/Buenos_Aires")
        found.needs_approval = True
        for expression in ("0 3 * * *", "*/30 8-17 * * 1-5", "0 4 1 * *"):
            made = schedules.add(session, found.id, expression, "America/Argentina/Buenos_Aires", "ada")
        made.missed_at, made.missed_because = clock.now(), schedules.NOT_RUNNING
        schedules.enable(session, found.id, 2, is_enabled=False)
    return operator.deploy(project)


def refuse_schedule(page: Page) -> None:
    page.locator("#expression").fill("0 25 * * *")
    page.locator("#zone").fill("Berlin")
    press(page, "Add the schedule")
    expect(page.locator("#expression-error")).to_be_visible()


def refuse_signers(page: Page) -> None:
    for name in ("signature_keys", "signature_signers"):
        page.locator(f"#{name}").fill("no key " * 30)
    press(page, "Save the signatures")
    expect(page.locator("#signature_keys-error")).to_be_visible()


def owe_mails(operator: Operator, deployment_id: str) -> None:
    """A mail in each state, with errors of several lengths."""
    now = clock.now()
    words = ["550 5.1.1 " + "x" * 120, "The mail server refused the login: 535 5.7.8 try " * 4, None]
    with operator.database.write_session() as session:
        for status, error in zip(MAIL_STATUSES, words, strict=True):
            session.add(
                Notification(
                    id=clock.new_id(),
                    deployment_id=deployment_id,
                    occasion=Occasion.FAILURE,
                    status=status,
                    attempts=2,
                    next_attempt_at=now + timedelta(days=1),
                    last_error=error,
                    created_at=now,
                    sent_at=now if status is NotificationStatus.SENT else None,
                )
            )


def nothing(_: Page) -> None:
    """The page as it is opened."""


def reveal(page: Page) -> None:
    page.get_by_text("Show", exact=True).click()


def refuse_pushes(page: Page) -> None:
    page.get_by_label("Another sender").check()
    page.get_by_label("Header of the signature").fill("X_Signature")
    page.get_by_label("JSON pointer to the ref").fill("ref")
    page.get_by_label("Branches").fill("release/[")
    press(page, "Save")
    expect(page.get_by_role("alert")).to_be_visible()


def refuse_numbers(page: Page) -> None:
    for name in ("poll_minutes", "keep_deployments", "keep_days"):
        page.locator(f"#{name}").fill("many")
    step(page, 2).locator("[name=step_retries]").fill("many")
    press(page, "Save")
    expect(page.locator("#keep_days-error")).to_be_visible()
    page.evaluate("document.querySelectorAll('.step-more').forEach((one) => { one.open = true; })")


def refuse_retry(page: Page) -> None:
    page.locator("#retry").evaluate(
        "(button) => button.form.insertAdjacentHTML('beforeend', '<input type=hidden name=from value=failed>')"
    )
    press(page, "Retry")
    expect(page.get_by_role("alert")).to_be_visible()


def check_access(page: Page) -> None:
    press(page, "Check access")
    expect(page.locator(".access-said .box")).to_be_visible()


def send_test_delivery(page: Page) -> None:
    press(page, "Send a test delivery")
    expect(page.locator("#test-said .box")).to_be_visible()


def refuse_variable(page: Page) -> None:
    page.locator("#variable_name").fill("not a name")
    press(page, "Set the variable")
    expect(page.locator("#variable_name-error")).to_be_visible()


def choose_secrets(page: Page) -> None:
    page.locator("#text").fill("NODE_ENV=production\nAPI_TOKEN=squeamish\nA_NAME_OF_SOME_LENGTH_FOR_A_NARROW_PAGE=1")
    press(page, "Choose which are secret")
    expect(page.get_by_role("group", name="Which are secret?")).to_be_visible()


def refuse_import(page: Page) -> None:
    page.locator("#text").fill("NODE_ENV=production\nnot a line")
    press(page, "Import")
    expect(page.locator("#text-error")).to_be_visible()


def refuse_file(page: Page) -> None:
    page.locator("#variables_file").fill("../elsewhere")
    press(page, "Save")
    expect(page.locator("#variables_file-error")).to_be_visible()


def refuse_project(page: Page) -> None:
    page.locator("#name").fill("not a name")
    page.locator("#branch").fill("a..b")
    fill_step(page, 2, "npm test", timeout="soon")
    press(page, "Create the project")
    expect(page.get_by_role("alert").first).to_be_visible()


def open_every_disclosure(page: Page) -> None:
    page.evaluate("document.querySelectorAll('main details').forEach((one) => { one.open = true; })")


def refuse_commit(page: Page) -> None:
    page.get_by_text("Deploy a certain commit").click()
    page.locator("#commit").fill("main")
    press(page, "Deploy this commit")
    expect(page.locator("#commit-error")).to_be_visible()


def check_repository_of_nothing(page: Page) -> None:
    page.locator("#repository_url").fill("https://127.0.0.1:1/nothing.git")
    check_repository(page)


def check_repository(page: Page) -> None:
    press(page, "Check the repository")
    expect(page.locator("#seen .box")).to_be_visible()


def refuse_settings(page: Page) -> None:
    page.locator("#path").fill("bin")
    press(page, "Save")
    expect(page.locator("#path-error")).to_be_visible()


def refuse_mail(page: Page) -> None:
    page.locator("#host").fill("smtp.example.com")
    page.locator("#port").fill("x")
    page.locator("#username").fill("deployer")
    page.locator("#password").fill("open sesame")
    page.get_by_label("None").check()
    press(page, "Save")
    expect(page.locator("#security-error")).to_be_visible()


def send_test_mail(page: Page) -> None:
    press(page, "Send a test mail")
    expect(page.locator("#test-said .box")).to_be_visible()


def try_channel(page: Page) -> None:
    press(page, "Test hook")
    expect(page.locator(".channel .box")).to_be_visible()


def refuse_forge(page: Page) -> None:
    page.locator("#environment_url").fill("app")
    page.locator("#repository").fill("app")
    press(page, "Add the channel")
    expect(page.locator("#token-error")).to_be_visible()


def refuse_deletion(page: Page) -> None:
    press(page, "Delete the project")
    expect(page.locator("#name-error")).to_be_visible()


def refuse_account(page: Page) -> None:
    page.locator("#present_password").fill("wrong")
    page.locator("#new_password").fill("short")
    press(page, "Change the password")
    expect(page.get_by_role("heading", name="Your account")).to_be_visible()
    expect(page.locator("[aria-invalid]")).to_have_count(1)


def refuse_code(page: Page) -> None:
    page.get_by_label("Code", exact=True).fill("12")
    press(page, "Switch it on")
    expect(page.locator("#code-error")).to_be_visible()


def invite(page: Page) -> None:
    page.get_by_label("E-mail address").fill(f"{'long-' * 8}name@example.com")
    press(page, "Make a link")
    expect(page.locator("#invitation")).to_be_visible()


def refuse_server(page: Page) -> None:
    for name in ("name", "host", "port", "username"):
        page.locator(f"#{name}").fill("- no -")
    page.locator("#extra_path").fill("bin")
    press(page, "Add the server")
    expect(page.locator("#extra_path-error")).to_be_visible()


def choose_a_path_there(page: Page) -> None:
    page.get_by_label("Server", exact=True).select_option(index=1)
    page.locator("#path").fill("~/.deployer")
    press(page, "Create the project")
    expect(page.locator("#path-error")).to_be_visible()


def scan_nothing(page: Page) -> None:
    press(page, "Look at its host key")
    expect(page.locator("#host-key [role=alert]")).to_be_visible()


def is_live(page: Page) -> None:
    expect(state(page)).to_have_text("running")
    expect(page.locator("#live")).to_have_text("Live")


PAGES: dict[str, tuple[str, Callable[[Page], None]]] = {
    "home": ("/", nothing),
    "a full project": (f"/projects/{LONG}", reveal),
    "a project with all disclosures open": (f"/projects/{LONG}", open_every_disclosure),
    "a project with a refused commit": ("/projects/busy", refuse_commit),
    "a project after an access check": ("/projects/failing", check_access),
    "variables": (f"/projects/{LONG}/variables", open_every_disclosure),
    "no variables": ("/projects/tried/variables", nothing),
    "a refused variable": ("/projects/busy/variables", refuse_variable),
    "variables to be imported": ("/projects/busy/variables", choose_secrets),
    "a refused import": ("/projects/busy/variables", refuse_import),
    "a refused file": (f"/projects/{LONG}/variables", refuse_file),
    "variables of all projects": ("/settings/variables", open_every_disclosure),
    "a project without steps": ("/projects/bare", nothing),
    "a project with releases": ("/projects/released", nothing),
    "the form of a project with releases": ("/projects/released/edit", nothing),
    "a deployment that made a release": ("/deployments/{released}", nothing),
    "a new project": ("/projects/new", nothing),
    "a refused project": ("/projects/new", refuse_project),
    "a project's form": (f"/projects/{LONG}/edit", nothing),
    "a project's form with refused numbers": ("/projects/tried/edit", refuse_numbers),
    "a project that is looked at and tries again": ("/projects/tried", nothing),
    "a project's form after a check": (f"/projects/{LONG}/edit", check_repository),
    "a new project after a check of nothing": ("/projects/new", check_repository_of_nothing),
    "deliveries": (f"/projects/{LONG}/deliveries", open_every_disclosure),
    "pushes": (f"/projects/{LONG}/pushes", open_every_disclosure),
    "refused pushes of a generic sender": ("/projects/bare/pushes", refuse_pushes),
    "no deliveries": ("/projects/bare/deliveries", nothing),
    "a delivery": (f"/projects/{LONG}/deliveries/{{ignored}}", nothing),
    "a delivery with a wrong signature": (f"/projects/{LONG}/deliveries/{{unverified}}", nothing),
    "deliveries after a test delivery": ("/projects/tried/deliveries", send_test_delivery),
    "no deliveries of a verdict": (f"/projects/{LONG}/deliveries?verdict=duplicate", nothing),
    "schedules": ("/projects/held/schedules", nothing),
    "no schedules, and a refused one": ("/projects/bare/schedules", refuse_schedule),
    "a project's protection": ("/projects/held/protection", nothing),
    "no protection, and refused keys": ("/projects/bare/protection", refuse_signers),
    "a project that is held back": ("/projects/held", nothing),
    "a deployment that is held back": ("/deployments/{held}", nothing),
    "deployments": ("/deployments", nothing),
    "deployments with a filter": (f"/deployments?project={LONG}&text=deployed&branch=main", nothing),
    "no deployments of a filter": ("/deployments?text=no+such+words", nothing),
    "a project's deletion": (f"/projects/{LONG}/delete", nothing),
    "a refused deletion": ("/projects/failing/delete", refuse_deletion),
    "a successful deployment": ("/deployments/{success}", nothing),
    "a failed deployment": ("/deployments/{failed}", nothing),
    "a deployment of several tries": ("/deployments/{tried}", nothing),
    "a retry from the failed step": ("/deployments/{retried}", open_every_disclosure),
    "a refused retry": ("/deployments/{tried}", refuse_retry),
    "a running deployment": ("/deployments/{running}", is_live),
    "a queued deployment": ("/deployments/{queued}", nothing),
    "a cancelled deployment": ("/deployments/{cancelled}", nothing),
    "settings": ("/settings", nothing),
    "refused settings": ("/settings", refuse_settings),
    "mail settings": ("/settings/mail", nothing),
    "refused mail settings": ("/settings/mail", refuse_mail),
    "mail settings after a test mail": ("/settings/mail", send_test_mail),
    "notifications": ("/projects/failing/notifications", open_every_disclosure),
    "no notifications": ("/projects/bare/notifications", nothing),
    "notifications after a test": ("/projects/failing/notifications", try_channel),
    "settings of notifications": ("/settings/notifications", open_every_disclosure),
    "a new chat": ("/settings/notifications/new?kind=apprise", open_every_disclosure),
    "a refused forge": ("/projects/bare/notifications/new?kind=github", refuse_forge),
    "a webhook's form": ("/channels/{hook}", open_every_disclosure),
    "a forge's form": ("/channels/{github}", nothing),
    "servers": ("/servers", nothing),
    "a new server": ("/servers/new", nothing),
    "a refused server": ("/servers/new", refuse_server),
    "a server that did not answer": ("/servers/unseen", open_every_disclosure),
    "a server after a look at nothing": ("/servers/unseen", scan_nothing),
    "a server whose key is to be compared": ("/servers/compared", nothing),
    "a server that is ready": ("/servers/good", nothing),
    "a server that is not ready": ("/servers/bad", nothing),
    "a server whose key changed": ("/servers/changed", nothing),
    "a server with long names": (f"/servers/{server_scene.LONG}", open_every_disclosure),
    "a server's form": (f"/servers/{server_scene.LONG}/edit", nothing),
    "a server's deletion": ("/servers/bad/delete", nothing),
    "a refused deletion of a server": ("/servers/good/delete", nothing),
    "a refused project of a server": ("/projects/new", choose_a_path_there),
    "users": ("/settings/users", nothing),
    "users after an invitation": ("/settings/users", invite),
    "a user's removal": ("/settings/users/{member}/remove", nothing),
    "the audit log": ("/settings/audit", nothing),
    "an audit log without a match": ("/settings/audit?text=nothing-like-it", nothing),
    "one's account": ("/account", nothing),
    "a refused password": ("/account", refuse_account),
    "a set-up of two-factor login": ("/account/two-factor", refuse_code),
    "no such page": ("/nowhere", nothing),
}


WHOLE = "{}"
COLOURS_ALONE = "{runOnly: ['color-contrast', 'link-in-text-block']}"


def violations(page: Page, rules: str) -> list[str]:
    found: list[dict[str, Any]] = page.evaluate(f"axe.run({rules}).then((result) => result.violations)")
    return [f"{one['id']}: {node['html']} {node['failureSummary']}" for one in found for node in one["nodes"]]


def is_sound(page: Page, axe: str) -> None:
    """Raises AssertionError where the page would lock somebody out. A scheme changes nothing but colours."""
    page.evaluate(axe)
    for width in (1280, 390, 360):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") == width
        if width == 360:
            continue
        for scheme, rules in (("light", WHOLE), ("dark", COLOURS_ALONE)):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            assert not violations(page, rules), f"{scheme}, {width} wide"


@pytest.mark.parametrize("what", PAGES)
def test_a_page_locks_nobody_out(
    what: str,
    open_context: Callable[..., BrowserContext],
    daemon: Daemon,
    cookie: str,
    scene: dict[str, str],
    axe: str,
    faults: Faults,
) -> None:
    faults.expect("status of (40[049]|502)")
    page = open_context(daemon, cookie, bypass_csp=True).new_page()
    path, act = PAGES[what]
    page.goto(path.format(**scene))
    act(page)
    is_sound(page, axe)


def test_the_door_locks_nobody_out(
    open_context: Callable[..., BrowserContext], daemon: Daemon, axe: str, faults: Faults
) -> None:
    faults.expect("status of 40[013]")
    page = open_context(daemon, bypass_csp=True).new_page()
    page.goto("/login")
    is_sound(page, axe)
    page.get_by_label("User name").fill("ada")
    page.get_by_label("Password").fill("a wrong one")
    press(page, "Log in")
    expect(page.get_by_role("alert")).to_be_visible()
    is_sound(page, axe)
    page.goto("/setup?token=spent")
    expect(page.get_by_role("heading", name="Not allowed")).to_be_visible()
    is_sound(page, axe)


def test_two_factor_login_and_what_members_see_lock_nobody_out(
    open_context: Callable[..., BrowserContext], daemon: Daemon, scene: dict[str, str], axe: str, faults: Faults
) -> None:
    faults.expect("status of 40[013]")
    name = "somebody-with-a-device"
    make_user(daemon, name, is_admin=False)
    device, codes = switch_on(daemon.installation, name)
    page = open_context(daemon, bypass_csp=True).new_page()
    page.goto("/login")
    log_in(page, name, PASSWORD)
    expect(page.get_by_role("heading", name="Your code")).to_be_visible()
    is_sound(page, axe)
    page.get_by_label("Code from your authenticator app").fill(device.wrong())
    press(page, "Log in")
    expect(page.get_by_role("alert")).to_be_visible()
    is_sound(page, axe)
    page.get_by_label("Code from your authenticator app").fill(codes[0])
    press(page, "Log in")
    expect(page.locator(".flash")).to_be_visible()
    is_sound(page, axe)
    for path in (f"/projects/{LONG}", "/settings", "/account", "/account/two-factor"):
        page.goto(path)
        is_sound(page, axe)
    page.get_by_label("Your password").fill(PASSWORD)
    press(page, "Make new recovery codes")
    expect(page.locator("#recovery-codes")).to_be_visible()
    is_sound(page, axe)


def test_the_invitations_page_locks_nobody_out(
    open_context: Callable[..., BrowserContext], daemon: Daemon, axe: str, faults: Faults
) -> None:
    faults.expect("status of 40[03]")
    with daemon.installation.database.write_session() as session:
        _, token = invitations.invite(session, "new@example.com", is_admin=True, by="ada")
    page = open_context(daemon, bypass_csp=True).new_page()
    page.goto(f"/join?token={token}")
    is_sound(page, axe)
    press(page, "Create the account")
    expect(page.locator("#username-error")).to_be_visible()
    is_sound(page, axe)


def test_the_set_up_and_the_empty_home_lock_nobody_out(
    make_daemon: Callable[..., Daemon], open_context: Callable[..., BrowserContext], axe: str, faults: Faults
) -> None:
    faults.expect("status of 400")
    daemon = make_daemon("web").start()
    page = open_context(daemon, bypass_csp=True).new_page()
    page.goto(daemon.greeting.split()[-1])
    is_sound(page, axe)
    press(page, "Create the account")
    expect(page.locator("#username-error")).to_be_visible()
    is_sound(page, axe)
    page.get_by_label("User name").fill("ada")
    page.get_by_label("E-mail address").fill("ada@example.com")
    page.get_by_label("Password", exact=True).fill("correct horse battery")
    page.get_by_label("The same password again").fill("correct horse battery")
    press(page, "Create the account")
    for path in ("/deployments", "/servers"):
        page.goto(path)
        is_sound(page, axe)
    page.goto("/")
    # Nobody runs what is queued here, and the page says so.
    expect(page.get_by_role("note")).to_contain_text("The runner is not running")
    is_sound(page, axe)
