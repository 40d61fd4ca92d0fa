"""The list of all deployments, and asking for one again."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from deployer.models import Deployment
from deployer.project_input import StepInput
from deployer.web import deployments
from tests.support.forge import Forge
from tests.support.standing import logged_in, make_user


def refs(answer) -> list[str]:
    assert answer.status == 200
    return [row.find("a", class_="ref").words for row in answer.page.find_all("li", class_="deployment")]


@pytest.fixture
def done(operator, make_project, repository):
    """Two projects with a deployment each that succeeded and failed; their references."""
    good, bad = make_project(), make_project("exit 3")
    ids = [operator.deploy(good, by="grace"), operator.deploy(bad, commit=repository.tip())]
    return [(operator.wait_for_end(one).number, project) for one, project in zip(ids, (good, bad), strict=True)]


def test_all_deployments_are_listed_newest_first_with_their_projects(member, done):
    (first, good), (second, bad) = done

    answer = member.get("/deployments")

    assert refs(answer)[:2] == [f"DEP-{second:04d}", f"DEP-{first:04d}"]
    rows = answer.page.find_all("li", class_="deployment")
    assert bad.name in rows[0].words
    assert "step 'exit 3' exited with 3" in rows[0].words
    assert good.name in rows[1].words
    assert "by hand, grace" in rows[1].words


def test_a_filter_is_an_address_and_its_form_shows_it(member, done):
    (first, good), (_, bad) = done

    answer = member.get(f"/deployments?project={good.name}&status=success&trigger=manual&branch=main&text=GRACE")

    assert refs(answer) == [f"DEP-{first:04d}"]
    page = answer.page
    assert page.find(class_="count").words == "1 deployment matches Clear the filter"
    chosen = [one.words for one in page.find_all("option") if "selected" in one.attributes]
    assert chosen == [good.name, "success", "manual"]
    assert (page.value("text"), page.value("branch")) == ("GRACE", "main")
    assert refs(member.get(f"/deployments?project={bad.name}&status=success")) == []
    assert refs(member.get(f"/deployments?text=dep-{first}")) == [f"DEP-{first:04d}"]


def test_where_nothing_matches_the_page_says_how_to_go_on(member, done):
    page = member.get("/deployments?text=no+such+words&status=never").page

    assert page.find("h2", id="none").words == "Nothing matches"
    assert [one.words for one in page.find_all("a", href="/deployments")] == ["Deployments", "Clear the filter"]
    # What was chosen is still shown, though it does not exist.
    assert "never" in [one.words for one in page.find_all("option") if "selected" in one.attributes]


def test_pages_keep_the_filter(member, operator, make_project, gate, monkeypatch):
    project = make_project(gate.step)
    ids = [operator.deploy(project) for _ in range(deployments.SHOWN + 2)]
    first = member.get(f"/deployments?project={project.name}&trigger=manual")
    assert len(refs(first)) == deployments.SHOWN
    (older,) = first.page.find_all("a", rel="next")
    assert first.page.find_all("a", rel="prev") == []

    second = member.get(older.attributes["href"])

    assert len(refs(second)) == 2
    assert second.page.find(class_="count").words.startswith(f"{len(ids)} deployments match")
    (newer,) = second.page.find_all("a", rel="prev")
    assert refs(member.get(newer.attributes["href"])) == refs(first)
    assert "data-refresh" in first.page.find(id="found").attributes
    assert "data-refresh" not in second.page.find(id="found").attributes
    for one in ids:
        operator.cancel(one)
    gate.open()


def test_an_address_that_was_tampered_with_shows_the_first_page(member, done):
    for query in ("before=x", "after=-1", "before=" + "9" * 50, "before=1&after=zzz"):
        assert member.get(f"/deployments?{query}").status == 200


def test_without_projects_and_without_deployments_the_page_teaches_the_next_step(make_daemon, repository):
    from tests.support.operator import Operator

    daemon = make_daemon("web").start()
    make_user(daemon)
    member = logged_in(daemon)
    empty = member.get("/deployments").page
    assert empty.find("h2", id="none").words == "No deployments yet"
    assert "Create the first project" in [one.words for one in empty.find_all("a")]
    Operator(daemon.installation).make_project(repository.url)
    page = member.get("/deployments").page
    assert page.find("h2", id="none").words == "No deployments yet"
    assert "Push to a project's branch" in page.words


def test_a_project_s_page_leads_to_its_own_list(member, operator, make_project, gate):
    project = make_project(gate.step)
    ids = [operator.deploy(project) for _ in range(12)]
    page = member.get(f"/projects/{project.name}").page
    shown = [one.find("a", class_="ref").words for one in page.find_all("li", class_="deployment")]
    links = {one.words: one.attributes["href"] for one in page.find(class_="more").find_all("a")}

    assert len(shown) == 10
    assert len(refs(member.get(links["Older deployments"]))) == 2
    assert len(refs(member.get(links["All of them, with a filter"]))) == 12
    for one in ids:
        operator.cancel(one)
    gate.open()


# Again ----------------------------------------------------------------------------------------------------------


def offered_by(page, action: str, field: str) -> dict[str, str]:
    """The buttons of the forms that post there, and what each form says in a field (empty: nothing)."""
    found = {}
    for form in page.find_all("form"):
        if form.attributes.get("action", "").endswith(action):
            values = [one.attributes["value"] for one in form.find_all("input", name=field)]
            found[form.find("button").words] = values[0] if values else ""
    return found


def buttons(page) -> dict[str, str]:
    """What can be asked for, and of which commit (empty: the newest)."""
    return offered_by(page, "/deploy", "commit")


def test_the_same_commit_is_deployed_again_also_when_the_branch_has_gone_on(
    member, operator, make_project, make_repository
):
    repository = make_repository()
    project = make_project("cat VERSION.txt", url=repository.url)
    older = repository.commit(VERSION_txt="older\n")
    first = operator.wait_for_end(operator.deploy(project))
    repository.commit(VERSION_txt="newer\n")
    offered = buttons(member.get(f"/deployments/{first.id}").page)
    assert offered == {"Deploy this commit again": older, "Deploy the newest": ""}

    answer = member.post(f"/projects/{project.name}/deploy", {"commit": older})

    again = operator.wait_for_end(answer.location.removeprefix("/deployments/"))
    assert (again.status, again.deployed_sha) == ("success", older)
    assert operator.step_output(again.id) == b"older\n"


def test_the_newest_is_not_offered_where_the_forge_says_that_this_is_it(
    member, daemon, operator, make_project, make_repository
):
    repository = make_repository()
    project = make_project(url=repository.url)
    forge = Forge(daemon, project)
    tip = repository.tip()
    forge.push(after=tip, head_commit={"id": tip, "message": "x", "author": {"name": "G", "email": "g@example.com"}})
    pushed = operator.wait_for_end(operator.deployments()[-1].id)
    assert buttons(member.get(f"/deployments/{pushed.id}").page) == {"Deploy this commit again": tip}

    forge.push(ref="refs/heads/next", after="9" * 40)
    assert "Deploy the newest" not in buttons(member.get(f"/deployments/{pushed.id}").page)
    # Not deployed, and yet known.
    later = repository.commit()
    forge.push(after=later, head_commit={"id": later, "message": "[skip deploy]", "author": {"name": "G"}})

    assert "Deploy the newest" in buttons(member.get(f"/deployments/{pushed.id}").page)


def test_of_a_deployment_that_never_had_a_commit_or_of_another_branch_only_the_newest_is_offered(
    member, operator, make_project
):
    lost = make_project(branch="nowhere")
    moved = make_project()
    first = operator.wait_for_end(operator.deploy(lost))
    second = operator.wait_for_end(operator.deploy(moved))
    operator.change(moved, branch="next")

    for one in (first, second):
        assert buttons(member.get(f"/deployments/{one.id}").page) == {"Deploy the newest": ""}


# Retrying -------------------------------------------------------------------------------------------------------


def retry_buttons(page) -> dict[str, str]:
    """What can be retried, and from where (empty: the first step)."""
    return offered_by(page, "/retry", "from")


def facts_of(page) -> dict[str, str]:
    return {one.find("dt").words: one.find("dd").words for one in page.find(class_="facts-list").find_all("div")}


def test_a_failed_deployment_is_retried_from_either_step_and_both_pages_say_so(member, operator, make_project):
    first = operator.wait_for_end(operator.deploy(make_project("echo one", StepInput("exit 3", name="restart"))))
    page = member.get(f"/deployments/{first.id}").page
    assert retry_buttons(page) == {"Retry from the failed step": "failed", "Retry": ""}
    described_by = page.find(id="retry-from").attributes["aria-describedby"]
    assert page.find(id=described_by).words == "The failed step is restart."
    assert "Deploy this commit again" not in buttons(page)

    from_failed = member.post(f"/deployments/{first.id}/retry", {"from": "failed"})
    second = operator.wait_for_end(from_failed.location.removeprefix("/deployments/"))
    whole = member.post(f"/deployments/{second.id}/retry")
    third = operator.wait_for_end(whole.location.removeprefix("/deployments/"))

    refs = [f"DEP-{one.number:04d}" for one in (first, second, third)]
    facts = [facts_of(member.get(f"/deployments/{one.id}").page) for one in (first, second, third)]
    assert facts[0]["Retried as"] == refs[1]
    assert (facts[1]["Retry of"], facts[1]["Retried as"]) == (f"{refs[0]}, from its failed step", refs[2])
    assert (facts[2]["Retry of"], facts[2]["Trigger"]) == (refs[1], "retry by ada")
    # What another deployment has run over cannot be gone on with.
    assert retry_buttons(member.get(f"/deployments/{first.id}").page) == {"Retry": ""}
    skipped = member.get(f"/deployments/{second.id}").page.find_all("span", class_="command-note")
    assert [one.words for one in skipped if one.words] == [f"succeeded in {refs[0]}"]


def test_a_retry_that_is_refused_shows_the_page_with_the_reason(member, operator, make_project):
    project = make_project("echo one", "exit 3")
    failed = operator.wait_for_end(operator.deploy(project))
    operator.change(project, steps=["echo another", "exit 3"])

    answer = member.post(f"/deployments/{failed.id}/retry", {"from": "failed"})

    assert answer.status == 409
    assert "have changed since" in answer.page.find(role="alert").words
    assert answer.page.find("h1").words.endswith("failed")
    operator.change(project, steps=["git pull && npm ci"])
    answer = member.post(f"/deployments/{failed.id}/retry")
    assert answer.page.find(role="alert").words.startswith("The first step does more than git pull")
    assert [one.id for one in operator.deployments() if one.project_id == project.id] == [failed.id]


def test_a_success_is_not_retried_but_deployed_again_and_nothing_is_offered_before_the_end(
    member, operator, project, running
):
    well = operator.deploy(project)
    assert retry_buttons(member.get(f"/deployments/{running}").page) == {}
    operator.cancel(running)
    operator.wait_for_end(well)

    page = member.get(f"/deployments/{well}").page

    assert retry_buttons(page) == {}
    assert "Deploy this commit again" in buttons(page)
    assert retry_buttons(member.get(f"/deployments/{running}").page) == {"Retry": ""}


def test_the_tries_of_a_step_are_told_and_only_where_there_is_more_than_one(member, operator, make_project):
    flaky = StepInput("exit 3", name="flaky", retries=1)
    first = operator.wait_for_end(operator.deploy(make_project(StepInput("true", name="fine", retries=4), flaky)))

    page = member.get(f"/deployments/{first.id}").page

    entries = [
        (one.find("span", class_="command-name").words, one.find("span", class_="command-note").words)
        for one in page.find(id="commands").find_all("li", class_="command")
    ]
    assert entries[-3:] == [("fine", ""), ("flaky", "try 1 of 2"), ("flaky", "try 2 of 2")]


def test_what_was_found_on_the_remote_or_run_again_by_itself_says_so(member, operator, project):
    ids = {one: operator.deploy(project) for one in ("poll", "retry")}
    with operator.database.write() as connection:
        for trigger, one in ids.items():
            connection.execute(
                sa.update(Deployment).where(Deployment.id == one).values(trigger=trigger, triggered_by=None)
            )

    shown = [facts_of(member.get(f"/deployments/{one}").page)["Trigger"] for one in ids.values()]
    found = [len(refs(member.get(f"/deployments?project={project.name}&trigger={one}"))) for one in ids]

    assert shown == ["found on the remote", "by itself, after an interruption"]
    assert found == [1, 1]


@pytest.mark.parametrize("commit", ["main", "abc12", "HEAD", "--all"])
def test_what_is_no_commit_is_refused_at_its_field(member, project, operator, commit):
    answer = member.post(f"/projects/{project.name}/deploy", {"commit": commit})

    assert answer.status == 400
    assert answer.page.error_at("commit").startswith("Give a commit's id")
    assert answer.page.value("commit") == commit
    assert not [one for one in operator.deployments() if one.project_id == project.id]


def test_an_empty_commit_is_the_newest(member, project, operator, repository):
    answer = member.post(f"/projects/{project.name}/deploy", {"commit": " "})

    assert operator.wait_for_end(answer.location.removeprefix("/deployments/")).deployed_sha == repository.tip()
