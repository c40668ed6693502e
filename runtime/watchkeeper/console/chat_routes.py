"""The chat: ask in plain words, read the answer with links to evidence, find it again. It never
grants: an answer is a line of the log like any other, and the card under it asks policy."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from watchkeeper.console.form_routes import checked_session
from watchkeeper.console.house import House
from watchkeeper.console.sessions import Session
from watchkeeper.core.chat import GOOD_FOR, Card, HandedIn, PolicyDraft
from watchkeeper.core.desk import Desk, LogLine
from watchkeeper.core.errors import Refused
from watchkeeper.core.event import Kind

SEARCHED = 2000
SHOWN = 40
CHAT = "You asked"


def chat_routes(house: House) -> APIRouter:
    """GET /chat and each answer under its own address. Asking is POST /ask; a card's button is POST
    /chat/{seq}/send."""
    routes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    SignedIn = Annotated[Session, Depends(house.doorkeeper.session)]  # noqa: N806
    Checked = Annotated[Session, Depends(checked_session(house))]  # noqa: N806
    desk = house.desk

    def one_page(session: Session, seq: int, refused: str = "", code: int = 200) -> HTMLResponse:
        line = said_at(desk, seq)
        if line is None:
            raise HTTPException(404, f"Line {seq} is no answer of the chat.")
        return house.page(
            "chat.html",
            "chat",
            line.question,
            session,
            code,
            lines=(),
            matches=0,
            find="",
            question="",
            suggestions=desk.suggest(),
            questions=_questions(desk),
            one=line,
            under=under_of(desk, seq, session.person.name),
            refused=refused,
        )

    @routes.get("/chat")
    def chat(
        session: SignedIn,
        find: Annotated[str, Query(max_length=200)] = "",
        question: Annotated[str, Query(max_length=500)] = "",
    ) -> HTMLResponse:
        log = desk.log(limit=SEARCHED)
        lines = found(log, find) if find.strip() else tuple(x for x in log if x.kind == CHAT)
        return house.page(
            "chat.html",
            "chat",
            f"Found: {find}" if find.strip() else "Ask",
            session,
            lines=tuple(reversed(lines))[:SHOWN],
            matches=len(lines),
            find=find.strip(),
            question=question,
            suggestions=desk.suggest(),
            questions=_questions(desk),
            one=None,
            under=None,
            refused="",
        )

    @routes.get("/chat/{seq}")
    def answer(session: SignedIn, seq: int) -> HTMLResponse:
        return one_page(session, seq)

    @routes.post("/chat/{seq}/send")
    def send(session: Checked, seq: int) -> Response:
        try:
            desk.send(session.person, seq)
        except Refused as err:
            return one_page(session, seq, str(err), 409)
        return RedirectResponse(f"/chat/{seq}", 303)

    @routes.get("/chat/{seq}/policy.yaml", dependencies=[Depends(house.doorkeeper.session)])
    def policy(seq: int) -> Response:
        draft = desk.drafted(seq)
        if draft is None:
            raise HTTPException(404, f"No policy was drafted on line {seq}.")
        return Response(
            draft.text,
            media_type="application/yaml",
            headers={"content-disposition": f'attachment; filename="{draft.file}"'},
        )

    return routes


def _questions(desk: Desk) -> tuple[str, ...]:
    """Questions alone are buttons: an order is typed, since some take effect at once."""
    return tuple(text for text in desk.suggest() if text.endswith("?"))


@dataclass(frozen=True, slots=True)
class Under:
    """What stands under an answer: its card with what became of it, or a drafted policy. mine: the
    card is of who looks at it. fresh: it can be sent still."""

    card: Card | None
    handed: tuple[HandedIn, ...]
    draft: PolicyDraft | None
    mine: bool
    fresh: bool


def under_of(desk: Desk, seq: int, name: str) -> Under:
    """Read afresh from the record each time."""
    card = desk.card(seq)
    now = desk.board().at
    return Under(
        card=card,
        handed=desk.handed_in(seq) if card is not None else (),
        draft=desk.drafted(seq),
        mine=card is not None and card.by == name,
        fresh=card is not None and now - card.at <= GOOD_FOR,
    )


def found(log: tuple[LogLine, ...], find: str) -> tuple[LogLine, ...]:
    """Lines that hold every word, whatever their kind, oldest first."""
    words = find.casefold().split()

    def holds(line: LogLine) -> bool:
        text = f"{line.kind} {line.text} {line.question} {line.incident} {line.proposal}".casefold()
        return all(word in text for word in words)

    return tuple(line for line in log if holds(line))


def said_at(desk: Desk, seq: int) -> LogLine | None:
    """One answer, from the journal: it stands there for as long as the journal does."""
    event = next(iter(desk.events(seq - 1, 1)), None) if seq > 1 else None
    if event is None or event.seq != seq or event.kind is not Kind.CHAT:
        return None
    data = event.data
    model = str(data.get("model", ""))
    return LogLine(
        seq=seq,
        at=event.at,
        kind=CHAT,
        tone="you",
        text=str(data.get("answer", "")),
        question=str(data.get("question", "")),
        sources=(f"Worded by {model}" if model else "Answered by rules, no model",),
    )
