"""The promise, at each point of a runner's work: what it had begun is neither lost nor done twice.

`points` is the list. The long form (``make chaos``) dies there more often, and at every transaction.
"""

from __future__ import annotations

import pytest

from tests.chaos import points, walk
from tests.chaos.points import Point

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize("place", ["here", "there"])
def test_a_runner_that_dies_at_any_point_loses_and_doubles_nothing(made, place):
    way = walk.short_form(place)
    walked = walk.Walk(made)

    found = walked.run(way)

    assert found.violations == []
    assert walked.kills >= len(way)
    assert found.deployments["success"] > len(way) / 2


def test_a_name_that_the_product_no_longer_has_is_an_error():
    with pytest.raises(AttributeError):
        points.arm(Point("deployer.runner.deploy:Deploy._no_such_thing", "before", "nothing"))


@pytest.mark.parametrize("place", ["here"])
def test_a_point_that_is_never_reached_is_told(made, monkeypatch):
    monkeypatch.setattr(walk, "REACHED_WITHIN_S", 2)
    monkeypatch.setattr(points, "WEB", [])
    never = Point("deployer.runner.deploy:Deploy._show_host_key", "before", "the host key is another one")

    found = walk.Walk(made).run([never])

    assert found.violations == [f"never reached within 2 s: {never}"]
