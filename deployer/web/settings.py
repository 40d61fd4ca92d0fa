"""Settings: the PATH of commands, and one's own account."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from deployer import accounts, settings
from deployer.errors import InvalidInput
from deployer.executors.base import SYSTEM_PATH
from deployer.web.context import installation, me, orm

blueprint = Blueprint("settings", __name__, url_prefix="/settings")


@blueprint.get("")
def show() -> ResponseReturnValue:
    return _page()


def _page(errors: dict[str, str] | None = None, path: str | None = None) -> str:
    entries = settings.extra_path(orm.session().connection())
    return render_template(
        "settings.html",
        user=me().user,
        path="\n".join(entries) if path is None else path,
        system_path=SYSTEM_PATH,
        errors=errors or {},
    )


@blueprint.post("/path")
def set_path() -> ResponseReturnValue:
    text = request.form.get("path", "")
    try:
        with installation().database.write() as connection:
            settings.set_extra_path(connection, text.splitlines())
    except InvalidInput as error:
        return _page(error.fields, text), 400
    flash("Saved. Deployments that begin from now on get this PATH.")
    return redirect(url_for("settings.show"))


@blueprint.post("/password")
def change_password() -> ResponseReturnValue:
    form = request.form
    try:
        if form.get("new_password") != form.get("new_password_again"):
            raise InvalidInput({"new_password_again": "The two passwords differ."})
        accounts.change_password(
            installation().database,
            me().user,
            form.get("present_password", ""),
            form.get("new_password", ""),
            token=me().token,
        )
    except InvalidInput as error:
        return _page(error.fields), 400
    flash("Your password is changed, and your other sessions are ended.")
    return redirect(url_for("settings.show"))
