"""The words of a comparison of two policies: what `compare` fills in and `compare_text` prints.

They are also what `policy diff -o json` writes, so a field here is a promise to scripts.
"""

from __future__ import annotations

from datetime import datetime

from watchkeeper.core.verdict import Decision
from watchkeeper.core.word import Word


class Change(Word, frozen=True):
    """One decision that comes out differently.

    seq: its line in the journal. because: file:line and sentence, as the verdict says it.
    terms: how the obligations differ; "" where the decision itself does.
    """

    seq: int
    at: datetime
    proposal: str
    incident: str
    action: str
    old: Decision
    new: Decision
    old_because: str
    new_because: str
    terms: str = ""


class Carrier(Word, frozen=True):
    """What carried a decision. kind as in a Reason; where: file:line, "" for what is built in."""

    kind: str
    id: str
    where: str = ""

    def __str__(self) -> str:
        if self.kind == "default":
            return "no rule matches"
        if not self.where:
            return f"{self.kind} {self.id}"
        return f"{self.where} {self.id}{' (unmet)' if self.kind == 'requirement' else ''}"


class Was(Word, frozen=True):
    """What carried these decisions in the old set, and how many of them."""

    decision: Decision
    carriers: tuple[Carrier, ...]
    count: int


class Group(Word, frozen=True):
    """Changes of one kind with the same carriers in the new set; the most frequent `was` first."""

    carriers: tuple[Carrier, ...]
    was: tuple[Was, ...]
    changes: tuple[Change, ...]


class Section(Word, frozen=True):
    """All changes of one kind.

    what: `newly_allowed`, `newly_asked`, `newly_denied`, `ask_loosened`, `ask_tightened`,
    `deny_softened` (break-glass may now lift it), `deny_hardened` or `verify_changed`.
    """

    what: str
    groups: tuple[Group, ...]

    @property
    def changes(self) -> tuple[Change, ...]:
        return tuple(change for group in self.groups for change in group.changes)


class Unreplayed(Word, frozen=True):
    """Decisions that could not be replayed for one reason; first: the event that shows it."""

    why: str
    count: int
    first: int


class Mismatch(Word, frozen=True):
    """A replay under the very version that judged, which differs from what was recorded."""

    seq: int
    at: datetime
    proposal: str
    recorded: str
    replayed: str


class QuotaChange(Word, frozen=True):
    """A tenant whose quota differs. old, new: in words. stretches: metered, most of them a quarter
    of an hour; beyond_*: those in which it held more than that set lets it; borrowed_*: more than
    its own."""

    tenant: str
    old: str
    new: str
    stretches: int
    beyond_old: int
    beyond_new: int
    borrowed_old: int
    borrowed_new: int


class Comparison(Word, frozen=True):
    """The whole answer; every number counts decisions as they were judged.

    judged: verdicts of the period; replayed: those that could be; proposals: how many different
    ones these concern. checked: replayed ones that OLD's or NEW's own version gave, which must
    come out as recorded. widened and narrowed: those that let more, or less, happen. shadow: what
    NEW's shadow rules would change, `old` being NEW's decision; shadow_old: how many OLD's would.
    quotas: tenants whose quotas differ, held against the metering of the period.
    """

    old_version: str
    new_version: str
    since: datetime
    until: datetime
    judged: int
    replayed: int
    proposals: int
    unreplayed: tuple[Unreplayed, ...]
    checked: int
    mismatches: tuple[Mismatch, ...]
    unchanged: int
    widened: int
    narrowed: int
    sections: tuple[Section, ...]
    shadow: tuple[Group, ...]
    shadow_old: int
    quotas: tuple[QuotaChange, ...] = ()

    @property
    def changed(self) -> int:
        return self.replayed - self.unchanged
