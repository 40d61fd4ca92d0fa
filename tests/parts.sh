#!/bin/sh
# The real parts that tests drive: installed where this may be done (root and apt), named where not.
# With DEPLOYER_TEST_REQUIRE_PARTS set, a part that is still missing is a failure; otherwise its tests are skipped.
set -eu

missing() {
    for pair in git:git sshd:openssh-server ssh:openssh-client setsid:util-linux chromium:chromium busybox:busybox-static npm:npm; do
        PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null 2>&1 || printf '%s ' "${pair##*:}"
    done
}

packages=$(missing)
if [ -n "$packages" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing for the tests: $packages"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >/dev/null || true
    # shellcheck disable=SC2086 # a list of words
    apt-get install -y -qq --no-install-recommends $packages >/dev/null || true
    packages=$(missing)
fi
if [ -n "$packages" ]; then
    echo "Missing for some tests: $packages(apt-get install $packages)"
    [ -z "${DEPLOYER_TEST_REQUIRE_PARTS:-}" ] || exit 1
fi
