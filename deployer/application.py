"""create_app: wires the parts together, nothing else."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask
from flask_login import LoginManager
from werkzeug.middleware.proxy_fix import ProxyFix

from deployer import hooks
from deployer.api import session_api, streams
from deployer.api.documents import Documents
from deployer.installation import Installation
from deployer.security import keyfile
from deployer.web import (
    account,
    audit,
    auth,
    channels,
    dashboard,
    deployments,
    errors,
    gate,
    health,
    mail,
    projects,
    servers,
    settings,
    text,
    users,
    variables,
    waits,
)
from deployer.web.context import orm

_ROOT = Path(__file__).resolve().parent.parent
MAX_FORM_BYTES = 2 * 1024 * 1024


def create_app(installation: Installation) -> Flask:
    """The web application of an installation, with the webhook receiver in front of it."""
    config = installation.config
    app = Flask("deployer", root_path=str(_ROOT))
    app.config.update(
        SECRET_KEY=keyfile.derive(installation.key, "session").hex(),
        SESSION_COOKIE_NAME="connect.sid",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=config.is_behind_tls,
        PERMANENT_SESSION_LIFETIME=timedelta(days=config.auth.session_days),
        MAX_CONTENT_LENGTH=MAX_FORM_BYTES,
        MAX_FORM_MEMORY_SIZE=MAX_FORM_BYTES,
        SQLALCHEMY_DATABASE_URI=str(installation.database.engine.url),
        # Their addresses name their version, so that they may be kept (see gate for those that do not).
        SEND_FILE_MAX_AGE_DEFAULT=timedelta(days=365),
    )
    app.json = Documents(app)
    # Fields in the order in which they are documented.
    app.json.sort_keys = False
    app.extensions["deployer"] = installation
    orm.init_app(app)
    text.init_app(app)
    waits.init_app(app)
    errors.init_app(app)
    login_manager = LoginManager(app, add_context_processor=False)
    login_manager.user_loader(auth.load_user)
    gate.init_app(app)
    health.init_app(app)
    parts = (
        auth,
        account,
        dashboard,
        projects,
        deployments,
        servers,
        settings,
        mail,
        channels,
        users,
        audit,
        variables,
        health,
        session_api,
        streams,
    )
    for part in parts:
        app.register_blueprint(part.blueprint)
    receive = app.extensions["deployer.hooks"] = hooks.Receiver(installation)
    pages = app.wsgi_app

    def dispatch(environ: dict[str, Any], start_response: Any) -> Any:
        is_hook = environ["PATH_INFO"].startswith(hooks.PREFIX)
        return receive(environ, start_response) if is_hook else pages(environ, start_response)

    app.wsgi_app = dispatch  # type: ignore[method-assign]
    proxies = config.server.trusted_proxies
    if proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies)  # type: ignore[method-assign]
    return app
