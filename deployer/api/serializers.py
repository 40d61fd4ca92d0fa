"""Rows as the JSON that the contract of the session API names."""

from __future__ import annotations

from typing import Any

from deployer.clock import iso
from deployer.deployments.waiting import Waiting
from deployer.models.deployment import Command, Deployment, Status
from deployer.models.notification import BY_MAIL
from deployer.models.project import Project
from deployer.models.schedule import Schedule

_VERDICT = {
    Status.SUCCESS: True,
    Status.FAILED: False,
    Status.CANCELLED: False,
    Status.INTERRUPTED: False,
}


def deployment(row: Deployment) -> dict[str, Any]:
    return {
        "id": row.id,
        "proj_id": row.project_id,
        "started_at": iso(row.started_at),
        "finished_at": iso(row.finished_at),
        "status": row.status.value,
        "ref": row.ref,
        "cause": row.cause,
        "trigger": row.trigger.value,
        "commit_sha": row.sha,
        "queued_at": iso(row.queued_at),
        "retry_of": row.retry_of,
        "from_step": row.from_step,
    }


def waits(found: Waiting | None) -> dict[str, Any]:
    """What a queued deployment waits for, in words; null where it has begun, or is about to."""
    return {"waits_for": (found.words or None) if found else None}


def live_deployment(row: Deployment) -> dict[str, Any]:
    """A deployment as the live page hears of it: a request to cancel it is news too."""
    return {**deployment(row), "cancel_requested_at": iso(row.cancel_requested_at)}


def log_entry(row: Command, log: bytes) -> dict[str, Any]:
    """One executed command: try ``attempt`` of at most ``tries``. ``success`` is null while it runs."""
    return {
        "id": row.id,
        "deploy_id": row.deployment_id,
        "cmd": row.line,
        "log": log.decode("utf-8", "replace"),
        "success": _VERDICT.get(row.status),
        "started_at": iso(row.started_at),
        "finished_at": iso(row.finished_at),
        "status": row.status.value,
        "attempt": row.attempt,
        "tries": row.tries,
    }


def project(row: Project) -> dict[str, Any]:
    return {"id": row.id, "name": row.name, "github_url": row.repository_url, "branch_name": row.branch}


def project_settings(row: Project) -> dict[str, Any]:
    """All that a person entered for a project, but for its secrets and variables."""
    return {
        "id": row.id,
        "name": row.name,
        "repository": row.repository_url,
        "branch": row.branch,
        "server": row.server.name if row.server else None,
        "path": row.path,
        "strategy": row.strategy.value,
        "shared_paths": row.shared_paths.splitlines(),
        "keep_releases": row.keep_releases,
        "health_url": row.health_url,
        "health_command": row.health_command,
        "health_status": row.health_status,
        "health_tries": row.health_tries,
        "health_interval_s": row.health_interval_s,
        "health_deadline_s": row.health_deadline_s,
        "shell": row.shell,
        "auto_deploy": row.auto_deploy,
        "provider": row.provider,
        **{name: getattr(row, name) for name in ("hook_header", "hook_prefix", "hook_ref", "hook_commit")},
        "branches": row.branch_patterns.splitlines(),
        "tags": row.tag_patterns.splitlines(),
        "watched_paths": row.watched_paths.splitlines(),
        "ignored_paths": row.ignored_paths.splitlines(),
        "skip_markers": row.skip_markers.splitlines(),
        "cancel_running": row.cancel_running,
        "rerun_interrupted": row.rerun_interrupted,
        "poll_minutes": row.poll_minutes,
        "keep_deployments": row.keep_deployments,
        "keep_days": row.keep_days,
        **{f"mail_on_{occasion}": getattr(row, f"mail_on_{occasion}") for occasion in BY_MAIL},
        "mail_to": row.mail_to,
        "steps": [
            {
                "name": step.name,
                "command": step.command,
                "phase": step.phase.value,
                "timeout_s": step.timeout_s,
                "retries": step.retries,
                "retry_wait_s": step.retry_wait_s,
            }
            for step in row.steps
        ],
    }


def last_look(row: Project) -> dict[str, Any]:
    """When the project's repository last answered, with which commit, and why it could not be looked at since."""
    return {"polled_at": iso(row.polled_at), "polled_sha": row.polled_sha, "poll_error": row.poll_error}


def protection(row: Project) -> dict[str, Any]:
    """What a project waits for before it is deployed, and whether it takes any commit."""
    return {
        "locked_by": row.locked_by,
        "locked_because": row.locked_because,
        "locked_at": iso(row.locked_at),
        "windows": row.windows.splitlines() if row.windows else [],
        "windows_zone": row.windows_zone,
        "needs_approval": row.needs_approval,
        "requires_signature": row.requires_signature,
    }


def schedule(row: Schedule) -> dict[str, Any]:
    return {
        "number": row.number,
        "expression": row.expression,
        "zone": row.zone,
        "is_enabled": row.is_enabled,
        "next_at": iso(row.next_at),
        "last_at": iso(row.last_at),
        "last_deployment_id": row.last_deployment_id,
        "missed_at": iso(row.missed_at),
        "missed_because": row.missed_because,
    }


def command_state(row: Command) -> dict[str, Any]:
    """A command as the live page shows it."""
    return {
        "id": row.id,
        "position": row.position,
        "attempt": row.attempt,
        "tries": row.tries,
        "name": row.name,
        "cmd": row.line,
        "status": row.status.value,
        "cause": row.cause,
        "exit_code": row.exit_code,
        "started_at": iso(row.started_at),
        "finished_at": iso(row.finished_at),
    }
