"""What the daemon says of itself holds nothing that its readers must not know."""

from __future__ import annotations

from tests.support.browser import Browser
from tests.support.standing import PASSWORD


def test_the_log_holds_no_token_of_an_address_no_password_and_no_signature(daemon, member, forge, operator, project):
    operator.set_https_token(project, "ghp_not_for_the_log")
    stranger = Browser(daemon)
    stranger.get("/setup?token=one-time-link")
    stranger.get("/join?token=an-invitation")
    stranger.get("/login?next=/projects?secret=in-a-query")
    stranger.log_in("ada", PASSWORD)
    forge.push()
    forge.send(b"{}", X_Hub_Signature_256="sha256=" + "ab" * 32)
    member.post(f"/projects/{project.name}/check-access")

    said = daemon.log

    for secret in (
        "one-time-link",
        "an-invitation",
        "in-a-query",
        PASSWORD,
        "ghp_not_for_the_log",
        "ab" * 32,
        forge.secret.decode(),
    ):
        assert secret not in said
    assert stranger.cookie not in said
