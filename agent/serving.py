"""An ASGI application on a socket and a thread of its own: the loopback API, and a hub on the LAN."""

from __future__ import annotations

import logging
import socket
import threading

import uvicorn
from starlette.applications import Starlette

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 3.0


class HttpServer:
    """uvicorn on a socket that is bound at once, so that a taken port is known before anything runs.

    `connections_max`: more at once are answered 503 (None: as many as come). `also`: a second socket that
    listens already. Raises OSError or OverflowError for an address that cannot be had.
    """

    def __init__(
        self,
        app: Starlette,
        host: str,
        port: int,
        name: str,
        connections_max: int | None = None,
        also: socket.socket | None = None,
    ) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Answers leave at once. (Connections inherit it; asyncio would set it only for a socket that was
        # made with proto=IPPROTO_TCP, and every call on a kept connection would wait 40 ms for an ACK.)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._socket.bind((host, port))
        except (OSError, OverflowError):
            self._socket.close()
            raise
        self._socket.listen()  # from now on a call waits until it is answered, and is not refused
        self.port: int = self._socket.getsockname()[1]
        self._sockets = [self._socket, *([also] if also is not None else [])]
        config = uvicorn.Config(
            app,
            http="httptools",
            lifespan="off",
            log_config=None,
            log_level="warning",  # that it began and ended is told by the agent itself
            access_log=False,
            server_header=False,
            limit_concurrency=connections_max,
            timeout_graceful_shutdown=int(STOP_TIMEOUT_S),
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Let the questions in hand be answered, then end."""
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(STOP_TIMEOUT_S + 1)
        for listening in self._sockets:
            listening.close()

    def _run(self) -> None:
        try:
            self._server.run(sockets=self._sockets)
        except Exception:
            log.exception("the server of %s died; restart the agent", self._thread.name)
