"""Whether a state change comes from our own pages (THREATS: a foreign page must not act with a user's cookie).

Sources: the Fetch Metadata request headers (W3C) and the ``Origin`` header (RFC 6454, 7).
"""

from __future__ import annotations

from urllib.parse import urlsplit

SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))


def is_foreign(
    *,
    method: str,
    fetch_site: str | None,
    origin: str | None,
    host: str,
    public_url: str,
    has_cookie: bool,
    is_json: bool,
) -> bool:
    """True if the request must be refused.

    A browser says where a request comes from by ``Sec-Fetch-Site`` or ``Origin``. Where neither is there and a
    session cookie is, only JSON passes: a foreign page's form cannot send that.
    """
    if method in SAFE_METHODS:
        return False
    if fetch_site is not None and fetch_site not in ("same-origin", "none"):
        return True
    if origin is not None:
        return not _is_own(origin, host, public_url)
    return fetch_site is None and has_cookie and not is_json


def _is_own(origin: str, host: str, public_url: str) -> bool:
    try:
        given = urlsplit(origin)
        own = urlsplit(public_url)
    except ValueError:
        return False
    if given.scheme not in ("http", "https") or not given.netloc:
        return False
    return given.netloc == host or (given.scheme, given.netloc) == (own.scheme, own.netloc)
