"""A server that takes its time with the login is one that cannot be reached, and not one that refuses the key.

OpenSSH cannot be made to hesitate there without PAM, so paramiko's own server stands in for it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import paramiko
import pytest

from deployer.errors import ConnectionLost, ServerRefused
from deployer.executors import ssh_connection
from deployer.executors.ssh_connection import Address, Connection
from deployer.security import deploy_keys


class Hesitant(paramiko.ServerInterface):
    """Answers to a key when it is told to, with a refusal."""

    def __init__(self) -> None:
        self.answer = threading.Event()

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.answer.wait(30)
        return paramiko.AUTH_FAILED


@pytest.fixture
def login() -> Hesitant:
    return Hesitant()


@pytest.fixture
def address(login: Hesitant) -> Iterator[Address]:
    host_key = paramiko.ECDSAKey.generate()
    transports = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            accepted, _ = listening.accept()
            transports.append(paramiko.Transport(accepted))
            transports[0].add_server_key(host_key)
            transports[0].start_server(server=login)

        thread = threading.Thread(target=serve)
        thread.start()
        private, _ = deploy_keys.generate("test")
        pinned = f"{host_key.get_name()} {host_key.get_base64()}"
        yield Address("web1", "127.0.0.1", listening.getsockname()[1], "deploy", pinned, private)
        login.answer.set()
        thread.join()
    for transport in transports:
        transport.close()


def test_a_login_without_an_answer_is_a_lost_connection(address, monkeypatch):
    monkeypatch.setattr(ssh_connection, "CALL_LIMIT_S", 1.0)

    with pytest.raises(ConnectionLost, match="web1 cannot be reached: no answer for 1 s"):
        Connection(address)


def test_a_login_that_is_answered_with_no_is_a_refusal(address, login):
    login.answer.set()

    with pytest.raises(ServerRefused, match="does not take Deployer's key"):
        Connection(address)
