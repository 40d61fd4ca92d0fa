"""Where machines run: podman with its files in ``.test-parts/host``, in namespaces of its own.

A machine's network is that of the lab, in which nothing is but loopback, so tests reach it at 127.0.0.1 and it
reaches nobody. Where the host's control groups are not the unified ones, the lab mounts those for itself, since
systemd in a container would otherwise make its groups among the host's.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.daemon import ROOT

FOLDER = ROOT / ".test-parts" / "host"
SUITE = "bookworm"
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,git,sudo,make,openssh-client,procps,ca-certificates"
"""A server on which Deployer was never installed."""

_CONTAINERS_CONF = """
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
[containers]
default_ulimits=["nofile=20000:20000","nproc=1000:1000"]
"""

_NAMESPACES = """
if [ "$(stat -fc %T /sys/fs/cgroup)" != cgroup2fs ]; then
    umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
ip link set lo up && echo ready && exec cat
"""


OPTIONS = ("--cap-add=SYS_ADMIN,SYS_PTRACE", "--security-opt=seccomp=unconfined", "--cgroupns=private")
OPTIONS += ("--pids-limit=-1", "--network=host")
"""Of every container here. The network is the lab's; the limit of processes would need a control group of its own."""


class NotPossible(Exception):
    """This host does not let a test run a container."""


class Lab:
    """Use it as a context manager; while it is open, this thread's connections are the lab's."""

    def __enter__(self) -> Lab:
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / "containers.conf").write_text(_CONTAINERS_CONF)
        # Whatever the lab started ends with its first process, and that one ends with its input.
        namespaces = ["--mount", "--net", "--pid", "--fork", "--mount-proc", "--propagation=private"]
        self._holder = subprocess.Popen(
            ["unshare", *namespaces, "sh", "-c", _NAMESPACES],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            self._close()
            raise NotPossible("no namespaces or control groups of its own")
        first = f"/proc/{self._holder.pid}/task/{self._holder.pid}/children"
        self._first = int(Path(first).read_text())
        self._outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        # What an earlier run left behind when it was killed.
        for folder in ("run", "tmp"):
            shutil.rmtree(FOLDER / folder, ignore_errors=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
        os.close(self._outside)
        self._close()

    def _close(self) -> None:
        """The holder ends when its input does, and the namespaces with it."""
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.wait()
        self._holder.stdout.close()

    def enter(self) -> None:
        """From here on this thread's sockets, and what it starts, are in the lab's network."""
        inside = os.open(f"/proc/{self._first}/ns/net", os.O_RDONLY)
        _set_network(inside)
        os.close(inside)

    def leave(self) -> None:
        _set_network(self._outside)

    def podman(
        self, *words: str, given: bytes | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        folders = (("root", "store"), ("runroot", "run"), ("tmpdir", "tmp"))
        places = [f"--{name}={FOLDER / folder}" for name, folder in folders]
        done = subprocess.run(
            ["nsenter", "-m", "-n", "-p", "-t", str(self._first), "podman", *places, *words],
            env={**os.environ, "CONTAINERS_CONF": str(FOLDER / "containers.conf")},
            input=given,
            capture_output=True,
            check=False,
        )
        if check and done.returncode:
            raise OSError(f"podman {' '.join(words)}: {(done.stderr or done.stdout).decode()}")
        return done

    def probe(self) -> None:
        """Run the smallest of containers as a machine is run. Raises NotPossible with podman's words."""
        with fresh_folder(FOLDER / "probe") as root:
            shutil.copy(shutil.which("busybox") or "", root / "busybox")
            archive = run(["tar", "-C", str(root), "-c", "."])
        name = "localhost/deployer-probe:1"
        try:
            self.podman("import", "-", name, given=archive)
            self.podman("run", "--rm", *OPTIONS, name, "/busybox", "true")
        except OSError as error:
            raise NotPossible(str(error)) from error

    def image(self) -> str:
        """A Debian with systemd. Made once and kept, since it takes a minute."""
        name = f"localhost/deployer-host:{hashlib.sha256(f'{SUITE} {PACKAGES}'.encode()).hexdigest()[:12]}"
        if self.podman("image", "exists", name, check=False).returncode == 0:
            return name
        with fresh_folder(FOLDER / "rootfs") as root:
            run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root)])
            run(["tar", "-C", str(root), "-cf", str(FOLDER / "rootfs.tar"), "."])
        self.podman("import", str(FOLDER / "rootfs.tar"), name)
        (FOLDER / "rootfs.tar").unlink()
        return name


def wheels() -> Path:
    """The packages that Deployer runs on, as files: a machine reaches no index."""
    folder = FOLDER / "wheels"
    run([sys.executable, "-m", "pip", "wheel", "-q", "-w", str(folder), "-r", str(ROOT / "requirements.txt")])
    return folder


def checkout() -> bytes:
    """The checkout as a tar archive: every file that git knows, as it is now."""
    listed = run(["git", "-C", str(ROOT), "ls-files", "-z"])
    return run(["tar", "-C", str(ROOT), "--null", "--files-from=-", "-c"], given=listed)


def run(argv: Sequence[str], given: bytes | None = None) -> bytes:
    done = subprocess.run(argv, input=given, capture_output=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace")
        raise OSError(f"{json.dumps(list(argv))} exited with {done.returncode}: {said[-2000:]}")
    return done.stdout


@contextlib.contextmanager
def fresh_folder(path: Path) -> Iterator[Path]:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    yield path
    shutil.rmtree(path)


def _set_network(fd: int) -> None:
    """setns(2) for this thread."""
    clone_newnet = 0x40000000
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, clone_newnet):
        raise OSError(ctypes.get_errno(), "setns")
