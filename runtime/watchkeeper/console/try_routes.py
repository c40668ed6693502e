"""Try a change of the orders before anybody merges it: one changed or new file, checked, tested and
replayed. For policy-authors; nothing is taken up, and nothing is written but the answer."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse

from watchkeeper.console.form_routes import Fields, checked_session
from watchkeeper.console.house import House
from watchkeeper.console.sessions import Session
from watchkeeper.core.errors import Malformed, Refused
from watchkeeper.core.views import TriedOrders


def try_routes(house: House) -> APIRouter:
    """GET shows the form, with a file of the orders or a draft of the chat in it; POST tries."""
    routes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    SignedIn = Annotated[Session, Depends(house.doorkeeper.session)]  # noqa: N806
    Checked = Annotated[Session, Depends(checked_session(house))]  # noqa: N806
    desk = house.desk

    def page(
        session: Session,
        file: str,
        text: str,
        found: TriedOrders | None = None,
        refused: str = "",
        code: int = 200,
    ) -> HTMLResponse:
        return house.page(
            "try.html",
            "policy",
            "Try a change",
            session,
            code,
            files=tuple(sorted(desk.orders_files())),
            file=file,
            text=text,
            found=found,
            refused=refused,
        )

    @routes.get("/policy/try")
    def form(
        session: SignedIn,
        file: Annotated[str, Query(max_length=200)] = "",
        draft: Annotated[int, Query(ge=0, le=2**53)] = 0,
    ) -> HTMLResponse:
        if draft:
            made = desk.drafted(draft)
            if made is None:
                raise HTTPException(404, f"Line {draft} of the journal carries no draft.")
            return page(session, made.file, made.text)
        return page(session, file, desk.orders_files().get(file, ""))

    @routes.post("/policy/try")
    def tried(session: Checked, fields: Fields) -> HTMLResponse:
        file, text = fields.get("file", "")[:200], fields.get("text", "")
        try:
            found = desk.try_orders(file, text)
        except (Malformed, Refused) as err:
            code = 400 if isinstance(err, Malformed) else 409
            return page(session, file, text, refused=str(err), code=code)
        return page(session, file, text, found)

    return routes
