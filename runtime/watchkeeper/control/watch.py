"""The watch: everything that one turn needs, in one place, and the little it remembers itself.

What must survive a restart is in the record; the fields at the end are conveniences that a
restart may lose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from watchkeeper.capacity.meter import Meter
from watchkeeper.control.books import Books
from watchkeeper.control.execute import Executor
from watchkeeper.control.hush import Held
from watchkeeper.control.look import Looker
from watchkeeper.control.papers import File
from watchkeeper.control.record import Record
from watchkeeper.control.tell import Teller
from watchkeeper.control.traces import Traces
from watchkeeper.core.clock import Clock, Ids
from watchkeeper.core.cluster import ClusterState, World
from watchkeeper.core.crew import Crew, PastStep, StepResult
from watchkeeper.core.errors import Problem
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.incident import Incident
from watchkeeper.core.model import Scored
from watchkeeper.core.ports import Mirror, Rehearsal, StopFile
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.views import TrustView
from watchkeeper.health.book import Book
from watchkeeper.health.sense import SenseSettings, Sightings
from watchkeeper.policy.model import CheckedPolicy

if TYPE_CHECKING:
    from watchkeeper.control.amend import Request
    from watchkeeper.control.regret import Stretch
    from watchkeeper.control.reserving import Wish
    from watchkeeper.control.serving import Measured


class PolicyShelf(Protocol):
    """Where the policy comes from; keeps the last good set."""

    def current(self) -> CheckedPolicy | None:
        """The set in force, or None: then nothing is allowed."""
        ...

    def tests(self) -> Mapping[str, str]:
        """The tests beside the orders: file name -> text. Raises UsageError, PolicyError."""
        ...

    def changed(self, at: datetime) -> tuple[CheckedPolicy | None, tuple[Problem, ...]] | None:
        """Load anew if the files changed since the last call: the set now in force and the
        problems that kept a newer one out. None when nothing changed."""
        ...


class Forecaster(Protocol):
    """Makes forecasts off the turn's thread."""

    def collect(self, state: ClusterState, at: datetime) -> tuple[Forecast, ...]:
        """Forecasts that became ready; starts new ones when they are due. Never blocks."""
        ...


@dataclass
class Watch:
    """One watch over one cluster."""

    record: Record
    looker: Looker
    crew: Crew
    executor: Executor
    teller: Teller
    mirror: Mirror
    stop: StopFile
    policies: PolicyShelf
    forecaster: Forecaster
    clock: Clock
    ids: Ids
    world: World
    sense: SenseSettings
    console_url: str = ""
    meter: Meter | None = None
    rehearsal: Rehearsal | None = None
    """Plays each step of a model in the twin before it is proposed; None: none is played."""
    believed: Callable[[Books, float], tuple[TrustView, ...]] = lambda _books, _now: ()
    """How far models are believed, for the page; now in steady seconds."""

    latest: Snapshot | None = None
    sightings: Sightings = field(default_factory=Sightings)
    book: Book = field(default_factory=lambda: Book(()))
    """The correlator's, of the turn before."""
    amendments: list[Request] = field(default_factory=list)
    """Changes of questions that doors left for the turn; guarded by the record's lock."""
    wishes: list[Wish] = field(default_factory=list)
    """Reservations that people asked for at a door; guarded by the record's lock."""
    traces: Traces = field(default_factory=Traces)
    told_results: list[StepResult] = field(default_factory=list)
    delivered: set[str] = field(default_factory=set)
    asked_in_halt: frozenset[str] = frozenset()
    """Threads that the crew was asked about since the watch halted; each is asked about once."""
    all_delivered_at: int = -1
    """`books.files.changes` at which every result had been handed to the crew."""
    down_of: tuple[int, dict[str, frozenset[str]]] = (-1, {})
    """(changes of incidents, the domains that were down then and what that explains)."""
    history_of: tuple[tuple[int, int], dict[str, tuple[StepResult, ...]]] = ((-1, -1), {})
    """(changes of files and incidents, the crew's history then)."""
    repairs_of: tuple[int, float, dict[str, frozenset[str]]] = (-1, 0.0, {})
    """(changes of files, steady seconds until which it holds, each node's repairs of 7 days)."""
    denied_of: tuple[int, float, dict[tuple[str, str], str]] = (-1, 0.0, {})
    """(changes of files, steady seconds until which it holds, what people said no to of late)."""
    past_of: tuple[tuple[int, int, datetime | None], float, tuple[PastStep, ...]] = (
        (-1, -1, None),
        0.0,
        (),
    )
    """(changes of files and incidents, and the last resume; steady seconds until which it holds;
    the disruptive steps of the last day)."""
    scores_of: tuple[tuple[int, int, int], tuple[Scored, ...]] = ((-1, -1, -1), ())
    """(changes of files and incidents, calls of models; what those said, held against it)."""
    results: dict[str, tuple[File, StepResult]] = field(default_factory=dict)
    last_thought: dict[str, str] = field(default_factory=dict)
    held: Held = field(default_factory=Held)
    demand_recorded_at: float = -1e9
    stretches: dict[str, Stretch] = field(default_factory=dict)
    """Pool -> what is counted since its plan was made; see `regret`."""
    served: dict[str, Measured] = field(default_factory=dict)
    """Deployment -> its minutes; see `serving`."""
    review_s: float = 3600.0
    """After so long a plan is held against what was needed."""
    blind_since: float | None = None
    copied: bool = False
    copied_at: tuple[int, int] = (-1, -1)
    encoded: dict[str, tuple[Incident, bytes]] = field(default_factory=dict)
    """The newest incidents as the readers' copy has them."""
    published: tuple[int, str] | None = None

    @property
    def serves(self) -> frozenset[str]:
        """Kinds of action that a provider serves here."""
        return frozenset(self.executor.actuators)
