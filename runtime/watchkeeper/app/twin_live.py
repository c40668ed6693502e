"""The twin of `up --twin`: played up to now whenever the watch looks, at one or many times the
pace of real time. Lives in the watch's process; with it gone, a new twin begins.
"""

from __future__ import annotations

import secrets
import threading
from datetime import datetime, timedelta

import msgspec

from watchkeeper.adapters.system_clock import SystemClock
from watchkeeper.core.cluster import ClusterState
from watchkeeper.core.errors import UsageError
from watchkeeper.core.ports import EffectOrder, Receipt
from watchkeeper.core.telemetry import TelemetryRead
from watchkeeper.twin.cluster import TwinCluster
from watchkeeper.twin.laws import laws
from watchkeeper.twin.words import Scope, TrueFault, TwinSpec

SILENT_S = 900.0
"""A node that was made silent speaks again after this."""
INJECTED = 10_000_000
"""Numbers of injected faults lie beyond those that are drawn."""


class TwinTime(SystemClock):
    """Meets core.clock.Clock: real time from now on, `speed` times as fast. All three times are
    the twin's, so that windows, budgets and ages fit what is seen."""

    def __init__(self, speed: float = 1.0) -> None:
        super().__init__()
        self._speed, self._real = speed, SystemClock()
        self._start, self._shift = self._real.now(), 0.0

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._passed())

    def policy_now(self) -> datetime:
        return self.now()

    def steady(self) -> float:
        return self._shift + self._passed()

    def rebase(self, base: float) -> None:
        """From now on steady() counts from `base`. Never backwards."""
        self._shift = max(self._shift, base - self._passed())

    def not_before(self, at: datetime) -> None:
        """Go on from this time, where a faster run before this one came further."""
        if at > self.now():
            self._start += at - self.now()

    def _passed(self) -> float:
        return self._real.steady() * self._speed


class LiveTwin:
    """Meets ClusterReader, TelemetrySource (by `telemetry`) and Actuator over one twin."""

    name = "twin"

    def __init__(self, spec: TwinSpec, clock: TwinTime) -> None:
        """spec: its start is set to the clock's now."""
        self._clock, self._began = clock, clock.steady()
        self._twin = TwinCluster.of(msgspec.structs.replace(spec, start=clock.now()))
        self._session = f"twin-{secrets.token_hex(4)}"
        self._lock = threading.RLock()
        self._injected = 0
        self.cluster_id = self._twin.cluster_id

    @property
    def serves(self) -> frozenset[str]:
        return self._twin.serves

    def read(self) -> ClusterState:
        with self._lock:
            self._play()
            return msgspec.structs.replace(self._twin.read(), session=self._session)

    def telemetry(self) -> LiveTelemetry:
        return LiveTelemetry(self)

    def readings(self) -> TelemetryRead:
        """Meets TelemetrySource.read."""
        with self._lock:
            self._play()
            return self._twin.telemetry().read()

    def execute(self, order: EffectOrder) -> Receipt:
        with self._lock:
            self._play()
            return self._twin.execute(self._own(order))

    def enforce(self, order: EffectOrder) -> Receipt:
        with self._lock:
            self._play()
            return self._twin.enforce(self._own(order))

    def inject(self, fault: str, node: str, gpu: int, code: int) -> str:
        """Break something on purpose. Raises UsageError for what the twin cannot break."""
        with self._lock:
            self._play()
            twin = self._twin
            name = node or twin.machines.names[-1]
            if name not in twin.machines.index:
                raise UsageError(f"The twin has no node {name}.")
            i = twin.machines.index[name]
            if fault == "silence":
                twin.machines.hush(i)
                twin.agenda.enter(twin.clock.s + SILENT_S, lambda: twin.machines.speak(i))
                return f"{name} (simulated) is silent for {SILENT_S / 60:.0f} min."
            law = _law_of(fault, code)
            self._injected += 1
            twin.harm.play(
                (
                    TrueFault(
                        id=INJECTED + self._injected,
                        law=law,
                        at_s=twin.clock.s,
                        nodes=(i,),
                        gpu=gpu if fault == "xid" else -1,
                        first=f"xid.{code}" if fault == "xid" else "",
                    ),
                )
            )
            return f"{name} (simulated): {law.replace('_', ' ')}."

    def _play(self) -> None:
        self._twin.advance(max(self._twin.clock.s, self._clock.steady() - self._began))

    def _own(self, order: EffectOrder) -> EffectOrder:
        """What the twin itself calls its session; another session stays another."""
        if order.session != self._session:
            return order
        return msgspec.structs.replace(order, session=self._twin.session)


class LiveTelemetry:
    """The telemetry side of a LiveTwin."""

    def __init__(self, twin: LiveTwin) -> None:
        self._twin = twin

    def read(self) -> TelemetryRead:
        return self._twin.readings()


def _law_of(fault: str, code: int) -> str:
    if fault == "node-loss":
        return "raylet_lost"
    said = f"xid.{code}"
    for law in laws():
        if law.scope is Scope.GPU and said in law.shows:
            return law.name
    known = sorted({c for law in laws() if law.scope is Scope.GPU for c in law.shows if "xid" in c})
    raise UsageError(f"The twin has no fault that shows {said}. It has {', '.join(known)}.")


DAYS = 60.0
"""Faults and noise are drawn for so many days of the twin; after them it is quiet."""
