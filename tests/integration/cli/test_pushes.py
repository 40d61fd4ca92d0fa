"""Where pushes come from, and which of them deploy, on the command line."""

from __future__ import annotations

import json

from deployer import project_secrets, projects

URL = "https://gitlab.com/grace/app.git"


def test_a_project_is_made_for_a_forge_with_its_filters_and_changed_again(shell, operator):
    made = shell(
        *("project", "create", "app", "--repo", URL, "--step", "true", "--provider", "gitlab"),
        *("--branches", "main", "--branches", "release/*", "--tags", "v*"),
        *("--watch", "src/**", "--ignore", "*.md", "--skip-marker", "[skip ci]"),
    )
    assert "At GitLab, under Settings → Webhooks → Add new webhook, enter:" in made.stdout
    assert "Secret token" in made.stdout

    shell("project", "edit", "app", "--tags", "none", "--ignore", "docs/", "--ignore", "*.txt")

    shown = json.loads(shell("project", "show", "app", "--json").stdout)
    names = ("provider", "branches", "tags", "watched_paths", "ignored_paths", "skip_markers")
    assert [shown[name] for name in names] == [
        "gitlab",
        ["main", "release/*"],
        [],
        ["src/**"],
        ["docs/", "*.txt"],
        ["[skip ci]"],
    ]


def test_what_cannot_be_used_is_told_by_its_field_and_nothing_is_made(shell, operator):
    base = ("project", "create", "app", "--repo", URL)

    assert "branch_patterns: 'a[': " in shell(*base, "--branches", "a[", code=1).stderr
    assert "provider: Choose one of github" in shell(*base, "--provider", "svn", code=1).stderr
    assert "hook_ref: This is of a generic sender" in shell(*base, "--hook-ref", "/x", code=1).stderr
    assert shell("project", "list", "--json").stdout.strip() == "[]"


def test_a_secret_made_elsewhere_is_read_from_standard_input(shell, operator):
    shell("project", "create", "app", "--repo", URL, "--provider", "gitlab")

    shell("project", "secret", "app", given="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")

    with operator.database.write_session() as session:
        found = project_secrets.open_secrets(projects.find(session, "app"), [], operator.installation.vault)
    assert found.webhook_secret == b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
