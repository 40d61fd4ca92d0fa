#!/bin/sh
# The real parts that tests drive: installed where this may be done (root and apt), named where not. `parts.sh host`
# looks for what tests/host needs, `parts.sh postgresql` for that server alone.
# With DEPLOYER_TEST_REQUIRE_PARTS set, a part that is still missing is a failure; otherwise its tests are skipped.
set -eu

parts="git:git sshd:openssh-server ssh:openssh-client setsid:util-linux chromium:chromium busybox:busybox-static npm:npm pkill:procps"
parts="$parts systemd-analyze:systemd visudo:sudo shellcheck:shellcheck caddy:caddy nginx:nginx openssl:openssl tcsh:tcsh pg_ctl:postgresql"
if [ "${1:-}" = host ]; then
    parts="git:git podman:podman runc:runc debootstrap:debootstrap busybox:busybox-static ip:iproute2"
fi
[ "${1:-}" != postgresql ] || parts="pg_ctl:postgresql"

missing() {
    # Debian keeps the server's programs out of the PATH, a folder for each version.
    versions=$(printf '%s:' /usr/lib/postgresql/*/bin)
    for pair in $parts; do
        PATH="$PATH:/usr/sbin:/sbin:$versions" command -v "${pair%%:*}" >/dev/null 2>&1 || printf '%s ' "${pair##*:}"
    done
}

packages=$(missing)
if [ -n "$packages" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing for the tests: $packages"
    # Servers are there for the tests to start, and not to run of themselves.
    export DEBIAN_FRONTEND=noninteractive SYSTEMD_OFFLINE=1
    apt-get update -qq >/dev/null || true
    # shellcheck disable=SC2086 # a list of words
    apt-get install -y -qq --no-install-recommends $packages >/dev/null || true
    packages=$(missing)
fi
if [ -n "$packages" ]; then
    echo "Missing for some tests: $packages(apt-get install $packages)"
    [ -z "${DEPLOYER_TEST_REQUIRE_PARTS:-}" ] || exit 1
fi
