"""Nodes that are kept for a time to come: a file of ours, one JSON object a line, never changed.

It serves `pool.reserve`, and `Keeping` shows what it holds in each reading of the cluster, so that
the line, the pages and the verifier see the same. Ray knows nothing of it.
"""

from __future__ import annotations

import logging
import os
import threading
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from watchkeeper.core.action import PoolReserve, say
from watchkeeper.core.clock import Clock
from watchkeeper.core.cluster import ClusterState, Reserved
from watchkeeper.core.errors import (
    EffectFailed,
    EffectInDoubt,
    JournalBroken,
    LeaseLost,
    UsageError,
)
from watchkeeper.core.ports import ClusterReader, EffectOrder, Receipt

log = logging.getLogger("watchkeeper.reserve")

KNOWN = timedelta(weeks=14)
"""What was over before that is no longer told: demand series reach 13 weeks back."""


class _Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """kept: one reservation, with its order's key and token. ended: the ident of one that somebody
    gave up, at that time."""

    cluster: str
    kept: Reserved | None = None
    key: str = ""
    token: int = 0
    ended: str = ""
    at: datetime | None = None


class ReservationBook:
    """Meets `core.ports.Actuator` for `pool.reserve`. cluster: others' lines are passed over."""

    name = "reservations"
    serves = frozenset({"pool.reserve"})

    def __init__(self, path: Path, cluster: str, clock: Clock) -> None:
        self._path, self._cluster, self._clock = path, cluster, clock
        self._lock = threading.Lock()
        self._kept: dict[str, Reserved] = {}
        self._by_key: dict[str, str] = {}
        self._highest: dict[str, int] = {}
        self._number = 0
        self._torn = False
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
            self._torn = not line.endswith(b"\n")
            try:
                self._take(msgspec.json.decode(line, type=_Line))
            except msgspec.MsgspecError as err:
                log.warning("a line of %s cannot be read and is passed over: %s", path, err)

    def execute(self, order: EffectOrder) -> Receipt:
        """Keep the nodes from then on. Raises EffectFailed, EffectInDoubt, LeaseLost."""
        action = order.action
        if not isinstance(action, PoolReserve):
            raise EffectFailed(f"The reservation book cannot {say(action)}.")
        if order.cluster != self._cluster:
            raise EffectFailed(f"This is {self._cluster}; the order is for {order.cluster}.")
        if action.begin is None or action.until is None:
            raise EffectFailed("Say from when and until when: nothing is kept for ever.")
        with self._lock:
            if (known := self._by_key.get(order.key)) is not None:
                return Receipt(self.name, f"{known} (already done under this key)")
            if order.token < self._highest.get(action.pool, 0):
                raise LeaseLost(f"{action.pool} was reserved under a newer fencing token.")
            if action.until <= self._clock.now():
                raise EffectFailed("That time is over.")
            kept = Reserved(
                ident=f"R{self._number + 1}",
                pool=action.pool,
                nodes=action.nodes,
                begin=action.begin,
                until=action.until,
                tenant=action.tenant,
            )
            line = _Line(cluster=self._cluster, kept=kept, key=order.key, token=order.token)
            try:
                self._append(line)
            except OSError as err:
                raise EffectInDoubt(f"{self._path} may not hold it: {err.strerror}.") from err
            return Receipt(self.name, f"{kept.ident}: {say(action)}.")

    def enforce(self, order: EffectOrder) -> Receipt:
        """There is nothing to enforce. Raises EffectFailed."""
        raise EffectFailed(f"{say(order.action)} has no deadline to enforce.")

    def give_up(self, ident: str) -> Reserved:
        """End one before its time; what it kept is free at once. Raises UsageError for one that is
        not kept now or from a time to come, JournalBroken when it cannot be written."""
        with self._lock:
            now = self._clock.now()
            kept = self._kept.get(ident)
            if kept is None or kept.until <= now:
                open_ = ", ".join(i for i, r in self._kept.items() if r.until > now) or "none"
                raise UsageError(f"There is no reservation {ident[:40]!r}; there is {open_}.")
            try:
                self._append(_Line(cluster=self._cluster, ended=ident, at=now))
            except OSError as err:
                raise JournalBroken(f"{self._path} cannot be written: {err.strerror}.") from err
            return kept

    def known(self) -> tuple[Reserved, ...]:
        """All of the last weeks, those that are over too, soonest first."""
        with self._lock:
            return tuple(sorted(self._kept.values(), key=lambda r: (r.begin, r.ident)))

    def _take(self, line: _Line) -> None:
        if line.cluster != self._cluster:
            return
        if line.kept is not None and line.kept.ident[1:].isdigit():
            self._number = max(self._number, int(line.kept.ident[1:]))
        if (kept := line.kept) is not None and kept.until > self._clock.now() - KNOWN:
            self._kept[kept.ident] = kept
        if line.key and line.kept is not None:
            self._by_key[line.key] = line.kept.ident
            pool = line.kept.pool
            self._highest[pool] = max(line.token, self._highest.get(pool, 0))
        if line.ended in self._kept and line.at is not None:
            kept = self._kept[line.ended]
            self._kept[line.ended] = msgspec.structs.replace(
                kept, begin=min(kept.begin, line.at), until=line.at
            )

    def _append(self, line: _Line) -> None:
        data = msgspec.json.encode(line) + b"\n"
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(fd, b"\n" + data if self._torn else data)
            os.fsync(fd)
        finally:
            os.close(fd)
        self._torn = False
        self._take(line)


class Keeping:
    """A reader that shows what is reserved beside each reading. Meets `ports.ClusterReader`."""

    def __init__(self, reader: ClusterReader, book: ReservationBook, clock: Clock) -> None:
        self._reader, self._book, self._clock = reader, book, clock
        self._each: dict[str, int] = {}

    def read(self) -> ClusterState:
        """Raises ClusterUnavailable."""
        state, known = self._reader.read(), self._book.known()
        if not known:
            return state
        each: dict[str, int] = {}
        for node in state.nodes.values():
            each[node.pool] = max(node.gpus, each.get(node.pool, 0))
        self._each = each  # as a whole: forecasts read it from a thread of their own
        now = self._clock.now()
        return msgspec.structs.replace(state, reserved=tuple(r for r in known if r.until > now))

    def gpus(self, pool: str) -> tuple[tuple[float, float, float], ...]:
        """(from, until, GPUs) of what is and was reserved in a pool, in epoch seconds: as if all of
        it were used."""
        each = self._each.get(pool, 0)
        return tuple(
            (r.begin.timestamp(), r.until.timestamp(), float(r.nodes * each))
            for r in self._book.known()
            if r.pool == pool and each
        )
