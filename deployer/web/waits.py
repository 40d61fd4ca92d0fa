"""What queued deployments wait for, for the pages that show them."""

from __future__ import annotations

from flask import Flask, g

from deployer import clock
from deployer.deployments import waiting
from deployer.deployments.waiting import Waiting
from deployer.models.deployment import Deployment, Status
from deployer.models.project import Project
from deployer.web.context import orm

_NOTHING = Waiting((), "")


def init_app(app: Flask) -> None:
    app.add_template_global(of, "waits")
    app.add_template_global(closed_words, "closed_words")


def of(deployment: Deployment) -> Waiting:
    """What a deployment waits for; nothing where it is not queued. A page asks for the whole queue at once."""
    if deployment.status is not Status.QUEUED:
        return _NOTHING
    if "waiting" not in g:
        g.waiting = waiting.queue(orm.session().connection())
    found: Waiting = g.waiting.get(deployment.id, _NOTHING)
    return found


def closed_words(project: Project) -> str:
    """When a project's next window opens; empty while it may be deployed."""
    if not project.windows or project.id not in waiting.closed_projects(orm.session().connection()):
        return ""
    return waiting.window_words(project.windows, project.windows_zone, clock.now())
