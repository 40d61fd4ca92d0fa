"""A project's page, as it stands or with the answer to a small action on it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from flask import render_template, request
from sqlalchemy.orm import Session

from deployer import project_secrets, retention, variables
from deployer.deployments import reading, runners
from deployer.deployments.deliveries import unverified_counter
from deployer.models.delivery import Counter, Delivery, Verdict
from deployer.models.project import Project
from deployer.pushes import provider_of
from deployer.web import releases
from deployer.web.context import installation, me, orm

SHOWN_DEPLOYMENTS = 10
SHOWN_DELIVERIES = 10
SHOWN_UNVERIFIED = 5
"""Of what strangers can send only a few, so that it hides nothing else."""


def show(project: Project, *, errors: dict[str, str] | None = None, access_said: dict[str, str] | None = None) -> str:
    session = orm.session()
    deployments = reading.of_project(session, project.id, SHOWN_DEPLOYMENTS + 1)
    deliveries = _newest_deliveries(session, project.id)
    return render_template(
        "project.html",
        project=project,
        releases=releases.shown(session, project),
        deployments=deployments[:SHOWN_DEPLOYMENTS],
        elsewhere=runners.elsewhere(session.connection(), project, installation().host_id),
        has_older=len(deployments) > SHOWN_DEPLOYMENTS,
        deliveries=deliveries,
        led_to=reading.led_to(session, deliveries),
        last_right=reading.last_right_delivery(session, project.id),
        **connection_facts(project),
        live_sha=reading.live_sha(session.connection(), project.id),
        given=variables.given(project, variables.of_all_projects(session.connection())),
        has_token=project.https_token is not None,
        errors=errors or {},
        typed=request.form if errors else {},
        access=access_said,
        default_timeout=installation().config.runner.default_timeout,
        kept=retention.limits(project.keep_deployments, project.keep_days, installation().config.retention).in_words,
    )


def connection_facts(project: Project) -> dict[str, Any]:
    """What ``connect.html`` shows of a project's webhook."""
    counted = sa.select(Counter.value).where(Counter.name == unverified_counter(project.id))
    return {
        "provider": provider_of(project),
        "webhook_url": webhook_url(project),
        "webhook_secret": _webhook_secret(project),
        "unverified": orm.session().scalar(counted) or 0,
    }


def _webhook_secret(project: Project) -> str:
    """Only for who may see it: the page of everybody else does not even hold it."""
    if not me().user.is_admin:
        return ""
    return project_secrets.webhook_secret(project, installation().vault).decode()


def _newest_deliveries(session: Session, project_id: str) -> list[Delivery]:
    newest = (
        sa.select(Delivery)
        .where(Delivery.project_id == project_id)
        .order_by(Delivery.received_at.desc(), Delivery.id.desc())
    )
    is_unverified = Delivery.verdict == Verdict.UNVERIFIED
    found = [
        *session.scalars(newest.where(~is_unverified).limit(SHOWN_DELIVERIES)),
        *session.scalars(newest.where(is_unverified).limit(SHOWN_UNVERIFIED)),
    ]
    return sorted(found, key=lambda one: (one.received_at, one.id), reverse=True)


def webhook_url(project: Project) -> str:
    return f"{installation().config.public_url}/webhook/{project.id}"
