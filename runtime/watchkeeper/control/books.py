"""What is true about control, as a fold of the journal: proposals, questions, effects, incidents,
orders, fences. Redis only ever holds copies of it.

`Books.apply` is the only thing that changes it, and it is called with each event, in order, both
when the watch starts and as it goes; so a restart at any point gives the same books.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from watchkeeper.control.acted import Acted
from watchkeeper.control.fair import Month, Used
from watchkeeper.control.filed import Filed
from watchkeeper.control.folding import KEPT_CLOSED, fold
from watchkeeper.control.life import State
from watchkeeper.control.papers import Bar, File, Lift
from watchkeeper.core.event import Event
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.hold import Hold
from watchkeeper.core.incident import Incident
from watchkeeper.core.model import ModelCall
from watchkeeper.core.regret import Regret
from watchkeeper.core.serving import ServePlan
from watchkeeper.core.verdict import Autonomy, Orders


@dataclass
class Books:
    """The fold. Read its fields; change it only through `apply`."""

    orders: Orders = field(default_factory=lambda: Orders(autonomy=Autonomy.OBSERVE))
    halted: str = ""
    halted_by_silence: bool = False
    files: Filed[File] = field(default_factory=lambda: Filed(lambda file: file.busy))
    incidents: Filed[Incident] = field(default_factory=lambda: Filed(lambda i: i.is_open))
    closed_kinds: dict[str, str] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    """What people asked to be left alone, by id, the oldest first."""
    barred: dict[str, Bar] = field(default_factory=dict)
    """Incident -> what keeps its repair from beginning, while a ticket says so."""
    checked: dict[str, str] = field(default_factory=dict)
    lifts: dict[str, Lift] = field(default_factory=dict)
    escalated: set[str] = field(default_factory=set)
    acted: dict[str, None] = field(default_factory=dict)
    drains: dict[str, str] = field(default_factory=dict)
    """Node -> the newest drain of it that ended as failed, worse or in doubt."""
    spent_nonces: set[str] = field(default_factory=set)
    paged: dict[str, float] = field(default_factory=dict)
    calls: list[tuple[float, str, str, str]] = field(default_factory=list)
    """Pages and tickets of the last hour that others than the watch caused: (steady, source, kind
    of event, about); `hush` bounds them."""
    forecasts: dict[str, Forecast] = field(default_factory=dict)
    serving: dict[str, ServePlan] = field(default_factory=dict)
    model_calls: deque[ModelCall] = field(default_factory=lambda: deque(maxlen=KEPT_CLOSED))
    """What models answered of late, oldest first: `trusting` holds it against what came of it."""
    month: Month = field(default_factory=Month, compare=False)
    used: dict[str, Used] = field(default_factory=dict)
    """Tenant -> GPU-seconds held by metering, older ones counting less; see `control.fair`."""
    regrets: dict[str, tuple[Regret, ...]] = field(default_factory=dict)
    """Pool -> its last day's plans against what was needed, oldest first."""
    session: str = ""
    reconciled: bool = False
    back_steady: float | None = None
    """When the watch, or Ray under it, was last back after an outage."""
    heard_steady: float | None = field(default=None, compare=False)
    """Of the newest event."""
    fence_token: int = 0
    policy_version: str = ""
    policy_loaded_at: datetime | None = None
    policy_error: str = ""
    policy_files: dict[str, str] = field(default_factory=dict)
    ids: Counter[str] = field(default_factory=Counter)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    last_answer: str = ""
    resumed_at: datetime | None = None
    incidents_changed: int = 0
    """Counts up with each change of an incident, so that what is derived may be kept till then."""
    ill_counted: tuple[object, int, dict[str, int]] | None = field(default=None, compare=False)
    """The gate's own: (snapshot, incidents_changed, nodes of each pool that fell ill)."""
    newest_opened: tuple[int, datetime | None] = field(default=(-1, None), compare=False)
    """The gate's own: (incidents_changed, when the newest incident opened)."""
    effects: Acted = field(default_factory=Acted, compare=False)
    """The gate's own: the effects of the past, as columns."""
    by_incident: dict[str, list[str]] = field(default_factory=dict)
    """Incident -> ids of its proposals, oldest first."""

    def apply(self, event: Event) -> None:
        """Fold one event in. Kinds that change nothing here are passed over."""
        fold(self, event)
        self.heard_steady = event.steady
        for ident in event.subject:
            prefix, number = _split_id(ident)
            if number > self.ids[prefix]:
                self.ids[prefix] = number

    # What others ask of the books.

    def waiting(self) -> list[File]:
        """Proposals that wait for people, oldest first."""
        return [f for f in self.files.living() if f.state is State.ASKING]

    def cleared(self) -> list[File]:
        """Proposals that may be carried out, oldest first."""
        return [f for f in self.files.living() if f.state is State.CLEARED]

    def in_hand(self) -> list[File]:
        """Effects started and not yet finished."""
        return [f for f in self.files.living() if f.in_hand]

    def cut_short(self) -> list[File]:
        """What a crash left between two lines: made and not judged, or to be asked and not asked.

        Within a turn a Proposal is judged and asked at once, so at its start these are leftovers.
        """
        return [
            f
            for f in self.files.living()
            if (f.state is State.MADE and f.proposal.id not in self.lifts)
            or (f.state is State.ASKING and f.question is None)
        ]

    def lifted(self) -> list[File]:
        """Proposals for which a person broke the glass, to be judged again."""
        return [
            self.files[ident]
            for ident in self.lifts
            if ident in self.files and self.files[ident].state is State.MADE
        ]

    def to_review(self) -> list[Lift]:
        """Uses of break-glass that nobody has reviewed, oldest first."""
        return [lift for lift in self.lifts.values() if not lift.reviewed_by]

    def past(self) -> Iterator[File]:
        """Proposals with an effect that was started, newest first: what the ledger counts. One at
        a time: there are thousands, and who asks seldom looks far back."""
        return (self.files[ident] for ident in reversed(self.acted) if ident in self.files)

    def last_of_thread(self, thread: str) -> File | None:
        """The newest Proposal of one crew thread."""
        return next((f for f in reversed(self.files.values()) if f.thread == thread), None)

    def of_incident(self, incident: str) -> list[File]:
        """Proposals of one incident, oldest first."""
        idents = self.by_incident.get(incident, ())
        return [self.files[ident] for ident in idents if ident in self.files]

    def open_incidents(self) -> tuple[Incident, ...]:
        return tuple(self.incidents.living())


_ID = re.compile(r"([A-Z]+)-(\d+)")


def _split_id(ident: str) -> tuple[str, int]:
    match = _ID.fullmatch(ident)
    return (match[1], int(match[2])) if match else ("", 0)
