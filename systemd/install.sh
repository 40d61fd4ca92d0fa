#!/bin/sh
# Puts Deployer on this host, or a newer version in the place of an older one; or takes it away and keeps the data.
#
#     sudo make install | sudo make uninstall        (sh systemd/install.sh install | uninstall)
#
# Each version has a folder of its own with its code and its environment, /opt/deployer/releases/<version>-<time>, and
# the link /opt/deployer/current names the one that the next start takes. A folder is complete before the link is moved,
# and stays for two upgrades more, so nothing that runs loses a file. pip hears its usual variables (PIP_INDEX_URL,
# PIP_NO_INDEX, PIP_FIND_LINKS, …); PYTHON names another interpreter than python3.
# shellcheck disable=SC2086
set -eu
umask 022
unset PYTHONHOME PYTHONPATH

HOME_DIR=/opt/deployer
CONFIG_DIR=/etc/deployer
DATA_DIR=/var/lib/deployer
COMMAND=/usr/local/bin/deployer
UNIT_DIR=/etc/systemd/system
SUDOERS=/etc/sudoers.d/deployer
USER_NAME=deployer
UNITS='deployer-web.socket deployer-web.service deployer-runner.service' # a list of words
KEPT_RELEASES=3
PYTHON=${PYTHON:-python3}

source_dir=$(cd "$(dirname "$0")/.." && pwd -P)

say() {
    printf '%s\n' "$*"
}

refuse() {
    printf 'Deployer: %s\n' "$*" >&2
    exit 1
}

has() {
    command -v "$1" >/dev/null 2>&1
}

check_host() {
    [ "$(id -u)" = 0 ] || refuse "this needs root: sudo make $1"
    [ -d /run/systemd/system ] || refuse 'systemd does not run on this host. Start Deployer with: make run'
}

check_parts() {
    has "$PYTHON" || refuse "$PYTHON is missing. On Debian and Ubuntu: apt-get install python3 python3-venv"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        refuse "Python 3.11 or newer is needed; $PYTHON is $("$PYTHON" -V). Name another: make install PYTHON=python3.12"
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        refuse "Python's venv module is missing. On Debian and Ubuntu: apt-get install python3-venv"
    for pair in git:git setsid:util-linux runuser:util-linux useradd:passwd getent:libc-bin; do
        has "${pair%%:*}" || refuse "${pair%%:*} is missing. On Debian and Ubuntu: apt-get install ${pair##*:}"
    done
}

make_user() {
    if ! getent passwd "$USER_NAME" >/dev/null; then
        useradd --system --user-group --home-dir "$DATA_DIR" --no-create-home --shell /bin/sh "$USER_NAME"
        return
    fi
    # A person's account of this name is not to become the daemon's.
    case $(getent passwd "$USER_NAME" | cut -d: -f6) in
        "$DATA_DIR" | "$DATA_DIR"/) ;;
        *) refuse "There is a user $USER_NAME already, whose home is not $DATA_DIR. Rename that account, or give it this home." ;;
    esac
}

# A complete version under a name of its own; nothing uses it yet. Sets `release`.
make_release() {
    version=$("$PYTHON" -c 'import sys; sys.path.insert(0, sys.argv[1]); import deployer; print(deployer.__version__)' \
        "$source_dir")
    release=$HOME_DIR/releases/$version-$(date -u +%Y%m%dT%H%M%SZ)
    mkdir -p "$HOME_DIR/releases"
    mkdir "$release" || refuse "$release is there already. Try again in a second."
    trap 'rm -rf "$release"' EXIT
    say "Building $release"
    (cd "$source_dir" && cp -R app.py deployer static systemd templates requirements.txt config.example.toml LICENSE \
        "$release/")
    find "$release" -name __pycache__ -prune -exec rm -rf {} +
    "$PYTHON" -m venv "$release/.venv"
    "$release/.venv/bin/python" -m pip --disable-pip-version-check install --quiet -r "$release/requirements.txt" ||
        refuse 'the Python packages could not be installed (see above). Nothing was changed.'
    # The daemon's user cannot write here, so what is not compiled now is compiled at each start.
    "$release/.venv/bin/python" -m compileall -q "$release/app.py" "$release/deployer"
    chmod -R u+rwX,go-w,a+rX "$release"
    chown -R root:root "$release"
    trap - EXIT
}

make_data_dir() {
    install -d -m 0700 -o "$USER_NAME" -g "$USER_NAME" "$DATA_DIR"
}

make_config() {
    install -d -m 0755 "$CONFIG_DIR"
    [ ! -e "$CONFIG_DIR/config.toml" ] || return 0
    sed "s|^data_dir = .*|data_dir = \"$DATA_DIR\"|" "$release/config.example.toml" >"$CONFIG_DIR/config.toml.new"
    grep -q "^data_dir = \"$DATA_DIR\"\$" "$CONFIG_DIR/config.toml.new" ||
        refuse 'config.example.toml does not name storage.data_dir any more'
    chown "root:$USER_NAME" "$CONFIG_DIR/config.toml.new"
    chmod 0640 "$CONFIG_DIR/config.toml.new"
    mv "$CONFIG_DIR/config.toml.new" "$CONFIG_DIR/config.toml"
}

# put FILE PLACE MODE: nobody ever sees half a file.
put() {
    install -m "$3" -o root -g root "$1" "$2.new"
    mv -f "$2.new" "$2"
}

make_current() {
    ln -sfn "$release" "$HOME_DIR/current.new"
    mv -fT "$HOME_DIR/current.new" "$HOME_DIR/current"
    put "$release/systemd/deployer" "$COMMAND" 0755
}

# Sets `has_new_address`: what systemd listens on has to be opened anew.
make_units() {
    has_new_address=
    cmp -s "$release/systemd/deployer-web.socket" "$UNIT_DIR/deployer-web.socket" || has_new_address=yes
    for unit in $UNITS; do
        put "$release/systemd/$unit" "$UNIT_DIR/$unit" 0644
    done
    systemctl daemon-reload
}

make_sudoers() {
    if has visudo && [ -d /etc/sudoers.d ] && visudo -cqf "$release/systemd/deployer.sudoers"; then
        put "$release/systemd/deployer.sudoers" "$SUDOERS" 0440
    else
        say 'sudo is not there: a step cannot restart Deployer itself.'
    fi
}

# The old processes end before the new ones begin, because those may have to change the database. Running commands go
# on (KillMode=process), and connections wait in the socket.
start() {
    systemctl --quiet stop deployer-web.service deployer-runner.service 2>/dev/null || true
    [ -z "$has_new_address" ] || systemctl stop deployer-web.socket 2>/dev/null || true
    systemctl --quiet enable $UNITS
    systemctl start deployer-web.socket ||
        refuse 'the address is taken (by make run?). See: systemctl status deployer-web.socket; then sudo make install'
    systemctl start deployer-web.service deployer-runner.service ||
        refuse "the new version does not start. See: journalctl -u deployer-web -u deployer-runner -n 50$(way_back)"
}

way_back() {
    [ -z "$former" ] ||
        printf '\nThe former one: ln -sfn %s %s/current && systemctl restart deployer-web deployer-runner' \
            "$former" "$HOME_DIR"
}

remove_old_releases() {
    # By the time in their names, so that the order does not hang on versions.
    for old in "$HOME_DIR"/releases/*; do
        printf '%s %s\n' "${old##*-}" "$old"
    done | sort -r | tail -n "+$((KEPT_RELEASES + 1))" | while read -r _ old; do
        [ "$old" = "$release" ] || rm -rf "$old"
    done
}

install_all() {
    check_host install
    check_parts
    former=$(readlink -e "$HOME_DIR/current" || true)
    make_user
    make_release
    make_data_dir
    make_config
    make_current
    make_units
    make_sudoers
    start
    remove_old_releases
    if [ -n "$former" ]; then
        say "Deployer $version runs. Commands that were running go on."
        return
    fi
    say "Deployer $version is installed and runs as the user $USER_NAME."
    say "Settings: $CONFIG_DIR/config.toml   Data: $DATA_DIR   Logs: journalctl -u deployer-web -u deployer-runner"
    "$COMMAND" link
    say "GitHub and your browser need a way here: set server.public_url and put a proxy in front, see docs/proxy.md;"
    say "until then: ssh -L 8420:127.0.0.1:8420 <this host>, and the link above."
}

uninstall_all() {
    check_host uninstall
    systemctl --quiet disable --now $UNITS 2>/dev/null || true
    for unit in $UNITS; do
        rm -f "$UNIT_DIR/$unit"
    done
    systemctl daemon-reload
    systemctl reset-failed $UNITS 2>/dev/null || true
    rm -f "$COMMAND" "$SUDOERS"
    rm -rf "$HOME_DIR"
    say "Deployer is removed. Kept: $DATA_DIR (data and key), $CONFIG_DIR (settings), the user $USER_NAME."
    if has pgrep && pgrep -u "$USER_NAME" >/dev/null; then
        say "Still running as $USER_NAME, and left alone: $(pgrep -u "$USER_NAME" -l | tr '\n' ' ')"
    fi
    say "To remove these too: rm -r $DATA_DIR $CONFIG_DIR; userdel $USER_NAME"
}

case ${1:-} in
install) install_all ;;
uninstall) uninstall_all ;;
*) refuse 'say install or uninstall' ;;
esac
