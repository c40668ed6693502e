"""What could have caused this, and what speaks for and against each cause?

Asked by the correlator, for people and for the crew to quote. No action hangs on a hypothesis:
ladders read the fault class and the snapshot.
"""

from __future__ import annotations

from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import Hypothesis, Signal
from watchkeeper.core.telemetry import GPU_FIELDS, Snapshot
from watchkeeper.health.causes import causes
from watchkeeper.health.claims import PROPOSED, REFUTED, SUPPORTED, claim, in_words
from watchkeeper.health.claims import that_speak_for as _for
from watchkeeper.health.claims import with_code as _with
from watchkeeper.health.evidence import believed, repeated

_of, _codes = claim, in_words
HOT_CELSIUS = 90.0
"""Above this a data-centre GPU is close to its slowdown point (assumption; devices differ)."""
COLDEST_CELSIUS, HOTTEST_CELSIUS = -20.0, 130.0
"""A temperature outside is a fault of the sensor, or of its unit."""
_TEMPERATURE = GPU_FIELDS.index("temperature_celsius")


def hypotheses(
    fault: Fault,
    node: str,
    gpu: int | None,
    signals: tuple[Signal, ...],
    snapshot: Snapshot,
    target: str = "",
) -> tuple[Hypothesis, ...]:
    """The causes worth naming for this class of fault, likeliest first."""
    seen = [s for s in signals if believed(s)]
    match fault:
        case Fault.NODE_LOST:
            return _node_lost(seen)
        case Fault.NODE_SILENT:
            return _node_silent(seen, node, snapshot)
        case Fault.GPU_OFF_BUS:
            return _off_bus(seen, _temperature(snapshot, node, gpu))
        case Fault.NVLINK:
            return _nvlink(seen)
        case Fault.APPLICATION:
            own = _for(seen, fault)
            return (_of("the job's own program failed", SUPPORTED, own, _codes(own)),)
        case Fault.JOB_STOPPED:
            return (
                _of("the gang's own process ended", PROPOSED, seen, "none of its nodes is ill"),
            )
        case Fault.GPU_UNKNOWN:
            return (_of("a fault that we cannot name", PROPOSED, seen, _codes(seen)),)
        case Fault.SOURCE_LOST:
            return (
                _of("the source or the way to it failed", SUPPORTED, seen, "it does not answer"),
            )
        case Fault.CAPACITY_SHORT:
            return (_of("the pool is too small for what waits", SUPPORTED, seen, _codes(seen)),)
        case Fault.GPU_MEMORY:
            return _memory(seen)
        case _ if fault in _GPU_CLAIM:
            own = _for(seen, fault)
            return (_of(_GPU_CLAIM[fault], SUPPORTED, own, _codes(own)),)
        case _:
            return causes(fault, target, seen, snapshot)


_GPU_CLAIM: dict[Fault, str] = {
    Fault.GPU_RMA: "GPU memory is past what remapping can mend",
    Fault.GPU_MEMORY_CONTAINED: "GPU memory took an error that reached one process at most",
    Fault.GPU_DRIVER: "the GPU's firmware or driver no longer answers",
    Fault.GPU_HARDWARE: "a unit of the GPU stopped working",
    Fault.GPU_HANDS_ON: "a fault that only a person can mend",
    Fault.GPU_NOTICE: "the driver reports a condition to look at",
}


def _node_lost(seen: list[Signal]) -> tuple[Hypothesis, ...]:
    dead, gone = _with(seen, "node.dead"), _with(seen, "node.process_gone")
    if gone:
        return (
            _of(
                "the raylet process died",
                SUPPORTED,
                dead + gone,
                "Ray declared it dead and the provider sees no process",
            ),
            _of("network partition", REFUTED, gone, "the provider sees no process"),
        )
    return (
        _of("the raylet process died", PROPOSED, dead, "Ray says so; no provider confirms it"),
        _of("network partition", PROPOSED, dead, "the process may live where Ray cannot see it"),
    )


def _node_silent(seen: list[Signal], node: str, snapshot: Snapshot) -> tuple[Hypothesis, ...]:
    silent, unknown = _with(seen, "node.silent"), _with(seen, "node.unknown")
    known = snapshot.nodes.get(node)
    if known is not None and known.ray_state.value == "alive" and not unknown:
        return (
            _of("its collector stopped", PROPOSED, silent, "Ray hears the node, we do not"),
            _of("the node died", REFUTED, silent, "Ray says that it is alive"),
        )
    return (
        _of("network partition", PROPOSED, silent + unknown, "nobody hears it; that is no proof"),
        _of("the node died", PROPOSED, silent + unknown, "silence is Unknown, not death"),
    )


def _off_bus(seen: list[Signal], celsius: float | None) -> tuple[Hypothesis, ...]:
    bus = _for(seen, Fault.GPU_OFF_BUS)
    driver = _for(seen, Fault.GPU_DRIVER)
    heat = "its last temperature is not known"
    status = PROPOSED
    if celsius is not None:
        status = SUPPORTED if celsius >= HOT_CELSIUS else REFUTED
        heat = f"its last temperature was {celsius:.0f} °C"
    return (
        _of("the GPU's link to the host failed", SUPPORTED, bus, _codes(bus)),
        _of("heat", status, bus if status is SUPPORTED else [], heat),
        _of(
            "the driver or its firmware failed first",
            SUPPORTED if driver else PROPOSED,
            driver,
            _codes(driver) if driver else "no firmware code came with it",
        ),
    )


def _memory(seen: list[Signal]) -> tuple[Hypothesis, ...]:
    own = _for(seen, Fault.GPU_MEMORY)
    loose = _with(own, "xid.95")
    held = _with(seen, "xid.94")
    told = _of("GPU memory took an uncorrectable error", SUPPORTED, own, _codes(own))
    if loose:
        since = min(s.at for s in loose)
        why = f"the error was not contained; do not trust what was saved after {since:%H:%M:%S} UTC"
        return told, _of("checkpoints written since are tainted", SUPPORTED, loose, why)
    why = _codes(held) if held else "no code says that the error left its process"
    status = REFUTED if held else PROPOSED
    return told, _of("checkpoints written since are tainted", status, held or own, why)


def _nvlink(seen: list[Signal]) -> tuple[Hypothesis, ...]:
    """Both ends: the GPU that complained, and what its link leads to."""
    links = _for(seen, Fault.NVLINK)
    switch = [s for s in links if s.code.startswith("sxid.")]
    gpus = {s.target for s in links if s.target.startswith("gpu:")}
    if not repeated(seen, Fault.NVLINK):
        return (
            _of("a link error that passed", PROPOSED, links, "one line only"),
            _of("a failing link or its far end", PROPOSED, links, "one line cannot tell"),
        )
    if len(gpus) > 1:
        blame = f"{len(gpus)} GPUs complain of what they share"
        own = _of("one GPU's own end of a link", PROPOSED, links, "several GPUs complain at once")
    else:
        blame = "the code may blame the innocent end"
        own = _of("a failing link on this node", SUPPORTED, links, _codes(links))
    far = _of(
        "the switch or the far end of the link",
        SUPPORTED if switch else PROPOSED,
        switch or (links if len(gpus) > 1 else []),
        _codes(switch) if switch else blame,
    )
    return (far, own) if len(gpus) > 1 else (own, far)


def _temperature(snapshot: Snapshot, node: str, gpu: int | None) -> float | None:
    row = snapshot.frame.row.get(node)
    if row is None or gpu is None or gpu >= snapshot.frame.gpu.shape[1]:
        return None
    value = float(snapshot.frame.gpu[row, gpu, _TEMPERATURE])
    believable = COLDEST_CELSIUS <= value <= HOTTEST_CELSIUS  # NaN is not
    return value if believable else None
