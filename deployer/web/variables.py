"""Variables: the page of a project's, and the one of all projects in the settings.

Both are the same but for their frame: ``name`` is the project's, or None for all projects.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from deployer import projects, variables
from deployer.errors import InvalidInput, SecretUnreadable
from deployer.models.project import FileFormat, Project, Variable
from deployer.web.context import changing, installation, me, orm

blueprint = Blueprint("variables", __name__, url_prefix="/settings/variables")
"""Those of all projects. The addresses of a project's are among its own, in `deployer.web.projects`."""

_SOUNDS_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|PRIVATE|DSN|DATABASE_URL", re.IGNORECASE)


def _scope(session: Session, name: str | None) -> Project | None:
    return None if name is None else projects.find(session, name)


def _page(name: str | None, errors: dict[str, str] | None = None, **answer: Any) -> str:
    session = orm.session()
    project = _scope(session, name)
    of_all = variables.of_all_projects(session.connection())
    shown = [variables.Given(one) for one in of_all] if project is None else variables.given(project, of_all)
    is_admin = me().user.is_admin
    file_problem = _file_problem(project, of_all) if is_admin and project and project.variables_file else None
    return render_template(
        "variables_of_all.html" if project is None else "variables.html",
        project=project,
        is_admin=is_admin,
        given=shown,
        has_own=any(one.is_of_all is (project is None) for one in shown),
        address=lambda action, **more: _address(name, action, **more),
        formats=list(FileFormat),
        file_problem=file_problem,
        errors=errors or {},
        typed=request.form if errors or answer else {},
        **{"choices": None, **answer},
    )


def _file_problem(project: Project, of_all: Sequence[Variable]) -> str | None:
    """Why the next deployment cannot write the file. What cannot be opened is entered anew on this very page."""
    try:
        return variables.file_problem(project, project.variables_format, of_all, installation().vault)
    except SecretUnreadable as error:
        return str(error)


def _address(name: str | None, action: str, **more: Any) -> str:
    if name is None:
        return url_for(f"variables.{action}", **more)
    return url_for(f"projects.{action}", name=name, **more)


def _back(name: str | None) -> ResponseReturnValue:
    return redirect(_address(name, "variables" if name else "show"))


@blueprint.get("", defaults={"name": None})
def show(name: str | None) -> ResponseReturnValue:
    return _page(name)


# One -------------------------------------------------------------------------------------------------------------


@blueprint.post("", defaults={"name": None})
def set_variable(name: str | None) -> ResponseReturnValue:
    form = request.form
    variable = form.get("variable_name", "").strip()
    try:
        with changing("variable.set", name or variables.ALL_PROJECTS, variable) as session:
            variables.set_variable(
                session,
                _scope(session, name),
                variable,
                _text("value"),
                secret="secret" in form,
                vault=installation().vault,
            )
    except InvalidInput as error:
        return _page(name, error.fields), 400
    return _back(name)


@blueprint.post("/<variable_id>", defaults={"name": None})
def change_variable(name: str | None, variable_id: str) -> ResponseReturnValue:
    """Another value for a variable that is there; a secret one stays secret."""
    found = variables.find(orm.session(), _scope(orm.session(), name), variable_id)
    try:
        with changing("variable.set", name or variables.ALL_PROJECTS, found.name) as session:
            variables.set_variable(
                session,
                _scope(session, name),
                found.name,
                _text("value"),
                secret=found.is_secret,
                vault=installation().vault,
            )
    except InvalidInput as error:
        return _page(name, {f"value-{variable_id}": "; ".join(error.fields.values())}), 400
    return _back(name)


@blueprint.post("/<variable_id>/delete", defaults={"name": None})
def remove_variable(name: str | None, variable_id: str) -> ResponseReturnValue:
    found = variables.find(orm.session(), _scope(orm.session(), name), variable_id)
    with changing("variable.removed", name or variables.ALL_PROJECTS, found.name) as session:
        project = _scope(session, name)
        variables.remove(session, project, variables.find(session, project, variable_id))
    return _back(name)


def _text(field: str) -> str:
    return request.form.get(field, "").replace("\r\n", "\n")


# Many ------------------------------------------------------------------------------------------------------------


@blueprint.post("/import", defaults={"name": None})
def import_variables(name: str | None) -> ResponseReturnValue:
    """Set what a dotenv text holds; or first show its names, so that the secret ones can be chosen."""
    form = request.form
    text = _text("text")
    secret = "all_secret" in form or form.getlist("secret_name")
    try:
        if form.get("action") == "choose":
            names = [entry.name for entry in variables.read_text(text)]
            return _page(name, choices={one: _SOUNDS_SECRET.search(one) is not None for one in names})
        detail = ", ".join(entry.name for entry in variables.read_text(text))
        with changing("variables.imported", name or variables.ALL_PROJECTS, detail) as session:
            done = variables.import_text(
                session, _scope(session, name), text, secret=secret, vault=installation().vault
            )
    except InvalidInput as error:
        return _page(name, error.fields), 400
    flash(f"{'1 variable is' if len(done) == 1 else f'{len(done)} variables are'} set: {detail}.")
    return _back(name)


@blueprint.get("/export", defaults={"name": None})
def export_variables(name: str | None) -> ResponseReturnValue:
    """A scope's own variables as a dotenv text, the secret ones by their names alone."""
    session = orm.session()
    own = variables.of_scope(session, _scope(session, name))
    text = variables.export_text(own, installation().vault)
    answer = Response(text.encode("utf-8", "surrogateescape"), mimetype="text/plain")
    answer.headers.set("Content-Disposition", "attachment", filename=f"{name or 'all-projects'}.env")
    return answer


def set_file(name: str) -> ResponseReturnValue:
    """Where a project's variables are written into a file before its steps run; or nowhere."""
    form = request.form
    path = "" if form.get("action") == "remove" else form.get("variables_file", "").strip()
    try:
        if not path and form.get("action") != "remove":
            raise InvalidInput({"variables_file": "Give a path inside the project's directory, such as .env."})
        with changing("variables_file.set" if path else "variables_file.removed", name, path or None) as session:
            variables.set_file(
                projects.find(session, name),
                path,
                form.get("variables_format", ""),
                variables.of_all_projects(session.connection()),
                installation().vault,
            )
    except InvalidInput as error:
        return _page(name, error.fields), 400
    except SecretUnreadable as error:
        return _page(name, {"variables_file": str(error)}), 400
    flash("The next deployment writes it." if path else "It is no longer written. A file that is there stays there.")
    return _back(name)
