"""What the crew asks for: an Action, its reasons, and what should then be seen."""

from datetime import datetime

from watchkeeper.core.action import Action
from watchkeeper.core.cluster import World
from watchkeeper.core.model import Chosen
from watchkeeper.core.word import Word


class Effect(Word, frozen=True):
    """What later telemetry must show for the action to count as done.

    predicate: one of `node.fenced`, `node.open`, `node.gone`, `node.alive`, `check.passed`,
    `job.running`, `pool.grown`, `gpu.hidden`, `none`. within_s: how long that may take.
    """

    predicate: str
    within_s: float
    detail: str = ""


class Impact(Word, frozen=True):
    """What the action touches: the blast radius, and the bound that an approval is tied to.

    jobs: gangs with work on the targets that would stop. gpus: GPUs taken away for a while.
    gpu_hours: work lost, in GPU-hours (unsaved steps and expected downtime). pool_out_after:
    nodes of the pool out once this is done, those already out included. domain_out: nodes
    already out, per domain (`rack:r1`: 1), the target itself not counted. money: what that costs
    at the policy's prices, in its currency; None where it names no price for the pool.
    """

    jobs: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    gpus: float = 0.0
    gpu_hours: float = 0.0
    pool: str = ""
    pool_size: int = 0
    pool_out_before: int = 0
    pool_out_after: int = 0
    domain_out: dict[str, int] = {}
    domain_size: dict[str, int] = {}
    checkpoint_age_s: float | None = None
    money: float | None = None

    def within(self, bound: "Impact") -> bool:
        """No dimension exceeds the bound that a person was shown."""
        return (
            set(self.jobs) <= set(bound.jobs)
            and set(self.nodes) <= set(bound.nodes)
            and self.gpus <= bound.gpus
            and self.pool_out_after <= bound.pool_out_after
        )


class Predicted(Word, frozen=True):
    """What a rehearsal in the twin, from the snapshot of that moment, showed of a step. Simulated.

    holds: what telemetry must show came true there, after after_s. gangs_stopped, gpus_out and
    nodes_out: more than before the step. plan: the kinds of the plan that went through after it, in
    order; stuck: why it ended there, "" where it went to its end.
    """

    holds: bool
    after_s: float
    gangs_stopped: int
    gpus_out: float
    nodes_out: int
    plan: tuple[str, ...] = ()
    stuck: str = ""

    def says(self) -> str:
        """The same in a sentence."""
        if not self.holds:
            return f"Rehearsed in the twin: it does not come to its end ({self.stuck})."
        gangs = f"{self.gangs_stopped} gang{'s' if self.gangs_stopped != 1 else ''}"
        more = f"; then {', '.join(self.plan)}" if self.plan else ""
        return (
            f"Rehearsed in the twin: done after about {self.after_s:.0f} s, {gangs} stopped, "
            f"{self.gpus_out:g} GPUs out{more}."
        )


class Proposal(Word, frozen=True):
    """An Action asked for. Nothing in it can act.

    by: who asks (`agent:remediation`, `agent:scheduler`, `person:NAME`). evidence: signal ids.
    plan: the steps that would follow, shown to whoever approves. generation: a hash of the
    targets' incarnations, the jobs on them, the out-count of their domains and the policy
    version, at the time of asking (S5). rung: its place on the repair ladder. chosen: a model
    chose it among the steps that were open; None where rules did. predicted: what a rehearsal
    showed, where one was held.
    """

    id: str
    action: Action
    by: str
    reason: str
    at: datetime
    world: World
    effect: Effect
    generation: str
    confidence: float
    incident: str = ""
    evidence: tuple[str, ...] = ()
    plan: tuple[Action, ...] = ()
    rung: str = ""
    if_ignored: str = ""
    chosen: Chosen | None = None
    predicted: Predicted | None = None
