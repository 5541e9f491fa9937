"""A cash program's side of the loopback API (docs/integrators.md).

    till = PosClient(Path("/var/lib/kopilka"))
    quote = till.quote("receipt-17", lines, operator="Иванова")      # after every change of the cart
    ...                                                              # the cashier takes quote["quote"]["pay"]
    ...                                                              # the fiscal receipt, by quote["fiscal"]
    done = till.commit("receipt-17", quote, [{"type": "cash", "amount": quote["quote"]["pay"]}])
    print(*done["slip"]["lines"], sep="\\n")

The caller makes the id of a sale, a return or a copy; so a call whose answer was lost is asked again with the
same body, and nothing is done twice. This client does so by itself for what finishes something (commit, void,
return, copy); a quote it asks once, for the cart may have changed meanwhile.

`PosAway`: the agent does not answer. Sell without loyalty then; that is what every shop does all the same.
`PosRefused`: it has answered no; `ru` and `en` are sentences for the cashier. Every method raises both.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import requests

TIMEOUT_S = 2.0  # a quote is there within the one second that the office may be waited for
FINISH_TIMEOUT_S = 15.0
TRIES = 5
PAUSE_S = 0.5
SYNC_TIMEOUT_S = 125.0
SILENCE_S = 60.0  # of the stream of events: the agent says every 15 seconds that it is still there
OK, WHO_ARE_YOU, TRY_AGAIN = 200, 401, 503

Json = dict[str, Any]


class PosAway(ConnectionError):  # noqa: N818 - it is no error of the cash program
    """The agent does not answer: it is off, or restarts, or something else listens on its port.

    Whether a commit was done is not known yet: keep its body, and ask the same once more later.
    """


class PosRefused(RuntimeError):  # noqa: N818 - it is an answer
    """The agent has answered no. `status` of HTTP; `code` for programs; `ru` and `en` for people.

    `faults` = [{"path", "ru", "en"}]: what is wrong, and where in the body. `error` is the whole of it: with
    `skus` to choose from, or `answered`, of a repeat with another body.
    """

    def __init__(self, status: int, error: Mapping[str, Any]) -> None:
        super().__init__(f"{error.get('code')}: {error.get('ru')}")
        self.status = status
        self.error = dict(error)
        self.code = str(error.get("code", ""))
        self.ru, self.en = str(error.get("ru", "")), str(error.get("en", ""))
        self.faults: list[Json] = list(error.get("faults", ()))


class _Place(NamedTuple):
    """Where the agent listens, and what it wants to hear first."""

    url: str
    token: str


class PosClient:
    """Talks to the agent of this till. Not for two threads at once: who listens has a client of their own.

    `state_dir` is where the agent keeps `api.token` and `api.port`; both are read anew where it does not
    answer, for it may have come back on another port. Who cannot read them there names `url`
    ("http://127.0.0.1:8317") and `token`. Money in kopecks, quantities in thousandths, points in hundredths.
    """

    def __init__(
        self,
        state_dir: Path | None = None,
        *,
        url: str | None = None,
        token: str | None = None,
        timeout_s: float = TIMEOUT_S,
        tries: int = TRIES,
        pause_s: float = PAUSE_S,
    ) -> None:
        if (state_dir is None) == (url is None or token is None):
            raise ValueError("give either the state directory, or url and token")
        self._state_dir = state_dir
        self._given = _Place(url.rstrip("/"), token) if url is not None and token is not None else None
        self._timeout_s = timeout_s
        self._tries = tries
        self._pause_s = pause_s
        self.http = requests.Session()
        self.http.trust_env = False  # a proxy of the house has no business between two programs of one box
        self._place: _Place | None = None

    def close(self) -> None:
        """Hang up."""
        self.http.close()

    # ------------------------------------------------------------------------------ a sale

    def quote(self, sale_id: str, lines: Sequence[Json], **more: Any) -> Json:
        """What the cart costs. `lines` = [{"id", "sku" or "barcode", "price", "quantity"}]; `more`: card,

        card_entry, coupons, tenders, redeem, operator. Left out: what is known of them stays.
        """
        return self._ask("PUT", f"/v1/sales/{sale_id}", {"lines": list(lines), **more})

    def change(self, sale_id: str, **change: Any) -> Json:
        """Another card or none, other points, tenders; the lines stay."""
        return self._ask("PATCH", f"/v1/sales/{sale_id}", change)

    def sale(self, sale_id: str) -> Json:
        """How it stands."""
        return self._ask("GET", f"/v1/sales/{sale_id}")

    def held(self) -> list[Json]:
        """Quotes that hold points: after a crash, finish or void each of them."""
        sales: list[Json] = self._ask("GET", "/v1/sales?state=held")["sales"]
        return sales

    def open_sales(self) -> list[Json]:
        """Sales in hand, parked ones too."""
        sales: list[Json] = self._ask("GET", "/v1/sales?state=open")["sales"]
        return sales

    def commit(self, sale_id: str, quote: Json, tenders: Sequence[Json], **more: Any) -> Json:
        """It is paid and the fiscal receipt is out. `more`: fiscal_id, paid_at, slip, columns."""
        body = {"quote_id": quote["quote_id"], "tenders": list(tenders), **more}
        return self._finish(f"/v1/sales/{sale_id}/commit", body)

    def void(self, sale_id: str, reason: str) -> Json:
        """Given up before it was paid, or taken back after."""
        return self._finish(f"/v1/sales/{sale_id}/void", {"reason": reason})

    def print_again(self, sale_id: str, print_id: str) -> Json:
        """The slip once more, marked КОПИЯ."""
        return self._finish(f"/v1/sales/{sale_id}/print", {"print_id": print_id})

    # ---------------------------------------------------------------------- goods come back

    def find_sales(self, **known: Any) -> list[Json]:
        """Of which sale they were, by ref, sale_id, card, sku or barcode."""
        sales: list[Json] = self._ask("POST", "/v1/returns/find", known)["sales"]
        return sales

    def take_back(self, return_id: str, lines: Mapping[str, int], **more: Any) -> Json:
        """`lines` = line id -> thousandths; `more`: sale_id or ref, card, reason, operator, slip, columns."""
        return self._finish("/v1/returns", {"return_id": return_id, "lines": dict(lines), **more})

    # ------------------------------------------------------------------------------ the rest

    def look_up_card(self, number: str, **more: Any) -> Json:
        """Whose card it is, and what can be spent here. `more`: entry, operator."""
        return self._ask("POST", "/v1/cards/lookup", {"number": number, **more})

    def register_card(self, number: str, **more: Any) -> Json:
        """A card is given out. `more`: entry, operator."""
        return self._ask("POST", "/v1/cards", {"number": number, **more})

    def goods(self, barcode: str) -> list[Json]:
        """What carries a barcode: none, one, or several to choose from."""
        found: list[Json] = self._ask("POST", "/v1/goods", {"barcode": barcode})["goods"]
        return found

    def status(self) -> Json:
        """How the till stands."""
        return self._ask("GET", "/v1/status")

    def screen(self) -> Json:
        """What the cashier's page shows."""
        return self._ask("GET", "/v1/screen")

    def page_url(self) -> str:
        """Opens the cashier's page, once, within a minute."""
        invited = self._ask("POST", "/v1/screen")
        return f"{self.url}{invited['path']}"

    def sync(self) -> None:
        """Exchange with the office now; it may take two minutes. How it went says `status`."""
        self._ask("POST", "/v1/sync", timeout_s=SYNC_TIMEOUT_S)

    def events(self) -> Iterator[tuple[str, Json]]:
        """What happens at the till, from now on: (name, data), "hello" first; ends where the agent does.

        After "hello" ask for what you show: what happened before is not told.
        """
        try:
            timeouts = (self._timeout_s, SILENCE_S)
            with self._request("GET", "/v1/events", timeout=timeouts, stream=True) as answer:
                if answer.status_code != OK:
                    raise _refused(answer)
                name = ""
                for line in answer.iter_lines():
                    if line.startswith(b"event: "):
                        name = line[7:].decode("ascii")
                    elif line.startswith(b"data: "):
                        yield name, json.loads(line[6:])
        except requests.RequestException as error:
            self._place = None
            raise PosAway(str(error)) from error

    # ------------------------------------------------------------------------------- asking

    def _finish(self, path: str, body: Json) -> Json:
        """The same question until it is answered: the id in it sees that it is done once."""
        for _ in range(self._tries - 1):
            try:
                return self._ask("POST", path, body, timeout_s=FINISH_TIMEOUT_S)
            except PosAway:
                pass
            except PosRefused as refused:
                if refused.status != TRY_AGAIN:
                    raise
            time.sleep(self._pause_s)
        return self._ask("POST", path, body, timeout_s=FINISH_TIMEOUT_S)

    def _ask(self, method: str, path: str, body: Json | None = None, timeout_s: float | None = None) -> Json:
        try:
            answer = self._request(method, path, timeout=timeout_s or self._timeout_s, json=body)
            if answer.status_code == WHO_ARE_YOU and self._has_moved():
                answer = self._request(method, path, timeout=timeout_s or self._timeout_s, json=body)
            if answer.status_code != OK:
                raise _refused(answer)
            reply: Json = answer.json()
        except requests.RequestException as error:
            self._place = None
            raise PosAway(str(error)) from error
        return reply

    def _request(self, method: str, path: str, **more: Any) -> requests.Response:
        try:
            return self._send(method, path, **more)
        except requests.ConnectionError:
            if not self._has_moved():
                raise
        return self._send(method, path, **more)

    def _send(self, method: str, path: str, **more: Any) -> requests.Response:
        return self.http.request(method, self.url + path, **more)

    def _has_moved(self) -> bool:
        """Does the agent say by now that it listens elsewhere, or to another token?

        Then it has begun anew since it was asked, and asking it there once more does nothing twice.
        """
        before, self._place = self._place, None
        return before is not None and self._where() != before

    @property
    def url(self) -> str:
        """Where the agent listens; `http` sends its token. Raises PosAway where it has never been."""
        return self._where().url

    def _where(self) -> _Place:
        if self._place is None:
            self._place = self._given or self._read_place()
            self.http.headers["Authorization"] = f"Bearer {self._place.token}"
        return self._place

    def _read_place(self) -> _Place:
        assert self._state_dir is not None
        try:
            port = int((self._state_dir / "api.port").read_text("ascii"))
            token = (self._state_dir / "api.token").read_text("ascii").strip()
        except (OSError, ValueError) as error:
            raise PosAway(f"{self._state_dir}: {error}") from error
        return _Place(f"http://127.0.0.1:{port}", token)


def _refused(answer: requests.Response) -> PosRefused | PosAway:
    """What the agent has said; where it is no word of the agent's, somebody else listens there."""
    said = answer.json()
    error = said.get("error") if isinstance(said, dict) else None
    if not isinstance(error, dict):
        return PosAway(f"{answer.url} answers {answer.status_code}, and is no agent")
    return PosRefused(answer.status_code, error)
