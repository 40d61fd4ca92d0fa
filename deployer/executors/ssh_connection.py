"""One SSH connection to a server, and the control shell that answers on it.

The host key is pinned before anything is said, and one private key is offered: no agent, no password, no further
keys. Every wait for the server is bounded.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deployer import outbound
from deployer.errors import AddressRefused, ConnectionLost, HostKeyChanged, ServerRefused
from deployer.executors.base import SYSTEM_PATH
from deployer.executors.host_keys import fingerprint, kind

if TYPE_CHECKING:
    from paramiko import Transport

CALL_LIMIT_S = 10.0
"""How long the server may be silent while it owes an answer. After that the connection counts as lost."""

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""No question has a longer answer."""

_RECEIVE_BYTES = 1 << 18
_SHELL = f'exec env -i HOME="$HOME" PATH={SYSTEM_PATH} LANG=C.UTF-8 /bin/sh'


@dataclass(frozen=True)
class Address:
    """Where a server is, and how both sides prove who they are. ``name`` is what people call it.

    ``private_key`` is in OpenSSH's format; ``host_key`` is the pinned one, as ``type base64``.
    """

    name: str
    host: str
    port: int
    username: str
    host_key: str
    private_key: bytes = field(repr=False)


def scan_host_key(host: str, port: int, *, like: str | None = None) -> str:
    """The host key that a server offers. It proves nothing until a person has compared its fingerprint.

    A server may have keys of several types. Where one is pinned (``like``), it is asked for that type first, as a
    connection would. Raises ConnectionLost.
    """
    with _in_words(f"{host}:{port}"):
        transport = _begin(host, port, _types_like(like) if like else ())
        try:
            return _host_key_of(transport)
        finally:
            transport.close()


@dataclass(frozen=True)
class Reply:
    """What a script printed, and its exit code."""

    code: int
    output: bytes

    @property
    def text(self) -> str:
        return self.output.decode("utf-8", "replace")


class Connection:
    """A connection that is up, with its control shell.

    Raises ConnectionLost where the server cannot be reached, ServerRefused where it does not take the key, and
    HostKeyChanged where it shows another host key than the pinned one.
    """

    def __init__(self, address: Address) -> None:
        self._name = address.name
        with _in_words(address.name):
            self._transport = _begin(address.host, address.port, _types_like(address.host_key))
            try:
                _refuse_other_key(address, _host_key_of(self._transport))
                self._log_in(address)
                self._transport.set_keepalive(15)
                self._channel = self._transport.open_session(timeout=CALL_LIMIT_S)
                self._channel.settimeout(CALL_LIMIT_S)
                self._channel.exec_command(_SHELL)
            except BaseException:
                self._transport.close()
                raise
        self._received = bytearray()

    @property
    def ended_with(self) -> int | None:
        """The exit code of the control shell, where it ended by itself and the server said so."""
        code: int = self._channel.exit_status
        return code if code >= 0 else None

    def define(self, functions: str) -> None:
        """Give the control shell functions that later scripts call. This comes before the first question."""
        with _in_words(self._name):
            # What a login shell's start files print comes before any answer. Their errors come on a way of their own,
            # whenever they like, and nobody reads that.
            self._send(b"exec 2>/dev/null\n" + functions.encode())

    def tell(self, functions: bytes) -> None:
        """Have functions called without waiting for it; what is asked later is answered after it."""
        with _in_words(self._name):
            self._send(b"{\n%s\n} </dev/null >/dev/null 2>&1\n" % functions)

    def ask(self, script: bytes, *, silence_s: float = CALL_LIMIT_S) -> Reply:
        """Run a script in a subshell of the control shell and wait for all that it prints.

        The whole of it is one parenthesised command, so that a connection cut at any byte runs nothing by halves.
        Raises ConnectionLost, and the connection is closed then.
        """
        return self._ask(b"(\n%s\n)" % script, silence_s)

    def call(self, functions: bytes) -> Reply:
        """Call functions of `define` in the control shell itself, which saves a process. They must not end it."""
        return self._ask(b"{\n%s\n}" % functions, CALL_LIMIT_S)

    def _ask(self, compound: bytes, silence_s: float) -> Reply:
        nonce = os.urandom(16).hex().encode()
        begin, end = b"\x1eB" + nonce + b"\n", b"\x1eE" + nonce + b" "
        request = b"printf '\\036B%%s\\n' %s; %s </dev/null 2>/dev/null; printf '\\036E%%s %%s\\n' %s $?\n" % (
            nonce,
            compound,
            nonce,
        )
        try:
            with _in_words(self._name):
                self._channel.settimeout(silence_s)
                self._send(request)
                return self._answer(begin, end, time.monotonic() + silence_s)
        except ConnectionLost:
            self.close()
            raise

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._transport.close()

    def _send(self, data: bytes) -> None:
        self._channel.sendall(data)

    def _answer(self, begin: bytes, end: bytes, begins_by: float) -> Reply:
        received = self._received
        while (start := received.find(begin)) < 0:
            if time.monotonic() > begins_by:
                # A start file that prints without end is no answer either.
                raise TimeoutError
            # Nothing before the mark is of use, but the mark itself may have begun.
            del received[: max(0, len(received) - len(begin))]
            self._receive()
        del received[: start + len(begin)]
        looked = 0
        while True:
            found = received.find(end, looked)
            if found >= 0 and (line := received.find(b"\n", found)) >= 0:
                code = int(received[found + len(end) : line])
                output = bytes(received[:found])
                del received[: line + 1]
                return Reply(code, output)
            looked = max(0, found if found >= 0 else len(received) - len(end))
            if len(received) > MAX_ANSWER_BYTES:
                raise EOFError("it answers without end")
            self._receive()

    def _receive(self) -> None:
        while self._channel.recv_stderr_ready():
            self._channel.recv_stderr(_RECEIVE_BYTES)
        data = self._channel.recv(_RECEIVE_BYTES)
        if not data:
            # The exit code may come right behind the end of the output. A connection that is lost does not wait.
            self._channel.status_event.wait(1)
            raise EOFError
        self._received += data

    def _log_in(self, address: Address) -> None:
        import paramiko

        key = paramiko.Ed25519Key.from_private_key(io.StringIO(address.private_key.decode()))
        begun_at = time.monotonic()
        try:
            further = self._transport.auth_publickey(address.username, key)
        except paramiko.BadAuthenticationType as error:
            raise _refused(address, f"it only takes {', '.join(error.allowed_types)}") from error
        except paramiko.AuthenticationException as error:
            # A refusal is what the server said; where it said nothing, it may yet let us in.
            if time.monotonic() - begun_at >= CALL_LIMIT_S:
                raise TimeoutError from error
            if not self._transport.is_active():
                raise EOFError from error
            raise _refused(address, "it does not take Deployer's key") from error
        if further:
            raise _refused(address, f"beside the key it wants {', '.join(further)}")


def _begin(host: str, port: int, key_types: tuple[str, ...]) -> Transport:
    """A transport whose keys are exchanged; nobody is logged in yet."""
    import paramiko

    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    sock = outbound.connect(host, port, CALL_LIMIT_S)
    try:
        # Each question is small and waits for its answer: without this, 40 ms each.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport = paramiko.Transport(sock)
    except BaseException:
        sock.close()
        raise
    try:
        transport.auth_timeout = CALL_LIMIT_S
        # Later than what start_client waits for, so that silence is told in the same words whoever notices it.
        transport.banner_timeout = transport.handshake_timeout = 2 * CALL_LIMIT_S
        options = transport.get_security_options()
        known = tuple(options.key_types)
        # The pinned type first: a server with several keys must show that one, and one that has changed may show any.
        options.key_types = (*(one for one in key_types if one in known), *(k for k in known if k not in key_types))
        transport.start_client(timeout=CALL_LIMIT_S)
        # It returns in silence when its time is over.
        if not transport.initial_kex_done:
            raise TimeoutError
    except BaseException:
        transport.close()
        raise
    return transport


def _types_like(host_key: str) -> tuple[str, ...]:
    """The signature algorithms that prove a host key of this type (RFC 8332, 3: an RSA key has several)."""
    name = host_key.split()[0]
    return ("rsa-sha2-512", "rsa-sha2-256") if name == "ssh-rsa" else (name,)


def _host_key_of(transport: Transport) -> str:
    key = transport.get_remote_server_key()
    return f"{key.get_name()} {key.get_base64()}"


def _refuse_other_key(address: Address, offered: str) -> None:
    if offered == address.host_key:
        return
    raise HostKeyChanged(
        f"The host key of {address.name} is another one: pinned is {kind(address.host_key)} "
        f"{fingerprint(address.host_key)}, offered was {kind(offered)} {fingerprint(offered)}. Nothing was sent.",
        offered=offered,
        hint=f"If {address.name} was installed anew, compare the new fingerprint there "
        "(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub) and trust it on the server's page. "
        "If not, somebody may stand in between.",
    )


def _refused(address: Address, why: str) -> ServerRefused:
    return ServerRefused(
        f"{address.username}@{address.name} refused the login: {why}.",
        hint=f"Put the line that the server's page shows into ~{address.username}/.ssh/authorized_keys there.",
    )


@contextlib.contextmanager
def _in_words(name: str) -> Iterator[None]:
    """Turns what paramiko and the system raise into ConnectionLost, in words."""
    try:
        yield
    except ServerRefused:
        raise
    except AddressRefused as error:
        raise ServerRefused(str(error.args[0]), hint=error.hint) from error
    except Exception as error:
        from paramiko import SSHException

        if isinstance(error, TimeoutError):
            said = f"no answer for {CALL_LIMIT_S:.0f} s"
        elif isinstance(error, SSHException | EOFError):
            said = str(error).strip().rstrip(".") or "the server closed the connection"
        elif isinstance(error, OSError):
            said = (error.strerror or str(error)).lower()
        else:
            raise
        raise ConnectionLost(f"{name} cannot be reached: {said}.") from error
