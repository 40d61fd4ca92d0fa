"""A real sshd on loopback, on a free port, with its own host key."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployer.executors import processes
from tests.support.waiting import wait_until

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")


class SshServer:
    """``authorize`` lets a public key in; ``known_hosts`` is the line that pins its host key.

    ``user`` is who may log in, where that is not who runs the tests; ``home`` then is that user's. Without a user,
    ``home`` stands in for the home directory. ``changed`` are lines of sh that change the files of ``/usr/bin`` as
    this sshd, and whoever logs in there, sees them (as root; see `require_own_files`).
    """

    def __init__(
        self, folder: Path, *, home: Path | None = None, user: str | None = None, changed: tuple[str, ...] = ()
    ) -> None:
        self.folder = folder
        folder.mkdir()
        self.port = _free_port()
        self.user = user or getpass.getuser()
        self.home = home
        self._changed = changed
        self._process: subprocess.Popen[bytes] | None = None
        self._authorized = folder / "authorized_keys"
        self._authorized.write_text("")
        self.make_host_key()

    def make_host_key(self, kind: str = "ed25519") -> None:
        """A new host key, as after a reinstallation."""
        key = self.folder / "host_key"
        for path in (key, key.with_suffix(".pub")):
            path.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(key)], check=True)

    def add_host_key(self, kind: str) -> None:
        """One of another type beside it, as a newer sshd may make."""
        key = self.folder / f"host_key_{kind}"
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(key)], check=True)

    @property
    def host_key(self) -> str:
        """``type base64``."""
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])

    @property
    def known_hosts(self) -> str:
        return f"[127.0.0.1]:{self.port} {(self.folder / 'host_key.pub').read_text()}"

    def url(self, path: Path) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{path}"

    @property
    def authorized(self) -> str:
        """The lines of all keys that are let in."""
        return self._authorized.read_text()

    def authorize(self, public_key: str) -> None:
        with self._authorized.open("a") as file:
            file.write(public_key + "\n")

    def revoke_all(self) -> None:
        self._authorized.write_text("")

    @contextmanager
    def running(self) -> Iterator[SshServer]:
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def start(self) -> None:
        assert SSHD is not None
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        settings = self.folder / "sshd_config"
        text = (
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host_key\n"
            f"AuthorizedKeysFile {self._authorized}\nPidFile none\nUsePAM no\nStrictModes no\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
            "MaxStartups 100\n"
        )
        text += "".join(f"HostKey {path}\n" for path in self.folder.glob("host_key_*") if not path.suffix)
        if self.home and self.user == getpass.getuser():
            text += f"SetEnv HOME={self.home}\n"
        settings.write_text(text)
        with (self.folder / "log").open("ab") as log:
            argv = [SSHD, "-D", "-e", "-f", str(settings)]
            if self._changed:
                argv = ["unshare", "--mount", "/bin/sh", "-ec", self._own_files(), "sh", *argv]
            self._process = subprocess.Popen(argv, stderr=log)
        wait_until(self._answers, "sshd answers")

    def _own_files(self) -> str:
        """In a mount namespace: /usr/bin with a layer of its own above it, then sshd."""
        layer = self.folder / "layer"
        layer.mkdir(exist_ok=True)
        lines = [
            f"mount -t tmpfs layer {layer}",
            f"mkdir {layer}/upper {layer}/work",
            f"mount -t overlay over -o lowerdir=/usr/bin,upperdir={layer}/upper,workdir={layer}/work /usr/bin",
            *self._changed,
            'exec "$@"',
        ]
        return "\n".join(lines)

    def stop(self) -> None:
        """The listening sshd and every connection end."""
        if self._process:
            self.thaw()
            connections = self.connections()
            self._process.terminate()
            self._process.wait(10)
            self._process = None
            _signal(connections, signal.SIGKILL)

    def cut(self) -> None:
        """Every connection is lost, as when a cable is pulled and put in again."""
        _signal(self.connections(), signal.SIGKILL)

    def freeze(self) -> None:
        """Nothing answers any more, but nothing is closed either."""
        assert self._process is not None
        _signal([self._process.pid, *self.connections()], signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        _signal([self._process.pid, *self.connections()], signal.SIGCONT)

    def connections(self) -> list[int]:
        """The processes of sshd that serve connections (not what was started over them)."""
        assert self._process is not None
        found, parents = [], [self._process.pid]
        while parents:
            children = [pid for pid in processes.pids() if _is_sshd(pid) and parent_of(pid) in parents]
            found += children
            parents = children
        return found

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def _is_sshd(pid: int) -> bool:
    return processes.read(f"/proc/{pid}/comm").startswith(b"sshd")


def parent_of(pid: int) -> int:
    return int((processes.read(f"/proc/{pid}/stat").rpartition(b") ")[2].split() or [0, 0])[1])


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_own_files(folder: Path) -> None:
    """Skip where an sshd cannot be shown other files than the host's, unless all parts are required."""
    folder.mkdir()
    script = (
        f"mount -t tmpfs layer {folder} && mkdir {folder}/upper {folder}/work && "
        f"mount -t overlay over -o lowerdir=/usr/bin,upperdir={folder}/upper,workdir={folder}/work /usr/bin"
    )
    done = subprocess.run(["unshare", "--mount", "/bin/sh", "-c", script], capture_output=True, check=False)
    if done.returncode:
        if os.environ.get("DEPLOYER_TEST_REQUIRE_PARTS") and os.getuid() == 0:
            pytest.fail(f"an overlay in a mount namespace is required: {done.stderr.decode()}")
        pytest.skip("needs root, and a mount namespace with an overlay")


def require_sshd() -> None:
    """Skip where there is none, unless all parts are required."""
    if SSHD is None:
        if os.environ.get("DEPLOYER_TEST_REQUIRE_PARTS"):
            pytest.fail("sshd is required, but not installed")
        pytest.skip("needs an OpenSSH server")
