"""The live stream: journal lines as they are written, and the state line, as server-sent events.

One thread waits on the desk for all open pages together; a page that was away goes on after the
last line it saw.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Depends, Header, Query
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from watchkeeper.console.house import House
from watchkeeper.console.pages import stale_because
from watchkeeper.console.sessions import Session
from watchkeeper.console.signatures import signatures, waits_key

MAX_STREAMS = 32
SLICE_S = 5.0
"""How long one wait on the desk lasts; also how often the ages on the state line are drawn anew."""
PING_S = 15
LINES_AT_ONCE = 200


class Pulse:
    """Shares one blocking wait among all streams of one event loop."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._task: asyncio.Task[int] | None = None
        self._from = 0

    async def after(self, seen: int) -> int:
        """The newest sequence number, once it is later than `seen` or SLICE_S have passed."""
        task = self._task
        loop = asyncio.get_running_loop()
        if task is None or task.done() or task.get_loop() is not loop:
            self._from = seen
            task = self._task = loop.create_task(self._wait(seen))
        elif self._from > seen:
            return self._from  # others wait for later news already: there is some for this one
        return await asyncio.shield(task)

    async def _wait(self, seen: int) -> int:
        # A thread of its own: streams never use up those that serve pages and answers.
        return await anyio.to_thread.run_sync(
            self._house.desk.wait,
            seen,
            SLICE_S,
            abandon_on_cancel=True,
            limiter=anyio.CapacityLimiter(1),
        )


class Streams:
    """The open streams: counted, bounded, each ended with its session."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._pulse = Pulse(house)
        self.open = 0

    def response(self, session: Session, after: int) -> EventSourceResponse:
        """A stream of what came later than `after`; refused with 503 when MAX_STREAMS are open."""
        return _Counted(self, self._events(session, after))

    async def _events(self, session: Session, after: int) -> AsyncIterator[ServerSentEvent]:
        sent, seen = after, after
        told: dict[str, Any] = {}
        while self._house.sessions.alive(session):
            for seq, html in await run_in_threadpool(self._lines, sent):
                yield ServerSentEvent(data=html, event="line", id=str(seq))
                sent = seq
            newest, state = await run_in_threadpool(self._state)
            seen = max(seen, newest)
            if state != {**told, "newest": newest}:
                told = state
                yield ServerSentEvent(data=json.dumps(state), event="state")
            seen = max(seen, await self._pulse.after(seen))
        yield ServerSentEvent(data="The session has ended.", event="end")

    def _lines(self, sent: int) -> list[tuple[int, str]]:
        lines = self._house.desk.log(sent, LINES_AT_ONCE)
        return [(line.seq, self._house.pages.line(line)) for line in lines]

    def _state(self) -> tuple[int, dict[str, Any]]:
        board = self._house.desk.board()
        newest = board.health.journal_seq
        html = self._house.pages.state(board)
        return newest, {
            "html": html,
            "waiting": len(board.waiting),
            "asks": signatures(board),
            "waits": waits_key(board),
            "stale": bool(stale_because(board)),
            "newest": newest,
        }


class _Counted(EventSourceResponse):
    """Gives its place back however it ends."""

    def __init__(self, streams: Streams, content: AsyncIterator[ServerSentEvent]) -> None:
        super().__init__(content, ping=PING_S)
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._streams.open >= MAX_STREAMS:
            raise HTTPException(503, f"{MAX_STREAMS} pages listen already.", {"retry-after": "30"})
        self._streams.open += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.open -= 1


def event_routes(house: House, streams: Streams) -> APIRouter:
    """GET /events."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/events")
    async def events(
        session: Annotated[Session, Depends(house.doorkeeper.session)],
        after: Annotated[int, Query(ge=0, le=2**53)] = 0,
        last_event_id: Annotated[str, Header(max_length=20)] = "",
    ) -> EventSourceResponse:
        if last_event_id.isdigit():
            after = int(last_event_id)  # what the browser saw last goes before the address
        return streams.response(session, after)

    return routes
