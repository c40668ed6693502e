"""Why a request was not served, said once for all doors: a page for people, JSON for programs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote

import msgspec
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from watchkeeper.console.guard import SECURITY_HEADERS
from watchkeeper.console.words import Trouble
from watchkeeper.core.errors import (
    ClusterUnavailable,
    JournalBroken,
    Malformed,
    Refused,
    WatchkeeperError,
)
from watchkeeper.core.tame import harmless_json

log = logging.getLogger("watchkeeper.console")

_HEADLINES = {
    400: "This request cannot be read",
    401: "Sign in first",
    403: "Not allowed",
    404: "Nothing here",
    405: "Not done this way",
    409: "This changed under you",
    413: "Too large",
    429: "Too many tries",
    500: "The console failed",
    503: "Not now",
}
_TEXTS = {
    404: "There is no such page. It may have been an old link.",
    405: "Pages are read with GET. What changes something is a form.",
    500: "This is ours to mend. The watch itself goes on. Its log says what happened.",
}
_STATUS: dict[type[WatchkeeperError], int] = {
    Malformed: 400,
    Refused: 409,
    JournalBroken: 503,
    ClusterUnavailable: 503,
}

MAX_ADDRESS = 600
SAFE_IN_QUERY = "/-._~:@!$&'()*+,;=?%"


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for. path: as it came. page: an address of ours that shows it again, or ""
    where there is no page to show."""

    path: str
    page: str


ErrorPage = Callable[[Trouble, Asked], str]


def asked_for(request: Request) -> Asked:
    """Reads the address. Whatever a request names, `page` begins with one slash and goes on with
    something else, so that it leads nowhere but here."""
    # As it was sent: an URL object would take `//host` for another host.
    path, query = str(request.scope["path"]), request.scope["query_string"].decode("latin-1")
    page = ""
    if request.method == "GET":
        page = "/" + quote(path.lstrip("/\\"), safe="/-._~:@!$&'()*+,;=")
        page += f"?{quote(query, safe=SAFE_IN_QUERY)}" if query else ""
    return Asked(path, page if len(page) <= MAX_ADDRESS else "/")


def wants_json(request: Request) -> bool:
    """Programs ask the API, or ask for JSON by name."""
    accept = request.headers.get("accept", "")
    return request.url.path.startswith("/api/") or (
        "application/json" in accept and "text/html" not in accept
    )


class Troubles:
    """Makes the answer for a request that was not served."""

    def __init__(self, page: ErrorPage) -> None:
        self._page = page

    def response(
        self, request: Request, code: int, text: str = "", headers: dict[str, str] | None = None
    ) -> Response:
        trouble = Trouble(
            code=code,
            headline=_HEADLINES.get(code, "This was not done"),
            text=text or _TEXTS.get(code, "Go back and try again."),
        )
        # Set here too: an answer to a crash leaves outside the guard.
        headers = {**SECURITY_HEADERS, **(headers or {})}
        if wants_json(request):
            return json_word(trouble, code, headers)
        return HTMLResponse(self._page(trouble, asked_for(request)), code, headers)

    async def on_http(self, request: Request, err: Exception) -> Response:
        assert isinstance(err, HTTPException)
        text = err.detail if err.detail and not _is_stock(err) else ""
        return self.response(request, err.status_code, text, dict(err.headers or {}))

    async def on_invalid(self, request: Request, err: Exception) -> Response:
        assert isinstance(err, RequestValidationError)
        where = "; ".join(
            f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in err.errors()[:5]
        )
        return self.response(request, 400, f"{where}.")

    async def on_ours(self, request: Request, err: Exception) -> Response:
        code = next((c for kind, c in _STATUS.items() if isinstance(err, kind)), 500)
        if code == 500:
            log.error("%s %s failed", request.method, request.url.path, exc_info=err)
            return self.response(request, 500)
        return self.response(request, code, str(err))

    async def on_crash(self, request: Request, err: Exception) -> Response:
        log.error("%s %s failed", request.method, request.url.path, exc_info=err)
        return self.response(request, 500)


def json_word(word: object, code: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A core word, or a tuple of them, as the one JSON that the product writes."""
    data = msgspec.json.encode(word)
    if not data.isascii() or b"\x7f" in data:  # seldom: what is shown on a terminal stays text
        data = harmless_json(data.decode()).encode()
    return Response(data, code, headers, "application/json")


def _is_stock(err: HTTPException) -> bool:
    """Starlette's own phrase ("Not Found"), which says less than ours."""
    return err.detail == HTTPStatus(err.status_code).phrase
