"""Set-up, login and logout."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from flask import Blueprint, Response, abort, jsonify, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_user, logout_user

from deployer import accounts
from deployer.accounts import LoginThrottled
from deployer.errors import InvalidInput
from deployer.models.user import User
from deployer.web.context import LoggedIn, installation, me, orm, remote_address
from deployer.web.errors import json_error

blueprint = Blueprint("auth", __name__)

WRONG = "Wrong user name or password"


def load_user(token: str) -> LoggedIn | None:
    """For Flask-Login: who a session's token belongs to."""
    user = accounts.user_of(orm.session(), token)
    return LoggedIn(user, token) if user else None


def local_path(target: str | None) -> str:
    """Where to go after a login: a path of this site, whatever was asked for.

    Browsers read ``//host`` and ``/\\host`` as another site's address.
    """
    if not target or not target.startswith("/") or target[1:2] in ("/", "\\"):
        return "/"
    if any(ord(character) < 0x20 for character in target):
        return "/"
    parts = urlsplit(target)
    return target if not parts.scheme and not parts.netloc else "/"


@blueprint.route("/login", methods=["GET", "POST"])
def login() -> ResponseReturnValue:
    if request.method == "GET":
        if current_user.is_authenticated:
            return redirect(local_path(request.args.get("next")))
        return render_template("login.html", next=request.args.get("next", ""), username="", error=None)
    is_json = request.mimetype == "application/json"
    document = request.get_json(silent=True) if is_json else request.form
    given: Mapping[str, object] = document if isinstance(document, Mapping) else {}
    username, password = given.get("username"), given.get("password")
    if not isinstance(username, str) or not isinstance(password, str) or not username or not password:
        return _refused(is_json, 400, "Give user name and password", str(username or ""))
    try:
        user = accounts.log_in(installation().database, username, password, address=remote_address())
    except LoginThrottled as error:
        response = _refused(is_json, 429, str(error), username)
        response.headers["Retry-After"] = str(error.wait_s)
        return response
    if user is None:
        return _refused(is_json, 401, WRONG, username)
    begin_session(user)
    if is_json:
        return jsonify(success=True)
    return redirect(local_path(request.form.get("next")))


def _refused(is_json: bool, status: int, error: str, username: str) -> Response:
    if is_json:
        return json_error(status, error)
    page = render_template("login.html", next=request.form.get("next", ""), username=username, error=error)
    return Response(page, status)


def begin_session(user: User) -> None:
    """Log the browser in: a new session on the server, its token in a new cookie."""
    days = installation().config.auth.session_days
    with installation().database.write_session() as writing:
        token = accounts.open_session(
            writing, user, days=days, address=remote_address(), agent=request.headers.get("User-Agent", "")
        )
    session.clear()
    session.permanent = True
    login_user(LoggedIn(user, token))


@blueprint.post("/logout")
def logout() -> ResponseReturnValue:
    with installation().database.write_session() as writing:
        accounts.close_session(writing, me().token)
    logout_user()
    session.clear()
    if request.mimetype == "application/json":
        return jsonify(success=True)
    return redirect(url_for("auth.login"))


@blueprint.route("/setup", methods=["GET", "POST"])
def setup() -> ResponseReturnValue:
    token = request.values.get("token", "")
    if not accounts.is_setup_token(orm.session().connection(), token):
        abort(
            403,
            "This set-up link is no longer good. While there is no user, each start of Deployer prints a new one.",
        )
    if request.method == "GET":
        return render_template("setup.html", token=token, errors={}, given={})
    form = request.form
    errors: dict[str, str] = {}
    if form.get("password", "") != form.get("password_again", ""):
        errors["password_again"] = "The two passwords differ."  # noqa: S105
    else:
        try:
            user_id = accounts.create_user(
                installation().database,
                form.get("username", "").strip(),
                form.get("email", "").strip(),
                form.get("password", ""),
                is_admin=True,
                setup_token=token,
            )
        except InvalidInput as error:
            errors = error.fields
    if errors:
        return render_template("setup.html", token=token, errors=errors, given=form), 400
    orm.session().rollback()
    user = orm.session().get(User, user_id)
    assert user is not None
    begin_session(user)
    return redirect(url_for("dashboard.home"))
