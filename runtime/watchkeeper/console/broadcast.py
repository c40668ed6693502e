"""What all open pages are told, drawn once for all of them: each beat has the newest lines of the
log and the state line. One thread waits on the desk for everybody, and rests when nobody listens.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import Any

import anyio.to_thread

from watchkeeper.console.house import House
from watchkeeper.console.pages import stale_because
from watchkeeper.console.signatures import signatures, waits_key
from watchkeeper.core.desk import LogLine

log = logging.getLogger("watchkeeper.console")

SLICE_S = 5.0
"""How long one wait on the desk lasts; also how often the ages on the state line are drawn anew."""

RING = 400
"""Lines kept drawn: who was away for longer is drawn for alone."""

Drawn = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Beat:
    """What is true at one moment, as it is sent. newest: the journal's last number. lines: the
    newest of the log, oldest first. covers: every line later than this number is in `lines`.
    state: JSON; state_again: the same without what only changes with the questions, whose key is
    `waits`. same: equal as long as an open page would show the same."""

    number: int
    newest: int
    lines: tuple[Drawn, ...]
    covers: int
    state: str
    state_again: str
    waits: str
    same: str


class Broadcast:
    """Beats, for the streams of one event loop."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._next: asyncio.Future[Beat] | None = None
        self._beat: Beat | None = None
        self._listeners = 0

    def join(self) -> None:
        """One more listens."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._task, self._beat, self._listeners = loop, None, None, 0
        self._listeners += 1
        if self._task is None or self._task.done():
            self._beat, self._next = None, loop.create_future()
            self._task = loop.create_task(self._run())

    def leave(self) -> None:
        """One less; with the last one the thread may rest."""
        self._listeners -= 1
        if self._listeners <= 0 and self._task is not None:
            self._task.cancel()
            self._task = None

    async def after(self, number: int) -> Beat:
        """A beat later than this one, the newest there is. Raises what the desk raised."""
        while self._beat is None or self._beat.number <= number:
            assert self._next is not None
            await asyncio.shield(self._next)
        return self._beat

    async def _run(self) -> None:
        assert self._next is not None
        number = 0
        while True:
            try:
                number += 1
                beat = await self._apart(self._draw, number, self._beat)
            except Exception as err:
                log.error("the live stream failed", exc_info=err)
                self._next.set_exception(err)
                self._next.exception()  # seen, also where nobody waits for it
                return
            self._beat, done = beat, self._next
            self._next = asyncio.get_running_loop().create_future()
            done.set_result(beat)
            await self._apart(self._house.desk.wait, beat.newest, SLICE_S)

    async def _apart(self, call: Any, *args: Any) -> Any:
        # A thread of its own: streams never use up those that serve pages and answers.
        return await anyio.to_thread.run_sync(
            call, *args, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
        )

    def draw(self, lines: tuple[LogLine, ...]) -> list[Drawn]:
        """Lines as they are sent."""
        return [(line.seq, self._house.pages.line(line)) for line in lines]

    def _draw(self, number: int, before: Beat | None) -> Beat:
        house = self._house
        if before is None:
            found = house.desk.log(limit=RING)
            lines = tuple(self.draw(found))
            covers = lines[0][0] - 1 if len(lines) == RING else 0
        else:
            last = before.lines[-1][0] if before.lines else before.covers
            new = house.desk.log(last, RING) if last else house.desk.log(limit=RING)
            lines = (*before.lines, *self.draw(new))[-RING:]
            dropped = len(before.lines) + len(new) - RING
            covers = lines[0][0] - 1 if dropped > 0 else before.covers
        board = house.desk.board()
        waits = waits_key(board)
        told = {
            "html": house.pages.state(board),
            "waiting": len(board.waiting),
            "waits": waits,
            "stale": bool(stale_because(board)),
        }
        now = {**told, "newest": board.health.journal_seq}
        return Beat(
            number=number,
            newest=board.health.journal_seq,
            lines=lines,
            covers=covers,
            state=json.dumps({**now, "asks": signatures(board)}),
            state_again=json.dumps(now),
            waits=waits,
            same=json.dumps(told),
        )
