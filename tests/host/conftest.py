"""One machine for all of these tests: installed, with one user. Each test leaves Deployer running on it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator

import pytest

from tests.host.lab import Lab, NotPossible, wheels
from tests.host.machine import Machine
from tests.support.browser import Browser
from tests.support.standing import PASSWORD, USER

PARTS = ("podman", "runc", "debootstrap", "busybox", "ip", "unshare", "nsenter")


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    missing = [part for part in PARTS if shutil.which(part) is None]
    if os.getuid() != 0 or missing:
        pytest.exit(f"nothing was tested: this needs root and {', '.join(PARTS)}", returncode=0)
    try:
        with Lab() as made:
            made.probe()
            yield made
    except NotPossible as reason:
        pytest.exit(f"nothing was tested: this host runs no container for us: {reason}", returncode=0)


@pytest.fixture(scope="session")
def bare(lab: Lab) -> Iterator[Machine]:
    """A host that was just set up, with Deployer's checkout in root's home."""
    machine = Machine(lab, wheels())
    try:
        machine.boot()
        machine.put_checkout()
        lab.enter()
        yield machine
    finally:
        lab.leave()
        machine.remove()


@pytest.fixture(scope="session")
def installing(bare: Machine) -> str:
    """What the first ``make install`` printed."""
    return bare.install()


@pytest.fixture(scope="session")
def machine(bare: Machine, installing: str) -> Machine:
    """The host with Deployer on it, set up by the link that the installation printed."""
    link = re.search(r"http://127\.0\.0\.1:8420/setup\?token=(\S+)", installing)
    assert link, installing
    fields = {"username": USER, "email": "ada@example.com", "password": PASSWORD, "password_again": PASSWORD}
    assert Browser(bare).post("/setup", {**fields, "token": link[1]}).status == 302
    bare.sh("sed -i 's/^allow_file = false/allow_file = true/' /etc/deployer/config.toml")
    bare.sh("systemctl restart deployer-web deployer-runner")
    return bare


@pytest.fixture(scope="session")
def sha(machine: Machine) -> str:
    return machine.make_repository()


@pytest.fixture(scope="session")
def member(machine: Machine) -> Browser:
    browser = Browser(machine)
    assert browser.log_in(USER, PASSWORD).status == 302
    return browser
