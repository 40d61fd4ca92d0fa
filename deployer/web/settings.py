"""Settings: the PATH of commands."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from deployer import settings
from deployer.errors import InvalidInput
from deployer.executors.base import SYSTEM_PATH
from deployer.web.context import changing, orm

blueprint = Blueprint("settings", __name__, url_prefix="/settings")


@blueprint.get("")
def show() -> ResponseReturnValue:
    return _page()


def _page(errors: dict[str, str] | None = None, path: str | None = None) -> str:
    entries = settings.extra_path(orm.session().connection())
    return render_template(
        "settings.html",
        path="\n".join(entries) if path is None else path,
        system_path=SYSTEM_PATH,
        errors=errors or {},
    )


@blueprint.post("/path")
def set_path() -> ResponseReturnValue:
    text = request.form.get("path", "")
    try:
        with changing("settings.changed", "PATH") as session:
            settings.set_extra_path(session.connection(), text.splitlines())
    except InvalidInput as error:
        return _page(error.fields, text), 400
    flash("Saved. Deployments that begin from now on get this PATH.")
    return redirect(url_for("settings.show"))
