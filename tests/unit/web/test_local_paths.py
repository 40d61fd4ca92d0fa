"""Where a login leads: never to another site, however it is written."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deployer.web.auth import local_path


@pytest.mark.parametrize("target", ["/", "/projects/app", "/projects/app?a=b#c", "/a//b", "/é", "/a:b"])
def test_a_path_of_this_site_is_kept(target):
    assert local_path(target) == target


@pytest.mark.parametrize(
    "target", [None, "", "a", "//h", "/\\h", "\\/h", "http://h", "http:h", "/\t/h", "/\r/h", "/\x00", "/a\nb", " /"]
)
def test_everything_else_leads_home(target):
    assert local_path(target) == "/"


@given(st.text(alphabet="/\\\t\n\r :.?#@ehttps\x00\x7f\u2028", max_size=12))
@example("/\u2028/evil")
def test_whatever_is_asked_for_a_browser_stays_on_this_site(target):
    # A browser drops tabs and newlines and takes a backslash for a slash (URL Standard, 4.4).
    read = local_path(target).replace("\t", "").replace("\n", "").replace("\r", "").replace("\\", "/")

    assert urlsplit(urljoin("https://deploy.example.com/login", read)).netloc == "deploy.example.com"
