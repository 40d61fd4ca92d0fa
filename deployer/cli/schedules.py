"""``schedule …``"""

from __future__ import annotations

import json

import click

from deployer.cli.context import Context


@click.group()
def schedule() -> None:
    """Times at which a project is deployed by itself."""


@schedule.command()
@click.argument("project")
@click.argument("expression")
@click.option("--zone", default="UTC", show_default=True, help="The time zone of it, such as Europe/Berlin.")
@click.pass_obj
def add(context: Context, project: str, expression: str, zone: str) -> None:
    """Deploy the newest commit of PROJECT whenever EXPRESSION is due: "0 3 * * *" is every night at 3."""
    from deployer import projects, time_zones
    from deployer.deployments import schedules

    with context.changing("schedule.added", project, f"{expression} {zone}") as session:
        made = schedules.add(session, projects.find(session, project).id, expression, zone, context.actor)
        number, words = made.number, schedules.in_words(made)
        times = [time_zones.with_date(at, made.zone) for at in schedules.next_times(made)]
    click.echo(f"Schedule {number} of {project}: {words}; next: {', '.join(times)}.")
    if not context.installation.runner_is_up:
        click.echo("The runner is not running, so nothing comes of it. Start it: python app.py serve", err=True)


@schedule.command("list")
@click.argument("project", required=False)
@click.option("--json", "as_json", is_flag=True, help="Answer with JSON.")
@click.pass_obj
def list_schedules(context: Context, project: str | None, as_json: bool) -> None:
    """All schedules, or those of PROJECT, with when they are due next and what was missed."""
    import sqlalchemy as sa
    from sqlalchemy.orm import Session

    from deployer import projects, time_zones
    from deployer.api import serializers
    from deployer.cli.projects import table
    from deployer.deployments import schedules
    from deployer.models.project import Project

    with Session(context.installation.database.engine) as session:
        named = [projects.find(session, project)] if project else None
        rows = []
        for one in named or session.scalars(sa.select(Project).order_by(Project.name)):
            for found in schedules.of_project(session, one.id):
                missed = schedules.unrecovered(found)
                facts = serializers.schedule(found) | {"project": one.name, "words": schedules.in_words(found)}
                cells = [
                    one.name,
                    str(found.number),
                    schedules.in_words(found),
                    time_zones.with_date(found.next_at, found.zone) if found.next_at else "switched off",
                    f"missed at {time_zones.with_date(missed, found.zone)}: {found.missed_because}" if missed else "",
                ]
                rows.append((facts, cells))
    if as_json:
        click.echo(json.dumps([facts for facts, _ in rows]))
    elif not rows:
        click.echo(
            'There is no schedule. Add one: python app.py schedule add PROJECT "0 3 * * *" --zone Europe/Berlin'
        )
    else:
        click.echo(table([["PROJECT", "NUMBER", "DUE", "NEXT", ""], *(cells for _, cells in rows)]))


@schedule.command("rm")
@click.argument("project")
@click.argument("number", type=click.IntRange(1, 10**6))
@click.pass_obj
def remove(context: Context, project: str, number: int) -> None:
    """Remove schedule NUMBER of PROJECT."""
    from deployer import projects
    from deployer.deployments import schedules

    with context.changing("schedule.removed", project, str(number)) as session:
        schedules.remove(session, projects.find(session, project).id, number)
    click.echo(f"Schedule {number} of {project} is removed.")
