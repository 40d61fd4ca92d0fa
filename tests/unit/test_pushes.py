"""What a project says of its pushes: entered, checked field by field, and kept in one spelling."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployer import project_secrets, projects, pushes
from deployer.deployments.queue import COMMIT_NEEDS_BARE_PULL
from deployer.errors import InvalidInput
from deployer.providers.generic import Generic
from deployer.providers.known import PROVIDERS
from deployer.pushes import PushSettings


@pytest.fixture
def project(make_project):
    return make_project()


@pytest.fixture
def change(installation, project):
    def change(**given):
        with installation.database.write_session() as session:
            found = projects.find(session, project.id)
            pushes.change(session, found, replace(pushes.as_input(found), **given))
            return pushes.as_input(found)

    return change


def test_a_new_project_takes_pushes_of_its_branch_from_github(project):
    assert pushes.as_input(project) == PushSettings()
    assert pushes.provider_of(project).name == "github"


@pytest.mark.parametrize("name", PROVIDERS)
def test_each_provider_can_be_chosen(change, name):
    assert change(provider=name).provider == name


def test_what_is_entered_is_kept_one_a_line_without_what_is_empty_or_twice(change):
    given = change(
        branch_patterns=" main, release/* ,\r\n\r\nmain ", tag_patterns="v*", watched_paths="src/**\r\n a,b.txt \r\n"
    )

    assert given.branch_patterns == "main\nrelease/*"
    assert given.watched_paths == "src/**\na,b.txt"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("provider", "sourceforge", "Choose one of github, gitlab"),
        ("hook_header", "X_Signature", "letters, digits and dashes"),
        ("hook_header", "Cookie", "a meaning of its own"),
        ("hook_prefix", "sha 256", "no space"),
        ("hook_ref", "ref", "begins with /"),
        ("hook_commit", "/a~", "~0"),
        ("hook_commit", "/ref", "two places"),
        ("branch_patterns", "release/[", "'release/[': a [ needs its ]"),
        ("branch_patterns", "[z-a]", "no choice of letters"),
        ("branch_patterns", "[a--z]", "no choice of letters"),
        ("branch_patterns", "!main", "cannot be the first"),
        ("branch_patterns", "refs/heads/main", "give the name alone"),
        ("tag_patterns", "v 1", "no branch or tag has such a name"),
        ("tag_patterns", "\n".join(f"v{n}" for n in range(31)), "more than 30"),
        ("watched_paths", "x" * 201, "at most 200 letters"),
        ("watched_paths", "/", "matches no path"),
        ("ignored_paths", "docs/\n[z-a]", "'[z-a]': this matches no path"),
        ("ignored_paths", "# docs", "matches no path"),
        ("skip_markers", "ci", "at least 4 letters"),
    ],
)
def test_what_cannot_be_used_is_told_at_its_field(change, field, value, words):
    with pytest.raises(InvalidInput) as caught:
        change(**{field: value})

    assert set(caught.value.fields) == {field}
    assert words in caught.value.fields[field]
    assert caught.value.fields[field].endswith(".")


@pytest.mark.parametrize("field", ["branch_patterns", "tag_patterns"])
def test_a_first_step_that_pulls_and_does_more_cannot_give_way_to_another_ref(operator, project, change, field):
    operator.change(project, steps=["git pull origin main && make"])

    with pytest.raises(InvalidInput) as caught:
        change(**{field: "v*"})

    assert caught.value.fields == {field: COMMIT_NEEDS_BARE_PULL}


def test_another_sender_has_yet_to_be_heard_of(installation, operator, project, change):
    operator.push(project, "a" * 40)
    with installation.database.write_session() as session:
        assert projects.find(session, project.id).connected_at is not None

    change(watched_paths="src/**")
    with installation.database.write_session() as session:
        assert projects.find(session, project.id).connected_at is not None
    change(provider="gitea")
    with installation.database.write_session() as session:
        assert projects.find(session, project.id).connected_at is None


def test_a_generic_sender_is_read_by_the_projects_own_fields(installation, project, change):
    change(provider="generic", hook_header="X-Build", hook_ref="/push/ref", hook_commit="/push/sha", hook_prefix="")

    with installation.database.write_session() as session:
        provider = pushes.provider_of(projects.find(session, project.id))
    assert isinstance(provider, Generic)
    assert provider.signatures == ("X-Build",)


# Secrets made elsewhere -------------------------------------------------------------------------------------------


def test_a_secret_made_elsewhere_takes_the_place_of_ours(installation, project):
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    with installation.database.write_session() as session:
        found = projects.find(session, project.id)
        pushes.set_secret(found, f" {secret}\n", installation.vault)
        assert project_secrets.webhook_secret(found, installation.vault) == secret.encode()


@pytest.mark.parametrize(
    "secret", ["", "short", "x" * 256, "has a space in it somewhere", "é" * 20, "whsec_", "whsec_%"]
)
def test_a_secret_that_protects_nothing_is_refused(installation, project, secret):
    with installation.database.write_session() as session, pytest.raises(InvalidInput) as caught:
        pushes.set_secret(projects.find(session, project.id), secret, installation.vault)

    assert set(caught.value.fields) == {"webhook_secret"}
