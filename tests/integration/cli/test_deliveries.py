"""``deliveries``: the list in a terminal."""

from __future__ import annotations

import json

import pytest

from deployer.cli import deliveries as command
from deployer.models.delivery import Verdict
from tests.support.history import History

SHA = "1" * 40


@pytest.fixture
def project(make_project):
    return make_project(name="app")


@pytest.fixture
def history(operator, project):
    return History(operator.database, project)


def test_without_any_it_says_so(shell, project):
    assert shell("deliveries", "app").stdout == "No delivery came yet.\n"
    assert shell("deliveries", "app", "--verdict", "pong").stdout == "No delivery has all of that.\n"
    assert json.loads(shell("deliveries", "app", "--json").stdout) == []


def test_it_prints_a_table_the_newest_first(shell, operator, project, history):
    led_to = operator.pushed(project, SHA)
    history.delivery(ref="refs/heads/\x1b[31mnext\nline")

    lines = shell("deliveries", "app").stdout.splitlines()

    assert lines[0].split() == ["AT", "VERDICT", "EVENT", "REF", "COMMIT", "DEPLOYMENT", "REASON"]
    assert ["ignored" in lines[1], "deployed" in lines[2]] == [True, True]
    assert "refs/heads/next line" in lines[1]
    assert f"DEP-{operator.deployment(led_to).number:04d}" in lines[2]
    assert "1111111 " in lines[2]
    assert lines[2].endswith("It led to a deployment.")
    assert len(lines) == 3


def test_it_filters_and_answers_with_json(shell, history):
    wanted = history.delivery(verdict=Verdict.REFUSED, asked_by="ada")
    history.delivery()

    (row,) = json.loads(shell("deliveries", "app", "--verdict", "refused", "--limit", "5", "--json").stdout)

    assert (row["id"], row["verdict"], row["commit"], row["askedBy"]) == (wanted, "refused", SHA, "ada")
    assert len(json.loads(shell("deliveries", "app", "--limit", "1", "--json").stdout)) == 1
    assert len(json.loads(shell("deliveries", "app", "--branch", "other", "--json").stdout)) == 2


def test_a_project_that_is_none_is_told(shell, project):
    assert "Project not found" in shell("deliveries", "shop", code=1).stderr


def test_every_verdict_can_be_asked_for():
    assert set(command.VERDICTS) == {verdict.value for verdict in Verdict}
