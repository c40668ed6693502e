"""The forms: POST decides, then shows the page again (303). All of them work without script."""

import math
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Annotated, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from watchkeeper.console.doorkeeper import form_fields
from watchkeeper.console.guard import client_of
from watchkeeper.console.house import House, ProveAgain
from watchkeeper.console.sessions import Session
from watchkeeper.core.errors import Malformed, Refused
from watchkeeper.core.verdict import Answer, Autonomy

Fields = Annotated[dict[str, str], Depends(form_fields)]
MAX_QUESTION = 500
E = TypeVar("E", bound=StrEnum)


def checked_session(house: House) -> Callable[..., Awaitable[Session]]:
    """Dependency of every form: the live session, and the form's own token."""

    async def checked(
        session: Annotated[Session, Depends(house.doorkeeper.session)], fields: Fields
    ) -> Session:
        house.doorkeeper.check_token(session, fields.get("csrf", ""))
        return session

    return checked


def form_routes(house: House) -> APIRouter:
    """Routes of all forms."""
    routes = APIRouter(include_in_schema=False)
    desk, place = house.desk, house.place
    Checked = Annotated[Session, Depends(checked_session(house))]  # noqa: N806

    @routes.post("/login")
    def login(request: Request, fields: Fields) -> Response:
        client = client_of(request)
        if wait := house.gate.wait_s(client):
            raise HTTPException(
                429,
                f"Too many links were tried. Wait {math.ceil(wait)} s.",
                {"retry-after": str(math.ceil(wait))},
            )
        person = desk.redeem(fields.get("token", ""))
        if person is None:
            house.gate.failed(client)
            raise HTTPException(
                403,
                "This link was used already, or a newer one replaced it. "
                "Run `watchkeeper login` to print another.",
            )
        old = house.doorkeeper.secret(request)
        secret, _ = house.sessions.begin(person, replaces=old)
        answer = _to("/")
        house.give_cookie(answer, secret)
        return answer

    @routes.post("/logout")
    def logout(session: Checked) -> Response:
        house.sessions.end(session)
        return _signed_out()

    @routes.post("/logout/everywhere")
    def logout_everywhere(session: Checked) -> Response:
        house.sessions.end_all(session.person.name)
        return _signed_out()

    def _signed_out() -> Response:
        answer = _to("/login")
        answer.delete_cookie(
            place.cookie, path="/", httponly=True, samesite="strict", secure=place.https
        )
        return answer

    @routes.post("/a/{proposal}/answer")
    def answer(session: Checked, proposal: str, fields: Fields) -> Response:
        ask = desk.ask(proposal)
        if ask is None:
            raise HTTPException(404, f"There is no question {proposal[:60]}.")
        given, here = _choice(fields, "answer", Answer), f"/a/{quote(proposal, safe='')}"
        try:
            house.answer(ask, session, given, fields)
        except ProveAgain as err:
            return house.prove_page(ask.title, here, session, err.detail)
        except Refused as err:
            return house.ask_page(desk.ask(proposal) or ask, session, refused=str(err))
        return _to(here)

    @routes.post("/stop")
    def stop(session: Checked, fields: Fields) -> Response:
        desk.stop(session.person, _reason(fields))
        return _to("/")

    @routes.post("/resume")
    def resume(session: Checked, fields: Fields) -> Response:
        desk.resume(session.person, _reason(fields))
        return _to("/")

    @routes.post("/autonomy")
    def autonomy(session: Checked, fields: Fields) -> Response:
        house.turn_dial(session, _choice(fields, "level", Autonomy))
        return _to("/")

    @routes.post("/release")
    def release(session: Checked, fields: Fields) -> Response:
        desk.release(session.person, fields.get("hold", "")[:40])
        return _to("/policy#h")

    @routes.post("/ask")
    def ask(session: Checked, fields: Fields) -> Response:
        question = fields.get("question", "").strip()[:MAX_QUESTION]
        if not question:
            raise Malformed("The question is empty.")
        line = desk.say(session.person, question)
        alone = fields.get("from") == "chat" or desk.card(line.seq) or desk.drafted(line.seq)
        return _to(f"/chat/{line.seq}" if alone else f"/#l{line.seq}")

    return routes


def _to(where: str) -> RedirectResponse:
    return RedirectResponse(where, 303)


def _reason(fields: dict[str, str]) -> str:
    return fields.get("reason", "").strip()[:500]


def _choice(fields: dict[str, str], name: str, kind: type[E]) -> E:
    try:
        return kind(fields.get(name, ""))
    except ValueError as err:
        known = ", ".join(k.value for k in kind)
        raise Malformed(f"{name} must be one of: {known}.") from err
