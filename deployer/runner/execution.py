"""One command that has begun: launched where it runs, and followed to its end, also after a restart."""

from __future__ import annotations

from dataclasses import replace

from deployer import clock
from deployer.commands import git
from deployer.config import Config
from deployer.errors import ExecutorError
from deployer.executors.base import RunState
from deployer.executors.launcher import end_mark
from deployer.models.deployment import Command, CommandKind, Deployment, Status
from deployer.runner.contact import OutOfContact
from deployer.runner.follow import Ending, Follower, Stop, exit_words
from deployer.runner.inputs import Inputs
from deployer.runner.log_sink import LogSink
from deployer.runner.places import Places
from deployer.runner.record import Record
from deployer.security.redaction import Redactor

_SAY_WHY = (CommandKind.RELEASE, CommandKind.SWITCH, CommandKind.BACK, CommandKind.HEALTH)
"""Commands of Deployer's own whose last line says why they failed."""

LAST_WORDS_BYTES = 4000


class Execution:
    """The execution of one command, whose row is written. ``is_resumed`` says that another runner began it."""

    def __init__(
        self,
        deployment: Deployment,
        command: Command,
        sink: LogSink,
        *,
        is_resumed: bool,
        places: Places,
        inputs: Inputs,
        record: Record,
        redactor: Redactor,
        config: Config,
    ) -> None:
        self._deployment = deployment
        self._command = command
        self._sink = sink
        self._is_resumed = is_resumed
        self._places = places
        self._place = places.of(command)
        self._inputs = inputs
        self._record = record
        self._redactor = redactor
        self._config = config

    def run(self) -> Ending:
        """How it ended. Raises OutOfContact where its server was given up, LostClaim."""
        ending = self._forgotten_by_a_reboot() or self._follow()
        if not ending.is_its_own:
            return ending
        if self._command.kind is CommandKind.FETCH:
            return self._with_advice(ending)
        if self._command.kind in _SAY_WHY and ending.cause == self._exit_cause(ending):
            return self._with_last_line(ending)
        return ending

    def _forgotten_by_a_reboot(self) -> Ending | None:
        """A host that lost its power can forget the run directory of a command that had just begun. Whether it ran
        cannot be told then, so it is not run again."""
        if not self._is_resumed or self._command.boot_id is None:
            return None
        if self._place.look(self._command.id).state is not RunState.ABSENT:
            return None
        if self._command.boot_id == self._place.boot_id():
            return None
        cause = f"{self._places.name_of(self._command)} was rebooted as {self._title} began"
        self._sink.system(f"Interrupted: {cause}.")
        return Ending(Status.INTERRUPTED, None, cause)

    def _follow(self) -> Ending:
        try:
            if self._command.boot_id is None:
                self._record.boot(self._command, self._place.boot_id())
            if self._command.kind is CommandKind.SEND:
                # Asked first, so that a server that is down or another one is named as such.
                self._places.reach()
            self._place.launch(self._inputs.run_of(self._command))
        except OutOfContact:
            raise
        except ExecutorError as error:
            self._sink.system(str(error))
            return Ending(Status.FAILED, None, str(error))
        return self._follower().follow()

    def _with_advice(self, ending: Ending) -> Ending:
        """A failed fetch is nearly always about the address or the credential: say what to do."""
        advice = git.advice(self._last_words(), has_deploy_key=self._deployment.project.deploy_key_public is not None)
        return replace(ending, cause=f"{ending.cause}. {advice}") if advice else ending

    def _with_last_line(self, ending: Ending) -> Ending:
        lines = [line for line in self._last_words().splitlines() if line.strip()]
        return (
            replace(ending, cause=f"{self._command.name}: {lines[-1].strip()[:500].rstrip('.')}") if lines else ending
        )

    def _last_words(self) -> str:
        """The end of its output, redacted before anything is cut out of it."""
        size = self._place.look(self._command.id).size
        # A secret that begins before what is read ends before what is taken of it.
        start = max(0, size - LAST_WORDS_BYTES - self._redactor.longest)
        words = self._place.read(self._command.id, start, size - start)
        if start:
            words = words[self._redactor.cut_after(words, self._redactor.longest) :]
        return self._redactor.whole(words.partition(end_mark(self._command.nonce))[0]).decode("utf-8", "replace")

    def _exit_cause(self, ending: Ending) -> str:
        """The cause of one that was not ended before its time."""
        return f"{self._title} {exit_words(ending.exit_code)}"

    @property
    def _title(self) -> str:
        return f"step '{self._command.name}'" if self._command.kind is CommandKind.STEP else f"'{self._command.line}'"

    def _follower(self) -> Follower:
        return Follower(
            self._place,
            self._sink,
            run_id=self._command.id,
            deploy_id=self._deployment.id,
            title=self._title,
            place=self._places.name_of(self._command),
            seconds_left=self._command.timeout_s - self._elapsed_s(),
            timeout_s=self._command.timeout_s,
            grace_s=self._config.runner.cancel_grace,
            max_output_bytes=self._config.logs.max_spool_bytes,
            cancelled_by=self._record.cancelled_by,
            save=self._save,
            stop=self._stop_under_way(),
        )

    def _stop_under_way(self) -> Stop | None:
        """Why an earlier runner was ending it: of a command that runs, the cause is written when its end begins."""
        cause = self._command.cause
        if not cause:
            return None
        by = self._record.cancelled_by()
        is_cancel = by is not None and cause == self._redactor.fresh().text(f"cancelled by {by}")
        return Stop(Status.CANCELLED if is_cancel else Status.FAILED, cause)

    def _elapsed_s(self) -> float:
        """For how long it has been running, if another runner began it."""
        if not self._is_resumed:
            return 0.0
        age_s = self._place.age_s(self._command.id)
        if age_s is not None:
            return age_s
        assert self._command.started_at is not None
        return max(0.0, (clock.now() - self._command.started_at).total_seconds())

    def _save(self, cause: str | None) -> None:
        """Commit what the sink has; with ``cause``, also that the command is being ended, and why."""
        self._record.save(self._sink, self._command, self._redactor.fresh().text(cause) if cause else None)
