"""/openapi.json describes what is served: schemathesis asks a real till what the document says it may ask.

It sends what is allowed and what is not, to a till with goods, rules and a customer, and holds every answer
against the document. One call is left out, the stream of events, which never ends (test_api_doors.py).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import hypothesis
import jsonschema
import msgspec
import pytest
import requests
import schemathesis
from schemathesis import GenerationMode

from agent import openapi
from agent.api import Api, ApiServer
from agent.calls import CALLS
from agent.inbox import LinkChanged, Stop
from tests.agent.shop import Shop
from tests.agent.test_api import TOKEN

EXAMPLES = 25
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A till that runs: its own loop, its own files, real HTTP."""
    made: queue.Queue[tuple[Shop, ApiServer]] = queue.Queue()

    def run() -> None:  # the till's thread owns its files
        shop = Shop(tmp_path_factory.mktemp("till"))
        shop.know()
        shop.grant(100_000)
        shop.till.handle(LinkChanged("unreachable", ""))
        made.put((shop, ApiServer(Api(shop.inbox, TOKEN), "127.0.0.1", 0)))
        shop.till.run()
        shop.close()

    thread = threading.Thread(target=run)
    thread.start()
    shop, server = made.get(timeout=30)
    server.start()
    yield f"http://127.0.0.1:{server.port}"
    server.stop()
    shop.inbox.post(Stop())
    thread.join(30)


def test_the_document_is_open_to_all_and_names_every_call(url: str) -> None:
    answer = requests.get(f"{url}/openapi.json", timeout=10)
    described = answer.json()
    assert described["openapi"] == "3.1.0"
    assert {(method.upper(), path) for path, calls in described["paths"].items() for method in calls} == {
        *((call.method, call.path) for call in CALLS),
        ("GET", "/v1/events"),
    }
    for schema in described["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


DOCUMENT = msgspec.json.decode(msgspec.json.encode(openapi.document(CALLS, "test")))
schema = schemathesis.openapi.from_dict(DOCUMENT).exclude(path="/v1/events")
schema.config.generation.update(modes=list(GenerationMode))


@schema.parametrize()
@hypothesis.settings(max_examples=EXAMPLES, deadline=None, database=None)
def test_schemathesis_finds_nothing(url: str, case: schemathesis.Case) -> None:
    case.call_and_validate(base_url=url, headers=HEADERS)
