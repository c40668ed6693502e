"""The rungs that ladders share: confirming a death, coming home after a repair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from watchkeeper.core.action import (
    Action,
    CheckRun,
    GpuQuarantine,
    GpuReset,
    NodeCordon,
    NodeDrain,
    NodeReboot,
    NodeReplace,
    NodeRestart,
    NodeUncordon,
    kind_of,
)
from watchkeeper.core.cluster import Fence, Node, RayState
from watchkeeper.core.incident import Incident
from watchkeeper.remedy.jobs import after_repair, later_requeues
from watchkeeper.remedy.plan import Escalate, Plan, RemedyView, Step, Steps, Wait
from watchkeeper.remedy.verify import expected_effect

Rung: TypeAlias = tuple[Action, str]
"""An action and the reason for it."""

_PLAIN: dict[str, Callable[..., Action]] = {
    "node.cordon": NodeCordon,
    "node.uncordon": NodeUncordon,
    "node.restart": NodeRestart,
    "node.reboot": NodeReboot,
    "node.replace": NodeReplace,
    "check.run": CheckRun,
}
_TOUCHES_ANEW = ("node.restart", "node.reboot", "node.replace", "gpu.reset")
LATER = ""
"""Incarnation of a raylet that does not exist yet."""


@dataclass(frozen=True, eq=False, slots=True)
class Patient:
    """One incident on one node, and the view it is treated on."""

    incident: Incident
    node: Node
    view: RemedyView

    @property
    def fence(self) -> Fence | None:
        return self.view.snapshot.fences.get(self.node.name)

    @property
    def checked(self) -> bool | None:
        """How the check of this incarnation ended; None when there was none, or it still runs."""
        if self.view.checked.get(self.node.name) == self.node.incarnation:
            return True
        result = self.view.snapshot.state.checks.get(self.node.name)
        if result is None or result.incarnation != self.node.incarnation:
            return None
        return result.passed

    @property
    def check_runs(self) -> bool:
        result = self.view.snapshot.state.checks.get(self.node.name)
        return (
            result is not None
            and result.incarnation == self.node.incarnation
            and result.passed is None
        )

    @property
    def repaired_by_us(self) -> bool:
        """We restarted, rebooted or reset it in this incident."""
        return any(self.view.tried(kind) for kind in _TOUCHES_ANEW)

    def can(self, kind: str) -> bool:
        """A provider serves it, and it was not tried on this incarnation."""
        return kind in self.view.serves and not self.view.tried(kind, self.node.incarnation)

    def action(self, kind: str, incarnation: str | None = None, gpu: int = -1) -> Action:
        """An action of this kind on this node, on its incarnation of now unless told."""
        life = self.node.incarnation if incarnation is None else incarnation
        if kind == "node.drain":
            deadline = self.view.settings.drain_deadline_s
            return NodeDrain(node=self.node.name, incarnation=life, deadline_s=deadline)
        if kind == "gpu.reset":
            return GpuReset(node=self.node.name, incarnation=life, gpu=gpu)
        if kind == "gpu.quarantine":
            return GpuQuarantine(node=self.node.name, incarnation=life, gpu=gpu)
        return _PLAIN[kind](node=self.node.name, incarnation=life)

    def climb(self, *steps: Rung) -> Steps:
        """A plan of these rungs, in this order."""
        return Steps(steps=tuple(step(self.incident, self.view, *rung) for rung in steps))

    def return_to_service(self, life: str = LATER) -> tuple[Rung, ...]:
        """Check, uncordon, requeue: what follows a repair, as a preview."""
        name = self.node.name
        home = (
            (self.action("check.run", life), f"{name} must do real work before it serves."),
            (self.action("node.uncordon", life), f"{name} passed its check."),
        )
        served = tuple(r for r in home if kind_of(r[0]) in self.view.serves)
        return (*served, *later_requeues(self.incident, self.view, self.node))


NodeLadder: TypeAlias = Callable[[Patient], Plan]


def step(incident: Incident, view: RemedyView, action: Action, reason: str) -> Step:
    """One rung, with the effect that must be seen."""
    return Step(
        action=action,
        reason=reason,
        effect=expected_effect(action, view),
        rung=f"{incident.fault}: {kind_of(action)}",
    )


def not_confirmed_dead(patient: Patient) -> Wait | Escalate | None:
    """None when two sources say dead (S10): Ray, and the provider that sees no process; or Ray
    and a silence, both for five minutes; or Ray and our own drain of this very incarnation."""
    node, view = patient.node, patient.view
    if node.process_gone is True:
        return None
    dead_s = (view.snapshot.at - node.ray_state_since).total_seconds()
    patience = view.settings.dwell_s
    if node.process_gone is False:
        if dead_s < patience:
            return Wait(why=f"Ray says {node.name} is dead, the provider sees its process.")
        return Escalate(why=f"Ray and the provider disagree about {node.name}.", page=True)
    drained = view.tried("node.drain", node.incarnation)
    if any(result.value == "recovered" for result in drained):
        return None
    silence = view.snapshot.silence_s(node.name)
    silent = silence is not None and silence >= view.settings.silent_after_s
    if dead_s >= patience and silent:
        return None
    missing = "a second source" if not silent else f"{patience - dead_s:.0f} s more"
    return Wait(why=f"Only Ray says that {node.name} is dead. It waits for {missing}.")


def homecoming(patient: Patient) -> Plan:
    """The node is alive and no longer ill: check it, open it, requeue, done."""
    node, view = patient.node, patient.view
    if node.ray_state is not RayState.ALIVE:
        return Wait(why=f"{node.name} is {node.ray_state.value}.")
    if patient.fence is None and patient.repaired_by_us and not patient.checked:
        reason = f"{node.name} is back from our repair and must not serve before its check."
        if patient.can("node.cordon"):
            return patient.climb(
                (patient.action("node.cordon"), reason),
                *patient.return_to_service(node.incarnation),
            )
        return Escalate(why=f"{node.name} serves unchecked, and cannot be fenced.", page=True)
    if patient.fence is not None:
        return _through_the_check(patient)
    return after_repair(patient.incident, view)


def _not_mended(patient: Patient) -> Plan:
    """It came back and failed its check: what is left is another node, once."""
    node, view = patient.node, patient.view
    fenced = patient.fence is not None and patient.fence.sealed
    may = patient.can("node.replace") and not view.refused("node.replace")
    if fenced and may and not view.tried("node.replace"):
        reason = f"{node.name} came back and failed its check. Another node takes its place."
        rungs = patient.return_to_service()
        return patient.climb((patient.action("node.replace"), reason), *rungs)
    return Escalate(why=f"{node.name} came back and failed its check.", page=True)


def _passed(patient: Patient) -> str:
    """A lemon that was mended in place serves again: no other node was to be had, and a gang that
    waits for its room would lose more than its next fault costs."""
    passed = f"{patient.node.name} passed its check."
    mended_in_place = patient.repaired_by_us and not patient.view.tried("node.replace")
    if patient.incident.lemon > 0 and mended_in_place:
        passed += (
            " It falls ill again and again: by its history it is a lemon. No other node was to be "
            "had, so it serves on; at its next fault a spare takes its place, if one is ready."
        )
    return passed


def _through_the_check(patient: Patient) -> Plan:
    node = patient.node
    if patient.checked:
        if not patient.can("node.uncordon"):
            return Escalate(why=f"{node.name} passed its check, but its fence stays.", page=True)
        uncordon = (patient.action("node.uncordon"), _passed(patient))
        return patient.climb(uncordon, *later_requeues(patient.incident, patient.view, node))
    if patient.checked is False:
        return _not_mended(patient)
    if patient.check_runs:
        return Wait(why=f"The check of {node.name} runs.")
    if "check.run" not in patient.view.serves:
        return Escalate(why=f"No provider can check {node.name}; it stays fenced.")
    if not patient.can("check.run"):
        return Escalate(why=f"The check of {node.name} gave no result.", page=True)
    return patient.climb(*patient.return_to_service(node.incarnation))
