"""Every view is closed to strangers but an explicit list; this list is what these tests know of the application."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from deployer import accounts, clock, invitations, servers, sessions
from deployer.deployments import schedules
from deployer.models import Notification, Server
from deployer.models.channel import ChannelKind
from deployer.models.notification import NotificationStatus, Occasion
from deployer.notifications import channels
from deployer.notifications.channels import ChannelInput
from deployer.servers import ServerInput
from tests.support.history import History
from tests.support.routes import OPEN, addresses
from tests.support.standing import MEMBER, USER

LOOKS = {"polled_at", "polled_sha", "poll_error"}
"""What the runner writes of a project by itself."""


def filled(rule: str, project, deployment_id: str, delivery_id: str, people: dict[str, str]) -> str:
    """The address of things that are really there: not to be found would be no proof."""
    for name, value in people.items():
        rule = rule.replace(f"<{name}>", value)
    return (
        rule.replace("<name>", project.name)
        .replace("<deployment_id>", deployment_id)
        .replace("<server_name>", project.server.name)
        .replace("<variable_id>", project.variables[0].id)
        .replace("<notification_id>", deployment_id)
        .replace("<delivery_id>", delivery_id)
        .replace("<channel_id>", deployment_id)
        .replace("<int:number>", "1")
    )


def owe(operator, deployment_id: str) -> None:
    """A mail about a deployment that was given up, and a channel; they have the deployment's id."""
    now = clock.now()
    vault = operator.installation.vault
    checked = channels.check(ChannelKind.WEBHOOK, ChannelInput(deployment_id, url="http://127.0.0.1:9/"))
    with operator.database.write_session() as session:
        made = channels.create(session, ChannelKind.WEBHOOK, checked, None, vault)
        made.is_enabled, made.id = False, deployment_id
        channels.seal(made, checked.sealed, vault)
    row = Notification(
        id=deployment_id,
        deployment_id=deployment_id,
        occasion=Occasion.FAILURE,
        status=NotificationStatus.GIVEN_UP,
        attempts=1,
        next_attempt_at=now,
        created_at=now,
    )
    with operator.database.write_session() as session:
        session.add(row)


@pytest.fixture
def subject(make_project, operator):
    with operator.database.write_session() as session:
        if not session.scalar(sa.select(Server.id).where(Server.name == "web1")):
            servers.create(session, ServerInput("web1", "127.0.0.1", 9), operator.installation.vault)
    project = make_project(server="web1")
    operator.set_variable(project, "NODE_ENV", "production")
    with operator.database.write_session() as session:
        # Due at the turn of a year, so that no test sees it happen.
        schedules.add(session, project.id, "0 0 1 1 *", "UTC", USER)
    return operator.change(project)


@pytest.fixture
def people(operator) -> dict[str, str]:
    """A user, a session and an invitation that are really there."""
    with operator.database.write_session() as session:
        user = accounts.find(session, MEMBER)
        token = sessions.begin(session, user, days=1, address="192.0.2.9", agent="a browser")
        invitation, _ = invitations.invite(session, "new@example.com", is_admin=False, by=USER)
        session.flush()
        one = next(one for one in sessions.of_user(session, user.id) if sessions.is_of(one, token))
        return {"user_id": user.id, "session_id": sessions.public_id(one), "invitation_id": invitation.id}


def test_every_route_but_the_open_ones_refuses_strangers(stranger, subject, operator, people):
    deployment_id = operator.deploy(subject)
    # Its server's host key is not trusted, so it ends at once.
    deployment = operator.wait_for_end(deployment_id)
    owe(operator, deployment_id)
    delivery_id = History(operator.database, subject).delivery(payload=b"{}")
    closed = [(method, rule) for method, rule in addresses() if rule not in OPEN]
    assert len(closed) > 30
    for method, rule in closed:
        path = filled(rule, subject, deployment_id, delivery_id, people)
        assert "<" not in path
        for headers in ({}, {"Sec-Fetch-Site": "same-origin"}, {"Accept": "application/json"}):
            answer = stranger.request(method, path, headers=headers)
            is_sent_to_login = answer.status == 302 and answer.location.startswith("/login")
            assert is_sent_to_login or answer.status == 401, (method, path, answer.status)
            assert subject.repository_url not in answer.text
    assert operator.deployment(deployment_id) == deployment
    assert [one.id for one in operator.deployments() if one.project_id == subject.id] == [deployment_id]


@pytest.mark.parametrize("path", ["/no-such-page", "/projects/no-such-project", "/deployments/DEP-9999", "/admin"])
def test_a_stranger_does_not_even_learn_what_is_there(stranger, path):
    answer = stranger.get(path)

    assert (answer.status, answer.location.startswith("/login")) == (302, True)


def test_the_open_routes_are_still_there(stranger):
    assert {rule for _, rule in addresses()} >= OPEN
    assert stranger.get("/login").status == 200
    assert stranger.get("/static/deployer.css").status == 200


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd", "/static/"]
)
def test_static_files_do_not_lead_out_of_their_folder(member, path):
    assert member.get(path).status in (308, 404)


def test_reading_changes_nothing(member, subject, operator, running, people):
    """Every GET, by somebody who may: nothing that is stored is another afterwards, but for what the runner does."""

    def stored() -> list[tuple]:
        with operator.database.read() as connection:
            tables = (
                "projects",
                "steps",
                "variables",
                "deployments",
                "users",
                "login_sessions",
                "invitations",
                "recovery_codes",
                "audit_events",
                "deliveries",
                "delivery_payloads",
                "settings",
                "notifications",
                "channels",
                "schedules",
            )
            return [
                tuple(value for name, value in row._mapping.items() if name not in LOOKS)
                for table in tables
                for row in connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1")
            ]

    owe(operator, running)
    delivery_id = History(operator.database, subject).delivery(payload=b"{}")
    before = stored()
    for method, rule in addresses():
        if method in ("GET", "HEAD", "OPTIONS") and not rule.endswith("/stream"):
            member.request(
                method, filled(rule, subject, running, delivery_id, people).replace("<path:filename>", "deployer.css")
            )
    assert stored() == before
