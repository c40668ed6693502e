"""What the pages about policy, agents, forecasts and the journal are drawn from."""

from datetime import datetime

from watchkeeper.core.desk import LimitView, LogLine
from watchkeeper.core.report import Ending
from watchkeeper.core.verdict import Reason
from watchkeeper.core.word import Word


class WindowView(Word, frozen=True):
    """One window now. says: until when it is open, or when it opens next."""

    name: str
    open: bool
    says: str
    where: str


class RuleView(Word, frozen=True):
    """One rule as it stands. open: its windows are open, or it has none. who: whom it asks, in
    words. lifted_by: exceptions that lift it. shadow: recorded, never applied."""

    id: str
    effect: str
    actions: tuple[str, ...]
    where: str
    open: bool
    during: tuple[str, ...] = ()
    when: str = ""
    who: str = ""
    reason: str = ""
    enforcement: str = "hard"
    shadow: bool = False
    until: datetime | None = None
    lifted_by: tuple[str, ...] = ()


class PolicyView(Word, frozen=True):
    """The orders in force. shadow: how often rules in shadow would have decided otherwise, such as
    `allow_to_deny`: 3. files: name -> the start of its digest."""

    at: datetime
    version: str
    loaded_at: datetime | None
    error: str
    warnings: tuple[str, ...]
    files: dict[str, str]
    windows: tuple[WindowView, ...]
    rules: tuple[RuleView, ...]
    limits: tuple[LimitView, ...]
    endings: tuple[Ending, ...]
    shadow: dict[str, int]
    people: dict[str, tuple[str, ...]]


class Bin(Word, frozen=True):
    """Proposals whose confidence lay between low and high: how many ended, how many recovered."""

    low: float
    high: float
    ended: int
    recovered: int


class KindRecord(Word, frozen=True):
    """What became of one kind of action. brier: mean squared error of confidence against outcome
    (0 is perfect, 0.25 is a coin that says one half); None where nothing has ended."""

    kind: str
    proposed: int
    recovered: int
    failed: int
    brier: float | None


class Spoken(Word, frozen=True):
    """Words of a model said with about this confidence: how many, and the share that came true."""

    said: float
    true: float
    of: int


class TrustKind(Word, frozen=True):
    """One agent's model on one kind of action. bars: its reliability."""

    kind: str
    results: int
    true: float
    brier: float
    bars: tuple[Spoken, ...]


class Wrong(Word, frozen=True):
    """A word that did not come true: how long ago, on what, said how surely."""

    ago_s: float
    kind: str
    confidence: float


class TrustClass(Word, frozen=True):
    """Who decides on one class of incident, and why. low: the lower end of the 95 % interval of
    `true`. wrong: its words there that did not come true, newest first: what a demotion rests on.
    draft: the file that a good record would add to the policy; "" where it speaks for none."""

    fault: str
    results: int
    true: float
    low: float
    brier: float
    seconds: float
    money: float
    decides: str
    why: str
    wrong: tuple[Wrong, ...] = ()
    draft: str = ""


class TrustView(Word, frozen=True):
    """One agent and one model (or `rules`, beside them): what it said, held against telemetry."""

    agent: str
    model: str
    kinds: tuple[TrustKind, ...]
    classes: tuple[TrustClass, ...]


class AgentView(Word, frozen=True):
    """One agent of the crew, from the proposals that the books still hold. ended: effects whose
    outcome was seen. cost: in words, what its thinking and what its acts took. last: what it said
    last, newest first. trust: of each model in its seat, and the rules beside them."""

    name: str
    proposed: int
    allowed: int
    asked: int
    refused: int
    approved: int
    turned_down: int
    recovered: int
    failed: int
    brier: float | None
    bins: tuple[Bin, ...]
    kinds: tuple[KindRecord, ...]
    gpu_hours: float
    cost: str
    last: tuple[LogLine, ...] = ()
    trust: tuple[TrustView, ...] = ()

    @property
    def ended(self) -> int:
        return self.recovered + self.failed


class Foreseen(Word, frozen=True):
    """What was foreseen for one moment, `ahead_s` before it, and what came (None: not read)."""

    at: datetime
    low: float
    middle: float
    high: float
    came: float | None


class FanView(Word, frozen=True):
    """One pool's forecasts of the last hours against what came, newest last."""

    pool: str
    ahead_s: float
    held: tuple[Foreseen, ...]

    @property
    def known(self) -> int:
        return sum(f.came is not None for f in self.held)

    @property
    def inside(self) -> int:
        return sum(f.came is not None and f.low <= f.came <= f.high for f in self.held)


class JournalCheck(Word, frozen=True):
    """Does the journal hold? problem: "" where every line follows the one before and no tail is
    missing. took_s: seconds that reading it took."""

    at: datetime
    events: int
    seq: int
    head: str
    problem: str
    took_s: float
    against: str = ""


class Liftable(Word, frozen=True):
    """A proposal that only soft rules keep from going on, while break-glass may still lift them.

    asks: it waits for people, whose answers the lift takes the place of; else it was refused.
    soft: what would be lifted. others: what else spoke, and still holds. until: from then on the
    refusal is history (None: as long as it is asked). digest: of all that a person reads here."""

    proposal: str
    title: str
    why: str
    if_ignored: str
    by: str
    incident: str
    steps: tuple[str, ...]
    blast: str
    asks: bool
    soft: tuple[Reason, ...]
    others: tuple[Reason, ...]
    until: datetime | None
    digest: str


class LiftView(Word, frozen=True):
    """One use of break-glass. before: who had lifted other rules for the same proposal. state: what
    became of the proposal, as its life calls it. reviewed_by: "" while the review is owed."""

    proposal: str
    title: str
    incident: str
    rules: tuple[str, ...]
    person: str
    before: tuple[str, ...]
    reason: str
    at: datetime
    review_by: datetime
    state: str
    reviewed_by: str = ""
    note: str = ""


class GlassView(Word, frozen=True):
    """What break-glass could lift now, and what it lifted: owed reviews first, then the newest."""

    at: datetime
    liftable: tuple[Liftable, ...]
    lifts: tuple[LiftView, ...]


class TriedOrders(Word, frozen=True):
    """A changed or new file of orders, held against those in force; nothing was taken up.

    sound: it loads beside the others, and every test holds. check: what `policy check` prints.
    tests, passed: of the folder; problems: of those that do not hold. judged: decisions of the
    period that the journal has, replayed: that could be judged again; unchanged, widened,
    narrowed: of these. told: what `policy diff` prints. period: in words."""

    file: str
    new: bool
    sound: bool
    check: str
    tests: int = 0
    passed: int = 0
    problems: tuple[str, ...] = ()
    judged: int = 0
    replayed: int = 0
    unchanged: int = 0
    widened: int = 0
    narrowed: int = 0
    told: str = ""
    period: str = ""
