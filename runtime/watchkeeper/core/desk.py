"""The desk: the one service behind the command line, the web page and the chat.

Doors differ; what they may ask for is this protocol, and every answer goes through it.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from watchkeeper.core.amend import Amendment
from watchkeeper.core.capacity import CapacityPlan, WhatIf
from watchkeeper.core.cells import FleetCells, FleetLayout, Grouping, Shade, Trace
from watchkeeper.core.cluster import Reserved
from watchkeeper.core.event import Event
from watchkeeper.core.hold import Hold
from watchkeeper.core.incident import Incident, Signal
from watchkeeper.core.proposal import Impact, Proposal
from watchkeeper.core.report import Judgement, Postmortem, Report
from watchkeeper.core.serving import ServePlan
from watchkeeper.core.usage import Costs
from watchkeeper.core.verdict import Answer, Approval, Autonomy, Orders, Verdict
from watchkeeper.core.word import Word

if TYPE_CHECKING:  # they are made of words of this module
    from watchkeeper.core.chat import Card, HandedIn, PolicyDraft
    from watchkeeper.core.views import (
        AgentView,
        FanView,
        GlassView,
        JournalCheck,
        PolicyView,
        TriedOrders,
    )


class Person(Word, frozen=True):
    """Somebody with an account: their name, the policy's groups they are in (who may answer what)
    and the roles they hold (`core.roles`: which doors open)."""

    name: str
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()


class Shown(Word, frozen=True):
    """Exactly what a person is shown and signs (S14). Ages are left out: they change by the
    second. Its digest is what an Approval carries."""

    proposal: Proposal
    impact: Impact
    evidence: tuple[Signal, ...]
    policy_version: str


class AskStatus(Word, frozen=True):
    """Where a question stands. state: `waiting`, `approved`, `denied`, `not_now`, `expired`,
    `void`, `done`. by, at and text say who, when and why it is no longer waiting."""

    state: str
    by: str = ""
    at: datetime | None = None
    text: str = ""

    @property
    def decided(self) -> str:
        """What a late answer is told: who decided already, when, and what became of it."""
        when = f" at {self.at.astimezone(UTC):%H:%M:%S} UTC" if self.at else ""
        return f"Already decided by {self.by or 'the watch'}{when}: {self.text}".strip()


class Ask(Word, frozen=True):
    """One question to people, ready to be drawn: what, why now, both outcomes, blast radius,
    rule, evidence, undo, who answered, time left.

    digest: of `shown`. nonce: single-use. approvals: who approved so far. needs: how many in
    all. from_groups: who may. typed_name: what must be typed to approve ("" = nothing).
    """

    id: str
    title: str
    why_now: str
    if_approved: str
    if_ignored: str
    blast: str
    undo: str
    rule: str
    rule_where: str
    steps: tuple[str, ...]
    shown: Shown
    verdict: Verdict
    digest: str
    nonce: str
    asked_at: datetime
    expires_at: datetime
    needs: int
    from_groups: tuple[str, ...]
    approvals: tuple[Approval, ...]
    status: AskStatus
    typed_name: str = ""
    incident_title: str = ""


class LogLine(Word, frozen=True):
    """One entry of the chat stream. kind: `Saw`, `Thinks`, `Asks`, `Approval`, `Does`, `Did`,
    `Failed`, `Refused`, `Pages`, `Stopped`, `You asked`, `Watch`. tone: ``, `good`, `bad`,
    `act`, `you`. where: rule as file:line. sources: evidence in words."""

    seq: int
    at: datetime
    kind: str
    tone: str
    text: str
    incident: str = ""
    proposal: str = ""
    where: str = ""
    sources: tuple[str, ...] = ()
    question: str = ""


class GpuView(Word, frozen=True):
    """One GPU as drawn. state: `ok`, `failed`, `suspect`, `cordoned`, `silent`, `hidden`."""

    index: int
    state: str
    utilization: float | None = None
    temperature: float | None = None
    memory_used_mib: float | None = None
    memory_total_mib: float | None = None
    power_watts: float | None = None
    ecc_uncorrected: float | None = None


class NodeView(Word, frozen=True):
    """One node as drawn, worst facts in words. state: `healthy`, `suspect`, `failed`, `dead`,
    `draining`, `cordoned`, `checking`, `silent`, `unknown`. rank orders worst first."""

    name: str
    pool: str
    rack: str
    nvlink_domain: str
    state: str
    what: str
    rank: int
    incarnation: str
    control_path: bool
    silent_s: float | None
    jobs: tuple[str, ...]
    gpus: tuple[GpuView, ...]
    simulated: bool
    gpu_source: str
    cpu_percent: float | None = None
    memory_percent: float | None = None
    incident: str = ""


class JobView(Word, frozen=True):
    """One gang as drawn. why_waits: what it needs, who holds it and when it could start, for one
    that waits; "" for any other. held: it waits for our admission, not in Ray's own queue."""

    name: str
    state: str
    tenant: str
    gpus: float
    nodes: tuple[str, ...]
    attempt: int
    step: int | None
    checkpoint_step: int | None
    checkpoint_age_s: float | None
    requeue: str
    why_waits: str = ""
    held: bool = False


class PoolView(Word, frozen=True):
    """Demand and its forecast for one pool, with the limits that hold there. looked_back: plans of
    the last day against what was needed, as sentences, the newest first."""

    pool: str
    nodes: int
    out: int
    total_gpus: float
    running_gpus: float
    pending_gpus: float
    waiting_jobs: int
    forecast_method: str
    forecast_why: str
    horizons_s: tuple[float, ...]
    p10: tuple[float, ...]
    p50: tuple[float, ...]
    p90: tuple[float, ...]
    history: tuple[tuple[float, float, float], ...] = ()
    looked_back: tuple[str, ...] = ()


class LimitView(Word, frozen=True):
    """One limit and how much of it is used."""

    id: str
    text: str
    used: float
    limit: float
    where: str = ""


class Health(Word, frozen=True):
    """What /healthz tells."""

    ready: bool
    cluster: str
    world: str
    nodes: int
    gpus: int
    redis: str
    policy_version: str
    journal_seq: int
    journal_head: str
    simulated: bool
    stopped: bool
    why_not_ready: str = ""


class Board(Word, frozen=True):
    """Everything on the first page. reviews: uses of break-glass that nobody has reviewed, each
    in a sentence. shadow: how often rules in shadow would have decided otherwise, such as
    `allow_to_deny`: 3. reserved: nodes kept now or from a time to come, soonest first.
    zone: of the policy's windows, in which the report tells its times. serving: plans of model
    servers, by name."""

    at: datetime
    health: Health
    orders: Orders
    last_reading_s: float | None
    gpus_reporting: int
    gpus_total: int
    window: str
    policy_loaded_at: datetime | None
    policy_error: str
    waiting: tuple[Ask, ...]
    last_decision: str
    nodes: tuple[NodeView, ...]
    jobs: tuple[JobView, ...]
    pools: tuple[PoolView, ...]
    limits: tuple[LimitView, ...]
    sources: dict[str, str]
    halted: str
    lab_time: str
    unserved: tuple[str, ...] = ()
    reviews: tuple[str, ...] = ()
    shadow: dict[str, int] = {}
    reserved: tuple[Reserved, ...] = ()
    zone: str = "UTC"
    serving: tuple[ServePlan, ...] = ()


class StoryStep(Word, frozen=True):
    """One entry of an incident's timeline. tone as in LogLine; raw is text for eyes only."""

    at: datetime
    seq: int
    title: str
    text: str
    tone: str
    where: str = ""
    raw: str = ""
    proposal: str = ""


class Story(Word, frozen=True):
    """One incident, told."""

    incident: Incident
    steps: tuple[StoryStep, ...]
    out_for_s: float | None
    actions: int
    failed: int
    people: tuple[str, ...]
    first_seq: int
    last_seq: int
    policy_version: str


class Desk(Protocol):
    """What every door may ask for. Reads never fail half-way; answers raise Refused."""

    def health(self) -> Health: ...

    def board(self) -> Board: ...

    def log(self, after: int = 0, limit: int = 60) -> tuple[LogLine, ...]:
        """Newest last. With `after`, only what came later than that sequence number."""
        ...

    def wait(self, after: int, timeout_s: float) -> int:
        """Block until the journal has a line later than `after`, or the time is up; returns the
        newest sequence number."""
        ...

    def incidents(self) -> tuple[Incident, ...]: ...

    def story(self, incident: str) -> Story | None: ...

    def asks(self) -> tuple[Ask, ...]:
        """Every question that waits, oldest first."""
        ...

    def ask(self, proposal: str) -> Ask | None:
        """One question, waiting or answered."""
        ...

    def answer(
        self,
        proposal: str,
        answer: Answer,
        person: Person,
        *,
        digest: str,
        nonce: str,
        reason: str = "",
        door: str = "web",
    ) -> Ask:
        """Record a person's answer, durably, before this returns. Answering again what the same
        person already answered the same way returns the first result. Raises Refused."""
        ...

    def preview(self, proposal: str, given: Mapping[str, str], person: Person) -> Amendment:
        """What policy says of a question with other arguments (`core.amend`), and who would have
        to approve it. Records nothing. Raises Refused and Malformed."""
        ...

    def amend(self, proposal: str, given: Mapping[str, str], person: Person, *, shown: str) -> str:
        """Withdraw a question and ask it with other arguments; the new one's id. `shown`: the
        digest of its preview. Raises Refused and Malformed; then nothing has changed."""
        ...

    def break_glass(self, proposal: str, person: Person, reason: str) -> str:
        """Lift the soft rules that stand in a proposal's way; says what was lifted and what is
        owed. Raises Refused."""
        ...

    def glass(self) -> "GlassView":
        """What break-glass could lift now, and what it lifted."""
        ...

    def review(self, proposal: str, person: Person, note: str = "") -> str:
        """Close the review of a break-glass by another person. Raises Refused."""
        ...

    def stop(self, person: Person, reason: str = "") -> None: ...

    def resume(self, person: Person, reason: str = "") -> None: ...

    def set_autonomy(self, person: Person, level: Autonomy) -> None: ...

    def hold(self, person: Person, what: Sequence[str], until: datetime, reason: str = "") -> Hold:
        """Leave these keys (`core.hold`) alone from now until then, durably. Raises Refused."""
        ...

    def release(self, person: Person, ident: str) -> Hold:
        """End a hold before its time. Raises Refused."""
        ...

    def explain(self, ident: str) -> str:
        """Why: an incident, a proposal, a verdict or an event, in plain text."""
        ...

    def say(self, person: Person, question: str) -> LogLine:
        """Answer a question in the chat from the record, draw a card for an order, or take up a
        narrowing; never grants anything."""
        ...

    def card(self, seq: int) -> "Card | None":
        """The card that the answer on one line of the journal carries."""
        ...

    def handed_in(self, seq: int) -> "tuple[HandedIn, ...]":
        """What became of the steps of a card that was sent."""
        ...

    def send(self, person: Person, seq: int) -> "tuple[HandedIn, ...]":
        """Press a card's button, as its author. Sending again gives the first result. Raises
        Refused."""
        ...

    def drafted(self, seq: int) -> "PolicyDraft | None":
        """The policy that the answer on one line of the journal carries."""
        ...

    def suggest(self) -> tuple[str, ...]:
        """Questions that the chat can answer now, the likeliest first."""
        ...

    def people(self) -> tuple[Person, ...]: ...

    def login_links(self) -> Sequence[tuple[str, str]]:
        """(person, one-time path) for each of the policy's people; older links lapse."""
        ...

    def redeem(self, token: str) -> Person | None:
        """Spend a one-time login token."""
        ...

    def metrics(self) -> dict[str, Any]:
        """Counters for /metrics: name -> number or {label value: number}."""
        ...

    def events(self, after: int = 0, limit: int = 200) -> tuple[Event, ...]: ...

    def layout(self, by: Grouping) -> FleetLayout:
        """Where everything stands on the map. Raises Refused before the first look."""
        ...

    def cells(self, shade: Shade, by: Grouping) -> FleetCells:
        """One reading of all cells, in the order of the layout of the same key. Raises Refused
        likewise."""
        ...

    def trace(self, node: str) -> Trace | None:
        """The last hour of one node; None where there is none of this name."""
        ...

    def policy(self) -> "PolicyView":
        """The orders in force: rules, windows, what is left of each bound, what ends soon."""
        ...

    def orders_files(self) -> dict[str, str]:
        """The orders in force: file name -> text."""
        ...

    def try_orders(self, file: str, text: str) -> "TriedOrders":
        """Hold one changed or new file of orders against those in force: checked, tested and
        replayed. Takes nothing up. Raises Malformed and Refused."""
        ...

    def agents(self) -> "tuple[AgentView, ...]":
        """What each agent of the crew did, and whether its confidence was earned."""
        ...

    def fans(self) -> "tuple[FanView, ...]":
        """Each pool's forecasts of an hour ahead, held to what came."""
        ...

    def verify(self) -> "JournalCheck":
        """Check every line of the journal: seconds for a long one. Raises Refused while another
        does, or where the file cannot be read from here."""
        ...

    def costs(self, days: float = 30.0) -> Costs:
        """Who held which GPUs in the last days, what it cost, and how far allowances reach."""
        ...

    def what_if(
        self, pool: str, add: int, begin: str = "", end: str = "", zone: str = "UTC"
    ) -> WhatIf:
        """What some nodes more, or fewer, would change. Raises Refused with what is missing."""
        ...

    def capacity(self, pool: str) -> CapacityPlan:
        """The cheapest capacity that holds what is forecast. Raises Refused likewise."""
        ...

    def report(self, since: datetime | timedelta | None = None) -> Report:
        """What it saw, did and did not do from `since` (a moment, or so long ago; default:
        yesterday at 18:00 in the policy's zone) until now. Raises UsageError for a time to come,
        or too long ago."""
        ...

    def postmortem(self, incident: str) -> Postmortem | None:
        """One incident as one timeline; None where there is none of this id."""
        ...

    def judge(
        self,
        key: str,
        digest: str,
        person: Person,
        *,
        useful: bool,
        since: datetime,
        until: datetime,
        note: str = "",
    ) -> Judgement:
        """Keep a person's word on one item of the report since..until as an eval case, durably,
        before this returns. Raises Refused: it is no longer what was shown."""
        ...

    def judged(self, person: Person) -> tuple[Judgement, ...]:
        """The newest word of this person on each item, as it was shown."""
        ...
