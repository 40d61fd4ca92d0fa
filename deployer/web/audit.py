"""The audit log: who changed what, when and from where. For administrators."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from deployer import audit
from deployer.logins import REFUSED
from deployer.models.audit import AuditEvent
from deployer.models.delivery import Counter
from deployer.models.deployment import Deployment, reference
from deployer.models.project import Project
from deployer.models.server import Server
from deployer.models.user import User
from deployer.web.context import orm

blueprint = Blueprint("audit", __name__, url_prefix="/settings/audit")

SHOWN = 50
_REFERENCE = re.compile(r"DEP-([0-9]{1,9})\Z")


@blueprint.get("")
def index() -> ResponseReturnValue:
    session = orm.session()
    given = request.args
    found = audit.find(
        session,
        actor=given.get("actor", ""),
        action=given.get("action", ""),
        text=given.get("text", "").strip(),
        before=_number(given.get("before", "")),
        limit=SHOWN + 1,
    )
    shown = found[:SHOWN]
    actors, actions = audit.actors_and_actions(session)
    filters: dict[str, Any] = {name: given[name] for name in ("actor", "action", "text") if given.get(name)}
    return render_template(
        "audit.html",
        events=shown,
        links=_links(session, shown),
        actors=actors,
        actions=actions,
        filters=filters,
        is_first="before" not in given,
        older=url_for("audit.index", before=shown[-1].id, **filters) if len(found) > SHOWN else None,
        refused=session.scalar(sa.select(Counter.value).where(Counter.name == REFUSED)) or 0,
    )


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _links(session: Session, events: Sequence[AuditEvent]) -> dict[int, str]:
    """Where the objects of these events are, by the events' ids, as far as they are still there."""
    subjects = {event.subject for event in events}
    numbers = [int(match[1]) for subject in subjects if (match := _REFERENCE.match(subject))]
    deployments = {
        reference(number): url_for("deployments.show", deployment_id=reference(number))
        for number in session.scalars(sa.select(Deployment.number).where(Deployment.number.in_(numbers)))
    }
    users = {
        name: url_for("users.index", _anchor=f"user-{user_id}")
        for name, user_id in session.execute(sa.select(User.username, User.id).where(User.username.in_(subjects)))
    }
    servers = {
        name: url_for("servers.show", server_name=name)
        for name in session.scalars(sa.select(Server.name).where(Server.name.in_(subjects)))
    }
    # The command line takes a project's id for its name.
    wanted = Project.name.in_(subjects) | Project.id.in_(subjects)
    projects = {
        called: url_for("projects.show", name=name)
        for name, project_id in session.execute(sa.select(Project.name, Project.id).where(wanted))
        for called in (name, project_id)
    }
    places = {
        "deployment": {**projects, **deployments},
        "server": servers,
        "user": users,
        "session": users,
        "login": users,
    }
    for noun in ("project", "variable", "variables", "variables_file", "webhook_secret", "deploy_key", "https_token"):
        places[noun] = projects
    found = {event.id: places.get(event.action.partition(".")[0], {}).get(event.subject) for event in events}
    return {event_id: place for event_id, place in found.items() if place}
