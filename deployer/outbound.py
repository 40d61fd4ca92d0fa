"""Connections of our own to hosts that a person named: a name is resolved once, and what it leads to is looked at.

Link-local addresses reach what a cloud tells its machines of themselves, credentials among it; nothing that Deployer
is to talk to lives there. Private networks are allowed: servers and mail servers often are in one.
"""

from __future__ import annotations

import ipaddress
import socket
import time

from deployer.errors import AddressRefused

# Metadata services outside the link-local ranges: AWS over IPv6, Azure, Alibaba Cloud.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "168.63.129.16", "100.100.100.200")))


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""IPv4 addresses as an IPv6-only network shows them (RFC 6052)."""


def problem(address: str) -> str | None:
    """Why a numeric address is not connected to, in words; None if it may be."""
    ip = _meant(address)
    if is_of_a_cloud(address):
        return "it is a link-local or metadata address"
    is_group = ip.is_multicast or ip.is_unspecified or (ip.version == 4 and ip.is_reserved)
    return "it is no address of a single host" if is_group else None


def is_of_a_cloud(address: str) -> bool:
    """Whether a numeric address leads to what a cloud tells its machines alone. Raises ValueError for a name."""
    ip = _meant(address)
    return ip.is_link_local or ip in _METADATA


def _meant(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    # A zone (fe80::1%eth0) says nothing else.
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return ip.ipv4_mapped
        if ip in _NAT64:
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


def connect(host: str, port: int, timeout_s: float) -> socket.socket:
    """A connection to ``host`` within ``timeout_s`` for all its addresses together.

    Raises AddressRefused where the name leads to nothing but addresses that are not to be reached, OSError where none
    answers.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # A name in a home network may lead to a link-local address besides its proper one.
    places = [one for one in found if problem(str(one[4][0])) is None]
    if not places:
        address = found[0][4][0]
        why = problem(str(address))
        raise AddressRefused(f"{host} leads to {address}, which is refused: {why}.", hint="Name another host.")
    deadline = time.monotonic() + timeout_s
    failure: OSError = OSError("it has no address")
    for number, (family, kind, protocol, _, place) in enumerate(places):
        sock = socket.socket(family, kind, protocol)
        try:
            # One that swallows packets leaves time for the next.
            sock.settimeout(max(0.1, (deadline - time.monotonic()) / (len(places) - number)))
            sock.connect(place)
            sock.settimeout(timeout_s)
            return sock
        except OSError as error:
            failure = error
            sock.close()
    raise failure
