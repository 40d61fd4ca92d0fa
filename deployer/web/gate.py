"""The gate in front of every page: who may pass, and what leaves with the answer."""

from __future__ import annotations

from flask import Flask, Response, abort, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from deployer.security import csrf
from deployer.web import errors
from deployer.web.context import installation, me

PUBLIC = frozenset(("auth.login", "auth.login_code", "auth.setup", "auth.join", "health.show", "static"))
"""The views that need no login. Every other one, a new one too, is closed to strangers."""

MEMBERS_MAY = frozenset(
    (
        "auth.logout",
        # Looking
        "dashboard.home",
        "projects.show",
        "projects.deliveries",
        "projects.delivery",
        "projects.variables",
        "deployments.index",
        "deployments.show",
        "session_api.show",
        "streams.changes",
        "streams.stream",
        # Deploying
        "projects.deploy",
        "projects.roll_back",
        "deployments.cancel",
        "deployments.retry",
        "session_api.deploy",
        "session_api.retry_deployment",
        # One's own account
        "account.show",
        "account.change_email",
        "account.change_password",
        "account.end_session",
        "account.end_other_sessions",
        "account.set_up_two_factor",
        "account.switch_off_two_factor",
        "account.renew_recovery_codes",
    )
)
"""The views that need a login, but no administrator. Every other one, a new one too, is closed to members."""

ADMINS_ONLY = "Only an administrator may do this."

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)


def init_app(app: Flask) -> None:
    app.before_request(_refuse_foreign)
    app.before_request(_require_login)
    app.before_request(_require_role)
    app.after_request(_seal)
    # Pages show nobody what the gate would refuse: {% if may('projects.edit') %}.
    app.add_template_global(may, "may")


def may(endpoint: str) -> bool:
    """Whether who is logged in may use a view."""
    return endpoint in MEMBERS_MAY or me().user.is_admin


def _refuse_foreign() -> None:
    if csrf.is_foreign(
        method=request.method,
        fetch_site=request.headers.get("Sec-Fetch-Site"),
        origin=request.headers.get("Origin"),
        host=request.host,
        public_url=installation().config.public_url,
        has_cookie="connect.sid" in request.cookies,
        is_json=request.mimetype == "application/json",
    ):
        abort(403, "This request came from another site, or does not say where it came from.")


def _require_login() -> ResponseReturnValue | None:
    if request.endpoint in PUBLIC or (request.endpoint is None and request.routing_exception is None):
        return None
    if current_user.is_authenticated:
        return None
    if errors.wants_json():
        return errors.json_error(401, "Authentication required")
    target = request.full_path.rstrip("?") if request.method == "GET" else "/"
    return redirect(url_for("auth.login", next=target if target != "/" else None))


def _require_role() -> ResponseReturnValue | None:
    # No endpoint: an address that is none, or not for this method, is told as such.
    if request.endpoint is None or request.endpoint in PUBLIC or may(request.endpoint):
        return None
    return errors.answer(403, ADMINS_ONLY)


def _seal(response: Response) -> Response:
    headers = response.headers
    headers.setdefault("Content-Security-Policy", _POLICY)
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    headers.setdefault("Referrer-Policy", "same-origin")
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    if installation().config.is_behind_tls:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    if request.endpoint != "static":
        headers.setdefault("Cache-Control", "no-store")
    elif "v" not in request.args:
        # An address that stays the same over versions (see text.asset): asked again each time.
        headers["Cache-Control"] = "no-cache"
    return response
