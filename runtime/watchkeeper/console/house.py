"""What the console's doors share, built once: the desk, sessions, pages, and how to draw a page."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from watchkeeper.console.doorkeeper import Doorkeeper
from watchkeeper.console.guard import Place
from watchkeeper.console.pages import Pages, stale_because
from watchkeeper.console.rates import Buckets, Limits, LoginGate
from watchkeeper.console.sessions import Session, Sessions
from watchkeeper.console.trouble import Asked
from watchkeeper.console.words import Trouble
from watchkeeper.core.clock import Clock
from watchkeeper.core.desk import Ask, Desk
from watchkeeper.core.errors import Refused
from watchkeeper.core.roles import Role
from watchkeeper.core.sign_on import SignOn, Tokens
from watchkeeper.core.verdict import Answer, Autonomy
from watchkeeper.core.views import Liftable

DIAL = (Autonomy.OBSERVE, Autonomy.ASK, Autonomy.AUTO)
"""From where the watch does least."""


class ProveAgain(HTTPException):
    """What stops work is approved by who proved a moment ago who they are (step-up)."""

    def __init__(self, within_s: float, what: str = "Approving this stops work") -> None:
        super().__init__(
            403,
            f"{what}, so it needs a login of the last {within_s / 60:.0f} "
            "minutes, by a person. Sign in again, and answer then. Nothing was recorded.",
        )


class House:
    """The console behind its routes. Every method may block and runs on a worker thread."""

    def __init__(
        self,
        desk: Desk,
        clock: Clock,
        sessions: Sessions,
        place: Place,
        pages: Pages,
        *,
        tokens: Tokens | None = None,
        sign_on: SignOn | None = None,
        limits: Limits | None = None,
    ) -> None:
        limits = limits or Limits()
        self.desk = desk
        self.clock = clock
        self.sessions = sessions
        self.place = place
        self.pages = pages
        self.gate = LoginGate(clock)
        self.sign_on = sign_on
        self.addresses = Buckets(clock, limits.address)
        self.departures = Buckets(clock, limits.departures)
        self.doorkeeper = Doorkeeper(
            desk,
            sessions,
            place,
            reads=Buckets(clock, limits.reads),
            changes=Buckets(clock, limits.changes),
            tokens=tokens,
        )

    def page(
        self,
        template: str,
        page: str,
        title: str,
        session: Session,
        code: int = 200,
        **more: Any,
    ) -> HTMLResponse:
        """One page for somebody signed in."""
        board = self.desk.board()
        text = self.pages.render(
            template,
            page=page,
            title=title,
            board=board,
            person=session.person,
            csrf=session.csrf,
            may=frozenset(session.person.roles),
            stale=stale_because(board),
            **more,
        )
        return HTMLResponse(text, code)

    def bare(self, template: str, page: str, title: str, **more: Any) -> str:
        """A page for somebody who is not signed in: it tells nothing of the fleet."""
        return self.pages.render(
            template,
            page=page,
            title=title,
            board=None,
            person=None,
            csrf="",
            may=frozenset(),
            stale="",
            **more,
        )

    def welcome(self, *, here: str = "", refused: str = "") -> str:
        """How to sign in. here: the page of ours that was asked for; refused: why a link failed."""
        sign_on = self.sign_on.says if self.sign_on else ""
        return self.bare(
            "welcome.html", "login", "Sign in", here=here, refused=refused, sign_on=sign_on
        )

    def trouble_page(self, trouble: Trouble, asked: Asked) -> str:
        """An error page. It asks the desk for nothing, so that it stands when the desk fails."""
        if trouble.code == 401:
            return self.welcome(here=asked.page)
        if trouble.code == 403 and asked.path in ("/login", "/login/sign-on/back"):
            return self.welcome(refused=trouble.text)
        return self.bare(
            "error.html",
            "error",
            trouble.headline,
            code=trouble.code,
            headline=trouble.headline,
            text=trouble.text,
        )

    def ask_page(self, ask: Ask, session: Session, *, refused: str = "") -> HTMLResponse:
        """One decision, with what this person did about it, or why their answer was refused."""
        return self.page(
            "ask.html",
            "ask",
            ask.title,
            session,
            409 if refused else 200,
            ask=ask,
            notice=notice_of(ask, session.person.name),
            refused=refused,
        )

    def prove_page(self, what: str, back: str, session: Session, why: str) -> HTMLResponse:
        """How to sign in again and come back. what: is decided there; back: an address of ours."""
        sign_on = self.sign_on.says if self.sign_on else ""
        return self.page(
            "step_up.html", "error", "Sign in again", session, 403,
            what=what, back=back, why=why, sign_on=sign_on,
        )  # fmt: skip

    def give_cookie(self, answer: Response, secret: str) -> None:
        """Signed in: for this host alone, no script reads it, no other site sends it."""
        answer.set_cookie(
            self.place.cookie,
            secret,
            max_age=int(self.sessions.spans.absolute_s),
            httponly=True,
            samesite="strict",
            secure=self.place.https,
            path="/",
        )

    def answer(
        self, ask: Ask, session: Session, given: Answer, fields: dict[str, str], door: str = "web"
    ) -> Ask:
        """Hand an answer to the desk. Raises ProveAgain, and Refused: the name was not typed, the
        readings are too old to approve on, or the desk's own reason. Nothing is recorded then."""
        if given is Answer.APPROVE and ask.status.state == "waiting":
            if ask.typed_name and not self.sessions.fresh(session):
                raise ProveAgain(self.sessions.spans.step_up_s)
            if ask.typed_name and fields.get("typed", "").strip() != ask.typed_name:
                raise Refused(f"To approve, type {ask.typed_name} exactly. Nothing was recorded.")
            if stale := stale_because(self.desk.board()):
                raise Refused(f"{stale}. Nothing was recorded.")
        return self.desk.answer(
            ask.id,
            given,
            session.person,
            digest=fields.get("digest", ""),
            nonce=fields.get("nonce", ""),
            reason=fields.get("reason", "").strip(),
            door=door,
        )

    def lift(self, found: Liftable, session: Session, fields: dict[str, str]) -> str:
        """Break the glass on one proposal. Raises ProveAgain, and Refused: it is not what was
        shown, the readings are too old to act on, or the desk's own reason."""
        if not self.sessions.fresh(session):
            raise ProveAgain(self.sessions.spans.step_up_s, "This lifts a rule")
        if fields.get("shown", "") != found.digest:
            raise Refused("What you saw is not what stands in the way now. Read it again.")
        if stale := stale_because(self.desk.board()):
            stale = stale.removeprefix("Approve is off: ")
            raise Refused(f"Nothing is lifted now: {stale}. Nothing was recorded.")
        return self.desk.break_glass(found.proposal, session.person, fields.get("reason", ""))

    def turn_dial(self, session: Session, level: Autonomy) -> None:
        """Down is free to all, up is not: 403 without the role."""
        wider = DIAL.index(level) > DIAL.index(self.desk.board().orders.autonomy)
        if wider and Role.OPERATOR not in session.person.roles:
            raise HTTPException(
                403, "To turn the dial up needs the role operator. Down, everybody may."
            )
        self.desk.set_autonomy(session.person, level)


def notice_of(ask: Ask, name: str) -> str:
    """What is recorded of this person's answer; read from the record, never from the address."""
    mine = next((a for a in ask.approvals if a.person == name), None)
    if mine is not None:
        count = f" {len(ask.approvals)} of {ask.needs} approved." if ask.needs > 1 else ""
        return f"You approved this at {mine.at:%H:%M:%S} UTC. It is in the journal.{count}"
    words = {"denied": "You denied this", "not_now": "You said not now"}
    if ask.status.by == name and ask.status.state in words and ask.status.at is not None:
        at = f"{ask.status.at:%H:%M:%S}"
        return f"{words[ask.status.state]} at {at} UTC. It is in the journal."
    return ""
