"""Where connections of our own may go (THREATS 29): a cloud's metadata service is not a server of anybody's."""

from __future__ import annotations

import socket

import pytest

from deployer import outbound
from deployer.errors import AddressRefused, MailError, ServerRefused
from deployer.executors.ssh_connection import scan_host_key
from deployer.notifications import smtp

REFUSED = [
    "169.254.169.254",
    "169.254.0.1",
    "::ffff:169.254.169.254",
    "fe80::1",
    "fe80::1%lo",
    "fd00:ec2::254",
    "168.63.129.16",
    "100.100.100.200",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
    "240.0.0.1",
    "255.255.255.255",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::169.254.169.254",
    "2002:a9fe:a9fe::1",
    "::169.254.169.254",
    "fd20:ce::254",
    "fd00:c1::a9fe:a9fe",
    "fd00:ec2::23",
]


@pytest.mark.parametrize("address", REFUSED)
def test_no_link_local_metadata_or_group_address_is_connected_to(address):
    assert outbound.problem(address)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "10.1.2.3", "192.168.1.5", "fd12::1", "203.0.113.7", "2001:4860::1", "64:ff9b::203.0.113.7"],
)
def test_public_private_and_own_addresses_are(address):
    assert outbound.problem(address) is None


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.5",
        "100.64.0.1",
        "fd12::1",
        "fec0::1",
        "::ffff:10.0.0.1",
        "64:ff9b:1::10.0.0.1",
        "2002:0a00:0001::1",
    ],
)
def test_private_addresses_are_not_where_nobody_allowed_them(address):
    assert outbound.problem(address, allow_private=False) == "it is a private address"


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::5db8:d822"])
def test_public_ones_always_are(address):
    assert outbound.problem(address, allow_private=False) is None


def test_a_name_that_leads_home_is_refused_where_nobody_allowed_it():
    with pytest.raises(AddressRefused, match=r"it is a private address\. Set outbound.allow_private"):
        outbound.connect("localhost", 9, 1, allow_private=False)


def named(monkeypatch, *places) -> None:
    """The one thing that cannot be had for real here: a name server of somebody else's."""
    answers = [
        (socket.AF_INET6 if ":" in one[0] else socket.AF_INET, socket.SOCK_STREAM, 6, "", one) for one in places
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)


def test_a_name_that_leads_only_there_is_refused(monkeypatch):
    named(monkeypatch, ("169.254.169.254", 22), ("fe80::1", 22, 0, 1))

    with pytest.raises(AddressRefused, match=r"web1\.example leads to 169\.254\.169\.254, which is refused"):
        outbound.connect("web1.example", 22, 1)


def test_of_a_names_addresses_only_the_allowed_ones_are_tried(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        named(monkeypatch, ("169.254.169.254", port), ("127.0.0.1", port))

        connected = outbound.connect("raspberrypi.local", port, 5)

        assert connected.getpeername() == ("127.0.0.1", port)
        connected.close()


def test_a_name_is_resolved_once(monkeypatch):
    asked = []
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: asked.append(a) or resolve(*a, **k))

    with socket.create_server(("127.0.0.1", 0)) as server:
        connected = outbound.connect("localhost", server.getsockname()[1], 5)
        connected.close()

    assert len(asked) == 1


def test_a_server_there_is_refused():
    with pytest.raises(ServerRefused, match="link-local or metadata address"):
        scan_host_key("169.254.169.254", 22)


def test_a_mail_server_there_is_refused():
    server = smtp.Server(host="169.254.169.254", port=25, security="none")

    with pytest.raises(MailError, match="link-local or metadata address"):
        smtp.greet(server, total_s=5)
