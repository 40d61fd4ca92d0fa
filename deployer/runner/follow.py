"""Following one durable command from its launch, or from wherever it is after a restart, to its end."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from deployer import clock
from deployer.executors.base import Executor, Look, RunState
from deployer.models.deployment import Status
from deployer.runner.log_sink import READ_BYTES, LogSink

FLUSH_INTERVAL_S = 0.04
"""Output that keeps coming is committed this often: well under the 100 ms that a viewer may wait for a line."""

FLUSH_BYTES = 4 * 1024 * 1024

FIRST_FLUSH_S = 0.01
"""What a command prints in its first moments waits this long: a short one's output is committed with its end."""

MARK_PATIENCE_S = 2.0
"""How long after the exit code the end mark may take before the log counts as incomplete."""

KILL_PATIENCE_S = 5.0
"""How long after a KILL the launcher may take to record the exit code."""

START_PATIENCE_S = 10.0
"""How long a launcher may take to say that it has begun."""

POLL_S = 1.0
"""How often a silent command is looked at, so that one that was killed with its launcher is noticed."""

SURVIVOR_POLL_S = 0.05


@dataclass(frozen=True)
class Ending:
    """How a command ended; ``cause`` in words a person can act on.

    ``is_its_own`` says that it ran and failed by itself or took too long, so that another try makes sense.
    """

    status: Status
    exit_code: int | None = None
    cause: str | None = None
    is_its_own: bool = False


@dataclass(frozen=True)
class Stop:
    """Why a command is being ended before its time."""

    status: Status
    cause: str
    line: str = ""


class Follower:
    """Follows one command.

    ``title`` and ``place`` are what people call it and where it runs; ``cancelled_by`` says who asked for its end,
    and ``save`` commits what the sink has, with the cause of a stop that begins. ``stop`` is one that an earlier
    runner began.
    """

    def __init__(
        self,
        executor: Executor,
        sink: LogSink,
        *,
        run_id: str,
        deploy_id: str,
        title: str,
        place: str,
        seconds_left: float,
        timeout_s: int,
        grace_s: float,
        max_output_bytes: int,
        cancelled_by: Callable[[], str | None],
        save: Callable[[str | None], None],
        stop: Stop | None = None,
    ) -> None:
        self._executor = executor
        self._sink = sink
        self._run_id = run_id
        self._deploy_id = deploy_id
        self._title = title
        self._place = place
        self._deadline = time.monotonic() + seconds_left
        self._timeout_s = timeout_s
        self._grace_s = grace_s
        self._max_output_bytes = max_output_bytes
        self._cancelled_by = cancelled_by
        self._save = save
        # Whether what runs was told to end before that runner went is not known: it is told (again).
        self._stop = stop
        self._is_told = False
        self._is_incomplete = False
        self._kill_at = time.monotonic() + grace_s if stop else 0.0
        self._killed_at: float | None = None
        self._exit_seen_at: float | None = None
        self._next_flush = time.monotonic() + FIRST_FLUSH_S
        self._begun_at = time.monotonic()

    def follow(self) -> Ending:
        while True:
            look = self._executor.look(self._run_id)
            is_behind = self._read(look)
            if look.state is RunState.EXITED and not is_behind and self._has_everything(look):
                if self._stop is None or self._everything_ended():
                    return self._exited(look)
            elif look.state is RunState.LOST and not is_behind:
                return self._lost(look)
            elif look.state is RunState.ABSENT and time.monotonic() > self._begun_at + START_PATIENCE_S:
                return self._vanished()
            if self._killed_at and time.monotonic() > self._killed_at + KILL_PATIENCE_S and not is_behind:
                return self._ended_by(look)
            self._check_stop(look)
            if not is_behind:
                self._executor.wait(self._run_id, self._patience(look))

    # Output -----------------------------------------------------------------------------------------------------

    def _read(self, look: Look) -> bool:
        """Take what is there. True if more is waiting than was read."""
        sink = self._sink
        if sink.is_past_head and look.size - sink.position > 1.5 * sink.tail_bytes:
            self._flush()
            self._skip(look.size - sink.tail_bytes)
        if look.size > sink.position and not sink.is_complete:
            sink.feed(self._executor.read(self._run_id, sink.position, READ_BYTES))
        is_behind = look.size > sink.position and not sink.is_complete
        # What an ended command printed last is committed together with its end; and a flood is committed in large
        # portions, or it would wait for the disk more often than for the command.
        is_due = time.monotonic() >= self._next_flush and (is_behind or look.state is not RunState.EXITED)
        if is_due or sink.pending_bytes >= FLUSH_BYTES:
            self._flush()
        return is_behind

    def _flush(self) -> None:
        if self._sink.has_pending:
            self._save(None)
            self._next_flush = time.monotonic() + FLUSH_INTERVAL_S

    def _skip(self, target: int) -> None:
        margin = self._sink.skip_margin
        self._sink.skip_to(target, self._executor.read(self._run_id, target - margin, 2 * margin))

    def _has_everything(self, look: Look) -> bool:
        if self._sink.is_complete or self._is_incomplete:
            return True
        if look.size >= self._max_output_bytes // 512 * 512:
            self._sink.system(f"Output beyond {self._max_output_bytes} bytes (logs.max_spool_bytes) was discarded.")
            self._is_incomplete = True
            return True
        self._exit_seen_at = self._exit_seen_at or time.monotonic()
        if time.monotonic() < self._exit_seen_at + MARK_PATIENCE_S:
            return False
        self._sink.system("The end of this command's output is missing: it could not be written.")
        self._is_incomplete = True
        return True

    # Ending it --------------------------------------------------------------------------------------------------

    def _check_stop(self, look: Look) -> None:
        now = time.monotonic()
        # Asked also while it is being ended: another runner that has it by now may have begun another try.
        by = self._cancelled_by()
        if self._stop is None:
            if by:
                self._begin_stop(Stop(Status.CANCELLED, f"cancelled by {by}", f"Cancelled by {by}."))
            elif now >= self._deadline and look.state is not RunState.EXITED:
                # What has exited was in time, however late that is seen.
                limit = clock.duration_words(self._timeout_s)
                self._begin_stop(
                    Stop(Status.FAILED, f"{self._title} timed out after {limit}", f"Timed out after {limit}.")
                )
        elif now >= self._kill_at and self._killed_at is None:
            self._executor.stop(self._run_id, self._deploy_id, force=True)
            self._killed_at = now
        elif not self._is_told:
            self._is_told = self._executor.stop(self._run_id, self._deploy_id, force=False)

    def _begin_stop(self, stop: Stop) -> None:
        self._stop = stop
        self._sink.system(f"{stop.line} Ending everything that the command started.")
        self._save(stop.cause)
        self._is_told = self._executor.stop(self._run_id, self._deploy_id, force=False)
        self._kill_at = time.monotonic() + self._grace_s

    def _everything_ended(self) -> bool:
        """After a stop: whether also what the command left behind is gone. Past the grace period it is killed."""
        if not self._executor.survivors(self._run_id, self._deploy_id):
            return True
        if self._killed_at is None:
            return False
        self._executor.stop(self._run_id, self._deploy_id, force=True)
        return time.monotonic() > self._killed_at + KILL_PATIENCE_S

    def _patience(self, look: Look) -> float:
        """How long to wait for news, in seconds."""
        now = time.monotonic()
        waits = [POLL_S]
        if self._sink.has_pending and look.state is not RunState.EXITED:
            waits.append(self._next_flush - now)
        if self._stop is None:
            waits.append(self._deadline - now)
        elif self._killed_at is None:
            is_busy = look.state is RunState.EXITED or not self._is_told
            waits += [self._kill_at - now, SURVIVOR_POLL_S if is_busy else POLL_S]
        else:
            waits.append(SURVIVOR_POLL_S)
        if self._exit_seen_at and not self._is_incomplete:
            waits.append(self._exit_seen_at + MARK_PATIENCE_S - now)
        return max(0.001, min(waits))

    # What it came to --------------------------------------------------------------------------------------------

    def _exited(self, look: Look) -> Ending:
        self._sink.finish()
        if self._stop:
            return self._stopped(look)
        if look.exit_code == 0:
            return Ending(Status.SUCCESS, 0)
        if look.is_from_earlier_boot and look.exit_code in (128 + 15, 128 + 9):
            return Ending(Status.INTERRUPTED, look.exit_code, f"{self._place} was rebooted while {self._title} ran")
        return Ending(Status.FAILED, look.exit_code, f"{self._title} {exit_words(look.exit_code)}", is_its_own=True)

    def _lost(self, look: Look) -> Ending:
        self._sink.finish()
        if self._stop:
            return self._ended_by(look)
        if look.is_from_earlier_boot:
            cause = f"{self._place} was rebooted while {self._title} ran"
        else:
            cause = f"{self._title} and its launcher were killed from outside (out of memory?)"
        self._sink.system(f"Interrupted: {cause}.")
        return Ending(Status.INTERRUPTED, None, cause)

    def _ended_by(self, look: Look) -> Ending:
        self._sink.finish()
        return self._stopped(look)

    def _stopped(self, look: Look) -> Ending:
        assert self._stop is not None
        stop = self._stop
        return Ending(stop.status, look.exit_code, stop.cause, is_its_own=stop.status is Status.FAILED)

    def _vanished(self) -> Ending:
        self._sink.finish()
        cause = f"the run directory of {self._title} is gone, so it cannot be told how it ended"
        self._sink.system(f"Interrupted: {cause}.")
        return Ending(Status.INTERRUPTED, None, cause)


def end_leftovers(executor: Executor, run_id: str, deploy_id: str, grace_s: float) -> None:
    """End what an ended command, and those before it, left running: asked first, killed after ``grace_s``."""
    begun_at = time.monotonic()
    executor.stop(run_id, deploy_id, force=False)
    while executor.survivors(run_id, deploy_id) and time.monotonic() < begun_at + grace_s + KILL_PATIENCE_S:
        if time.monotonic() >= begun_at + grace_s:
            executor.stop(run_id, deploy_id, force=True)
        executor.wait(run_id, SURVIVOR_POLL_S)


def exit_words(code: int | None) -> str:
    """``exited with 1``; of a signal also which."""
    if code is not None and code > 128:
        try:
            return f"exited with {code} (ended by {signal.Signals(code - 128).name})"
        except ValueError:
            pass
    return f"exited with {code}"
