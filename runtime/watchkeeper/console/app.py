"""The console: pages, forms, live stream and JSON over one Desk. Built here, served by the app.

It decides nothing and remembers nothing but who is signed in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from watchkeeper import __version__
from watchkeeper.console.api import change_routes, probe_routes, read_routes
from watchkeeper.console.ask_routes import ask_routes
from watchkeeper.console.chat_routes import chat_routes
from watchkeeper.console.events import Streams, event_routes
from watchkeeper.console.form_routes import form_routes
from watchkeeper.console.glass_routes import glass_routes
from watchkeeper.console.guard import Guard, Place
from watchkeeper.console.house import House
from watchkeeper.console.look_routes import look_pages, look_reads
from watchkeeper.console.money_routes import money_api, money_pages
from watchkeeper.console.page_routes import page_routes
from watchkeeper.console.pages import Pages
from watchkeeper.console.rates import Limits
from watchkeeper.console.report_routes import report_pages, report_reads
from watchkeeper.console.schema import document
from watchkeeper.console.sessions import Sessions, Spans
from watchkeeper.console.sign_on_routes import sign_on_routes
from watchkeeper.console.trouble import Troubles
from watchkeeper.console.try_routes import try_routes
from watchkeeper.core.clock import Clock, Ids
from watchkeeper.core.desk import Desk
from watchkeeper.core.errors import WatchkeeperError
from watchkeeper.core.sign_on import SignOn, Tokens

HERE = Path(__file__).parent


def create_app(
    desk: Desk,
    clock: Clock,
    ids: Ids,
    *,
    public_url: str,
    local_url: str = "",
    spans: Spans | None = None,
    limits: Limits | None = None,
    tokens: Tokens | None = None,
    sign_on: SignOn | None = None,
) -> FastAPI:
    """The console over this desk. public_url: where people reach it (scheme, host, port); cookies
    are Secure when it is https. local_url: where it listens, where that is another. tokens: of
    programs. sign_on: the provider that people sign in by, beside one-time links. Raises
    ValueError when an address is no http(s) address."""
    place = Place(public_url, local_url)
    house = House(
        desk,
        clock,
        Sessions(clock, ids, spans),
        place,
        Pages(HERE / "templates"),
        tokens=tokens,
        sign_on=sign_on,
        limits=limits,
    )
    streams = Streams(house)
    troubles = Troubles(house.trouble_page)
    app = FastAPI(
        title="Watchkeeper",
        version=__version__,
        description="The watch over one GPU cluster: what it sees, asks and does.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(house.doorkeeper.gate)],  # no route can forget it
    )
    app.add_exception_handler(HTTPException, troubles.on_http)
    app.add_exception_handler(RequestValidationError, troubles.on_invalid)
    app.add_exception_handler(WatchkeeperError, troubles.on_ours)
    app.add_exception_handler(Exception, troubles.on_crash)
    app.add_middleware(Guard, place=place, refusal=troubles.response, addresses=house.addresses)
    for routes in (
        look_reads(
            house
        ),  # first: what each open page asks every few seconds; /fleet/cells no node
        ask_routes(house),  # before the pages: /a/together is no question
        page_routes(house),
        glass_routes(house),
        try_routes(house),
        money_pages(house),
        form_routes(house),
        sign_on_routes(house),
        look_pages(house),
        chat_routes(house),
        event_routes(house, streams),
        probe_routes(house, streams),
        read_routes(house),
        money_api(house),
        change_routes(house),
        report_pages(house),
        report_reads(house),
    ):
        app.include_router(routes)
    app.mount("/static", _Static(directory=HERE / "static"), name="static")
    app.openapi = _once(app, place.cookie)  # type: ignore[method-assign]
    return app


def _once(app: FastAPI, cookie: str) -> Any:
    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = document(app, cookie)
        return app.openapi_schema

    return openapi


class _Static(StaticFiles):
    """Style, script and icon: kept by the browser, and asked about each time (an upgrade shows at
    once)."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        answer.headers["cache-control"] = "no-cache"
        return answer
