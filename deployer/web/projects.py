"""Projects: their page, their form, and the small actions on them."""

from __future__ import annotations

import sqlalchemy as sa
from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from deployer import access, projects
from deployer.deployments import queue, reading
from deployer.errors import GitError, InvalidInput, NotFound
from deployer.models.delivery import Counter, Delivery, Verdict
from deployer.models.deployment import Deployment, reference
from deployer.models.project import Project, Step
from deployer.projects import ProjectInput
from deployer.web import forms
from deployer.web.context import changing, installation, me, orm
from deployer.web.forms import StepRow

blueprint = Blueprint("projects", __name__, url_prefix="/projects")

SHOWN_DEPLOYMENTS = 20
SHOWN_DELIVERIES = 20
SHOWN_UNVERIFIED = 5
"""Of what strangers can send only a few, so that it hides nothing else."""


def _find(name: str, session: Session | None = None) -> Project:
    return projects.find(session or orm.session(), name)


# The page -------------------------------------------------------------------------------------------------------


@blueprint.get("/<name>")
def show(name: str) -> ResponseReturnValue:
    return _page(_find(name))


def _page(
    project: Project, *, errors: dict[str, str] | None = None, access_said: dict[str, str] | None = None
) -> str:
    session = orm.session()
    deliveries = _newest_deliveries(session, project.id)
    led_to = [delivery.deployment_id for delivery in deliveries if delivery.deployment_id]
    numbers = session.execute(sa.select(Deployment.id, Deployment.number).where(Deployment.id.in_(led_to)))
    secret = projects.open_secrets(project, installation().vault).webhook_secret if me().user.is_admin else b""
    return render_template(
        "project.html",
        project=project,
        deployments=reading.of_project(session, project.id, SHOWN_DEPLOYMENTS),
        deliveries=deliveries,
        refs={deployment_id: reference(number) for deployment_id, number in numbers},
        unverified=session.scalar(
            sa.select(Counter.value).where(Counter.name == queue.unverified_counter(project.id))
        )
        or 0,
        webhook_url=webhook_url(project),
        webhook_secret=secret.decode(),
        has_token=project.https_token is not None,
        errors=errors or {},
        access=access_said,
        default_timeout=installation().config.runner.default_timeout,
    )


def _newest_deliveries(session: Session, project_id: str) -> list[Delivery]:
    newest = (
        sa.select(Delivery)
        .where(Delivery.project_id == project_id)
        .order_by(Delivery.received_at.desc(), Delivery.id.desc())
    )
    is_unverified = Delivery.verdict == Verdict.UNVERIFIED
    found = [
        *session.scalars(newest.where(~is_unverified).limit(SHOWN_DELIVERIES)),
        *session.scalars(newest.where(is_unverified).limit(SHOWN_UNVERIFIED)),
    ]
    return sorted(found, key=lambda one: (one.received_at, one.id), reverse=True)


def webhook_url(project: Project) -> str:
    return f"{installation().config.public_url}/webhook/{project.id}"


# The form -------------------------------------------------------------------------------------------------------


@blueprint.route("/new", methods=["GET", "POST"])
def create() -> ResponseReturnValue:
    if request.method != "POST":
        given = MultiDict({"branch": "main", "shell": "sh", "auto_deploy": "on"})
        return _form(given, [StepRow("git pull origin main"), StepRow()], None)
    rows = forms.step_rows(request.form)
    action = request.form.get("action", "save")
    if action != "save":
        return _form(request.form, forms.rearrange(rows, action), None)
    try:
        wanted = _wanted()
        with changing("project.created", wanted.name) as session:
            parts = installation()
            project = projects.create(
                session, wanted, config=parts.config, data_dir=parts.data_dir, vault=parts.vault
            )
    except InvalidInput as error:
        return _form(request.form, forms.filled(rows) or [StepRow()], None, error.fields), 400
    return redirect(url_for("projects.show", name=project.name))


@blueprint.route("/<name>/edit", methods=["GET", "POST"])
def edit(name: str) -> ResponseReturnValue:
    project = _find(name)
    if request.method != "POST":
        return _form(_filled(project), [_row(step) for step in project.steps] or [StepRow()], project)
    rows = forms.step_rows(request.form)
    action = request.form.get("action", "save")
    if action != "save":
        return _form(request.form, forms.rearrange(rows, action), project)
    try:
        wanted = _wanted()
        with changing("project.changed", wanted.name, f"was {name}" if name != wanted.name else None) as session:
            parts = installation()
            changed = _find(name, session)
            projects.update(session, changed, wanted, config=parts.config, data_dir=parts.data_dir)
    except InvalidInput as error:
        return _form(request.form, forms.filled(rows) or [StepRow()], project, error.fields), 400
    flash("Saved. A deployment that runs keeps the steps it began with.")
    return redirect(url_for("projects.show", name=wanted.name))


def _wanted() -> ProjectInput:
    """What was entered. Raises InvalidInput; a step that cannot be read hides no other field's error."""
    try:
        return forms.project_input(request.form)
    except InvalidInput as unreadable:
        try:
            projects.validate(forms.project_without_steps(request.form), installation().config)
        except InvalidInput as error:
            raise InvalidInput({**error.fields, **unreadable.fields}) from error
        raise


def _row(step: Step) -> StepRow:
    """A step as it was entered. A name that follows from the command is left out, so that it goes on following."""
    name = "" if step.name == projects.step_name(step.command) else step.name
    return StepRow(step.command, name, forms.duration_text(step.timeout_s))


def _filled(project: Project) -> MultiDict[str, str]:
    owned = installation().data_dir.owns(project.path)
    given = MultiDict(
        {
            "name": project.name,
            "repository_url": project.repository_url,
            "branch": project.branch,
            "path": "" if owned else project.path,
            "shell": project.shell,
        }
    )
    if project.auto_deploy:
        given["auto_deploy"] = "on"
    if project.cancel_running:
        given["cancel_running"] = "on"
    return given


def _form(
    given: MultiDict[str, str], rows: list[StepRow], project: Project | None, errors: dict[str, str] | None = None
) -> str:
    config = installation().config
    return render_template(
        "project_form.html",
        given=given,
        rows=rows,
        project=project,
        errors=errors or {},
        default_path=str(installation().data_dir.checkouts / (given.get("name") or "NAME")),
        default_timeout=forms.duration_text(config.runner.default_timeout),
        allow_file=config.git.allow_file,
    )


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
    flash(f"{project.name} was deleted.")
    return redirect(url_for("dashboard.home"))


# Small actions --------------------------------------------------------------------------------------------------


@blueprint.post("/<name>/deploy")
def deploy(name: str) -> ResponseReturnValue:
    project = _find(name)
    config = installation().config
    try:
        with changing("deployment.requested", project.name) as session:
            deployment_id = queue.deploy_by_hand(
                session.connection(), project.id, me().user.username, config.runner.max_queued
            )
    except InvalidInput as error:
        return _page(project, errors=error.fields), 400
    return redirect(url_for("deployments.show", deployment_id=deployment_id))


@blueprint.post("/<name>/secret")
def rotate_secret(name: str) -> ResponseReturnValue:
    with changing("webhook_secret.renewed", name) as session:
        projects.rotate_webhook_secret(_find(name, session), installation().vault)
    flash("The webhook has a new secret. Enter it at GitHub too; until then its deliveries are refused.")
    return redirect(url_for("projects.show", name=name, _anchor="webhook"))


@blueprint.post("/<name>/deploy-key")
def make_deploy_key(name: str) -> ResponseReturnValue:
    with changing("deploy_key.made", name) as session:
        projects.make_deploy_key(_find(name, session), installation().vault)
    return redirect(url_for("projects.show", name=name, _anchor="access"))


@blueprint.post("/<name>/token")
def set_token(name: str) -> ResponseReturnValue:
    is_removal = request.form.get("action") == "remove"
    token = "" if is_removal else request.form.get("https_token", "").strip()
    try:
        if not token and not is_removal:
            raise InvalidInput({"https_token": "Give a token."})
        with changing("https_token.removed" if is_removal else "https_token.set", name) as session:
            projects.set_https_token(_find(name, session), token, installation().vault)
    except InvalidInput as error:
        return _page(_find(name), errors=error.fields), 400
    return redirect(url_for("projects.show", name=name, _anchor="access"))


@blueprint.post("/<name>/check-access")
def check_access(name: str) -> ResponseReturnValue:
    project = _find(name)
    parts = installation()
    secrets = projects.open_secrets(project, parts.vault)
    # The question may take seconds: no snapshot of the database is held open meanwhile.
    orm.session().expunge_all()
    orm.session().rollback()
    try:
        found = access.check(project, secrets, config=parts.config, data_dir=parts.data_dir)
    except GitError as error:
        said = {"ok": "", "message": str(error.args[0]), "hint": error.hint}
    else:
        if found.tip:
            message = f"The repository answers; {project.branch} is at {found.tip[:7]}."
            said = {"ok": "yes", "message": message, "hint": ""}
        else:
            message = f"The repository answers, but has no branch {project.branch}."
            said = {"ok": "", "message": message, "hint": "Push that branch, or choose another one."}
    return _page(_find(name), access_said=said)


@blueprint.post("/<name>/variables")
def set_variable(name: str) -> ResponseReturnValue:
    form = request.form
    variable = form.get("variable_name", "").strip()
    try:
        with changing("variable.set", name, variable) as session:
            projects.set_variable(
                _find(name, session),
                variable,
                form.get("value", "").replace("\r\n", "\n"),
                secret="secret" in form,
                vault=installation().vault,
            )
    except InvalidInput as error:
        return _page(_find(name), errors=error.fields), 400
    return redirect(url_for("projects.show", name=name, _anchor="variables"))


@blueprint.post("/<name>/variables/<variable_id>/delete")
def remove_variable(name: str, variable_id: str) -> ResponseReturnValue:
    variable = next((one.name for one in _find(name).variables if one.id == variable_id), None)
    if variable is None:
        raise NotFound("There is no such variable any more.")
    with changing("variable.removed", name, variable) as session:
        projects.remove_variable(_find(name, session), variable_id)
    return redirect(url_for("projects.show", name=name, _anchor="variables"))
