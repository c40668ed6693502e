"""One question, further: other arguments for it, and several of one kind decided together."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from watchkeeper.console.form_routes import Fields, checked_session
from watchkeeper.console.house import House
from watchkeeper.console.sessions import Session
from watchkeeper.console.together import MOST, class_of
from watchkeeper.core.amend import Amendment, fields_of
from watchkeeper.core.desk import Ask
from watchkeeper.core.errors import Malformed, Refused
from watchkeeper.core.verdict import Answer

NOT_ARGUMENTS = frozenset({"csrf", "shown"})


def ask_routes(house: House) -> APIRouter:
    """Pages and forms under /a."""
    routes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    SignedIn = Annotated[Session, Depends(house.doorkeeper.session)]  # noqa: N806
    Checked = Annotated[Session, Depends(checked_session(house))]  # noqa: N806
    desk = house.desk

    def found(proposal: str) -> Ask:
        ask = desk.ask(proposal)
        if ask is None:
            raise HTTPException(404, f"There is no question {proposal[:60]}.")
        return ask

    def change_page(
        ask: Ask, session: Session, given: dict[str, str], refused: str = "", code: int = 200
    ) -> HTMLResponse:
        seen: Amendment | None = None
        if given and not refused:
            try:
                seen = desk.preview(ask.id, given, session.person)
            except (Refused, Malformed) as err:
                refused, code = str(err), 400 if isinstance(err, Malformed) else 409
        return house.page(
            "change.html",
            "ask",
            f"Change: {ask.title}",
            session,
            code,
            ask=ask,
            arguments=fields_of(ask.shown.proposal),
            given=given,
            seen=seen,
            refused=refused,
        )

    @routes.get("/a/together")
    def together(session: SignedIn, of: Annotated[str, Query(max_length=400)]) -> HTMLResponse:
        first, *others = [found(ident) for ident in of.split(",")[: MOST + 1]]
        if not first.shown.proposal.incident:
            raise Refused(f"{first.id} is of no incident, so none is like it.")
        return house.page(
            "together.html",
            "ask",
            f"Decide together: {class_of(first).says}",
            session,
            first=first,
            asks=[first, *(a for a in others if class_of(a) == class_of(first))],
        )

    @routes.post("/a/together")
    def decide(session: Checked, fields: Fields) -> Response:
        answer = _answer(fields.get("answer", ""))
        idents = [name[3:] for name in fields if name.startswith("on-")]
        if not 1 <= len(idents) <= MOST + 1:
            raise Malformed(f"Choose between 1 and {MOST + 1} questions.")
        asks = [found(ident) for ident in idents]
        if len({class_of(a) for a in asks}) > 1 or not asks[0].shown.proposal.incident:
            raise Refused("Only questions of one class and one incident are decided together.")
        if answer is Answer.APPROVE and any(a.typed_name for a in asks):
            raise Refused("What stops work is approved one by one, each with its name typed.")
        for ask in asks:
            digest, _, nonce = fields[f"on-{ask.id}"].partition(":")
            given = {**fields, "digest": digest, "nonce": nonce}
            try:
                house.answer(ask, session, answer, given)
            except Refused:
                continue  # the page reads from the record what became of each
        return RedirectResponse(f"/a/together?of={quote(','.join(idents), safe=',')}", 303)

    @routes.get("/a/{proposal}/change")
    def change(request: Request, session: SignedIn, proposal: str) -> HTMLResponse:
        given = {name: value[:40] for name, value in list(request.query_params.items())[:20]}
        ask = found(proposal)
        as_asked = {f.name: f.value for f in fields_of(ask.shown.proposal)}
        changed = {n: v for n, v in given.items() if as_asked.get(n) != v.strip()}
        refused = "Nothing is changed yet." if given and not changed else ""
        return change_page(ask, session, changed, refused)

    @routes.post("/a/{proposal}/change")
    def ask_instead(session: Checked, proposal: str, fields: Fields) -> Response:
        ask = found(proposal)
        given = {n: v for n, v in fields.items() if n not in NOT_ARGUMENTS}
        try:
            made = desk.amend(proposal, given, session.person, shown=fields.get("shown", ""))
        except Refused as err:
            return change_page(desk.ask(proposal) or ask, session, {}, str(err), 409)
        return RedirectResponse(f"/a/{quote(made, safe='')}", 303)

    return routes


def _answer(text: str) -> Answer:
    try:
        return Answer(text)
    except ValueError as err:
        raise Malformed("answer must be one of: approve, deny, not_now.") from err
