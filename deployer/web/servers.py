"""Servers: their list, their page with the three steps of setting one up, and their form."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from deployer import server_check, servers
from deployer.errors import ConnectionLost, InvalidInput, InvalidTransition, ServerRefused
from deployer.executors import host_keys
from deployer.executors.base import SYSTEM_PATH
from deployer.models.server import Server
from deployer.server_check import Report
from deployer.servers import ServerInput
from deployer.web.context import actor, changing, installation, orm

blueprint = Blueprint("servers", __name__, url_prefix="/servers")


@blueprint.get("")
def index() -> ResponseReturnValue:
    session = orm.session()
    return render_template("servers.html", servers=servers.listed(session), reports=_reports(session))


def _reports(session: Session) -> dict[str, Report]:
    return {one.id: Report.from_json(one.test_report) for one, _count in servers.listed(session) if one.test_report}


# The page -------------------------------------------------------------------------------------------------------


@blueprint.get("/<server_name>")
def show(server_name: str) -> ResponseReturnValue:
    return _page(_find(server_name))


def _find(name: str, session: Session | None = None) -> Server:
    return servers.find(session or orm.session(), name)


def _page(server: Server, errors: dict[str, str] | None = None) -> str:
    return render_template(
        "server.html",
        server=server,
        projects=servers.projects_of(orm.session(), server),
        authorized_keys=servers.authorized_keys(server),
        pinned=_shown(server.host_key),
        offered=_shown(server.offered_host_key),
        report=Report.from_json(server.test_report) if server.test_report else None,
        system_path=SYSTEM_PATH,
        errors=errors or {},
    )


def _shown(host_key: str | None) -> dict[str, str] | None:
    """A host key as people compare it."""
    if host_key is None:
        return None
    return {"kind": host_keys.kind(host_key), "fingerprint": host_keys.fingerprint(host_key)}


# The form -------------------------------------------------------------------------------------------------------


@blueprint.route("/new", methods=["GET", "POST"])
def create() -> ResponseReturnValue:
    if request.method != "POST":
        return _form(MultiDict({"port": "22", "username": "deploy"}), None)
    try:
        wanted = _wanted()
        with changing("server.created", wanted.name) as session:
            server = servers.create(session, wanted, installation().vault)
    except InvalidInput as error:
        return _form(request.form, None, error.fields), 400
    _scan(server)
    return redirect(url_for("servers.show", server_name=server.name))


@blueprint.route("/<server_name>/edit", methods=["GET", "POST"])
def edit(server_name: str) -> ResponseReturnValue:
    server = _find(server_name)
    if request.method != "POST":
        return _form(_filled(server), server)
    try:
        wanted = _wanted()
        with changing("server.changed", wanted.name) as session:
            changed = _find(server_name, session)
            servers.update(session, changed, wanted)
    except InvalidInput as error:
        return _form(request.form, server, error.fields), 400
    except InvalidTransition as error:
        return _form(request.form, server, {"host": str(error)}), 409
    if changed.host_key is None:
        _scan(changed)
    flash("Saved.")
    return redirect(url_for("servers.show", server_name=wanted.name))


def _wanted() -> ServerInput:
    form = request.form
    port = form.get("port", "").strip()
    return ServerInput(
        name=form.get("name", "").strip(),
        host=form.get("host", "").strip(),
        # What is no number is out of bounds too, and is told so at its field.
        port=int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0,
        username=form.get("username", "").strip(),
        extra_path=form.get("extra_path", ""),
    )


def _filled(server: Server) -> MultiDict[str, str]:
    return MultiDict(
        {
            "name": server.name,
            "host": server.host,
            "port": str(server.port),
            "username": server.username,
            "extra_path": server.extra_path or "",
        }
    )


def _form(given: MultiDict[str, str], server: Server | None, errors: dict[str, str] | None = None) -> str:
    return render_template(
        "server_form.html", given=given, server=server, errors=errors or {}, system_path=SYSTEM_PATH
    )


@blueprint.route("/<server_name>/delete", methods=["GET", "POST"])
def delete(server_name: str) -> ResponseReturnValue:
    server = _find(server_name)
    if request.method != "POST":
        return _deletion(server)
    try:
        with changing("server.deleted", server.name) as session:
            servers.delete(session, _find(server_name, session))
    except InvalidTransition as error:
        return _deletion(server, str(error)), 409
    flash(f"{server.name} was removed. Take its line out of ~/.ssh/authorized_keys there.")
    return redirect(url_for("servers.index"))


def _deletion(server: Server, error: str | None = None) -> str:
    in_use = servers.projects_of(orm.session(), server)
    return render_template("server_delete.html", server=server, projects=in_use, error=error)


# The three steps ------------------------------------------------------------------------------------------------


@blueprint.post("/<server_name>/scan")
def scan(server_name: str) -> ResponseReturnValue:
    server = _find(server_name)
    error = _scan(server)
    if error:
        return _page(_find(server_name), {"scan": error}), 502
    return redirect(url_for("servers.show", server_name=server_name, _anchor="host-key"))


def _scan(server: Server) -> str | None:
    """Look at the host key that a server offers, outside any transaction; why that did not work."""
    server_id, name = server.id, server.name
    _let_go()
    try:
        offered = servers.scan(server)
    except (ConnectionLost, ServerRefused) as error:
        return str(error)
    with changing("server.scanned", name) as session:
        servers.offer(_find(server_id, session), offered)
    return None


@blueprint.post("/<server_name>/trust")
def trust(server_name: str) -> ResponseReturnValue:
    given = request.form.get("fingerprint", "")
    try:
        with changing("server.trusted", server_name, given) as session:
            servers.trust(_find(server_name, session), given)
    except InvalidInput as error:
        return _page(_find(server_name), error.fields), 400
    return redirect(url_for("servers.show", server_name=server_name, _anchor="test"))


@blueprint.post("/<server_name>/test")
def test(server_name: str) -> ResponseReturnValue:
    _find(server_name)
    _let_go()
    server_check.test(installation(), server_name, actor())
    return redirect(url_for("servers.show", server_name=server_name, _anchor="test"))


@blueprint.post("/<server_name>/key")
def make_key(server_name: str) -> ResponseReturnValue:
    with changing("server.key_made", server_name) as session:
        servers.make_key(_find(server_name, session), installation().vault)
    flash("The server has a new key. Until its line is there, deployments fail.")
    return redirect(url_for("servers.show", server_name=server_name))


def _let_go() -> None:
    """A question to a server may take seconds: no snapshot of the database is held open meanwhile."""
    orm.session().expunge_all()
    orm.session().rollback()
