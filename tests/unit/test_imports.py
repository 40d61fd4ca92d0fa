"""Imports go one way: entry points → runner and use cases → models → drivers → leaves."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "deployer"

LEAVES, DRIVERS, MODELS, USE_CASES, RUNNER, ENTRY_POINTS = range(6)

LEVELS = {
    "errors": LEAVES,
    "clock": LEAVES,
    "config": LEAVES,
    "config_file": LEAVES,
    "outbound": LEAVES,
    "systemd": LEAVES,
    "journal": LEAVES,
    "patience": LEAVES,
    "open_files": LEAVES,
    "mail_addresses": LEAVES,
    "scratch": LEAVES,
    "cron": LEAVES,
    "time_zones": LEAVES,
    "windows": LEAVES,
    "bell": DRIVERS,
    "db": DRIVERS,
    "sqlite": DRIVERS,
    "postgresql": DRIVERS,
    "providers": DRIVERS,
    "executors": DRIVERS,
    "commands": DRIVERS,
    "security": DRIVERS,
    "models": MODELS,
    "migrations": MODELS,
    "deployments": USE_CASES,
    "installation": USE_CASES,
    "projects": USE_CASES,
    "project_input": USE_CASES,
    "pushes": USE_CASES,
    "project_secrets": USE_CASES,
    "variables": USE_CASES,
    "key_rotation": USE_CASES,
    "settings": USE_CASES,
    "accounts": USE_CASES,
    "servers": USE_CASES,
    "server_check": USE_CASES,
    "working_copies": USE_CASES,
    "logins": USE_CASES,
    "sessions": USE_CASES,
    "two_factor": USE_CASES,
    "invitations": USE_CASES,
    "access": USE_CASES,
    "suggestions": USE_CASES,
    "webhook_check": USE_CASES,
    "webhook_answers": USE_CASES,
    "audit": USE_CASES,
    "counters": USE_CASES,
    "health": USE_CASES,
    "retention": USE_CASES,
    "backups": USE_CASES,
    "notifications": USE_CASES,
    "protection": USE_CASES,
    "signatures": USE_CASES,
    "runner": RUNNER,
}
"""What is not named here is an entry point, which may use everything and is used by no one below."""

ALONE = ("providers", "executors", "commands", "security")
"""Each of these can be read, tested and replaced alone."""

FLASK_MAY = ("web", "api", "hooks", "application", "cli", "serving", "web_worker")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    """The part of the program that a file belongs to: its package, or itself."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """The full names of the modules that a file imports anywhere."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            if node.module == "deployer":
                yield from (f"deployer.{name.name}" for name in node.names)
            else:
                yield node.module or ""


def own_parts(path: Path) -> set[str]:
    """The parts of the program that a file uses."""
    named = (name.split(".") for name in imports(path))
    found = {parts[1] for parts in named if parts[0] == "deployer" and len(parts) > 1}
    return {part for part in found if (PACKAGE / part).is_dir() or (PACKAGE / f"{part}.py").is_file()}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_imports_what_stands_above_it(path):
    own = LEVELS.get(part_of(path), ENTRY_POINTS)

    above = {part for part in own_parts(path) if LEVELS.get(part, ENTRY_POINTS) > own}

    assert not above


def test_every_part_that_has_a_level_exists():
    parts = {part_of(path) for path in modules()}

    assert not set(LEVELS) - parts


@pytest.mark.parametrize("part", ALONE)
def test_a_driver_knows_neither_the_web_nor_the_tables_nor_another_driver(part):
    for path in PACKAGE.joinpath(part).rglob("*.py"):
        assert own_parts(path) <= {part, "errors", "clock", "config", "outbound"}, path
        outside = {name.split(".")[0] for name in imports(path)}
        assert not outside & {"flask", "sqlalchemy", "alembic", "apscheduler", "werkzeug"}, path


def test_only_what_speaks_http_knows_flask():
    users = {part_of(path) for path in modules() if any(name.split(".")[0] == "flask" for name in imports(path))}

    assert users <= set(FLASK_MAY)


def test_only_the_runner_knows_the_scheduler():
    """When a cron expression is due is asked elsewhere too: that needs no scheduler."""
    of_part = {"apscheduler.triggers.cron": {"cron"}}
    for path in modules():
        for name in imports(path):
            if name.split(".")[0] == "apscheduler":
                assert part_of(path) in {"runner"} | of_part.get(name, set()), path


def test_the_runner_never_serves_http_and_the_web_never_runs_commands():
    for path in PACKAGE.joinpath("runner").rglob("*.py"):
        assert not own_parts(path) & {"web", "api", "hooks", "application"}, path
    for part in ("web", "api"):
        for path in PACKAGE.joinpath(part).rglob("*.py"):
            assert "runner" not in own_parts(path), path
            assert "LocalExecutor" not in path.read_text(), path


def test_only_the_two_lifecycles_write_a_status():
    """No other file holds an assignment to a status in an update, or an update of the table's status by hand.

    The outbox writes that of its own notifications.
    """
    writers = ("deployments/lifecycle.py", "deployments/command_lifecycle.py", "notifications/outbox.py")
    for path in modules():
        if path.relative_to(PACKAGE).as_posix() in writers:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "values":
                assert "status" not in {keyword.arg for keyword in node.keywords}, path


def test_who_sends_no_mail_does_not_carry_what_sending_needs():
    code = "import sys, deployer.runner.loop, deployer.application; print('smtplib' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
