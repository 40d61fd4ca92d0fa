"""The way to a webhook, with everything that may stand on it: nginx in front of a daemon, a prefix for each case."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.daemon import free_port
from tests.support.programs import program
from tests.support.waiting import wait_until

_NGINX = """
daemon off; user root; pid {folder}/pid; error_log stderr; worker_processes 1;
events {{}}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{tls_port} ssl;
        ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
        location /through/ {{ proxy_pass http://{bind}/; }}
        location /naming/ {{ proxy_set_header X-Request-Id $request_id; proxy_pass http://{bind}/; }}
        location /small/ {{ client_max_body_size 10; proxy_pass http://{bind}/; }}
        location /rewriting/ {{ proxy_set_body "$request_body "; proxy_pass http://{bind}/; }}
        location /garbling/ {{
            # The head of the answer does not fit.
            proxy_buffer_size 32; proxy_buffers 4 32; proxy_busy_buffers_size 32; proxy_pass http://{bind}/;
        }}
        location /down/ {{ proxy_pass http://127.0.0.1:{closed_port}/; }}
        location /redirect/ {{ return 301 https://deploy.example.com$request_uri; }}
        location /closing/ {{ return 444; }}
        location /login/ {{ add_header WWW-Authenticate 'Basic realm="x"' always; return 401; }}
        location /forbidden/ {{ deny all; }}
        location /many/ {{ return 429; }}
        location /welcome {{ default_type text/html; return 200 "<h1>Welcome</h1>"; }}
    }}
}}
"""


class Way:
    """``url("small", path)``: an address that leads through that prefix. ``trust`` is the certificate's file."""

    def __init__(self, bind: str, folder: Path) -> None:
        self._bind = bind
        self._folder = folder
        self.port = free_port()
        self.tls_port = free_port()
        self.closed_port = free_port()
        self.trust = folder / "cert.pem"

    def url(self, prefix: str, path: str, *, tls: bool = False) -> str:
        scheme, port = ("https", self.tls_port) if tls else ("http", self.port)
        return f"{scheme}://127.0.0.1:{port}/{prefix}{path}"

    @contextlib.contextmanager
    def open(self) -> Iterator[Way]:
        self._folder.mkdir()
        self._certify()
        places = {"port": self.port, "tls_port": self.tls_port, "closed_port": self.closed_port}
        text = _NGINX.format(folder=self._folder, bind=self._bind, **places)
        (self._folder / "nginx.conf").write_text(text)
        argv = [program("nginx"), "-p", str(self._folder), "-c", str(self._folder / "nginx.conf"), "-e", "stderr"]
        with (self._folder / "log").open("w") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log)
            try:
                wait_until(self._is_there, "nginx", within_s=30)
                yield self
            finally:
                process.terminate()
                process.wait(20)

    def _is_there(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.tls_port), 5):
            return True
        return False

    def _certify(self) -> None:
        certificate = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        certificate += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
        places = ["-keyout", str(self._folder / "key.pem"), "-out", str(self.trust)]
        subprocess.run([program("openssl"), "req", "-x509", *certificate, *places], check=True, capture_output=True)
