"""What came of a test delivery, in words: what it tells of names, certificates and proxies, and the mend."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from deployer import clock
from deployer.errors import AddressRefused

SET_ADDRESS = "Set server.public_url to the address under which the forge reaches this host."


class Phase(StrEnum):
    """How far a request got."""

    CONNECT = "connecting"
    TLS = "the TLS handshake"
    ANSWER = "waiting for the answer"


@dataclass(frozen=True)
class Reply:
    """What was answered; ``body`` is its beginning."""

    status: int
    phrase: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers.items() if key.lower() == name), "")


@dataclass(frozen=True)
class Said:
    """``is_well``: it came to this Deployer, and the answer came back. ``reply`` is None where there was none."""

    is_well: bool
    message: str
    hint: str = ""
    reply: Reply | None = None


# No answer ------------------------------------------------------------------------------------------------------


def too_late(phase: Phase, place: str, limit_s: float) -> Said:
    waited = clock.duration_words(limit_s)
    if phase is Phase.CONNECT:
        return Said(
            False,
            f"{place} did not answer within {waited}.",
            "A firewall may drop what comes to this port, or the name leads to an address where nothing is. A router "
            "at home may not lead its own public address back in: then only a test from outside, such as the forge's "
            "own, can tell.",
        )
    if phase is Phase.TLS:
        return Said(
            False,
            f"{place} takes connections, but no TLS handshake was made within {waited}.",
            "Is this a port for TLS? Look into the log of what listens there.",
        )
    return Said(
        False,
        f"{place} took the request, but did not answer within {waited}.",
        "What listens there may not reach Deployer. GitHub waits for 10 s. Look into the proxy's log.",
    )


def failure(error: Exception, phase: Phase, place: str, limit_s: float) -> Said:
    """Of what a connection, its handshake or its answer raised."""
    if isinstance(error, TimeoutError):
        return too_late(phase, place, limit_s)
    if isinstance(error, AddressRefused):
        return Said(False, str(error.args[0]), SET_ADDRESS)
    if isinstance(error, socket.gaierror | UnicodeError):
        name = place.rpartition(":")[0]
        return Said(
            False,
            f"The name {name} leads to no address ({getattr(error, 'strerror', None) or error}).",
            "Check its spelling in server.public_url, and its record at whoever keeps its DNS.",
        )
    if isinstance(error, ConnectionRefusedError):
        return Said(
            False,
            f"Nothing listens at {place}: the connection was refused.",
            "Start the proxy there, open the port, or correct server.public_url.",
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return Said(
            False,
            f"The certificate of {place} does not hold: {error.verify_message}.",
            "Forges check certificates, and refuse this one, too. Renew it, or have the proxy send the certificates "
            "between it and its authority. An authority of your own has to be known to this host and to the forge.",
        )
    if isinstance(error, ssl.SSLError):
        return Said(
            False,
            f"{place} takes connections, but no TLS came about ({error.reason or error}).",
            "Perhaps it speaks plain http: put a proxy with a certificate before it, or correct server.public_url.",
        )
    if isinstance(error, ConnectionError | http.client.IncompleteRead):
        return Said(
            False,
            f"{place} closed the connection without an answer, at {phase}.",
            "A firewall or a proxy ends such requests: look into its log, and let a POST to /webhook/ through.",
        )
    if isinstance(error, http.client.HTTPException):
        return Said(
            False,
            f"What {place} answered is no HTTP.",
            "Another service listens at this port: correct server.public_url, or what the port leads to.",
        )
    words = getattr(error, "strerror", None) or str(error)
    return Said(False, f"{place} could not be reached: {words}.", "Check this host's network and server.public_url.")


def of_silence(said: Said, became: str) -> Said:
    """Of what arrived for all that: only the answer was lost."""
    return Said(
        False,
        f"{became} But no answer came back. {said.message}",
        "The forge would count it as failed. Look into the log of what stands in front of Deployer.",
    )


# An answer ------------------------------------------------------------------------------------------------------


def of_reply(reply: Reply, place: str, became: str | None) -> Said:
    """``became`` is what became of the delivery as the project's people read it; None where it did not arrive."""
    if became is not None:
        return _arrived(reply, became)
    message, hint = _not_arrived(reply, place)
    return Said(False, message, hint, reply)


def _arrived(reply: Reply, became: str) -> Said:
    if 200 <= reply.status < 300:
        return Said(True, became, "", reply)
    if reply.status == 429:
        return Said(True, became, "The webhook works; the queue is full.", reply)
    return Said(
        False,
        f"{became} But the answer that came back is not Deployer's: {reply.status} {reply.phrase}.",
        "The forge would count it as failed. Something in front of Deployer changes its answers: look into its log.",
        reply,
    )


def _not_arrived(reply: Reply, place: str) -> tuple[str, str]:
    status, server = reply.status, reply.header("server")
    who = f"{place} ({server})" if server else place
    is_ours = reply.header("content-type").startswith("text/plain")
    said = f"{who} answered {status} {reply.phrase}".rstrip()
    if 300 <= status < 400:
        target = reply.header("location") or "another address"
        return (
            f"{said}: it redirects to {target}.",
            "Forges follow no redirects, so every push ends here, and nothing tells of it. Set server.public_url to "
            "the address that it redirects to, and enter the payload URL at the forge anew.",
        )
    if status == 401 and is_ours and reply.body == "Unauthorized":
        return (
            "Deployer got it, but its signature did not match any more.",
            "Something in between rewrites bodies (a firewall that filters, a proxy that decodes and encodes JSON), "
            "or the address leads to another Deployer. Have it pass on the body of /webhook/ as it is.",
        )
    if status == 401 and "Authentication required" in reply.body:
        return (
            "A Deployer answered, but not at its webhooks: it took the request for one of a person.",
            "The proxy changes the path, or server.public_url names one: what goes to /webhook/ has to arrive there.",
        )
    if status in (401, 407):
        return (
            f"{said}: it asks for a login.",
            "A forge cannot log in there. Exempt /webhook/ from that login: Deployer checks the signature itself.",
        )
    if status == 403:
        return (
            f"{said}: it does not let the request through.",
            "A firewall, a list of allowed addresses or a bot filter stands in front: let POST requests to /webhook/ "
            "through, from the forge's addresses at least.",
        )
    if status == 404 and is_ours and reply.body == "Project not found":
        return (
            "Another Deployer answered: it does not know this project.",
            "The address leads to another installation. " + SET_ADDRESS,
        )
    if status in (404, 405, 410):
        return (
            f"{said}: this address does not lead to Deployer.",
            "Have the proxy pass /webhook/ on to Deployer, by the same path. " + SET_ADDRESS,
        )
    if status == 413:
        return (
            f"{said}: it takes no body of this size.",
            "Pushes can be large, up to 25 MB from GitHub. With nginx: client_max_body_size 25m;",
        )
    if status == 408:
        return f"{said}: the body did not come through in time.", "Look into the log of the proxy."
    if status == 429:
        return (
            f"{said}: it lets only so many requests through.",
            "Exempt /webhook/ from the proxy's rate limit: forges send in bursts, and do not send again.",
        )
    if status == 503 and is_ours and "could not be recorded" in reply.body:
        return "Deployer got it, but could not record it.", "The database takes no writes: run python app.py doctor."
    if status in (502, 503, 504):
        return (
            f"{said}: it does not reach Deployer behind it.",
            "Is the address to which it passes requests on that of server.bind? Look into the proxy's log.",
        )
    if 200 <= status < 300:
        return (
            f"{said}, but no delivery arrived here.",
            "Something else answers at this address: a page of the proxy, or another program. " + SET_ADDRESS,
        )
    return f"{said}.", "It does not come from Deployer: look into the log of what stands in front of it."
