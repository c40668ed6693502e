"""The whole real watch over a twin: crew, gate, executor, journal, policy, desk; no Ray, no Redis.

Only what lies behind the ports is made up: cluster, telemetry, pager, mirror. Built by `twin_run`
for measurements; `up --twin` builds its watch in `wiring`, like every other world.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from watchkeeper.adapters.journal_file import FileJournal
from watchkeeper.adapters.stop_file import FileStop
from watchkeeper.app.twin_assert import Asserting, Ledger
from watchkeeper.control.desk import WatchDesk
from watchkeeper.control.execute import Executor
from watchkeeper.control.look import Looker
from watchkeeper.control.policy_shelf import Shelf, Source
from watchkeeper.control.record import Record
from watchkeeper.control.tell import Teller
from watchkeeper.control.watch import Watch
from watchkeeper.core.cluster import ClusterState, World
from watchkeeper.core.crew import Crew
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.floors import Floors
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.verdict import Autonomy
from watchkeeper.health.sense import REAL, SenseSettings
from watchkeeper.twin.cluster import TwinCluster
from watchkeeper.twin.memory import CountingIds
from watchkeeper_agents.crew import LangGraphCrew
from watchkeeper_agents.words import CrewSettings

Boundary = Callable[[str], None]
"""Told where the watch could die now: `journal.before:KIND`, `journal.after:KIND`,
`effect.before`, `effect.after`. May raise `Crash`."""


TWIN_CREW = CrewSettings(recheck_s=30.0, denied_s=1800.0)
"""The real crew at the twin's pace, whose turns are 10 s apart: a waiting thread thinks again
every 30 s, not 5, and asks again for what was refused every 30 min, not 5, where nothing
changed."""


class Crash(BaseException):
    """The watch's process is killed here. Not an Exception: nothing in it may survive it."""


class QuickJournal(FileJournal):
    """The real journal, chain and all, without the wait for the disk: a run that is lost with its
    machine is played again."""

    boundary: Boundary = staticmethod(lambda _where: None)

    def _sync(self, head: tuple[int, str]) -> None:
        """Nothing to wait for."""

    def append(
        self, kind: Kind, subject: tuple[str, ...], data: dict[str, Any], *, durable: bool = False
    ) -> Event:
        self.boundary(f"journal.before:{kind.value}")
        event = super().append(kind, subject, data, durable=durable)
        self.boundary(f"journal.after:{kind.value}")
        return event


@dataclass
class TwinPager:
    """Counts pages and tickets; once for each key, like the real one."""

    pages: list[tuple[str, str]] = field(default_factory=list)
    tickets: list[tuple[str, str]] = field(default_factory=list)
    _told: set[str] = field(default_factory=set)

    def page(self, key: str, title: str, body: str) -> bool:  # noqa: ARG002  the port's shape
        return self._tell(self.pages, key, title)

    def ticket(self, key: str, title: str, body: str) -> bool:  # noqa: ARG002  the port's shape
        return self._tell(self.tickets, key, title)

    def settle(self, key: str, title: str, body: str) -> bool:  # noqa: ARG002  the port's shape
        return True

    def _tell(self, told: list[tuple[str, str]], key: str, title: str) -> bool:
        if key in self._told:
            return False
        self._told.add(key)
        told.append((key, title))
        return True


class NoMirror:
    """Copies for readers, where nobody reads."""

    def lost(self) -> bool:
        return False

    def publish(self, name: str, value: bytes) -> None:
        pass

    def publish_event(self, event: Event) -> None:
        pass

    def record_demand(self, state: ClusterState) -> None:
        pass

    def demand_series(self, pool: str) -> list[tuple[float, float, float]]:  # noqa: ARG002
        return []

    def served(self, name: str) -> list[tuple[float, ...]]:  # noqa: ARG002
        return []


class NoForecasts:
    """Forecasts are made off the turn's thread, and so at no set time of the twin: left out."""

    def collect(self, state: ClusterState, at: datetime) -> tuple[Forecast, ...]:  # noqa: ARG002
        return ()


@dataclass
class Parts:
    """A watch over a twin, put together, and what a driver must hold of it."""

    cluster: TwinCluster
    watch: Watch
    desk: WatchDesk
    journal: QuickJournal
    pager: TwinPager
    guard: Asserting
    ids: CountingIds

    def close(self) -> None:
        self.journal.close()


def put_together(
    cluster: TwinCluster,
    orders: Mapping[str, str],
    home: Path,
    *,
    crew: Crew | None = None,
    sense: SenseSettings = REAL,
    autonomy: Autonomy = Autonomy.AUTO,
    pager: TwinPager | None = None,
    ledger: Ledger | None = None,
    boundary: Boundary | None = None,
) -> Parts:
    """The real watch over this twin, under these orders (file name -> text; none: it observes).

    home: a folder for journal and latch; a second call with the same folder, pager and ledger is a
    restart. Raises PolicyError when the orders do not load.
    """
    clock = cluster.clock
    journal = QuickJournal(home / "journal", clock)
    record = Record(journal)
    ids = CountingIds()
    for prefix, number in record.books.ids.items():
        ids.resume(prefix, number)
    stop = FileStop(home / "STOP", clock)
    looker = Looker(cluster, cluster.telemetry(), clock)
    files = dict(orders)
    source = Source(lambda: (files, {}), lambda: "") if files else None
    shelf = Shelf(source, clock.policy_now(), record.books.policy_files)
    guard = Asserting(cluster, record, stop, ledger or Ledger())
    guard.floors = lambda: policy.floors if (policy := shelf.current()) else Floors()
    pager = pager or TwinPager()
    watch = Watch(
        record=record,
        looker=looker,
        crew=crew if crew is not None else LangGraphCrew(settings=TWIN_CREW),
        executor=Executor(
            record=record,
            actuators=dict.fromkeys(sorted(guard.serves), guard),
            stop=stop,
            look=looker.look,
            policy=shelf.current,
            clock=clock,
        ),
        teller=Teller(pager, record),
        mirror=NoMirror(),
        stop=stop,
        policies=shelf,
        forecaster=NoForecasts(),
        clock=clock,
        ids=ids,
        world=World.TWIN,
        sense=sense,
    )
    desk = WatchDesk(
        watch,
        waiter=journal,
        wake=lambda: None,
        answerer=lambda *_: "",
        redis_name="none (twin)",
    )
    if boundary is not None:
        journal.boundary = guard.boundary = boundary
    level = autonomy if files else Autonomy.OBSERVE
    if record.books.orders.autonomy is not level:
        record.write(Kind.AUTONOMY, by="twin", level=level.value, durable=True)
    return Parts(cluster, watch, desk, journal, pager, guard, ids)
