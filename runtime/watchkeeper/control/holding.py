"""Holds: a person asks that a part of the cluster is left alone for a time, and it is, at once.

A hold narrows and nothing else: it is taken up by everybody's word, is judged with every verdict
and right before every effect, and ends by its time or by a person. It takes back what can be:
questions that wait, permissions that have not begun, and the forced end of a drain under way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from watchkeeper.control.books import Books
from watchkeeper.control.papers import File
from watchkeeper.core.action import JobPlace, is_name, node_of, targets_of, traits_of
from watchkeeper.core.clock import Clock
from watchkeeper.core.desk import Person
from watchkeeper.core.errors import Refused
from watchkeeper.core.event import Kind
from watchkeeper.core.hold import KINDS, MOST_DAYS, MOST_HELD, WHOLE, Hold, named
from watchkeeper.core.proposal import Impact, Proposal
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.word import plain

if TYPE_CHECKING:
    from watchkeeper.control.watch import Watch


def in_force(books: Books, clock: Clock) -> tuple[Hold, ...]:
    """The holds whose time has not passed, oldest first."""
    if not books.holds:
        return ()
    now, steady = clock.now(), clock.steady()
    return tuple(h for h in books.holds.values() if not h.over(now, steady))


def bearing(
    holds: Iterable[Hold], proposal: Proposal, impact: Impact, snapshot: Snapshot
) -> tuple[Hold, ...]:
    """Those that bear on what this proposal would touch."""
    found = tuple(holds)
    if not found:
        return ()
    keys = _keys(proposal, impact, snapshot)
    return tuple(h for h in found if h.bears_on(keys))


def _keys(proposal: Proposal, impact: Impact, snapshot: Snapshot) -> set[str]:
    """Targets, gangs that would stop, and every domain of every node that they lie on."""
    keys = {*targets_of(proposal.action), *(f"job:{name}" for name in impact.jobs)}
    names = {*impact.nodes, node_of(proposal.action)}
    if isinstance(proposal.action, JobPlace):
        names |= set(proposal.action.nodes)
    job = snapshot.jobs.get(str(getattr(proposal.action, "job", "")))
    if job is not None:
        names |= set(job.nodes)
        keys.add(f"pool:{job.pool}")
    if impact.pool:
        keys.add(f"pool:{impact.pool}")
    for name in names - {""}:
        keys |= _keys_of_node(name, snapshot)
    return keys


def _keys_of_node(name: str, snapshot: Snapshot) -> set[str]:
    node = snapshot.nodes.get(name)
    domains = node.domains() if node is not None else {}
    return {f"node:{name}", *(f"{kind}:{value}" for kind, value in domains.items() if value)}


def holder_of(books: Books, clock: Clock, node: str, snapshot: Snapshot) -> Hold | None:
    """The hold that bears on one node, if there is one."""
    holds = in_force(books, clock)
    if not holds:
        return None
    keys = _keys_of_node(node, snapshot)
    keys |= {f"job:{job.name}" for job in snapshot.jobs_on(node)}
    return next((h for h in holds if h.bears_on(keys)), None)


def hold(watch: Watch, person: Person, what: Sequence[str], until: datetime, reason: str) -> Hold:
    """Leave it alone until then, from now on: durable when this returns. Raises Refused."""
    now, steady = watch.clock.now(), watch.clock.steady()
    keys = tuple(dict.fromkeys(what))
    length = until - now
    if person.name.startswith("agent:"):
        raise Refused("Agents hold nothing.")
    if not keys or len(keys) > MOST_HELD:
        raise Refused(f"Name between 1 and {MOST_HELD} nodes, racks, pools or gangs to hold.")
    if not timedelta() < length <= timedelta(days=MOST_DAYS):
        raise Refused(f"A hold ends within {MOST_DAYS} days, and not before it begins.")
    with watch.record.lock:
        snapshot = watch.latest
        if snapshot is None:
            raise Refused("The cluster was not read yet. `watchkeeper stop` works at all times.")
        for key in keys:
            if not _known(key, snapshot):
                raise Refused(f"There is no {named((key,))} here.")
        standing = in_force(watch.record.books, watch.clock)
        for each in standing:
            if (each.what, each.until, each.by) == (keys, until, person.name):
                return each  # the same again: the first result
        if len(standing) >= MOST_HELD:
            raise Refused(f"{MOST_HELD} holds stand already. Release one, or stop the watch.")
        made = Hold(
            id=watch.ids.new("H"),
            what=keys,
            by=person.name,
            at=now,
            until=until,
            until_steady=steady + length.total_seconds(),
            reason=" ".join(reason.split())[:300],
        )
        watch.record.write(Kind.HELD, (made.id, *keys), hold=plain(made), durable=True)
    return made


def _known(key: str, snapshot: Snapshot) -> bool:
    kind, _, name = key.partition(":")
    if key == WHOLE:
        return True
    if kind not in KINDS or not is_name(name):
        return False
    if kind == "node":
        return name in snapshot.nodes
    if kind == "job":
        return name in snapshot.jobs
    return any(node.domains().get(kind) == name for node in snapshot.nodes.values())


def release(watch: Watch, person: Person, ident: str) -> Hold:
    """End one before its time. Raises Refused."""
    if person.name.startswith("agent:"):
        raise Refused("Agents release nothing.")
    with watch.record.lock:
        found = watch.record.books.holds.get(ident)
        if found is None:
            standing = ", ".join(watch.record.books.holds) or "none"
            raise Refused(f"There is no hold {ident[:40]}. Standing: {standing}.")
        _end(watch, found, person.name)
    return found


def end_holds(watch: Watch) -> None:
    """A step of the turn: write down that a hold's time has passed."""
    with watch.record.lock:
        now, steady = watch.clock.now(), watch.clock.steady()
        for each in [h for h in watch.record.books.holds.values() if h.over(now, steady)]:
            _end(watch, each, "")


def _end(watch: Watch, found: Hold, by: str) -> None:
    subject = (found.id, *found.what)
    watch.record.write(
        Kind.RELEASED, subject, id=found.id, by=by, what=list(found.what), durable=True
    )


def held_back(watch: Watch, file: File, snapshot: Snapshot) -> str:
    """Why something that waits or may begin is taken back, or ""."""
    holds = in_force(watch.record.books, watch.clock)
    if not holds or not traits_of(file.action).disruptive:
        return ""
    found = bearing(holds, file.proposal, file.impact, snapshot)
    return found[0].says if found else ""


def under_way(watch: Watch, made: Hold, snapshot: Snapshot) -> tuple[File, ...]:
    """Effects in hand that a new hold bears on: what has begun, and cannot be made undone."""
    return tuple(
        f
        for f in watch.record.books.in_hand()
        if traits_of(f.action).disruptive and bearing((made,), f.proposal, f.impact, snapshot)
    )
