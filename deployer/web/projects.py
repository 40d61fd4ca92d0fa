"""Projects: the addresses of their pages, and the small actions on them."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from deployer import access, project_secrets, projects
from deployer.deployments import queue, releases
from deployer.errors import GitError, InvalidInput, InvalidTransition
from deployer.models.project import Project
from deployer.pushes import provider_of
from deployer.web import (
    deliveries,
    delivery,
    project_form,
    project_page,
    protection,
    pushes,
    schedules,
    variables,
)
from deployer.web.context import changing, installation, me, orm

blueprint = Blueprint("projects", __name__, url_prefix="/projects")

for _rule, _name, _view, _methods in (
    ("/new", "create", project_form.create, ["GET", "POST"]),
    ("/<name>/edit", "edit", project_form.edit, ["GET", "POST"]),
    ("/<name>/deliveries", "deliveries", deliveries.show, ["GET"]),
    ("/<name>/deliveries/test", "send_test_delivery", deliveries.send_test, ["POST"]),
    ("/<name>/deliveries/<delivery_id>", "delivery", delivery.show, ["GET"]),
    ("/<name>/deliveries/<delivery_id>/replay", "replay_delivery", delivery.replay, ["POST"]),
    ("/<name>/variables", "variables", variables.show, ["GET"]),
    ("/<name>/pushes", "pushes", pushes.show, ["GET", "POST"]),
    ("/<name>/pushes/secret", "enter_secret", pushes.enter_secret, ["POST"]),
    ("/<name>/variables", "set_variable", variables.set_variable, ["POST"]),
    ("/<name>/variables/import", "import_variables", variables.import_variables, ["POST"]),
    ("/<name>/variables/export", "export_variables", variables.export_variables, ["GET"]),
    ("/<name>/variables/file", "set_variables_file", variables.set_file, ["POST"]),
    ("/<name>/variables/<variable_id>", "change_variable", variables.change_variable, ["POST"]),
    ("/<name>/variables/<variable_id>/delete", "remove_variable", variables.remove_variable, ["POST"]),
    *schedules.RULES,
    *protection.RULES,
):
    blueprint.add_url_rule(_rule, _name, _view, methods=_methods)


def _find(name: str, session: Session | None = None) -> Project:
    return projects.find(session or orm.session(), name)


@blueprint.get("/<name>")
def show(name: str) -> ResponseReturnValue:
    return project_page.show(_find(name))


@blueprint.post("/<name>/deploy")
def deploy(name: str) -> ResponseReturnValue:
    """Deploy the newest commit, or the one that the form names."""
    project = _find(name)
    commit = request.form.get("commit", "").strip() or None
    ignores_windows = "ignores_windows" in request.form
    detail = queue.detail(commit, ignores_windows=ignores_windows)
    try:
        with changing("deployment.requested", project.name, detail) as session:
            deployment_id = queue.deploy_by_hand(
                session.connection(),
                project.id,
                me().user.username,
                installation().config.runner.max_queued,
                commit,
                is_admin=me().user.is_admin,
                ignores_windows=ignores_windows,
            )
    except InvalidInput as error:
        return project_page.show(project, errors=error.fields), 400
    return redirect(url_for("deployments.show", deployment_id=deployment_id))


@blueprint.post("/<name>/rollback")
def roll_back(name: str) -> ResponseReturnValue:
    """Make the release live again that the form names by its number; without one, that before the current."""
    project = _find(name)
    named = request.form.get("release", "").strip()
    try:
        with changing("deployment.rollback_requested", project.name, named or None) as session:
            deployment_id = releases.roll_back(
                session.connection(),
                project.id,
                me().user.username,
                installation().config.runner.max_queued,
                releases.number_of(named) if named else None,
            )
    except InvalidTransition as error:
        return project_page.show(project, errors={"release": str(error)}), 409
    return redirect(url_for("deployments.show", deployment_id=deployment_id))


@blueprint.route("/<name>/delete", methods=["GET", "POST"])
def delete(name: str) -> ResponseReturnValue:
    project = _find(name)
    if request.method != "POST":
        return render_template("project_delete.html", project=project, error=None)
    if request.form.get("name") != project.name:
        error = "Type the project's name to confirm."
        return render_template("project_delete.html", project=project, error=error), 400
    with changing("project.deleted", project.name) as session:
        folders = projects.delete(session, _find(name, session), installation().data_dir)
    projects.remove_files(folders)
    flash(f"{project.name} is deleted.")
    return redirect(url_for("dashboard.home"))


# Webhook and access ---------------------------------------------------------------------------------------------


@blueprint.post("/<name>/secret")
def rotate_secret(name: str) -> ResponseReturnValue:
    with changing("webhook_secret.renewed", name) as session:
        project = _find(name, session)
        project_secrets.rotate_webhook_secret(project, installation().vault)
        forge = provider_of(project).label
    flash(f"The webhook has a new secret. Enter it at {forge} too; until then its deliveries are refused.")
    return redirect(url_for("projects.show", name=name, _anchor="webhook"))


@blueprint.post("/<name>/deploy-key")
def make_deploy_key(name: str) -> ResponseReturnValue:
    with changing("deploy_key.made", name) as session:
        project_secrets.make_deploy_key(_find(name, session), installation().vault)
    return redirect(url_for("projects.show", name=name, _anchor="access"))


@blueprint.post("/<name>/token")
def set_token(name: str) -> ResponseReturnValue:
    is_removal = request.form.get("action") == "remove"
    token = "" if is_removal else request.form.get("https_token", "").strip()
    try:
        if not token and not is_removal:
            raise InvalidInput({"https_token": "Give a token."})
        with changing("https_token.removed" if is_removal else "https_token.set", name) as session:
            project_secrets.set_https_token(_find(name, session), token, installation().vault)
    except InvalidInput as error:
        return project_page.show(_find(name), errors=error.fields), 400
    return redirect(url_for("projects.show", name=name, _anchor="access"))


@blueprint.post("/<name>/check-access")
def check_access(name: str) -> ResponseReturnValue:
    project = _find(name)
    parts = installation()
    url, branch, secrets = (
        project.repository_url,
        project.branch,
        project_secrets.read_secrets(orm.session(), project, parts.vault),
    )
    # The question may take seconds: no snapshot of the database is held open meanwhile.
    orm.session().rollback()
    try:
        with access.visit(url, secrets, config=parts.config, data_dir=parts.data_dir) as visit:
            tip = visit.tip(branch)
    except GitError as error:
        said = {"ok": "", "message": str(error.args[0]), "hint": error.hint}
    else:
        if tip:
            said = {"ok": "yes", "message": f"The repository answers; {branch} is at {tip[:7]}.", "hint": ""}
        else:
            message = f"The repository answers, but has no branch {branch}."
            said = {"ok": "", "message": message, "hint": "Push that branch, or choose another one."}
    return project_page.show(_find(name), access_said=said)
