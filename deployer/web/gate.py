"""The gate in front of every page: who may pass, and what leaves with the answer."""

from __future__ import annotations

from flask import Flask, Response, abort, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from deployer.security import csrf
from deployer.web import errors
from deployer.web.context import installation

PUBLIC = frozenset(("auth.login", "auth.setup", "static"))
"""The views that need no login. Every other one, a new one too, is closed to strangers."""

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
    app.after_request(_seal)


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


def _seal(response: Response) -> Response:
    headers = response.headers
    headers.setdefault("Content-Security-Policy", _POLICY)
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    headers["Referrer-Policy"] = "same-origin"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    if installation().config.is_behind_tls:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    if request.endpoint != "static":
        headers.setdefault("Cache-Control", "no-store")
    elif "v" not in request.args:
        # An address that stays the same over versions (see text.asset): asked again each time.
        headers["Cache-Control"] = "no-cache"
    return response
