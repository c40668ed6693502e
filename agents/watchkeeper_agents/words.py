"""What the crew says to itself: work items, what a thread remembers, and what a thread decided.

All of it is plain JSON once stored; the briefing never is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from watchkeeper.core.crew import Draft, StepResult
from watchkeeper.core.word import Word
from watchkeeper.placement.running import Terms
from watchkeeper.remedy.plan import RemedySettings

MOST_ATTEMPTS = 128
"""Results a thread remembers; the journal remembers all."""

MOST_HISTORY = 64
"""Newest results of the journal that a thread is compared with: fewer than it remembers, so that
what it dropped for age never counts as unheard."""


GANGS = "/gangs"
"""Ends the name of the thread that looks after a node incident's gangs while the incident's own
thread looks after the node."""


GANG = "gang:"
"""Before a gang's name: the thread that places this one gang."""

POWER = "power:"
"""Before a node's name and a GPU's number: the thread that caps this one GPU."""

FEED = "feed:"
"""Before a power feed's name: the thread that tells of a feed that cannot be helped here."""

CHECK = "/check/"
"""Before a node's name: the thread that checks this one node of a gang that computes nonsense,
while the others are checked beside it."""


def incident_of(thread: str) -> str:
    """The incident that a thread is about."""
    return thread.partition("/")[0]


@dataclass(frozen=True, slots=True)
class CrewSettings:
    """How patient the crew is, in seconds on the steady clock.

    not_now_s: after a person's "not now". denied_s: before a refused step is asked again though
    nothing changed. eased_s: soonest it is asked again when fewer nodes are out around it than when
    it was refused. refused_s: after the gate refused the same thread `refusals` times at the
    effect. recheck_s: how often a waiting thread thinks again though nothing changed. repair_s:
    how long a waiting gang waits for nodes under repair before more are asked for. most_add: most
    nodes in one pool.scale. canary: a class of fault is met by one node first, then by waves.
    spare_chance: how surely every broken node shall have a spare. provision_s: how long a new node
    takes to come (assumed; the site's to set). terms: what stopping a gang costs, and when it may
    not be stopped. leaves_s: after a gang was stopped, its GPUs are taken to be on their way for so
    long. grow_after_s: how long room must stand idle before an elastic gang is stopped
    to grow back. remedy: the pace of the repair ladders.
    """

    not_now_s: float = 900.0
    denied_s: float = 300.0
    eased_s: float = 30.0
    refused_s: float = 60.0
    refusals: int = 3
    recheck_s: float = 5.0
    repair_s: float = 300.0
    most_add: int = 4
    canary: bool = True
    spare_chance: float = 0.99
    provision_s: float = 300.0
    terms: Terms = field(default_factory=Terms)
    leaves_s: float = 15.0
    grow_after_s: float = 900.0
    remedy: RemedySettings = field(default_factory=RemedySettings)


class WorkItem(Word, frozen=True):
    """One thing to think about. thread: the durable thread, an incident's id, `ID/gangs`,
    `capacity:POOL`, `serve:NAME`, `keep:TENANT` or
    `gang:NAME`. agent: `remediation` or `scheduler`. subject: what
    it is about, as a target."""

    thread: str
    agent: str
    subject: str


class Memory(Word, frozen=True):
    """What one thread remembers over turns.

    attempts: every result it was told, oldest first. quiet_until: steady seconds before which it
    asks for nothing, because of `quiet_why`; None when it may ask. quiet_for: what the world
    looked like then; when that changes the quiet ends, unless it is "" (a person's wish).
    quiet_out: how many nodes were out then in each domain of its node, by key.
    quiet_under: the orders that its step was refused under; when one is gone the quiet ends too.
    refusals: refusals at the effect in a row. said: what it told the log last. held_until: steady
    seconds until which a model may hold back the rules' steps; None while it holds back none.
    advice: what a model said of it last, for a ticket; nothing decides on it.
    """

    attempts: tuple[StepResult, ...] = ()
    quiet_until: float | None = None
    quiet_why: str = ""
    quiet_for: str = ""
    quiet_out: tuple[tuple[str, int], ...] = ()
    quiet_under: tuple[str, ...] = ()
    refusals: int = 0
    said: str = ""
    held_until: float | None = None
    advice: str = ""


class Move(Word, frozen=True):
    """A thread's answer for this turn: a Draft to be judged, or an end (`resolved`, `escalated`,
    `waiting`) and why. page: an escalation that wakes somebody; else a ticket will do."""

    draft: Draft | None = None
    end: str = ""
    why: str = ""
    page: bool = True


class Turn(Word, frozen=True):
    """What one thread made of one turn. thoughts: sentences for the log. by: which reasoner.
    for_change: it waits, and thinks again only when what it looks at has changed. again_s: seconds
    after which it thinks again though nothing has; 0 for the crew's own pace."""

    memory: Memory
    move: Move
    thoughts: tuple[str, ...] = ()
    model: str = "rules"
    for_change: bool = False
    again_s: float = 0.0
