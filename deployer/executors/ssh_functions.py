"""What the control shell of a server knows: functions of POSIX sh that look after run directories.

They do there what `local.LocalExecutor` does here, in one question instead of many: each answer costs one way to the
server and back. The run directories lie in ``~/.deployer/spool``.
"""

from __future__ import annotations

import hashlib

from deployer.executors import launcher
from deployer.executors.base import FENCE_PATIENCE_S, TOMBSTONE_S

LAUNCHER = f"run-{hashlib.sha256(launcher.SCRIPT.encode()).hexdigest()[:12]}"
"""The launcher's file name: another version of it is another file, so that none is replaced while it starts."""

FUNCTIONS = (
    r"""
umask 077
home=$HOME/.deployer
spool=$home/spool
IFS= read -r boot < /proc/sys/kernel/random/boot_id

# A process: its state, session and start time. Names may hold anything, so the last parenthesis counts (proc(5)).
stat_of() {
  { IFS= read -r line < "/proc/$1/stat"; } 2>/dev/null || return 1
  set -- ${line##*) }
  p_state=$1 p_session=$4 p_start=${20}
  case $p_state in [ZX]) return 1;; esac
}

# The living processes of these sessions.
in_sessions() {
  for entry in /proc/[0-9]*; do
    stat_of "${entry#/proc/}" || continue
    for session do
      [ "$p_session" != "$session" ] || echo "${entry#/proc/}"
    done
  done
}

group_of() { group=; { IFS= read -r group < "$1/group"; } 2>/dev/null; }

# What the fence says: pid, start time and boot of the launcher. It counts only with its newline.
fence_of() { pid= started= fence=; { read -r pid started fence < "$1/pid"; } 2>/dev/null; }

code_of() { code=; { IFS= read -r code < "$1/exit"; } 2>/dev/null || { code=; return 1; }; }

lives() {
  stat_of "$pid" && [ "$p_start" = "$started" ] && return 0
  group_of "$1"
  [ -n "$(in_sessions "$pid" ${group:+"$group"})" ]
}

# Sets state, code and is_earlier of a run.
state_of() {
  code= is_earlier=0
  if [ ! -e "$1/pid" ]; then state=absent; return; fi
  if ! fence_of "$1"; then
    state=alive
    [ $(($(date +%s) - $(stat -c %Y "$1/pid"))) -lt @PATIENCE@ ] || state=lost
    return
  fi
  [ "$fence" = "$boot" ] || is_earlier=1
  if code_of "$1"; then state=exited
  elif [ $is_earlier = 0 ] && lives "$1"; then state=alive
  elif code_of "$1"; then state=exited
  else state=lost
  fi
}

# look RUN OFFSET LIMIT: "state code is_earlier", and at most LIMIT bytes of output from the offset on. What the state
# was before the output was read holds for the output: an exit that is told has all of it.
look() {
  d=$spool/$1
  state_of "$d"
  # The environment may hold secrets; once the command has read it, it goes.
  if [ -e "$d/env" ]; then { [ -e "$d/group" ] || [ $state = exited ]; } && rm -f "$d/env"; fi
  echo "$state ${code:--} $is_earlier"
  [ ! -e "$d/output" ] || dd if="$d/output" bs="$3" count=1 iflag=skip_bytes skip="$2"
}

# age RUN: since its launcher began, and how many of these are a second. What begins now tells the present moment.
age() {
  fence_of "$spool/$1" && [ "$fence" = "$boot" ] || return 0
  now=$(/bin/sh -c 'IFS= read -r line < /proc/$$/stat; set -- ${line##*) }; echo "${20}"')
  echo "$((now - started)) $(getconf CLK_TCK 2>/dev/null || echo 100)"
}

size_of() { wc -c < "$spool/$1/output"; }

# started_by RUN DEPLOYMENT: what carries the deployment's id, and what is left of the command's session. While no
# exit is recorded the group's number is the command's; later it counts only as long as nobody else has it.
started_by() {
  d=$spool/$1
  for entry in $(grep -lF "DEPLOY_ID=$2" /proc/[0-9]*/environ); do
    entry=${entry#/proc/}; entry=${entry%/environ}
    stat_of "$entry" && echo "$entry"
  done
  group_of "$d"; state_of "$d"
  if [ -n "$group" ] && [ $is_earlier = 0 ]; then
    if [ $state = alive ] || [ ! -e "/proc/$group" ]; then in_sessions "$group"; fi
  fi
}

# stop RUN DEPLOYMENT SIGNAL: fails where nothing was there to be told.
stop() {
  set -- "$3" $(started_by "$1" "$2")
  signal=$1; shift
  [ $# -gt 0 ] || return 1
  kill "-$signal" "$@"
  return 0
}

survivors() {
  for one in $(started_by "$1" "$2" | sort -nu); do
    echo "$one $(tr '\000\n' '  ' < "/proc/$one/cmdline")"
  done
}

collect() {
  d=$spool/$1
  [ -d "$d" ] || return 0
  set --
  for one in "$d"/* "$d"/.[!.]*; do
    case ${one##*/} in pid|exit) ;; *) set -- "$@" "$one";; esac
  done
  rm -rf -- "$@"
}

# What a run directory holds besides what proves that it ran.
others_in() { ls -A "$1" | grep -vxF -e pid -e exit; }

# The runs that were not collected yet.
uncollected() {
  for d in "$spool"/*/; do
    d=${d%/}
    [ -z "$(others_in "$d")" ] || echo "${d##*/}"
  done
}

sweep() {
  find "$spool" -mindepth 1 -maxdepth 1 -type d -mmin +@TOMBSTONE@ | while IFS= read -r d; do
    # A probe is nobody's any more after so long.
    case ${d##*/} in probe-*) rm -rf "$d"; continue;; esac
    [ -n "$(others_in "$d")" ] || rm -rf "$d"
  done
}

greet() {
  mkdir -p "$spool"
  id -un; id -u; echo "$HOME"; echo "$boot"
  runtime=/run/user/$(id -u)
  [ ! -d "$runtime" ] || echo "$runtime"
}
""".replace("@PATIENCE@", str(round(FENCE_PATIENCE_S)))
    .replace("@TOMBSTONE@", str(TOMBSTONE_S // 60))
    .lstrip()
)
