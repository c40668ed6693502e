"""What one turn keeps in order around its thinking: the stop latch, the policy, the session of Ray,
questions that lapse, and the copies that others read."""

from __future__ import annotations

import contextlib

from watchkeeper.control import hush
from watchkeeper.control.barred import settle_bars
from watchkeeper.control.break_glass import REVIEW_WITHIN
from watchkeeper.control.holding import end_holds, held_back
from watchkeeper.control.life import State
from watchkeeper.control.look import stale
from watchkeeper.control.papers import STRANGER, File, Question
from watchkeeper.control.watch import Watch
from watchkeeper.core.action import JobPreempt, JobRequeue, say, traits_of
from watchkeeper.core.errors import ClusterUnavailable
from watchkeeper.core.event import Kind
from watchkeeper.core.fault import REPAIRED_ON_NODE
from watchkeeper.core.impact import generation
from watchkeeper.core.incident import Incident
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.word import canonical, digest, plain
from watchkeeper.health.illness import passed_by

CLEARED_FOR_S = 300.0
"""What was allowed or approved and could not begin within this time is asked for anew."""


def keep_orders(watch: Watch) -> None:
    """Stop latch, policy files and Redis copies: notice what people or accidents changed."""
    _keep_latch(watch)
    _keep_policy(watch)
    _keep_copies(watch)
    end_holds(watch)
    settle_bars(watch)
    remind_of_reviews(watch)
    hush.tell_held(watch)


def _keep_latch(watch: Watch) -> None:
    """The latch and the record say the same; a resume changes both under the same lock."""
    record = watch.record
    with record.lock:
        orders = record.books.orders
        latched = watch.stop.is_set()
        if latched and not orders.stopped:
            by, reason = watch.stop.who()
            # The latch is open to all who own the home, so its name is only what somebody typed.
            stranger = _unknown(watch, by)
            record.write(Kind.STOPPED, by=by, reason=reason, stranger=stranger, durable=True)
        elif orders.stopped and not latched:
            # Only `resume` clears the latch; a deleted file does not.
            watch.stop.set(orders.stopped_by.removesuffix(STRANGER), orders.stop_reason)
    if latched and not orders.stopped:
        watch.teller.page(f"stopped:{record.journal.head[0]}", "The watch was stopped", f"By {by}.")


def _unknown(watch: Watch, name: str) -> bool:
    """Does the policy name people, and nobody of this name?"""
    policy = watch.policies.current()
    known = {one for group in policy.people.values() for one in group} if policy else set()
    return bool(known) and name not in known


def _keep_policy(watch: Watch) -> None:
    changed = watch.policies.changed(watch.clock.now())
    if changed is None:
        return
    policy, problems = changed
    if problems:
        text = "\n".join(str(p) for p in problems)
        watch.record.write(Kind.POLICY_REFUSED, problems=text, durable=True)
        watch.teller.page(
            f"policy:{digest(text)[:12]}", "The changed policy does not load", text[:2000]
        )
    elif policy is not None and (
        policy.version != watch.record.books.policy_version or watch.record.books.policy_error
    ):
        watch.record.write(
            Kind.POLICY_LOADED,
            (policy.version,),
            version=policy.version,
            files=dict(policy.sources),
            durable=True,
        )


def _keep_copies(watch: Watch) -> None:
    """After FLUSHALL, or on another server, copies are rebuilt from the books before any effect."""
    with contextlib.suppress(ClusterUnavailable):  # the telemetry source says so in the snapshot
        if watch.mirror.lost():
            watch.published = None
            publish_copies(watch)
            if watch.copied:  # at a start there was nothing to lose
                watch.record.write(
                    Kind.REDIS_REBUILT, text="Redis had lost its copies; they were rebuilt."
                )
            watch.copied = True


def know_the_session(watch: Watch, snapshot: Snapshot) -> None:
    """A new GCS session voids what was decided in the old one, and halts until fences and jobs
    are reconciled with the journal."""
    watch.latest = snapshot
    watch.blind_since = None
    record, session = watch.record, snapshot.state.session
    if session != record.books.session:
        before = record.books.session
        record.write(Kind.SESSION_CHANGED, session=session, before=before, durable=True)
        for file in [*record.books.waiting(), *record.books.cleared()]:
            _void(watch, file, "Ray was started anew; what was decided before is void")
        for file in record.books.in_hand():
            if file.effect and file.effect.session != session:
                _finish_lost(watch, file)
    if not record.books.reconciled and not stale(snapshot):
        fences = {f.node: f.name for f in snapshot.fences.values()}
        record.write(
            Kind.SESSION_RECONCILED,
            session=session,
            fences=fences,
            jobs=sorted(snapshot.jobs),
            durable=True,
        )


def _finish_lost(watch: Watch, file: File) -> None:
    watch.record.write(
        Kind.EFFECT_FINISHED,
        (file.proposal.id, file.proposal.incident),
        proposal=file.proposal.id,
        result="in_doubt",
        why="Ray was started anew before it could be verified",
        durable=True,
    )


def end_stale_questions(watch: Watch, snapshot: Snapshot) -> None:
    """Questions and permissions lapse: by time, by drift, or because the trouble is over."""
    books = watch.record.books
    version = books.policy_version
    for file in books.cut_short():
        _void(watch, file, "the watch ended before it was judged or asked")
    for file in [*books.waiting(), *books.cleared(), *books.lifted()]:
        question = file.question
        incident = books.incidents.get(file.proposal.incident)
        drifted = generation(snapshot, file.action, version) != file.proposal.generation
        if incident is not None and not incident.is_open:
            _void(watch, file, f"{incident.id} is closed: {incident.closed_because}")
        elif held := held_back(watch, file, snapshot):
            _void(watch, file, held)
        elif question is not None and _passed_by(watch, file, snapshot):
            _void(watch, file, "what it was asked for is not seen any more")
        elif question is not None and incident is not None and _of_another_class(file, incident):
            _void(watch, file, f"{incident.id} is {incident.fault} by now, and asks for more")
        elif question is not None and snapshot.steady >= question.expires_steady:
            _expire(watch, file, question)
        elif drifted and not stale(snapshot):
            _void(watch, file, "the target, its jobs, its domain or the policy changed")
        elif _calls_the_next(watch, file, snapshot):
            _escalate(watch, file)
        elif file.state is State.CLEARED and snapshot.steady - file.changed_steady > CLEARED_FOR_S:
            _void(watch, file, "it could not begin in time")


def _passed_by(watch: Watch, file: File, snapshot: Snapshot) -> bool:
    """Did what a repair is asked for end by itself meanwhile?"""
    incident = watch.record.books.incidents.get(file.proposal.incident)
    disruptive = traits_of(file.action).disruptive
    return disruptive and incident is not None and passed_by(incident, snapshot, watch.sense)


def _of_another_class(file: File, incident: Incident) -> bool:
    """Was a gang's step asked for before its node was known to be ill? While it waited nobody would
    fence the node, and the gang would land there again."""
    of_a_gang = isinstance(file.action, JobRequeue | JobPreempt)
    known, _, _ = file.proposal.rung.partition(":")
    return of_a_gang and known != incident.fault and incident.fault in REPAIRED_ON_NODE


def _calls_the_next(watch: Watch, file: File, snapshot: Snapshot) -> bool:
    """Has a question waited so long that others are called?"""
    question = file.question
    if file.state is not State.ASKING or question is None or question.escalate_steady is None:
        return False
    called = file.proposal.id in watch.record.books.escalated
    return not called and snapshot.steady >= question.escalate_steady


def _escalate(watch: Watch, file: File) -> None:
    """From now on others may answer too, and they are called."""
    assert file.question is not None
    ident, groups = file.proposal.id, file.question.escalate_to
    subject = (ident, file.proposal.incident)
    watch.record.write(Kind.ESCALATED, subject, proposal=ident, groups=groups, durable=True)
    hush.call(
        watch,
        hush.QUESTION,
        f"escalate:{ident}",
        f"Nobody has answered yet: {say(file.action)}?",
        f"{', '.join(groups)} may answer too. {watch.console_url}/a/{ident}",
        subject,
        about=file.proposal.incident,
        page=True,
    )


def remind_of_reviews(watch: Watch) -> None:
    """A break-glass that nobody has reviewed in time wakes a person, once."""
    now, steady = watch.clock.now(), watch.clock.steady()
    for lift in watch.record.books.to_review():
        # Whichever clock says so: a page too early harms less than one that never comes.
        if now >= lift.review_by or steady - lift.steady >= REVIEW_WITHIN.total_seconds():
            watch.teller.page(
                f"review:{lift.proposal}:{len(lift.rules)}",
                f"The break-glass of {lift.person} on {lift.proposal} was not reviewed",
                f"{lift.person} lifted {', '.join(lift.rules)}: {lift.reason}. Another person "
                f"looks at it and runs `watchkeeper review {lift.proposal}`.",
                (lift.proposal, lift.incident),
            )


def _void(watch: Watch, file: File, why: str) -> None:
    kind = Kind.APPROVAL_VOID if file.question else Kind.WITHDRAWN
    watch.record.write(
        kind,
        (file.proposal.id, file.proposal.incident),
        proposal=file.proposal.id,
        why=why,
        durable=True,
    )


def _expire(watch: Watch, file: File, question: Question) -> None:
    ident = file.proposal.id
    watch.record.write(
        Kind.APPROVAL_EXPIRED, (ident, file.proposal.incident), proposal=ident, durable=True
    )
    if question.on_timeout == "escalate":
        hush.call(
            watch,
            hush.QUESTION,
            f"expired:{ident}",
            f"Nobody answered: {say(file.action)}?",
            f"{file.proposal.reason} {file.proposal.if_ignored}",
            (ident, file.proposal.incident),
            about=file.proposal.incident,
            page=True,
        )


def publish(watch: Watch, snapshot: Snapshot) -> None:
    """Make the turn durable and refresh the readers' copies, if anything was written: all of it
    is a fold of the journal, so the same head means the same copies."""
    watch.latest = snapshot
    head = watch.record.journal.head
    if head == watch.published:
        return
    watch.record.journal.sync()
    with contextlib.suppress(ClusterUnavailable):
        publish_copies(watch)  # else readers of Redis see stale copies; the record stands
        watch.published = head


def publish_copies(watch: Watch) -> None:
    """Incidents, orders, questions and the journal's head, as Redis readers see them. The large
    ones only if something in them has changed since they were published."""
    books = watch.record.books
    seq, head = watch.record.journal.head
    incidents, files = books.incidents.changes, books.files.changes
    told = watch.copied_at if watch.published is not None else (-1, -1)
    if told[0] != incidents:
        watch.mirror.publish("incidents", _newest_incidents(watch))
    if told[1] != files:
        states = {f.proposal.id: f.state.value for f in books.files.values()}
        watch.mirror.publish("ledger", canonical(states))
        watch.mirror.publish("approvals", canonical([f.proposal.id for f in books.waiting()]))
    orders = {"orders": plain(books.orders), "halted": books.halted}
    watch.mirror.publish("orders", canonical(orders))
    watch.mirror.publish("journal_head", canonical({"seq": seq, "hash": head}))
    watch.copied_at = (incidents, files)


def _newest_incidents(watch: Watch) -> bytes:
    """The last hundred, as JSON. Each is encoded once for as long as it stays as it is."""
    known, kept = watch.encoded, {}
    for incident in list(watch.record.books.incidents.values())[-100:]:
        held = known.get(incident.id)
        if held is None or held[0] is not incident:
            held = (incident, canonical(incident))
        kept[incident.id] = held
    watch.encoded = kept
    return b"[" + b",".join(text for _, text in kept.values()) + b"]"
