"""The page on which a project says where its pushes come from, and which of them deploy."""

from __future__ import annotations

import pytest

from deployer import project_secrets, projects, pushes
from deployer.providers.known import PROVIDERS


@pytest.fixture
def settings(operator, project):
    def settings():
        with operator.database.write_session() as session:
            return pushes.as_input(projects.find(session, project.id))

    return settings


def path_of(project, more: str = "") -> str:
    return f"/projects/{project.name}/pushes{more}"


def test_the_page_says_how_the_chosen_provider_is_connected(admin, operator, project):
    for name, provider in PROVIDERS.items():
        operator.change_pushes(project, provider=name)
        for path in (path_of(project), f"/projects/{project.name}"):
            panel = admin.get(path).page.find(id="webhook").words

            assert f"/webhook/{project.id}" in panel
            assert provider.instructions.address_label in panel
            assert provider.instructions.then in panel


def test_pages_of_a_project_of_another_forge_say_nothing_of_github(admin, operator, project):
    operator.change_pushes(project, provider="gitlab")
    admin.post(f"/projects/{project.name}/deploy-key", {})

    shown, deliveries = (admin.get(f"/projects/{project.name}{more}").page for more in ("", "/deliveries"))

    assert "GitHub" not in shown.find(id="access").words
    assert "Paste it at GitLab" in shown.find(id="access").words
    assert "a ping" not in deliveries.find("section", class_="empty").words


def test_what_is_entered_is_kept_and_shown_again(admin, project, settings):
    form = {
        "provider": "generic",
        "hook_header": "X-Build",
        "hook_prefix": "",
        "hook_ref": "/push/ref",
        "hook_commit": "/push/sha",
        "branch_patterns": "main, release/*",
        "tag_patterns": "v*",
        "watched_paths": "src/**",
        "ignored_paths": "*.md",
        "skip_markers": "[skip ci]",
    }

    answer = admin.post(path_of(project), form)

    assert answer.status == 302
    kept = settings()
    assert kept.branch_patterns == "main\nrelease/*"
    assert (kept.hook_header, kept.hook_prefix, kept.hook_ref, kept.hook_commit) == (
        "X-Build",
        "",
        "/push/ref",
        "/push/sha",
    )
    page = admin.get(path_of(project)).page
    assert page.value("branch_patterns") == "main\nrelease/*"
    assert "X-Build" in page.find(id="webhook").words


def test_a_wrong_pattern_is_told_at_its_field_and_nothing_is_kept(admin, project, settings):
    before = settings()

    answer = admin.post(path_of(project), {"provider": "gitlab", "branch_patterns": "release/["})

    assert answer.status == 400
    assert "a [ needs its ]" in answer.page.error_at("branch_patterns")
    assert answer.page.value("branch_patterns") == "release/["
    assert settings() == before


def test_what_only_a_generic_sender_needs_is_left_alone_with_another(admin, project, settings):
    assert admin.post(path_of(project), {"provider": "gitea", "hook_header": "not a header"}).status == 302

    assert settings().hook_header == "X-Signature"


def test_that_pushes_to_the_projects_branch_do_not_deploy_is_said(admin, operator, project):
    said = "Pushes to main do not deploy"
    assert said not in admin.get(path_of(project)).page.words
    operator.change_pushes(project, branch_patterns="release/*")

    assert said in admin.get(path_of(project)).page.words


def test_a_secret_made_elsewhere_is_taken(admin, operator, project):
    answer = admin.post(path_of(project, "/secret"), {"webhook_secret": "a-secret-of-the-forge"})

    assert answer.status == 302
    with operator.database.write_session() as session:
        found = project_secrets.open_secrets(projects.find(session, project.id), [], operator.installation.vault)
    assert found.webhook_secret == b"a-secret-of-the-forge"


def test_a_secret_that_is_too_short_is_told_at_its_field_and_not_shown_again(admin, project):
    answer = admin.post(path_of(project, "/secret"), {"webhook_secret": "shortsecret"})

    assert answer.status == 400
    assert "16 to 255" in answer.page.error_at("webhook_secret")
    assert "shortsecret" not in answer.text


def test_a_member_does_not_see_the_page(plain_member, project):
    assert plain_member.get(path_of(project)).status == 403
    assert "Pushes" not in plain_member.get(f"/projects/{project.name}").page.find(class_="places").words
