"""What control needs of the world. Each port is met by the real thing, by the lab and by the
twin alike; adapters live elsewhere and are built only by `app.wiring`."""

from collections.abc import Collection, Iterator
from typing import Any, Protocol

from watchkeeper.core.action import Action
from watchkeeper.core.cluster import ClusterState
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.proposal import Predicted
from watchkeeper.core.report import EvalCase, Judgement
from watchkeeper.core.telemetry import Snapshot, TelemetryRead
from watchkeeper.core.word import Word


class ClusterReader(Protocol):
    """Reads Ray's own view of the cluster."""

    def read(self) -> ClusterState:
        """One consistent reading. Raises ClusterUnavailable."""
        ...


class TelemetrySource(Protocol):
    """Reads what the collectors wrote."""

    def read(self) -> TelemetryRead:
        """The latest frame and the signals not read before. Raises ClusterUnavailable."""
        ...


class EffectOrder(Word, frozen=True):
    """One effect, as handed to the actuator.

    key: idempotency key; the same key never acts twice. token: fencing token; a provider
    remembers the highest it saw for a target and refuses a lower one (S6). session: the GCS
    session it was decided in; cluster: the cluster id, lab id included. Both are checked (S29).
    """

    action: Action
    key: str
    token: int
    session: str
    cluster: str
    note: str = ""


class Receipt(Word, frozen=True):
    """The provider took the order. Not evidence that it worked: telemetry is."""

    provider: str
    text: str = ""


class Actuator(Protocol):
    """The one place where effects happen, for the kinds of action it serves."""

    @property
    def name(self) -> str: ...

    @property
    def serves(self) -> frozenset[str]:
        """Kinds of action, such as `node.restart`."""
        ...

    def execute(self, order: EffectOrder) -> Receipt:
        """Begin one effect; returns within the action's timeout.

        Raises EffectFailed (nothing happened), EffectInDoubt (it may have), LeaseLost (a newer
        fencing token was seen).
        """
        ...

    def enforce(self, order: EffectOrder) -> Receipt:
        """Finish by force what `execute` began and a deadline has overtaken (a drain: end the
        raylet). Same errors."""
        ...


class Rehearsal(Protocol):
    """Plays a step and its plan in a simulated cluster made from one snapshot."""

    def rehearse(self, snapshot: Snapshot, actions: tuple[Action, ...]) -> Predicted | None:
        """What came of the first action, and how far the rest went; None where the twin cannot
        play that kind. Touches nothing; never raises."""
        ...


class Notifier(Protocol):
    """Pages and tickets. Works when stopped, without Redis and without a journal."""

    def settle(self, key: str, title: str, body: str) -> bool:
        """Say that the ticket of this key needs nobody any more. False when that was said."""
        ...

    def page(self, key: str, title: str, body: str) -> bool:
        """Wake a person. False when `key` was sent already or the rate limit holds it back."""
        ...

    def ticket(self, key: str, title: str, body: str) -> bool:
        """Leave work for a person; same dedup and limit."""
        ...


class JournalStore(Protocol):
    """The record. Single writer; hash-chained; durable when `append` returns with durable=True."""

    def append(
        self, kind: Kind, subject: tuple[str, ...], data: dict[str, Any], *, durable: bool = False
    ) -> Event:
        """Add one line. Raises JournalBroken when it cannot be written: then nothing acts."""
        ...

    def sync(self) -> None:
        """Make everything appended so far durable (one fsync)."""
        ...

    def events(self, after: int = 0) -> Iterator[Event]:
        """Events with seq > after, oldest first."""
        ...

    def about(self, names: Collection[str]) -> Iterator[Event]:
        """Events that name one of these things or a part of one (`INC-3/gangs`), oldest first;
        found without reading the others."""
        ...

    @property
    def head(self) -> tuple[int, str]:
        """Sequence number and hash of the last line."""
        ...


class StopFile(Protocol):
    """The stop latch as a file, looked at immediately before each effect (S4)."""

    def is_set(self) -> bool: ...

    def who(self) -> tuple[str, str]:
        """(by, reason) as written when it was set."""
        ...

    def set(self, by: str, reason: str) -> None: ...

    def clear(self) -> None: ...


class Mirror(Protocol):
    """Copies of control's truth in Redis, for readers. Never read back as truth."""

    def lost(self) -> bool:
        """Redis is another server than before, or was flushed: copies must be rebuilt."""
        ...

    def publish(self, name: str, value: bytes) -> None:
        """Store one copy (`incidents`, `orders`, `ledger`, `journal_head`, ...)."""
        ...

    def publish_event(self, event: Event) -> None: ...

    def record_demand(self, state: ClusterState) -> None:
        """Append each pool's running and pending GPUs to its series, and each deployment's rate;
        what it answered, to its minutes."""
        ...

    def demand_series(self, pool: str) -> list[tuple[float, float, float]]:
        """(epoch seconds, running GPUs, pending GPUs), oldest first."""
        ...

    def served(self, name: str) -> list[tuple[float, ...]]:
        """Minutes of one deployment of a model server: (epoch seconds, requests a second, replicas
        that were ready, then latency in seconds at each of `serving.PERCENTILES`), oldest first."""
        ...


class CaseStore(Protocol):
    """Eval cases that people made by judging what a report said."""

    def add(self, case: EvalCase) -> bool:
        """Keep one case, durably. False when it says again what this person said last. Raises
        Refused, JournalBroken."""
        ...

    def judged(self, person: str) -> tuple[Judgement, ...]:
        """The newest word of this person on each item, as it was shown."""
        ...
