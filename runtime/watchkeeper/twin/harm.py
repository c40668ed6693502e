"""The life of each true fault: onset, what it says and hurts, its end, and what comes back.

Ended by an effect that its law lists, by itself, or by people in their own time. The watch sees
nothing of this but its symptoms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from watchkeeper.twin.agenda import Agenda
from watchkeeper.twin.ailment import Ailment, Ailments
from watchkeeper.twin.chance import Stream, uniform
from watchkeeper.twin.clock import TwinClock
from watchkeeper.twin.faults import node_rates, relapse
from watchkeeper.twin.gangs import Gang
from watchkeeper.twin.machines import Machines
from watchkeeper.twin.people import found_s, manual_repair_s
from watchkeeper.twin.symptoms import (
    POLL_S,
    ROLL_S,
    Telling,
    line,
    readings,
    target,
    tellings,
)
from watchkeeper.twin.wire import Wire
from watchkeeper.twin.words import FaultLaw, Hurt, Scope, TrueFault, TwinSpec
from watchkeeper.twin.work import Work

RAY_DEAD_S = 15.0
"""Ray declares a raylet dead this long after it died: defaults, measured at 14 s."""
BACK_S = 60.0
"""A host whose fault ended by itself starts its raylet this much later. Assumed."""
FLAP_DOWN_S, FLAP_UP_S, FLAPS = 20.0, 160.0, 3
"""A flapping raylet is away and back, and at last stays away. Assumed."""
NAN_AGAIN_S = (60.0, 300.0, 1800.0)
"""A gang whose loss is no number says so soon after it began to step, and again and again (the last
is the interval from then on) for as long as it goes on computing. Assumed."""
SILENT_S = 90.0
"""How long a collector is silent where silence is a misleading symptom. Assumed."""


class Harm:
    """Plays every fault. busy(node): an effect holds the node right now, so people keep off.
    entered: faults in the order in which they were drawn or came back; played: those that began."""

    def __init__(
        self,
        spec: TwinSpec,
        laws: Iterable[FaultLaw],
        machines: Machines,
        work: Work,
        ailments: Ailments,
        wire: Wire,
        agenda: Agenda,
        clock: TwinClock,
    ) -> None:
        self.spec, self.laws = spec, {law.name: law for law in laws}
        self.machines, self.work, self.ailments = machines, work, ailments
        self.wire, self.agenda, self.clock = wire, agenda, clock
        self.busy: Callable[[int], bool] = lambda _node: False
        self.played: list[TrueFault] = []
        self.entered: list[TrueFault] = []
        self.over: list[Ailment] = []
        self.replaced: set[int] = set()
        self._rates = node_rates(spec)
        self._next_id = 0
        work.failed = self._met_again
        work.corrupted = self._nonsense_again
        work.submitted = lambda gang: self.cure(gang.nodes, "job.requeue")

    def play(self, faults: Iterable[TrueFault]) -> None:
        """Enter faults on the agenda, each at its time."""
        for fault in faults:
            self.entered.append(fault)
            self._next_id = max(self._next_id, fault.id + 1)
            self.agenda.enter(fault.at_s, partial(self.onset, fault))

    # Its beginning.

    def onset(self, fault: TrueFault) -> None:
        """It begins now."""
        law = self.laws[fault.law]
        if self._left_with_the_old_node(fault, law):
            return
        ailment = Ailment(fault, law, set(fault.nodes))
        gangs = self.work.running_on(fault.nodes)
        if law.scope is Scope.JOB and not gangs:
            return  # no program runs there that could fail
        self.played.append(fault)
        self.ailments.add(ailment)
        for telling in tellings(fault, law):
            self._tell_later(ailment, telling)
        for reading in readings(fault, law):
            self.agenda.enter(fault.at_s + reading.after_s, partial(self._read, ailment, reading))
        self._hurt(ailment, gangs)
        if law.hurts is Hurt.TAINTS:
            for gang in gangs:
                self._nonsense_again(gang, ailment, len(NAN_AGAIN_S) - 1)
        self._strike_raylets(ailment)
        self.agenda.enter(fault.ends_s, lambda: self._ends_by_itself(ailment))
        by_hand_s = fault.at_s + manual_repair_s(self.spec, law, fault)
        self.agenda.enter(by_hand_s, lambda: self.mend(ailment))
        if ailment.hurts:
            known_s = fault.at_s + found_s(self.spec, law, fault)
            self.agenda.enter(known_s, lambda: self._found(ailment))

    def _left_with_the_old_node(self, fault: TrueFault, law: FaultLaw) -> bool:
        """A node that was replaced fails at the mean rate: what its lemon would have had more is
        left out, by chance of the fault's own."""
        node = fault.nodes[0]
        if law.scope not in (Scope.GPU, Scope.NODE) or node not in self.replaced:
            return False
        more = float(self._rates.multiplier[node])
        return more > 1 and uniform(self.spec.seed, Stream.EFFECTS, fault.id) >= 1 / more

    def _hurt(self, ailment: Ailment, gangs: list[Gang]) -> None:
        for gang in gangs:
            if ailment.law.hurts is Hurt.STOPS:
                ailment.stopped.append((gang, gang.attempt))
                self.work.stop(gang)
            else:
                self.work.feel(gang)

    def _strike_raylets(self, ailment: Ailment) -> None:
        fault, law = ailment.fault, ailment.law
        if law.kills_raylet:
            self.agenda.enter(self.clock.s + RAY_DEAD_S, lambda: self._dies(ailment))
            for i in fault.nodes:
                self.machines.hush(i)
        elif "node.flap" in law.shows:
            for k in range(FLAPS):
                self.agenda.enter(
                    self.clock.s + RAY_DEAD_S + k * FLAP_UP_S,
                    partial(self._flaps, ailment, last=k == FLAPS - 1),
                )
        if fault.first == "node.silent":
            for i in fault.nodes:
                self.machines.hush(i)
            self.agenda.enter(self.clock.s + SILENT_S, lambda: self._heard_again(fault.nodes))

    def _dies(self, ailment: Ailment) -> None:
        gone = True if "node.process_gone" in ailment.law.shows else None
        for i in sorted(ailment.left):
            self._down(ailment, i, gone=gone)

    def _down(self, ailment: Ailment, i: int, *, gone: bool | None) -> None:
        if self.machines.down(i) or self.busy(i):
            return
        ailment.downed.add(i)
        gang = self.work.on(i)
        self.machines.end(i, gone=gone)
        if gang is not None:
            ailment.stopped.append((gang, gang.attempt))
            self.work.stop(gang)

    def _flaps(self, ailment: Ailment, *, last: bool) -> None:
        for i in sorted(ailment.left):
            self._down(ailment, i, gone=True)
            if not last:
                self.agenda.enter(self.clock.s + FLAP_DOWN_S, partial(self.raise_alone, i))

    def _heard_again(self, nodes: tuple[int, ...]) -> None:
        for i in nodes:
            if self.machines.alive(i):
                self.machines.speak(i)

    # What is said of it.

    def _tell_later(self, ailment: Ailment, telling: Telling) -> None:
        nodes = ailment.fault.nodes
        for k, node in enumerate(nodes):
            at_s = self.clock.s + telling.after_s + ROLL_S * k / len(nodes)
            self.agenda.enter(at_s, partial(self._tell, ailment, telling, node))

    def _tell(self, ailment: Ailment, telling: Telling, node: int) -> None:
        """Said while it lasts there; what the first seconds bring is said in any case."""
        fault = ailment.fault
        if node not in ailment.left and telling.after_s > ROLL_S:
            return
        gpu = fault.blames if telling.innocent else fault.gpu
        if gpu < 0 and telling.code.startswith("xid."):
            gpu = fault.id % self.machines.gpus  # a driver's line names one GPU
        gang = self.work.holder[node]
        silent = gang is None or not gang.running or self.clock.s < gang.ready_s
        if silent and telling.code.startswith("gang."):
            return  # it makes no steps of which it could say anything
        whom = target(telling.code, self.machines.names[node], gpu, gang.name if gang else "none")
        ident = f"S-twin-{fault.id}-{telling.code}-{node}-{telling.after_s:g}"
        life = self.machines.word(node).incarnation
        self.wire.say(line(self.clock, ident, telling.code, whom, life=life))
        if ailment.law.hurts is Hurt.TAINTS:
            ailment.told = True
            if gang is not None and gang.tainted:
                gang.known = True

    def _read(self, ailment: Ailment, reading: Telling) -> None:
        """The counters of each of its nodes that is up, and of itself again in a minute."""
        if not ailment.left:
            return
        for node in sorted(ailment.left):
            heard = self.machines.silent_s[node] > self.clock.s
            if heard and self.machines.alive(node):
                self._tell(ailment, reading, node)
        again = reading._replace(after_s=reading.after_s + POLL_S)
        self.agenda.enter(ailment.fault.at_s + again.after_s, partial(self._read, ailment, again))

    def _met_again(self, gang: Gang, ailment: Ailment) -> None:
        """A gang was started upon it and ended: its first code is said again."""
        code = ailment.law.shows[0]
        again = Telling(self.clock.s - ailment.fault.at_s, code)
        if code.partition(".")[0] in ("xid", "ecc", "ib", "nic", "nvlink"):
            for node in sorted(ailment.left & set(gang.nodes))[:1]:
                self._tell(ailment, again, node)

    def _nonsense_again(self, gang: Gang, ailment: Ailment, turn: int = 0) -> None:
        """A gang was started upon what corrupts it: its loss is no number again, of this attempt.
        Before the fault was told at all, `tellings` says when it is noticed."""
        if "gang.nan" not in ailment.law.shows:
            return
        attempt, wait_s = gang.attempt, NAN_AGAIN_S[min(turn, len(NAN_AGAIN_S) - 1)]

        def tell() -> None:
            here = sorted(ailment.left & set(gang.nodes))
            if not (here and gang.running and gang.attempt == attempt):
                return
            self._tell(ailment, Telling(self.clock.s - ailment.fault.at_s, "gang.nan"), here[0])
            self._nonsense_again(gang, ailment, turn + 1)

        self.agenda.enter(max(self.clock.s, gang.ready_s) + wait_s, tell)

    # Its end.

    def cure(self, nodes: list[int], kind: str, gpu: int = -1) -> tuple[TrueFault, ...]:
        """An effect of this kind has been carried out on these nodes: what it ended there."""
        ended = [a for a in self.ailments.among(nodes) if a.cured_by(kind, gpu)]
        for ailment in ended:
            self._leave(ailment, ailment.left.intersection(nodes), kind != "node.replace")
        return tuple(a.fault for a in ended)

    def _leave(self, ailment: Ailment, nodes: set[int], comes_back: bool) -> None:
        self.ailments.leave(ailment, nodes)
        if ailment.found:
            self.work.shunned -= {i for i in nodes if not any(a.found for a in self.ailments.on(i))}
        for gang in self.work.running_on(sorted(nodes)):
            self.work.feel(gang)
        if ailment.left:
            return
        ailment.over_s = self.clock.s
        self.over.append(ailment)
        if not comes_back:
            return
        again = relapse(ailment.fault, ailment.law, self.clock.s, self.spec, self._next_id)
        if again is not None:
            self.play((again,))

    def _ends_by_itself(self, ailment: Ailment) -> None:
        if not ailment.left:
            return
        self._leave(ailment, set(ailment.left), True)
        if ailment.found:
            self.work.fill()
        self.agenda.enter(self.clock.s + BACK_S, lambda: self._all_rise(ailment))

    def _all_rise(self, ailment: Ailment) -> None:
        for i in sorted(ailment.downed):
            self.raise_alone(i)

    def raise_alone(self, i: int) -> None:
        """The raylet starts again without us, if nothing keeps it down and nobody works on it."""
        if self.machines.down(i) and not self.busy(i) and not self.kept_down(i):
            self.machines.rise(i, token=None)
            self.work.fill()

    def kept_down(self, i: int) -> bool:
        """A fault is there that no raylet survives."""
        return any(a.law.kills_raylet for a in self.ailments.on(i))

    def mend(self, ailment: Ailment) -> None:
        """People mend it by hand: the node starts anew and serves, gangs that it ended run again.

        Hands on a host need it empty, so what still runs there is ended and submitted again too.
        """
        held, law = set(ailment.left), ailment.law
        if held:
            self._leave(ailment, held, False)
        if law.scope in (Scope.GPU, Scope.NODE) and ailment.hurts:
            for i in sorted(held):
                self._start_anew_by_hand(ailment, i)
        for i in sorted(ailment.downed):
            self.raise_alone(i)
        if law.hurts is Hurt.TAINTS:
            self._roll_back(held)
        for gang, attempt in ailment.stopped:
            if gang.attempt == attempt:
                self.work.requeue(gang)
        self.work.fill()

    def _found(self, ailment: Ailment) -> None:
        """People know where it is: gangs that it ended run again without those nodes, one that it
        slows is moved if there are nodes for it. Nothing is mended, and nobody cordons anything.
        """
        if not ailment.left:
            return
        ailment.found = True
        self.work.shunned |= ailment.left
        for gang, attempt in ailment.stopped:
            if gang.attempt == attempt:
                self.work.requeue(gang)
        if ailment.law.hurts is Hurt.SLOWS:
            for gang in self.work.running_on(sorted(ailment.left)):
                if self.work.can_leave(gang):
                    self.work.preempt(gang)

    def _start_anew_by_hand(self, ailment: Ailment, i: int) -> None:
        if self.busy(i) or self.kept_down(i):
            return
        gang = self.work.on(i)
        if gang is not None:
            ailment.stopped.append((gang, gang.attempt))
            self.work.stop(gang)
        self.machines.open(i)
        self.machines.rise(i, token=None)

    def _roll_back(self, nodes: set[int]) -> None:
        """People have found that its steps are worthless: it starts from before."""
        for gang in self.work.running_on(sorted(nodes)):
            if gang.tainted:
                gang.known = True
                self.work.stop(gang)
                self.work.requeue(gang)
