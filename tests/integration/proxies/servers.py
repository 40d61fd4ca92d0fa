"""Caddy and nginx with the snippets of docs/proxy.md, on free ports of loopback."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.browser import Browser
from tests.support.daemon import ROOT, Daemon, free_port
from tests.support.programs import program
from tests.support.waiting import wait_until

HOST = "deploy.example.com"
CLIENT = "127.0.0.2"
"""Where people come from; the proxy itself is at 127.0.0.1."""

_NGINX = """
daemon off; user root; pid {folder}/pid; error_log stderr; worker_processes 1;
events {{}}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    {snippet}
}}
"""
_CADDY = """
{{
    admin off
    grace_period 1s
    local_certs
    skip_install_trust
    default_bind 127.0.0.1
    storage file_system {folder}/storage
    https_port {port}
    http_port {http_port}
}}
{snippet}
"""


def snippet(language: str, replaced: Mapping[str, str] | None = None) -> str:
    """A code block of the document, with what differs here in the place of what has to be there."""
    blocks = re.findall(
        rf"^```{language}\n(.*?)^```$", (ROOT / "docs/proxy.md").read_text(), re.DOTALL | re.MULTILINE
    )
    (text,) = blocks
    for there, here in (replaced or {}).items():
        assert there in text, f"{there} in the {language} snippet of docs/proxy.md"
        text = text.replace(there, here)
    return text


class Proxy:
    """``port`` speaks TLS with a certificate that ``trust`` leads to."""

    def __init__(self, name: str, daemon: Daemon, folder: Path) -> None:
        self.name = name
        self.daemon = daemon
        self.folder = folder
        self.port = free_port()
        self.http_port = free_port()

    @contextlib.contextmanager
    def running(self) -> Iterator[Proxy]:
        self.folder.mkdir()
        argv = self._caddy() if self.name == "caddy" else self._nginx()
        with (self.folder / "log").open("w") as log:
            process = subprocess.Popen(
                argv, stdout=log, stderr=log, env={"HOME": str(self.folder), "PATH": "/usr/bin"}
            )
            try:
                wait_until(self._answers, f"an answer of {self.name}", within_s=60)
                yield self
            finally:
                process.terminate()
                process.wait(20)

    def _answers(self) -> bool:
        try:
            return TlsBrowser(self).get("/login").status == 200
        except OSError:
            return False

    def _caddy(self) -> list[str]:
        text = snippet("caddy", {"127.0.0.1:8420": self.daemon.config.server.bind})
        places = {"folder": self.folder, "port": self.port, "http_port": self.http_port}
        (self.folder / "Caddyfile").write_text(_CADDY.format(snippet=text, **places))
        self.trust = self.folder / "storage/pki/authorities/local/root.crt"
        return [program("caddy"), "run", "--config", str(self.folder / "Caddyfile"), "--adapter", "caddyfile"]

    def _nginx(self) -> list[str]:
        place = f"/etc/letsencrypt/live/{HOST}"
        replaced = {
            "127.0.0.1:8420": self.daemon.config.server.bind,
            "listen 80;": f"listen 127.0.0.1:{self.http_port};",
            "listen 443 ": f"listen 127.0.0.1:{self.port} ",
            f"{place}/fullchain.pem": f"{self.folder}/cert.pem",
            f"{place}/privkey.pem": f"{self.folder}/key.pem",
        }
        text = _NGINX.format(folder=self.folder, snippet=snippet("nginx", replaced))
        (self.folder / "nginx.conf").write_text(text)
        self.trust = self.folder / "cert.pem"
        certificate = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        certificate += ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"]
        places = ["-keyout", str(self.folder / "key.pem"), "-out", str(self.trust)]
        subprocess.run([program("openssl"), "req", "-x509", *certificate, *places], check=True, capture_output=True)
        return [program("nginx"), "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"), "-e", "stderr"]


class _Connection(http.client.HTTPSConnection):
    """To the proxy under its public name, from the address where people come from."""

    def __init__(self, proxy: Proxy) -> None:
        self._trust = ssl.create_default_context(cafile=str(proxy.trust))
        self._place = ("127.0.0.1", proxy.port)
        super().__init__(HOST, timeout=60)

    def connect(self) -> None:
        plain = socket.create_connection(self._place, timeout=60, source_address=(CLIENT, 0))
        self.sock = self._trust.wrap_socket(plain, server_hostname=HOST)


class TlsBrowser(Browser):
    """A browser at the proxy. ``cookie`` travels over TLS only, as its mark asks for."""

    def __init__(self, proxy: Proxy, cookie: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(proxy.daemon, cookie, headers)
        self.proxy = proxy

    def connection(self) -> http.client.HTTPConnection:
        return _Connection(self.proxy)
