"""``schedule``, ``project lock``, ``unlock`` and ``protect``, ``approve``, and what is told of what waits."""

from __future__ import annotations

import json

import pytest

from deployer import projects
from tests.support.signing import SshSigner


@pytest.fixture
def stored(operator):
    def read(name: str = "app"):
        with operator.database.write_session() as session:
            return projects.find(session, name)

    return read


def test_schedules_are_added_listed_and_removed(shell, make_project):
    make_project()
    assert "There is no schedule." in shell("schedule", "list").stdout

    said = shell("schedule", "add", "app", "0 3 * * *", "--zone", "Europe/Berlin").stdout

    assert said.startswith("Schedule 1 of app: every day at 03:00 Europe/Berlin; next: ")
    assert said.count(" 03:00") == 4
    (listed,) = json.loads(shell("schedule", "list", "app", "--json").stdout)
    assert (listed["project"], listed["expression"], listed["zone"]) == ("app", "0 3 * * *", "Europe/Berlin")
    assert "app      1       every day at 03:00 Europe/Berlin" in shell("schedule", "list").stdout
    shell("schedule", "rm", "app", "1")
    assert "The project has no schedule 1" in shell("schedule", "rm", "app", "1", code=1).stderr
    said = shell("schedule", "add", "app", "0 25 * * *", "--zone", "Berlin", code=1).stderr
    assert "expression: The hour is from 0 to 23" in said
    assert "zone: There is no time zone Berlin" in said


def test_a_project_is_frozen_and_what_waits_says_why(shell, operator, make_project, stored):
    project = make_project()
    shell("project", "lock", "app", "--because", "a sale")
    by = stored().locked_by

    said = shell("deploy", "app")

    words = f"frozen by {by} because a sale"
    assert f"It waits: {words}." in said.stderr
    ref = said.stdout.split()[0]
    assert f"queued: {words}" in shell("project", "list").stdout
    assert json.loads(shell("project", "show", "app", "--json").stdout)["locked_because"] == "a sale"
    assert f"{ref} is queued: {words}" in shell("logs", ref).stdout
    shell("project", "unlock", "app")
    assert stored().locked_at is None
    assert "app is not locked" in shell("project", "unlock", "app", code=1).stderr
    assert operator.deployments()[0].project_id == project.id


def test_windows_approval_and_signers_are_set_and_taken_away(shell, make_project, stored, tmp_path):
    make_project()
    signers, nobody = tmp_path / "signers", tmp_path / "nobody"
    signers.write_text(SshSigner(tmp_path, "Grace").line())
    nobody.touch()
    given = ("--window", "Mon-Fri 09:00-17:00", "--window", "Sat 10:00-12:00", "--zone", "Europe/Berlin")

    shell("project", "protect", "app", *given, "--approval", "--ssh-signers", str(signers))

    project = stored()
    assert project.windows == "Mon-Fri 09:00-17:00\nSat 10:00-12:00"
    assert (project.windows_zone, project.needs_approval) == ("Europe/Berlin", True)
    assert project.signature_signers == signers.read_text()
    shell("project", "protect", "app", "--window", "always", "--no-approval", "--ssh-signers", str(nobody))
    project = stored()
    assert (project.windows, project.needs_approval, project.signature_signers) == (None, False, None)
    assert "Say what to change" in shell("project", "protect", "app", code=2).stderr
    assert "windows: 'now'" in shell("project", "protect", "app", "--window", "now", code=1).stderr


def test_a_push_is_approved(shell, operator, make_project, stored):
    project = make_project()
    shell("project", "protect", "app", "--approval")
    pushed = operator.pushed(project, "a" * 40)

    assert "DEP-0001 is approved." in shell("approve", "DEP-0001").stdout
    assert operator.deployment(pushed).approved_by.endswith("(command line)")
    assert "needs no approval any more" in shell("approve", "DEP-0001", code=1).stderr
    assert "Deployment not found" in shell("approve", "DEP-0009", code=1).stderr


def test_a_manual_deployment_can_leave_the_windows_aside(shell, operator, make_project):
    make_project()
    shell("deploy", "app", "--outside-windows")

    (made,) = operator.deployments()
    assert (made.ignores_windows, made.approved_by) == (True, made.triggered_by)


def test_doctor_wants_gpg_only_where_keys_are_trusted(shell, operator, make_project, tmp_path):
    project = make_project()
    assert "gpg " not in shell("doctor", code=None, PATH=str(tmp_path)).stdout
    with operator.database.write_session() as session:
        projects.find(session, project.id).signature_keys = "a key"

    said = shell("doctor", code=1, PATH=str(tmp_path)).stdout

    assert "gpg is not installed." in said
    assert "apt-get install gnupg" in said
