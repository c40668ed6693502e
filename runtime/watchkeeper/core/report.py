"""What people read in the morning, and after an incident: the report, and the postmortem.

Words only. Who makes them folds the journal; who draws them escapes and tames every text.
"""

from datetime import datetime
from enum import StrEnum

from watchkeeper.core.incident import Incident
from watchkeeper.core.word import Word


class Item(Word, frozen=True):
    """One thing in the report.

    key: names it as long as it is about the same thing, such as `did:INC-3`. text: the sentence;
    more: what else to know. tone: ``, `good`, `bad`, `act` (under way) or `you` (a person is
    awaited). where: the rule as file:line. count: how many like it are told as one. seqs: the
    lines of the journal that it rests on, the first few.
    """

    key: str
    text: str
    more: str = ""
    tone: str = ""
    at: datetime | None = None
    incident: str = ""
    proposal: str = ""
    where: str = ""
    count: int = 1
    seqs: tuple[int, ...] = ()


class Section(Word, frozen=True):
    """Items of one kind. id: `waits`, `did`, `did_not`, `saw`, `missed` or `unsure`. empty: what
    is said where there are none. left_out: items that found no room; the journal has them."""

    id: str
    title: str
    empty: str
    items: tuple[Item, ...] = ()
    left_out: int = 0


class Used(Word, frozen=True):
    """How much of a budget or a rate is used, in the domain where least is left."""

    id: str
    text: str
    used: float
    limit: float
    where: str = ""


class Ending(Word, frozen=True):
    """Something written that ends by its date: an exception (with owner and ticket), or a rule.
    soon: within three days. over: its last moment has passed."""

    id: str
    kind: str
    text: str
    until: datetime
    soon: bool = False
    over: bool = False
    where: str = ""


class Mark(Word, frozen=True):
    """One incident, or one moment, on the line of the night. until: None for a moment."""

    at: datetime
    until: datetime | None
    tone: str
    label: str


class Report(Word, frozen=True):
    """What the watch saw, did and did not do between two moments, from its journal alone.

    zone: in which its times are to be shown. headline: how it was, in a few sentences. figures:
    (name, figure) in the order to show. limits is None where no policy is known, and so is
    endings: then how much is used, or ends, is not known. head: number and hash of the last line
    that was read.
    """

    cluster: str
    world: str
    simulated: bool
    since: datetime
    until: datetime
    zone: str
    headline: tuple[str, ...]
    figures: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    marks: tuple[Mark, ...]
    limits: tuple[Used, ...] | None
    endings: tuple[Ending, ...] | None
    policy_version: str
    first_seq: int
    last_seq: int
    head: str

    def item(self, key: str) -> Item | None:
        """The item of this key, if it is in the report."""
        return next((i for s in self.sections for i in s.items if i.key == key), None)


class Stage(StrEnum):
    """What a moment of a postmortem is, in the order in which one leads to the next."""

    SIGNAL = "signal"
    HYPOTHESIS = "hypothesis"
    DECISION = "decision"
    APPROVAL = "approval"
    EFFECT = "effect"
    VERIFICATION = "verification"


class Moment(Word, frozen=True):
    """One entry of the timeline. tone as in Item; source: the instrument and its trust, or the
    agent; raw: original text, for eyes only. times: how often it came again, unchanged, at once."""

    at: datetime
    stage: Stage
    text: str
    more: str = ""
    tone: str = ""
    where: str = ""
    source: str = ""
    proposal: str = ""
    raw: str = ""
    simulated: bool = False
    seq: int = 0
    times: int = 1


class Postmortem(Word, frozen=True):
    """One incident from its first signal to its end, as the journal has it.

    figures: (name, figure). rules: (file:line, id) of each that spoke for a decision. people: who
    answered. asked: questions put to people. until: when it ended, or the moment of writing where
    it is open.
    """

    incident: Incident
    cluster: str
    world: str
    simulated: bool
    zone: str
    until: datetime
    figures: tuple[tuple[str, str], ...]
    timeline: tuple[Moment, ...]
    rules: tuple[tuple[str, str], ...]
    people: tuple[str, ...]
    asked: int
    policy_versions: tuple[str, ...]
    first_seq: int
    last_seq: int
    head: str


class Judgement(Word, frozen=True):
    """A person's word on one item of a report. digest: of the item as it was shown."""

    key: str
    digest: str
    useful: bool
    person: str
    at: datetime
    note: str = ""


class EvalCase(Word, frozen=True):
    """One judged item, as it is kept for evals: a line that stands without its journal.

    item: as it was shown. decision: number of the newest verdict it rests on, with `verdict` as
    given and `input` as judged (what `policy explain` reads); None where it rests on none.
    """

    judgement: Judgement
    item: Item
    cluster: str
    world: str
    since: datetime
    until: datetime
    policy_version: str
    journal_head: str
    decision: int | None = None
    verdict: dict[str, object] | None = None
    input: dict[str, object] | None = None
