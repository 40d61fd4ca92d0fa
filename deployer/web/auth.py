"""Logging in and out, and the two links by which an account is made: set-up and invitation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from flask import Blueprint, Response, abort, flash, jsonify, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_user, logout_user
from sqlalchemy.orm import Session

from deployer import accounts, audit, clock, invitations, logins, sessions, two_factor
from deployer.audit import Actor
from deployer.errors import InvalidInput
from deployer.logins import LoginThrottled
from deployer.models.user import User
from deployer.two_factor import Way
from deployer.web.context import LoggedIn, changing, installation, me, orm, remote_address
from deployer.web.errors import json_error

blueprint = Blueprint("auth", __name__)

WRONG = "Wrong user name or password"
WRONG_CODE = "Wrong code"
PENDING_S = 5 * 60
"""How long a login waits for its code."""


def load_user(token: str) -> LoggedIn | None:
    """For Flask-Login: who a session's token belongs to."""
    user = sessions.user_of(orm.session(), token)
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


# Login and logout -----------------------------------------------------------------------------------------------


@blueprint.route("/login", methods=["GET", "POST"])
def login() -> ResponseReturnValue:
    if request.method != "POST":
        if current_user.is_authenticated:
            return redirect(local_path(request.args.get("next")))
        return render_template("login.html", next=request.args.get("next", ""), username="", error=None)
    is_json = request.mimetype == "application/json"
    document = request.get_json(silent=True) if is_json else request.form
    given: Mapping[str, object] = document if isinstance(document, Mapping) else {}
    username, password, code = given.get("username"), given.get("password"), given.get("code")
    if not isinstance(username, str) or not isinstance(password, str) or not username or not password:
        return _refused(is_json, 400, "Give user name and password", str(username or ""))
    database = installation().database
    way = None
    try:
        user = logins.check_password(database, username, password, address=remote_address())
        if user is None:
            return _refused(is_json, 401, WRONG, username)
        if user.totp_secret is not None:
            if not is_json:
                _await_code(user)
                return redirect(url_for("auth.login_code"))
            if not isinstance(code, str) or not code:
                return json_error(401, "Code required")
            found = logins.check_code(database, installation().vault, user.id, code, address=remote_address())
            if found is None:
                return json_error(401, WRONG_CODE)
            user, way = found
    except LoginThrottled as error:
        response = _refused(is_json, 429, str(error), username)
        response.headers["Retry-After"] = str(error.wait_s)
        return response
    begin_session(user, way)
    if is_json:
        return jsonify(success=True)
    return redirect(local_path(request.form.get("next")))


def _refused(is_json: bool, status: int, error: str, username: str) -> Response:
    if is_json:
        return json_error(status, error)
    page = render_template("login.html", next=request.form.get("next", ""), username=username, error=error)
    return Response(page, status)


@blueprint.route("/login/code", methods=["GET", "POST"])
def login_code() -> ResponseReturnValue:
    """The second page of a login with two-factor."""
    user = _awaited()
    if user is None:
        return redirect(url_for("auth.login"))
    if request.method != "POST":
        return render_template("login_code.html", error=None)
    target = session["pending"]["next"]
    parts = installation()
    try:
        found = logins.check_code(
            parts.database, parts.vault, user.id, request.form.get("code", ""), address=remote_address()
        )
    except LoginThrottled as error:
        response = Response(render_template("login_code.html", error=str(error)), 429)
        response.headers["Retry-After"] = str(error.wait_s)
        return response
    if found is None:
        wrong = "This code is wrong, or was used already. Wait for the next one."
        return render_template("login_code.html", error=wrong), 401
    begin_session(*found)
    return redirect(local_path(target))


def _await_code(user: User) -> None:
    """Remember in the browser's signed cookie whose password was right. It opens nothing without a code."""
    session.clear()
    session["pending"] = {
        "user": user.id,
        "until": clock.now().timestamp() + PENDING_S,
        "mark": _mark(user),
        "next": request.form.get("next", ""),
    }


def _awaited() -> User | None:
    """Whose code this browser still owes; None where that is nobody's, or the password has changed since."""
    pending = session.get("pending")
    if not pending or pending["until"] < clock.now().timestamp():
        return None
    user = orm.session().get(User, pending["user"])
    return user if user and user.totp_secret is not None and _mark(user) == pending["mark"] else None


def _mark(user: User) -> str:
    """Another one after each change of the password. Of its salted hash, so that it tells nothing."""
    return hashlib.sha256(user.password_hash.encode()).hexdigest()[:32]


def begin_session(user: User, way: Way | None = None) -> None:
    """Log the browser in: a new session on the server, its token in a new cookie."""
    parts = installation()
    left = None
    # What was read before the login may be older than what the login changed.
    orm.session().rollback()
    if way is Way.RECOVERY_CODE:
        left = two_factor.recovery_codes_left(orm.session(), user.id)
    detail = None if way is None else f"with a {way}" if left is None else f"with a {way}, {left} left"
    actor = Actor(user.username, remote_address())
    with audit.changing(parts.database, actor, "login.succeeded", detail=detail) as writing:
        token = sessions.begin(
            writing,
            user,
            days=parts.config.auth.session_days,
            address=remote_address(),
            agent=request.headers.get("User-Agent", ""),
        )
    session.clear()
    session.permanent = True
    login_user(LoggedIn(user, token))
    if left is not None:
        flash(f"That recovery code is used up; {left} {'is' if left == 1 else 'are'} left.")


@blueprint.post("/logout")
def logout() -> ResponseReturnValue:
    with changing("session.ended", me().user.username, "logged out") as writing:
        sessions.end(writing, me().token)
    logout_user()
    session.clear()
    if request.mimetype == "application/json":
        return jsonify(success=True)
    return redirect(url_for("auth.login"))


# Accounts by link -----------------------------------------------------------------------------------------------


@blueprint.route("/setup", methods=["GET", "POST"])
def setup() -> ResponseReturnValue:
    token = request.values.get("token", "")
    if not accounts.is_setup_token(orm.session().connection(), token):
        abort(
            403,
            "This set-up link is no longer good. While there is no user, each start of Deployer prints a new one.",
        )

    def use(writing: Session) -> None:
        accounts.use_setup_token(writing.connection(), token)

    return _new_account("setup.html", use, is_admin=True, how="by the set-up link")


@blueprint.route("/join", methods=["GET", "POST"])
def join() -> ResponseReturnValue:
    token = request.values.get("token", "")
    found = invitations.of_token(orm.session(), token)
    if found is None:
        abort(403, "This invitation is no longer good: it was used, revoked, or is too old. Ask for a new one.")

    def use(writing: Session) -> None:
        invitations.accept(writing, token)

    how = f"as {accounts.role(found.is_admin)}, invited by {found.invited_by}"
    return _new_account("join.html", use, is_admin=found.is_admin, email=found.email, how=how)


def _new_account(
    template: str, use_link: Callable[[Session], None], *, is_admin: bool, how: str, email: str = ""
) -> ResponseReturnValue:
    """The form behind a link, and the account that it makes."""
    form = request.form

    def page(errors: dict[str, str], status: int = 200) -> Response:
        given = form if request.method == "POST" else {"email": email}
        token = request.values["token"]
        response = Response(
            render_template(template, token=token, is_admin=is_admin, errors=errors, given=given), status
        )
        # The address holds the token: what the page loads does not hear of it.
        response.headers["Referrer-Policy"] = "strict-origin"
        return response

    if request.method != "POST":
        return page({})
    is_repeated = form.get("password", "") == form.get("password_again", "")
    problems = {} if is_repeated else {"password_again": "The two passwords differ."}
    try:
        user = accounts.new_user(
            form.get("username", "").strip(),
            form.get("email", "").strip(),
            form.get("password", ""),
            is_admin=is_admin,
        )
        if problems:
            raise InvalidInput(problems)
        actor = Actor(user.username, remote_address())
        with audit.changing(installation().database, actor, "user.created", user.username, how) as writing:
            use_link(writing)
            accounts.add(writing, user)
    except InvalidInput as error:
        return page({**problems, **error.fields}, 400)
    begin_session(user)
    return redirect(url_for("dashboard.home"))
