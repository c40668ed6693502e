"""The page of costs: GET shows, and never changes anything. A what-if is a form of figures; its
answer stands on the same page, so that it works without any script."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.responses import HTMLResponse, Response

from watchkeeper.console.house import House
from watchkeeper.console.money import of_uses, pool_bars, tenants
from watchkeeper.console.schema import said
from watchkeeper.console.sessions import Session
from watchkeeper.console.trouble import json_word
from watchkeeper.core.capacity import CapacityPlan, WhatIf
from watchkeeper.core.errors import Refused
from watchkeeper.core.usage import HELD, IDLE, STRANDED, Costs

Days = Annotated[float, Query(gt=0, le=366)]
PoolName = Annotated[str, Query(max_length=253)]
Clock = Annotated[str, Query(max_length=5, pattern=r"^([0-2]?[0-9]:[0-5][0-9])?$")]
Zone = Annotated[str, Query(max_length=64)]
Nodes = Annotated[int, Query(ge=-1000, le=1000)]


def money_pages(house: House) -> APIRouter:
    """`/costs`: the bill, the allowances, a what-if and a plan."""
    routes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    SignedIn = Annotated[Session, Depends(house.doorkeeper.session)]  # noqa: N806

    @routes.get("/costs")
    def costs(
        session: SignedIn,
        days: Days = 30.0,
        pool: PoolName = "",
        add: Nodes = 0,
        begin: Clock = "",
        end: Clock = "",
        tz: Zone = "UTC",
        plan: PoolName = "",
    ) -> HTMLResponse:
        found = house.desk.costs(days)
        answer, refused = _asked(house, pool, add, begin, end, tz)
        planned, no_plan = _planned(house, plan)
        return house.page(
            "costs.html",
            "costs",
            "Costs",
            session,
            costs=found,
            days=days,
            shares=tenants(found.bill),
            pools=pool_bars(found.bill),
            held=of_uses(found.bill, (HELD,)),
            idle=of_uses(found.bill, (IDLE,)),
            stranded=of_uses(found.bill, STRANDED),
            form={"pool": pool, "add": add or 2, "begin": begin, "end": end, "tz": tz},
            answer=answer,
            refused=refused,
            plan=planned,
            no_plan=no_plan,
        )

    return routes


def _asked(
    house: House, pool: str, add: int, begin: str, end: str, tz: str
) -> tuple[WhatIf | None, str]:
    """(the answer, or why there is none)."""
    if not pool or not add:
        return None, ""
    try:
        return house.desk.what_if(pool, add, begin, end, tz), ""
    except Refused as err:
        return None, str(err)


def _planned(house: House, pool: str) -> tuple[CapacityPlan | None, str]:
    if not pool:
        return None, ""
    try:
        return house.desk.capacity(pool), ""
    except Refused as err:
        return None, str(err)


def money_api(house: House) -> APIRouter:
    """The same as JSON."""
    signed_in: Any = Depends(house.doorkeeper.session)
    routes = APIRouter(prefix="/api/v1", tags=["read"], dependencies=[signed_in])

    @routes.get("/costs", summary="What GPUs cost, and the allowances", **said(Costs))
    def costs(days: Days = 30.0) -> Response:
        return json_word(house.desk.costs(days))

    @routes.get("/what-if", summary="What some nodes more would change", **said(WhatIf))
    def what_if(
        pool: PoolName, add: Nodes, begin: Clock = "", end: Clock = "", tz: Zone = "UTC"
    ) -> Response:
        return json_word(house.desk.what_if(pool, add, begin, end, tz))

    @routes.get("/capacity", summary="The cheapest capacity for a pool", **said(CapacityPlan))
    def capacity(pool: PoolName) -> Response:
        return json_word(house.desk.capacity(pool))

    return routes
