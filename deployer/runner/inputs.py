"""What a command gets: its script, its environment, its directory, and the key that git may need."""

from __future__ import annotations

from deployer.commands import git
from deployer.config import Config
from deployer.executors.base import Executor, Run
from deployer.installation import DataDir
from deployer.models.deployment import Command, CommandKind, Deployment
from deployer.project_secrets import ProjectSecrets
from deployer.runner.plan import pulls_itself


class Inputs:
    """Builds the runs of one deployment's commands."""

    def __init__(
        self,
        deployment: Deployment,
        secrets: ProjectSecrets,
        *,
        executor: Executor,
        config: Config,
        data_dir: DataDir,
        extra_path: list[str],
    ) -> None:
        self._deployment = deployment
        self._project = deployment.project
        self._secrets = secrets
        self._config = config
        self._data_dir = data_dir
        self._base = executor.base_environment()
        self._base["PATH"] = ":".join([*extra_path, self._base["PATH"]])

    def run_of(self, command: Command) -> Run:
        environment = dict(self._base)
        files: dict[str, bytes] = {}
        mirror = self._data_dir.mirror(self._project.id)
        url, path = self._project.repository_url, self._project.path
        script, directory, shell = command.line, str(self._data_dir.root), "sh"
        if command.kind is CommandKind.STEP:
            directory, shell = path, self._project.shell
            environment |= self._secrets.variables
        elif command.kind is CommandKind.FETCH:
            script = git.FETCH
            environment |= git.environment(url, self._credential(files)) | git.fetch_variables(mirror, url)
        else:
            script = self._script_of(command)
            environment |= git.environment(None)
            environment |= git.copy_variables(mirror, path, owned=self._data_dir.owns(path))
        return Run(
            id=command.id,
            script=script,
            environment=environment | self._facts(),
            directory=directory,
            nonce=command.nonce,
            shell=shell,
            max_output_bytes=self._config.logs.max_spool_bytes,
            files=files,
        )

    def _script_of(self, command: Command) -> str:
        if command.kind is CommandKind.CLONE:
            return git.CLONE
        return git.RETURN if pulls_itself(self._project) else git.CHECKOUT

    def _credential(self, files: dict[str, bytes]) -> git.Credential:
        key = self._secrets.deploy_key
        if key:
            files["deploy_key"] = key
        return git.Credential(
            token=self._secrets.https_token,
            key_path="{run_dir}/deploy_key" if key else None,
            known_hosts=self._config.git.known_hosts,
        )

    def _facts(self) -> dict[str, str]:
        """Read anew for each command: the commit is known only after the fetch."""
        deployment = self._deployment
        return {
            "DEPLOY_ID": deployment.id,
            "DEPLOY_REF": deployment.ref,
            "DEPLOY_PROJECT": self._project.name,
            "DEPLOY_BRANCH": deployment.branch,
            "DEPLOY_SHA": deployment.commit_sha or "",
            "DEPLOY_AUTHOR": deployment.author_name or "",
            "DEPLOY_TRIGGER": str(deployment.trigger),
        }
