"""A cluster of thousands of nodes, played event by event on its own clock, behind the same ports.

`advance` is the only thing that moves time. Between events nothing is computed; what drifts is a
function of the time, so a driver may skip every tick at which `changed_since` says that nothing
happened. Everything it says is simulated and labelled so.
"""

from __future__ import annotations

from watchkeeper.core.cluster import ClusterState, World
from watchkeeper.core.errors import ClusterUnavailable
from watchkeeper.core.ports import EffectOrder, Receipt
from watchkeeper.core.telemetry import SourceState, TelemetryRead
from watchkeeper.twin.agenda import Agenda
from watchkeeper.twin.ailment import Ailments
from watchkeeper.twin.clock import TwinClock
from watchkeeper.twin.disturb import Disturbance
from watchkeeper.twin.effects import Durations, Effects
from watchkeeper.twin.energy import Paid
from watchkeeper.twin.faults import draw_faults
from watchkeeper.twin.frame import Panel
from watchkeeper.twin.harm import Harm
from watchkeeper.twin.laws import laws as every_law
from watchkeeper.twin.machines import Machines
from watchkeeper.twin.noise import draw_noise
from watchkeeper.twin.referee import FalseActions
from watchkeeper.twin.roster import Roster
from watchkeeper.twin.score import tally
from watchkeeper.twin.topology import Fleet, build
from watchkeeper.twin.wire import Wire
from watchkeeper.twin.words import FaultLaw, Noise, Tally, TrueFault, TwinSpec
from watchkeeper.twin.work import Work


class TwinCluster:
    """Meets ClusterReader and Actuator; `telemetry()` meets TelemetrySource."""

    name = "twin"
    world = World.TWIN

    def __init__(
        self,
        spec: TwinSpec,
        fleet: Fleet,
        faults: tuple[TrueFault, ...],
        noise: tuple[Noise, ...],
        laws: tuple[FaultLaw, ...],
        durations: Durations | None = None,
    ) -> None:
        self.spec, self.fleet, self.faults, self.noise = spec, fleet, faults, noise
        self.clock = TwinClock(spec.start)
        self.agenda = Agenda()
        self.cluster_id = f"{World.TWIN.value}-{spec.world_name}-{spec.seed}"
        self.session = f"session-{spec.seed}"
        self.ailments, self.wire = Ailments(), Wire()
        self.paid = Paid(len(fleet))
        self.machines = Machines(fleet, self.clock)
        self.work = Work(spec, fleet, self.machines, self.ailments, self.agenda, self.clock)
        self.roster = Roster(self.work, self.machines, self.clock)
        self.harm = Harm(
            spec,
            laws,
            self.machines,
            self.work,
            self.ailments,
            self.wire,
            self.agenda,
            self.clock,
        )
        self.effects = Effects(
            self.cluster_id, self.session, self.harm, self.paid, durations or Durations()
        )
        self.panel = Panel(spec, self.clock, self.machines, self.work, self.ailments)
        self.disturbance = Disturbance(spec, self.harm, self.panel)
        self.harm.play(faults)
        self.disturbance.play(noise)

    @staticmethod
    def of(spec: TwinSpec, durations: Durations | None = None) -> TwinCluster:
        """The whole twin of a spec: fleet, laws, faults and noise drawn from its seed."""
        laws = every_law()
        return TwinCluster(
            spec, build(spec), draw_faults(spec, laws), draw_noise(spec), laws, durations
        )

    # Time.

    def advance(self, to_s: float) -> None:
        """Play everything up to and with this time. Raises Bug for a time that is past."""
        agenda, clock = self.agenda, self.clock
        while (at_s := agenda.next_s()) <= to_s:
            clock.move(at_s)
            agenda.take()()
        clock.move(to_s)

    def next_event_s(self) -> float:
        """When the next thing happens by itself that the watch may see; inf when nothing will."""
        return self.agenda.next_s()

    @property
    def mark(self) -> tuple[int, ...]:
        """What stands for everything visible now; drift, step counts and ages left out."""
        return (
            self.machines.stamp,
            self.work.stamp,
            self.ailments.stamp,
            self.wire.stamp,
            self.effects.stamp,
            self.panel.stamp,
        )

    def changed_since(self, mark: tuple[int, ...]) -> bool:
        """Whether anything that the watch can see has changed since this mark was taken."""
        return self.mark != mark

    # What the watch reads.

    def read(self) -> ClusterState:
        """Meets ClusterReader. What did not change is the same object as before."""
        return ClusterState(
            session=self.session,
            cluster=self.cluster_id,
            world=World.TWIN,
            read_at=self.clock.now(),
            nodes=self.machines.words(),
            jobs=self.roster.jobs(),
            fences=dict(self.machines.fences),
            checks=self.effects.checks,
            demand=self.roster.demand(self.fleet.pools),
        )

    def telemetry(self) -> TwinTelemetry:
        """Meets TelemetrySource."""
        return TwinTelemetry(self)

    # What the watch does.

    @property
    def serves(self) -> frozenset[str]:
        return self.effects.serves

    def execute(self, order: EffectOrder) -> Receipt:
        """Meets Actuator: at most once for a key; refuses a stale token, session and life."""
        return self.effects.execute(order)

    def enforce(self, order: EffectOrder) -> Receipt:
        """Meets Actuator: a drain's deadline has passed."""
        return self.effects.enforce(order)

    # What only the judges may ask. The watch holds none of it.

    def tally(self, to_s: float | None = None) -> Tally:
        """What the run is worth up to a time from now on (default: now)."""
        at_s = self.clock.s if to_s is None else to_s
        return tally(self.work.gangs.values(), at_s, self.paid, self.spec.gpus_per_node)

    @property
    def false_actions(self) -> FalseActions:
        return self.effects.referee.actions

    def active_faults(self, node: str = "") -> tuple[TrueFault, ...]:
        """What is truly wrong now on a node, or anywhere; the oldest first."""
        if not node:
            return tuple(a.fault for a in self.ailments.now.values())
        return tuple(a.fault for a in self.ailments.on(self.machines.index.get(node, -1)))

    def law_of(self, fault: TrueFault) -> FaultLaw:
        return self.harm.laws[fault.law]

    def cures(self, fault: TrueFault, kind: str) -> bool:
        """Whether an effect of this kind ends this fault."""
        return kind in self.law_of(fault).cured_by

    def mend(self, fault: int) -> bool:
        """People mend the fault of this number now. False when it is over already."""
        ailment = self.ailments.now.get(fault)
        if ailment is None:
            return False
        self.harm.mend(ailment)
        return True


class TwinTelemetry:
    """The telemetry side of a TwinCluster."""

    def __init__(self, cluster: TwinCluster) -> None:
        self._cluster = cluster

    def read(self) -> TelemetryRead:
        """The latest frame, and the lines since the last read. Raises ClusterUnavailable while
        an outage holds the store; its lines come afterwards."""
        cluster = self._cluster
        if cluster.disturbance.outages:
            raise ClusterUnavailable("the store of telemetry does not answer (simulated outage)")
        return TelemetryRead(
            frame=cluster.panel.frame(),
            signals=cluster.wire.take(),
            source=SourceState("telemetry", 0.0),
        )
