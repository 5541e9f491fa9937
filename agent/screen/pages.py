"""The page's own files, and its door: a URL that works once, and a cookie for it.

Everything is served from this box; the page may load nothing from anywhere else, and nobody may frame it.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

from agent.screen.words import words
from agent.sessions import COOKIE, COOKIE_MAX_AGE_S, Sessions

STATIC = Path(str(resources.files("agent.screen").joinpath("static")))
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' data:; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
LOCKED = """<!doctype html><meta charset="utf-8"><title>Kopilka</title>
<p>Откройте страницу кассира командой: kopilka-agent screen
<p lang="en">Open the cashier's page by: kopilka-agent screen
"""


def routes(sessions: Sessions) -> list[Route]:
    """The routes below /screen."""

    async def enter(request: Request) -> Response:
        cookie = sessions.enter(request.path_params["key"])
        if cookie is None:
            return Response(LOCKED, 403, HEADERS, media_type="text/html")
        answer = RedirectResponse("/screen", 303, HEADERS)
        answer.set_cookie(
            COOKIE, cookie, max_age=COOKIE_MAX_AGE_S, path="/", httponly=True, samesite="strict"
        )
        return answer

    async def page(request: Request) -> Response:
        if not sessions.is_cookie(request.cookies.get(COOKIE, "")):
            return Response(LOCKED, 403, HEADERS, media_type="text/html")
        return FileResponse(STATIC / "index.html", headers=HEADERS, media_type="text/html")

    async def file(request: Request) -> Response:
        path = STATIC / request.path_params["name"]
        if path.parent != STATIC or path.suffix not in KINDS or not path.is_file():
            return Response("", 404)
        return FileResponse(path, headers=HEADERS, media_type=KINDS[path.suffix])

    async def said(request: Request) -> Response:
        return Response(
            words(request.path_params["language"]), headers=HEADERS, media_type="application/json"
        )

    return [
        Route("/screen", page, methods=["GET"]),
        Route("/screen/enter/{key}", enter, methods=["GET"]),
        Route("/screen/words/{language}", said, methods=["GET"]),
        Route("/screen/{name}", file, methods=["GET"]),
    ]
