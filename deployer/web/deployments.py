"""A deployment's page: its commands with their logs, live while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from deployer.deployments import lifecycle, reading
from deployer.models.deployment import Command
from deployer.web import ansi
from deployer.web.context import changing, installation, me, orm

blueprint = Blueprint("deployments", __name__, url_prefix="/deployments")

SHOWN_LOG_BYTES = 256 * 1024
"""What the page itself carries of each command's log, so that it can be read without JavaScript."""


@dataclass(frozen=True)
class ShownCommand:
    command: Command
    log: Markup


@blueprint.get("/<deployment_id>")
def show(deployment_id: str) -> ResponseReturnValue:
    session = orm.session()
    deployment = reading.find(session, deployment_id)
    connection = session.connection()
    last_seq = reading.last_seq(connection, deployment.id)
    commands = [
        ShownCommand(command, ansi.render(reading.log_of(connection, command, SHOWN_LOG_BYTES)))
        for command in deployment.commands
    ]
    return render_template(
        "deployment.html",
        deployment=deployment,
        project=deployment.project,
        commands=commands,
        last_seq=last_seq,
        newer=reading.find(session, deployment.superseded_by) if deployment.superseded_by else None,
        runner_is_up=installation().runner_is_up,
    )


@blueprint.post("/<deployment_id>/cancel")
def cancel(deployment_id: str) -> ResponseReturnValue:
    deployment = reading.find(orm.session(), deployment_id)
    with changing("deployment.cancel_requested", deployment.ref) as session:
        lifecycle.request_cancel(session.connection(), deployment.id, me().user.username)
    return redirect(url_for("deployments.show", deployment_id=deployment.id))
