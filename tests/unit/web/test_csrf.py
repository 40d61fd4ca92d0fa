"""The rule behind the gate, in all its cases."""

from __future__ import annotations

import itertools

import pytest

from deployer.security import csrf


def is_foreign(**changes) -> bool:
    given = {
        "method": "POST",
        "fetch_site": None,
        "origin": None,
        "host": "localhost:8420",
        "public_url": "https://deploy.example.com",
        "has_cookie": True,
        "is_json": False,
    }
    return csrf.is_foreign(**{**given, **changes})


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_is_never_foreign(method):
    assert not is_foreign(method=method, fetch_site="cross-site", origin="https://evil.example")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "BREW"])
def test_every_other_method_is_checked(method):
    assert is_foreign(method=method, fetch_site="cross-site")


def test_no_cookie_and_no_json_make_up_for_another_site():
    for has_cookie, is_json in itertools.product((True, False), repeat=2):
        assert is_foreign(fetch_site="cross-site", has_cookie=has_cookie, is_json=is_json)
        assert is_foreign(origin="https://evil.example", has_cookie=has_cookie, is_json=is_json)


def test_without_a_word_of_where_it_comes_from_json_or_no_cookie_pass():
    assert is_foreign()
    assert not is_foreign(is_json=True)
    assert not is_foreign(has_cookie=False)


@pytest.mark.parametrize("origin", ["http://localhost:8420", "https://localhost:8420", "https://deploy.example.com"])
def test_an_own_origin_is_the_host_asked_or_the_public_address(origin):
    assert not is_foreign(origin=origin)


@pytest.mark.parametrize(
    "origin",
    [
        "http://deploy.example.com",
        "https://deploy.example.com:8443",
        "https://deploy.example.com@evil.example",
        "https://evil.example#deploy.example.com",
        "http://localhost",
        "ftp://localhost:8420",
        "localhost:8420",
        "null",
        "",
        "http://[::1",
    ],
)
def test_every_other_origin_is_foreign(origin):
    assert is_foreign(origin=origin)
    assert is_foreign(origin=origin, fetch_site="same-origin", is_json=True)
