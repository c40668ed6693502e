"""A person types a step: shown first as a card, judged and not recorded; sent by their button, it
becomes a Proposal in the turn like any other.

It is signed by the person, who may not approve it (S15), and never runs without another person's
yes, wherever the dial stands (`gate.orders_for`). Each target is a Proposal of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from watchkeeper.control.asking import blast, undo_text
from watchkeeper.control.concerns import concerns
from watchkeeper.control.gate import BY_HAND, bound_of, by_hand, weigh
from watchkeeper.control.left import await_turn
from watchkeeper.control.life import State
from watchkeeper.control.papers import File
from watchkeeper.control.propose import proposal_of
from watchkeeper.control.reserving import Wish, draft_of
from watchkeeper.control.watch import Watch
from watchkeeper.core.action import (
    Action,
    JobPreempt,
    JobRequeue,
    PoolScale,
    kind_of,
    parse_action,
    say,
)
from watchkeeper.core.chat import GOOD_FOR, Card, CardStep, Ordered
from watchkeeper.core.desk import Person
from watchkeeper.core.errors import Malformed, Refused
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.impact import started_gpus
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.verdict import Verdict
from watchkeeper.remedy.precondition import unmet

MOST_AN_HOUR = 40
"""Steps of all people together that were typed within the hour: each may wake somebody."""
BY_HAND_KINDS = frozenset(
    {
        "node.cordon",
        "node.drain",
        "node.restart",
        "node.reboot",
        "gpu.reset",
        "gpu.quarantine",
        "check.run",
        "job.requeue",
        "job.preempt",
        "pool.scale",
    }
)
"""What the library's orders `by-hand` let people ask for."""
_THREAD = "chat:{seq}/{step}"


def card_of(
    watch: Watch, person: Person, order: Ordered, notes: tuple[str, ...] = (), worded: str = ""
) -> Card:
    """What would be asked, each target judged by the policy in force. Records nothing, and never
    raises: a target that cannot be asked for says why."""
    with watch.record.lock:
        snapshot = watch.latest
        if snapshot is None:
            unseen = CardStep(says="The cluster was not read yet; wait for the first turn.")
            steps: tuple[CardStep, ...] = (unseen,)
        else:
            steps = tuple(_step(watch, snapshot, person, order, name) for name in order.targets)
    return Card(
        kind="propose",
        title="; ".join(s.says for s in steps)[:300],
        by=person.name,
        at=watch.clock.now(),
        order=order,
        steps=steps,
        notes=notes,
        worded=worded,
    )


def _step(watch: Watch, snapshot: Snapshot, person: Person, order: Ordered, name: str) -> CardStep:
    try:
        action = action_of(order, name, snapshot)
    except (Refused, Malformed, ValueError) as err:
        return CardStep(says=f"{order.kind} {name}: {err}")
    if kind_of(action) not in watch.serves:
        return CardStep(says=say(action), because=f"No provider serves {kind_of(action)} here.")
    if why := unmet(action, snapshot):
        return CardStep(says=say(action), because=why)
    incident = incident_of(watch, snapshot, action)
    left = Wish(action, person, "", incident=incident, rung=f"{BY_HAND}{kind_of(action)}")
    proposal = proposal_of(watch, snapshot, draft_of(watch, snapshot, left), "preview")
    policy = watch.policies.current()
    verdict = weigh(proposal, snapshot, watch.record.books, policy, watch.clock).verdict
    steps = (proposal.action,)
    return CardStep(
        says=say(proposal.action),
        action=proposal.action,
        blast=blast(bound_of(steps, snapshot), steps, started_gpus(steps, snapshot)),
        undo=undo_text(proposal.action, ()),
        verdict=verdict.decision,
        because=f"{verdict.because}{mended_by(verdict, kind_of(action))}",
        where=_where(verdict),
        incident=incident,
    )


def mended_by(verdict: Verdict, kind: str) -> str:
    """What makes a question of a step that was refused because no order names it, "" for any other
    refusal: to be added to the reason."""
    if verdict.refused_by != "default":
        return ""
    if kind in BY_HAND_KINDS:
        return (
            ". `watchkeeper init DIR --with by-hand` puts orders into the folder of yours (DIR) by "
            "which another person is asked"
        )
    return f". An order of yours that asks about {kind} would make a question of it"


def _where(verdict: Verdict) -> str:
    carried = [r for r in verdict.reasons if r.says is verdict.decision and r.binds]
    return next((r.where for r in carried if r.where), "")


def action_of(order: Ordered, name: str, snapshot: Snapshot) -> Action:
    """The Action on this target as it lives now. Raises Refused, Malformed, ValueError."""
    if order.kind == "pool.scale":
        return PoolScale(pool=name, add=order.add)
    if order.kind.startswith("job."):
        job = snapshot.jobs.get(name)
        if job is None:
            raise Refused("there is no such gang.")
        made = JobRequeue if order.kind == "job.requeue" else JobPreempt
        return made(job=name, attempt_id=job.attempt_id)
    node = snapshot.nodes.get(name)
    if node is None:
        raise Refused("there is no such node.")
    words: dict[str, object] = {"kind": order.kind, "node": name, "incarnation": node.incarnation}
    if order.gpu is not None:
        if not 0 <= order.gpu < node.gpus:
            raise Refused(f"{name} has no GPU {order.gpu}.")
        words["gpu"] = order.gpu
    return parse_action(words)


def incident_of(watch: Watch, snapshot: Snapshot, action: Action) -> str:
    """The newest open incident that is about what the step touches, whose evidence is cited."""
    for incident in reversed(watch.record.books.open_incidents()):
        named = bool(incident.node or incident.jobs)
        if named and concerns(incident, action, snapshot):
            return incident.id
    return ""


def card_at(event: Event | None) -> Card | None:
    """The card that an answer of the chat carries, if it carries one."""
    if event is None or event.kind is not Kind.CHAT or not event.data.get("card"):
        return None
    return msgspec.convert(event.data["card"], Card)


def handed(watch: Watch, seq: int, card: Card) -> tuple[File, ...]:
    """What became of the steps of a card that were sent, in their order."""
    books = watch.record.books
    found = (books.last_of_thread(_THREAD.format(seq=seq, step=i)) for i in range(len(card.steps)))
    return tuple(f for f in found if f is not None)


def stands(file: File) -> str:
    """Where a step that was sent stands now, for who sent it."""
    why = f": {file.why.rstrip('.')}" if file.why else ""
    match file.state:
        case State.MADE | State.ASKING:
            return "It waits for another person."
        case State.DENIED:
            return f"Policy refuses it{why}."
        case State.CLEARED:
            return "It was approved, and begins with the next look."
        case State.STARTED | State.ISSUED:
            return "It is under way."
        case State.RECOVERED:
            return "It was done, and verified."
        case State.TURNED_DOWN:
            return f"{file.ended_by} said no{why}."
        case State.PUT_OFF:
            return f"{file.ended_by} said not now{why}."
        case State.EXPIRED:
            return "Nobody answered in time. Nothing was done."
        case State.VOID:
            return f"It was taken back{why}. Nothing was done."
        case State.REFUSED:
            return f"It was refused at the last moment{why}. Nothing was done."
        case State.FAILED | State.WORSE | State.IN_DOUBT:
            return f"It did not work{why}."


def may_be_sent_by(watch: Watch, person: Person, card: Card) -> None:
    """Raises Refused for anybody but who typed it, and for a card of a while ago."""
    if person.name.startswith("agent:") or person.name != card.by:
        raise Refused(f"This card is {card.by}'s. Type the words yourself: it is signed by you.")
    if watch.clock.now() - card.at > GOOD_FOR:
        raise Refused("This card is too old. Ask again: what it showed may have changed.")


def hand_in(
    watch: Watch, wake: Callable[[], None], person: Person, seq: int, card: Card
) -> tuple[Wish, ...]:
    """Leave each step that may be sent for the turn, and wait for what becomes of them. A card that
    was sent already is not sent again: nothing is returned then. Raises Refused; then nothing was
    asked."""
    with watch.record.lock:
        snapshot = watch.latest
        if snapshot is None:
            raise Refused("The cluster was not read yet; wait for the first turn.")
        if handed(watch, seq, card) or any(
            w.thread.startswith(f"chat:{seq}/") for w in watch.wishes
        ):
            return ()
        may_be_sent_by(watch, person, card)
        steps = [(i, s) for i, s in enumerate(card.steps) if s.may_be_sent and s.action is not None]
        if not steps:
            raise Refused("Nothing on this card can be asked.")
        _not_too_many(watch, len(steps))
        left = [_wish(watch, snapshot, person, seq, i, step) for i, step in steps]
        watch.wishes.extend(left)
    wake()
    for each in left:
        await_turn(watch.record.lock, watch.wishes, each, "Nothing was asked")
    if all(not each.proposal for each in left):
        raise Refused(left[0].refused or "Nothing was asked.")
    return tuple(left)


def _wish(
    watch: Watch, snapshot: Snapshot, person: Person, seq: int, i: int, step: CardStep
) -> Wish:
    assert step.action is not None
    return Wish(
        step.action,
        person,
        f"{person.name} asked for it in the chat, line {seq}.",
        incident=incident_of(watch, snapshot, step.action),
        thread=_THREAD.format(seq=seq, step=i),
        rung=f"{BY_HAND}{kind_of(step.action)}",
    )


def _not_too_many(watch: Watch, more: int) -> None:
    since = watch.clock.steady() - 3600.0
    files = watch.record.books.files.values()
    asked = sum(by_hand(f.proposal) and f.changed_steady >= since for f in files)
    if asked + more > MOST_AN_HOUR:
        raise Refused(f"{MOST_AN_HOUR} steps were typed within the hour. Try again later.")
