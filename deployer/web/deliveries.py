"""A project's deliveries: each request of the forge, what became of it, and why."""

from __future__ import annotations

import json

from flask import render_template, request, url_for
from flask.typing import ResponseReturnValue

from deployer import projects
from deployer.deployments import search
from deployer.deployments.paging import Place
from deployer.models.delivery import Delivery, Verdict
from deployer.web import project_page
from deployer.web.context import orm

SHOWN = 50


def show(name: str) -> ResponseReturnValue:
    session = orm.session()
    project = projects.find(session, name)
    verdict = request.args.get("verdict", "")
    place = search.delivery_place(request.args.get("before", ""), request.args.get("after", ""))
    page = search.deliveries(session, project.id, verdict, place, SHOWN)

    def address(place: Place | None) -> str:
        if place is None:
            return ""
        given = {
            "verdict": verdict or None,
            "before": search.delivery_key(place.before) if place.before else None,
            "after": search.delivery_key(place.after) if place.after else None,
        }
        return url_for("projects.deliveries", name=project.name, _external=False, **given)

    return render_template(
        "deliveries.html",
        project=project,
        page=page,
        newer=address(page.newer),
        older=address(page.older),
        verdict=verdict,
        verdicts=list(Verdict),
        led_to=project_page.led_to(session, page.rows),
        headers_of=headers_of,
    )


def headers_of(delivery: Delivery) -> dict[str, str]:
    """Those that were kept; of a request that was not verified none are."""
    kept = json.loads(delivery.headers) if delivery.headers else {}
    return {str(name): str(value) for name, value in kept.items()}
