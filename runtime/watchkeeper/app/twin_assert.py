"""Did every effect keep the promises? Seen from outside, at each one, with a ledger of its own.

Stands between executor and twin as an Actuator and shares no code with `policy.invariants`. It
changes nothing: what breaks a promise is noted in `violations`, never prevented. The numbers are
those of docs/invariants.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from watchkeeper.app.twin_kept import not_kept
from watchkeeper.control.life import BADLY, State
from watchkeeper.control.papers import File
from watchkeeper.control.record import Record
from watchkeeper.core.action import TRAITS, kind_of, node_of, targets_of
from watchkeeper.core.cluster import ClusterState, Job, JobState, Node, RayState
from watchkeeper.core.floors import Floors
from watchkeeper.core.ports import EffectOrder, Receipt, StopFile
from watchkeeper.core.verdict import Answer, Autonomy
from watchkeeper.twin.cluster import TwinCluster

HOUR_S, DAY_S, WEEK_S = 3600.0, 86400.0, 7 * 86400.0
MOST_AN_HOUR, MOST_REQUEUES, MOST_REPAIRS = 20, 5, 3
SILENT_S, QUIET_S = 300.0, 60.0
SLOW_S, SLOW_STEP_S = 900.0, 180.0
INTENT_S = 400.0
"""What nobody was asked about is carried out within 5 minutes, or never; and one turn."""
TAKES_OUT = frozenset({"node.cordon", "node.drain", "node.reboot", "node.replace", "node.restart"})
ENDS_ALL = frozenset({"node.restart", "node.reboot", "node.replace", "gpu.reset"})
REPAIRS = frozenset({"node.drain", "node.restart", "node.reboot", "node.replace", "gpu.reset"})
UNDER_WAY = frozenset({State.STARTED, State.ISSUED})
HALVED = ("pool", "rack", "leaf", "nvlink_domain", "power_feed", "zone")
SERIAL = ("rack", "leaf", "nvlink_domain")


class Violation(NamedTuple):
    """One promise broken: its number, when, by which effect, and what was seen."""

    id: str
    at_s: float
    key: str
    text: str


class Past(NamedTuple):
    """One effect that was carried out."""

    at_s: float
    kind: str
    target: str
    node: str
    incident: str


class Ledger:
    """What outlives a crash of the watch: every effect that reached the cluster, and its key."""

    def __init__(self) -> None:
        self.past: list[Past] = []
        self.keys: set[str] = set()
        self.token = 0
        self.violations: list[Violation] = []

    def within(self, at_s: float, seconds: float) -> Iterator[Past]:
        """Newest first."""
        for past in reversed(self.past):
            if past.at_s <= at_s - seconds:
                return
            yield past


class Asserting:
    """Meets Actuator, over a twin. boundary: told of "effect.before" and "effect.after", so that
    a run may crash there. floors: what people declared to be kept."""

    name = "twin"

    def __init__(
        self, cluster: TwinCluster, record: Record, stop: StopFile, ledger: Ledger
    ) -> None:
        self._cluster, self._record, self._stop = cluster, record, stop
        self.ledger = ledger
        self.boundary: Callable[[str], None] = lambda _where: None
        self.floors: Callable[[], Floors] = Floors

    @property
    def serves(self) -> frozenset[str]:
        return self._cluster.serves

    def execute(self, order: EffectOrder) -> Receipt:
        """Hand the order on; what it breaks is noted only if it was carried out."""
        self.boundary("effect.before")
        before = self._cluster.read()
        broken = list(self._broken(order, before))
        again = order.key in self.ledger.keys
        receipt = self._cluster.execute(order)
        self._note(order, broken, again=again)
        self.boundary("effect.after")
        return receipt

    def enforce(self, order: EffectOrder) -> Receipt:
        """The end of a drain, by force."""
        broken = [v for v in self._orders_of_people(order, UNDER_WAY | BADLY) if v]
        receipt = self._cluster.enforce(order)
        self.ledger.violations += broken
        self.boundary("effect.after")
        return receipt

    def _note(self, order: EffectOrder, broken: list[Violation], *, again: bool) -> None:
        ledger = self.ledger
        ledger.violations += broken
        ledger.token = max(ledger.token, order.token)
        ledger.keys.add(order.key)
        if not again:
            action = order.action
            ledger.past.append(
                Past(
                    self._cluster.clock.s,
                    kind_of(action),
                    targets_of(action)[0],
                    node_of(action),
                    order.note,
                )
            )

    # What is looked at.

    def _broken(self, order: EffectOrder, state: ClusterState) -> Iterator[Violation]:
        yield from self._orders_of_people(order)
        yield from self._the_order_itself(order, state)
        yield from self._what_was_decided(order, state)
        yield from self._budgets(order)
        for text in not_kept(self.floors(), order.action, state):
            yield self._says("S11", order, text)
        node = state.nodes.get(node_of(order.action))
        if node is not None:
            yield from self._the_node(order, node, state)
        if TRAITS[kind_of(order.action)].disruptive:
            yield from self._one_at_a_time(order, node, state)

    def _says(self, ident: str, order: EffectOrder, text: str) -> Violation:
        return Violation(ident, self._cluster.clock.s, order.key, text)

    def _orders_of_people(
        self, order: EffectOrder, states: frozenset[State] = UNDER_WAY
    ) -> Iterator[Violation]:
        books, kind = self._record.books, kind_of(order.action)
        if self._stop.is_set() or books.orders.stopped:
            yield self._says("S4", order, f"{kind} while the watch is stopped")
        if books.halted:
            yield self._says("S9", order, f"{kind} while the watch is halted: {books.halted}")
        if kind in books.closed_kinds:
            yield self._says("S21", order, f"the gate for {kind} is closed")
        file = self._file(order)
        if books.orders.autonomy is Autonomy.OBSERVE:
            yield self._says("dial", order, f"{kind} while the dial is at observe")
        if file is None or file.state not in states:
            yield self._says("S26", order, f"{kind} without a line in the record")
        elif file.question is not None and not _approved(file):
            yield self._says("S14", order, f"{kind} was asked, and too few people said yes")

    def _what_was_decided(self, order: EffectOrder, state: ClusterState) -> Iterator[Violation]:
        """The target is there (S1), who said yes may say so (S15), and none of it is old (S23)."""
        action = order.action
        names = {node_of(action), str(getattr(action, "job", "")), str(getattr(action, "pool", ""))}
        there = any(name in state.nodes or name in state.jobs for name in names)
        if not there and not any(n.pool in names for n in state.nodes.values()):
            yield self._says("S1", order, f"{targets_of(action)[0]} is not there")
        file = self._file(order)
        if file is None:
            return
        if file.proposal.world is not state.world:
            yield self._says("S29", order, f"its evidence is of the {file.proposal.world} world")
        yes = [a for a in file.approvals if a.answer is Answer.APPROVE]
        if any(a.person.startswith("agent:") or a.person == file.proposal.by for a in yes):
            yield self._says("S15", order, "who asked for it, or an agent, said yes to it")
        asked = file.question is not None
        old_s = (self._cluster.clock.now() - file.proposal.at).total_seconds()
        if old_s > (DAY_S if asked else INTENT_S):
            yield self._says("S23", order, f"decided on {old_s:.0f} s ago")

    def _file(self, order: EffectOrder) -> File | None:
        file = self._record.books.files.get(order.key.partition(":")[0])
        mine = file is not None and file.effect is not None and file.effect.key == order.key
        return file if mine else None

    def _the_order_itself(self, order: EffectOrder, state: ClusterState) -> Iterator[Violation]:
        if order.key in self.ledger.keys:
            yield self._says("S18", order, "the same effect a second time")
        if order.token <= self.ledger.token:
            yield self._says("S6", order, f"token {order.token} after {self.ledger.token}")
        if order.cluster != state.cluster:
            yield self._says("S29", order, f"meant for {order.cluster}")
        if order.session != state.session or not self._record.books.reconciled:
            yield self._says("S5", order, "another session, or one that is not reconciled")

    def _budgets(self, order: EffectOrder) -> Iterator[Violation]:
        now_s, ledger = self._cluster.clock.s, self.ledger
        kind, target, name = (
            kind_of(order.action),
            targets_of(order.action)[0],
            node_of(order.action),
        )
        if TRAITS[kind].disruptive:
            hour = sum(TRAITS[p.kind].disruptive for p in ledger.within(now_s, HOUR_S))
            if hour >= MOST_AN_HOUR:
                yield self._says("S3", order, f"{hour + 1} disruptive effects in an hour")
            yield from self._slowly(order)
        if kind == "job.requeue":
            day = sum(p.kind == kind and p.target == target for p in ledger.within(now_s, DAY_S))
            gang = self._cluster.read().jobs.get(target.removeprefix("job:"))
            if day >= MOST_REQUEUES + (int(gang.gpus) // 1024 if gang else 0):
                yield self._says("S19", order, f"{target} requeued {day + 1} times in 24 hours")
        if kind in REPAIRS:
            week = [p for p in ledger.within(now_s, WEEK_S) if p.node == name and p.kind in REPAIRS]
            others = {p.incident for p in week} | {order.note}
            same = Counter((p.incident, p.kind) for p in week)[order.note, kind] + 1
            if max(len(others), same) > MOST_REPAIRS:
                yield self._says("S20", order, f"{name} repaired {len(others)} times in 7 days")

    def _slowly(self, order: EffectOrder) -> Iterator[Violation]:
        """Work that begins after an outage, one repair for each step of time."""
        back = self._record.books.back_steady
        back_s = SLOW_S if back is None else self._cluster.clock.steady() - back
        if back_s >= SLOW_S:
            return
        begun = {
            p.incident or p.target
            for p in self.ledger.within(self._cluster.clock.s, back_s)
            if TRAITS[p.kind].disruptive
        }
        if order.note not in begun and len(begun) > back_s // SLOW_STEP_S:
            yield self._says("S23", order, f"{len(begun)} begun {back_s:.0f} s after an outage")

    def _the_node(self, order: EffectOrder, node: Node, state: ClusterState) -> Iterator[Violation]:
        action, kind = order.action, kind_of(order.action)
        if node.control_path:
            yield self._says("S13", order, f"{node.name} carries the control path")
        if getattr(action, "incarnation", node.incarnation) != node.incarnation:
            yield self._says("S5", order, f"{node.name} is another incarnation")
        lives = node.ray_state in (RayState.ALIVE, RayState.DRAINING)
        busy = [j.name for j in _running_on(state, node.name)]
        if kind in ENDS_ALL and lives and busy:
            yield self._says("S7", order, f"{node.name} runs {', '.join(busy)}")
        if TRAITS[kind].disruptive:
            yield from self._silence(order, node, lives=lives)
        if kind in TAKES_OUT and not _out(state, node):
            yield from self._halves(order, node, state)

    def _silence(self, order: EffectOrder, node: Node, *, lives: bool) -> Iterator[Violation]:
        if node.ray_state is RayState.DEAD and node.process_gone is True:
            return
        clock = self._cluster.clock
        last = self._cluster.panel.frame().last_read(node.name)
        silent_s = float("inf") if last is None else clock.now().timestamp() - last
        if silent_s < (QUIET_S if lives else SILENT_S) and lives:
            return
        if silent_s < SILENT_S:
            yield self._says("S10", order, f"{node.name} was silent for {silent_s:.0f} s only")

    def _halves(self, order: EffectOrder, node: Node, state: ClusterState) -> Iterator[Violation]:
        mine = {k: v for k, v in node.domains().items() if k in HALVED}
        counted = [other for other in state.nodes.values() if not other.control_path]
        gone = [n for n in counted if n.name == node.name or _out(state, n)]
        for kind, name in mine.items():
            count = sum([getattr(other, kind) == name for other in counted])
            out = sum([getattr(other, kind) == name for other in gone])
            if count >= 2 and out > max(1, count // 2):
                text = f"{out} of {count} nodes of {kind} {name} are out"
                yield self._says("S2", order, text)

    def _one_at_a_time(
        self, order: EffectOrder, node: Node | None, state: ClusterState
    ) -> Iterator[Violation]:
        mine = _keys(state, node) | _job_key(order)
        for file in self._record.books.in_hand():
            effect = file.effect
            if effect is None or effect.key == order.key or not effect.issued:
                continue
            if not TRAITS[kind_of(file.action)].disruptive:
                continue
            if file.proposal.incident == order.note and node_of(file.action) == node_of(
                order.action
            ):
                continue
            other = state.nodes.get(node_of(file.action))
            shared = mine & _keys(state, other)
            if shared:
                text = f"{effect.key} is under way in {sorted(shared)[0]}"
                yield self._says("S27", order, text)


def _approved(file: File) -> bool:
    yes = {a.person for a in file.approvals if a.answer is Answer.APPROVE}
    return file.question is not None and len(yes) >= file.question.needs


def _out(state: ClusterState, node: Node) -> bool:
    return node.ray_state is not RayState.ALIVE or node.name in state.fences


def _running_on(state: ClusterState, name: str) -> list[Job]:
    return [j for j in state.jobs.values() if j.state is JobState.RUNNING and name in j.nodes]


def _keys(state: ClusterState, node: Node | None) -> set[str]:
    """What an effect on this node has to itself while it is under way."""
    if node is None:
        return set()
    named = node.domains()
    keys = {f"{kind}:{named[kind]}" for kind in SERIAL if kind in named}
    return keys | {f"job:{j.name}" for j in _running_on(state, node.name)}


def _job_key(order: EffectOrder) -> set[str]:
    job = str(getattr(order.action, "job", ""))
    return {f"job:{job}"} if job else set()
