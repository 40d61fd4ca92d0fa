"""A project's variables: set, changed in their place, and deleted."""

from __future__ import annotations

from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue

from deployer import project_secrets, projects
from deployer.errors import InvalidInput
from deployer.web import project_page
from deployer.web.context import changing, installation, orm


def set_variable(name: str) -> ResponseReturnValue:
    form = request.form
    variable = form.get("variable_name", "").strip()
    try:
        with changing("variable.set", name, variable) as session:
            project_secrets.set_variable(
                projects.find(session, name),
                variable,
                _value(),
                secret="secret" in form,
                vault=installation().vault,
            )
    except InvalidInput as error:
        return project_page.show(projects.find(orm.session(), name), errors=error.fields), 400
    return _back(name)


def change_variable(name: str, variable_id: str) -> ResponseReturnValue:
    """Another value for a variable that is there; a secret one stays secret."""
    found = project_secrets.find_variable(projects.find(orm.session(), name), variable_id)
    try:
        with changing("variable.set", name, found.name) as session:
            project_secrets.set_variable(
                projects.find(session, name), found.name, _value(), secret=found.is_secret, vault=installation().vault
            )
    except InvalidInput as error:
        words = "; ".join(error.fields.values())
        project = projects.find(orm.session(), name)
        return project_page.show(project, errors={f"value-{variable_id}": words}), 400
    return _back(name)


def remove_variable(name: str, variable_id: str) -> ResponseReturnValue:
    found = project_secrets.find_variable(projects.find(orm.session(), name), variable_id)
    with changing("variable.removed", name, found.name) as session:
        project_secrets.remove_variable(projects.find(session, name), variable_id)
    return _back(name)


def _value() -> str:
    return request.form.get("value", "").replace("\r\n", "\n")


def _back(name: str) -> ResponseReturnValue:
    return redirect(url_for("projects.show", name=name, _anchor="variables"))
