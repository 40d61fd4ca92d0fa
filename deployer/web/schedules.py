"""A project's schedules: when its newest commit is deployed by itself."""

from __future__ import annotations

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from deployer import projects, time_zones
from deployer.deployments import schedules
from deployer.errors import InvalidInput, InvalidTransition
from deployer.models.schedule import Schedule
from deployer.web.context import changing, me, orm

EXAMPLES = (
    ("0 3 * * *", "every night at 3"),
    ("0 9 * * 1-5", "Monday to Friday at 9"),
    ("*/30 * * * *", "every 30 minutes"),
    ("0 4 1 * *", "on the first of every month at 4"),
)


def show(name: str) -> ResponseReturnValue:
    return _page(name)


def _page(name: str, *, errors: dict[str, str] | None = None) -> str:
    session = orm.session()
    project = projects.find(session, name)
    found = schedules.of_project(session, project.id)
    return render_template(
        "project_schedules.html",
        project=project,
        schedules=found,
        in_words=schedules.in_words,
        next_times=next_times,
        unrecovered=schedules.unrecovered,
        last=schedules.last_deployments(session, found),
        grace_h=schedules.GRACE.total_seconds() / 3600,
        examples=EXAMPLES,
        errors=errors or {},
        typed=request.form if errors else {},
        # The next one is mostly of the same place.
        zone=found[-1].zone if found else project.windows_zone,
        local=time_zones.with_date,
    )


def next_times(schedule: Schedule) -> list[str]:
    """On the clocks of its zone."""
    return [time_zones.with_date(at, schedule.zone) for at in schedules.next_times(schedule)]


def add(name: str) -> ResponseReturnValue:
    expression, zone = request.form.get("expression", "").strip(), request.form.get("zone", "").strip()
    try:
        with changing("schedule.added", name, f"{expression} {zone}") as session:
            made = schedules.add(session, projects.find(session, name).id, expression, zone, me().user.username)
            words = schedules.in_words(made)
    except InvalidInput as error:
        return _page(name, errors=error.fields), 400
    flash(f"Added: {words}.")
    return redirect(url_for("projects.schedules", name=name))


def enable(name: str, number: int) -> ResponseReturnValue:
    """``enabled`` is yes or no."""
    is_enabled = request.form.get("enabled") == "yes"
    action = "schedule.switched_on" if is_enabled else "schedule.switched_off"
    try:
        with changing(action, name, str(number)) as session:
            schedules.enable(session, projects.find(session, name).id, number, is_enabled=is_enabled)
    except InvalidTransition as error:
        flash(str(error))
    return redirect(url_for("projects.schedules", name=name))


def remove(name: str, number: int) -> ResponseReturnValue:
    with changing("schedule.removed", name, str(number)) as session:
        schedules.remove(session, projects.find(session, name).id, number)
    flash("The schedule is removed.")
    return redirect(url_for("projects.schedules", name=name))


RULES = (
    ("/<name>/schedules", "schedules", show, ["GET"]),
    ("/<name>/schedules", "add_schedule", add, ["POST"]),
    ("/<name>/schedules/<int:number>/enable", "enable_schedule", enable, ["POST"]),
    ("/<name>/schedules/<int:number>/delete", "remove_schedule", remove, ["POST"]),
)
