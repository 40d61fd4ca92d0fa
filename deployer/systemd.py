"""What systemd hands to a service, and what it wants to be told (sd_listen_fds(3), sd_notify(3))."""

from __future__ import annotations

import contextlib
import os
import socket
import stat

from deployer.errors import ConfigError

_FIRST_FD = 3


def passed_socket() -> socket.socket | None:
    """The listening socket of ``deployer-web.socket``; None where nothing was passed to this process.

    The variables that tell of it are taken out of the environment, so that no child believes that they are meant
    for it. Raises ConfigError where something else than one listening TCP socket was passed.
    """
    pid = os.environ.pop("LISTEN_PID", "")
    count = os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit() or int(count) == 0:
        return None
    if int(count) > 1:
        raise _refusal(f"{count} sockets were passed")
    if not stat.S_ISSOCK(os.fstat(_FIRST_FD).st_mode):
        raise _refusal("what was passed is no socket")
    sock = socket.socket(fileno=_FIRST_FD)
    sock.set_inheritable(False)
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_STREAM:
        raise _refusal("what was passed is no TCP socket")
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise _refusal("the socket that was passed does not listen")
    return sock


def notify(state: str) -> None:
    """Tell systemd ``READY=1`` or ``STOPPING=1``. Does nothing where nobody asked to be told."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    # Who does not hear it waits until its own patience ends, and says so; there is nothing to do about it here.
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), address)


def _refusal(what: str) -> ConfigError:
    return ConfigError(
        f"Socket activation: {what}.",
        hint="Pass one listening TCP socket, as systemd/deployer-web.socket does (ListenStream=127.0.0.1:8420).",
    )
