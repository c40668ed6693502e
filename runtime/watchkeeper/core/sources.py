"""What a collector reads on one host, and where it hands it in.

Asked by `control.collect`; met by NVML, psutil, the kernel log, the simulated sources and Redis.
A source never knows the name of its node or its world: the collector stamps both on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from watchkeeper.core.cluster import World
from watchkeeper.core.incident import Signal, Trust
from watchkeeper.core.telemetry import HOST_FIELDS
from watchkeeper.core.word import Word, digest

RAW_LIMIT = 400
"""Characters of original text kept on a finding. For people's eyes only."""

_RANK = {trust: rank for rank, trust in enumerate(Trust)}


@dataclass(frozen=True, eq=False, slots=True)
class Sample:
    """One reading of one node.

    at: seconds since the epoch. gpu: f4[G, len(GPU_FIELDS)]; host: f4[len(HOST_FIELDS)]; NaN is
    Unknown. vendor: `nvidia`, `amd`, `simulated` or `none`. simulated: the GPU values are made up.
    """

    node: str
    at: float
    world: World
    gpu: NDArray[np.float32]
    host: NDArray[np.float32]
    vendor: str = "none"
    simulated: bool = False
    trust: Trust = Trust.DRIVER


class Finding(Word, frozen=True):
    """What an instrument noticed on its own host, before it is known which node that is.

    gpu is the index where the instrument knows it; otherwise pci may name the device as
    `0000:3b:00`, and the collector asks the GPU source whose index that is. at is None when the
    instrument gave no time: the collector then uses the moment of reading. key names this very
    fact at its source (a log line with its stamp), so that reading it again gives the same id.
    """

    code: str
    source: str
    trust: Trust
    gpu: int | None = None
    pci: str = ""
    at: datetime | None = None
    value: float | None = None
    simulated: bool = False
    raw: str = ""
    key: str = ""


class GpuSource(Protocol):
    """The GPUs of this host, whoever made them."""

    @property
    def vendor(self) -> str: ...

    @property
    def simulated(self) -> bool: ...

    def read(self) -> NDArray[np.float32]:
        """f4[G, len(GPU_FIELDS)], NaN where the driver does not say. May block in the driver."""
        ...

    def index_of(self, pci: str) -> int | None:
        """The index of the GPU at this PCI address (`0000:3b:00`), or None."""
        ...

    def close(self) -> None: ...


class HostSource(Protocol):
    """The host itself."""

    def read(self) -> NDArray[np.float32]:
        """f4[len(HOST_FIELDS)], NaN where the system does not say."""
        ...


class SignalSource(Protocol):
    """Something that notices faults between two readings."""

    def drain(self) -> tuple[Finding, ...]:
        """What was noticed since the last call, oldest first."""
        ...


class SampleSink(Protocol):
    """Where a collector hands in what it read."""

    def send(self, sample: Sample, signals: Sequence[Signal] = ()) -> None:
        """Hand in one reading and the signals that came with it. Raises ClusterUnavailable; a
        signal handed in twice keeps its id, so a repeat is harmless."""
        ...


def capped(trust: Trust, limit: Trust) -> Trust:
    """The lower of the two: a fact is trusted no more than the door it came through."""
    return trust if _RANK[trust] >= _RANK[limit] else limit


def signal_of(
    finding: Finding,
    node: str,
    world: World,
    now: datetime,
    *,
    gpu: int | None = None,
    incarnation: str = "",
) -> Signal:
    """Stamp node and world on a finding. The id is a digest of what is said, so the same fact
    read twice (a log read again after a crash) is one signal."""
    index = finding.gpu if finding.gpu is not None else gpu
    target = f"node:{node}" if index is None else f"gpu:{node}/{index}"
    at = finding.at or now
    fact = finding.key or at.isoformat()
    said = (node, target, finding.code, finding.source, fact, finding.raw, world.value)
    return Signal(
        id=f"SIG-{digest(said)[:16]}",
        code=finding.code,
        target=target,
        at=at,
        source=finding.source,
        trust=finding.trust,
        world=world,
        value=finding.value,
        incarnation=incarnation,
        simulated=finding.simulated,
        raw=finding.raw[:RAW_LIMIT],
    )


def unknown_host() -> NDArray[np.float32]:
    """A host reading that knows nothing."""
    return np.full(len(HOST_FIELDS), np.nan, np.float32)
