"""The shared daemon and the people in front of it take the places of the runner tests' standing parts."""

from __future__ import annotations

from tests.support.standing import (  # noqa: F401 (fixtures)
    _cookie,
    config,
    daemon,
    forge,
    gate,
    installation,
    make_daemon,
    make_project,
    member,
    operator,
    project,
    repository,
    running,
    stranger,
)
