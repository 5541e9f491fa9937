"""The application as a server runs it: Django behind a gate that stops what is too large.

Django spools a whole body before it looks at it; so what says it is larger than any message, or does
not say how large it is, is turned away unread.
"""

from __future__ import annotations

import os
from typing import Any

from django.core.asgi import get_asgi_application

from loyalty import wire

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "central.settings")


class BodyGate:
    """ASGI middleware: 411 without a Content-Length, 413 above `max_bytes`."""

    def __init__(self, app: Any, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        status, message = refusal
        headers = [(b"content-type", wire.CONTENT_TYPE.encode()), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": wire.pack(message)})

    def _refusal(self, scope: Any) -> tuple[int, wire.Refusal] | None:
        headers = dict(scope["headers"])
        if b"transfer-encoding" in headers:
            return 411, wire.Refusal("NO_LENGTH", "say how long the body is (Content-Length)")
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._max_bytes:
            return 413, wire.Refusal("TOO_LARGE", f"more than {self._max_bytes} bytes; send less at once")
        return None


def _application() -> BodyGate:
    django = get_asgi_application()
    from central.intake.listening import LongPolls  # it has models: Django must be there first

    return BodyGate(LongPolls(django), wire.MESSAGE_MAX_BYTES)


application = _application()
