"""Who may ask: the token of the cash program, or the cookie of the cashier's page (till.md §4).

The page's browser gets its cookie by a URL that works once and for a minute. The cookie is signed with a key
made from the token: it needs no memory, outlives a restart of the agent, and ends when the token is replaced.
A cookie is sent by a browser whoever asks it to, so it counts only where the browser itself says that our own
page asks (Sec-Fetch-Site), under a name of this box: no other page on it can speak for the cashier.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping

COOKIE = "kopilka_screen"
COOKIE_MAX_AGE_S = 400 * 24 * 3600  # the longest that browsers keep one
INVITE_S = 60
INVITES_MAX = 16
OWN_NAMES = ("127.0.0.1", "localhost", "[::1]")


class Sessions:
    """`monotonic_s` says how old an invitation is. For one thread."""

    def __init__(self, token: str, monotonic_s: Callable[[], float]) -> None:
        self._token = token.encode()
        self._key = hmac.digest(self._token, b"the cashier's page", "sha256")
        self._monotonic_s = monotonic_s
        self._invites: OrderedDict[str, float] = OrderedDict()

    def is_token(self, authorization: str) -> bool:
        """Is it `Bearer` and the text of api.token?"""
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.encode(), self._token)

    def invite(self) -> str:
        """A key that opens the page once."""
        key = secrets.token_urlsafe(24)
        self._invites[key] = self._monotonic_s() + INVITE_S
        while len(self._invites) > INVITES_MAX:
            self._invites.popitem(last=False)
        return key

    def enter(self, key: str) -> str | None:
        """The cookie for a key that is good; it is none any more then."""
        until_s = self._invites.pop(key, None)
        if until_s is None or self._monotonic_s() > until_s:
            return None
        name = secrets.token_hex(16)
        return f"{name}.{self._sign(name)}"

    def is_page(self, headers: Mapping[str, str], cookie: str | None) -> bool:
        """Does our own page ask, in a browser that was let in?"""
        host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
        return (
            cookie is not None
            and host in OWN_NAMES
            and headers.get("sec-fetch-site", "") == "same-origin"
            and self.is_cookie(cookie)
        )

    def is_cookie(self, cookie: str) -> bool:
        """Was it given by this till?"""
        name, _, signature = cookie.partition(".")
        return hmac.compare_digest(signature.encode(), self._sign(name).encode())

    def _sign(self, name: str) -> str:
        return hmac.new(self._key, name.encode(), hashlib.sha256).hexdigest()
