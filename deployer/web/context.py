"""What every view leans on: the installation, the request's read session, and who is asking."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from flask import current_app, request
from flask_login import UserMixin, current_user
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from deployer import audit
from deployer.audit import Actor
from deployer.installation import Installation
from deployer.models import Base
from deployer.models.user import User


class _Reading(SQLAlchemy):
    """Flask-SQLAlchemy over the installation's own engine, so that both share its rules and connections."""

    def _make_engine(self, bind_key: str | None, options: object, app: object) -> Engine:
        return cast(Engine, app.extensions["deployer"].database.engine)  # type: ignore[attr-defined]


orm = _Reading(metadata=Base.metadata)
"""``orm.session`` is the request's session for reading. Writes take `Database.write_session`, short and immediate."""


class LoggedIn(UserMixin):  # type: ignore[misc]
    """Flask-Login's view of a user: known by the session's token, so that a session can be ended on the server."""

    def __init__(self, user: User, token: str) -> None:
        self.user = user
        self.token = token

    def get_id(self) -> str:
        return self.token


def installation() -> Installation:
    return cast(Installation, current_app.extensions["deployer"])


def me() -> LoggedIn:
    """Who is asking. Only where the route needs a login."""
    return cast(LoggedIn, current_user._get_current_object())


def remote_address() -> str:
    return request.remote_addr or ""


def actor() -> Actor:
    """Who asks, as the audit log names them. Only where the route needs a login."""
    return Actor(me().user.username, remote_address())


@contextmanager
def changing(action: str, subject: str = "", detail: str | None = None) -> Iterator[Session]:
    """A write transaction for what a person asks for, noted in the audit log. Every view that changes something
    takes it, or calls a use case that does the same."""
    with audit.changing(installation().database, actor(), action, subject, detail) as session:
        yield session
