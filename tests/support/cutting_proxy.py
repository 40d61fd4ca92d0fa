"""A line to a PostgreSQL on loopback that breaks at the worst moment: behind a COMMIT that the server has made, and
before its answer has arrived."""

from __future__ import annotations

import contextlib
import socket
import threading

# https://www.postgresql.org/docs/15/protocol-message-formats.html: CommandComplete, by its first byte and its words.
COMMITTED = b"COMMIT\0"


class CuttingProxy:
    """Forwards what comes to ``port``. Until ``cuts_left`` is used up, each ``every``-th answer that says that
    something was committed never arrives: both ends are closed in its place."""

    def __init__(self, server_port: int, every: int) -> None:
        self._server_port = server_port
        self._every = every
        self.cuts_left = 0
        self._seen = 0
        self._counting = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # A thread that waits in accept() is not woken by close().
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._server_port))
                except OSError:
                    client.close()
                    continue
                for pair in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._forward, args=pair, daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_answer and COMMITTED in data and self._cuts():
                    break
                target.sendall(data)
        for one in (source, target):
            # Wakes the thread of the other direction.
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _cuts(self) -> bool:
        with self._counting:
            self._seen += 1
            if not self.cuts_left or self._seen % self._every:
                return False
            self.cuts_left -= 1
            return True
