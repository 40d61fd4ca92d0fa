"""The same on a server: a cancel, and a timeout, end there whatever a command started."""

from __future__ import annotations

import pytest

from tests.integration.runner.test_ending_everything import (  # noqa: F401 (tests, here with a server's projects)
    test_a_cancel_ends_every_kind_of_child,
    test_a_timeout_ends_every_kind_of_child,
    test_the_next_in_the_queue_begins_right_after_a_cancel,
)


@pytest.fixture
def left(user):
    return user.owns_folder("left")
