"""How values read on a page: filters and globals of the templates."""

from __future__ import annotations

from datetime import datetime

from flask import Flask, url_for

from deployer import __version__, clock


def init_app(app: Flask) -> None:
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.add_template_filter(clock.iso, "iso")
    app.add_template_filter(when, "when")
    app.add_template_filter(ago, "ago")
    app.add_template_filter(took, "took")
    app.add_template_filter(short_sha, "short_sha")
    app.add_template_filter(first_line, "first_line")
    app.add_template_filter(clock.duration_words, "duration")
    app.add_template_global(asset, "asset")
    app.jinja_env.globals["version"] = __version__


def asset(name: str) -> str:
    """The address of a static file, different for each version, so that browsers may keep it."""
    return url_for("static", filename=name, v=__version__)


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
