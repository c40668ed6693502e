"""Promises of the queue, over days that nobody chose: nobody is lost, nobody is over its limit, and
a gang that was promised nodes has them by then."""

from __future__ import annotations

import heapq

from hypothesis import given, settings
from hypothesis import strategies as st

from watchkeeper.placement.engine import Engine
from watchkeeper.placement.fleet import Fleet, Machine
from watchkeeper.placement.queue import Queue
from watchkeeper.placement.share import Quota, Shares
from watchkeeper.placement.words import Gang, Piece

NODES = 5
TENANTS = ("red", "blue")
LIMIT = 24.0

arrivals = st.lists(
    st.tuples(
        st.integers(0, 3000),  # when it comes
        st.sampled_from((1, 4, 8)),  # GPUs of a worker
        st.integers(1, 6),  # workers
        st.integers(0, 3),  # fewer that would do
        st.integers(60, 4000),  # how long it runs
        st.sampled_from(TENANTS),
        st.integers(0, 1),  # priority
        st.booleans(),  # does anybody say how long
    ),
    min_size=1,
    max_size=14,
)


def fleet() -> Fleet:
    return Fleet(Machine(f"n{n}", gpus=8, rack=f"r{n % 2}") for n in range(NODES))


class Day:
    """Plays arrivals to their end; estimates are exact where they are given."""

    def __init__(self, queue: Queue, gangs: list[tuple[float, Gang, float]]) -> None:
        self.queue, self.gangs = queue, sorted(gangs, key=lambda g: (g[0], g[1].name))
        self.runs = {gang.name: runs for _, gang, runs in gangs}
        self.promised: dict[str, float] = {}
        self.began: dict[str, float] = {}

    def play(self) -> None:
        ends: list[tuple[float, str]] = []
        coming = list(self.gangs)
        while coming or ends:
            now = min([at for at, *_ in coming[:1]] + [at for at, _ in ends[:1]])
            while ends and ends[0][0] <= now:
                self.queue.finish(heapq.heappop(ends)[1], now)
            while coming and coming[0][0] <= now:
                self.queue.add(coming.pop(0)[1], now)
            for placement in self.queue.admit(now):
                name = placement.gang.name
                self.began[name] = now
                heapq.heappush(ends, (now + self.runs[name], name))
            if self.queue.reservation is not None:
                kept = self.queue.reservation
                self.promised.setdefault(kept.gang.name, kept.at)
            self.check()

    def check(self) -> None:
        queue = self.queue
        assert not queue.waiting.keys() & queue.running.keys()
        assert queue.running.keys() == queue.engine.placed.keys()
        for name, run in queue.running.items():
            assert run.placement is queue.engine.placed[name]
        for tenant in TENANTS:
            held = [r.placement.gpus for r in queue.running.values()
                    if r.placement.gang.tenant == tenant]  # fmt: skip
            assert abs(queue.shares.held(tenant) - sum(held)) < 1e-6
            assert sum(held) <= (queue.shares.quota(tenant).most or float("inf"))
        if queue.reservation is not None:
            assert queue.reservation.gang.name in queue.waiting


@given(drawn=arrivals)
@settings(max_examples=60, deadline=None)
def test_everybody_who_fits_runs_once_and_no_tenant_is_over_its_limit(
    drawn: list[tuple[int, int, int, int, int, str, int, bool]],
) -> None:
    shares = Shares([Quota("red", 8.0, most=LIMIT), Quota("blue", 16.0)])
    queue = Queue(Engine(fleet()), shares)
    gangs = [
        (float(at), Gang(f"g{n}", Piece(gpus=gpus), count, max(0, count - fewer), tenant=tenant,
                         priority=priority, runtime_s=float(runs) if told else None), float(runs))
        for n, (at, gpus, count, fewer, runs, tenant, priority, told) in enumerate(drawn)
    ]  # fmt: skip
    day = Day(queue, gangs)
    day.play()
    bare = Engine(fleet())
    for _, gang, _ in gangs:
        over = gang.tenant == "red" and gang.floor * gang.piece.gpus > LIMIT
        assert (gang.name in day.began) is (bare.fits(gang) and not over)
    assert queue.engine.fleet.free_milli == NODES * 8 * 1000


@given(drawn=arrivals)
@settings(max_examples=60, deadline=None)
def test_a_gang_has_its_nodes_by_the_time_that_was_promised(
    drawn: list[tuple[int, int, int, int, int, str, int, bool]],
) -> None:
    """With true estimates, and nobody of higher priority."""
    queue = Queue(Engine(fleet()))
    gangs = [
        (float(at), Gang(f"g{n}", Piece(gpus=gpus), count, tenant=tenant, runtime_s=float(runs)),
         float(runs))
        for n, (at, gpus, count, _, runs, tenant, _, _) in enumerate(drawn)
    ]  # fmt: skip
    day = Day(queue, gangs)
    day.play()
    for name, at in day.promised.items():
        assert day.began[name] <= at
