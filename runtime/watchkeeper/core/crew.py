"""What passes between the watch and its crew. The crew thinks; it holds nothing that acts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from watchkeeper.core.action import Action
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.incident import Incident
from watchkeeper.core.model import Chosen, ModelCall, Scored
from watchkeeper.core.money import CapacityOrder, FeedOrder, QuotaOrder, UsedUp
from watchkeeper.core.proposal import Effect
from watchkeeper.core.serving import ServePlan
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.verdict import Decision
from watchkeeper.core.word import Word


class Draft(Word, frozen=True):
    """A Proposal before control gave it an id, a time and a generation.

    thread: the durable thread that asks (an incident id or a work id). plan: the steps that
    would follow, shown to whoever approves. chosen: a model chose it, and not the rules.
    """

    thread: str
    action: Action
    by: str
    reason: str
    confidence: float
    effect: Effect
    incident: str = ""
    evidence: tuple[str, ...] = ()
    plan: tuple[Action, ...] = ()
    rung: str = ""
    if_ignored: str = ""
    chosen: Chosen | None = None


class StepResult(Word, frozen=True):
    """What became of a thread's last Draft: exactly one typed result resumes the thread.

    kind and value: `verdict` with `deny`, or with `halted` where the watch had halted and a person
    has resumed it since; `answer` with `approve`, `deny`, `not_now`,
    `expired`, `void`; `outcome` with `recovered`, `worse`, `failed`, `in_doubt`, `refused`.
    under: for a refusal by verdict, the orders that it was judged under, as in the Briefing.
    """

    thread: str
    proposal: str
    action: Action
    kind: str
    value: str
    says: str = ""
    refused_by: str = ""
    reason_ids: tuple[str, ...] = ()
    under: tuple[str, ...] = ()


def orders_of(policy_version: str, dial: str, holds: Iterable[str]) -> tuple[str, ...]:
    """What people have ordered, a mark for each: a refusal holds for as long as all that it was
    given under stand. holds: their ids."""
    return (f"policy {policy_version}", f"dial {dial}", *holds)


class PastStep(Word, frozen=True):
    """One disruptive step of the last 24 hours, whoever asked for it. value: as in StepResult's
    outcomes, or `under_way`."""

    kind: str
    fault: str
    node: str
    value: str


class Conclusion(Word, frozen=True):
    """A thread's end, or its wish to wait. end: `resolved`, `escalated` or `waiting`. page: an
    escalation wakes somebody; else a ticket will do. advice: what a model said of it, for the
    ticket and for nothing else."""

    thread: str
    end: str
    why: str
    page: bool = True
    advice: str = ""


class Thought(Word, frozen=True):
    """One sentence for the log: what the crew made of it. model: which reasoner said so."""

    thread: str
    text: str
    by: str
    model: str = "rules"


@dataclass(frozen=True, eq=False, slots=True)
class Briefing:
    """All that the crew gets in one turn.

    incidents: every open one. checked: node -> the incarnation whose check.run last passed.
    busy: threads whose last Draft still waits, runs or is being verified; they are not asked.
    results: one per thread that can go on. history: all that each thread was ever told, from the
    journal, for a thread that was lost with Redis. serves: kinds of action a provider serves here.
    repaired: node -> incidents for which it was repaired within 7 days. past: disruptive steps of
    24 hours, oldest first, for waves; since a person last resumed, where one did. gpu_hour: what
    the policy says a GPU-hour costs, in `currency`, by pool; empty where it names no price.
    feeds: what policy lets each power feed carry, by name. capacity: what it says of each pool's
    size; `default` for the rest. quotas: what it promises tenants. used: GPU-seconds that each
    tenant held of late, older ones counting less, by metering. used_up: allowances that
    hold gangs back. scores: what models said, held against what came of it. would: what policy
    would decide on an action now, for this incident; None where nobody can say. denied: what a
    person said no to within the hour, for whichever incident it was asked: (kind, gang) -> who
    and when, as a sentence. down: domain that is down (`leaf:l1`) -> classes of fault of its nodes
    that this explains, whoever looks after it. serving: the newest plan of each deployment of a
    model server that is there. orders: what people have ordered, as it stands now: the version of
    the policy, the dial, and the holds; a refusal under one that stands no longer may be another.
    """

    snapshot: Snapshot
    incidents: tuple[Incident, ...]
    forecasts: Mapping[str, Forecast]
    results: tuple[StepResult, ...]
    busy: frozenset[str]
    serves: frozenset[str]
    checked: Mapping[str, str]
    history: Mapping[str, tuple[StepResult, ...]] = field(default_factory=dict)
    repaired: Mapping[str, frozenset[str]] = field(default_factory=dict)
    past: tuple[PastStep, ...] = ()
    gpu_hour: Mapping[str, float] = field(default_factory=dict)
    currency: str = ""
    feeds: Mapping[str, FeedOrder] = field(default_factory=dict)
    capacity: Mapping[str, CapacityOrder] = field(default_factory=dict)
    quotas: tuple[QuotaOrder, ...] = ()
    used: Mapping[str, float] = field(default_factory=dict)
    used_up: tuple[UsedUp, ...] = ()
    scores: tuple[Scored, ...] = ()
    would: Callable[[Action, str], Decision] | None = None
    denied: Mapping[tuple[str, str], str] = field(default_factory=dict)
    serving: Mapping[str, ServePlan] = field(default_factory=dict)
    down: Mapping[str, frozenset[str]] = field(default_factory=dict)
    orders: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CrewReply:
    """What the crew returns: drafts, ends of threads, what it thought, which models it asked."""

    drafts: tuple[Draft, ...] = ()
    conclusions: tuple[Conclusion, ...] = ()
    thoughts: tuple[Thought, ...] = ()
    calls: tuple[ModelCall, ...] = ()


class Crew(Protocol):
    """The crew as control sees it."""

    def ask(self, briefing: Briefing) -> CrewReply:
        """Think one turn. Deterministic for the rules reasoner; never touches the cluster."""
        ...
