"""The form of a channel: what is asked for each kind, and what was entered."""

from __future__ import annotations

from dataclasses import dataclass

from flask import render_template, request
from werkzeug.datastructures import MultiDict

from deployer.errors import SecretUnreadable
from deployer.models.channel import Channel, ChannelKind
from deployer.models.notification import TO_PEOPLE
from deployer.models.project import Project
from deployer.notifications import channels
from deployer.notifications.channels import ChannelInput
from deployer.notifications.forges import API_URLS
from deployer.web.context import installation


@dataclass(frozen=True)
class _Kind:
    """How a kind of channel is called, and what it is for."""

    label: str
    about: str


KINDS = {
    ChannelKind.APPRISE: _Kind("Chat or push", "Slack, Discord, Telegram, ntfy, Matrix, Teams and many others"),
    ChannelKind.WEBHOOK: _Kind("Webhook", "JSON to an address of yours, signed"),
    ChannelKind.GITHUB: _Kind("GitHub", "how each commit was deployed, shown beside it"),
    ChannelKind.GITLAB: _Kind("GitLab", "how each commit was deployed, shown beside it"),
    ChannelKind.GITEA: _Kind("Gitea or Forgejo", "how each commit was deployed, shown beside it"),
}

_TEXTS = ("name", "url", "token", "api_url", "repository", "environment", "environment_url")


def page(
    kind: ChannelKind,
    project: Project | None,
    given: MultiDict[str, str],
    errors: dict[str, str] | None = None,
    *,
    channel: Channel | None = None,
) -> str:
    return render_template(
        "channel_form.html",
        kind=kind,
        words=KINDS[kind],
        project=project,
        channel=channel,
        given=given,
        errors=errors or {},
        secret=_secret(channel) if channel and kind is ChannelKind.WEBHOOK else "",
        usual_api=API_URLS.get(kind, ""),
        occasions=TO_PEOPLE,
    )


def _secret(channel: Channel) -> str:
    """What signs; empty where the key file is another one than that it was sealed with."""
    try:
        return channels.opened(channel, installation().vault)["secret"]
    except SecretUnreadable:
        return ""


def blank(kind: ChannelKind) -> MultiDict[str, str]:
    """What a new channel's form begins with."""
    switches = {f"on_{one}": "on" for one in channels.USUAL}
    return MultiDict({"api_url": API_URLS.get(kind, ""), **switches})


def filled(channel: Channel) -> MultiDict[str, str]:
    """What is stored, without what is secret."""
    switches = {f"on_{one}": "on" for one in channels.occasions_of(channel)}
    return MultiDict({"name": channel.name, **channels.facts_of(channel), **switches})


def given() -> ChannelInput:
    texts = {name: request.form.get(name, "").strip() for name in _TEXTS}
    occasions = frozenset(one for one in TO_PEOPLE if f"on_{one}" in request.form)
    return ChannelInput(occasions=occasions, **texts)
