"""What leaves with every answer, and that no page holds anything that a strict policy would have to allow."""

from __future__ import annotations

import pytest

from tests.support.waiting import wait_until

POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
}


@pytest.fixture
def pages(member, stranger, operator, project, running, forge, nothing_of_all_projects):
    """Every page there is, in the states that show most."""
    operator.set_variable(project, "TOKEN", "hunter2hunter2", secret=True)
    operator.set_variable(None, "SHARED_TOKEN", "hunter2hunter2", secret=True)
    operator.make_deploy_key(project)
    operator.set_https_token(project, "ghp_0123456789")
    forge.event("ping")
    forge.send(b"{}", X_Hub_Signature_256=None)
    failed = operator.deployment(operator.deploy(project)).id
    asked = [
        (stranger, "GET", "/login"),
        (stranger, "POST", "/login"),
        (stranger, "GET", "/setup"),
        (member, "GET", "/"),
        (member, "GET", f"/projects/{project.name}"),
        (member, "GET", "/projects/new"),
        (member, "POST", "/projects/new"),
        (member, "GET", f"/projects/{project.name}/edit"),
        (member, "GET", f"/projects/{project.name}/delete"),
        (member, "POST", f"/projects/{project.name}/delete"),
        (member, "GET", f"/projects/{project.name}/variables"),
        (member, "POST", f"/projects/{project.name}/variables"),
        (member, "POST", f"/projects/{project.name}/variables/import"),
        (member, "GET", "/settings/variables"),
        (member, "POST", f"/projects/{project.name}/check-access"),
        (member, "GET", f"/deployments/{running}"),
        (member, "GET", f"/deployments/{failed}"),
        (member, "GET", "/settings"),
        (member, "GET", "/account"),
        (member, "POST", "/account/password"),
        (member, "GET", "/account/two-factor"),
        (member, "GET", "/settings/users"),
        (member, "GET", "/no-such-page"),
        (member, "POST", "/"),
    ]
    same = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}
    answers = [(f"{method} {path}", browser.request(method, path, headers=same)) for browser, method, path in asked]
    assert all(answer.headers["Content-Type"].startswith("text/html") for _, answer in answers)
    return answers


def test_every_page_carries_the_strict_policy_and_its_companions(pages):
    for name, answer in pages:
        headers = answer.headers
        assert set(headers["Content-Security-Policy"].split("; ")) == POLICY, name
        assert headers["X-Content-Type-Options"] == "nosniff", name
        assert headers["X-Frame-Options"] == "DENY", name
        assert headers["Referrer-Policy"] == "same-origin", name
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin", name
        assert headers["Cache-Control"] == "no-store", name


def test_json_and_refusals_carry_the_policy_too(member, stranger, forge):
    for answer in (
        member.get("/deploy/x"),
        stranger.get("/deploy/x"),
        stranger.get("/"),
        member.get("/static/deployer.css"),
    ):
        assert "Content-Security-Policy" in answer.headers
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert forge.push().headers["X-Content-Type-Options"] == "nosniff"


def test_no_page_holds_an_inline_script_style_or_handler(pages):
    for name, answer in pages:
        for element in answer.page.walk():
            assert not [one for one in element.attributes if one.startswith("on")], name
            assert "style" not in element.attributes, name
            assert element.tag != "style", name
            if element.tag == "script":
                assert element.attributes["src"].startswith("/static/"), name
                assert not element.text.strip(), name
            for attribute in ("href", "src", "action"):
                assert not element.attributes.get(attribute, "").lower().startswith(("javascript:", "data:")), name


def test_every_page_takes_what_it_needs_from_this_host(pages, stranger):
    needed = {
        element.attributes.get("src") or element.attributes["href"]
        for _, answer in pages
        for element in answer.page.walk()
        if element.tag in ("script", "link", "use", "img")
    }
    assert needed
    for address in needed:
        assert address.startswith("/static/")
        assert stranger.get(address.partition("#")[0]).status == 200, address


def test_every_form_of_every_page_posts_to_this_site(pages):
    for name, answer in pages:
        for form in answer.page.find_all("form"):
            assert form.attributes["method"] == "post", name
            assert form.attributes.get("action", "/").startswith("/"), name


def test_stored_secrets_are_on_no_page(pages, operator):
    for name, answer in pages:
        assert "hunter2" not in answer.text, name
        assert "ghp_" not in answer.text, name
        assert "PRIVATE KEY" not in answer.text, name


def test_the_webhook_secret_is_on_its_projects_page_alone(pages, forge, project):
    """It has to be entered at GitHub, so this page shows it; no other does."""
    secret = forge.secret.decode()
    with_it = {name for name, answer in pages if secret in answer.text}
    assert with_it == {
        f"GET /projects/{project.name}",
        f"POST /projects/{project.name}/check-access",
    }


def test_what_outsiders_wrote_is_text_on_every_page(member, forge, operator, project, repository):
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    answer = forge.push(
        after=repository.tip(),
        head_commit={"message": f"{evil}\n\nmore {evil}", "author": {"name": evil, "email": evil}},
        pusher={"name": evil},
        compare=f"https://github.com/{evil}",
        repository={"full_name": evil},
    )
    forge.push(ref=f"refs/heads/{evil}")
    forge.event(evil.replace(" ", "")[:60])
    deployment_id = answer.headers["X-Deployment-Id"]
    operator.wait_for_end(deployment_id)

    for path in ("/", f"/projects/{project.name}", f"/deployments/{deployment_id}"):
        page = member.get(path).page
        assert "<script>alert(1)</script>" in page.text, path
        assert not [one for one in page.find_all("script") if one.text], path
        assert not page.find_all("img"), path


def test_a_compare_address_that_is_no_web_address_is_no_link(member, forge):
    answer = forge.push(compare="javascript:alert(1)")

    assert "javascript:" not in member.get(f"/deployments/{answer.headers['X-Deployment-Id']}").text


def test_log_output_is_text_with_colours_and_nothing_else(member, operator, make_project):
    printed = (
        r"""\033[31mred\033[0m <b>bold</b> <script>x</script> \033]0;title\007\033[2J\033[1;1Hafter &amp; "q" '"""
    )
    deployment_id = operator.deploy(make_project(f"""printf '{printed.replace("'", "")}\\n'; exit 1"""))
    operator.wait_for_end(deployment_id)

    page = member.get(f"/deployments/{deployment_id}").page
    log = page.find_all("pre", class_="log")[-1]

    assert log.text.splitlines()[0] == 'red <b>bold</b> <script>x</script> after &amp; "q" '
    assert log.find("span", class_="fg-1").text == "red"
    assert {one.tag for one in log.walk()} == {"span"}
    assert not set("\x1b\x07") & set(page.text)
    # The API hands on what was printed: its readers decide what to do with colours.
    logs = member.get(f"/deploy/{deployment_id}").json["logs"]
    assert "\x1b[31mred" in logs[-1]["log"]


def test_secret_variables_are_blacked_out_wherever_a_log_is_shown(member, operator, make_project):
    project = make_project('echo "$TOKEN"; printf %s "$TOKEN" | base64; exit 1')
    operator.set_variable(project, "TOKEN", "correct-horse-battery-staple", secret=True)
    deployment_id = operator.deploy(project)
    operator.wait_for_end(deployment_id)

    wait_until(lambda: operator.steps(deployment_id)[0].status == "failed", "the step's end")
    for path in (f"/deployments/{deployment_id}", f"/deploy/{deployment_id}", f"/deployments/{deployment_id}/stream"):
        text = member.get(path).text
        assert "***" in text, path
        assert "correct-horse" not in text, path
        assert "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5LXN0YXBsZQ" not in text, path
