"""Break-glass and its review: what soft rules keep from going on, who lifted what, and the forms.
The same as `watchkeeper break-glass` and `watchkeeper review`; nothing is decided here."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from watchkeeper.console.form_routes import Fields, checked_session
from watchkeeper.console.house import House, ProveAgain
from watchkeeper.console.sessions import Session
from watchkeeper.core.errors import Refused
from watchkeeper.core.views import Liftable, LiftView


def glass_routes(house: House) -> APIRouter:
    """Pages and forms under /break-glass. They work without script."""
    routes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    SignedIn = Annotated[Session, Depends(house.doorkeeper.session)]  # noqa: N806
    Checked = Annotated[Session, Depends(checked_session(house))]  # noqa: N806
    desk = house.desk

    def of(proposal: str) -> tuple[Liftable | None, LiftView | None]:
        seen = desk.glass()
        return (
            next((one for one in seen.liftable if one.proposal == proposal), None),
            next((one for one in seen.lifts if one.proposal == proposal), None),
        )

    def page(proposal: str, session: Session, refused: str = "") -> HTMLResponse:
        could, lift = of(proposal)
        if could is None and lift is None:
            known = desk.ask(proposal) is not None
            why = "It may be decided, or be too old." if known else "There may be none of this id."
            raise HTTPException(404, f"Nothing soft keeps {proposal[:60]} from going on now. {why}")
        title = could.title if could else lift.title if lift else proposal
        return house.page(
            "glass_one.html",
            "glass",
            f"Break-glass: {title}",
            session,
            409 if refused else 200,
            ident=proposal,
            head=title,
            could=could,
            lift=lift,
            refused=refused,
        )

    @routes.get("/break-glass")
    def glass(session: SignedIn) -> HTMLResponse:
        return house.page("glass.html", "glass", "Break-glass", session, glass=desk.glass())

    @routes.get("/break-glass/{proposal}")
    def one(session: SignedIn, proposal: str) -> HTMLResponse:
        return page(proposal, session)

    @routes.post("/break-glass/{proposal}/lift")
    def lift(session: Checked, proposal: str, fields: Fields) -> Response:
        could, _ = of(proposal)
        if could is None:
            return page(proposal, session, "Nothing soft stands in its way any more.")
        try:
            house.lift(could, session, fields)
        except ProveAgain as err:
            return house.prove_page(could.title, _at(proposal), session, err.detail)
        except Refused as err:
            return page(proposal, session, str(err))
        return RedirectResponse(_at(proposal), 303)

    @routes.post("/break-glass/{proposal}/review")
    def review(session: Checked, proposal: str, fields: Fields) -> Response:
        try:
            desk.review(proposal, session.person, fields.get("note", ""))
        except Refused as err:
            return page(proposal, session, str(err))
        return RedirectResponse(_at(proposal), 303)

    return routes


def _at(proposal: str) -> str:
    return f"/break-glass/{quote(proposal, safe='')}"
