"""One line of the record. The journal is append-only and hash-chained; nothing is true that is
not in it."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from watchkeeper.core.word import Word

GENESIS = "0" * 64


class Kind(StrEnum):
    """Every kind of event there is."""

    WATCH_STARTED = "watch.started"
    WATCH_STOPPED = "watch.stopped"
    SESSION_CHANGED = "session.changed"
    SESSION_RECONCILED = "session.reconciled"
    POLICY_LOADED = "policy.loaded"
    POLICY_REFUSED = "policy.refused"
    INCIDENT_OPENED = "incident.opened"
    INCIDENT_CHANGED = "incident.changed"
    INCIDENT_CLOSED = "incident.closed"
    PROPOSED = "proposal.made"
    WITHDRAWN = "proposal.withdrawn"
    VERDICT = "verdict.given"
    ASKED = "approval.asked"
    ANSWERED = "approval.answered"
    APPROVAL_VOID = "approval.void"
    APPROVAL_EXPIRED = "approval.expired"
    BREAK_GLASS = "approval.break_glass"
    REVIEWED = "approval.reviewed"
    ESCALATED = "approval.escalated"
    EFFECT_STARTED = "effect.started"
    EFFECT_ISSUED = "effect.issued"
    EFFECT_FINISHED = "effect.finished"
    OUTCOME = "outcome.seen"
    STOPPED = "orders.stopped"
    RESUMED = "orders.resumed"
    AUTONOMY = "orders.autonomy"
    HELD = "orders.held"
    RELEASED = "orders.released"
    HALTED = "watch.halted"
    HEARD_AGAIN = "watch.heard_again"
    GATE_CLOSED = "gate.closed"
    GATE_OPENED = "gate.opened"
    PAGED = "notify.paged"
    TICKETED = "notify.ticketed"
    SETTLED = "notify.settled"
    FORECAST = "forecast.made"
    REGRET = "schedule.regret"
    SERVING = "serving.planned"
    METERED = "usage.metered"
    CHAT = "chat.said"
    MODEL_CALLED = "model.called"
    INJECTED = "lab.injected"
    TELEMETRY_REFUSED = "telemetry.refused"
    REDIS_REBUILT = "redis.rebuilt"
    NOTE = "note"


class Event(Word, frozen=True):
    """One line of the journal.

    at: wall time. policy_at: what policy windows saw (differs only in a lab with --lab-time).
    steady: seconds on the ledger's own clock. subject: ids this event is about, for folding and
    search. data: the words themselves, as plain values. prev and hash chain the lines: hash is
    the SHA-256 of the canonical line without its own hash.
    """

    seq: int
    at: datetime
    policy_at: datetime
    steady: float
    kind: Kind
    subject: tuple[str, ...]
    data: dict[str, Any]
    prev: str
    hash: str = ""
