"""Where a deployment's commands run: what brings the commit on this host, the rest on the project's server."""

from __future__ import annotations

from collections.abc import Callable

from deployer.commands import server_repository
from deployer.executors.base import Executor
from deployer.installation import DataDir
from deployer.models.deployment import Command
from deployer.models.project import Project
from deployer.runner.contact import Contact
from deployer.runner.plan import RUN_HERE


class Places:
    """The two places of a deployment, which are one where the project has no server, and its directories there.

    ``here`` is the daemon's host, ``there`` the place of the project's steps. ``at_contact`` is called when the
    server was reached, before anything is run there.
    """

    def __init__(
        self,
        project: Project,
        here: Executor,
        contact: Contact | None,
        data_dir: DataDir,
        at_contact: Callable[[], None],
    ) -> None:
        self._project = project
        self._contact = contact
        self._data_dir = data_dir
        self._at_contact = at_contact
        self.here = here
        self.there: Executor = contact or here

    @property
    def are_one(self) -> bool:
        return self.there is self.here

    @property
    def is_out_of_contact(self) -> bool:
        """Whether the server was given up, so that something may still run there."""
        return self._contact is not None and self._contact.has_ended

    def of(self, command: Command) -> Executor:
        return self.here if command.kind in RUN_HERE else self.there

    def name_of(self, command: Command) -> str:
        """What people call the place of a command."""
        server = None if command.kind in RUN_HERE else self._project.server
        return server.name if server else "the host"

    def known_boot_id(self, command: Command) -> str | None:
        """That of a command's place; None where a server would have to be waited for."""
        place = self.of(command)
        is_known = place is self.here or (self._contact is not None and self._contact.is_up)
        return place.boot_id() if is_known else None

    def reach(self) -> None:
        """Make contact with the project's server. Raises OutOfContact."""
        self.there.boot_id()
        self._at_contact()

    def working_copy(self) -> str:
        """The directory of the steps, or of the releases, where they run. ``~/`` in front is the home there."""
        path = self._project.path
        return self.there.base_environment()["HOME"] + path[1:] if path.startswith("~/") else path

    def mirror(self) -> str:
        """The bare repository that the working copy is brought to the commit from, where that lies."""
        if self._project.server is None:
            return str(self._data_dir.mirror(self._project.id))
        return f"{self.there.base_environment()['HOME']}/{server_repository.path(self._project.id)}"
