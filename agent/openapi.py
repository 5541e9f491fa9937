"""/openapi.json: the loopback API described for machines, made from the table that it is served by."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from agent import feed, inbox, shapes
from agent.calls import Call

REFUSALS = {
    400: "the body is not whole JSON",
    401: "no valid token",
    404: "there is no such sale, card or call",
    405: "not by this method",
    408: "the body did not come in time",
    409: "understood, and cannot be done: not as the sale stands, asked before with another body, no card of"
    " ours, goods that cannot come back, …",
    413: "the body is too large",
    422: "the body, path or query is not as this document says",
    500: "a fault of ours; see the log of the agent, and ask once more",
    503: "not now (busy, restoring, no settings yet): ask the same again after a second",
    507: "the disk is full: nothing was written",
}
SALE_ID_PATTERN = "^[A-Za-z0-9_.:-]{1,64}$"


def document(calls: Sequence[Call], version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    kinds = sorted(_kinds(calls), key=lambda kind: kind.__name__)
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    for name, more in inbox.EXTRA_SCHEMA.items():
        components[name] = {**components[name], **more}
    named = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for call in calls:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call, named)
    paths["/v1/events"] = {"get": _events()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Kopilka: the loopback API of a till",
            "version": version,
            "description": "For the cash program on the same box. Money in minor units, points in hundredths,"
            " quantities in thousandths. Order: quote, payment, fiscal receipt, commit. The same id and body"
            " again gets the same answer.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": components,
        },
    }


def _kinds(calls: Iterable[Call]) -> set[type[msgspec.Struct]]:
    found: set[type[msgspec.Struct]] = {shapes.ErrorReply}
    for call in calls:
        found.update(call.replies)
        if call.body is not None:
            found.add(call.body)
    return found


def _operation(call: Call, named: dict[type[msgspec.Struct], dict[str, Any]]) -> dict[str, Any]:
    shown = [named[kind] for kind in call.replies]
    operation: dict[str, Any] = {
        "operationId": call.name,
        "summary": call.title,
        "description": inspect.cleandoc(call.body.__doc__ or "") if call.body else call.title,
        "responses": {
            "200": _answer("done", shown[0] if len(shown) == 1 else {"anyOf": shown}),
            **{str(status): _answer(REFUSALS[status], named[shapes.ErrorReply]) for status in call.refusals},
        },
    }
    parameters = [_path_parameter(name) for name in re.findall(r"{(\w+)}", call.path)]
    parameters += [
        {"name": name, "in": "query", "required": True, "schema": {"enum": list(values)}}
        for name, values in call.query.items()
    ]
    if parameters:
        operation["parameters"] = parameters
    if call.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": named[call.body]}},
        }
    return operation


def _path_parameter(name: str) -> dict[str, Any]:
    text = "the cash program's own id of the sale"
    schema = {"type": "string", "pattern": SALE_ID_PATTERN}
    return {"name": name, "in": "path", "required": True, "description": text, "schema": schema}


def _answer(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _events() -> dict[str, Any]:
    said = "\n".join(f"- `{name}` {text}" for name, text in feed.EVENTS.items())
    return {
        "operationId": "listen",
        "summary": "What happens at the till, as server-sent events",
        "description": f"An event is a hint to look again; none is kept for later.\n\n{said}",
        "responses": {
            "200": {
                "description": "a stream",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            "401": {"description": REFUSALS[401]},
            "503": {"description": "too many listen already"},
        },
    }
