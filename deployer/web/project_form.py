"""The form of a project: for a new one, and for changing one that is there."""

from __future__ import annotations

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from deployer import project_input, projects, servers, working_copies
from deployer.deployments import runners
from deployer.errors import InvalidInput
from deployer.models.project import Project, Step
from deployer.notifications import mail_settings
from deployer.project_input import ProjectInput
from deployer.web import forms, repository_check
from deployer.web.context import changing, installation, orm
from deployer.web.forms import StepRow
from deployer.web.repository_check import Seen


def create() -> ResponseReturnValue:
    if request.method != "POST":
        given = MultiDict({"branch": "main", "shell": "sh", "strategy": "checkout", "auto_deploy": "on"})
        given.update({name: "on" for name in forms.MAIL_SWITCHES if getattr(ProjectInput, name)})
        given["server"] = request.args.get("server", "")
        return _form(given, [StepRow("git pull origin main"), StepRow()], None)
    if request.form.get("action", "save") != "save":
        return _pressed(None)
    try:
        wanted = _wanted()
        with changing("project.created", wanted.name) as session:
            parts = installation()
            project = projects.create(
                session, wanted, config=parts.config, data_dir=parts.data_dir, vault=parts.vault
            )
    except InvalidInput as error:
        return _refused(None, error)
    seen = repository_check.carried(request.form)
    if seen and not seen.is_well:
        flash(
            "The project is made. Let it into its repository: make a deploy key or enter a token, then check again."
        )
        return redirect(url_for("projects.show", name=project.name, _anchor="access"))
    return redirect(url_for("projects.show", name=project.name))


def edit(name: str) -> ResponseReturnValue:
    project = projects.find(orm.session(), name)
    if request.method != "POST":
        return _form(_filled(project), [_row(step) for step in project.steps] or [StepRow()], project)
    if request.form.get("action", "save") != "save":
        return _pressed(project)
    try:
        wanted = _wanted()
        renamed = f"was {name}" if wanted.name != name else None
        with changing("project.changed", wanted.name, renamed) as session:
            parts = installation()
            changed = projects.find(session, name)
            had_token = changed.https_token is not None
            projects.update(session, changed, wanted, config=parts.config, data_dir=parts.data_dir)
    except InvalidInput as error:
        return _refused(project, error)
    flash("Saved. A deployment that runs keeps the steps it began with.")
    if had_token and changed.https_token is None:
        flash("The HTTPS token was forgotten: it was given for another host. Enter one for this host.")
    return redirect(url_for("projects.show", name=wanted.name))


def _pressed(project: Project | None) -> ResponseReturnValue:
    """The form after one of its other buttons: nothing is saved yet."""
    rows = forms.step_rows(request.form)
    action = request.form["action"]
    seen = repository_check.carried(request.form)
    given = request.form.copy()
    if action == "check":
        name = project.name if project else None
        try:
            seen = repository_check.look(request.form, project)
        except InvalidInput as error:
            return _refused(project, error)
        if seen.is_well:
            given["branch"] = seen.branch
        # The check gave up what was read before it.
        project = projects.find(orm.session(), name) if name else None
    elif action == "suggested" and seen:
        rows = [StepRow(one.command) for one in seen.suggested]
    else:
        rows = forms.rearrange(rows, action)
    return _form(given, rows, project, seen=seen)


def _refused(project: Project | None, error: InvalidInput) -> ResponseReturnValue:
    rows = forms.filled(forms.step_rows(request.form)) or [StepRow()]
    seen = repository_check.carried(request.form)
    return _form(request.form, rows, project, errors=error.fields, seen=seen), 400


def _wanted() -> ProjectInput:
    """What was entered. Raises InvalidInput; a step that cannot be read hides no other field's error."""
    try:
        return forms.project_input(request.form)
    except InvalidInput as unreadable:
        try:
            project_input.validate(forms.project_without_steps(request.form), installation().config)
        except InvalidInput as error:
            raise InvalidInput({**error.fields, **unreadable.fields}) from error
        raise


def _row(step: Step) -> StepRow:
    """A step as it was entered. A name that follows from the command is left out, so that it goes on following."""
    name = "" if step.name == project_input.step_name(step.command) else step.name
    return StepRow(
        step.command,
        name,
        forms.duration_text(step.timeout_s),
        str(step.retries or ""),
        forms.duration_text(step.retry_wait_s or None),
        step.phase,
    )


def _filled(project: Project) -> MultiDict[str, str]:
    owned = working_copies.is_own(project, installation().data_dir)
    given = MultiDict(
        {
            "name": project.name,
            "repository_url": project.repository_url,
            "branch": project.branch,
            "server": project.server_id or "",
            "path": "" if owned else project.path,
            "shell": project.shell,
            "strategy": project.strategy,
            "shared_paths": project.shared_paths,
            "health_url": project.health_url or "",
            "health_command": project.health_command or "",
        }
    )
    if project.auto_deploy:
        given["auto_deploy"] = "on"
    if project.cancel_running:
        given["cancel_running"] = "on"
    if project.rerun_interrupted:
        given["rerun_interrupted"] = "on"
    for name in project_input.LIMITS:
        number = getattr(project, name)
        given[name] = "" if number in (None, project_input.DEFAULTS.get(name)) else str(number)
    given.update({name: "on" for name in forms.MAIL_SWITCHES if getattr(project, name)})
    given["mail_to"] = project.mail_to or ""
    return given


def _form(
    given: MultiDict[str, str],
    rows: list[StepRow],
    project: Project | None,
    *,
    errors: dict[str, str] | None = None,
    seen: Seen | None = None,
) -> str:
    config, name = installation().config, given.get("name") or "NAME"
    return render_template(
        "project_form.html",
        given=given,
        rows=rows,
        project=project,
        errors=errors or {},
        seen=seen,
        is_as_suggested=seen is not None and _commands(rows) == [one.command for one in seen.suggested],
        elsewhere=project and runners.elsewhere(orm.session().connection(), project, installation().host_id),
        servers=[server for server, _count in servers.listed(orm.session())],
        default_path=working_copies.own_path(name, given.get("strategy", ""), None, installation().data_dir),
        defaults=project_input.DEFAULTS,
        default_path_there=f"{working_copies.SERVER_CHECKOUTS}/{name}",
        default_timeout=forms.duration_text(config.runner.default_timeout),
        allow_file=config.git.allow_file,
        sends_mails=mail_settings.is_marked(orm.session().connection()),
    )


def _commands(rows: list[StepRow]) -> list[str]:
    return [row.command.strip() for row in forms.filled(rows)]
