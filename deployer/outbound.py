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


def problem(address: str) -> str | None:
    """Why a numeric address is not connected to, in words; None if it may be."""
    # A zone (fe80::1%eth0) says nothing else.
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    if ip.is_link_local or ip in _METADATA:
        return "it is a link-local or metadata address"
    if ip.is_multicast or ip.is_unspecified or (ip.is_reserved and not ip.is_loopback):
        return "it is no address of a single host"
    return None


def connect(host: str, port: int, timeout_s: float) -> socket.socket:
    """A connection to ``host`` within ``timeout_s`` for all its addresses together.

    Raises AddressRefused where the name leads to an address that is not to be reached, OSError where none answers.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, place in found:
        why = problem(str(place[0]))
        if why:
            raise AddressRefused(f"{host} leads to {place[0]}, which is refused: {why}.", hint="Name another host.")
    deadline = time.monotonic() + timeout_s
    failure: OSError = OSError("it has no address")
    for family, kind, protocol, _, place in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(max(0.1, deadline - time.monotonic()))
            sock.connect(place)
            sock.settimeout(timeout_s)
            return sock
        except OSError as error:
            failure = error
            sock.close()
    raise failure
