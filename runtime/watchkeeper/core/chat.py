"""What an order typed into the chat is understood as, and the card that it is shown on.

Words only. An order names a kind and targets; who acts on it looks them up afresh, so nothing that
was typed reaches a provider. Nothing here grants.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeAlias

from watchkeeper.core.action import Action
from watchkeeper.core.verdict import Autonomy, Decision
from watchkeeper.core.word import Word

MOST_STEPS = 8
"""Targets of one card: a person shall read each line."""

GOOD_FOR = timedelta(minutes=15)
"""How long a card can be sent after it was shown."""


class Ordered(Word, frozen=True, tag_field="order", tag="step"):
    """A step on named targets: one Proposal for each. kind: as policies write it. gpu: on which
    GPU of its one target. add: nodes to add to each pool."""

    kind: str
    targets: tuple[str, ...]
    gpu: int | None = None
    add: int = 0
    tonight: bool = False


class Held(Word, frozen=True, tag_field="order", tag="hold"):
    """Leave these keys (`core.hold`) alone until then."""

    what: tuple[str, ...]
    until: datetime
    said: str = ""


class Dialled(Word, frozen=True, tag_field="order", tag="dial"):
    """Set the dial to this level."""

    level: Autonomy


class Halted(Word, frozen=True, tag_field="order", tag="stop"):
    """Set the stop latch."""


class Drafted(Word, frozen=True, tag_field="order", tag="draft"):
    """Draft a policy that says this."""

    sentence: str


class Elsewhere(Word, frozen=True, tag_field="order", tag="elsewhere"):
    """What the chat does not do, or not like this: says where it is done, or what is missing."""

    says: str


Order: TypeAlias = Ordered | Held | Dialled | Halted | Drafted | Elsewhere


class CardStep(Word, frozen=True):
    """One Proposal as it would be, judged and not recorded. action: None where it cannot even be
    asked. verdict: what policy said of it when the card was drawn. where: the rule as file:line."""

    says: str
    action: Action | None = None
    blast: str = ""
    undo: str = ""
    verdict: Decision | None = None
    because: str = ""
    where: str = ""
    incident: str = ""

    @property
    def may_be_sent(self) -> bool:
        return self.action is not None and self.verdict in (Decision.ASK, Decision.ALLOW)


class Card(Word, frozen=True):
    """What was understood, drawn for the person who typed it. kind: `propose`, or a narrowing that
    waits for their button: `hold`, `dial`, `stop`. order: what the button does. by: who may press
    it. worded: whose reading of the sentence this is, "" for the grammar's own."""

    kind: str
    title: str
    by: str
    at: datetime
    order: Order
    steps: tuple[CardStep, ...] = ()
    notes: tuple[str, ...] = ()
    worded: str = ""

    @property
    def may_be_sent(self) -> bool:
        return self.kind != "propose" or any(s.may_be_sent for s in self.steps)


class PolicyDraft(Word, frozen=True):
    """A policy drafted from a sentence, with what check, test and diff said of it. Shown, and never
    taken up. file: its name in the folder. tests: the file of tests beside it, and its name is
    `test_file`. by: `rules, no model` or the model. tries: times that it was written."""

    sentence: str
    file: str
    text: str
    test_file: str
    tests: str
    sound: bool
    check: str
    tested: str
    diff: str
    by: str
    tries: int = 1


class HandedIn(Word, frozen=True):
    """What became of one step that was sent. state: of its Proposal; `done` for a narrowing. now:
    where it stands, in a sentence."""

    proposal: str
    says: str
    state: str
    why: str = ""
    now: str = ""


class Said(Word, frozen=True):
    """What a model made of a sentence: an order, or an answer in its words from tools' results.
    model: its name."""

    model: str
    text: str = ""
    order: Order | None = None
