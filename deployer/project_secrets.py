"""What a project keeps sealed: its webhook secret, deploy key and token; and all of it opened, with its variables."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from deployer import clock, variables
from deployer.errors import InvalidInput
from deployer.executors.base import encode
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


@dataclass(frozen=True, repr=False)
class ProjectSecrets:
    """A project's secrets, opened. Never shown by repr.

    ``variables`` are those that its commands get, whichever scope they are of; ``hidden`` the values of secret ones
    that its own take the place of: they are secrets still.
    """

    webhook_secret: bytes
    https_token: str | None
    deploy_key: bytes | None
    variables: dict[str, str]
    secret_variables: frozenset[str]
    hidden: tuple[str, ...] = ()

    def to_redact(self) -> list[bytes]:
        """Everything that must not appear in a log. What is too short to hide was refused when it was entered."""
        found = [self.webhook_secret]
        if self.https_token:
            found.append(self.https_token.encode())
        if self.deploy_key:
            found.append(self.deploy_key)
        found += [encode(self.variables[name]) for name in self.secret_variables]
        return found + [encode(value) for value in self.hidden]


def open_secrets(project: Project, of_all: Sequence[Variable], vault: Vault) -> ProjectSecrets:
    """``of_all`` are the variables of all projects. Raises SecretUnreadable when the key file is not the one that
    they were sealed with."""

    def opened(sealed: bytes | None, what: str) -> bytes | None:
        return None if sealed is None else vault.open(sealed, place(project.id, what))

    token = opened(project.https_token, "https_token")
    given = [one.variable for one in variables.given(project, of_all)]
    return ProjectSecrets(
        webhook_secret=webhook_secret(project, vault),
        https_token=token.decode() if token else None,
        deploy_key=opened(project.deploy_key_private, "deploy_key"),
        variables={one.name: variables.value(one, vault) for one in given},
        secret_variables=frozenset(one.name for one in given if one.is_secret),
        hidden=tuple(variables.value(one, vault) for one in of_all if one.is_secret and one not in given),
    )


def read_secrets(session: Session, project: Project, vault: Vault) -> ProjectSecrets:
    """The same, with the variables of all projects that are stored now."""
    return open_secrets(project, variables.of_all_projects(session.connection()), vault)


def webhook_secret(project: Project, vault: Vault) -> bytes:
    """Raises SecretUnreadable."""
    return vault.open(project.webhook_secret, place(project.id, "webhook_secret"))
