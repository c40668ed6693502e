"""Pages that only look: the fleet by domain, one GPU, forecasts, policy, agents, and the journal
held to its chain. And what the map reads."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from watchkeeper.console.house import House
from watchkeeper.console.schema import said
from watchkeeper.console.sessions import Session
from watchkeeper.console.trouble import json_word
from watchkeeper.core.cells import FleetCells, FleetLayout, Grouping, Shade, Trace
from watchkeeper.core.desk import NodeView
from watchkeeper.core.errors import Refused

Block = Annotated[str | None, Query(max_length=253)]
DOMAINS = {Grouping.RACK: "rack", Grouping.NVLINK: "nvlink_domain", Grouping.POOL: "pool"}


def look_pages(house: House) -> APIRouter:
    """Pages for people."""
    routes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    SignedIn = Annotated[Session, Depends(house.doorkeeper.session)]  # noqa: N806
    desk = house.desk

    def node_named(name: str) -> NodeView:
        found = next((n for n in desk.board().nodes if n.name == name), None)
        if found is None:
            raise HTTPException(404, f"There is no node {name[:60]}.")
        return found

    @routes.get("/fleet")
    def fleet(
        session: SignedIn,
        parts: bool = False,
        by: Grouping = Grouping.RACK,
        shade: Shade = Shade.HEALTH,
        block: Block = None,
    ) -> HTMLResponse:
        return house.page(
            "fleet.html",
            "fleet",
            f"{by.value} {block}" if block is not None else "Fleet",
            session,
            parts=parts,
            by=by,
            shade=shade,
            block=block,
            domain=DOMAINS[by],
        )

    @routes.get("/nodes/{name}")
    def node(session: SignedIn, name: str) -> HTMLResponse:
        found = node_named(name)
        trace = desk.trace(name)
        return house.page("node.html", "node", found.name, session, node=found, trace=trace)

    @routes.get("/nodes/{name}/gpus/{index}")
    def gpu(session: SignedIn, name: str, index: int) -> HTMLResponse:
        found = node_named(name)
        one = next((g for g in found.gpus if g.index == index), None)
        if one is None:
            raise HTTPException(404, f"{name[:60]} has no GPU {index}.")
        return house.page(
            "gpu.html",
            "node",
            f"GPU {index} of {found.name}",
            session,
            node=found,
            gpu=one,
            trace=desk.trace(name),
        )

    @routes.get("/forecast")
    def forecast(session: SignedIn) -> HTMLResponse:
        fans = {f.pool: f for f in desk.fans()}
        return house.page("forecast.html", "forecast", "Forecast", session, fans=fans)

    @routes.get("/policy")
    def policy(session: SignedIn) -> HTMLResponse:
        return house.page("policy.html", "policy", "Policy", session, policy=desk.policy())

    @routes.get("/agents")
    def agents(session: SignedIn) -> HTMLResponse:
        return house.page("agents.html", "agents", "Agents", session, agents=desk.agents())

    @routes.get("/more")
    def more(session: SignedIn) -> HTMLResponse:
        return house.page("more.html", "more", "More", session)

    @routes.get("/journal/verify")
    def verify(session: SignedIn) -> HTMLResponse:
        check, refused = None, ""
        try:
            check = desk.verify()
        except Refused as err:
            refused = str(err)
        return house.page(
            "verify.html",
            "journal",
            "Journal verified" if check and not check.problem else "Journal",
            session,
            check=check,
            refused=refused,
        )

    return routes


def look_reads(house: House) -> APIRouter:
    """What the map reads, and any program."""
    signed_in = Depends(house.doorkeeper.session)
    routes = APIRouter(prefix="/api/v1", tags=["read"], dependencies=[signed_in])
    desk = house.desk

    @routes.get("/fleet/layout", summary="Where everything stands", **said(FleetLayout))
    def layout(by: Grouping = Grouping.RACK) -> Response:
        return json_word(desk.layout(by))

    @routes.get("/fleet/cells", summary="Every cell of the map", **said(FleetCells))
    def cells(shade: Shade = Shade.HEALTH, by: Grouping = Grouping.RACK) -> Response:
        return json_word(desk.cells(shade, by))

    @routes.get("/nodes/{name}/trace", summary="The last hour of one node", **said(Trace))
    def trace(name: str) -> Response:
        found = desk.trace(name)
        if found is None:
            raise HTTPException(404, f"There is no node {name[:60]}.")
        return json_word(found)

    return routes
