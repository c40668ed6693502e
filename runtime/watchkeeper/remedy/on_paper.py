"""What would the ladder propose, with no cluster at hand? Asked by `watchkeeper diagnose`."""

from __future__ import annotations

from dataclasses import replace as with_fields
from datetime import timedelta

from msgspec.structs import replace

from watchkeeper.core.action import kind_of, targets_of
from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import Incident
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.word import Word
from watchkeeper.remedy.ladder import next_steps
from watchkeeper.remedy.plan import Escalate, RemedyView, Steps

NEUTRAL = frozenset(
    {
        "node.cordon",
        "node.drain",
        "node.reboot",
        "node.restart",
        "gpu.reset",
        "check.run",
        "node.uncordon",
        "job.requeue",
    }
)
"""What some provider of some site serves. On paper nobody is asked."""
_SETTLED = timedelta(hours=1)
"""A log is read afterwards: what a first word would bring with it has come."""


class PaperStep(Word, frozen=True):
    """One thing that it would propose: kind of action, targets, why, and the rung."""

    action: str
    targets: tuple[str, ...]
    reason: str
    rung: str


class PaperPlan(Word, frozen=True):
    """The ladder of one incident. says is the sentence where there is nothing to propose."""

    steps: tuple[PaperStep, ...]
    says: str = ""


def on_paper(incident: Incident, snapshot: Snapshot, serves: frozenset[str] = NEUTRAL) -> PaperPlan:
    """The first rung and what would follow it, for an incident that a log tells of."""
    numbered, addresses = _numbered(incident)
    later = with_fields(snapshot, at=snapshot.at + _SETTLED)
    plan = next_steps(numbered, RemedyView(snapshot=later, serves=serves))
    match plan:
        case Steps():
            steps = tuple(
                PaperStep(
                    action=kind_of(s.action),
                    targets=tuple(addresses.get(t, t) for t in targets_of(s.action)),
                    reason=s.reason,
                    rung=s.rung,
                )
                for s in plan.steps
            )
            by_hand = incident.fault == Fault.GPU_HANDS_ON
            return PaperPlan(steps=(*steps, _ticket(incident, "")) if by_hand else steps)
        case Escalate():
            return PaperPlan(steps=(_ticket(incident, plan.why),))
        case _:
            return PaperPlan(steps=(), says=plan.why)


def _ticket(incident: Incident, why: str) -> PaperStep:
    return PaperStep(
        action="ticket.open",
        targets=(incident.target,),
        reason=why or f"{incident.title}. No action of ours mends it.",
        rung=f"{incident.fault}: ticket.open",
    )


def _numbered(incident: Incident) -> tuple[Incident, dict[str, str]]:
    """A log names a GPU by its PCI address, an action by its index: lend each a number, and
    remember whose it is."""
    targets = sorted({s.target for s in incident.signals if s.target.startswith("gpu:")})
    lent = {t: f"gpu:{incident.node}/{n}" for n, t in enumerate(targets)}
    signals = tuple(replace(s, target=lent.get(s.target, s.target)) for s in incident.signals)
    target = lent.get(incident.target, incident.target)
    sick = tuple(lent.get(t, t) for t in incident.sick_gpus)
    return replace(incident, signals=signals, target=target, sick_gpus=sick), {
        v: k for k, v in lent.items()
    }
