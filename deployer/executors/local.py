"""Commands on this host: run directories under the data folder, followed by inotify."""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from inotify_simple import INotify, flags

from deployer.errors import ExecutorError
from deployer.executors import launcher, processes
from deployer.executors.base import FENCE_PATIENCE_S, SYSTEM_PATH, TOMBSTONE_S, Answer, Look, Process, Run, RunState

_KEPT_AFTER_COLLECTION = frozenset(("pid", "exit"))


class LocalExecutor:
    """The executor of the host that Deployer runs on. See `base.Executor` for what each method promises."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._script = spool / "run"
        if processes.read(str(self._script)) != launcher.SCRIPT.encode():
            # A runner that comes back on a full disk finds it there.
            _write_private(self._script, launcher.SCRIPT.encode())
        self._children: list[subprocess.Popen[bytes]] = []
        self._inotify = INotify(nonblocking=True)
        self._watches: dict[str, int] = {}
        self._identities: dict[str, _Launched] = {}
        self._forgotten: set[str] = set()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller = select.poll()
        self._poller.register(self._inotify.fileno(), select.POLLIN)
        self._poller.register(self._wake_fd, select.POLLIN)

    def close(self) -> None:
        """Give up what following needs. What was launched goes on."""
        for child in self._children:
            # Whoever follows it next finds it by its run directory; nobody has to wait for it.
            child.returncode = child.poll() or 0
        self._children.clear()
        self._inotify.close()
        os.close(self._wake_fd)

    def launch(self, run: Run) -> None:
        directory = self._spool / run.id
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            if (directory / "pid").exists():
                return
            environment = dict(run.environment)
            if run.files:
                for name, value in environment.items():
                    environment[name] = value.replace("{run_dir}", str(directory))
            inputs = {
                **run.files,
                "env": launcher.env_file(environment, run.directory),
                "cmd": launcher.cmd_file(run.script),
            }
            for name, content in inputs.items():
                _write_private(directory / name, content)
            self._watch(run.id)
            self._reap()
            self._children.append(
                subprocess.Popen(
                    [
                        "/bin/sh",
                        str(self._script),
                        str(directory),
                        str(launcher.blocks(run.max_output_bytes)),
                        run.nonce,
                        run.shell,
                    ],
                    env={"PATH": SYSTEM_PATH},
                    cwd="/",
                    start_new_session=True,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        except OSError as error:
            raise ExecutorError(f"The command could not be started: {error}.") from error

    def look(self, run_id: str) -> Look:
        directory = f"{self._spool}/{run_id}"
        launched = self._launched(run_id)
        if launched is None:
            return Look(self._look_at_empty_fence(self._spool / run_id / "pid"))
        is_earlier = launched.boot_id != processes.boot_id()
        code = _exit_code(directory)
        is_alive = False
        if code is None:
            is_alive = not is_earlier and self._is_alive(directory, launched)
            if not is_alive:
                # What ended between the two looks is seen as ended, never as lost.
                code = _exit_code(directory)
        size = _size(f"{directory}/output")
        self._forget_environment(run_id, has_begun=code is not None)
        if code is not None:
            return Look(RunState.EXITED, size, code, is_earlier)
        return Look(RunState.ALIVE if is_alive else RunState.LOST, size, None, is_earlier)

    def age_s(self, run_id: str) -> float | None:
        launched = self._launched(run_id)
        if launched is None or launched.boot_id != processes.boot_id():
            return None
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - launched.start_ticks / processes.TICKS_PER_S)

    def read(self, run_id: str, offset: int, limit: int) -> bytes:
        try:
            fd = os.open(f"{self._spool}/{run_id}/output", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return b""
        try:
            return os.pread(fd, limit, offset)
        finally:
            os.close(fd)

    def wait(self, run_id: str, timeout_s: float) -> None:
        self._watch(run_id)
        for fd, _ in self._poller.poll(max(0.0, timeout_s) * 1000):
            if fd == self._wake_fd:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(fd)
            else:
                self._inotify.read(timeout=0)

    def wake(self) -> None:
        os.eventfd_write(self._wake_fd, 1)

    def stop(self, run_id: str, deploy_id: str, *, force: bool) -> bool:
        number = signal.SIGKILL if force else signal.SIGTERM
        targets = self._started_by(run_id, deploy_id)
        for pid in targets:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        return bool(targets)

    def survivors(self, run_id: str, deploy_id: str) -> Sequence[Process]:
        return [Process(pid, processes.command_line(pid)) for pid in sorted(self._started_by(run_id, deploy_id))]

    def collect(self, run_id: str) -> None:
        self._identities.pop(run_id, None)
        self._forgotten.discard(run_id)
        watch = self._watches.pop(run_id, None)
        if watch is not None:
            with contextlib.suppress(OSError):
                self._inotify.rm_watch(watch)
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self._spool / run_id):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                elif entry.name not in _KEPT_AFTER_COLLECTION:
                    os.unlink(entry.path)

    def sweep(self) -> None:
        oldest = time.time() - TOMBSTONE_S
        for entry in os.scandir(self._spool):
            if not entry.is_dir(follow_symlinks=False) or entry.stat().st_mtime > oldest:
                continue
            names = set(os.listdir(entry.path))
            if names <= _KEPT_AFTER_COLLECTION:
                shutil.rmtree(entry.path, ignore_errors=True)

    def base_environment(self) -> dict[str, str]:
        return dict(self._environment)

    @functools.cached_property
    def _environment(self) -> dict[str, str]:
        user = pwd.getpwuid(os.getuid())
        environment = {
            "PATH": SYSTEM_PATH,
            "HOME": user.pw_dir,
            "USER": user.pw_name,
            "LOGNAME": user.pw_name,
            "LANG": "C.UTF-8",
        }
        runtime = f"/run/user/{user.pw_uid}"
        if os.path.isdir(runtime):
            environment["XDG_RUNTIME_DIR"] = runtime
        return environment

    def boot_id(self) -> str:
        return processes.boot_id()

    def read_file(self, path: str) -> bytes | None:
        try:
            with open(path, "rb", buffering=0) as file:
                return file.read(64 * 1024)
        except OSError:
            return None

    def probe(self, argv: Sequence[str], *, environment: Mapping[str, str], timeout_s: float) -> Answer:
        try:
            done = subprocess.run(
                list(argv),
                env={**self.base_environment(), **environment},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ExecutorError(f"{argv[0]} could not be asked: {error}.") from error
        return Answer(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def _started_by(self, run_id: str, deploy_id: str) -> set[int]:
        found = set(processes.with_variable(f"DEPLOY_ID={deploy_id}".encode()))
        group = processes.read(f"{self._spool}/{run_id}/group").strip()
        look = self.look(run_id)
        if not group or look.is_from_earlier_boot:
            return found
        # While no exit is recorded the launcher has not yet waited for its child, so the number is still the
        # command's. Later a process that has it is another's; while nobody has it, who remains in the session is
        # ours, because Linux gives out no number that a session still bears.
        if look.state is RunState.ALIVE or processes.stat(int(group)) is None:
            found.update(processes.in_session(int(group)))
        return found

    @staticmethod
    def _look_at_empty_fence(path: Path) -> RunState:
        try:
            age_s = time.time() - path.stat().st_mtime
        except FileNotFoundError:
            return RunState.ABSENT
        # The launcher writes its pid at once after making the file. One that has not done so for this long was killed
        # in between, or the disk was full; then it has not begun the command.
        return RunState.ALIVE if age_s < FENCE_PATIENCE_S else RunState.LOST

    def _launched(self, run_id: str) -> _Launched | None:
        """What the fence says; None while it says nothing. It is written once, so it is read once."""
        known = self._identities.get(run_id)
        if known is None:
            line = processes.read(f"{self._spool}/{run_id}/pid")
            if not line.endswith(b"\n"):
                return None
            pid, start_ticks, boot = line.decode().split()
            known = self._identities[run_id] = _Launched(int(pid), int(start_ticks), boot)
        return known

    @staticmethod
    def _is_alive(directory: str, launched: _Launched) -> bool:
        found = processes.stat(launched.pid)
        if found and found.start_ticks == launched.start_ticks and found.state not in "ZX":
            return True
        # The launcher is gone. Its copier shares its session; the command has one of its own.
        groups = processes.read(f"{directory}/group").split()
        return any(processes.in_session(session) for session in (launched.pid, *map(int, groups)))

    def _watch(self, run_id: str) -> None:
        if run_id not in self._watches:
            # Watches are counted for each user, and steps may have used them up; then looks at intervals must do.
            with contextlib.suppress(OSError):
                self._watches[run_id] = self._inotify.add_watch(
                    str(self._spool / run_id), flags.MODIFY | flags.CREATE
                )

    def _reap(self) -> None:
        self._children = [child for child in self._children if child.poll() is None]

    def _forget_environment(self, run_id: str, *, has_begun: bool) -> None:
        """The environment may hold secrets; once the command has read it, it goes."""
        if run_id in self._forgotten:
            return
        directory = f"{self._spool}/{run_id}"
        if has_begun or os.path.exists(f"{directory}/group"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{directory}/env")
            self._forgotten.add(run_id)


@dataclass(frozen=True)
class _Launched:
    """A launcher's identity, as its fence has it."""

    pid: int
    start_ticks: int
    boot_id: str


def _write_private(path: Path, content: bytes) -> None:
    """Complete or not at all, and readable by nobody else from the first byte on."""
    temporary = f"{path}.{os.getpid()}.{time.monotonic_ns()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb", buffering=0) as file:
            rest = memoryview(content)
            while rest:
                rest = rest[file.write(rest) :]
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


def _exit_code(directory: str) -> int | None:
    """The recorded exit code, which counts only with its newline."""
    line = processes.read(f"{directory}/exit")
    return int(line) if line.endswith(b"\n") else None


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
