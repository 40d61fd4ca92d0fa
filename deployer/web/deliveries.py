"""A project's deliveries: each request of the forge, what became of it, and why; and sending one to test the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import render_template, request, url_for
from flask.typing import ResponseReturnValue

from deployer import projects
from deployer.deployments import reading, search
from deployer.deployments.paging import Place
from deployer.deployments.search import WantedDeliveries
from deployer.models.delivery import Verdict
from deployer.models.project import Project
from deployer.web import project_page
from deployer.web.context import actor, installation, orm

if TYPE_CHECKING:
    from deployer.webhook_check import Outcome

SHOWN = 50


def show(name: str) -> ResponseReturnValue:
    return _page(projects.find(orm.session(), name))


def send_test(name: str) -> ResponseReturnValue:
    """Send a test delivery to the webhook's public address, and show what came of it."""
    # Only who sends one needs TLS and an HTTP client.
    from deployer import webhook_check

    project = projects.find(orm.session(), name)
    target = webhook_check.target(orm.session(), project, project_page.webhook_url(project), installation().vault)
    by = actor()
    # It may take seconds: no snapshot of the database is held open meanwhile, nor shown afterwards.
    orm.session().rollback()
    outcome = webhook_check.run(installation(), target, by, deploys="deploy" in request.form)
    return _page(projects.find(orm.session(), target.project_id), outcome)


def _page(project: Project, outcome: Outcome | None = None) -> str:
    session = orm.session()
    given = request.args
    wanted = WantedDeliveries(
        verdict=given.get("verdict", ""),
        event=given.get("event", ""),
        branch=given.get("branch", "").strip(),
        text=given.get("text", "").strip(),
    )
    place = search.delivery_place(given.get("before", ""), given.get("after", ""))
    page = search.deliveries(session, project.id, wanted, place, SHOWN)

    def address(place: Place | None) -> str:
        """The list at another place, with the same filter."""
        if place is None:
            return ""
        filtered = {name: value for name, value in vars(wanted).items() if value}
        ways = {"before": place.before, "after": place.after}
        keys = {name: search.delivery_key(key) for name, key in ways.items() if key}
        return url_for("projects.deliveries", name=project.name, _external=False, **filtered, **keys)

    return render_template(
        "deliveries.html",
        project=project,
        page=page,
        newer=address(page.newer),
        older=address(page.older),
        wanted=wanted,
        verdicts=list(Verdict),
        events=search.events(session, project.id),
        led_to=reading.led_to(session, page.rows),
        last_right=reading.last_right_delivery(session, project.id),
        webhook_url=project_page.webhook_url(project),
        outcome=outcome,
    )
