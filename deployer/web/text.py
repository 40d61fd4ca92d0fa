"""How values read on a page: filters and globals of the templates."""

from __future__ import annotations

import ipaddress
import re
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from flask import Flask, current_app, url_for
from flask_login import current_user

from deployer import __version__, clock, sessions
from deployer.deployments import reading, verdicts
from deployer.providers.base import Provider
from deployer.security import passwords
from deployer.web import agents, forms
from deployer.web.context import orm

# user@host:path (scp's form), or scheme://user@host:port/path.
_REPOSITORY = re.compile(r"(?:[a-z+]+://(?:[^@/]*@)?([^/:]+)(?::\d+)?/|[^@/:]+@([^/:]+):/?)(.+?)(?:\.git)?/*\Z")


def init_app(app: Flask) -> None:
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.add_template_filter(clock.iso, "iso")
    app.add_template_filter(when, "when")
    app.add_template_filter(ago, "ago")
    app.add_template_filter(took, "took")
    app.add_template_filter(short_sha, "short_sha")
    app.add_template_filter(first_line, "first_line")
    app.add_template_filter(forms.duration_text, "timeout")
    app.add_template_filter(clock.duration_words, "duration")
    app.add_template_filter(short_repository, "short_repository")
    app.add_template_filter(forge_page, "forge_page")
    app.add_template_filter(compare_page, "compare_page")
    app.add_template_filter(hook_page, "hook_page")
    app.add_template_filter(is_local, "is_local")
    app.add_template_global(verdicts.in_words, "in_words")
    app.add_template_global(lambda: reading.changes(orm.session()), "changes")
    app.add_template_filter(agents.in_words, "agent")
    app.add_template_filter(sessions.public_id, "session_id")
    app.add_template_global(took, "took")
    app.add_template_global(clock.now, "now")
    app.add_template_global(asset, "asset")
    # Asked only by the pages that show it: an error page must not need the database.
    app.add_template_global(current_user, "current_user")
    app.jinja_env.globals["version"] = __version__
    app.jinja_env.globals["min_password_length"] = passwords.MIN_LENGTH


def asset(name: str) -> str:
    """The address of a static file, different after each change, so that browsers may keep it.

    Modules are the exception: they import each other by their plain names, and two addresses would be two modules.
    """
    if name.endswith(".js"):
        return url_for("static", filename=name)
    changed = Path(current_app.static_folder or "", name).stat().st_mtime_ns // 1_000_000
    return url_for("static", filename=name, v=f"{changed:x}")


def when(moment: datetime | None) -> str:
    """``2025-01-15 10:30:00 UTC``; scripts turn it into the reader's own time."""
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC") if moment else ""


def ago(moment: datetime | None) -> str:
    """``just now``, ``5 min ago``, ``3 h ago``, ``12 d ago``."""
    if moment is None:
        return ""
    seconds = (clock.now() - moment).total_seconds()
    if seconds < 45:
        return "just now"
    if seconds < 90 * 60:
        return f"{max(1, round(seconds / 60))} min ago"
    if seconds < 36 * 3600:
        return f"{round(seconds / 3600)} h ago"
    return f"{round(seconds / 86400)} d ago"


def took(started_at: datetime | None, finished_at: datetime | None) -> str:
    """How long something took, or has taken so far."""
    if started_at is None:
        return ""
    return clock.duration_words(max(0.0, ((finished_at or clock.now()) - started_at).total_seconds()))


def short_sha(sha: str | None) -> str:
    return sha[:7] if sha else ""


def first_line(text: str | None) -> str:
    return text.strip().split("\n", 1)[0] if text else ""


def short_repository(url: str) -> str:
    """``github.com/owner/name`` of any address of it; a local path as it is."""
    match = _REPOSITORY.match(url)
    return f"{match[1] or match[2]}/{match[3]}" if match else url


def forge_page(url: str) -> str:
    """The page of a repository at GitHub; empty for one that is elsewhere."""
    short = short_repository(url)
    return f"https://{short}" if re.match(r"github\.com/[\w.-]+/[\w.-]+\Z", short) else ""


def compare_page(url: str, older: str | None, newer: str | None) -> str:
    """The page that shows what lies between two commits; empty where there is none."""
    page = forge_page(url)
    return f"{page}/compare/{older}...{newer}" if page and older and newer and older != newer else ""


_HOSTS = {
    "github": ("github.com",),
    "gitlab": ("gitlab.com",),
    "gitea": ("codeberg.org", "gitea.com"),
    "bitbucket": ("bitbucket.org",),
}


def hook_page(url: str, provider: Provider) -> str:
    """The page on which a repository's webhook is made; empty where the forge's address cannot be known."""
    host, _, path = short_repository(url).partition("/")
    is_known = host in _HOSTS.get(provider.name, ()) and re.match(r"[\w.-]+(?:/[\w.-]+)+\Z", path)
    return f"https://{host}/{path}{provider.instructions.page}" if is_known and provider.instructions.page else ""


def is_local(url: str) -> bool:
    """Whether an address leads nowhere from the internet: this host's own name, or a number that is not public."""
    host = urlsplit(url).hostname or ""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".local", ".localhost"))
