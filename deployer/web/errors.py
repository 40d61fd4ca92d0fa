"""Every error is an answer in the asker's language: JSON for the API, a page for a browser."""

from __future__ import annotations

import logging

from flask import Flask, Response, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import DBAPIError
from werkzeug.exceptions import HTTPException

from deployer.errors import DeployerError, InvalidInput, InvalidTransition, NotFound, QueueFull, StorageUnavailable

log = logging.getLogger("deployer.web")

JSON_PATHS = ("/deploy", "/email/test")
_STATUS_OF: dict[type[DeployerError], int] = {
    NotFound: 404,
    InvalidInput: 400,
    InvalidTransition: 409,
    QueueFull: 429,
    StorageUnavailable: 503,
}


def init_app(app: Flask) -> None:
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(DeployerError, _deployer_error)
    app.register_error_handler(DBAPIError, _database_error)
    app.register_error_handler(Exception, _unexpected)


def wants_json() -> bool:
    """Whether the asker is a program: by the address, or by what it sent or accepts."""
    path = request.path
    if path in JSON_PATHS or path.startswith("/deploy/") or path.endswith("/stream"):
        return True
    accepted = request.accept_mimetypes
    return request.mimetype == "application/json" or (
        accepted.quality("application/json") > accepted.quality("text/html")
    )


def json_error(status: int, message: str) -> Response:
    response = jsonify(success=False, error=message)
    response.status_code = status
    return response


def answer(status: int, message: str) -> Response:
    if wants_json():
        response = json_error(status, message)
    else:
        response = Response(render_template("error.html", status=status, message=message), status)
    if status in (429, 503):
        response.headers["Retry-After"] = "60"
    return response


_WORDS = {
    404: "There is no such page.",
    405: "This address does not take that kind of request.",
    408: "The request came too slowly.",
    413: "What was sent is too large.",
}


def _http_error(error: HTTPException) -> ResponseReturnValue:
    if error.code is None or error.code < 400:
        return error
    # Werkzeug's own sentences are for developers; ours (given to abort) are kept.
    message = _WORDS.get(error.code) or error.description or error.name
    response = answer(error.code, message)
    for name, value in error.get_headers():
        if name == "Allow":
            response.headers[name] = value
    return response


def _deployer_error(error: DeployerError) -> ResponseReturnValue:
    return answer(next((status for kind, status in _STATUS_OF.items() if isinstance(error, kind)), 500), str(error))


def _database_error(error: DBAPIError) -> ResponseReturnValue:
    log.error("the database could not be read: %s", error)
    return answer(503, "The database cannot be read at the moment. The daemon's log says why.")


def _unexpected(error: Exception) -> ResponseReturnValue:
    log.exception("%s %s failed", request.method, request.path)
    return answer(500, "Something went wrong inside Deployer. The daemon's log says what.")
