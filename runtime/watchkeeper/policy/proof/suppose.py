"""The judge's answer in every case of a Space at once, for one policy and one kind of action.

It follows `hear` and `judge` step by step; property tests hold the two against each other. The
dial stands at auto, and invariants are left out: they only ever deny, and under any policy alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from watchkeeper.core.verdict import Decision
from watchkeeper.policy.expr import Condition
from watchkeeper.policy.model import Approvals, CheckedPolicy, Rule
from watchkeeper.policy.obligations import obligations_of
from watchkeeper.policy.proof.abstract import Flags, Space, window_atom
from watchkeeper.policy.proof.atoms import formula_of
from watchkeeper.policy.proof.bounds import Stop, reached, stops
from watchkeeper.policy.proof.formula import (
    Atom,
    Both,
    Either,
    Fixed,
    Formula,
    Is,
    Not,
    Order,
    atoms_in,
    ordered,
    plain,
)

_ALLOW, _ASK, _DENY = Decision.ALLOW, Decision.ASK, Decision.DENY


class View(NamedTuple):
    """How closely to look. errors: follow parts that may fail. lifts: suppose that people lift
    what is soft. compared: two policies are held side by side, so limits and budgets matter, and
    windows are told apart by where they are written. known: facts that are taken as given."""

    errors: bool = False
    lifts: bool = False
    compared: bool = False
    known: Mapping[str, bool] = {}


class _Line(NamedTuple):
    """One rule as formulas, in the order in which a rule is heard."""

    rule: Rule
    in_force: Formula
    when: Formula
    exempt: tuple[Formula, ...]
    met: Formula
    lifted: Formula


class _Stand(NamedTuple):
    """Where one rule matches, is lifted, lacks what it requires, or cannot be decided."""

    matched: Flags
    lifted: Flags
    unmet: Flags
    error: Flags


class Said(NamedTuple):
    """The answer by case: exactly one of the three is true."""

    allow: Flags
    ask: Flags
    deny: Flags


class Carrier(NamedTuple):
    """What a decision comes from. by: `where id` of a rule or limit; "" when no rule allows it.
    flags: the cases in which it is decided so, by this."""

    decision: Decision
    by: str
    flags: Flags


class Terms(NamedTuple):
    """What a question demands: how many of these people; later, after that many seconds, others
    may answer too."""

    quorum: int
    people: frozenset[str]
    later: frozenset[str]
    after_s: float

    @property
    def answerable(self) -> bool:
        """Are there enough people? A question that nobody can answer is a no."""
        return len(self.people) >= self.quorum

    def no_weaker_than(self, other: Terms) -> bool:
        """As many people, and nobody who could not answer the other question by then."""
        new = self.later - other.people
        return (
            self.quorum >= other.quorum
            and self.people <= other.people
            and (not new or (new <= other.later and self.after_s >= other.after_s))
        )


class Supposed:
    """One policy for one kind of action, from `at` on. beside: the stops of the other policy,
    when two are compared."""

    def __init__(
        self,
        policy: CheckedPolicy,
        kind: str,
        at: datetime,
        view: View,
        beside: tuple[Stop, ...] = (),
    ) -> None:
        self._policy, self._kind, self._at, self._view = policy, kind, at, view
        self.lines = tuple(self._lines())
        own = stops(policy, kind) if view.compared else ()
        self._stops = tuple((stop, self._stopped(stop, (*own, *beside))) for stop in own)

    def _lines(self) -> Iterator[_Line]:
        for rule in self._policy.rules_for[self._kind]:
            # What only advises still denies where it cannot be decided.
            heard = rule.binds or (not rule.shadow and self._view.errors)
            if heard and (rule.until is None or rule.until > self._at):
                yield self._line(rule)

    def _line(self, rule: Rule) -> _Line:
        force: list[Formula] = [_before(rule.until)] if rule.until else []
        if rule.during:
            windows = (self._policy.windows[name] for name in rule.during)
            atoms = (window_atom(window, placed=self._view.compared) for window in windows)
            force.append(Either(tuple(Is(atom) for atom in atoms)))
        return _Line(
            rule=rule,
            in_force=Both(tuple(force)),
            when=self._read(rule.when),
            exempt=tuple(
                Both((_before(exemption.until), self._read(exemption.when)))
                for exemption in self._policy.exempt.get(rule.id, ())
                if self._kind in exemption.actions and exemption.until > self._at
            ),
            lifted=self._lifted(rule.id, soft=rule.soft),
            met=_met(rule),
        )

    def _read(self, condition: Condition | None) -> Formula:
        if condition is None:
            return Fixed(True)
        view = self._view
        return formula_of(condition, self._kind, errors=view.errors, known=view.known)

    def _lifted(self, ident: str, *, soft: bool) -> Formula:
        if not (soft and self._view.lifts):
            return Fixed(False)
        yes, no = f"break-glass lifts {ident}", f"break-glass does not lift {ident}"
        return Is(plain(("lifted", ident), yes, no))

    def _stopped(self, stop: Stop, known: tuple[Stop, ...]) -> Formula:
        return Both((reached(stop, known), Not(self._lifted(stop.id, soft=stop.soft))))

    @property
    def may_grant(self) -> bool:
        """Is there any rule at all that could let it happen?"""
        return any(x.rule.effect is not _DENY and x.rule.binds for x in self.lines)

    @property
    def may_allow(self) -> bool:
        """Is there any rule at all that could let it happen unasked?"""
        lifts = any(x.rule.soft and x.rule.effect is _ASK for x in self.lines) and self._view.lifts
        return lifts or any(x.rule.effect is _ALLOW for x in self.lines)

    def atoms(self) -> Iterator[Atom]:
        """Every atom that the answer depends on."""
        for line in self.lines:
            for formula in (line.in_force, line.when, *line.exempt, line.lifted, line.met):
                yield from atoms_in(formula)
        for _, stopped in self._stops:
            yield from atoms_in(stopped)

    def says(self, space: Space) -> Said:
        """Allow, ask or deny, in every case; an ask may still be one that nobody can answer."""
        granted, asks, deny = space.all(False), space.all(False), space.all(False)
        for line in self.lines:
            stand = _stand(line, space)
            deny |= stand.error
            if not line.rule.binds:
                continue
            match line.rule.effect:
                case Decision.ALLOW:
                    granted |= stand.matched
                case Decision.ASK:
                    asks |= stand.matched
                    granted |= stand.lifted
                    deny |= stand.unmet
                case Decision.DENY:
                    deny |= stand.matched
        deny |= ~(granted | asks)
        for _, stopped in self._stops:
            deny |= space.truth(stopped).yes
        return Said(~deny & ~asks, ~deny & asks, deny)

    def carrier(self, space: Space, case: int) -> Carrier:
        """What decides in one case, and all cases in which it does so."""
        said = self.says(space)
        decision = _ALLOW if said.allow[case] else _ASK if said.ask[case] else _DENY
        where = {_ALLOW: said.allow, _ASK: said.ask, _DENY: said.deny}[decision]
        for line in self.lines:
            speaks = _speaks(line, _stand(line, space), decision)
            if speaks[case]:
                return Carrier(decision, f"{line.rule.where} {line.rule.id}", where & speaks)
        for stop, stopped in self._stops:
            reached_here = space.truth(stopped).yes
            if reached_here[case]:
                return Carrier(decision, f"{stop.where} {stop.id}", where & reached_here)
        return Carrier(decision, "", where)

    def terms(self, space: Space) -> tuple[npt.NDArray[np.intp], list[Terms]]:
        """What is demanded in each case, as an index into the list of all that is."""
        asks = [x for x in self.lines if x.rule.effect is _ASK and x.rule.binds]
        matched: dict[Approvals, Flags] = {}
        for line in asks:  # those that demand the same add nothing to each other
            so_far = matched.get(line.rule.approvals, space.all(False))
            matched[line.rule.approvals] = so_far | _stand(line, space).matched
        rule_of = {line.rule.approvals: line.rule for line in asks}
        index, rows = _distinct(space.size, list(matched.values()))
        sets = [[rule_of[a] for a, so in zip(matched, row, strict=True) if so] for row in rows]
        return index, [self._terms_of(tuple(rules)) for rules in sets]

    def _terms_of(self, asks: tuple[Rule, ...]) -> Terms:
        people, owed = self._policy.people, obligations_of(asks, self._policy)

        def members(groups: tuple[str, ...]) -> frozenset[str]:
            return frozenset(person for group in groups for person in people.get(group, ()))

        after_s = owed.escalate_after_s or 0.0
        return Terms(owed.quorum, members(owed.groups), members(owed.escalate_to), after_s)


def _distinct(size: int, columns: list[Flags]) -> tuple[npt.NDArray[np.intp], list[list[bool]]]:
    """Which of the different rows of some columns each row is, and those rows."""
    index, rows = np.zeros(size, np.intp), list[list[bool]]([[]])
    for column in columns:
        values, index = np.unique(2 * index + column, return_inverse=True)
        rows = [[*rows[value // 2], bool(value % 2)] for value in values.tolist()]
    return index, rows


def _stand(line: _Line, space: Space) -> _Stand:
    """`hear` in every case: in force, condition, exceptions, requirements, break-glass."""
    force, when = space.truth(line.in_force).yes, space.truth(line.when)
    error = force & ~when.yes & ~when.no
    rest = force & when.yes
    for formula in line.exempt:
        exempt = space.truth(formula)
        error |= rest & ~exempt.yes & ~exempt.no
        rest = rest & exempt.no
    met, lifted = space.truth(line.met).yes, space.truth(line.lifted).yes
    unmet, rest = rest & ~met, rest & met
    return _Stand(matched=rest & ~lifted, lifted=rest & lifted, unmet=unmet, error=error)


def _speaks(line: _Line, stand: _Stand, decision: Decision) -> Flags:
    """Where one rule says this."""
    effect, binds = line.rule.effect, line.rule.binds
    never = np.zeros_like(stand.error)
    matched = stand.matched if binds and effect is decision else never
    match decision:
        case Decision.ALLOW:
            return matched | (stand.lifted if binds and effect is _ASK else never)
        case Decision.ASK:
            return matched
        case _:
            return matched | stand.error | (stand.unmet if binds and effect is _ASK else never)


def _before(until: datetime) -> Formula:
    day = f"{until:%Y-%m-%d} 00:00Z"
    test = Order("<", until.timestamp())
    return Is(Atom("ordered", ("time",), test, f"it is before {day}", f"it is {day} or later"))


def _met(rule: Rule) -> Formula:
    """What the rule requires beside its condition."""
    need, parts = rule.require, list[Formula]()
    if need.confidence is not None:
        bound = float(need.confidence)
        parts.append(Is(ordered("double", "incident.confidence", ">=", bound, f"{bound:g}")))
    if need.independent_sources is not None:
        least, name = need.independent_sources, "evidence.independent_sources"
        parts.append(Not(Is(ordered("int", name, "<", least, str(least)))))
    if need.checkpoint_age_s is not None:
        # Held against seconds here, where a condition sees whole microseconds: not one subject.
        most = float(need.checkpoint_age_s)
        said = f"impact.checkpoint_age <= {most:g} s"
        subject = ("required", "impact.checkpoint_age")
        age = Atom("double", subject, Order("<=", most), f"{said} is true", f"{said} is false")
        parts.append(Is(age))
    return Both(tuple(parts))
