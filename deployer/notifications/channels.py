"""Channels: made, changed, switched off and deleted; what they keep sealed, and what may be shown of it."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer import clock
from deployer.errors import ChannelError, InvalidInput, NotFound
from deployer.models.channel import Channel, ChannelKind
from deployer.models.notification import TO_PEOPLE, Occasion
from deployer.models.project import Project
from deployer.notifications import carrier
from deployer.notifications.forges import API_URLS, NAMES, Forge
from deployer.security.redaction import MIN_SECRET_BYTES
from deployer.security.vault import Vault

FORGE_FACTS = ("api_url", "repository", "environment", "environment_url")
USUAL = frozenset((Occasion.FAILURE, Occasion.RECOVERY, Occasion.INTERRUPTION))
"""What a new channel for people is told, as a new project's mails."""

MAX_URL = 4096

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,62}[A-Za-z0-9._-])?")
_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)+")


@dataclass(frozen=True)
class ChannelInput:
    """What a person enters. An empty ``url`` or ``token`` keeps the one that is there."""

    name: str
    occasions: frozenset[Occasion] = USUAL
    url: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    api_url: str = ""
    repository: str = ""
    environment: str = ""
    environment_url: str = ""


# Reading ---------------------------------------------------------------------------------------------------------


def find(session: Session, channel_id: str) -> Channel:
    """Raises NotFound."""
    channel = session.get(Channel, channel_id)
    if channel is None:
        raise NotFound("Channel not found")
    return channel


def find_named(session: Session, name: str) -> Channel:
    """The channel that a person calls ``NAME`` (of all projects) or ``PROJECT/NAME``, or by its id.

    Raises NotFound.
    """
    project, _, own = name.rpartition("/")
    wanted = sa.select(Channel).outerjoin(Project, Project.id == Channel.project_id)
    is_it = Channel.name == own
    is_it &= Project.name == project if project else Channel.project_id.is_(None)
    channel = session.scalar(wanted.where(sa.or_(is_it, Channel.id == name)))
    if channel is None:
        raise NotFound(f"There is no channel {name}. Those of a project are called PROJECT/NAME.")
    return channel


def of(session: Session, project_id: str | None, *, with_those_of_all: bool = False) -> Sequence[Channel]:
    """A project's channels (None: those of all projects), by their names."""
    is_wanted = Channel.project_id == project_id if project_id else Channel.project_id.is_(None)
    if with_those_of_all:
        is_wanted |= Channel.project_id.is_(None)
    return session.scalars(sa.select(Channel).where(is_wanted).order_by(Channel.name, Channel.id)).all()


def occasions_of(channel: Channel) -> list[Occasion]:
    return [one for one in TO_PEOPLE if getattr(channel, f"on_{one}")]


def facts_of(channel: Channel) -> dict[str, str]:
    found: dict[str, str] = json.loads(channel.facts)
    return found


def opened(channel: Channel, vault: Vault) -> dict[str, str]:
    """What a channel keeps sealed: ``url``, ``secret``, ``token``. Raises SecretUnreadable."""
    found: dict[str, str] = json.loads(vault.open(channel.sealed, place(channel.id)))
    return found


def forge_of(channel: Channel, sealed: dict[str, str]) -> Forge:
    return Forge(kind=channel.kind, token=sealed["token"], **facts_of(channel))


def to_redact(sealed: dict[str, str]) -> list[bytes]:
    """What must not appear in the log of what was sent: secrets, and what an address holds besides its host."""
    found = {value for name, value in sealed.items() if name != "url"}
    if url := sealed.get("url"):
        parts = urlsplit(url)
        found |= {parts.username or "", parts.password or "", parts.query}
        # Chat services put their tokens into the path, and Apprise the first one where others have a host.
        found |= {one for one in re.split(r"[/?&=#:@]", url.partition("://")[2]) if len(one) >= 8}
        host = parts.hostname or ""
        if parts.scheme in ("http", "https") or "." in host or host == "localhost":
            found -= {host, parts.netloc}
    found |= {unquote(one) for one in found}
    return [one.encode() for one in found if len(one) >= MIN_SECRET_BYTES]


def place(channel_id: str) -> str:
    """Where a channel's secrets are stored, as the vault binds them."""
    return f"channel:{channel_id}"


# Changing --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Checked:
    """Input that can be stored: name, occasions, what is shown of it, what is no secret, and what is to be sealed."""

    name: str
    occasions: frozenset[Occasion]
    target: str
    facts: dict[str, str]
    sealed: dict[str, str] = field(repr=False)


def check(kind: ChannelKind, given: ChannelInput, present: Checked | None = None) -> Checked:
    """Look at what a person entered, outside any transaction: Apprise is asked, which takes a moment.

    ``present`` is what is there, of a channel that is changed. Raises InvalidInput.
    """
    errors: dict[str, str] = {}
    if not _NAME.fullmatch(given.name):
        errors["name"] = "Give a name of up to 64 letters, digits, spaces, dots and hyphens."
    if not kind.is_forge and not given.occasions:
        errors["occasions"] = "Choose at least one event; a channel that is to be silent can be switched off."
    target, facts, sealed = "", {}, dict(present.sealed) if present else {}
    if kind is ChannelKind.APPRISE:
        target = _check_service(given.url, present, sealed, errors)
    elif kind is ChannelKind.WEBHOOK:
        target = _check_webhook(given.url, present, sealed, errors)
    else:
        facts = _check_forge(kind, given, present, sealed, errors)
        target = f"{NAMES[kind]} at {urlsplit(facts['api_url']).hostname}"[:255]
    if errors:
        raise InvalidInput(errors)
    return Checked(given.name, given.occasions if not kind.is_forge else frozenset(), target, facts, sealed)


def as_checked(channel: Channel, vault: Vault) -> Checked:
    """What is stored of a channel."""
    sealed = opened(channel, vault)
    return Checked(channel.name, frozenset(occasions_of(channel)), channel.target, facts_of(channel), sealed)


def create(session: Session, kind: ChannelKind, checked: Checked, project: Project | None, vault: Vault) -> Channel:
    """Raises InvalidInput."""
    now = clock.now()
    channel = Channel(id=clock.new_id(), project_id=project.id if project else None, kind=kind, created_at=now)
    _fill(session, channel, checked, vault)
    session.add(channel)
    session.flush()
    return channel


def update(session: Session, channel: Channel, checked: Checked, vault: Vault) -> None:
    """Raises InvalidInput."""
    _fill(session, channel, checked, vault)


def switch(channel: Channel, *, is_enabled: bool) -> None:
    channel.is_enabled = is_enabled
    channel.updated_at = clock.now()


def renew_secret(channel: Channel, vault: Vault) -> None:
    """Another secret to sign with. Raises NotFound for a channel that signs nothing."""
    if channel.kind is not ChannelKind.WEBHOOK:
        raise NotFound("This channel signs nothing.")
    seal(channel, opened(channel, vault) | {"secret": new_secret()}, vault)
    channel.updated_at = clock.now()


def delete(session: Session, channel: Channel) -> None:
    """And the log of what it was sent."""
    session.delete(channel)


def seal(channel: Channel, secret: dict[str, str], vault: Vault) -> None:
    """Store what nobody is to read: `opened` gives it back."""
    channel.sealed = vault.seal(json.dumps(secret).encode(), place(channel.id))


def new_secret() -> str:
    return secrets.token_hex(32)


def _fill(session: Session, channel: Channel, checked: Checked, vault: Vault) -> None:
    is_taken = sa.select(Channel.id).where(
        Channel.name == checked.name,
        Channel.project_id.is_not_distinct_from(channel.project_id),
        Channel.id != channel.id,
    )
    if session.scalar(is_taken):
        raise InvalidInput({"name": "Another channel has this name."})
    channel.name = checked.name
    channel.target = checked.target
    channel.facts = json.dumps(checked.facts)
    seal(channel, checked.sealed, vault)
    for occasion in TO_PEOPLE:
        setattr(channel, f"on_{occasion}", occasion in checked.occasions)
    channel.updated_at = clock.now()


# What may be entered ---------------------------------------------------------------------------------------------


def _check_service(url: str, present: Checked | None, sealed: dict[str, str], errors: dict[str, str]) -> str:
    if not url and present:
        return present.target
    if not url or len(url) > MAX_URL or not url.isprintable():
        errors["url"] = "Give the service's address, such as discord://WEBHOOK_ID/WEBHOOK_TOKEN."
        return ""
    try:
        service = carrier.look_at(url)
    except ChannelError as refusal:
        errors["url"] = str(refusal)
        return ""
    sealed["url"] = url
    return (f"{service.name} at {service.host}" if service.host else service.name)[:255]


def _check_webhook(url: str, present: Checked | None, sealed: dict[str, str], errors: dict[str, str]) -> str:
    sealed.setdefault("secret", new_secret())
    if not url and present:
        return present.target
    if not is_web_address(url):
        errors["url"] = "Give an address such as https://example.com/hooks/deployer."
        return ""
    if urlsplit(url).username is not None:
        errors["url"] = "Leave user and password out of the address: what is sent is signed."
        return ""
    sealed["url"] = url
    return carrier.where(url)[:255]


def _check_forge(
    kind: ChannelKind, given: ChannelInput, present: Checked | None, sealed: dict[str, str], errors: dict[str, str]
) -> dict[str, str]:
    facts = {name: getattr(given, name) for name in FORGE_FACTS}
    facts["api_url"] = (facts["api_url"] or API_URLS.get(kind, "")).rstrip("/")
    api = facts["api_url"]
    if not is_web_address(api) or urlsplit(api).query or urlsplit(api).username is not None:
        errors["api_url"] = "Give the API's address, such as https://git.example.com/api/v1."
    elif urlsplit(api).scheme != "https" and urlsplit(api).hostname not in ("localhost", "127.0.0.1", "::1"):
        errors["api_url"] = "A token is not sent without encryption. Give an https:// address."
    if facts["repository"] and not _REPOSITORY.fullmatch(facts["repository"]):
        errors["repository"] = "Give it as owner/name."
    if kind is not ChannelKind.GITHUB:
        facts["environment"] = facts["environment_url"] = ""
    if len(facts["environment"]) > 255 or not (facts["environment"].isprintable() or not facts["environment"]):
        errors["environment"] = "Give a name such as production."
    if facts["environment_url"] and not facts["environment"]:
        errors["environment_url"] = "Name the environment that it belongs to."
    elif facts["environment_url"] and not is_web_address(facts["environment_url"]):
        errors["environment_url"] = "Give an address such as https://app.example.com."
    if given.token:
        is_usable = 8 <= len(given.token) <= 4096 and given.token.isascii() and given.token.isprintable()
        if not is_usable or " " in given.token:
            errors["token"] = "This is not a usable token."  # noqa: S105
        sealed["token"] = given.token
    elif present is None:
        errors["token"] = "Give a token."  # noqa: S105
    elif present.facts["api_url"] != api:
        errors["token"] = "Enter the token again: it was given for another address."  # noqa: S105
    return facts


def is_web_address(text: str) -> bool:
    """Whether it is an http(s) address of a host."""
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        return False
    is_plain = text.isascii() and text.isprintable() and " " not in text and len(text) <= MAX_URL
    return is_plain and url.scheme in ("http", "https") and bool(url.hostname) and not url.fragment
