"""The pages: GET shows, and never changes anything."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse

from watchkeeper.console.house import House
from watchkeeper.console.sessions import Session
from watchkeeper.core.event import Event

LOG_SHOWN = 60
JOURNAL_SHOWN = 100
FROM_THE_START = -1
"""`Desk.events(0)` gives the newest; before event 0 there is nothing, so this gives the first."""


def page_routes(house: House) -> APIRouter:
    """Routes of all pages for people. `parts=1` gives only what an open page draws anew."""
    routes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    SignedIn = Annotated[Session, Depends(house.doorkeeper.session)]  # noqa: N806
    desk = house.desk

    @routes.get("/")
    def watch(
        session: SignedIn,
        question: Annotated[str, Query(max_length=500)] = "",
        parts: bool = False,
    ) -> HTMLResponse:
        lines = () if parts else tuple(reversed(desk.log(limit=LOG_SHOWN)))
        return house.page(
            "watch.html",
            "watch",
            "The watch",
            session,
            parts=parts,
            lines=lines,
            question=question,
        )

    @routes.get("/a/{proposal}")
    def ask(session: SignedIn, proposal: str) -> HTMLResponse:
        found = desk.ask(proposal)
        if found is None:
            raise HTTPException(404, f"There is no question {proposal[:60]}.")
        return house.ask_page(found, session)

    @routes.get("/incidents")
    def incidents(session: SignedIn) -> HTMLResponse:
        return house.page(
            "incidents.html", "incidents", "Incidents", session, incidents=desk.incidents()
        )

    @routes.get("/i/{incident}")
    def incident(session: SignedIn, incident: str, parts: bool = False) -> HTMLResponse:
        story = desk.story(incident)
        if story is None:
            raise HTTPException(404, f"There is no incident {incident[:60]}.")
        return house.page(
            "incident.html", "incident", story.incident.title, session, story=story, parts=parts
        )

    @routes.get("/journal")
    def journal(
        session: SignedIn, before: Annotated[int, Query(ge=0, le=2**53)] = 0
    ) -> HTMLResponse:
        events = _journal_page(house, before)
        first = events[-1].seq if events else 0
        return house.page(
            "journal.html",
            "journal",
            "Journal",
            session,
            events=events,
            older=first if first > 1 else 0,
        )

    @routes.get("/login")
    def login(token: Annotated[str, Query(max_length=200)] = "") -> HTMLResponse:
        # Shows a button that posts the token: what previews links must not spend them.
        if not token:
            return HTMLResponse(house.welcome())
        return HTMLResponse(
            house.bare("login.html", "login", "Sign in", token=token, login_token=token)
        )

    return routes


def _journal_page(house: House, before: int) -> tuple[Event, ...]:
    """Up to JOURNAL_SHOWN events earlier than `before` (0 = the newest), newest first."""
    if before <= 0:
        return tuple(reversed(house.desk.events(limit=JOURNAL_SHOWN)))
    if before == 1:
        return ()
    after = before - 1 - JOURNAL_SHOWN
    found = house.desk.events(after if after > 0 else FROM_THE_START, JOURNAL_SHOWN)
    return tuple(e for e in reversed(found) if e.seq < before)
