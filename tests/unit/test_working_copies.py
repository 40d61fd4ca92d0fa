"""Where a working copy may lie on a server. (What holds on this host is in test_projects.)"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer import working_copies
from deployer.config import Config
from deployer.errors import InvalidInput

CONFIG = Config()
PARTS = st.lists(st.sampled_from(["a", "b", "..", ".", "", ".deployer", "~"]), max_size=6).map("/".join)


def problem(path: str) -> str | None:
    return working_copies.path_problem(path, CONFIG, is_on_server=True)


@pytest.mark.parametrize(
    "path", ["", "/srv/app", "~/app", "~/a/b c", "/srv/../opt/app", "~/.deployer-x", "/deployer", "~/~", "/home/x"]
)
def test_a_directory_of_its_own_may_be_chosen(path):
    assert problem(path) is None


@pytest.mark.parametrize("path", ["app", "./app", "~", "~x/app", "$HOME/app", "~/a\nb", "/a\0b", "/" + "x" * 4096])
def test_what_is_not_absolute_there_is_refused(path):
    assert problem(path) == "Give an absolute path there, or one that begins with ~/ for the home directory."


@pytest.mark.parametrize("path", ["/", "//", "/..", "/srv/..", "~/", "~//", "~/.", "~/..", "~/a/..", "~/../.."])
def test_a_whole_home_or_file_system_is_refused_however_it_is_written(path):
    assert problem(path) == "Give a directory of its own, not a whole home directory or file system."


@pytest.mark.parametrize(
    "path", ["~/.deployer", "~/.deployer/spool", "~/x/../.deployer", "~//.deployer/", "/home/deploy/.deployer/x"]
)
def test_deployers_own_folder_there_is_refused(path):
    assert problem(path) == "Give a directory apart from Deployer's own (~/.deployer), or none."


@given(st.sampled_from(["/", "~/"]), PARTS)
def test_what_passes_has_one_spelling_that_passes_too_and_leads_nowhere_else(start, rest):
    path = start + rest
    if problem(path) is None:
        spelled = working_copies.one_spelling(path)
        assert problem(spelled) is None
        assert working_copies.one_spelling(spelled) == spelled
        assert ".." not in spelled.split("/")
        assert ".deployer" not in spelled.split("/")
        assert spelled.startswith("~/") == path.startswith("~/")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("~/app", "~/app/"),
        ("~/app", "~//x/../app"),
        ("/srv/app", "/srv/app/public"),
        ("/srv/app/public", "/srv/app"),
        ("~/sites", "~/sites/one"),
    ],
)
def test_two_projects_of_one_server_do_not_share_a_place(make_server, make_project, first, second):
    server = make_server()
    make_project(name="one", path=first, server=server)

    with pytest.raises(InvalidInput) as caught:
        make_project(name="two", path=second, server=server)
    assert caught.value.fields["path"].startswith("The project one already uses this directory")
    make_project(name="here", path="/srv/app")


def test_a_folder_of_deployers_own_is_known_as_such(installation):
    data_dir = installation.data_dir
    server = SimpleNamespace()

    there = working_copies.own_path("app", "checkout", server, data_dir)

    assert there == "~/.deployer/checkouts/app"
    assert working_copies.is_own(SimpleNamespace(server_id="x", path=there), data_dir)
    assert not working_copies.is_own(SimpleNamespace(server_id="x", path="~/app"), data_dir)
    assert not working_copies.is_own(SimpleNamespace(server_id=None, path=there), data_dir)
    assert working_copies.is_own(
        SimpleNamespace(server_id=None, path=working_copies.own_path("app", "checkout", None, data_dir)), data_dir
    )


@pytest.fixture
def make_server(operator):
    from deployer import servers
    from deployer.servers import ServerInput

    def make() -> str:
        with operator.database.write_session() as session:
            return servers.create(session, ServerInput("web1", "192.0.2.1"), operator.installation.vault).id

    return make
