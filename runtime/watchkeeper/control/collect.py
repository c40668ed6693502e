"""The collector's loop: read every source of one host, hand it in, again and again.

Each source has a thread and a deadline of its own, so that a driver that hangs or fails leaves
its values Unknown and stops nobody else. While Redis is away signals wait, bounded; readings do
not: an old reading is worth nothing. Decides nothing, and acts on nothing.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np

from watchkeeper.core.clock import Clock
from watchkeeper.core.cluster import World
from watchkeeper.core.errors import ClusterUnavailable
from watchkeeper.core.incident import Signal, Trust
from watchkeeper.core.sample_bytes import MAX_GPUS
from watchkeeper.core.sources import (
    Finding,
    GpuSource,
    HostSource,
    Sample,
    SampleSink,
    SignalSource,
    signal_of,
    unknown_host,
)
from watchkeeper.core.telemetry import GPU_FIELDS

T = TypeVar("T")
MAX_WAITING = 1000
SIGNALS_PER_SEND = 200
FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 30.0
READ_TIMEOUT_S = 5.0
STEP_S = 0.25
"""How often events are looked for between two readings, so that a fault is told at once."""


class Collector:
    """One host's loop. `run` blocks until `stop`; `tick` is one round of it."""

    def __init__(
        self,
        gpus: GpuSource,
        host: HostSource,
        events: Sequence[SignalSource],
        sink: SampleSink,
        clock: Clock,
        node: str,
        interval_s: float,
        *,
        world: World,
        incarnation: str = "",
        read_timeout_s: float = READ_TIMEOUT_S,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """incarnation: the Ray NodeID this host serves, where it is known. say: gets one
        sentence when a source or Redis fails, and one when it is back."""
        self._gpus = gpus
        self._sink = sink
        self._clock = clock
        self._node = node
        self._interval_s = interval_s
        self._world = world
        self._incarnation = incarnation
        self._read_timeout_s = min(read_timeout_s, max(interval_s, 0.5))
        self._say = say
        self._gpu_reader = _Patient("GPUs", gpus.read)
        self._host_reader = _Patient("host metrics", host.read)
        self._event_readers = [_Patient(type(e).__name__, e.drain, keep_late=True) for e in events]
        self._waiting: deque[Signal] = deque(maxlen=MAX_WAITING)
        self._failing: set[str] = set()
        self._backoff_s = 0.0
        self._send_again_at = float("-inf")
        self._sample_due_at = float("-inf")
        self._gpu_count = 0
        self._stop = threading.Event()

    def run(self) -> None:
        """Until `stop` is called."""
        while not self._stop.is_set():
            self.tick()
            self._stop.wait(min(STEP_S, self._interval_s))

    def stop(self) -> None:
        """May be called from a signal handler or another thread."""
        self._stop.set()

    def tick(self) -> None:
        """Look for events; take a reading when one is due; hand in what there is."""
        now = self._clock.steady()
        due = now >= self._sample_due_at
        sample = self._sample() if due else None
        if due:
            self._sample_due_at = now + self._interval_s
        self._collect_events()
        if sample is None and not self._waiting:
            return
        if now >= self._send_again_at:
            self._send(sample or self._sample())

    def _sample(self) -> Sample:
        gpu = self._read(self._gpu_reader)
        host = self._read(self._host_reader)
        if gpu is None:
            # As many GPUs as it had before, all Unknown: neither healthy nor gone.
            gpu = np.full((self._gpu_count, len(GPU_FIELDS)), np.nan, np.float32)
        if len(gpu) > MAX_GPUS:
            self._told("GPU count", f"{len(gpu)} GPUs; only the first {MAX_GPUS} are reported")
            gpu = gpu[:MAX_GPUS]
        self._gpu_count = len(gpu)
        return Sample(
            node=self._node,
            at=self._clock.now().timestamp(),
            world=self._world,
            gpu=gpu,
            host=unknown_host() if host is None else host,
            vendor=self._gpus.vendor,
            simulated=self._gpus.simulated,
            trust=Trust.DRIVER,
        )

    def _collect_events(self) -> None:
        for reader in self._event_readers:
            for finding in self._read(reader) or ():
                self._waiting.append(self._stamped(finding))

    def _stamped(self, finding: Finding) -> Signal:
        gpu = self._gpus.index_of(finding.pci) if finding.pci else None
        now = self._clock.now()
        return signal_of(
            finding, self._node, self._world, now, gpu=gpu, incarnation=self._incarnation
        )

    def _send(self, sample: Sample) -> None:
        some = list(self._waiting)[:SIGNALS_PER_SEND]
        try:
            self._sink.send(sample, some)
        except ClusterUnavailable as err:
            self._backoff_s = min(max(FIRST_BACKOFF_S, 2 * self._backoff_s), LONGEST_BACKOFF_S)
            self._send_again_at = self._clock.steady() + self._backoff_s
            self._told("Redis", str(err))
            return
        for _ in some:
            self._waiting.popleft()
        self._backoff_s = 0.0
        self._told("Redis", "")

    def _read(self, reader: _Patient[T]) -> T | None:
        value, error = reader.read(self._read_timeout_s)
        self._told(reader.name, error)
        return value

    def _told(self, what: str, error: str) -> None:
        """Say that something fails, or is back, once each."""
        if error and what not in self._failing:
            self._failing.add(what)
            self._say(f"{what} on {self._node}: {error}")
        elif not error and what in self._failing:
            self._failing.discard(what)
            self._say(f"{what} on {self._node}: back.")


class _Patient(Generic[T]):
    """One blocking function in one daemon thread, asked with a deadline.

    While a call hangs no second one is made. Its late answer is thrown away, for a reading would
    be older than it looks; with keep_late (findings, which must not be lost) it is still given.
    """

    def __init__(self, name: str, function: Callable[[], T], *, keep_late: bool = False) -> None:
        self.name = name
        self._function = function
        self._keep_late = keep_late
        self._asked: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[T | None, str]] = queue.SimpleQueue()
        self._hangs = False
        self._thread: threading.Thread | None = None

    def read(self, timeout_s: float) -> tuple[T | None, str]:
        """(value, "") or (None, why not)."""
        if self._hangs:
            # One deadline was spent on this call; from then on it is only looked at.
            try:
                late = self._answers.get_nowait()
            except queue.Empty:
                return None, "a call still hangs"
            self._hangs = False
            if self._keep_late:
                return late
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=self.name, daemon=True)
            self._thread.start()
        self._asked.put(None)
        try:
            return self._answers.get(timeout=timeout_s)
        except queue.Empty:
            self._hangs = True
            return None, f"no answer within {timeout_s:g} s"

    def _serve(self) -> None:
        while True:
            self._asked.get()
            try:
                self._answers.put((self._function(), ""))
            except Exception as err:  # whatever a driver raises, the loop goes on
                self._answers.put((None, " ".join(str(err).split())[:300] or type(err).__name__))
