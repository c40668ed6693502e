"""Puts a whole watch together over ports that are handed in: the real turn, gate, executor, books
and journal, on a folder of its own. The evals ask; nothing here stands in for what is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from watchkeeper.adapters.journal_file import FileJournal
from watchkeeper.adapters.stop_file import FileStop
from watchkeeper.app.twin_parts import NoMirror
from watchkeeper.control.execute import Executor
from watchkeeper.control.look import Looker
from watchkeeper.control.record import Record
from watchkeeper.control.tell import Teller
from watchkeeper.control.watch import Watch
from watchkeeper.core.clock import Clock, Ids
from watchkeeper.core.cluster import ClusterState, World
from watchkeeper.core.crew import Briefing, Crew, CrewReply
from watchkeeper.core.errors import Problem
from watchkeeper.core.event import Kind
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.ports import Actuator, ClusterReader, Mirror, TelemetrySource
from watchkeeper.core.verdict import Autonomy
from watchkeeper.health.sense import LAB, SenseSettings
from watchkeeper.policy.model import CheckedPolicy


class Pages:
    """Meets `Notifier`: remembers every page and ticket, each key once. Wakes nobody."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        self.tickets: dict[str, str] = {}

    def page(self, key: str, title: str, body: str) -> bool:  # noqa: ARG002  the port's words
        return self.pages.setdefault(key, title) is title

    def ticket(self, key: str, title: str, body: str) -> bool:  # noqa: ARG002  the port's words
        return self.tickets.setdefault(key, title) is title

    def settle(self, key: str, title: str, body: str) -> bool:  # noqa: ARG002  the port's words
        return True


class OneSet:
    """Meets `PolicyShelf`: one set of orders that never changes."""

    def __init__(self, policy: CheckedPolicy) -> None:
        self._policy = policy
        self._announced = False

    def current(self) -> CheckedPolicy | None:
        return self._policy

    def tests(self) -> Mapping[str, str]:
        return {}

    def changed(
        self,
        at: datetime,  # noqa: ARG002  the port's words
    ) -> tuple[CheckedPolicy | None, tuple[Problem, ...]] | None:
        first, self._announced = not self._announced, True
        return (self._policy, ()) if first else None


class NoForecasts:
    """Meets `Forecaster`: makes none."""

    def collect(self, state: ClusterState, at: datetime) -> tuple[Forecast, ...]:  # noqa: ARG002
        return ()


class Silent:
    """Meets `Crew`: asks for nothing, so that what is asked for is the eval's alone."""

    def ask(self, briefing: Briefing) -> CrewReply:  # noqa: ARG002  the port's words
        return CrewReply()


def staged(
    home: Path,
    *,
    clock: Clock,
    ids: Ids,
    reader: ClusterReader,
    telemetry: TelemetrySource,
    actuators: Mapping[str, Actuator],
    policy: CheckedPolicy,
    crew: Crew,
    world: World,
    mirror: Mirror | None = None,
    sense: SenseSettings = LAB,
    autonomy: Autonomy = Autonomy.AUTO,
) -> Watch:
    """A watch whose journal and stop latch lie in `home`; the dial stands at `autonomy`. The
    caller closes it with `close`."""
    record = Record(FileJournal(home / "journal", clock))
    looker = Looker(reader, telemetry, clock)
    shelf = OneSet(policy)
    stop = FileStop(home / "STOP", clock)
    executor = Executor(
        record=record,
        actuators=actuators,
        stop=stop,
        look=looker.look,
        policy=shelf.current,
        clock=clock,
    )
    watch = Watch(
        record=record,
        looker=looker,
        crew=crew,
        executor=executor,
        teller=Teller(Pages(), record),
        mirror=mirror or NoMirror(),
        stop=stop,
        policies=shelf,
        forecaster=NoForecasts(),
        clock=clock,
        ids=ids,
        world=world,
        sense=sense,
    )
    record.write(Kind.AUTONOMY, by="eval", level=autonomy.value)
    return watch


def journal_of(watch: Watch) -> FileJournal:
    """The journal of a staged watch, as the file that it is."""
    journal = watch.record.journal
    assert isinstance(journal, FileJournal)
    return journal


def close(watch: Watch) -> None:
    """End it: its journal is made durable and let go."""
    journal_of(watch).close()
