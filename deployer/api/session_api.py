"""The session API: trigger a deployment, retry and read it, and send a test mail, with the cookie of a login."""

from __future__ import annotations

import sqlalchemy as sa
from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from deployer.api import serializers
from deployer.deployments import logs, queue, reading, retry, waiting
from deployer.errors import MailError, NotFound, SecretUnreadable
from deployer.models.project import Project
from deployer.web.context import actor, changing, installation, me, orm
from deployer.web.errors import json_error

blueprint = Blueprint("session_api", __name__)

MAX_LOG_BYTES = 1024 * 1024
"""What one answer carries of a command's log; what was left out is said in its place."""


@blueprint.post("/deploy")
def deploy() -> ResponseReturnValue:
    given = request.get_json(silent=True)
    if not isinstance(given, dict):
        return json_error(400, "Send a JSON object with projectId")
    project_id = given.get("projectId", given.get("projId"))
    if not isinstance(project_id, str) or not project_id:
        return json_error(400, "projectId is required")
    commit = given.get("commit")
    if commit is not None and not isinstance(commit, str):
        return json_error(400, "commit is a commit's id, or left out")
    name = orm.session().scalar(sa.select(Project.name).where(Project.id == project_id))
    with changing("deployment.requested", name or project_id, commit) as session:
        deployment_id = queue.deploy_by_hand(
            session.connection(),
            project_id,
            me().user.username,
            installation().config.runner.max_queued,
            commit or None,
            is_admin=me().user.is_admin,
        )
    return jsonify(success=True, deployId=deployment_id)


@blueprint.post("/deploy/<deployment_id>/retry")
def retry_deployment(deployment_id: str) -> ResponseReturnValue:
    given = request.get_json(silent=True)
    if not isinstance(given, dict):
        return json_error(400, "Send a JSON object; it may be empty")
    from_failed = given.get("fromFailed", False)
    if not isinstance(from_failed, bool):
        return json_error(400, "fromFailed is true or false, or left out")
    try:
        found = reading.find(orm.session(), deployment_id)
    except NotFound as error:
        return json_error(404, str(error))
    max_queued = installation().config.runner.max_queued
    is_admin = me().user.is_admin
    new_id = retry.ask(
        installation().database, actor(), found, max_queued, from_failed=from_failed, is_admin=is_admin
    )
    return jsonify(success=True, deployId=new_id)


@blueprint.get("/deploy/<deployment_id>")
def show(deployment_id: str) -> ResponseReturnValue:
    session = orm.session()
    try:
        deployment = reading.find(session, deployment_id)
    except NotFound as error:
        return json_error(404, str(error))
    connection = session.connection()
    return jsonify(
        success=True,
        deployment=serializers.deployment(deployment) | serializers.waits(waiting.of(connection, deployment.id)),
        logs=[
            serializers.log_entry(command, logs.of_command(connection, command, MAX_LOG_BYTES))
            for command in deployment.commands
            if command.started_at is not None
        ],
        project=serializers.project(deployment.project),
    )


@blueprint.post("/email/test")
def test_email() -> ResponseReturnValue:
    """Send a test mail with the settings in force; a refusal is told in the server's own words."""
    # Imported here: a process that sends nothing does not carry mail and TLS in memory.
    from deployer.notifications import delivery

    # The mail server may take seconds: no snapshot of the database is held open meanwhile.
    orm.session().expunge_all()
    orm.session().rollback()
    try:
        delivery.send_test(installation())
    except (MailError, SecretUnreadable) as error:
        return json_error(400, str(error))
    return jsonify(success=True, message="Test email sent")
