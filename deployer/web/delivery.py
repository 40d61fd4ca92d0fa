"""One delivery: what it was, what became of it, what it carried; and its replay."""

from __future__ import annotations

from flask import flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from deployer import project_secrets, projects
from deployer.deployments import deliveries, payloads, reading, replays, search, verdicts
from deployer.errors import InvalidInput, NotFound
from deployer.models.delivery import Delivery, DeliveryPayload
from deployer.models.project import Project
from deployer.web.context import changing, installation, me, orm


def show(name: str, delivery_id: str) -> ResponseReturnValue:
    return _page(name, delivery_id)


def replay(name: str, delivery_id: str) -> ResponseReturnValue:
    """Have the payload decided on again; leads to the deployment, or to what became of it instead."""
    project = projects.find(orm.session(), name)
    found = search.delivery(orm.session(), project.id, delivery_id)
    try:
        request = replays.prepare(orm.session(), found, me().user.username)
    except InvalidInput as error:
        return _page(name, delivery_id, refusal=error.fields[replays.FIELD]), 400
    with changing("delivery.replayed", project.name, found.id) as session:
        (recorded,) = deliveries.record(session.connection(), [request], installation().config.runner.max_queued)
        if recorded.decision is None:
            raise NotFound("Project not found")
    if recorded.deployment_id:
        return redirect(url_for("deployments.show", deployment_id=recorded.deployment_id))
    flash(f"Replayed. {verdicts.in_words(recorded.decision.verdict, recorded.decision.reason)}")
    return redirect(url_for("projects.delivery", name=project.name, delivery_id=recorded.delivery_id))


def _page(name: str, delivery_id: str, *, refusal: str = "") -> str:
    """``refusal`` is why it cannot be replayed."""
    session = orm.session()
    project = projects.find(session, name)
    found = search.delivery(session, project.id, delivery_id)
    is_admin = me().user.is_admin
    payload = payloads.find(session, found.id) if is_admin else None
    led_to = reading.led_to(session, [found])
    return render_template(
        "delivery.html",
        project=project,
        delivery=found,
        deployment=led_to.get(found.deployment_id or ""),
        original=search.still_there(session, found.replay_of),
        last_right=reading.last_right_delivery(session, project.id),
        has_payload=payload is not None,
        is_kept=payload is not None and payload.packed is not None,
        size_bytes=payload.size_bytes if payload else None,
        content=_content(project, found, payload) if is_admin else {},
        cannot_replay=replays.problem(found, payload),
        refusal=refusal,
    )


def _content(project: Project, found: Delivery, payload: DeliveryPayload | None) -> dict[str, object]:
    """The headers, and the payload's text, without secrets. ``text`` is None where it cannot be shown."""
    secrets = project_secrets.read_secrets(orm.session(), project, installation().vault)
    hidden = payloads.redactor(secrets.to_redact())
    headers = replays.headers_of(found)
    text = None
    if payload and payload.packed is not None and payload.size_bytes <= payloads.SHOWN_BYTES:
        raw = payloads.unpack(payload.packed)
        text = payloads.shown(raw, headers.get("Content-Type", ""), hidden)
    return {"headers": {name: hidden.text(value) for name, value in headers.items()}, "text": text}
