"""Whose commits a project deploys: real signatures by gpg and ssh-keygen, asked of git itself."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from deployer import projects, protection, signatures
from deployer.commands import git_verify
from deployer.errors import CommitUntrusted, InvalidInput
from deployer.models import Project
from deployer.protection import SignersInput
from tests.support.signing import OpenPgpSigner, SshSigner


@pytest.fixture(scope="module")
def ada():
    signer = OpenPgpSigner("Ada")
    yield signer
    signer.close()


@pytest.fixture(scope="module")
def stranger():
    signer = OpenPgpSigner("Mallory")
    yield signer
    signer.close()


@pytest.fixture
def grace(tmp_path):
    return SshSigner(tmp_path, "Grace")


@pytest.fixture
def data_dir(installation):
    return installation.data_dir


@pytest.fixture
def check(data_dir, repository):
    """Ask about a commit of `repository`, as the runner does after the fetch."""

    def ask(sha: str, *, keys: str | None = None, signers: str | None = None) -> None:
        project = Project(id="p", signature_keys=keys, signature_signers=signers)
        mirror = data_dir.mirror("p")
        subprocess.run(["git", "clone", "--quiet", "--mirror", repository.url, str(mirror)], check=True)
        signatures.require(project, sha, data_dir)
        assert list(data_dir.scratch.iterdir()) == []

    return ask


def test_a_project_that_trusts_nobody_in_particular_asks_nothing(data_dir):
    signatures.require(Project(id="p"), "no commit at all", data_dir)


def test_a_commit_signed_by_a_trusted_openpgp_key_is_taken(check, repository, ada):
    check(ada.commit(repository), keys=ada.public_key)


def test_a_commit_signed_by_an_allowed_ssh_key_is_taken(check, repository, grace, ada):
    check(grace.commit(repository), signers=f"# people\n{grace.line()}\n", keys=ada.public_key)


def test_a_commit_that_is_not_signed_is_refused_in_words(check, repository, ada):
    sha = repository.commit()

    with pytest.raises(CommitUntrusted) as refused:
        check(sha, keys=ada.public_key)

    assert str(refused.value) == (
        f"commit {sha[:7]} is not signed; this project deploys only what is signed by one of its OpenPGP keys"
    )


def test_a_foreign_key_is_refused_with_its_name(check, repository, ada, stranger):
    with pytest.raises(CommitUntrusted, match=r"signed by the OpenPGP key [0-9A-F]{16}, which this project does not"):
        check(stranger.commit(repository), keys=ada.public_key)


def test_a_foreign_ssh_key_is_refused_with_its_fingerprint(check, repository, grace, tmp_path):
    other = SshSigner(tmp_path, "Mallory")

    with pytest.raises(CommitUntrusted, match=r"SSH key SHA256:\S+, which .* SSH signers \(grace@example.com\)"):
        check(other.commit(repository), signers=grace.line())


def test_an_ssh_key_counts_for_nothing_where_only_openpgp_is_trusted(check, repository, ada, grace):
    with pytest.raises(CommitUntrusted, match="by the SSH key"):
        check(grace.commit(repository), keys=ada.public_key)


def test_a_key_that_was_revoked_is_refused(check, repository):
    signer = OpenPgpSigner("Barbara")
    sha = signer.commit(repository)
    signer.revoke()
    key = signer.public_key
    signer.close()

    with pytest.raises(CommitUntrusted, match="which was revoked"):
        check(sha, keys=key)


def test_an_expired_key_is_refused(data_dir, repository, check):
    """Made and used years ago, by gpg's own clock."""
    signer = OpenPgpSigner("Edsger", then="20200101T000000", seconds=86400)
    sha = signer.commit(repository)
    key = signer.public_key
    signer.close()

    with pytest.raises(CommitUntrusted, match="which has expired"):
        check(sha, keys=key)
    with pytest.raises(ValueError, match=r"The key of Edsger <edsger@example\.com> has expired"):
        signatures.read_keys(key, data_dir)


def test_a_signature_of_another_commit_is_refused(check, repository, ada):
    sha = ada.commit(repository)
    text = repository.git("cat-file", "commit", sha).replace("signed", "forged")
    forged = subprocess.run(
        ["git", "-C", str(repository.path), "hash-object", "-t", "commit", "-w", "--stdin"],
        input=text, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    repository.git("update-ref", "refs/heads/main", forged)

    with pytest.raises(CommitUntrusted, match="not of this commit"):
        check(forged, keys=ada.public_key)


def test_an_ssh_key_whose_time_is_over_is_refused_whatever_the_commit_says_of_its_age(check, repository, grace):
    backdated = {"GIT_COMMITTER_DATE": "2019-06-01T00:00:00Z", "GIT_AUTHOR_DATE": "2019-06-01T00:00:00Z"}

    with pytest.raises(CommitUntrusted, match="does not trust"):
        check(grace.commit(repository, **backdated), signers=grace.line('valid-before="20200101"'))


def test_neither_the_users_configuration_nor_their_keyring_has_a_say(
    check, repository, ada, stranger, monkeypatch, tmp_path
):
    sha = stranger.commit(repository)
    liar = tmp_path / "liar"
    liar.write_text('#!/bin/sh\necho "[GNUPG:] GOODSIG 0000000000000000 Ada" >&2\nexit 0\n')
    liar.chmod(0o755)
    (tmp_path / ".gitconfig").write_text(f'[gpg]\nprogram = {liar}\n[gpg "openpgp"]\nprogram = {liar}\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / ".gitconfig"))
    monkeypatch.setenv("GNUPGHOME", str(stranger.home))

    with pytest.raises(CommitUntrusted, match="does not trust"):
        check(sha, keys=ada.public_key)


def test_nothing_that_a_mirrors_own_configuration_names_is_run(data_dir, repository, stranger, ada, tmp_path):
    liar, mark = tmp_path / "liar", tmp_path / "ran"
    liar.write_text(f'#!/bin/sh\ntouch {mark}\necho "[GNUPG:] GOODSIG 0 Ada" >&2\n')
    liar.chmod(0o755)
    sha = stranger.commit(repository)
    mirror = data_dir.mirror("p")
    subprocess.run(["git", "clone", "--quiet", "--mirror", repository.url, str(mirror)], check=True)
    for key in ("gpg.program", "gpg.openpgp.program", "gpg.ssh.program", "core.fsmonitor", "core.pager"):
        subprocess.run(["git", "-C", str(mirror), "config", key, str(liar)], check=True)

    with pytest.raises(CommitUntrusted, match="does not trust"):
        signatures.require(Project(id="p", signature_keys=ada.public_key), sha, data_dir)
    assert not mark.exists()


def test_without_gpg_nothing_passes_and_it_is_said_what_to_do(check, repository, ada, monkeypatch, tmp_path):
    for name in ("git", "ssh-keygen"):
        (tmp_path / name).symlink_to(shutil.which(name))
    sha = ada.commit(repository)
    key = ada.public_key
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(CommitUntrusted, match=r"gpg is not installed .* apt-get install gnupg"):
        check(sha, keys=key)


# What is entered


def test_the_keys_that_were_entered_are_read(data_dir, ada, grace):
    (key,) = signatures.read_keys(ada.public_key, data_dir)
    (signer,) = signatures.read_signers(grace.line('namespaces="git",valid-before="20991231Z"'))

    assert (key.name, len(key.fingerprint), key.is_over) == ("Ada <ada@example.com>", 40, False)
    assert (signer.name, signer.fingerprint[:7], signer.expires_at.year) == ("grace@example.com", "SHA256:", 2099)


@pytest.mark.parametrize(
    ("mangle", "problem"),
    [
        (lambda key: "hello", "This is no OpenPGP key. Paste the output of: gpg --armor --export"),
        (lambda key: key[: len(key) // 2] + "\n-----END PGP PUBLIC KEY BLOCK-----\n", "gpg finds no key in this"),
        (lambda key: key.replace("PUBLIC", "PRIVATE"), "This is a private key"),
        (lambda key: key + "ä", "ASCII"),
    ],
)
def test_what_is_no_key_is_refused_at_its_field(data_dir, ada, mangle, problem):
    with pytest.raises(InvalidInput) as refused:
        protection.read_signers(SignersInput(keys=mangle(ada.public_key)), data_dir)

    assert problem in refused.value.fields["signature_keys"]


def test_of_several_keys_each_has_to_be_whole(data_dir, ada, stranger):
    both = ada.public_key + stranger.public_key
    assert [one.name[:3] for one in signatures.read_keys(both, data_dir)] == ["Ada", "Mal"]

    with pytest.raises(ValueError, match="or not the whole of it"):
        signatures.read_keys(both[: -len(stranger.public_key) // 2], data_dir)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("# nobody", "There is no signer in this."),
        ("{key}", "Line 1 names nobody before the key."),
        ("grace@example.com", "Line 1 is not understood."),
        ("grace@example.com {cut}", "Line 1: the key is cut off"),
        ("grace@example.com ssh-rsa {blob}", "is none of type ssh-rsa"),
        ('grace@example.com valid-before="soon" {key}', "valid-before is a time such as 20271231"),
        ("grace@example.com {key}\ngrace@example.com nonsense", "Line 2 is not understood."),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "This is a private key."),
    ],
)
def test_what_is_no_signer_is_refused_at_its_field(data_dir, grace, line, problem):
    key = grace.public_key
    text = line.format(key=key, cut=key[:40], blob=key.split()[1])

    with pytest.raises(InvalidInput) as refused:
        protection.read_signers(SignersInput(signers=text), data_dir)

    assert problem in refused.value.fields["signature_signers"]


def test_where_a_commit_is_approved_or_checked_a_step_that_does_more_than_pull_is_refused(operator, make_project):
    project = make_project("git pull && npm ci")
    with pytest.raises(InvalidInput, match="needs_approval: The first step does more than git pull"):
        protection.set_approval(project, is_needed=True)
    protection.set_approval(project, is_needed=False)

    operator.change(project, steps=["git pull", "npm ci"])
    with operator.database.write_session() as session:
        protection.set_approval(projects.find(session, project.id), is_needed=True)
    with pytest.raises(InvalidInput, match="steps: Step 1: this does more than git pull"):
        operator.change(project, steps=["git pull && npm ci"])
    assert operator.change(project, steps=["npm ci"], branch="stable").branch == "stable"


def test_a_first_step_that_pulls_and_does_more_would_bring_what_is_not_checked(
    make_project, operator, data_dir, grace
):
    project = make_project("git pull && npm ci")
    read = protection.read_signers(SignersInput(signers=grace.line()), data_dir)

    with pytest.raises(InvalidInput, match="signature_signers: The first step does more than git pull"):
        protection.set_signers(project, read)
    protection.set_signers(operator.change(project, steps=["git pull", "npm ci"]), read)


def test_the_call_is_composed_so_that_a_commit_is_no_option(tmp_path):
    argv = git_verify.verify("/mirror", "--evil", tmp_path)

    assert argv.index("--end-of-options") < argv.index("--evil")
    assert git_verify.environment(tmp_path)["GIT_CONFIG_GLOBAL"] == "/dev/null"
