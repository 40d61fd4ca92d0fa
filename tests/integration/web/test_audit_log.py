"""Everything that changes something is in the audit log: who, what, from where. And the page that shows it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa

from deployer import accounts, audit, clock, invitations, logins, projects, protection, servers, sessions, variables
from deployer.deployments import schedules
from deployer.models.audit import AuditEvent
from deployer.models.channel import ChannelKind
from deployer.models.notification import Notification, NotificationStatus, Occasion
from deployer.notifications import channels
from deployer.notifications.channels import ChannelInput
from deployer.servers import ServerInput
from tests.support import authenticator
from tests.support.browser import Answer, Browser
from tests.support.history import History
from tests.support.routes import rules
from tests.support.ssh_server import SSHD, SshServer
from tests.support.standing import PASSWORD, USER, logged_in, make_user

_numbers = itertools.count(1)

CHANGES_NOTHING = {"projects.check_access", "mail.test", "session_api.test_email", "channels.test"}
"""Views that take a POST because they take long, or ask somebody else, but change nothing of ours."""


@dataclass
class Scene:
    """What the walk needs: a daemon, an administrator of its own, and things that may be changed."""

    daemon: Any
    operator: Any
    repository: Any
    admin: Browser
    name: str
    sshd: Any

    def server(self) -> str:
        with self.operator.database.write_session() as session:
            given = ServerInput(f"server-{next(_numbers)}", "127.0.0.1", self.sshd.port)
            return servers.create(session, given, self.operator.installation.vault).name

    def project(self):
        project = self.operator.make_project(self.repository.url, name=f"walk-{next(_numbers)}")
        self.operator.set_variable(project, "NODE_ENV", "production")
        return self.operator.change(project)

    def delivery(self) -> tuple[str, str]:
        """A push that was ignored: its project's name, and its id."""
        project = self.project()
        body = b'{"ref": "refs/heads/next"}'
        delivery_id = History(self.operator.database, project).delivery(ref="refs/heads/next", payload=body)
        return project.name, delivery_id

    def variable_of_all(self) -> str:
        self.operator.set_variable(None, "WALKED", "a")
        with self.operator.database.write_session() as session:
            return variables.find_by_name(session, None, "WALKED").id

    def user(self) -> str:
        return make_user(self.daemon, f"walker-{next(_numbers)}", is_admin=False).id

    def invitation(self) -> tuple[str, str]:
        with self.operator.database.write_session() as session:
            made, token = invitations.invite(session, "new@example.com", is_admin=False, by=USER)
            return made.id, token

    def with_releases(self) -> str:
        """The name of a project that has two."""
        project = self.operator.make_project(self.repository.url, name=f"walk-{next(_numbers)}", strategy="release")
        for _ in range(2):
            self.operator.wait_for_end(self.operator.deploy(project))
        return project.name

    def scheduled(self):
        """A project with a schedule, number 1, that is due at the turn of a year."""
        project = self.project()
        with self.operator.database.write_session() as session:
            schedules.add(session, project.id, "0 0 1 1 *", "UTC", USER)
        return project

    def locked(self):
        project = self.project()
        with self.operator.database.write_session() as session:
            protection.lock(projects.find(session, project.id), USER, "a sale")
        return project

    def queued(self) -> str:
        return self.operator.deploy(self.project())

    def unapproved(self) -> str:
        """A deployment that waits for an administrator."""
        project = self.project()
        with self.operator.database.write_session() as session:
            projects.find(session, project.id).needs_approval = True
        return self.operator.deploy(project)

    def ended(self) -> str:
        deployment_id = self.queued()
        self.operator.wait_for_end(deployment_id)
        return deployment_id

    def given_up(self) -> str:
        """A notification that could not be sent."""
        owed = Notification(
            id=clock.new_id(),
            deployment_id=self.queued(),
            occasion=Occasion.FAILURE,
            status=NotificationStatus.GIVEN_UP,
            next_attempt_at=clock.now(),
            created_at=clock.now(),
        )
        with self.operator.database.write_session() as session:
            session.add(owed)
        return owed.id

    def channel(self) -> str:
        """One that signs, of a project."""
        kind, owner = ChannelKind.WEBHOOK, self.project().id
        checked = channels.check(kind, ChannelInput("hook", url="http://127.0.0.1:9/"))
        with self.operator.database.write_session() as session:
            project = projects.find(session, owner)
            return channels.create(session, kind, checked, project, self.operator.installation.vault).id

    def other_session(self) -> str:
        with self.operator.database.write_session() as session:
            user = accounts.find(session, self.name)
            token = sessions.begin(session, user, days=1, address="192.0.2.9", agent="a browser")
            session.flush()
            return next(
                sessions.public_id(one) for one in sessions.of_user(session, user.id) if sessions.is_of(one, token)
            )

    def post(self, path: str, /, **fields: str) -> Answer:
        return self.admin.post(path, fields)


def project_fields() -> dict[str, str]:
    return {
        "name": f"walk-{next(_numbers)}",
        "repository_url": "https://github.com/grace/app.git",
        "branch": "main",
        "shell": "sh",
        "step_command": "true",
        "step_name": "",
        "step_timeout": "",
    }


def channel_fields() -> dict[str, str]:
    return {"name": f"hook-{next(_numbers)}", "url": "http://127.0.0.1:9/", "on_recovery": "on"}


def server_fields() -> dict[str, str]:
    return {"name": f"server-{next(_numbers)}", "host": "127.0.0.1", "port": "9", "username": "deploy"}


def trust_server(scene: Scene) -> Answer:
    name = scene.server()
    with scene.operator.database.write_session() as session:
        server = servers.find(session, name)
        servers.offer(server, scene.sshd.host_key)
    fingerprint = scene.admin.get(f"/servers/{name}").page.value("fingerprint")
    return scene.post(f"/servers/{name}/trust", fingerprint=fingerprint)


def account_fields(token: str) -> dict[str, str]:
    name = f"walker-{next(_numbers)}"
    email = f"{name}@example.com"
    return {"token": token, "username": name, "email": email, "password": PASSWORD, "password_again": PASSWORD}


def set_up_two_factor(scene: Scene) -> Answer:
    page = scene.admin.get("/account/two-factor").page
    device = authenticator.Authenticator(page.find(id="totp-key").words)
    return scene.post("/account/two-factor", set_up=page.value("set_up"), code=device.code())


def with_two_factor(scene: Scene, act: Callable[[authenticator.Authenticator], Answer]) -> Answer:
    device, _ = authenticator.switch_on(scene.daemon.installation, scene.name)
    return act(device)


def log_in_by_code(scene: Scene, device: authenticator.Authenticator) -> Answer:
    browser = Browser(scene.daemon)
    assert browser.log_in(scene.name, PASSWORD).location == "/login/code"
    return browser.post("/login/code", {"code": device.code()})


def set_up(scene: Scene) -> Answer:
    with scene.operator.database.write() as connection:
        token = accounts.new_setup_token(connection)
    return Browser(scene.daemon).post("/setup", account_fields(token))


WALK: dict[tuple[str, str], Callable[[Scene], Answer]] = {
    ("auth.login", "login.succeeded"): lambda scene: Browser(scene.daemon).log_in(scene.name, PASSWORD),
    ("auth.login_code", "login.succeeded"): lambda scene: with_two_factor(
        scene, lambda device: log_in_by_code(scene, device)
    ),
    ("auth.logout", "session.ended"): lambda scene: logged_in(scene.daemon, scene.name).post("/logout"),
    ("auth.setup", "user.created"): set_up,
    ("auth.join", "user.created"): lambda scene: Browser(scene.daemon).post(
        "/join", account_fields(scene.invitation()[1])
    ),
    ("account.change_email", "user.email_changed"): lambda scene: scene.post(
        "/account/email", email="new@example.com"
    ),
    ("account.change_password", "user.password_changed"): lambda scene: scene.post(
        "/account/password", present_password=PASSWORD, new_password=PASSWORD, new_password_again=PASSWORD
    ),
    ("account.end_session", "session.ended"): lambda scene: scene.post(
        f"/account/sessions/{scene.other_session()}/end"
    ),
    ("account.end_other_sessions", "session.ended"): lambda scene: scene.post("/account/sessions/end-others"),
    ("account.set_up_two_factor", "user.two_factor_switched_on"): set_up_two_factor,
    ("account.renew_recovery_codes", "user.recovery_codes_renewed"): lambda scene: with_two_factor(
        scene, lambda _: scene.post("/account/two-factor/recovery-codes", present_password=PASSWORD)
    ),
    ("account.switch_off_two_factor", "user.two_factor_switched_off"): lambda scene: with_two_factor(
        scene, lambda _: scene.post("/account/two-factor/off", present_password=PASSWORD)
    ),
    ("users.change_role", "user.role_changed"): lambda scene: scene.post(
        f"/settings/users/{scene.user()}/role", role="admin"
    ),
    ("users.remove", "user.removed"): lambda scene: scene.post(f"/settings/users/{scene.user()}/remove"),
    ("users.reset_two_factor", "user.two_factor_reset"): lambda scene: scene.post(
        f"/settings/users/{scene.user()}/reset-two-factor"
    ),
    ("users.invite", "invitation.created"): lambda scene: scene.post(
        "/settings/users/invitations", email="a@example.com", role="member"
    ),
    ("users.revoke_invitation", "invitation.revoked"): lambda scene: scene.post(
        f"/settings/users/invitations/{scene.invitation()[0]}/revoke"
    ),
    ("mail.save", "mail.changed"): lambda scene: scene.post("/settings/mail", security="starttls"),
    ("mail.retry", "notification.retried"): lambda scene: scene.post(f"/settings/mail/{scene.given_up()}/retry"),
    ("channels.create_for_all", "channel.created"): lambda scene: scene.post(
        "/settings/notifications/new?kind=webhook", **channel_fields()
    ),
    ("channels.create_for_project", "channel.created"): lambda scene: scene.post(
        f"/projects/{scene.project().name}/notifications/new?kind=webhook", **channel_fields()
    ),
    ("channels.edit", "channel.changed"): lambda scene: scene.post(
        f"/channels/{scene.channel()}", **channel_fields()
    ),
    ("channels.switch", "channel.switched_off"): lambda scene: scene.post(
        f"/channels/{scene.channel()}/switch", to="off"
    ),
    ("channels.renew_secret", "channel.secret_renewed"): lambda scene: scene.post(
        f"/channels/{scene.channel()}/secret"
    ),
    ("channels.delete", "channel.deleted"): lambda scene: scene.post(f"/channels/{scene.channel()}/delete"),
    ("channels.retry", "notification.retried"): lambda scene: scene.post(f"/notifications/{scene.given_up()}/retry"),
    ("settings.set_path", "settings.changed"): lambda scene: scene.post("/settings/path", path=""),
    ("projects.create", "project.created"): lambda scene: scene.post("/projects/new", **project_fields()),
    ("projects.edit", "project.changed"): lambda scene: scene.post(
        f"/projects/{scene.project().name}/edit", **project_fields()
    ),
    ("projects.delete", "project.deleted"): lambda scene: (
        lambda name: scene.post(f"/projects/{name}/delete", name=name)
    )(scene.project().name),
    ("projects.deploy", "deployment.requested"): lambda scene: scene.post(f"/projects/{scene.project().name}/deploy"),
    ("projects.roll_back", "deployment.rollback_requested"): lambda scene: scene.post(
        f"/projects/{scene.with_releases()}/rollback"
    ),
    ("projects.rotate_secret", "webhook_secret.renewed"): lambda scene: scene.post(
        f"/projects/{scene.project().name}/secret"
    ),
    ("projects.send_test_delivery", "delivery.test_sent"): lambda scene: scene.post(
        f"/projects/{scene.project().name}/deliveries/test"
    ),
    ("projects.replay_delivery", "delivery.replayed"): lambda scene: scene.post(
        "/projects/{}/deliveries/{}/replay".format(*scene.delivery())
    ),
    ("projects.pushes", "pushes.changed"): lambda scene: scene.post(
        f"/projects/{scene.project().name}/pushes", provider="gitea"
    ),
    ("projects.enter_secret", "webhook_secret.entered"): lambda scene: scene.post(
        f"/projects/{scene.project().name}/pushes/secret", webhook_secret="made-by-the-forge"
    ),
    ("projects.make_deploy_key", "deploy_key.made"): lambda scene: scene.post(
        f"/projects/{scene.project().name}/deploy-key"
    ),
    ("projects.set_token", "https_token.set"): lambda scene: scene.post(
        f"/projects/{scene.project().name}/token", https_token="ghp_x"
    ),
    ("projects.set_variable", "variable.set"): lambda scene: scene.post(
        f"/projects/{scene.project().name}/variables", variable_name="A", value="b"
    ),
    ("projects.remove_variable", "variable.removed"): lambda scene: (
        lambda project: scene.post(f"/projects/{project.name}/variables/{project.variables[0].id}/delete")
    )(scene.project()),
    ("projects.change_variable", "variable.set"): lambda scene: (
        lambda project: scene.post(f"/projects/{project.name}/variables/{project.variables[0].id}", value="b")
    )(scene.project()),
    ("projects.import_variables", "variables.imported"): lambda scene: scene.post(
        f"/projects/{scene.project().name}/variables/import", text="A=b"
    ),
    ("projects.set_variables_file", "variables_file.set"): lambda scene: scene.post(
        f"/projects/{scene.project().name}/variables/file", variables_file=".env", variables_format="dotenv"
    ),
    ("variables.set_variable", "variable.set"): lambda scene: scene.post(
        "/settings/variables", variable_name="WALKED", value="b"
    ),
    ("variables.change_variable", "variable.set"): lambda scene: scene.post(
        f"/settings/variables/{scene.variable_of_all()}", value="b"
    ),
    ("variables.remove_variable", "variable.removed"): lambda scene: scene.post(
        f"/settings/variables/{scene.variable_of_all()}/delete"
    ),
    ("variables.import_variables", "variables.imported"): lambda scene: scene.post(
        "/settings/variables/import", text="WALKED=b"
    ),
    ("servers.create", "server.created"): lambda scene: scene.post("/servers/new", **server_fields()),
    ("servers.edit", "server.changed"): lambda scene: scene.post(
        f"/servers/{scene.server()}/edit", **server_fields()
    ),
    ("servers.delete", "server.deleted"): lambda scene: scene.post(f"/servers/{scene.server()}/delete"),
    ("servers.scan", "server.scanned"): lambda scene: scene.post(f"/servers/{scene.server()}/scan"),
    ("servers.trust", "server.trusted"): trust_server,
    ("servers.test", "server.tested"): lambda scene: scene.post(f"/servers/{scene.server()}/test"),
    ("servers.make_key", "server.key_made"): lambda scene: scene.post(f"/servers/{scene.server()}/key"),
    ("deployments.approve", "deployment.approved"): lambda scene: scene.post(
        f"/deployments/{scene.unapproved()}/approve"
    ),
    ("projects.lock", "project.locked"): lambda scene: scene.post(
        f"/projects/{scene.project().name}/lock", because="a sale"
    ),
    ("projects.unlock", "project.unlocked"): lambda scene: scene.post(f"/projects/{scene.locked().name}/unlock"),
    ("projects.set_windows", "project.windows_set"): lambda scene: scene.post(
        f"/projects/{scene.project().name}/windows", windows="Mon 09:00-17:00", windows_zone="UTC"
    ),
    ("projects.set_approval", "project.approval_set"): lambda scene: scene.post(
        f"/projects/{scene.project().name}/approval", needs_approval="on"
    ),
    ("projects.set_signers", "project.signers_set"): lambda scene: scene.post(
        f"/projects/{scene.project().name}/signers"
    ),
    ("projects.add_schedule", "schedule.added"): lambda scene: scene.post(
        f"/projects/{scene.project().name}/schedules", expression="0 0 1 1 *", zone="UTC"
    ),
    ("projects.enable_schedule", "schedule.switched_off"): lambda scene: scene.post(
        f"/projects/{scene.scheduled().name}/schedules/1/enable", enabled="no"
    ),
    ("projects.remove_schedule", "schedule.removed"): lambda scene: scene.post(
        f"/projects/{scene.scheduled().name}/schedules/1/delete"
    ),
    ("deployments.cancel", "deployment.cancel_requested"): lambda scene: scene.post(
        f"/deployments/{scene.queued()}/cancel"
    ),
    ("deployments.retry", "deployment.retry_requested"): lambda scene: scene.post(
        f"/deployments/{scene.ended()}/retry"
    ),
    ("session_api.retry_deployment", "deployment.retry_requested"): lambda scene: scene.admin.post_json(
        f"/deploy/{scene.ended()}/retry", {}
    ),
    ("session_api.deploy", "deployment.requested"): lambda scene: scene.admin.post_json(
        "/deploy", {"projectId": scene.project().id}
    ),
}
"""One use of each view that changes something, by its endpoint and the action that it must leave."""


def changing_endpoints() -> set[str]:
    """The endpoints of the application that take more than a question."""
    return {rule.endpoint for rule in rules() if (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}}


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    if SSHD is None:
        pytest.skip("needs sshd")
    with SshServer(tmp_path_factory.mktemp("sshd") / "server").running() as server:
        yield server


@pytest.fixture
def events(operator):
    def read() -> list:
        return operator.rows(sa.select(*AuditEvent.__table__.columns).order_by(AuditEvent.id))

    return read


def test_the_walk_goes_through_every_view_that_changes_something():
    """A view that is new here belongs into WALK (or, if it changes nothing, into CHANGES_NOTHING)."""
    assert {endpoint for endpoint, _ in WALK} | CHANGES_NOTHING == changing_endpoints()


@pytest.mark.usefixtures("nothing_of_all_projects")
@pytest.mark.parametrize(("endpoint", "action"), WALK)
def test_a_view_that_changes_something_leaves_a_row(daemon, operator, repository, sshd, events, endpoint, action):
    name = f"walker-{next(_numbers)}"
    make_user(daemon, name)
    scene = Scene(daemon, operator, repository, logged_in(daemon, name), name, sshd)
    before = {one.id for one in events()}

    answer = WALK[endpoint, action](scene)

    assert answer.status in (200, 302), answer.text
    new = [one for one in events() if one.id not in before]
    left = [one for one in new if one.action == action]
    assert left, [one.action for one in new]
    assert all(one.actor and one.address == "127.0.0.1" for one in left)


def test_looking_and_what_is_refused_leave_no_row(admin, plain_member, project, events):
    before = events()
    admin.get("/settings/audit")
    admin.post(f"/projects/{project.name}/variables", {"variable_name": "not a name", "value": "x"})
    admin.post(f"/projects/{project.name}/delete", {"name": "another"})
    admin.post(f"/projects/{project.name}/check-access")
    plain_member.post(f"/projects/{project.name}/secret")

    assert events() == before


def test_a_row_says_who_what_and_from_where(proxied_daemon, events):
    browser = Browser(proxied_daemon, headers={"X-Forwarded-For": "203.0.113.77"})
    browser.log_in(USER, PASSWORD)
    browser.post("/settings/path", {"path": "/opt/bin"})

    with proxied_daemon.installation.database.read() as connection:
        row = connection.exec_driver_sql(
            "SELECT actor, address, action, subject FROM audit_events ORDER BY id DESC LIMIT 1"
        ).one()
    assert tuple(row) == (USER, "203.0.113.77", "settings.changed", "PATH")


def test_no_secret_gets_into_the_log(admin, project, events, daemon):
    admin.post(f"/projects/{project.name}/variables", {"variable_name": "T", "value": "squeamish-1", "secret": "on"})
    admin.post(f"/projects/{project.name}/token", {"https_token": "squeamish-2"})
    admin.post(f"/projects/{project.name}/secret")
    secret = admin.get(f"/projects/{project.name}").page.find(id="webhook-secret").words
    link = admin.post("/settings/users/invitations", {"email": "x@example.com", "role": "member"}).page
    token = link.find(id="invitation").words.partition("token=")[2]
    # A password in the wrong field.
    Browser(daemon).log_in("squeamish-3", "squeamish-4")

    said = str(events())

    assert token
    for hidden in ("squeamish", secret, token):
        assert hidden not in said


def test_failed_logins_are_kept_with_their_reason_and_refused_ones_are_counted(proxied_daemon):
    name = f"walker-{next(_numbers)}"
    make_user(proxied_daemon, name)
    browser = Browser(proxied_daemon, headers={"X-Forwarded-For": "203.0.113.78"})
    for _ in range(logins.FREE_FAILURES):
        browser.log_in(name, "a wrong one")

    def rows() -> list[tuple]:
        with proxied_daemon.installation.database.read() as connection:
            found = connection.exec_driver_sql(
                "SELECT actor, address, subject, detail FROM audit_events WHERE action = 'login.failed' "
                "AND address = '203.0.113.78'"
            )
            return [tuple(row) for row in found]

    assert rows() == [(audit.NOBODY, "203.0.113.78", name, "wrong password")] * logins.FREE_FAILURES
    assert browser.log_in(name, PASSWORD).status == 429
    assert len(rows()) == logins.FREE_FAILURES
    admin = Browser(proxied_daemon, headers={"X-Forwarded-For": "203.0.113.79"})
    admin.log_in(USER, PASSWORD)
    assert "came too soon after failed ones" in admin.get("/settings/audit").page.words


# The page


@pytest.fixture
def entries(admin) -> Callable[[str], list[str]]:
    def read(query: str) -> list[str]:
        page = admin.get(f"/settings/audit?{query}").page
        return [one.words for one in page.find_all("li", class_="event")]

    return read


def test_the_page_shows_the_newest_first_with_links_to_what_is_still_there(admin, operator, make_project, entries):
    kept, gone = make_project(), make_project()
    for project in (kept, gone):
        admin.post(f"/projects/{project.name}/variables", {"variable_name": "A", "value": "b"})
    admin.post(f"/projects/{gone.name}/delete", {"name": gone.name})

    page = admin.get("/settings/audit").page

    first, second, third = page.find_all("li", class_="event")[:3]
    assert first.words.startswith(f"project.deleted {gone.name} {USER} from 127.0.0.1")
    assert second.words.startswith(f"variable.set {gone.name} A")
    assert [one.attributes["href"] for one in third.find_all("a")] == [f"/projects/{kept.name}"]
    assert not first.find_all("a")
    assert not second.find_all("a")


def test_a_deployment_is_linked_by_its_reference(admin, operator, running):
    ref = f"DEP-{operator.deployment(running).number:04d}"
    admin.post(f"/deployments/{running}/cancel")

    first = admin.get("/settings/audit").page.find_all("li", class_="event")[0]

    assert first.words.startswith(f"deployment.cancel_requested {ref}")
    assert first.find("a").attributes["href"] == f"/deployments/{ref}"


def test_the_page_is_filtered_by_who_what_and_text(admin, plain_member, project, entries):
    plain_member.post(f"/projects/{project.name}/deploy")
    admin.post(f"/projects/{project.name}/deploy")

    assert len(entries(f"text={project.name}")) == 2
    (one,) = entries(f"text={project.name}&actor=grace")
    assert one.startswith(f"deployment.requested {project.name} grace")
    assert entries(f"text={project.name}&action=project.deleted") == []
    page = admin.get("/settings/audit?text=nothing-like-it").page
    assert "Nothing matches" in page.words
    assert page.value("text") == "nothing-like-it"


def test_pages_go_back_in_time_without_gaps_or_repetitions(admin, operator):
    with operator.database.write() as connection:
        for number in range(120):
            audit.record(connection, audit.Actor("pager"), "thing.done", f"thing-{number:03d}")
    seen: list[str] = []
    path = "/settings/audit?actor=pager"
    while path:
        page = admin.get(path).page
        seen += [one.find("span", class_="subject").words for one in page.find_all("li", class_="event")]
        # What comes in meanwhile moves nothing.
        with operator.database.write() as connection:
            audit.record(connection, audit.Actor("pager"), "thing.done", "late")
        path = next((one.attributes["href"] for one in page.find_all("a") if one.words == "Older"), "")

    assert seen == [f"thing-{number:03d}" for number in reversed(range(120))]


@pytest.mark.parametrize(
    "query", ["before=x", "before=-1", "before=" + "9" * 30, "before=%00", "text=%00", "actor=%ff"]
)
def test_a_query_that_is_none_breaks_nothing(admin, query):
    assert admin.get(f"/settings/audit?{query}").status == 200
