"""What did the instruments say of this node, and is it over? Asked by the ladder of GPUs and links.

Reads an incident's signals and the node's newest reading; decides on no step but to wait.
"""

from __future__ import annotations

from datetime import timedelta

from watchkeeper.core.fault import (
    READ_EVERY_S,
    Fault,
    Recovery,
    last_reading,
    only_polled,
    recovery_said,
)
from watchkeeper.core.incident import ATTACKER_WRITABLE, Incident, Signal
from watchkeeper.core.telemetry import GPU_FIELDS
from watchkeeper.remedy.jobs import after_repair
from watchkeeper.remedy.plan import Done, Escalate, Plan, Steps, Wait
from watchkeeper.remedy.rungs import Patient

_PRESENT = GPU_FIELDS.index("present")
_COMPANIONS = frozenset({"xid.43", "xid.45", "xid.154"})
"""They come with another code, and say nothing of a link themselves."""
_OF_THE_WIRE = frozenset({"ib.link_down", "ib.symbol_errors"})
OF_THE_HOST = frozenset({Fault.NETWORK_LINK, Fault.PCIE, Fault.NODE_FLAPPING, Fault.NODE_SUSPECT})
"""No GPU is named, none is reset or hidden, and the host is what the cure is for."""
SUSPECT_S = 600.0
"""How long one NVLink error is watched for a second (assumption)."""
FRESH_S = 30.0
"""A reading so young speaks of now: what comes and goes by itself is acted on while it is seen, and
not on what a counter said a minute ago (ours)."""


def only_suspected(patient: Patient) -> Plan | None:
    """One NVLink line may blame the innocent end: watch for a second, or for the switch's word."""
    own = set(patient.incident.sick_gpus)
    seen = [
        s
        for s in patient.incident.signals
        if s.trust not in ATTACKER_WRITABLE
        and s.code not in _COMPANIONS
        and (s.target in own or not s.target.startswith("gpu:"))
    ]
    if recovery_said(patient.incident.signals) not in (None, Recovery.NONE):
        return None  # the driver itself asks for a cure
    times = [s.at for s in seen]
    if any(s.code == "nvlink.errors" for s in seen):
        return None  # a counter over its threshold is many errors already
    families = {s.code.partition(".")[0] for s in seen} & {"xid", "sxid"}
    apart = (max(times) - min(times)).total_seconds() if times else 0.0
    if apart >= 5.0 or len(families) > 1:
        return None
    lasted = (patient.view.snapshot.at - patient.incident.opened_at).total_seconds()
    if lasted < SUSPECT_S:
        return Wait(why="One NVLink error proves nothing. We watch for a second.")
    return Done(why="The NVLink error did not come again.")


def counter_says(patient: Patient) -> Wait | None:
    """A link is fenced on a reading of now: a counter that has spoken is waited for once more. None
    where none ever spoke, and where it is not read again though a word of the kernel stands."""
    last = last_reading(patient.incident)
    if last is None:
        return None
    age_s = (patient.view.snapshot.at - last).total_seconds()
    if age_s <= FRESH_S or (age_s > READ_EVERY_S + FRESH_S and not only_polled(patient.incident)):
        return None
    return Wait(why="What a counter said may be over: it waits for the next reading.")


def said_over(patient: Patient) -> Plan | None:
    """The driver took its own word back (Xid 154 says None, after every other word): the GPU needs
    nothing. What stopped is requeued, and the ticket says so."""
    incident, now = patient.incident, of_this_life(patient)
    if incident.fault in OF_THE_HOST or incident.fault in (Fault.GPU_OFF_BUS, Fault.GPU_RMA):
        return None
    if recovery_said(now) is not Recovery.NONE or patient.view.attempts or patient.fence:
        return None
    spoke = max(s.at for s in now if s.code == "xid.154")
    if any(s.at > spoke for s in now if s.code != "xid.154" and s.code.startswith("xid.")):
        return None
    plan = after_repair(incident, patient.view)
    why = f"{incident.title}; the driver says since that the GPU needs no recovery."
    return plan if isinstance(plan, Steps) else Escalate(why=why)


def of_this_life(patient: Patient) -> list[Signal]:
    """What the instruments said of the incarnation that fell ill."""
    life = patient.incident.incarnation
    return [
        s
        for s in patient.incident.signals
        if s.trust not in ATTACKER_WRITABLE and s.incarnation in ("", life)
    ]


def blames_the_network(incident: Incident) -> bool:
    """One NVLink line, and the host's own network said to be down since, again and again: a
    collective that times out over it speaks of its links first. The network is what is ill."""
    links = [s for s in incident.signals if s.code == "xid.74" or s.code.startswith("nvlink.")]
    down = [s.at for s in incident.signals if s.code in _OF_THE_WIRE or s.code == "nic.down"]
    if incident.fault != Fault.NVLINK or by_a_switch(incident) or len(down) < 2 or not links:
        return False
    one_word = max(s.at for s in links) - min(s.at for s in links) < timedelta(seconds=5)
    return one_word and max(down) > max(s.at for s in links)


def by_a_switch(incident: Incident) -> bool:
    return any(s.code.startswith("sxid.") for s in incident.signals)


def only_the_wire(incident: Incident) -> bool:
    """Only counters of the link speak; of its adapter the host said nothing, or one word at the
    beginning and none while the counters went on."""
    own = [s for s in incident.signals if s.target.startswith("node:")]
    wire = [s.at for s in own if s.code in _OF_THE_WIRE]
    host = [s.at for s in own if s.code == "nic.down"]
    if not wire or not host:
        return bool(wire)
    return (max(wire) - max(host)).total_seconds() >= READ_EVERY_S


def board_of_both(incident: Incident) -> bool:
    """PCIe errors and a lost adapter of one host, while no GPU's link is read as narrow: what they
    share is the board that carries both."""
    codes = {s.code for s in incident.signals if s.target.startswith("node:")}
    narrow = any(s.code == "pcie.width" for s in incident.signals)
    return {"pcie.aer", "nic.down"} <= codes and not narrow


def own_disk(incident: Incident) -> bool:
    """Its mount does not answer, while those of other nodes do (else it is the storage's incident),
    and no other instrument says what else it might be."""
    codes = {s.code for s in incident.signals if s.trust not in ATTACKER_WRITABLE}
    return "storage.stall" in codes and not codes & {"nic.down", "ib.link_down", "ib.symbol_errors"}


def lost_now(patient: Patient) -> bool | None:
    """Does the driver of the new incarnation miss a GPU? None: it has not spoken since."""
    frame, node = patient.view.snapshot.frame, patient.node
    row = frame.row.get(node.name)
    last = frame.last_read(node.name)
    if row is None or last is None or last < node.ray_state_since.timestamp():
        return None
    present = frame.gpu[row, :, _PRESENT]
    sick = [g for g in sick_gpus(patient.incident) if g < len(present)]
    return bool((present[sick] == 0.0).any() if sick else (present == 0.0).any())


def sick_gpus(incident: Incident) -> list[int]:
    """Indexes of the GPUs that the fault is about; those named only by PCI address have none, and
    one that only a companion names is not touched. Of a link's two ends, the one whose own counter
    speaks, where one does."""
    counted = {s.target for s in incident.signals if s.code == "nvlink.errors"}
    if incident.fault == Fault.NVLINK and any(t.startswith("gpu:") for t in counted):
        return indexes(counted)
    names = {*incident.sick_gpus, incident.target}
    return indexes(names)


def to_reset(incident: Incident) -> list[int]:
    """Of the sick GPUs those that a reset may mend: one of which only its slot is told of has a
    fault of another kind, on a node that has two."""
    sick = sick_gpus(incident)
    told = [s for s in incident.signals if not s.code.startswith("pcie.")]
    own = indexes({s.target for s in told if s.target.startswith("gpu:")})
    return [g for g in sick if g in own] or sick


def indexes(targets: set[str]) -> list[int]:
    tails = [t.rpartition("/")[2] for t in targets if t.startswith("gpu:")]
    return sorted({int(t) for t in tails if t.isdigit()})


def hidden(patient: Patient) -> str:
    sick = set(sick_gpus(patient.incident))
    if sick and sick <= set(patient.node.hidden_gpus):
        return f"GPU {', '.join(map(str, sorted(sick)))} of {patient.node.name} is hidden."
    return ""
