"""A booted Debian with systemd as its first process, and the person who looks after it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from tests.host.lab import OPTIONS, Lab, checkout
from tests.support.browser import Answer, Browser
from tests.support.forge import push, sign
from tests.support.waiting import wait_until

NAME = "deployer-test-host"
SOURCE = "/root/deployer"

# A container's kernel, and with it the boot id, is its host's. Each start of this one gets a boot id of its own, as a
# start of a real host does; everything else that a reboot means here is real: systemd ends every unit in its order
# and starts them in its order, no process survives, and /run is empty.
_INIT = (
    "cat /proc/sys/kernel/random/uuid > /run/boot_id; chmod 0444 /run/boot_id;"
    " mount --bind /run/boot_id /proc/sys/kernel/random/boot_id; exec /lib/systemd/systemd"
)

_WORKS = 'test "$(systemctl is-system-running)" = running'


class Machine:
    """``host`` and ``port`` are where `Browser` finds the daemon, while this thread is in the lab."""

    host = "127.0.0.1"
    port = 8420

    def __init__(self, lab: Lab, wheels: Path) -> None:
        self._lab = lab
        self._wheels = wheels

    def boot(self) -> None:
        self._lab.podman("rm", "--force", "--time=0", "--ignore", NAME)
        options = [*OPTIONS, "--systemd=always", "--hostname=server", "--add-host=server:127.0.0.1"]
        self._lab.podman(
            "run", "--detach", f"--name={NAME}", *options, f"--volume={self._wheels}:/wheels:ro",
            self._lab.image(), "/bin/sh", "-c", _INIT
        )  # fmt: skip
        self._wait_until_up()

    def remove(self) -> None:
        self._lab.podman("rm", "--force", "--time=0", "--ignore", NAME)

    def reboot(self) -> None:
        """As ``systemctl reboot`` does it. Returns when the host is up again."""
        self.sh("systemctl --no-block reboot")
        self._lab.podman("wait", NAME)
        self._lab.podman("start", NAME)
        self._wait_until_up()

    def lose_power(self) -> None:
        """Every process ends at once. Returns when the host is up again."""
        self._lab.podman("kill", "--signal=KILL", NAME)
        self._lab.podman("wait", NAME)
        self._lab.podman("start", NAME)
        self._wait_until_up()

    def _wait_until_up(self) -> None:
        wait_until(lambda: self.answers(_WORKS), "a host that is up", within_s=60)

    # What root does there

    def sh(self, script: str, given: bytes | None = None) -> str:
        """What a script of root prints; an OSError with what it says where it fails."""
        return self._exec(script, given, check=True)[1]

    def answers(self, script: str) -> bool:
        return self._exec(script)[0] == 0

    def fails(self, script: str) -> str:
        """What a script that has to fail says on stderr."""
        code, _, words = self._exec(script)
        assert code, script
        return words

    def _exec(self, script: str, given: bytes | None = None, *, check: bool = False) -> tuple[int, str, str]:
        words = ["exec", "--interactive", "--env=PIP_NO_INDEX=1", "--env=PIP_FIND_LINKS=/wheels", "--workdir=/root"]
        done = self._lab.podman(*words, NAME, "sh", "-c", script, given=given, check=check)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def put_checkout(self) -> None:
        self.sh(f"rm -rf {SOURCE}; mkdir {SOURCE}; tar -C {SOURCE} --no-same-owner -x", given=checkout())

    def make_newer(self) -> str:
        """Another version in the checkout; its number."""
        self.sh(f"sed -i 's/^__version__ = .*/__version__ = \"9.9.9\"/' {SOURCE}/deployer/__init__.py")
        return "9.9.9"

    def install(self) -> str:
        """What ``make install`` prints."""
        return self.sh(f"make -C {SOURCE} install")

    def uninstall(self) -> str:
        return self.sh(f"make -C {SOURCE} uninstall")

    def pid(self, unit: str) -> int:
        return int(self.sh(f"systemctl show --property=MainPID --value {unit}"))

    def journal(self, *words: str) -> list[str]:
        """The messages of Deployer's units, without time and process."""
        units = "-u deployer-web -u deployer-runner"
        return self.sh(f"journalctl --output=cat {units} {shlex.join(words)}").splitlines()

    # What people do there

    def make_repository(self, path: str = "/srv/git/app.git") -> str:
        """A repository with one commit, which Deployer's user may read; its sha."""
        return self.sh(
            f"set -e; git init -q --bare -b main {path}; tree=$(git -C {path} mktree </dev/null);"
            " export GIT_AUTHOR_NAME=Ada GIT_AUTHOR_EMAIL=a@example.com GIT_COMMITTER_NAME=Ada"
            " GIT_COMMITTER_EMAIL=a@example.com;"
            f" sha=$(git -C {path} commit-tree -m first $tree); git -C {path} update-ref refs/heads/main $sha;"
            f" chown -R deployer: {path}; echo $sha"
        ).strip()

    def make_project(self, name: str, *steps: str) -> Project:
        flags = " ".join(f"--step {shlex.quote(step)}" for step in steps)
        facts = json.loads(self.sh(f"deployer project create {name} --repo /srv/git/app.git {flags} --json"))
        return Project(self, name, facts["id"], facts["webhook_secret"].encode())

    def deployment(self, browser: Browser, deployment_id: str) -> dict[str, Any]:
        answer = browser.get(f"/deploy/{deployment_id}")
        assert answer.status == 200, answer.text
        found: dict[str, Any] = answer.json
        return found

    def wait_for_end(self, browser: Browser, deployment_id: str) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            found = self.deployment(browser, deployment_id)
            return found if found["deployment"]["finished_at"] else None

        found = wait_until(ended, f"the end of {deployment_id}", within_s=60)
        assert found is not None
        return found

    def wait_for_output(self, browser: Browser, deployment_id: str, text: str) -> None:
        def is_there() -> bool:
            return any(text in one["log"] for one in self.deployment(browser, deployment_id)["logs"])

        wait_until(is_there, f"{text!r} in the log of {deployment_id}", within_s=30)


class Project:
    """A project on the machine, and the forge that pushes to it."""

    def __init__(self, machine: Machine, name: str, project_id: str, secret: bytes) -> None:
        self.machine = machine
        self.name = name
        self.id = project_id
        self.secret = secret

    def push(self, sha: str) -> Answer:
        """A signed delivery."""
        body = json.dumps(push(after=sha, head_commit={"id": sha, "message": "Make it work"})).encode()
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": "push",
            "X-Hub-Signature-256": sign(body, self.secret),
        }
        return Browser(self.machine).request("POST", f"/webhook/{self.id}", body, headers)

    def pushed(self, sha: str) -> str:
        """The deployment that a push led to."""
        answer = self.push(sha)
        assert answer.status == 200, answer.text
        return answer.headers["X-Deployment-Id"]
