"""What a project keeps sealed: its webhook secret, deploy key, token and variables."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from deployer import clock
from deployer.errors import InvalidInput, NotFound, as_sentence
from deployer.executors.base import variable_problem
from deployer.models.project import Project, Variable
from deployer.security import deploy_keys
from deployer.security.redaction import MIN_SECRET_BYTES
from deployer.security.vault import Vault


def place(project_id: str, what: str) -> str:
    """Where a project's secret is stored, as the vault binds it."""
    return f"project:{project_id}:{what}"


def sealed_webhook_secret(project_id: str, vault: Vault) -> bytes:
    """A new webhook secret, as it is stored."""
    return vault.seal(secrets.token_hex(32).encode(), place(project_id, "webhook_secret"))


def rotate_webhook_secret(project: Project, vault: Vault) -> None:
    set_webhook_secret(project, secrets.token_hex(32).encode(), vault)


def set_webhook_secret(project: Project, secret: bytes, vault: Vault) -> None:
    project.webhook_secret = vault.seal(secret, place(project.id, "webhook_secret"))
    project.connected_at = None
    project.updated_at = clock.now()


def make_deploy_key(project: Project, vault: Vault) -> None:
    """A new ed25519 key for this project alone; an earlier one is forgotten."""
    private, public = deploy_keys.generate(f"deployer:{project.name}")
    project.deploy_key_private = vault.seal(private, place(project.id, "deploy_key"))
    project.deploy_key_public = public
    project.updated_at = clock.now()


def set_https_token(project: Project, token: str, vault: Vault) -> None:
    """Store the token for HTTPS; an empty one removes it. Raises InvalidInput."""
    token = token.strip()
    if token and (len(token) < MIN_SECRET_BYTES or len(token) > 4096 or not token.isprintable() or " " in token):
        raise InvalidInput({"https_token": "This is not a usable token."})
    project.https_token = vault.seal(token.encode(), place(project.id, "https_token")) if token else None
    project.updated_at = clock.now()


def set_variable(project: Project, name: str, value: str, *, secret: bool, vault: Vault) -> None:
    """Give the project's commands ``name=value``; an earlier value is replaced. Raises InvalidInput."""
    problem = variable_problem(name, value)
    if problem:
        raise InvalidInput(
            {"variable_name" if "name" in problem or "shell" in problem else "value": as_sentence(problem)}
        )
    if name.startswith(("DEPLOY_", "DEPLOYER_")):
        raise InvalidInput({"variable_name": "Names that begin with DEPLOY_ and DEPLOYER_ are Deployer's own."})
    if secret and len(value.encode("utf-8", "surrogateescape")) < MIN_SECRET_BYTES:
        raise InvalidInput(
            {"value": f"A secret has at least {MIN_SECRET_BYTES} bytes; a shorter one cannot be hidden in logs."}
        )
    variable = next((one for one in project.variables if one.name == name), None)
    if variable is None:
        variable = Variable(id=clock.new_id(), name=name)
        project.variables.append(variable)
    sealed = vault.seal(value.encode("utf-8", "surrogateescape"), place(project.id, f"variable:{name}"))
    variable.plain_value = None if secret else value
    variable.secret_value = sealed if secret else None
    project.updated_at = clock.now()


def find_variable(project: Project, variable_id: str) -> Variable:
    """Raises NotFound."""
    variable = next((one for one in project.variables if one.id == variable_id), None)
    if variable is None:
        raise NotFound("Variable not found")
    return variable


def remove_variable(project: Project, variable_id: str) -> None:
    project.variables[:] = [variable for variable in project.variables if variable.id != variable_id]


@dataclass(frozen=True, repr=False)
class ProjectSecrets:
    """A project's secrets, opened. Never shown by repr."""

    webhook_secret: bytes
    https_token: str | None
    deploy_key: bytes | None
    variables: dict[str, str]
    secret_variables: frozenset[str]

    def to_redact(self) -> list[bytes]:
        """Everything that must not appear in a log. What is too short to hide was refused when it was entered."""
        found = [self.webhook_secret]
        if self.https_token:
            found.append(self.https_token.encode())
        if self.deploy_key:
            found.append(self.deploy_key)
        found += [self.variables[name].encode("utf-8", "surrogateescape") for name in self.secret_variables]
        return found


def open_secrets(project: Project, vault: Vault) -> ProjectSecrets:
    """Raises SecretUnreadable when the key file is not the one that they were sealed with."""

    def opened(sealed: bytes | None, what: str) -> bytes | None:
        return None if sealed is None else vault.open(sealed, place(project.id, what))

    token = opened(project.https_token, "https_token")
    variables = {}
    for variable in project.variables:
        secret = opened(variable.secret_value, f"variable:{variable.name}")
        variables[variable.name] = (
            variable.plain_value or "" if secret is None else secret.decode("utf-8", "surrogateescape")
        )
    return ProjectSecrets(
        webhook_secret=vault.open(project.webhook_secret, place(project.id, "webhook_secret")),
        https_token=token.decode() if token else None,
        deploy_key=opened(project.deploy_key_private, "deploy_key"),
        variables=variables,
        secret_variables=frozenset(variable.name for variable in project.variables if variable.is_secret),
    )
