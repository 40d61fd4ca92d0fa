"""A real mail server on loopback: STARTTLS or TLS with a certificate of its own authority; a login."""

from __future__ import annotations

import contextlib
import datetime
import email
import ipaddress
import socket
import ssl
import threading
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deployer.config import SmtpSettings
from tests.support.daemon import free_port
from tests.support.waiting import wait_until

USER, PASSWORD = "deployer", "open sesame"


class Authority:
    """Makes certificates; ``ca_file`` is what somebody who trusts it has."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority in {folder.name}")])
        self.ca_file = folder / "ca.pem"
        whole = x509.BasicConstraints(ca=True, path_length=None)
        made = self._certificate(self._name, self._key.public_key()).add_extension(whole, critical=True)
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        made = made.add_extension(usage, critical=True)
        self.ca_file.write_bytes(_pem(made.sign(self._key, hashes.SHA256())))

    def context(self, *names: str) -> ssl.SSLContext:
        """A server's half of TLS, for a server of these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        made = self._certificate(subject, key.public_key()).add_extension(alternatives, critical=False)
        path = self._folder / f"{names[0]}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(private + _pem(made.sign(self._key, hashes.SHA256())))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _certificate(self, subject: x509.Name, key: Any) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key)
        made = made.serial_number(x509.random_serial_number())
        made = made.not_valid_before(now - datetime.timedelta(days=1))
        made = made.not_valid_after(now + datetime.timedelta(days=2))
        identifier = x509.SubjectKeyIdentifier.from_public_key(key)
        made = made.add_extension(identifier, critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return made.add_extension(issuer, critical=False)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class MailServer:
    """``mails`` are the messages it took, ``envelopes`` from whom to whom. ``refuse`` maps an address, or "DATA", to
    the answer that it gets. Use it as a context manager, or `start` and `stop`: it comes back on the same port."""

    def __init__(
        self,
        security: str = "none",
        context: ssl.SSLContext | None = None,
        *,
        login: bool = False,
        port: int | None = None,
    ) -> None:
        self.host = "localhost" if context else "127.0.0.1"
        self.port = port or free_port()
        self.security = security
        self.login = login
        self.password = PASSWORD
        self.greeted_by = ""
        self.mails: list[EmailMessage] = []
        self.envelopes: list[Envelope] = []
        self.refuse: dict[str, str] = {}
        self._context = context
        self._controller: Controller | None = None

    def settings(self, **given: Any) -> dict[str, Any]:
        """What to enter to send by it."""
        return {
            "host": self.host,
            "port": self.port,
            "security": self.security,
            "from_": "Deployer <deploy@example.com>",
            "to": "ops@example.com",
            **({"username": USER, "password": self.password} if self.login else {}),
            **given,
        }

    def smtp_settings(self, **given: Any) -> SmtpSettings:
        return SmtpSettings(**self.settings(**given))

    def __enter__(self) -> MailServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> MailServer:
        options: dict[str, Any] = {}
        if self.login:
            options = {"authenticator": self._authenticate, "auth_required": True}
        if self.security == "starttls":
            options |= {"tls_context": self._context, "require_starttls": True}
        tls = self._context if self.security == "tls" else None
        # Started on the address, so that the controller's own look whether it answers needs no certificate.
        self._controller = _Controller(self, hostname="127.0.0.1", port=self.port, ssl_context=tls, **options)
        self._controller.start()
        return self

    def stop(self) -> None:
        if self._controller:
            self._controller.stop()
            self._controller = None

    def wait_for(self, count: int) -> list[EmailMessage]:
        wait_until(lambda: len(self.mails) >= count, f"{count} mails")
        return self.mails

    def _authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        if (data.login, data.password) == (USER.encode(), self.password.encode()):
            return AuthResult(success=True)
        return AuthResult(success=False, handled=False)

    # aiosmtpd's hooks

    async def handle_EHLO(
        self, _server: Any, session: Session, _envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.greeted_by = hostname
        return responses

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Envelope, address: str, _options: Any) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_MAIL(self, _server: Any, _session: Any, envelope: Envelope, address: str, options: Any) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:
        if "DATA" in self.refuse:
            return self.refuse["DATA"]
        assert isinstance(envelope.content, bytes)
        message = email.message_from_bytes(envelope.content, policy=WIRE)
        assert isinstance(message, EmailMessage)
        self.envelopes.append(envelope)
        self.mails.append(message)
        return "250 OK"


class _Controller(Controller):
    def factory(self) -> SMTP:
        """It would warn of logins without STARTTLS, for which it takes TLS from the first byte too."""
        made = super().factory()
        made._auth_require_tls = bool(made.require_starttls) or not made._auth_required
        return made

    def _trigger_server(self) -> None:
        """Its own look would speak TLS to a certificate that nobody trusts."""
        with contextlib.closing(socket.create_connection(("127.0.0.1", self.port), 10)):
            pass


class SilentServer:
    """Accepts connections and never says a word. ``waiting`` counts those who wait."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._held: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> SilentServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for one in self._held:
            one.close()

    @property
    def waiting(self) -> int:
        return len(self._held)

    def settings(self, **given: Any) -> dict[str, Any]:
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "security": "none",
            "from_": "deploy@example.com",
            "to": "ops@example.com",
            **given,
        }

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._held.append(self._socket.accept()[0])


def text_of(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    assert part is not None
    return part.get_content()


def html_of(mail: EmailMessage) -> str:
    part = mail.get_body(("html",))
    assert part is not None
    return part.get_content()
