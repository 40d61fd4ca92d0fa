"""``GET /health``: for monitors, without a login; and the banner that tells people what it says."""

from __future__ import annotations

from typing import cast

from flask import Blueprint, Flask, current_app, jsonify
from flask.typing import ResponseReturnValue

from deployer.health import Check, Health

blueprint = Blueprint("health", __name__)


def init_app(app: Flask) -> None:
    app.extensions["deployer.health"] = Health(app.extensions["deployer"])
    app.add_template_global(troubles, "troubles")


def _health() -> Health:
    return cast(Health, current_app.extensions["deployer.health"])


def troubles() -> list[Check]:
    return _health().troubles()


@blueprint.get("/health")
def show() -> ResponseReturnValue:
    found = _health().checks()
    is_ok = all(one.is_ok for one in found)
    response = jsonify(
        status="ok" if is_ok else "failing",
        checks=[{"name": one.name, "ok": one.is_ok, "message": one.message} for one in found],
    )
    response.status_code = 200 if is_ok else 503
    return response
