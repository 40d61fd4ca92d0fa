"""The runner's own log: a line for each event of a deployment, which begins with its reference."""

from __future__ import annotations

import re

from tests.support.waiting import wait_until


def lines_of(runner, name: str, count: int) -> list[str]:
    """What was said of a project's deployments, without what the log's format puts in front."""

    def said() -> list[str]:
        found = [line[line.index("DEP-") :] for line in runner.log.splitlines() if f" {name}: " in line]
        return found if len(found) >= count else []

    return wait_until(said, f"{count} lines of {name}")


def test_it_says_what_begins_why_and_how_it_ends(operator, repository, make_project, runner):
    project = make_project("true")
    operator.wait_for_end(operator.pushed(project, repository.tip()))

    begins, ends = lines_of(runner, "app", 2)

    assert begins == f"DEP-0001 app: started (push by grace, {repository.tip()[:7]})"
    assert re.fullmatch(r"DEP-0001 app: success in [\d.]+ m?s", ends)


def test_who_asked_by_hand_is_named_and_a_failure_is_one_line_too(operator, make_project, runner):
    operator.wait_for_end(operator.deploy(make_project("exit 3"), by="ada"))

    begins, ends = lines_of(runner, "app", 2)

    assert begins == "DEP-0001 app: started (manual by ada)"
    assert re.fullmatch(r"DEP-0001 app: failed in [\d.]+ m?s: step 'exit 3' exited with 3", ends)


def test_whoever_pushes_cannot_write_a_line_of_their_own(operator, repository, make_project, runner):
    project = make_project("true")
    forger = "grace\nDEP-0666 app: success in 1 s\x1b[2J"
    pushed = operator.push(project, repository.tip(), pusher=forger).deployment_id
    operator.wait_for_end(pushed)

    begins, _ = lines_of(runner, "app", 2)

    assert begins.startswith("DEP-0001 app: started (push by graceDEP-0666 ")
    assert "\x1b" not in runner.log


def test_a_runner_that_takes_over_says_that_it_goes_on(operator, make_project, make_runner, tmp_path):
    gate = tmp_path / "go"
    deployment_id = operator.deploy(make_project(f"echo started; while [ ! -e {gate} ]; do sleep 0.01; done"))
    first = make_runner().start()
    operator.wait_for_output(deployment_id, b"started")
    first.kill()

    second = make_runner().start()
    gate.touch()
    operator.wait_for_end(deployment_id)

    goes_on, ends = lines_of(second, "app", 2)
    assert goes_on == "DEP-0001 app: going on"
    assert ends.startswith("DEP-0001 app: success in ")
