"""The one place from which an effect is asked for, and the last look before it.

started (durable) -> look again, judge again -> latch and fence -> one effect -> issued. Whatever
does not hold ends in *refused*, before anything was done. A crash in between leaves *started*:
that is observed later, never repeated (S18).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from watchkeeper.control.concerns import fence_stays
from watchkeeper.control.gate import Weighed, weigh
from watchkeeper.control.holding import holder_of
from watchkeeper.control.look import stale
from watchkeeper.control.papers import Effect, File
from watchkeeper.control.past import domains_of
from watchkeeper.control.record import Record
from watchkeeper.core.action import NodeDrain, kind_of, node_of, targets_of
from watchkeeper.core.clock import Clock
from watchkeeper.core.errors import ClusterUnavailable, EffectFailed, EffectInDoubt, LeaseLost
from watchkeeper.core.event import Kind
from watchkeeper.core.impact import generation
from watchkeeper.core.ports import Actuator, EffectOrder, StopFile
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.verdict import Answer, Autonomy, Decision
from watchkeeper.core.word import digest, plain
from watchkeeper.policy.model import CheckedPolicy
from watchkeeper.remedy.precondition import unmet


@dataclass(frozen=True, slots=True)
class Executor:
    """Carries out cleared proposals, one effect at a time.

    look reads the world afresh; policy gives the set in force now; actuators maps each kind of
    action to the one provider that serves it here.
    """

    record: Record
    actuators: Mapping[str, Actuator]
    stop: StopFile
    look: Callable[[], Snapshot | None]
    policy: Callable[[], CheckedPolicy | None]
    clock: Clock

    def execute(self, file: File, seen: Snapshot) -> None:
        """Carry out one cleared Proposal, or refuse it. Raises JournalBroken: then nothing was
        done, since *started* could not be made durable (S26)."""
        held = self._held_by_another(file)
        if held:
            return  # its turn comes; it stays cleared
        order = self._start(file, seen)
        snapshot = self._look_again()
        level = self.record.books.orders.autonomy
        refusal = self._why_not(file, snapshot) or self._latched(order) or self._dialled(level)
        if refusal or snapshot is None:
            self._finish(file, "refused", refusal or "the cluster cannot be read")
            return
        self._call(file, order)

    def enforce(self, file: File, snapshot: Snapshot) -> None:
        """End by force what a deadline has overtaken (a drain), under way or ended badly. Checks
        latch, halt, dial and target again."""
        assert file.effect is not None
        if self.may_not_end(file, snapshot):
            return
        ident = file.proposal.id
        self.record.write(
            Kind.EFFECT_ISSUED,
            (ident, file.proposal.incident),
            proposal=ident,
            enforced=True,
            text="the deadline has passed: its raylet is ended",
            durable=True,
        )
        if self._stopped():  # pressed while the line was written
            return
        actuator = self.actuators[kind_of(file.action)]
        try:
            actuator.enforce(_order(file, file.effect, snapshot.state.cluster))
        except (EffectFailed, LeaseLost) as err:
            if file.in_hand:
                self._finish(file, "failed", str(err))
        except EffectInDoubt:
            pass  # verification sees what became of it

    def may_not_end(self, file: File, snapshot: Snapshot) -> str:
        """Why a drain may not be ended by force now, or ""."""
        node, effect, books = (
            snapshot.nodes.get(node_of(file.action)),
            file.effect,
            self.record.books,
        )
        if effect is None or node is None or node.incarnation != effect.before:
            return "it is another raylet now"
        if self._stopped():
            return "the watch is stopped"
        if books.halted:
            return "the watch is halted"  # S9
        if kind_of(file.action) in books.closed_kinds:
            return f"the gate for {kind_of(file.action)} is closed"  # S21
        if books.orders.autonomy is Autonomy.OBSERVE:
            return "the dial is at observe"
        if hold := holder_of(books, self.clock, node.name, snapshot):
            return hold.says
        return stale(snapshot)

    # The steps, in order.

    def _held_by_another(self, file: File) -> bool:
        """At most one effect holds a target, and at most one a node."""
        mine = set(targets_of(file.action))
        node = node_of(file.action)
        return any(
            mine & set(targets_of(other.action)) or (node and node_of(other.action) == node)
            for other in self.record.books.in_hand()
        )

    def _start(self, file: File, seen: Snapshot) -> EffectOrder:
        """Take the lease, with the next fencing token, and make *started* durable."""
        proposal = file.proposal
        steady = self.clock.steady()
        token = self.record.books.fence_token + 1
        node = seen.nodes.get(node_of(file.action))
        deadline = file.action.deadline_s if isinstance(file.action, NodeDrain) else None
        effect = Effect(
            key=f"{proposal.id}:{digest(file.action)[:12]}",
            token=token,
            started_steady=steady,
            started_at=self.clock.now(),
            verify_by=steady + self._time_to_show(file),
            before=node.incarnation if node else "",
            domains=domains_of(proposal, file.impact, seen),
            session=seen.state.session,
            enforce_at=None if deadline is None else steady + deadline,
        )
        self.record.write(
            Kind.EFFECT_STARTED,
            (proposal.id, proposal.incident),
            proposal=proposal.id,
            action=kind_of(file.action),
            targets=targets_of(file.action),
            effect=plain(effect),
            durable=True,
        )
        return _order(file, effect, seen.state.cluster)

    def _time_to_show(self, file: File) -> float:
        """The policy's verify_within, else the Effect's own time; a drain adds its deadline."""
        asked = file.verdict.verify_within_s if file.verdict else None
        deadline = file.action.deadline_s if isinstance(file.action, NodeDrain) else 0.0
        return (asked or file.proposal.effect.within_s) + deadline

    def _look_again(self) -> Snapshot | None:
        try:
            return self.look()
        except ClusterUnavailable:
            return None

    def _why_not(self, file: File, snapshot: Snapshot | None) -> str:
        """Everything computed afresh; why the effect may not happen after all, or ""."""
        if snapshot is None:
            return "the cluster cannot be read"
        proposal = file.proposal
        if why := stale(snapshot):
            return why
        if why := unmet(proposal.action, snapshot):
            return why
        if why := fence_stays(proposal, self.record.books, snapshot):
            return why
        if proposal.world is not snapshot.world:
            return f"its evidence is from the {proposal.world} world (S29)"
        policy = self.policy()
        fresh = generation(snapshot, proposal.action, policy.version if policy else "")
        if fresh != proposal.generation:
            return "what it was decided on has changed since (S5)"
        weighed = weigh(proposal, snapshot, self.record.books, policy, self.clock)
        self.record.write(
            Kind.VERDICT,
            (proposal.id, proposal.incident),
            proposal=proposal.id,
            verdict=plain(weighed.verdict),
            input=weighed.inputs,
            at_effect=True,
            durable=True,
        )
        return self._not_covered(file, weighed)

    def _not_covered(self, file: File, weighed: Weighed) -> str:
        """Is the fresh verdict met by what was allowed or approved? Else why not."""
        verdict = weighed.verdict
        if verdict.decision is Decision.DENY:
            return verdict.because
        question = file.question
        bound = question.shown.impact if question else file.impact
        if not weighed.impact.within(bound):
            return "it would touch more now than was shown"
        if question is None:
            allowed = verdict.decision is Decision.ALLOW
            return "" if allowed else "a person must be asked now"
        # What was asked stays asked, also where the yes itself makes the policy allow it.
        if self.clock.steady() > question.expires_steady:
            return "the approval has expired"
        if digest(question.shown) != question.digest:
            return "what was shown is not what is about to be done (S14)"
        needed = max(question.needs, verdict.obligations.quorum if verdict.obligations else 0)
        people = {
            a.person
            for a in file.approvals
            if a.answer is Answer.APPROVE and a.digest == question.digest
        }
        return "" if len(people) >= needed else f"{needed} people must approve now"

    def _latched(self, order: EffectOrder) -> str:
        """The stop latch, and the fence: no newer lease was granted meanwhile (S4, S6)."""
        if self._stopped():
            return "the watch is stopped (S4)"
        if order.token != self.record.books.fence_token:
            return "a newer lease was granted (S6)"
        return ""

    def _dialled(self, judged: Autonomy) -> str:
        """Was the operator's dial turned down since it was judged, at this level, a moment ago?"""
        level = self.record.books.orders.autonomy
        if level is Autonomy.OBSERVE:
            return "the dial is at observe"
        if level is Autonomy.ASK and judged is Autonomy.AUTO:
            return "the dial says that a person must be asked now"
        return ""

    def _stopped(self) -> bool:
        return self.stop.is_set() or self.record.books.orders.stopped

    def _call(self, file: File, order: EffectOrder) -> None:
        actuator = self.actuators[kind_of(file.action)]
        ident = file.proposal.id
        try:
            receipt = actuator.execute(order)
        except EffectInDoubt as err:
            self.record.write(Kind.NOTE, (ident, file.proposal.incident), text=str(err), by="watch")
            return  # started and in doubt: verification observes it
        except LeaseLost as err:
            self._finish(file, "refused", str(err))
            return
        except EffectFailed as err:
            self._finish(file, "failed", str(err))
            return
        self.record.write(
            Kind.EFFECT_ISSUED,
            (ident, file.proposal.incident),
            proposal=ident,
            provider=receipt.provider,
            text=receipt.text,
            durable=True,
        )

    def _finish(self, file: File, result: str, why: str) -> None:
        self.record.write(
            Kind.EFFECT_FINISHED,
            (file.proposal.id, file.proposal.incident),
            proposal=file.proposal.id,
            result=result,
            why=why,
            durable=True,
        )


def _order(file: File, effect: Effect, cluster: str) -> EffectOrder:
    return EffectOrder(
        action=file.action,
        key=effect.key,
        token=effect.token,
        session=effect.session,
        cluster=cluster,
        note=file.proposal.incident,
    )
