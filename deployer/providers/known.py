"""The providers by their names."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from deployer.providers.base import Provider
from deployer.providers.bitbucket import BitbucketCloud, BitbucketServer
from deployer.providers.generic import Generic, Settings
from deployer.providers.gitea import Gitea
from deployer.providers.github import GitHub
from deployer.providers.gitlab import GitLab

PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {one.name: one for one in (GitHub(), GitLab(), Gitea(), BitbucketCloud(), BitbucketServer(), Generic())}
)
"""In the order in which they are offered."""


def provider(name: str, settings: Settings | None = None) -> Provider:
    """The provider of that name; ``settings`` say what a generic one is to expect. Raises KeyError."""
    return Generic(settings) if settings and name == Generic.name else PROVIDERS[name]
