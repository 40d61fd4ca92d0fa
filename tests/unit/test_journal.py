"""What a line that Deployer says about itself looks like, for the journal and elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.support.daemon import ROOT

SCRIPT = """
import logging, sys
from deployer import journal
from deployer.config import Config
journal.start(Config())
log = logging.getLogger("deployer.runner")
log.debug("not said")
log.info("DEP-0042 app: success")
logging.getLogger("gunicorn.error").warning("two\\nlines")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("DEP-0043 app: failed")
"""


@pytest.fixture
def said(tmp_path):
    """Its lines; with ``is_journal`` the environment names the very file that they go to."""

    def run(*, is_journal: bool, **environment: str) -> list[str]:
        with (tmp_path / "said").open("w") as file:
            place = os.fstat(file.fileno())
            if is_journal:
                environment["JOURNAL_STREAM"] = f"{place.st_dev}:{place.st_ino}"
            subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, stderr=file, check=True)
        return (tmp_path / "said").read_text().splitlines()

    return run


def test_the_journal_gets_priorities_and_no_time(said):
    lines = said(is_journal=True)

    assert lines[0] == "<6>DEP-0042 app: success"
    assert lines[1:3] == ["<4>gunicorn.error: two", "<4>lines"]
    assert lines[3] == "<3>DEP-0043 app: failed"
    assert lines[-1] == "<3>ZeroDivisionError: division by zero"
    assert all(line.startswith("<3>") for line in lines[3:])


@pytest.mark.parametrize("environment", [{}, {"JOURNAL_STREAM": "1:2", "INVOCATION_ID": "x"}])
def test_a_file_gets_the_time_in_utc_the_level_and_who_says_it(said, environment):
    lines = said(is_journal=False, **environment, TZ="Asia/Tokyo")

    time = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(rf"{time} INFO deployer\.runner: DEP-0042 app: success", lines[0])
    assert re.fullmatch(rf"{time} WARNING gunicorn\.error: two", lines[1])
