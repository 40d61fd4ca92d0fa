"""Every error that the program raises on purpose: one tree, so that callers branch on the class."""

from __future__ import annotations


class DeployerError(Exception):
    """Something a person can act on. The message says what happened, to what, and what to do.

    ``hint`` is an optional second sentence with the mend.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = str(self.args[0])
        return f"{message} {self.hint}" if self.hint else message


class ConfigError(DeployerError):
    """The configuration cannot be used; the start is refused."""


class KeyFileError(DeployerError):
    """The key file is missing its protection, unreadable or damaged."""


class SecretUnreadable(DeployerError):
    """A stored secret cannot be decrypted with the present key file."""


class NotFound(DeployerError):
    """The named object does not exist, or not for this user."""


class InvalidInput(DeployerError):
    """Input that a person gave is not usable. ``fields`` maps a field's name to its error."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {error}" for name, error in fields.items()))
        self.fields = fields


class QueueFull(DeployerError):
    """As many deployments wait as ``runner.max_queued`` allows."""


class InvalidTransition(DeployerError):
    """The deployment's status does not allow what was asked for."""


class LostClaim(DeployerError):
    """A write by a runner that no longer owns the deployment; nothing was changed."""


class StorageUnavailable(DeployerError):
    """The database could not take a write (disk full, locked, read-only)."""


class BackupError(DeployerError):
    """A backup could not be made or restored; whatever was there before is as it was."""


class SignatureInvalid(DeployerError):
    """A webhook's signature is missing, malformed or wrong."""


class PayloadInvalid(DeployerError):
    """A webhook's body is not the JSON object its provider sends."""


class CommitUntrusted(DeployerError):
    """A commit is not signed by anybody whom its project trusts, or that could not be found out."""


class ExecutorError(DeployerError):
    """A command could not be started or observed on its machine."""


class AddressRefused(DeployerError):
    """A host that a person named leads to an address that nothing of ours is to talk to."""


class ConnectionLost(ExecutorError):
    """A server does not answer at the moment. What runs there goes on; another try may succeed."""


class ServerRefused(ExecutorError):
    """A server does not let us in, and will not before a person does something about it."""


class ServerUnfit(ServerRefused):
    """A server lets us in, but can run no commands as it is."""


class HostKeyChanged(ServerRefused):
    """A server showed another host key than the pinned one. ``offered`` is that key, as ``type base64``."""

    def __init__(self, message: str, *, offered: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.offered = offered


class GitError(DeployerError):
    """A git call failed; the message holds git's own words.

    ``is_unreachable`` says that the repository's host did not answer, so that it may later.
    """

    def __init__(self, message: str, *, hint: str = "", is_unreachable: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.is_unreachable = is_unreachable


def as_sentence(problem: str) -> str:
    """A problem named by a rule (``give a branch``), as the error that stands at a field."""
    return problem[0].upper() + problem[1:] + "."


class MailError(DeployerError):
    """A mail could not be handed to its server; the message holds the server's own words.

    ``is_permanent`` says that the server will not take this mail from this sender for these people later either.
    """

    def __init__(self, message: str, *, hint: str = "", is_permanent: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.is_permanent = is_permanent


class ChannelError(DeployerError):
    """A notification could not be handed to a channel; the message holds the other side's words.

    ``is_permanent`` says that another try is of no use before a person does something about it; ``wait_s`` how long
    the other side wants no further try; ``answer`` what it said.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        is_permanent: bool = False,
        wait_s: float | None = None,
        answer: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.is_permanent = is_permanent
        self.wait_s = wait_s
        self.answer = answer
