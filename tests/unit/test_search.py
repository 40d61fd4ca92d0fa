"""Looking for deployments and deliveries, and pages that stay where they are."""

from __future__ import annotations

import itertools

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer import clock
from deployer.deployments import claims, lifecycle, queue, reading, search
from deployer.deployments.lifecycle import NewDeployment
from deployer.deployments.paging import FIRST, Place
from deployer.deployments.search import Wanted, WantedDeliveries
from deployer.models import Delivery, Deployment
from deployer.models.delivery import Verdict
from deployer.models.deployment import Trigger
from tests.support.history import History


@pytest.fixture
def session(installation):
    with Session(installation.database.engine) as opened:
        yield opened


@pytest.fixture
def deployed(installation):
    """Deployments, the first one first: ``deployed(project, number, commit_message=…)``."""

    def make(project, count: int = 1, **given) -> None:
        with installation.database.write() as connection:
            for _ in range(count):
                new = {"trigger": Trigger.MANUAL, "branch": "main", **given}
                lifecycle.enqueue(connection, [NewDeployment(id=clock.new_id(), project_id=project.id, **new)])

    return make


def numbers(page) -> list[int]:
    return [one.number for one in page.rows]


def found(session, place=FIRST, limit=50, **wanted):
    session.expire_all()
    session.rollback()
    return search.deployments(session, Wanted(**wanted), place, limit)


def test_pages_lead_to_the_oldest_and_back_without_a_gap(session, deployed, make_project):
    deployed(make_project(), 25)

    first = found(session, limit=10)
    assert (numbers(first.page), first.count, first.page.is_first, first.page.newer) == (
        list(range(25, 15, -1)),
        25,
        True,
        None,
    )
    second = found(session, first.page.older, 10).page
    third = found(session, second.older, 10).page
    assert (numbers(second), numbers(third), third.older) == (list(range(15, 5, -1)), list(range(5, 0, -1)), None)
    back = found(session, third.newer, 10).page
    assert numbers(back) == numbers(second)
    top = found(session, back.newer, 10).page
    assert (numbers(top), top.is_first) == (numbers(first.page), True)


def test_a_page_stays_where_it_is_while_new_ones_arrive(session, deployed, make_project):
    project = make_project()
    deployed(project, 12)
    second = found(session, limit=5).page.older
    before = numbers(found(session, second, 5).page)

    deployed(project, 7)

    assert numbers(found(session, second, 5).page) == before
    # The way back shows the rows next to it, and then the newest.
    newer = found(session, found(session, second, 5).page.newer, 5).page
    assert numbers(newer) == [12, 11, 10, 9, 8]
    assert numbers(found(session, newer.newer, 5).page) == [17, 16, 15, 14, 13]


def test_a_way_back_that_is_shorter_than_a_page_is_the_first_page(session, deployed, make_project):
    deployed(make_project(), 7)

    page = found(session, Place(after=(5,)), 5).page

    assert (numbers(page), page.is_first) == ([7, 6, 5, 4, 3], True)


def test_a_place_behind_the_last_row_is_empty_and_leads_to_the_first_page(session, deployed, make_project):
    deployed(make_project(), 2)

    page = found(session, Place(before=(1,))).page

    assert (numbers(page), page.newer, page.older) == ([], FIRST, None)


@pytest.fixture
def various(make_project, deployed):
    web, app = make_project(name="web"), make_project(name="app")
    deployed(web, commit_message="Fix 100% of it", author_name="Ada Lovelace", commit_sha="abc123" + "0" * 34)
    deployed(web, trigger=Trigger.PUSH, branch="next", pusher="grace", commit_sha="def456" + "1" * 34)
    deployed(app, triggered_by="linus", commit_message="fix the Ä under_score")
    deployed(app, author_email="ada@example.com")
    return web, app


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [4, 3, 2, 1]),
        ({"project": "web"}, [2, 1]),
        ({"project": "nobody"}, []),
        ({"status": "queued"}, [4, 3, 2, 1]),
        ({"status": "failed"}, []),
        ({"status": "no such status"}, []),
        ({"trigger": "push"}, [2]),
        ({"trigger": "'"}, []),
        ({"branch": "next"}, [2]),
        ({"project": "app", "trigger": "manual", "branch": "main", "text": "FIX"}, [3]),
        ({"text": "fix"}, [3, 1]),
        ({"text": "100%"}, [1]),
        ({"text": "%"}, [1]),
        ({"text": "_"}, [3]),
        ({"text": "lovelace"}, [1]),
        ({"text": "ada@"}, [4]),
        ({"text": "grace"}, [2]),
        ({"text": "linus"}, [3]),
        ({"text": "ABC1"}, [1]),
        ({"text": "bc12"}, []),
        ({"text": "DEP-0002"}, [2]),
        ({"text": "dep-2"}, [2]),
        ({"text": "4"}, [4]),
        ({"text": "' OR 1=1 --"}, []),
    ],
)
def test_deployments_are_found_by_what_is_known_of_them(session, various, wanted, expected):
    page = found(session, **wanted)

    assert (numbers(page.page), page.count) == (expected, len(expected))


def test_no_more_are_counted_than_anybody_reads(session, deployed, make_project, monkeypatch):
    monkeypatch.setattr(search, "COUNTED", 4)
    deployed(make_project(), 6)

    assert found(session, limit=2).count == 4


@pytest.mark.parametrize(
    ("before", "after", "place"),
    [
        ("", "", FIRST),
        ("7", "", Place(before=(7,))),
        ("", "8", Place(after=(8,))),
        ("-1", "x", FIRST),
        ("1" * 40, "²", FIRST),
    ],
)
def test_what_an_address_says_is_read_or_left_out(before, after, place):
    assert search.deployment_place(before, after) == place


@pytest.fixture
def delivered(installation):
    ages = itertools.count()

    def make(project, verdict: Verdict, count: int = 1) -> None:
        # Several of the same moment, as they come from a forge that delivers in batches.
        now = clock.now()
        rows = [
            {
                "id": clock.new_id(),
                "project_id": project.id,
                "provider": "github",
                "verdict": verdict,
                "reason": str(next(ages)),
                "received_at": now,
            }
            for _ in range(count)
        ]
        with installation.database.write() as connection:
            connection.execute(sa.insert(Delivery), rows)

    return make


def test_deliveries_have_pages_too_also_where_many_came_at_once(session, delivered, make_project):
    mine, other = make_project(name="mine"), make_project(name="other")
    delivered(mine, Verdict.IGNORED, 7)
    delivered(other, Verdict.IGNORED, 3)
    delivered(mine, Verdict.DEPLOYED, 5)
    seen, place = [], FIRST
    while place is not None:
        page = search.deliveries(session, mine.id, WantedDeliveries(), place, 5)
        seen += [one.id for one in page.rows]
        place = page.older
        if place is not None:
            # As an address carries it.
            place = search.delivery_place(search.delivery_key(place.before), "")
    assert len(seen) == len(set(seen)) == 12
    assert set(seen) == set(session.scalars(sa.select(Delivery.id).where(Delivery.project_id == mine.id)))


def test_deliveries_are_found_by_their_verdict(session, delivered, make_project):
    project = make_project()
    delivered(project, Verdict.IGNORED, 2)
    delivered(project, Verdict.PONG)

    def verdicts(wanted: str) -> list[str]:
        found = search.deliveries(session, project.id, WantedDeliveries(verdict=wanted), FIRST, 50)
        return [one.verdict for one in found.rows]

    assert verdicts("pong") == ["pong"]
    assert verdicts("ignored") == ["ignored", "ignored"]
    assert verdicts("no such verdict") == []


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (WantedDeliveries(event="push"), 3),
        (WantedDeliveries(branch="next"), 1),
        (WantedDeliveries(branch="v1"), 1),
        (WantedDeliveries(branch="refs/heads/next"), 1),
        (WantedDeliveries(branch="ne"), 0),
        (WantedDeliveries(text="OTHER branch"), 3),
        (WantedDeliveries(text="1111"), 3),
        (WantedDeliveries(text="heads/NEXT"), 1),
        (WantedDeliveries(text="%"), 0),
        (WantedDeliveries(branch="next", text="v1"), 0),
    ],
)
def test_deliveries_are_found_by_event_branch_and_text(session, installation, make_project, wanted, count):
    project = make_project()
    history = History(installation.database, project)
    for ref in ("refs/heads/main", "refs/heads/next", "refs/tags/v1"):
        history.delivery(ref=ref)

    assert len(search.deliveries(session, project.id, wanted, FIRST, 50).rows) == count
    assert search.events(session, project.id) == ["push"]


@pytest.mark.parametrize("text", ["", "x", "1.2", "123." + "z" * 36, "9" * 20 + "." + "0" * 36, "5"])
def test_a_delivery_s_place_that_cannot_be_read_is_the_first_page(text):
    assert search.delivery_place(text, text) == FIRST


def test_lists_are_read_by_their_indices(session, installation, make_project):
    """At whatever length: the newest rows are found without sorting, and none of another project are looked at."""
    plans: list[str] = []

    def explain(connection, _cursor, statement, parameters, *_):
        if statement.startswith("SELECT"):
            cursor = connection.connection.driver_connection.cursor()
            plans.extend(row[3] for row in cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))

    project = make_project()
    sa.event.listen(installation.database.engine, "before_cursor_execute", explain)
    found(session)
    found(session, Place(before=(9,)))
    assert not [plan for plan in plans if "TEMP B-TREE" in plan]
    assert "SEARCH deployments USING INTEGER PRIMARY KEY (rowid<?)" in plans
    plans.clear()
    found(session, project="app")
    assert not [plan for plan in plans if "SCAN deployments" in plan or "TEMP B-TREE" in plan]
    plans.clear()
    for wanted in (WantedDeliveries(), WantedDeliveries("ignored", "push", "main", "1111")):
        search.deliveries(session, project.id, wanted, FIRST, 50)
    search.events(session, project.id)
    reading.last_right_delivery(session, project.id)
    assert len([plan for plan in plans if "ix_deliveries_project_received (project_id=?)" in plan]) == 4
    assert not [plan for plan in plans if "SCAN deliveries" in plan or "FOR ORDER BY" in plan]
    # The home page's two, which every open one asks for at each change.
    plans.clear()
    reading.newest_of_each(session)
    reading.active(session)
    assert not [plan for plan in plans if "SCAN deployments" in plan and "USING INDEX" not in plan]
    assert not [plan for plan in plans if "GROUP BY" in plan]
    assert [plan for plan in plans if "ix_deployments_queued" in plan]
    assert [plan for plan in plans if "uq_deployments_running_project" in plan]
    sa.event.remove(installation.database.engine, "before_cursor_execute", explain)


def test_the_newest_of_each_project_passes_by_what_was_superseded(session, deployed, make_project, installation):
    quiet, busy = make_project(name="quiet"), make_project(name="busy")
    deployed(busy, commit_message="kept")
    with installation.database.write() as connection:
        lifecycle.request_cancel(connection, claims.next_in_queue(connection), "ada")
    deployed(busy, trigger=Trigger.PUSH, commit_message="a push that came late")
    with installation.database.write() as connection:
        claimed = claims.claim(connection, "runner")
        lifecycle.supersede_running(connection, claimed, "runner", "what is live already contains it")
    deployed(make_project(name="waiting"), commit_message="waits")

    found = reading.newest_of_each(session)

    assert {one.commit_message for one in found.values()} == {"kept", "waits"}
    assert quiet.id not in found
    assert [one.commit_message for one in reading.active(session)] == ["waits"]


def test_the_word_for_lists_changes_with_each_change_of_a_status(session, installation, make_project):
    def word() -> str:
        session.rollback()
        return reading.changes(session)

    project = make_project()
    words = [word()]
    with installation.database.write() as connection:
        deployment_id = queue.deploy_by_hand(connection, project.id, "ada", 10)
    words.append(word())
    with installation.database.write() as connection:
        claims.claim(connection, "runner")
    words.append(word())
    with installation.database.write() as connection:
        lifecycle.succeed(connection, deployment_id, "runner")
    words.append(word())
    assert len(set(words)) == 4
    assert word() == words[-1]
    assert session.scalar(sa.select(sa.func.count()).select_from(Deployment)) == 1
