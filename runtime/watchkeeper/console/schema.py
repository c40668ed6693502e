"""The OpenAPI document: FastAPI's paths, with the core words as msgspec describes them."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import PlainTextResponse

from watchkeeper.console.words import (
    AnswerGiven,
    Explanation,
    FleetMap,
    LevelGiven,
    ReasonGiven,
    Status,
    Trouble,
)
from watchkeeper.core.capacity import CapacityPlan, WhatIf
from watchkeeper.core.cells import FleetCells, FleetLayout, Trace
from watchkeeper.core.desk import Ask, Board, Health, LogLine, NodeView, Story
from watchkeeper.core.event import Event
from watchkeeper.core.incident import Incident
from watchkeeper.core.report import Postmortem, Report
from watchkeeper.core.usage import Costs
from watchkeeper.core.verdict import Orders

REF = "#/components/schemas/{name}"
WORDS = (
    Status,
    Board,
    LogLine,
    Incident,
    Story,
    Ask,
    NodeView,
    FleetMap,
    FleetLayout,
    FleetCells,
    Trace,
    Explanation,
    Event,
    Health,
    Orders,
    Report,
    Postmortem,
    Costs,
    WhatIf,
    CapacityPlan,
    AnswerGiven,
    ReasonGiven,
    LevelGiven,
    Trouble,
)
_OPEN_TROUBLE = {400: "Not readable", 429: "Too many requests; see Retry-After"}
_READ_TROUBLE = {
    **_OPEN_TROUBLE,
    401: "No session",
    403: "A role that you do not hold",
    404: "Not there",
    409: "Cannot be told now, and why",
    503: "The cluster, or its record, is not there now",
}
_CHANGE_TROUBLE = {
    400: "Not readable",
    401: "No session",
    403: "A role that you do not hold, no token, from another site, or no fresh login",
    404: "Not there",
    409: "Refused: stale, spent, or not yours to give",
    413: "Too large",
    429: "Too many requests; see Retry-After",
    503: "The journal cannot be written; nothing was changed",
}


def said(word: type, *, many: bool = False, session: bool = True) -> dict[str, Any]:
    """Route options: answers with this word, or a list of it."""
    trouble = _READ_TROUBLE if session else _OPEN_TROUBLE
    options: dict[str, Any] = {"responses": _responses(word, many, trouble)}
    if session:
        options["openapi_extra"] = {"security": [{"cookie": []}, {"bearer": []}]}
    return options


def counted() -> dict[str, Any]:
    """Route options: answers with counters as text."""
    text = {"text/plain": {"schema": {"type": "string"}}}
    trouble = {code: _trouble(_READ_TROUBLE[code]) for code in (400, 401, 403, 429)}
    return {
        "response_class": PlainTextResponse,
        "responses": {200: {"description": "Done", "content": text}, **trouble},
    }


def heard(asked: type, word: type) -> dict[str, Any]:
    """Route options: reads a body of `asked`, answers with `word`."""
    return {
        "responses": _responses(word, False, _CHANGE_TROUBLE),
        "openapi_extra": {
            "requestBody": {"required": True, "content": _json(_ref(asked))},
            "security": [{"cookie": [], "csrf": []}, {"bearer": []}],
        },
    }


def document(app: FastAPI, cookie: str) -> dict[str, Any]:
    """The whole document."""
    doc = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    _, words = msgspec.json.schema_components(WORDS, ref_template=REF)
    parts = doc.setdefault("components", {})
    parts["schemas"] = words
    parts["securitySchemes"] = {
        "cookie": {"type": "apiKey", "in": "cookie", "name": cookie},
        "csrf": {"type": "apiKey", "in": "header", "name": "X-CSRF-Token"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    for path in doc["paths"].values():
        for operation in path.values():
            # FastAPI's own 422 is never sent: what does not parse is a 400 of ours.
            if operation.get("responses", {}).pop("422", None) is not None:
                operation["responses"]["400"] = _trouble("Not readable")
    return doc


def _responses(word: type, many: bool, trouble: dict[int, str]) -> dict[int | str, Any]:
    ref = _ref(word)
    schema = {"type": "array", "items": ref} if many else ref
    answers: dict[int | str, Any] = {200: {"description": "Done", "content": _json(schema)}}
    answers.update({code: _trouble(text) for code, text in trouble.items()})
    return answers


def _trouble(text: str) -> dict[str, Any]:
    return {"description": text, "content": _json(_ref(Trouble))}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _ref(word: type) -> dict[str, Any]:
    return {"$ref": REF.format(name=word.__name__)}
