"""Running the application: one process, one line when it listens, a clean stop on SIGTERM."""

from __future__ import annotations

import signal
import socket
from types import FrameType

import click
import uvicorn

from central import tending
from central.errors import Trouble
from central.fleet import polls
from central.home import Home
from central.texts import say
from loyalty.texts import N_

STOP_WITHIN_S = 10
BACKLOG = 1024


class Server(uvicorn.Server):
    """A server that says where it listens once it does, and lets nobody wait when it ends."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            click.echo(say(N_("Listening on {url}", url=f"http://{shown}:{port}")))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        polls.close()
        await super().shutdown(sockets)


def run(home: Home, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT. Raises Trouble where the address cannot be had."""
    from central.asgi import application

    config = uvicorn.Config(
        application,
        lifespan="off",
        log_config=None,
        access_log=False,  # addresses and headers of tills are nobody's reading
        server_header=False,
        timeout_graceful_shutdown=STOP_WITHIN_S,
    )
    with _listen(host, port) as listener:
        # uvicorn stops on the signal and then raises it again; the stop has happened, so it ends there.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stopped)
        with home.in_use(alone=False), tending.running():
            Server(config).run(sockets=[listener])


def _stopped(_number: int, _frame: FrameType | None) -> None:
    """The signal that was served already."""


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise Trouble(
            N_(
                "Cannot listen on {host}, port {port}: {reason}. Choose others with --host and --port.",
                host=host,
                port=port,
                reason=error.strerror or type(error).__name__,
            )
        ) from error
    # Connections inherit it; without it an answer on a kept one waits 40 ms for the till's ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
