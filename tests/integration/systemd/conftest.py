"""Daemons, as the command line's tests start them."""

from __future__ import annotations

from tests.support.standing import make_daemon, repository  # noqa: F401 (fixtures)
