"""What a command gets: its script, its environment, its directory, and the keys that git may need."""

from __future__ import annotations

import sys

from deployer import servers, variables, working_copies
from deployer.commands import git, health_check, server_repository, variables_file
from deployer.config import Config
from deployer.errors import ExecutorError
from deployer.executors.base import Run
from deployer.installation import DataDir
from deployer.models.deployment import Command, CommandKind, Deployment, tag_of
from deployer.project_secrets import ProjectSecrets
from deployer.runner.places import Places
from deployer.runner.plan import pulls_itself
from deployer.runner.releasing import RELEASING, Releasing
from deployer.security.vault import Vault


class Inputs:
    """Builds the runs of one deployment's commands. What a place says of itself is asked when the first command there
    needs it."""

    def __init__(
        self,
        deployment: Deployment,
        secrets: ProjectSecrets,
        *,
        places: Places,
        vault: Vault,
        config: Config,
        data_dir: DataDir,
        extra_path: list[str],
        releasing: Releasing,
    ) -> None:
        self._deployment = deployment
        self._project = deployment.project
        self._secrets = secrets
        self._places = places
        self._vault = vault
        self._config = config
        self._data_dir = data_dir
        self._releasing = releasing
        server = self._project.server
        self._extra_path = (server.extra_path or "").splitlines() if server else extra_path

    def run_of(self, command: Command) -> Run:
        files: dict[str, bytes] = {}
        script, environment, directory, shell = command.line, self._base(command), "/", "sh"
        if command.kind is CommandKind.STEP:
            directory, shell = self._directory_of(command), self._project.shell
            environment |= self._secrets.variables
        elif command.kind is CommandKind.HEALTH:
            script, directory = health_check.SCRIPT, self._directory_of(command)
            environment |= self._secrets.variables | self._health()
        elif command.kind is CommandKind.FETCH:
            url, directory = self._project.repository_url, str(self._data_dir.root)
            script = git.FETCH
            environment |= git.environment(url, self._credential(files))
            environment |= git.fetch_variables(str(self._data_dir.mirror(self._project.id)), url)
        elif command.kind is CommandKind.VARIABLES:
            script = variables_file.WRITE
            environment |= git.environment(None)
            environment |= self._variables_file(self._directory_of(command), files)
        elif command.kind is CommandKind.SEND:
            script, directory = server_repository.SEND, str(self._data_dir.root)
            environment |= self._way_to_the_server(files)
        elif command.kind in RELEASING:
            script, needed = self._releasing.run_of(command)
            environment |= git.environment(None) | needed
        else:
            script = self._script_of(command)
            environment |= git.environment(None)
            environment |= git.copy_variables(
                self._places.mirror(),
                self._places.working_copy(),
                owned=working_copies.is_own(self._project, self._data_dir),
            )
        return Run(
            id=command.id,
            script=script,
            environment=environment | self._facts(command),
            directory=directory,
            nonce=command.nonce,
            shell=shell,
            max_output_bytes=self._config.logs.max_spool_bytes,
            files=files,
        )

    def _directory_of(self, command: Command) -> str:
        return self._releasing.directory_of(command) if self._releasing.is_used else self._places.working_copy()

    def _health(self) -> dict[str, str]:
        project = self._project
        here = {"DEPLOYER_PYTHON": sys.executable} if self._places.are_one else {}
        return here | health_check.variables(
            url=project.health_url,
            command=project.health_command,
            shell=project.shell,
            status=project.health_status,
            tries=project.health_tries,
            interval_s=project.health_interval_s,
            deadline_s=project.health_deadline_s,
        )

    def _variables_file(self, directory: str, files: dict[str, bytes]) -> dict[str, str]:
        """What `variables_file.WRITE` needs to write the project's variables into its file in ``directory``. Raises
        ExecutorError where the format cannot hold one."""
        values = self._secrets.variables
        # Switched off while the deployment waited: nothing is written then.
        path, file_format = self._project.variables_file or "", str(self._project.variables_format)
        if path:
            try:
                files |= variables_file.files(variables_file.content(file_format, values))
            except variables_file.Inexpressible as error:
                words = variables.not_in_the_file(error.name, error.problem, file_format)
                raise ExecutorError(words) from error
        return variables_file.variables(directory, path, file_format, len(values))

    def _script_of(self, command: Command) -> str:
        if command.kind is CommandKind.CLONE:
            return git.CLONE
        return git.RETURN if pulls_itself(self._project) else git.CHECKOUT

    def _base(self, command: Command) -> dict[str, str]:
        place = self._places.of(command)
        environment = place.base_environment()
        if place is self._places.there:
            environment["PATH"] = ":".join([*self._extra_path, environment["PATH"]])
        return environment

    def _credential(self, files: dict[str, bytes]) -> git.Credential:
        key = self._secrets.deploy_key
        if key:
            files["deploy_key"] = key
        return git.Credential(
            token=self._secrets.https_token,
            key_path="{run_dir}/deploy_key" if key else None,
            known_hosts=self._config.git.known_hosts,
        )

    def _way_to_the_server(self, files: dict[str, bytes]) -> dict[str, str]:
        assert self._project.server is not None
        address = servers.address_of(self._project.server, self._vault)
        files |= server_repository.files(address.private_key, address.host_key)
        return server_repository.variables(
            str(self._data_dir.mirror(self._project.id)),
            self._project.id,
            server=address.name,
            project=self._project.name,
            host=address.host,
            port=address.port,
            username=address.username,
        )

    def _facts(self, command: Command) -> dict[str, str]:
        """Read anew for each command: the commit is known only after the fetch, and where a release is gone back to,
        it is of what that was made of."""
        deployment = self._deployment
        sha, author = deployment.commit_sha, deployment.author_name
        branch, release = deployment.branch, self._releasing.name
        if back := self._releasing.gone_back_to(command):
            sha, author, branch, release = back.release.commit_sha, back.author, back.branch, back.release.name
        tag = tag_of(branch)
        of_tag = {"DEPLOY_TAG": tag} if tag else {}
        return of_tag | {
            "DEPLOY_ID": deployment.id,
            "DEPLOY_REF": deployment.ref,
            "DEPLOY_PROJECT": self._project.name,
            "DEPLOY_BRANCH": "" if tag else branch,
            "DEPLOY_SHA": sha or "",
            "DEPLOY_AUTHOR": author or "",
            "DEPLOY_TRIGGER": str(deployment.trigger),
            **({"DEPLOY_RELEASE": release or ""} if self._releasing.is_used else {}),
        }
