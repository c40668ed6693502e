"""The live stream: journal lines as they are written, and the state line, as server-sent events.

What is sent is drawn once for all (`broadcast`). A page that was away goes on after the last line
it saw; one that missed more than is kept is told so. Each look asks again who listens.
"""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from watchkeeper.console.broadcast import Beat, Broadcast, Drawn
from watchkeeper.console.house import House
from watchkeeper.console.sessions import Session

MAX_STREAMS = 256
MAX_OF_ONE = 64
"""Streams of one person: their open pages never keep another person out."""

PING_S = 15
SEND_S = 30.0
"""A client that takes nothing for so long is gone; what waits for it is let go."""

LINES_AT_ONCE = 200
MAX_BEHIND = 2000
"""Events that a page may have missed and still be told each line of; the desk keeps as many lines.
At one event a second, which is a busy night, this is half an hour without a network."""

GAP = "More happened than is kept for a page that was away. Load the page again."


class Streams:
    """The open streams: counted, bounded, each ended with its session."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._broadcast = Broadcast(house)
        self._open: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """How many listen now."""
        return self._open.total()

    def response(self, session: Session, after: int) -> EventSourceResponse:
        """A stream of what came later than `after`; refused with 503 when there are too many."""
        return _Counted(self, session, self._events(session, after))

    def enter(self, person: str) -> None:
        """One more of this person. Raises 503."""
        if self.open >= MAX_STREAMS or self._open[person] >= MAX_OF_ONE:
            whose = "listen already" if self.open >= MAX_STREAMS else f"of {person} listen already"
            raise HTTPException(503, f"{self._open[person]} pages {whose}.", {"retry-after": "30"})
        self._open[person] += 1
        self._broadcast.join()

    def leave(self, person: str) -> None:
        self._open[person] -= 1
        if self._open[person] <= 0:
            del self._open[person]
        self._broadcast.leave()

    async def _events(self, session: Session, after: int) -> AsyncIterator[ServerSentEvent]:
        sent, told, waits = after, "", ""
        beat = await self._broadcast.after(0)
        if after and (beat.newest - after > MAX_BEHIND or await self._unknown(after, beat)):
            sent = beat.newest
            yield ServerSentEvent(data=GAP, event="gap", id=str(sent))
        while self._house.doorkeeper.live(session):
            async for seq, html in self._missed(sent, beat):
                yield ServerSentEvent(data=html, event="line", id=str(seq))
                sent = seq
            if beat.same != told:
                state = beat.state if beat.waits != waits else beat.state_again
                told, waits = beat.same, beat.waits
                yield ServerSentEvent(data=state, event="state")
            beat = await self._broadcast.after(beat.number)
        yield ServerSentEvent(data="The session has ended.", event="end")

    async def _unknown(self, after: int, beat: Beat) -> bool:
        """Did the page see a line that this journal does not have? It is another's, then."""
        if after <= beat.newest:
            return False
        health = await run_in_threadpool(self._house.desk.health)
        return after > health.journal_seq

    async def _missed(self, sent: int, beat: Beat) -> AsyncIterator[Drawn]:
        """Lines of the beat that come after `sent`; those before its first are drawn for this
        stream alone."""
        while sent and sent < beat.covers:
            drawn = await run_in_threadpool(self._before, sent, beat.covers)
            if not drawn:
                break
            for line in drawn:
                yield line
                sent = line[0]
        for line in beat.lines:
            if line[0] > sent:
                yield line

    def _before(self, sent: int, covers: int) -> list[Drawn]:
        found = self._house.desk.log(sent, LINES_AT_ONCE)
        return self._broadcast.draw(tuple(line for line in found if line.seq <= covers))


class _Counted(EventSourceResponse):
    """Gives its place back however it ends."""

    def __init__(
        self, streams: Streams, session: Session, content: AsyncIterator[ServerSentEvent]
    ) -> None:
        super().__init__(content, ping=PING_S, send_timeout=SEND_S)
        self._streams = streams
        self._person = session.person.name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._streams.enter(self._person)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.leave(self._person)


def event_routes(house: House, streams: Streams) -> APIRouter:
    """GET /events."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/events")
    async def events(
        session: Annotated[Session, Depends(house.doorkeeper.session)],
        after: Annotated[int, Query(ge=0, le=2**53)] = 0,
        last_event_id: Annotated[str, Header(max_length=20)] = "",
    ) -> EventSourceResponse:
        if last_event_id.isascii() and last_event_id.isdigit():
            after = int(last_event_id)  # what the browser saw last goes before the address
        return streams.response(session, after)

    return routes
