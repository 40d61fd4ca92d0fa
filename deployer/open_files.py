"""How many files and connections this process may have open (getrlimit(2), RLIMIT_NOFILE)."""

from __future__ import annotations

import contextlib
import resource


def make_room(wanted: int) -> int:
    """Raise the limit to ``wanted`` as far as the hard limit lets; the limit as it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted or soft == resource.RLIM_INFINITY:
        return wanted
    aim = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (aim, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
