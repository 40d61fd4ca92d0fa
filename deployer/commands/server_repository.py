"""The way of a project's commits to a server: ``git push`` into a bare repository there.

As in `git`, the scripts are constants, and whatever comes from outside reaches them as environment variables.
"""

from __future__ import annotations

import shlex
import uuid

from deployer.commands.git import environment

SEND = r"""
for wait in 1 3 9 ''; do
  git --git-dir="$DEPLOYER_MIRROR" push --force --prune -- "$DEPLOYER_URL" \
    '+refs/heads/*:refs/heads/*' '+refs/tags/*:refs/tags/*' && exit 0
  # Nothing is lost by another try: what arrived whole is there, and the rest is not.
  if [ -n "$wait" ]; then echo "Trying again in $wait s." >&2; sleep "$wait"; fi
done
exit 1
"""

TRANSPORT = r"""
# git's way to a server. What a login shell prints there comes before the mark, and is left out.
run=$DEPLOYER_RUN
ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o UpdateHostKeys=no -o HostKeyAlias=deployer \
  -o "UserKnownHostsFile=\"$run/known_hosts\"" -o GlobalKnownHostsFile=none \
  -o IdentityAgent=none -o IdentitiesOnly=yes -o "IdentityFile=\"$run/server_key\"" \
  -o ConnectTimeout=10 -o ServerAliveInterval=5 -o ServerAliveCountMax=3 -o ForwardAgent=no \
  -p "$DEPLOYER_PORT" -l "$DEPLOYER_USER" -- "$DEPLOYER_HOST" "$DEPLOYER_RECEIVE" | {
  while IFS= read -r line; do
    case $line in *"$DEPLOYER_MARK") break;; esac
  done
  exec cat
}
"""

_RECEIVE = "; ".join(
    (
        "PATH=/usr/local/bin:/usr/bin:/bin:$PATH",
        "export PATH",
        "umask 077",
        "mirror=$HOME/%s",
        "echo %s",
        'test -d "$mirror/objects" || git init --quiet --bare -- "$mirror" >&2',
        # A receiver that was killed leaves locks behind. One that still hangs has younger ones.
        'find "$mirror" -name "*.lock" -type f -mmin +5 -exec rm -f {} +',
        "exec git -c core.hooksPath=/dev/null -c receive.denyDeleteCurrent=ignore -c gc.autoDetach=false "
        '-c maintenance.autoDetach=false receive-pack "$mirror"',
    )
)
"""What a server runs: the mark that ends the noise, a bare repository where there is none yet, and git's receiver. On
one line and without apostrophes, so that every login shell hands it on as it is."""


def path(project_id: str) -> str:
    """Where a server keeps a project's bare repository, below the home directory there."""
    return f".deployer/mirrors/{project_id}.git"


def variables(
    mirror: str, project_id: str, *, server: str, project: str, host: str, port: int, username: str
) -> dict[str, str]:
    """What `SEND` and `TRANSPORT` need; ``DEPLOYER_RUN`` is the run directory with the key and the pinned host key.

    ``server`` and ``project`` are names for git to show.
    """
    url = f"ssh://{server}/{project}.git"
    mark = uuid.uuid4().hex
    receive = _RECEIVE % (path(project_id), mark)
    return {
        **environment(url),
        "GIT_SSH_COMMAND": '/bin/sh "$DEPLOYER_RUN/transport"',
        "DEPLOYER_RUN": "{run_dir}",
        "DEPLOYER_MIRROR": mirror,
        "DEPLOYER_URL": url,
        "DEPLOYER_HOST": host,
        "DEPLOYER_PORT": str(port),
        "DEPLOYER_USER": username,
        # Whatever the login shell there is, it hands this to one that we know.
        "DEPLOYER_RECEIVE": f"exec /bin/sh -c {shlex.quote(receive)}",
        "DEPLOYER_MARK": mark,
    }


def files(private_key: bytes, host_key: str) -> dict[str, bytes]:
    """The files that `TRANSPORT` reads in its run directory."""
    return {
        "server_key": private_key,
        "known_hosts": f"deployer {host_key}\n".encode(),
        "transport": TRANSPORT.encode(),
    }
