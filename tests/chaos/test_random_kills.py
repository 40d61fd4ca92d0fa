"""The promise, at random instants: runner and web process are killed while pushes come and people ask.

A short form of ``make chaos``. A seed of its own for each run would find more, and would fail for reasons that nobody
can see again: the long form has it.
"""

from __future__ import annotations

import pytest

from tests.chaos.storm import Storm

pytestmark = pytest.mark.chaos

SEED = 20261125


@pytest.mark.parametrize(("place", "kills"), [("here", 10), ("there", 6)])
def test_random_kills_of_runner_and_web_process_lose_and_double_nothing(made, kills):
    storm = Storm(made, SEED, switch_after=kills // 2)

    found = storm.run(kills)

    assert found.violations == []
    assert storm.kills.total() >= kills
    assert storm.kills["runner"] > 0
    assert storm.kills["web"] > 0
    assert found.steps > 0
    assert found.answered > 0
