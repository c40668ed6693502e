"""Is this so for every action, moment and fact? Asked by `policy check --prove`.

Every case of a finite abstraction is looked at: conditions, windows and limits as atoms that are
so or not so. What is proved holds for the judge from `at` on, whatever the facts are, as long as
each has its declared type. A counter-example may be a false alarm; a proof never is.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from watchkeeper.core.action import TRAITS
from watchkeeper.core.verdict import Decision
from watchkeeper.policy.load import CHANGING
from watchkeeper.policy.model import CheckedPolicy
from watchkeeper.policy.proof.abstract import MOST_ATOMS, Flags, Space, weight
from watchkeeper.policy.proof.bounds import stops
from watchkeeper.policy.proof.formula import Atom
from watchkeeper.policy.proof.question import (
    IsDenied,
    IsEquivalent,
    IsNarrower,
    NeedsAPerson,
    Question,
)
from watchkeeper.policy.proof.suppose import Carrier, Supposed, Terms, View

WIDTH = 100


class Outcome(StrEnum):
    """What became of a question."""

    PROVED = "proved"
    NOT_SO = "not so"
    NOT_DECIDED = "not decided"


class Proof(NamedTuple):
    """The answer to one question. text: a sentence for people. kinds: those for which it is not
    so, or not decided. when: what must hold for the counter-example, in words. rules, cases: how
    many were looked at; atoms: the most for one kind of action."""

    outcome: Outcome
    text: str
    kinds: tuple[str, ...] = ()
    when: tuple[str, ...] = ()
    rules: int = 0
    atoms: int = 0
    cases: int = 0
    sentences: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The answer for a screen: each sentence on lines of at most WIDTH columns."""
        return "\n".join(
            textwrap.fill(
                sentence,
                WIDTH,
                subsequent_indent="  ",
                break_long_words=False,
                break_on_hyphens=False,
            )
            for sentence in self.sentences or (self.text,)
        )

    def as_json(self, question: str) -> dict[str, Any]:
        """The answer as plain values, beside the question as it was asked."""
        return {
            "question": question,
            "outcome": self.outcome.value,
            "text": self.text,
            "actions": list(self.kinds),
            "when": list(self.when),
            "rules": self.rules,
            "atoms": self.atoms,
            "cases": self.cases,
        }


def prove(
    question: Question, policy: CheckedPolicy, at: datetime, other: CheckedPolicy | None = None
) -> Proof:
    """Answer a question about a policy from `at` on. other: the policy that it is held against.

    Raises ValueError when the question needs another policy and there is none.
    """
    match question:
        case NeedsAPerson(what=what, kinds=kinds):
            found = [_needs_a_person(policy, kind, at) for kind in kinds]
            return _answer(found, f"nothing lets {what} happen without a person")
        case IsDenied(what=what, kinds=kinds):
            found = [_is_denied(policy, kind, at) for kind in kinds]
            return _answer(found, f"{what} is always denied")
    if other is None:
        raise ValueError("a comparison needs the other policy")
    folder = question.folder
    here = [_is_narrower(policy, other, kind, at, ("here", folder)) for kind in CHANGING]
    if isinstance(question, IsNarrower):
        said = f"this folder allows nothing, and asks no fewer people, that {folder} would not"
        return _answer(here, said)
    assert isinstance(question, IsEquivalent)
    names = (f"in {folder}", "this folder")
    there = [_is_narrower(other, policy, kind, at, names) for kind in CHANGING]
    return _answer([*here, *there], f"this folder and {folder} allow and ask the same")


class _Found(NamedTuple):
    """What was found for one kind. wrong: the counter-example as a clause, or ""."""

    kind: str
    rules: frozenset[str]
    atoms: int
    cases: int
    wrong: str = ""
    when: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        if self.wrong:
            return Outcome.NOT_SO
        return Outcome.NOT_DECIDED if self.atoms > MOST_ATOMS else Outcome.PROVED


def _needs_a_person(policy: CheckedPolicy, kind: str, at: datetime) -> _Found:
    if not TRAITS[kind].changes:
        return _always_allowed(kind)
    # A step that a person approved has been asked about, and nobody has broken the glass.
    side = Supposed(policy, kind, at, View(known={"incident.approved": False}))
    if not side.may_allow:
        return _trivial(side, kind)

    def judge(space: Space) -> Flags:
        return side.says(space).allow

    return _searched(kind, (side,), judge)


def _is_denied(policy: CheckedPolicy, kind: str, at: datetime) -> _Found:
    if not TRAITS[kind].changes:
        return _always_allowed(kind)
    side = Supposed(policy, kind, at, View(lifts=True))
    if not side.may_grant:
        return _trivial(side, kind)

    def judge(space: Space) -> Flags:
        return ~side.says(space).deny

    return _searched(kind, (side,), judge)


def _is_narrower(
    one: CheckedPolicy, two: CheckedPolicy, kind: str, at: datetime, names: tuple[str, str]
) -> _Found:
    view = View(errors=True, lifts=True, compared=True)
    ours = Supposed(one, kind, at, view, stops(two, kind))
    theirs = Supposed(two, kind, at, view, stops(one, kind))
    if not ours.may_grant:
        return _trivial(ours, kind)

    def judge(space: Space) -> Flags:
        mine, other = ours.says(space), theirs.says(space)
        wider = (mine.allow & ~other.allow) | (mine.ask & other.deny)
        both = np.flatnonzero(mine.ask & other.ask)
        if len(both):
            wider[both] = _asks_fewer(ours, theirs, space.only(both))
        unanswerable = np.flatnonzero(mine.ask & other.deny)
        if len(unanswerable):
            index, terms = ours.terms(space.only(unanswerable))
            wider[unanswerable] = np.array([t.answerable for t in terms])[index]
        return wider

    return _searched(kind, (ours, theirs), judge, names)


def _asks_fewer(ours: Supposed, theirs: Supposed, space: Space) -> Flags:
    """Where both ask, and ours would do with less. A question for nobody is a no."""
    index, mine = ours.terms(space)
    other_index, others = theirs.terms(space)
    pairs, place = np.unique(index * len(others) + other_index, return_inverse=True)
    fewer = []
    for pair in pairs.tolist():
        a, b = mine[pair // len(others)], others[pair % len(others)]
        fewer.append(a.answerable and not (b.answerable and a.no_weaker_than(b)))
    return np.array(fewer, np.bool_)[place]


def _searched(
    kind: str, sides: tuple[Supposed, ...], judge: Any, names: tuple[str, str] = ("", "")
) -> _Found:
    """Look at every case; `judge` says in which of them the claim fails."""
    rules = frozenset(line.rule.id for side in sides for line in side.lines)
    atoms = list(dict.fromkeys(a for side in sides for a in side.atoms()))
    if (weighs := weight(atoms)) > MOST_ATOMS:
        return _Found(kind, rules, weighs, 0)
    space = Space(atoms)
    wrong: Flags = judge(space)
    if not wrong.any():
        return _Found(kind, rules, weighs, space.size)
    plain = np.flatnonzero(wrong & ~space.odd)
    case = int(plain[0] if len(plain) else np.flatnonzero(wrong)[0])
    carriers = [side.carrier(space, case) for side in sides]
    for carrier in carriers:  # so that what is told holds for the same reason throughout
        wrong &= carrier.flags
    when = tuple(atom.said(value) for atom, value in _least(space, wrong, case))
    told = _told(kind, sides, carriers, space.only(np.array([case])), names)
    return _Found(kind, rules, weighs, space.size, told, when)


def _least(space: Space, wrong: Flags, case: int) -> list[tuple[Atom, int]]:
    """The part of a case that suffices: all cases that share it are wrong as well."""
    kept = [(atom, int(space.column(atom)[case])) for atom in space.atoms]
    for literal in tuple(kept):
        fewer = [other for other in kept if other is not literal]
        shared = space.all(True)
        for atom, value in fewer:
            shared &= space.column(atom) == value
        if bool(wrong[shared].all()):
            kept = fewer
    return kept


def _told(
    kind: str,
    sides: tuple[Supposed, ...],
    carriers: list[Carrier],
    one: Space,
    names: tuple[str, str],
) -> str:
    """`node.drain is allowed by …`, and what the other side says where there is one."""
    ours, *others = carriers
    said = f"{kind} is {_PAST[ours.decision]}{f' {names[0]}' if names[0] else ''} by {ours.by}"
    if not others:
        return said
    theirs = others[0]
    if ours.decision is theirs.decision:
        mine, other = (side.terms(one)[1][0] for side in sides)
        return f"{said}, of {_who(mine)}; {names[1]} asks {_who(other)}"
    why = f" ({theirs.by})" if theirs.by else " (no rule allows it)"
    return f"{said}, and {names[1]} {_VERB[theirs.decision]} it{why}"


_VERB = {Decision.ALLOW: "allows", Decision.ASK: "asks about", Decision.DENY: "denies"}
_PAST = {Decision.ALLOW: "allowed", Decision.ASK: "asked about", Decision.DENY: "denied"}


def _who(terms: Terms) -> str:
    who = ", ".join(sorted(terms.people | terms.later)) or "nobody"
    return f"{terms.quorum} of {who}"


def _always_allowed(kind: str) -> _Found:
    wrong = f"{kind} changes nothing in the cluster and is always allowed"
    return _Found(kind, frozenset(), 0, 1, wrong)


def _trivial(side: Supposed, kind: str) -> _Found:
    return _Found(kind, frozenset(line.rule.id for line in side.lines), 0, 1)


def _answer(found: list[_Found], claim: str) -> Proof:
    """One answer for all kinds: a counter-example before an undecided kind before a proof."""
    proof = Proof(
        Outcome.PROVED,
        "",
        rules=len(frozenset[str]().union(*(f.rules for f in found))),
        atoms=max(f.atoms for f in found),
        cases=sum(f.cases for f in found),
    )
    wrong = [f for f in found if f.outcome is Outcome.NOT_SO]
    if wrong:
        # What holds with the fewest suppositions is the least likely to be a false alarm.
        wrong.sort(key=lambda f: len(f.when))
        kinds = tuple(dict.fromkeys(f.kind for f in wrong))
        said = tuple(_sentences(wrong[0], kinds[1:]))
        text, when = " ".join(said), wrong[0].when
        return proof._replace(
            outcome=Outcome.NOT_SO, text=text, kinds=kinds, when=when, sentences=said
        )
    undecided = [f for f in found if f.outcome is Outcome.NOT_DECIDED]
    if undecided:
        kinds = tuple(dict.fromkeys(f.kind for f in undecided))
        each = "; ".join(dict.fromkeys(f"{f.atoms} atoms for {f.kind}" for f in undecided))
        text = f"Not decided: {each}; at most {MOST_ATOMS}."
        return proof._replace(outcome=Outcome.NOT_DECIDED, text=text, kinds=kinds)
    counted = f"{_count(proof.rules, 'rule')}, {_count(proof.atoms, 'atom')}"
    return proof._replace(text=f"Proved: {claim} ({counted}, {_count(proof.cases, 'case')}).")


def _sentences(wrong: _Found, others: tuple[str, ...]) -> Iterator[str]:
    if wrong.when:
        yield f"Not so: {wrong.wrong}, when {', '.join(wrong.when)}."
        yield "This may be a false alarm: conditions are taken as independent."
    else:
        yield f"Not so: {wrong.wrong}."
    if others:
        yield f"Not so either for {', '.join(others)}."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
