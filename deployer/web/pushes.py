"""Where a project's pushes come from, and which of them deploy."""

from __future__ import annotations

from dataclasses import asdict, fields, replace

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from deployer import projects, pushes
from deployer.deployments import filters
from deployer.errors import InvalidInput
from deployer.models.project import Project
from deployer.providers.generic import Generic
from deployer.providers.known import PROVIDERS
from deployer.pushes import PushSettings
from deployer.web import project_page
from deployer.web.context import changing, installation, orm


def show(name: str) -> ResponseReturnValue:
    project = projects.find(orm.session(), name)
    present = pushes.as_input(project)
    if request.method != "POST":
        return _page(project, present)
    given = _entered(present)
    try:
        with changing("pushes.changed", name, given.provider[:32]) as session:
            project = projects.find(session, name)
            was = project.provider
            pushes.change(session, project, given)
            is_another, forge = project.provider != was, pushes.provider_of(project).label
    except InvalidInput as error:
        return _page(projects.find(orm.session(), name), given, errors=error.fields), 400
    flash(f"Saved. Connect {forge} now." if is_another else "Saved. It holds for the next push.")
    return redirect(url_for("projects.pushes", name=name, _anchor="webhook" if is_another else None))


def _entered(present: PushSettings) -> PushSettings:
    """What was entered; what only a generic sender needs is not there to be seen with any other."""
    names = [one.name for one in fields(PushSettings)]
    if request.form.get("provider") != Generic.name:
        names = [name for name in names if not name.startswith("hook_")]
    return replace(present, **{name: request.form[name] for name in names if name in request.form})


def enter_secret(name: str) -> ResponseReturnValue:
    """Take a secret that the forge has made."""
    try:
        with changing("webhook_secret.entered", name) as session:
            pushes.set_secret(
                projects.find(session, name), request.form.get("webhook_secret", ""), installation().vault
            )
    except InvalidInput as error:
        project = projects.find(orm.session(), name)
        return _page(project, pushes.as_input(project), errors=error.fields), 400
    flash("The webhook has this secret from now on.")
    return redirect(url_for("projects.pushes", name=name, _anchor="webhook"))


def _page(project: Project, given: PushSettings, *, errors: dict[str, str] | None = None) -> str:
    return render_template(
        "pushes.html",
        project=project,
        providers=PROVIDERS.values(),
        given=asdict(given),
        errors=errors or {},
        takes_branch=filters.of(project).takes_branch(project.branch),
        **project_page.connection_facts(project),
    )
