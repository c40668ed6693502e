"""The JSON interface under /api/v1, and what machines probe: /healthz and /metrics.

Answers are core words in their one JSON form. The same desk and the same rules as the pages.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from watchkeeper.console import metrics
from watchkeeper.console.events import Streams
from watchkeeper.console.guard import client_of
from watchkeeper.console.house import House
from watchkeeper.console.pages import stale_because
from watchkeeper.console.schema import counted, heard, said
from watchkeeper.console.sessions import Session
from watchkeeper.console.trouble import json_word
from watchkeeper.console.words import (
    AnswerGiven,
    Explanation,
    FleetMap,
    LevelGiven,
    ReasonGiven,
    Status,
    fleet_map,
)
from watchkeeper.core.desk import Ask, Board, Health, LogLine, NodeView, Story
from watchkeeper.core.errors import UsageError
from watchkeeper.core.event import Event
from watchkeeper.core.incident import Incident
from watchkeeper.core.verdict import Orders
from watchkeeper.core.word import parse

After = Annotated[int, Query(ge=0, le=2**53)]
LOOPBACK = frozenset({"127.0.0.1", "::1"})


async def body(request: Request) -> bytes:
    """Dependency: the request body; the guard has bounded it."""
    return await request.body()


Body = Annotated[bytes, Depends(body)]


def probe_routes(house: House, streams: Streams) -> APIRouter:
    """What needs no session: is the watch ready, and its counters for a collector on this host."""
    routes = APIRouter(tags=["probes"])

    @routes.get("/healthz", summary="Is the watch ready", **said(Health, session=False))
    def healthz() -> Response:
        return json_word(house.desk.health())

    @routes.get("/metrics", summary="Counters in the Prometheus text format", **counted())
    def read_metrics(request: Request) -> Response:
        # By address and by name: behind a proxy on this host every client looks local.
        host = request.headers.get("host", "").lower()
        if client_of(request) not in LOOPBACK or host not in house.place.loopback_hosts:
            house.doorkeeper.may_read_metrics(request)
        own = {"console_streams": float(streams.open), "console_sessions": len(house.sessions)}
        return Response(metrics.exposition(house.desk, own), media_type=metrics.CONTENT_TYPE)

    return routes


def read_routes(house: House) -> APIRouter:
    """GET: the record and the present, for who has a session."""
    signed_in = Depends(house.doorkeeper.session)  # on the router: no route can forget it
    routes = APIRouter(prefix="/api/v1", tags=["read"], dependencies=[signed_in])
    desk = house.desk

    @routes.get("/status", summary="The watch in a few facts", **said(Status))
    def status(session: Annotated[Session, signed_in]) -> Response:
        return json_word(_status(house, session))

    @routes.get("/board", summary="Everything on the first page", **said(Board))
    def board() -> Response:
        return json_word(desk.board())

    @routes.get("/log", summary="The log, newest last", **said(LogLine, many=True))
    def log(after: After = 0, limit: Annotated[int, Query(ge=1, le=500)] = 60) -> Response:
        return json_word(desk.log(after, limit))

    @routes.get("/incidents", summary="All incidents, newest first", **said(Incident, many=True))
    def incidents() -> Response:
        return json_word(desk.incidents())

    @routes.get("/incidents/{incident}", summary="One incident, told", **said(Story))
    def story(incident: str) -> Response:
        return json_word(_found(desk.story(incident), "incident", incident))

    @routes.get("/approvals", summary="Questions that wait, oldest first", **said(Ask, many=True))
    def approvals(
        after: Annotated[str, Query(max_length=253)] = "",
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> Response:
        """A page of them; the next one begins `after` the id of the last. It may be answered
        meanwhile: then what was asked since it comes next."""
        return json_word(_page(desk.asks(), desk.ask(after) if after else None, limit))

    @routes.get("/approvals/{proposal}", summary="One question", **said(Ask))
    def approval(proposal: str) -> Response:
        return json_word(_found(desk.ask(proposal), "question", proposal))

    @routes.get("/nodes", summary="All nodes", **said(NodeView, many=True))
    def nodes() -> Response:
        return json_word(desk.board().nodes)

    @routes.get("/nodes/{name}", summary="One node", **said(NodeView))
    def node(name: str) -> Response:
        found = next((n for n in desk.board().nodes if n.name == name), None)
        return json_word(_found(found, "node", name))

    @routes.get("/fleet", summary="The fleet for the map, worst first", **said(FleetMap))
    def fleet() -> Response:
        return json_word(fleet_map(desk.board().nodes))

    @routes.get("/explain/{ident}", summary="Why, in plain text", **said(Explanation))
    def explain(ident: str) -> Response:
        try:
            return json_word(Explanation(id=ident, text=desk.explain(ident)))
        except UsageError as err:
            raise HTTPException(404, str(err)) from err

    @routes.get("/journal", summary="Events, oldest first", **said(Event, many=True))
    def journal(after: After = 0, limit: Annotated[int, Query(ge=1, le=1000)] = 200) -> Response:
        """With `after`, what came later; without, the newest."""
        return json_word(desk.events(after, limit))

    return routes


def change_routes(house: House) -> APIRouter:
    """POST: answers and orders, with a bearer or with a cookie and its X-CSRF-Token."""
    routes = APIRouter(prefix="/api/v1", tags=["change"])
    MayChange = Annotated[Session, Depends(house.doorkeeper.may_change)]  # noqa: N806
    desk = house.desk

    @routes.post(
        "/approvals/{proposal}/answer",
        summary="Answer a question",
        **heard(AnswerGiven, Ask),
    )
    def answer(session: MayChange, proposal: str, body: Body) -> Response:
        ask = _found(desk.ask(proposal), "question", proposal)
        given = parse(body, AnswerGiven, "The body")
        fields = {
            "digest": given.digest,
            "nonce": given.nonce,
            "reason": given.reason,
            "typed": given.typed,
        }
        return json_word(house.answer(ask, session, given.answer, fields, door="api"))

    @routes.post("/stop", summary="Stop: nothing acts", **heard(ReasonGiven, Orders))
    def stop(session: MayChange, body: Body) -> Response:
        desk.stop(session.person, parse(body or b"{}", ReasonGiven, "The body").reason[:500])
        return json_word(desk.board().orders)

    @routes.post("/resume", summary="Go on", **heard(ReasonGiven, Orders))
    def resume(session: MayChange, body: Body) -> Response:
        desk.resume(session.person, parse(body or b"{}", ReasonGiven, "The body").reason[:500])
        return json_word(desk.board().orders)

    @routes.post("/autonomy", summary="Turn the dial", **heard(LevelGiven, Orders))
    def autonomy(session: MayChange, body: Body) -> Response:
        house.turn_dial(session, parse(body, LevelGiven, "The body").level)
        return json_word(desk.board().orders)

    return routes


def _status(house: House, session: Session) -> Status:
    board = house.desk.board()
    return Status(
        health=board.health,
        orders=board.orders,
        window=board.window,
        waiting=len(board.waiting),
        incidents_open=sum(1 for i in house.desk.incidents() if i.is_open),
        stale=stale_because(board),
        person=session.person.name,
        csrf=session.csrf,
    )


def _page(asks: tuple[Ask, ...], last: Ask | None, limit: int) -> tuple[Ask, ...]:
    if last is None:
        return asks[:limit]
    place = next((n for n, ask in enumerate(asks) if ask.id == last.id), None)
    if place is not None:
        return asks[place + 1 : place + 1 + limit]
    return tuple(ask for ask in asks if ask.asked_at >= last.asked_at)[:limit]


def _found(word: Any, what: str, name: str) -> Any:
    if word is None:
        raise HTTPException(404, f"There is no {what} {name[:60]}.")
    return word
