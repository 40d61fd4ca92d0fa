"""Connections of our own to hosts that a person named: a name is resolved once, and what it leads to is looked at.

Link-local addresses reach what a cloud tells its machines of themselves, credentials among it; nothing that Deployer
is to talk to lives there. Private networks are allowed where servers and mail servers are meant, which often are in
one; what is spoken to over HTTP may be there only where the configuration says so (``outbound.allow_private``).
"""

from __future__ import annotations

import ipaddress
import socket
import time

from deployer.errors import AddressRefused

# Metadata services outside the link-local ranges: AWS over IPv6 (its containers' too), Google and Oracle over IPv6,
# Azure, Alibaba Cloud.
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        (
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "168.63.129.16",
            "100.100.100.200",
        ),
    )
)

_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
"""IPv4 addresses as an IPv6-only network shows them (RFC 6052 and, for its own use, RFC 8215): in the last bits."""


ALLOW_PRIVATE = "Set outbound.allow_private in the configuration to allow addresses of this host and its networks."


def problem(address: str, *, allow_private: bool = True) -> str | None:
    """Why a numeric address is not connected to, in words; None if it may be.

    Private is what cannot be reached from the internet: this host, its networks, and those of others (RFC 6890).
    """
    ip = _meant(address)
    if is_of_a_cloud(address):
        return "it is a link-local or metadata address"
    if ip.is_multicast or ip.is_unspecified or (ip.is_reserved and not ip.is_loopback):
        return "it is no address of a single host"
    is_private = not ip.is_global or (isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local)
    return "it is a private address" if not allow_private and is_private else None


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
        if ip.sixtofour:
            return ip.sixtofour
        if any(ip in network for network in _NAT64):
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


def connect(host: str, port: int, timeout_s: float, *, allow_private: bool = True) -> socket.socket:
    """A connection to ``host`` within ``timeout_s`` for all its addresses together.

    Raises AddressRefused where the name leads to nothing but addresses that are not to be reached, OSError where none
    answers.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # A name in a home network may lead to a link-local address besides its proper one.
    places = [one for one in found if problem(str(one[4][0]), allow_private=allow_private) is None]
    if not places:
        address = found[0][4][0]
        why = problem(str(address), allow_private=allow_private)
        hint = "Name another host." if problem(str(address)) else ALLOW_PRIVATE
        raise AddressRefused(f"{host} leads to {address}, which is refused: {why}.", hint=hint)
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
