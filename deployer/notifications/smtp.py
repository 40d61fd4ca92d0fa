"""The transport: one mail, or just a greeting, to a mail server over smtplib.

Certificates are always verified. The password is sent over an encrypted connection alone, or within this host.
"""

from __future__ import annotations

import ipaddress
import smtplib
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

from deployer import outbound
from deployer.errors import AddressRefused, MailError
from deployer.notifications.mail_settings import is_loopback
from deployer.security.control_sequences import CONTROL
from deployer.security.redaction import Redactor

MAX_WORDS = 1000

T = TypeVar("T")


@dataclass(frozen=True)
class Server:
    """Where mails go. ``helo`` is this host's name in its greeting; ``ca_file`` adds to the system's authorities."""

    host: str
    port: int
    security: str
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    helo: str = "localhost"


def send(
    server: Server, message: bytes, sender: str, recipients: Sequence[str], *, step_s: float, total_s: float
) -> dict[str, MailError]:
    """Hand a mail over, as it goes over the wire. Where the server took it for some: those whom it refused, and its
    words.

    ``step_s`` bounds each connect, write and read, ``total_s`` all of it. Raises MailError, with the server's own
    words, where nobody will get the mail. Permanent are refusals of the sender, of every recipient or of the mail
    itself with a code of 5xx, but for those about a login (53x: RFC 4954, 6), which can be mended.
    """

    def hand_over(client: smtplib.SMTP) -> dict[str, MailError]:
        _log_in(client, server)
        refused = client.sendmail(sender, list(recipients), message)
        told = {name: _refusal(f"The mail server refused {name}", *words) for name, words in refused.items()}
        return {name: _without_password(server, one) for name, one in told.items()}

    return _with(server, hand_over, step_s, total_s)


def greet(server: Server, *, total_s: float) -> str:
    """Connect, encrypt and greet, without a login; what the server says of itself. Raises MailError."""

    def hello(client: smtplib.SMTP) -> str:
        return _words(client.ehlo_resp or client.helo_resp or b"").split("\n")[0]

    return _with(server, hello, total_s, total_s)


def name_of(public_url: str) -> str:
    """What this host calls itself in its greeting: its public name, or its address in brackets (RFC 5321, 4.1.3)."""
    host = urlsplit(public_url).hostname or "localhost"
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return host
    return f"[IPv6:{host}]" if version == 6 else f"[{host}]"


def _with(server: Server, act: Callable[[smtplib.SMTP], T], step_s: float, total_s: float) -> T:
    """Do something with a connection, in a thread of its own: a server that sends a byte now and then, or a name that
    does not resolve, would outlast every timeout of a socket."""
    done: list[T] = []
    failed: list[BaseException] = []
    line = _Line()

    def work() -> None:
        try:
            with _told(server, step_s), _connected(server, step_s, line) as client:
                done.append(act(client))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="smtp", daemon=True)
    thread.start()
    thread.join(total_s)
    if thread.is_alive() and not done:
        line.cut()
        raise MailError(f"{_address(server)} did not answer within {total_s:g} s.", hint=_UNREACHABLE)
    if failed:
        raise failed[0]
    return done[0]


class _Line:
    """The sockets of one connection, so that another thread can cut it off."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._is_cut = False

    def use(self, sock: socket.socket) -> None:
        """Raises TimeoutError where it was cut off before there was anything to cut."""
        self._sockets.append(sock)
        if self._is_cut:
            sock.close()
            raise TimeoutError

    def cut(self) -> None:
        self._is_cut = True
        for sock in self._sockets:
            # A thread that reads or writes it is woken.
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class _Client(smtplib.SMTP):
    """smtplib's client on a line that can be cut, with TLS from the first byte where ``context`` is given
    (RFC 8314, 3.3)."""

    def __init__(self, server: Server, step_s: float, line: _Line, context: ssl.SSLContext | None) -> None:
        super().__init__(timeout=step_s, local_hostname=server.helo)
        # starttls() checks the certificate against the name that the constructor would have connected to.
        self._host = server.host
        self._line = line
        self._context = context

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        sock = outbound.connect(host, port, timeout)
        try:
            self._line.use(sock)
            if self._context is None:
                return sock
            encrypted = self._context.wrap_socket(sock, server_hostname=host)
        except BaseException:
            sock.close()
            raise
        self._line.use(encrypted)
        return encrypted


@contextmanager
def _connected(server: Server, step_s: float, line: _Line) -> Iterator[smtplib.SMTP]:
    """A connection that is greeted and, where it should be, encrypted."""
    if server.security == "none" and server.password and server.username and not is_loopback(server.host):
        raise MailError(
            f"The password is not sent to {server.host} without encryption.", hint="Choose STARTTLS or TLS."
        )
    context = _context(server)
    client = _Client(server, step_s, line, context if server.security == "tls" else None)
    try:
        code, words = client.connect(server.host, server.port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, words)
        client.ehlo_or_helo_if_needed()
        if server.security == "starttls":
            client.starttls(context=context)
            assert client.sock is not None
            line.use(client.sock)
            client.ehlo_or_helo_if_needed()
        yield client
        with suppress(smtplib.SMTPException, OSError):
            client.quit()
    finally:
        client.close()


def _context(server: Server) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if server.ca_file:
        try:
            context.load_verify_locations(server.ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise MailError(
                f"smtp.ca_file: {server.ca_file} cannot be used: {reason}.", hint="It holds certificates in PEM."
            ) from error
    return context


def _log_in(client: smtplib.SMTP, server: Server) -> None:
    """Only where a user is given (RFC 4954)."""
    if not server.username:
        return
    if (server.username + server.password).isascii():
        client.login(server.username, server.password)
        return
    # smtplib knows ASCII alone. PLAIN takes UTF-8 (RFC 4616, 2).
    plain = b64encode(f"\0{server.username}\0{server.password}".encode()).decode()
    code, words = client.docmd("AUTH", f"PLAIN {plain}")
    if code not in (235, 503):
        raise smtplib.SMTPAuthenticationError(code, words)


# The server's words ---------------------------------------------------------------------------------------------

_UNREACHABLE = "Check host and port, and that this host may reach them."


@contextmanager
def _told(server: Server, step_s: float) -> Iterator[None]:
    """Turn whatever goes wrong into one MailError, without the password."""
    try:
        yield
    except MailError:
        raise
    except Exception as error:
        raise _without_password(server, _explain(server, error, step_s)) from None


def _without_password(server: Server, told: MailError) -> MailError:
    words = Redactor([server.password.encode()]).text(str(told.args[0]))
    return MailError(words, hint=told.hint, is_permanent=told.is_permanent)


def _explain(server: Server, error: Exception, step_s: float) -> MailError:
    where = _address(server)
    match error:
        case AddressRefused():
            return MailError(str(error.args[0]), hint=error.hint)
        case smtplib.SMTPAuthenticationError():
            told = _refusal("The mail server refused the login", error.smtp_code, error.smtp_error)
            return MailError(
                f"{str(told).rstrip('.')}.", hint="Check user name and password; some providers want an app password."
            )
        case smtplib.SMTPRecipientsRefused():
            refusals = [_refusal(f"The mail server refused {n}", *words) for n, words in error.recipients.items()]
            are_permanent = all(one.is_permanent for one in refusals)
            return MailError("\n".join(map(str, refusals)), is_permanent=are_permanent)
        case smtplib.SMTPSenderRefused():
            return _refusal(f"The mail server refused the sender {error.sender}", error.smtp_code, error.smtp_error)
        case smtplib.SMTPDataError():
            return _refusal("The mail server refused the mail", error.smtp_code, error.smtp_error)
        case smtplib.SMTPResponseException():
            # At its greeting: a server that is busy or going down, whatever the code.
            return MailError(str(_refusal(f"{where} refused the connection", error.smtp_code, error.smtp_error)))
        case smtplib.SMTPServerDisconnected():
            if isinstance(error.__context__, TimeoutError):
                return MailError(f"{where} did not answer within {step_s:g} s.", hint=_UNREACHABLE)
            return MailError(f"{where} closed the connection.", hint=_wrong_security(server))
        case smtplib.SMTPException():
            return _other(server, _words(str(error)))
        case ssl.SSLCertVerificationError():
            hint = "If an authority of your own made the certificate, name its file in smtp.ca_file."
            return MailError(f"The certificate of {where} cannot be trusted: {error.verify_message}.", hint=hint)
        case ssl.SSLError():
            reason = (error.reason or str(error)).replace("_", " ").lower()
            return MailError(f"No encrypted connection to {where}: {reason}.", hint=_wrong_security(server))
        case TimeoutError():
            return MailError(f"{where} did not answer within {step_s:g} s.", hint=_UNREACHABLE)
        case socket.gaierror():
            return MailError(f"There is no host {server.host}: {error.strerror}.", hint="Check the name.")
        case OSError():
            return MailError(f"{where} does not answer: {error.strerror or error}.", hint=_UNREACHABLE)
    return MailError(f"The mail could not be sent: {type(error).__name__}: {error}")


def _other(server: Server, words: str) -> MailError:
    """What smtplib itself says: the server lacks something."""
    if "STARTTLS" in words:
        hint = "Choose TLS (port 465), or no encryption where the server is on this host or in your own network."
        return MailError(f"{_address(server)} offers no STARTTLS.", hint=hint)
    if "AUTH" in words or "authentication method" in words:
        hint = "Leave the user name empty, or choose STARTTLS or TLS: many servers offer a login only then."
        return MailError(f"{_address(server)} offers no login that Deployer knows.", hint=hint)
    return MailError(f"{_address(server)}: {words}")


def _wrong_security(server: Server) -> str:
    if server.security == "tls":
        return "TLS is mostly for port 465; for port 587 choose STARTTLS."
    return (
        "If the server expects TLS from the first byte (mostly port 465), choose TLS." if server.port == 465 else ""
    )


def _refusal(what: str, code: int, words: bytes | str) -> MailError:
    return MailError(f"{what}: {code} {_words(words)}", is_permanent=500 <= code < 600 and not 530 <= code < 540)


def _words(said: bytes | str) -> str:
    """The server's words as text that can be shown."""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    shown = CONTROL.sub("", text.replace("\r", "")).encode("utf-8", "replace").decode()
    return shown.strip()[:MAX_WORDS]


def _address(server: Server) -> str:
    host = f"[{server.host}]" if ":" in server.host else server.host
    return f"{host}:{server.port}"
