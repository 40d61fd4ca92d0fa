"""The health check: whether what was deployed is well, asked where it runs until it is, or until time is up.

It is an address that must answer with a status, or a command that must exit with 0. As in `git`, the script is a
constant, and whatever comes from outside reaches it as environment variables. Its last line says how it ended.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from deployer import outbound

LONGEST_TRY_S = 10
"""For one answer. An address that takes longer is not well."""

LONGEST_NAME = 200
"""Of what is asked so many characters are said, so that what came of it has room behind them."""

SCRIPT = r"""
begun=$(date +%s)
left() { echo $(( begun + DEPLOYER_HEALTH_DEADLINE - $(date +%s) )); }

# Link-local addresses lead to what a cloud tells its machines alone; some clouds use others, as `outbound` has them.
# IPv4 addresses also as IPv6 shows them, by itself (::ffff:) and in a network that has nothing else (64:ff9b::).
is_link_local() {
  case $1 in
    169.254.*|[fF][eE][89aAbB]?:*|::[fF][fF][fF][fF]:169.254.*|64:ff9b::a9fe:*|64:ff9b::169.254.*) return 0;;
    fd00:ec2::254|168.63.129.16|100.100.100.200|::ffff:168.63.129.16|::ffff:100.100.100.200) return 0;;
    64:ff9b::a83f:8110|64:ff9b::6464:64c8) return 0;;
    *) return 1;;
  esac
}

# Looked up once, so that all tries ask the same; each address, since a server may listen to one of them only.
look_up() {
  if [ -n "$addresses" ]; then return 0; fi
  if ! command -v getent >/dev/null; then addresses=$DEPLOYER_HEALTH_HOST; return 0; fi
  found=$(getent ahosts "$DEPLOYER_HEALTH_HOST" | while read -r one rest; do printf '%s\n' "$one"; done | sort -u)
  # The name of a machine may lead to a link-local address besides its proper one.
  for one in $found; do
    if ! is_link_local "$one"; then addresses="$addresses $one"; fi
  done
  addresses=${addresses# }
  if [ -n "$addresses" ]; then return 0; fi
  for one in $found; do
    echo "$DEPLOYER_HEALTH_HOST is the link-local or metadata address $one, which is not asked"
    exit 1
  done
  said="$DEPLOYER_HEALTH_HOST has no address"
  return 1
}

ask_with_curl() {
  pinned=
  case $DEPLOYER_HEALTH_HOST in
    # An address is looked up already, and one of IPv6 would be read as a port.
    *:*|"$addresses") ;;
    *) pinned=$DEPLOYER_HEALTH_HOST:$DEPLOYER_HEALTH_PORT:$(echo $addresses | tr ' ' ',');;
  esac
  # --disable: nothing of a ~/.curlrc. --globoff: brackets are those of an IPv6 address. The answer's body is nobody's
  # business.
  curl --disable --silent --show-error --globoff --output /dev/null --write-out '%{http_code}' --max-redirs 0 \
    --noproxy '*' ${pinned:+--resolve "$pinned"} --max-time "$1" --proto '=http,https' -- "$DEPLOYER_HEALTH_URL"
}

ask_with_python() {
  "${DEPLOYER_PYTHON:-python3}" -c '
import http.client, os, socket, ssl, sys
from urllib.parse import urlsplit
url, patience, addresses = urlsplit(os.environ["DEPLOYER_HEALTH_URL"]), float(sys.argv[1]), sys.argv[2:]
port = int(os.environ["DEPLOYER_HEALTH_PORT"])
for address in addresses:
    try:
        link = socket.create_connection((address, port), patience)
        if url.scheme == "https":
            link = ssl.create_default_context().wrap_socket(link, server_hostname=url.hostname)
        asked = http.client.HTTPConnection(url.hostname, port, timeout=patience)
        asked.sock = link
        asked.request("GET", (url.path or "/") + ("?" + url.query if url.query else ""))
        print(asked.getresponse().status)
        break
    except OSError as error:
        said = str(error)
    except http.client.HTTPException as error:
        said = "it does not answer in HTTP: " + repr(error)
else:
    sys.exit(said)
' "$1" $addresses
}

# Sets said; succeeds where it is well.
try_once() {
  patience=$(left)
  if [ "$patience" -gt "$DEPLOYER_HEALTH_LONGEST" ]; then patience=$DEPLOYER_HEALTH_LONGEST; fi
  if [ "$patience" -lt 1 ]; then patience=1; fi
  if [ -z "$DEPLOYER_HEALTH_URL" ]; then
    code=0
    $DEPLOYER_HEALTH_SHELL "$DEPLOYER_HEALTH_COMMAND" || code=$?
    said="exited with $code"
    [ "$code" -eq 0 ]
    return
  fi
  look_up || return 1
  said=$("$asker" "$patience" 2>&1) || { said=${said%"$newline"[0-9][0-9][0-9]}; return 1; }
  # curl may warn in front of it.
  is=${said##*"$newline"}
  said="answered $is instead of $DEPLOYER_HEALTH_STATUS"
  [ "$is" = "$DEPLOYER_HEALTH_STATUS" ]
}

newline='
'
asker= addresses=
if [ -z "$DEPLOYER_HEALTH_URL" ]; then :
elif command -v curl >/dev/null; then asker=ask_with_curl
elif command -v "${DEPLOYER_PYTHON:-python3}" >/dev/null; then asker=ask_with_python
else
  echo 'an address is asked by curl or python3, and neither is there: install curl'
  exit 1
fi
try=1
while :; do
  if try_once; then
    echo "well at try $try"
    exit 0
  fi
  if [ "$try" -ge "$DEPLOYER_HEALTH_TRIES" ] || [ "$(left)" -le "$DEPLOYER_HEALTH_INTERVAL" ]; then break; fi
  echo "try $try: $said"
  try=$(( try + 1 ))
  sleep "$DEPLOYER_HEALTH_INTERVAL"
done
tries="$try tries"
if [ "$try" -eq 1 ]; then tries='1 try'; fi
# What the command printed last may lack its newline.
if [ -z "$DEPLOYER_HEALTH_URL" ]; then echo; fi
printf '%s: %s, at the end of %s\n' "$DEPLOYER_HEALTH_NAME" "$said" "$tries"
exit 1
"""
"""Asks until it is well (exit 0), or until tries or time are up (exit 1)."""


def variables(
    *, url: str | None, command: str | None, shell: str, status: int, tries: int, interval_s: int, deadline_s: int
) -> dict[str, str]:
    """What the script needs; an address, or a command that ``shell`` (``sh`` or ``bash``) runs."""
    parts = urlsplit(url or "")
    name = url or next(iter((command or "").splitlines()), "")
    return {
        "DEPLOYER_HEALTH_NAME": name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…",
        "DEPLOYER_HEALTH_URL": url or "",
        "DEPLOYER_HEALTH_HOST": parts.hostname or "",
        "DEPLOYER_HEALTH_PORT": str(parts.port or (443 if parts.scheme == "https" else 80)),
        "DEPLOYER_HEALTH_COMMAND": command or "",
        "DEPLOYER_HEALTH_SHELL": "bash -eo pipefail -c" if shell == "bash" else "sh -ec",
        "DEPLOYER_HEALTH_STATUS": str(status),
        "DEPLOYER_HEALTH_TRIES": str(tries),
        "DEPLOYER_HEALTH_INTERVAL": str(interval_s),
        "DEPLOYER_HEALTH_DEADLINE": str(deadline_s),
        "DEPLOYER_HEALTH_LONGEST": str(LONGEST_TRY_S),
    }


def url_problem(url: str) -> str | None:
    """Why ``url`` cannot be asked, in words; None if it can."""
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        return "Give an address such as http://127.0.0.1:3000/health."
    if not is_usable or not url.isprintable() or " " in url or not url.isascii():
        return "Give an address such as http://127.0.0.1:3000/health."
    if parts.username or parts.password:
        return "Give an address without a user name and password; a command can ask with them."
    if _is_link_local(parts.hostname or ""):
        return "This is a link-local address, where a cloud answers its machines; give another one."
    return None


def _is_link_local(host: str) -> bool:
    try:
        return outbound.is_of_a_cloud(host)
    except ValueError:
        return False
