"""What do the instruments say of a fault, and when? TrueFault + law -> tellings, then Signals.

A first symptom may mislead; the true ones follow within a minute. What is sensed from Ray's state,
the driver's columns or the gang's own steps is not told here: `machines`, `frame` and `work` show
it. Never says anything that is not simulated, and labels it so.
"""

from __future__ import annotations

from typing import NamedTuple

from watchkeeper.core.cluster import World
from watchkeeper.core.incident import Signal, Trust
from watchkeeper.twin.clock import TwinClock
from watchkeeper.twin.laws import instrument
from watchkeeper.twin.words import FaultLaw, Hurt, TrueFault

MISLED_S = 45.0
"""When a first symptom misleads, the true one follows after this. Assumed."""
COMPANION_S = 2.0
"""Companions come within the 5 s that Delta coalesces."""
STEP_S = 6.0
"""Further codes of one fault come this far apart: not one event. Assumed."""
AGAIN_S = (60.0, 300.0)
"""A line repeats while its fault hurts. Assumed."""
POLL_S = 60.0
"""A collector reads its host's counters each minute, and tells of those over their thresholds."""
LEVELS = frozenset({"ib.link_down", "ib.symbol_errors", "nic.down", "pcie.width", "nvlink.errors"})
"""Such readings: no events, so they go on while their fault lasts, and cease with it."""
ROLL_S = 10.0
"""One fault of a whole domain is told by its nodes within this time. Assumed."""

VALUE: dict[str, float] = {
    "ib.symbol_errors": 600.0,
    "ib.link_down": 1.0,
    "nic.down": 6.0,
    "pcie.aer": 20.0,
    "pcie.width": 0.5,
    "nvlink.errors": 400.0,
    "ecc.dbe": 1.0,
    "ecc.remap_pending": 1.0,
    "ecc.remap_failure": 1.0,
    "gpu.thermal": 1.0,
    "gpu.power_brake": 1.0,
}
"""Readings past their thresholds, in the units that the counters have."""

_OF_A_GPU = ("xid", "gpu", "nvlink", "ecc", "pcie")


class Telling(NamedTuple):
    """One line to come: seconds after onset, code, and whether it speaks of the innocent GPU."""

    after_s: float
    code: str
    innocent: bool = False


def told(code: str) -> bool:
    """Whether an instrument says this code by itself, or the gang does (`gang.nan`)."""
    return instrument(code).seen == "line" or code == "gang.nan"


def tellings(fault: TrueFault, law: FaultLaw) -> tuple[Telling, ...]:
    """Everything that is said of a fault while it lasts, in order of time."""
    misled = _misled(fault, law)
    lines = [Telling(0.0, fault.first or law.shows[0], misled and fault.blames >= 0)]
    lines += [Telling(COMPANION_S + 0.1 * k, code) for k, code in enumerate(fault.also)]
    after = [code for code in law.shows if misled or code != fault.first]
    begin = MISLED_S if misled else STEP_S
    lines += [Telling(begin + STEP_S * k, code) for k, code in enumerate(after)]
    main = law.shows[0]
    if law.hurts is not Hurt.NOTHING and main not in LEVELS:
        lines += [Telling(begin + again, main) for again in AGAIN_S]
    return tuple(sorted(line for line in lines if told(line.code)))


def readings(fault: TrueFault, law: FaultLaw) -> tuple[Telling, ...]:
    """The first of what is read anew each `POLL_S` for as long as the fault lasts. First symptoms
    that mislead, and companions, are said once."""
    if law.hurts is Hurt.NOTHING:
        return ()
    begin = MISLED_S if _misled(fault, law) else STEP_S
    return tuple(Telling(begin + POLL_S, code) for code in law.shows if code in LEVELS)


def _misled(fault: TrueFault, law: FaultLaw) -> bool:
    return fault.first not in law.shows or fault.blames >= 0


def target(code: str, node: str, gpu: int, job: str) -> str:
    """Whom a code is about, as a Signal names it."""
    if code.startswith("gang."):
        return f"job:{job}"
    if code.partition(".")[0] in _OF_A_GPU and gpu >= 0:
        return f"gpu:{node}/{gpu}"
    return f"node:{node}"


def line(
    clock: TwinClock,
    ident: str,
    code: str,
    whom: str,
    *,
    skew_s: float = 0.0,
    trust: Trust | None = None,
    source: str = "",
    raw: str = "",
    life: str = "",
) -> Signal:
    """One Signal, as its instrument says it now."""
    says = instrument(code)
    kind, _, number = code.partition(".")
    if not raw and kind == "xid":
        gpu = whom.rpartition("/")[2]
        pci = 0x10 + int(gpu) if gpu.isdigit() else 0
        raw = f"NVRM: Xid (PCI:0000:{pci:02x}:00): {number}, pid=4711"
    return Signal(
        id=ident,
        code=code,
        target=whom,
        at=clock.at(clock.s + skew_s),
        source=source or says.source,
        trust=trust or says.trust,
        world=World.TWIN,
        value=VALUE.get(code),
        incarnation=life,
        simulated=True,
        raw=raw or f"simulated: {code}",
    )
