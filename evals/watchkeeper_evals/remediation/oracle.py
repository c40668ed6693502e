"""The all-knowing controller: it sees each true fault at onset, and when it would end by itself.

It takes the cheapest cure at once, moves gangs off what is broken if that costs less than to wait,
makes room for a large gang, and grows a pool whose gang waits. Its effects take as long as the
watch's, and it has the same spares and the same caps. It asks nobody and doubts nothing.
"""

from __future__ import annotations

from functools import partial
from math import inf

from watchkeeper.core.action import (
    Action,
    GpuReset,
    JobPreempt,
    JobRequeue,
    NodeCordon,
    NodeReboot,
    NodeReplace,
    NodeRestart,
    NodeUncordon,
    PoolScale,
)
from watchkeeper.core.cluster import JobState
from watchkeeper.twin.ailment import Ailment
from watchkeeper.twin.cluster import TwinCluster
from watchkeeper.twin.gangs import Gang
from watchkeeper.twin.harm import BACK_S, RAY_DEAD_S
from watchkeeper.twin.people import manual_repair_s
from watchkeeper.twin.words import HOUR_S, Hurt, Scope
from watchkeeper_evals.remediation.caps import Caps
from watchkeeper_evals.remediation.stage import A_MOMENT_S, Hands

ALONE = (Scope.GPU, Scope.NODE)
TRY_AGAIN_S = 60.0
"""What could not be done now (a cap, a refusal) is tried again after this."""
ROOM_AGAIN_S = 1800.0
"""So long after it made room for a gang it makes room for it again."""


class Oracle:
    """Meets Controller. back_s: node -> when it will be in service again."""

    def __init__(self, cluster: TwinCluster, caps: Caps) -> None:
        self.cluster, self.caps, self.hands = cluster, caps, Hands(cluster)
        self.machines, self.work = cluster.machines, cluster.work
        self.back_s: dict[int, float] = {}
        self._met = 0
        self._stamps = (-1, -1, -1)
        self._due: list[Ailment] = []
        self._grown: dict[str, list[float]] = {}
        self._roomed: dict[str, float] = {}

    @property
    def now(self) -> float:
        return self.cluster.clock.s

    def act(self) -> None:
        """Meet what is new, then see to every gang that stands."""
        harm = self.cluster.harm
        for fault in harm.played[self._met :]:
            ailment = self.cluster.ailments.now.get(fault.id)
            if ailment is not None and ailment.hurts:
                self._due.append(ailment)
        self._met = len(harm.played)
        due, self._due = self._due, []
        for ailment in due:
            if ailment.left:
                self._meet(ailment)
        stamps = (self.work.stamp, self.machines.stamp, self.cluster.ailments.stamp)
        if stamps != self._stamps:
            self._see_to_gangs()
            self._stamps = (self.work.stamp, self.machines.stamp, self.cluster.ailments.stamp)

    # A fault.

    def _left_s(self, ailment: Ailment) -> float:
        """How long it would last if nobody acted."""
        by_hand_s = manual_repair_s(self.cluster.spec, ailment.law, ailment.fault)
        ends_s = min(ailment.fault.ends_s, ailment.fault.at_s + by_hand_s)
        return max(0.0, ends_s - self.now)

    def _cure(self, ailment: Ailment) -> tuple[str, float]:
        """The quickest cure of a node that can be ordered, and its seconds; ("", inf) if none."""
        takes = self.cluster.effects.takes
        lasts = {
            "gpu.reset": takes.reset,
            "node.restart": takes.restart + RAY_DEAD_S,
            "node.reboot": takes.reboot,
            "node.replace": takes.replace,
        }
        if self.now > ailment.fault.at_s + RAY_DEAD_S:  # Ray did not take it for dead, or long has
            lasts["node.restart"] = inf if self._alive(ailment) else takes.restart
        found = [(lasts[k], k) for k in ailment.law.cured_by if lasts.get(k, inf) < inf]
        return (min(found)[1], min(found)[0]) if found else ("", inf)

    def _alive(self, ailment: Ailment) -> bool:
        return any(self.machines.alive(i) for i in ailment.left)

    def _meet(self, ailment: Ailment) -> None:
        law, left_s = ailment.law, self._left_s(ailment)
        gangs = self.work.running_on(sorted(ailment.left))
        if "job.requeue" in law.cured_by:
            for gang in gangs:
                if self._costs_less_to_move(gang, ailment, left_s, wait_s=0.0):
                    self._take_off(gang)
        elif law.scope in ALONE:
            self._meet_at_node(ailment, gangs, left_s)
        elif law.scope is Scope.STORAGE and law.hurts is Hurt.HANGS:
            self._meet_stall(ailment, gangs, left_s)

    def _meet_at_node(self, ailment: Ailment, gangs: list[Gang], left_s: float) -> None:
        """A GPU or a node: take it out and cure it, or wait where that costs less."""
        i = min(ailment.left)
        kind, takes_s = self._cure(ailment)
        gang = gangs[0] if gangs else None
        wait_s = 0.0 if gang is None or self._spare(gang) else min(takes_s, left_s)
        if gang is not None and not self._costs_less_to_move(gang, ailment, left_s, wait_s):
            return
        if not self._may_take_out(i):
            self._again(ailment)
            return
        if left_s + (BACK_S if ailment.law.kills_raylet else 0.0) <= takes_s:
            self._fence_until_over(i, left_s)
        else:
            self._begin_cure(ailment, i, kind, takes_s)
        if gang is not None and gang.running:
            self._take_off(gang)

    def _costs_less_to_move(
        self, gang: Gang, ailment: Ailment, left_s: float, wait_s: float
    ) -> bool:
        """Seconds of the gang lost by moving it now, against those lost by bearing it."""
        law = ailment.law
        if law.hurts is Hurt.SLOWS:
            return gang.cost_s + gang.restart_s + wait_s < (1.0 - law.slowdown) * left_s
        if law.hurts is Hurt.HANGS:
            redo_s = gang.unsaved
            bear_s = left_s if left_s < law.watchdog_s else inf
            return redo_s + gang.restart_s + wait_s < bear_s
        return True

    def _meet_stall(self, ailment: Ailment, gangs: list[Gang], left_s: float) -> None:
        """Storage hangs: start again while it hangs, so that it is back when the start is over."""
        for gang in gangs:
            if self._costs_less_to_move(gang, ailment, left_s, 0.0):
                idle_s = max(0.0, left_s - gang.restart_s)
                wait_s = min(idle_s, ailment.law.watchdog_s - 1.0)
                self.hands.later(wait_s, partial(self._take_off, gang))

    def _again(self, ailment: Ailment) -> None:
        def again() -> None:
            self._due.append(ailment)

        self.hands.later(TRY_AGAIN_S, again)

    # A node.

    def _may_take_out(self, i: int) -> bool:
        """Within the caps; a node that is dead already takes nothing out."""
        if not self.machines.alive(i) or i in self.back_s:
            return True
        pool = self.machines.word(i).pool
        ours = sum(self.machines.word(j).pool == pool for j in self.back_s)
        return ours < self.caps.out.get(pool, 1)

    def _fence(self, i: int) -> None:
        if self.machines.alive(i) and not self.machines.fenced(i):
            self.hands.do(NodeCordon(node=self.machines.names[i], incarnation=self.hands.life(i)))

    def _fence_until_over(self, i: int, left_s: float) -> None:
        self._fence(i)
        self.back_s[i] = self.now + left_s
        self.hands.later(
            left_s + BACK_S * (not self.machines.alive(i)) + A_MOMENT_S, lambda: self._back(i)
        )

    def _begin_cure(self, ailment: Ailment, i: int, kind: str, takes_s: float) -> None:
        self.back_s[i] = self.now + min(takes_s, self._left_s(ailment))
        self._fence(i)
        if kind == "":
            self.hands.later(self._left_s(ailment) + A_MOMENT_S, lambda: self._back(i))
            return
        wait_s = 0.0
        if kind == "node.restart" and self.machines.alive(i):
            wait_s = max(0.0, ailment.fault.at_s + RAY_DEAD_S - self.now)
        elif (gang := self.work.on(i)) is not None and ailment.law.hurts is not Hurt.TAINTS:
            wait_s = gang.cost_s  # its own checkpoint first; what hangs ends at once
            if not gang.works:
                wait_s = 0.0
        self.hands.later(wait_s + 2 * A_MOMENT_S, lambda: self._apply(ailment, i, kind))

    def _apply(self, ailment: Ailment, i: int, kind: str) -> None:
        name, life = self.machines.names[i], self.hands.life(i)
        order: Action
        match kind:
            case _ if i not in ailment.left:
                self._back(i)
                return
            case "gpu.reset":
                order = GpuReset(node=name, incarnation=life, gpu=max(0, ailment.fault.gpu))
            case "node.restart":
                order = NodeRestart(node=name, incarnation=life)
            case "node.reboot":
                order = NodeReboot(node=name, incarnation=life)
            case _:
                order = NodeReplace(node=name, incarnation=life)
        takes = self.cluster.effects.takes
        lasts_s = {
            "gpu.reset": takes.reset,
            "node.restart": takes.restart,
            "node.reboot": takes.reboot,
            "node.replace": takes.replace,
        }[kind]
        if self.hands.do(order):
            self.back_s[i] = self.now + lasts_s
            self.hands.later(lasts_s + A_MOMENT_S, lambda: self._back(i))
        else:
            self.back_s.pop(i, None)
            self._again(ailment)

    def _back(self, i: int) -> None:
        """What was done at this node is over: into service, or on to what else ails it."""
        self.back_s.pop(i, None)
        ailing = [a for a in self.cluster.ailments.on(i) if a.hurts and a.law.scope in ALONE]
        if ailing:
            self._due.extend(ailing)
        elif self.machines.alive(i) and self.machines.fenced(i):
            self.hands.do(NodeUncordon(node=self.machines.names[i], incarnation=self.hands.life(i)))

    # A gang.

    def _bad(self, i: int) -> bool:
        """A gang that starts there would not thrive."""
        return any(
            a.hurts
            and a.law.hurts is not Hurt.SLOWS
            and a.law.scope is not Scope.STORAGE
            and "job.requeue" not in a.law.cured_by
            for a in self.cluster.ailments.on(i)
        )

    def _good(self, i: int) -> bool:
        return self.work.takes(i) and not self._bad(i)

    def _spare(self, gang: Gang) -> bool:
        """A sound node of its pool is free."""
        return any(
            self._good(int(i))
            for i in range(len(self.machines))
            if self.work.holder[i] is None and self.machines.word(int(i)).pool == gang.pool
        )

    def _take_off(self, gang: Gang) -> None:
        """End it after a checkpoint if it can write one; it starts again where it can."""
        if gang.running:
            self.hands.do(JobPreempt(job=gang.name, attempt_id=f"{gang.name}-a{gang.attempt}"))

    def _see_to_gangs(self) -> None:
        standing = [g for g in self.work.gangs.values() if not g.running]
        for gang in sorted(standing, key=lambda g: (-g.priority, -g.width, g.since_s, g.name)):
            if not gang.running:
                self._see_to(gang)

    def _see_to(self, gang: Gang) -> None:
        holder, machines = self.work.holder, self.machines
        mine = [i for i in gang.nodes if holder[i] in (gang, None)]
        free = [
            i
            for i in range(len(machines))
            if holder[i] is None and i not in gang.nodes and machines.word(i).pool == gang.pool
        ]
        have = sum(self._good(i) for i in mine)
        lacking = gang.width - have - sum(self._good(i) for i in free)
        for i in [*mine, *(free if have < gang.width else ())]:
            if machines.able[i] and self._bad(i):
                if not self._may_take_out(i):
                    return
                if lacking <= 0:
                    self._fence_for_a_while(i)
        if lacking > 0:
            self._make_room(gang, lacking)
        elif gang.state is JobState.STOPPED:
            tainted_s = gang.corrupt_s if gang.tainted else None
            before = self.cluster.clock.at(tainted_s) if tainted_s is not None else None
            attempt = f"{gang.name}-a{gang.attempt}"
            self.hands.do(JobRequeue(job=gang.name, attempt_id=attempt, before=before))
        else:
            self.work.fill()

    def _fence_for_a_while(self, i: int) -> None:
        """A node of a broken domain: out until what ails it is over."""
        ailing = self.cluster.ailments.on(i)
        if i not in self.back_s:
            self._fence_until_over(i, max((self._left_s(a) for a in ailing), default=0.0))

    def _make_room(self, gang: Gang, lacking: int) -> None:
        """It lacks nodes: grow the pool, and meanwhile let small gangs make room if that pays."""
        pool = gang.pool
        coming = sorted(t for i, t in self.back_s.items() if self.machines.word(i).pool == pool)
        wait_s = coming[lacking - 1] - self.now if len(coming) >= lacking else inf
        if wait_s > self.cluster.effects.takes.provision:
            self._grow(pool, lacking)
            wait_s = min(wait_s, self.cluster.effects.takes.provision)
        small = [
            g
            for g in self.work.gangs.values()
            if g.running and g.pool == pool and g.width == 1 and g.priority < gang.priority
        ]
        pays = gang.width * wait_s > lacking * (gang.restart_s + wait_s)
        # One at a time: of several, the first to end would take its node back before the next one
        # ends. And not again at once, should it be in vain.
        vain = self.now - self._roomed.get(gang.name, -inf) < ROOM_AGAIN_S
        if not pays or lacking > 1 or not small or vain:
            return
        self._roomed[gang.name] = self.now
        if gang.state is JobState.STOPPED and not any(
            self.machines.able[i] and self._bad(i) for i in gang.nodes
        ):
            attempt = f"{gang.name}-a{gang.attempt}"
            self.hands.do(JobRequeue(job=gang.name, attempt_id=attempt))
        if gang.state is JobState.WAITING:
            self._take_off(small[0])

    def _grow(self, pool: str, add: int) -> None:
        since = self.now - HOUR_S
        lately = [at for at in self._grown.get(pool, ()) if at > since]
        order = PoolScale(pool=pool, add=min(add, self.caps.growth))
        if len(lately) < self.caps.growths and self.hands.do(order):
            lately.append(self.now)
        self._grown[pool] = lately
