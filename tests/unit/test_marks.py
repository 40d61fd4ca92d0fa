"""Marks: only this installation makes them, and for one project."""

from __future__ import annotations

import json

import pytest

from deployer.security import marks
from deployer.security.marks import Mark

KEY = b"k" * 32
ADA = Mark("ada", deploys=False)


def body(**mark) -> bytes:
    return json.dumps({marks.FIELD: {**marks.make(KEY, "app", ADA), **mark}, "ref": "refs/heads/main"}).encode()


def test_a_mark_is_found_again():
    assert marks.find(body(), KEY, "app") == ADA


def test_two_marks_are_never_alike():
    assert body() != body()


def test_another_installation_and_another_project_do_not_know_it():
    assert marks.find(body(), b"o" * 32, "app") is None
    assert marks.find(body(), KEY, "shop") is None


@pytest.mark.parametrize(
    "changed",
    [{"by": "eve"}, {"deploys": True}, {"nonce": "0"}, {"mac": "0"}, {"mac": None}, {"mac": "\ud800"}, {"by": 1}],
)
def test_what_was_changed_in_it_makes_it_none(changed):
    assert marks.find(body(**changed), KEY, "app") is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b'{"deployer_test": true}',
        b'{"deployer_test": {}}',
        b'["deployer_test"]',
        b'"deployer_test',
        b'{"deployer_test":' + b"[" * 50_000,
        body() + b" " * marks.MAX_BYTES,
        json.dumps({"ref": "refs/heads/main", **json.loads(body())}).encode(),
    ],
)
def test_a_stranger_makes_none(raw):
    assert marks.find(raw, KEY, "app") is None
