"""Schedules and protection in the dashboard: entered, shown, refused at their fields; and why something waits."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from deployer.deployments import schedules
from deployer.models import Project
from deployer.models.base import table_of
from deployer.models.deployment import Status
from tests.support.signing import OpenPgpSigner, SshSigner

DAY = f"{datetime.now(ZoneInfo('Europe/Berlin')) + timedelta(days=3):%a}"
"""A day of the week on which this test does not end."""

_projects = table_of(Project)


@pytest.fixture
def stored(operator, project):
    def read():
        (row,) = operator.rows(_projects.select().where(_projects.c.id == project.id))
        return row

    return read


@pytest.fixture
def at(project):
    return lambda place="": f"/projects/{project.name}{place}"


# The lock


def test_a_frozen_project_says_so_and_what_comes_waits_until_it_is_unlocked(admin, operator, project, at, stored):
    assert "Say why" in admin.post(at("/lock"), {"because": " "}).page.find(id="because-error").words

    assert admin.post(at("/lock"), {"because": "the sale ends on Sunday"}).status == 302
    pushed = operator.pushed(project, "a" * 40)
    by_hand = operator.deploy(project, is_admin=True)

    words = "frozen by ada because the sale ends on Sunday"
    assert (stored().locked_by, stored().locked_because) == ("ada", "the sale ends on Sunday")
    assert words in admin.get(at()).page.find(id="held").words.replace("Frozen", "frozen").replace("just now ", "")
    assert f"Waits: {words}." in admin.get(f"/deployments/{pushed}").page.find(id="waits").words
    assert f"Waits: {words}" in admin.get(f"/deployments?project={project.name}").page.words
    assert admin.get(f"/deploy/{by_hand}").json["deployment"]["waits_for"] == words
    assert operator.status(pushed) is Status.QUEUED
    operator.cancel(pushed)
    assert admin.post(at("/unlock")).status == 302
    assert operator.wait_for_end(by_hand).status == "success"
    assert admin.get(f"/deploy/{by_hand}").json["deployment"]["waits_for"] is None
    assert "unlocked already" in admin.get(admin.post(at("/unlock")).location).page.words


def test_members_see_why_something_waits_but_cannot_unlock_it(admin, plain_member, operator, project, at):
    admin.post(at("/lock"), {"because": "a sale"})
    queued = operator.deploy(project)

    page = plain_member.get(at()).page

    assert "Frozen by ada" in page.words
    assert not page.find_all("button", id="unlock")
    assert "Waits: frozen by ada because a sale." in plain_member.get(f"/deployments/{queued}").page.words
    assert plain_member.get(at("/protection")).status == 403


# Windows


def test_outside_the_windows_things_wait_and_an_administrator_need_not(
    admin, plain_member, operator, project, at, stored
):
    given = {"windows": f"{DAY} 09:00 – 17:00\n\n", "windows_zone": "Europe/Berlin"}
    assert admin.post(at("/windows"), given).status == 302
    assert stored().windows == f"{DAY} 09:00 – 17:00"
    queued = operator.deploy(project)
    words = admin.get(f"/deployments/{queued}").page.find(id="waits").words
    assert f"Waits: the next deploy window opens {DAY} 09:00 (Europe/Berlin)." in words
    assert not plain_member.get(at()).page.find_all("button", id="deploy-outside")
    assert plain_member.post(at("/deploy"), {"ignores_windows": "on"}).status == 400

    assert "Deploy now, outside the window" in admin.get(at()).page.words
    answer = admin.post(at("/deploy"), {"ignores_windows": "on"})

    ended = operator.wait_for_end(answer.location.rpartition("/")[2])
    assert (ended.status, ended.ignores_windows) == ("success", True)
    assert "not waited for" in admin.get(answer.location).page.words
    assert operator.status(queued) is Status.QUEUED
    first = admin.get("/settings/audit").page.find_all("li", class_="event")[0]
    assert first.words.startswith(f"deployment.requested {project.name} outside the windows ada")


def test_windows_that_cannot_be_read_are_refused_at_their_fields_and_kept_there(admin, at, stored):
    page = admin.post(at("/windows"), {"windows": "Mon 9-17", "windows_zone": "Berlin"}).page

    assert "There is no time zone Berlin" in page.find(id="windows_zone-error").words
    assert page.value("windows_zone") == "Berlin"
    assert "Mon 9-17" in page.find("textarea", id="windows").words
    page = admin.post(at("/windows"), {"windows": "Mon 9-17", "windows_zone": "UTC"}).page
    assert "'Mon 9-17' is not understood." in page.find(id="windows-error").words
    assert stored().windows is None


# Approval


@pytest.fixture
def facts(admin):
    """What a deployment's page lists of it, by the labels."""

    def read(deployment_id: str) -> dict[str, str]:
        listed = admin.get(f"/deployments/{deployment_id}").page.find("dl", class_="facts-list")
        names = [one.words for one in listed.find_all("dt")]
        return dict(zip(names, [one.words for one in listed.find_all("dd")], strict=True))

    return read


def test_approval_is_refused_at_its_field_where_no_certain_commit_can_be_brought(
    admin, operator, project, at, stored
):
    operator.change(project, steps=["git pull && npm ci"])

    answer = admin.post(at("/approval"), {"needs_approval": "on"})

    assert answer.status == 400
    assert answer.page.find(id="needs_approval-error").words.startswith("The first step does more than git pull")
    assert not stored().needs_approval


def test_a_push_waits_for_an_administrators_click(admin, plain_member, operator, project, at, repository, facts):
    assert admin.post(at("/approval"), {"needs_approval": "on"}).status == 302
    first = operator.pushed(project, repository.tip())
    page = plain_member.get(f"/deployments/{first}").page
    assert "Waits: an administrator has to approve it." in page.words
    assert not page.find_all("button", id="approve")
    assert plain_member.post(f"/deployments/{first}/approve").status == 403
    second = operator.pushed(project, repository.tip())

    refused = admin.post(f"/deployments/{first}/approve")
    page = admin.get(f"/deployments/{second}").page

    assert (refused.status, "it is superseded" in refused.page.find(role="alert").words) == (409, True)
    assert page.find("button", id="cancel").words == "Reject"
    assert admin.post(f"/deployments/{second}/approve").status == 302
    assert operator.wait_for_end(second).status == "success"
    assert facts(second)["Approved"] == "by ada"
    # It is not said of what they asked for themselves.
    own = admin.post(at("/deploy")).location.rpartition("/")[2]
    assert operator.wait_for_end(own).status == "success"
    assert "Approved" not in facts(own)
    assert admin.post(at("/approval")).status == 302


# Signatures


def test_keys_are_entered_and_shown_by_name_and_fingerprint(admin, at, stored, tmp_path):
    ada, grace = OpenPgpSigner("Ada"), SshSigner(tmp_path, "Grace")
    key = ada.public_key
    ada.close()
    given = {"signature_keys": key.replace("\n", "\r\n"), "signature_signers": grace.line()}

    assert admin.post(at("/signers"), given).status == 302

    words = admin.get(at("/protection")).page.find("ul", class_="signers").words
    assert "Ada <ada@example.com>" in words
    assert "grace@example.com SHA256:" in words
    assert stored().signature_keys == key.strip()
    assert "signed commits only" in admin.get(at()).page.words
    page = admin.post(at("/signers"), {"signature_keys": "nonsense", "signature_signers": "nonsense"}).page
    assert "This is no OpenPGP key." in page.find(id="signature_keys-error").words
    assert "Line 1 is not understood." in page.find(id="signature_signers-error").words
    assert admin.post(at("/signers"), {"signature_keys": "", "signature_signers": ""}).status == 302
    assert (stored().signature_keys, stored().signature_signers) == (None, None)


# Schedules


def test_a_schedule_is_added_switched_off_and_on_and_removed(admin, at):
    page = admin.get(at("/schedules")).page
    assert "No schedule yet" in page.words
    assert "0 3 * * *" in page.words

    given = {"expression": "30 4 * * 1-5", "zone": "Europe/Berlin"}
    answer = admin.post(at("/schedules"), given)
    words = admin.get(answer.location).page.find("ul", class_="schedules").words

    assert "Monday to Friday at 04:30 Europe/Berlin 30 4 * * 1-5 Next: " in words
    assert words.partition("Next: ")[2].count("04:30,") == 2
    admin.post(at("/schedules/1/enable"), {"enabled": "no"})
    words = admin.get(at("/schedules")).page.find("ul", class_="schedules").words
    assert ("switched off" in words, "Next:" in words) == (True, False)
    admin.post(at("/schedules/1/enable"), {"enabled": "yes"})
    assert "Next:" in admin.get(at("/schedules")).page.words
    assert admin.post(at("/schedules/1/delete")).status == 302
    assert admin.post(at("/schedules/1/delete")).status == 404
    assert "No schedule yet" in admin.get(at("/schedules")).page.words


def test_a_schedule_that_cannot_be_one_is_refused_at_its_fields(admin, at):
    page = admin.post(at("/schedules"), {"expression": "0 25 * * *", "zone": "Berlin"}).page

    assert "The hour is from 0 to 23" in page.find(id="expression-error").words
    assert "There is no time zone Berlin" in page.find(id="zone-error").words
    assert (page.value("expression"), page.value("zone")) == ("0 25 * * *", "Berlin")


def test_what_was_missed_is_shown_until_it_is_made_good(admin, operator, project, at):
    with operator.database.write_session() as session:
        made = schedules.add(session, project.id, "0 0 1 1 *", "UTC", "ada")
        made.missed_at, made.missed_because = made.created_at, schedules.NOT_RUNNING

    words = admin.get(at("/schedules")).page.words
    assert "Missed at " in words
    assert ": the runner was not running." in words
    with operator.database.write_session() as session:
        found = schedules.find(session, project.id, 1)
        found.last_at = found.missed_at
    assert "Missed at" not in admin.get(at("/schedules")).page.words
