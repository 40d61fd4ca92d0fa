"""A real sshd on loopback, on a free port, with its own host key."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")


class SshServer:
    """``authorize`` lets a public key in; ``known_hosts`` is the line that pins its host key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.port = _free_port()
        self._authorized = folder / "authorized_keys"
        self._authorized.write_text("")
        self.make_host_key()

    def make_host_key(self) -> None:
        """A new host key, as after a reinstallation."""
        key = self.folder / "host_key"
        for path in (key, key.with_suffix(".pub")):
            path.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)

    @property
    def known_hosts(self) -> str:
        return f"[127.0.0.1]:{self.port} {(self.folder / 'host_key.pub').read_text()}"

    def url(self, path: Path) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{path}"

    def authorize(self, public_key: str) -> None:
        with self._authorized.open("a") as file:
            file.write(public_key + "\n")

    @contextmanager
    def running(self) -> Iterator[SshServer]:
        assert SSHD is not None
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        settings = self.folder / "sshd_config"
        settings.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host_key\n"
            f"AuthorizedKeysFile {self._authorized}\nPidFile none\nUsePAM no\nStrictModes no\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
        )
        with (
            (self.folder / "log").open("wb") as log,
            subprocess.Popen([SSHD, "-D", "-e", "-f", str(settings)], stderr=log) as process,
        ):
            try:
                wait_until(self._answers, "sshd answers")
                yield self
            finally:
                process.terminate()

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_sshd() -> None:
    """Skip where there is none, unless all parts are required."""
    if SSHD is None:
        if os.environ.get("DEPLOYER_TEST_REQUIRE_PARTS"):
            pytest.fail("sshd is required, but not installed")
        pytest.skip("needs an OpenSSH server")
