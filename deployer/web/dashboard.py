"""Home: what runs, what waits, what failed, and every project with its last deployment."""

from __future__ import annotations

import sqlalchemy as sa
from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from deployer.deployments import reading
from deployer.models.deployment import Status
from deployer.models.project import Project
from deployer.web.context import orm

blueprint = Blueprint("dashboard", __name__)


@blueprint.get("/")
def home() -> ResponseReturnValue:
    session = orm.session()
    projects = session.scalars(sa.select(Project).order_by(sa.func.lower(Project.name))).all()
    newest = reading.newest_of_each(session)
    active = reading.active(session)
    return render_template(
        "home.html",
        projects=projects,
        newest=newest,
        running=[one for one in active if one.status is Status.RUNNING],
        queued=[one for one in active if one.status is Status.QUEUED],
        failed=[
            project
            for project in projects
            if project.id in newest and newest[project.id].status in (Status.FAILED, Status.INTERRUPTED)
        ],
    )
