"""What would another policy have decided? Every recorded verdict again, under an old and a new set.

Asked by `policy diff`. The denominator comes first: what could not be replayed is counted with
its reason, never skipped. Decisions are counted as they were judged: a proposal is judged when it
is made and again right before its effect, so the number of proposals is given beside them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from watchkeeper.core.action import say
from watchkeeper.core.errors import PolicyError
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.usage import UsageRecord
from watchkeeper.core.verdict import Decision, Reason, Verdict
from watchkeeper.policy.history.comparison import (
    Carrier,
    Change,
    Comparison,
    Group,
    Mismatch,
    Section,
    Unreplayed,
    Was,
)
from watchkeeper.policy.history.replay import Inputs, Recorded, recorded
from watchkeeper.policy.history.shares import Shares
from watchkeeper.policy.history.terms import difference
from watchkeeper.policy.load import load
from watchkeeper.policy.model import CheckedPolicy

ORDER = (
    "newly_allowed",
    "newly_asked",
    "newly_denied",
    "ask_loosened",
    "deny_softened",
    "ask_tightened",
    "deny_hardened",
    "verify_changed",
)
"""Sections in the order in which they are told."""


def compare(
    events: Iterable[Event],
    old: CheckedPolicy,
    new: CheckedPolicy,
    *,
    since: datetime,
    until: datetime,
) -> Comparison:
    """Replay the verdicts of a period (wall time, both ends included) under both sets.

    Pure; walks through `events` once and keeps only what changed. Events of other kinds may stand
    among them, also from before the period: those that name a loaded set tell its prices.
    """
    books, shares = _Books(old, new), Shares(old, new)
    for event in events:
        if event.kind is Kind.POLICY_LOADED:
            books.know(event)
        elif event.kind is Kind.VERDICT and since <= event.at <= until:
            books.add(recorded(event))
        elif event.kind is Kind.METERED and since <= event.at <= until:
            shares.add(msgspec.convert(event.data["usage"], UsageRecord))
    return msgspec.structs.replace(books.closed(since, until), quotas=shares.closed())


class _Books:
    """The running count of one comparison."""

    def __init__(self, old: CheckedPolicy, new: CheckedPolicy) -> None:
        self._old, self._new = old, new
        self._judged = self._replayed = self._checked = 0
        self._unchanged = self._widened = self._narrowed = self._shadow_old = 0
        self._prices = {old.version: old.prices, new.version: new.prices}
        self._proposals: set[str] = set()
        self._unreplayed: dict[str, Unreplayed] = {}
        self._mismatches: list[Mismatch] = []
        self._changes: dict[str, list[_Placed]] = {}
        self._shadow: list[_Placed] = []

    def know(self, event: Event) -> None:
        """A set that the watch loaded: at which prices were its verdicts reckoned?"""
        files, version = event.data.get("files"), event.data.get("version")
        if not isinstance(files, dict) or not isinstance(version, str):
            return
        if (self._old.prices.currency or self._new.prices.currency) and files:
            ruled = _loaded(files, event.at)
            if ruled is not None and ruled.version == version:
                self._prices[version] = ruled.prices

    def add(self, line: Recorded) -> None:
        """Replay one verdict, or say why not."""
        self._judged += 1
        inputs, given = line.inputs, line.verdict
        if inputs is None or given is None:
            self._cannot(line.problem, line.seq)
            return
        prices = self._prices.get(inputs.policy_version)
        lacks = inputs.missing(self._old, prices), inputs.missing(self._new, prices)
        if any(lacks):
            self._cannot(_lack(*lacks), line.seq)
            return
        self._replayed += 1
        self._proposals.add(inputs.proposal.id)
        before, after = inputs.judge(self._old), inputs.judge(self._new)
        self._check(line, given, before, after)
        self._note(line, inputs, before, after)

    def _cannot(self, why: str, seq: int) -> None:
        known = self._unreplayed.get(why)
        first, count = (known.first, known.count) if known else (seq, 0)
        self._unreplayed[why] = Unreplayed(why=why, count=count + 1, first=first)

    def _check(self, line: Recorded, given: Verdict, before: Verdict, after: Verdict) -> None:
        """The self-check: the set that judged then must say now what it said then."""
        if given.policy_version == self._old.version:
            again = before
        elif given.policy_version == self._new.version:
            again = after
        else:
            return
        self._checked += 1
        if _essence(given) != _essence(again):
            self._mismatches.append(
                Mismatch(
                    seq=line.seq,
                    at=line.at,
                    proposal=line.proposal,
                    recorded=f"{given.decision.value} ({given.because})",
                    replayed=f"{again.decision.value} ({again.because})",
                )
            )

    def _note(self, line: Recorded, inputs: Inputs, before: Verdict, after: Verdict) -> None:
        found = difference(before, after, self._old.people, self._new.people)
        self._widened += found.wider
        self._narrowed += found.narrower
        self._shadow_old += before.would_be is not None
        if found.what:
            change = _change(line, inputs, before, after, found.text)
            was = (before.decision, _carriers(before))
            self._changes.setdefault(found.what, []).append((_carriers(after), was, change))
        else:
            self._unchanged += 1
        if after.would_be is not None:
            heard = [r for r in after.reasons if r.shadow]
            spoke = [r for r in heard if r.says is after.would_be] or heard
            change = msgspec.structs.replace(
                _change(line, inputs, after, after),
                new=after.would_be,
                new_because="; ".join(f"{r.where or r.id}: {r.text}" for r in spoke),
            )
            was = (after.decision, _carriers(after))
            self._shadow.append((_distinct(spoke), was, change))

    def closed(self, since: datetime, until: datetime) -> Comparison:
        ordered = sorted(self._unreplayed.values(), key=lambda u: (-u.count, u.first))
        return Comparison(
            old_version=self._old.version,
            new_version=self._new.version,
            since=since,
            until=until,
            judged=self._judged,
            replayed=self._replayed,
            proposals=len(self._proposals),
            unreplayed=tuple(ordered),
            checked=self._checked,
            mismatches=tuple(self._mismatches),
            unchanged=self._unchanged,
            widened=self._widened,
            narrowed=self._narrowed,
            sections=tuple(
                Section(what=what, groups=_grouped(self._changes[what]))
                for what in ORDER
                if what in self._changes
            ),
            shadow=_grouped(self._shadow),
            shadow_old=self._shadow_old,
        )


_Carriers = tuple[Carrier, ...]
_Placed = tuple[_Carriers, tuple[Decision, _Carriers], Change]
"""A change with what carries the new decision, and what carried the old one."""


def _grouped(placed: list[_Placed]) -> tuple[Group, ...]:
    """By the new carriers, the largest group first; within it the old carriers counted."""
    groups: dict[_Carriers, list[_Placed]] = {}
    for one in placed:
        groups.setdefault(one[0], []).append(one)
    made = []
    for carriers, members in groups.items():
        counts = Counter(was for _, was, _ in members)
        made.append(
            Group(
                carriers=carriers,
                was=tuple(
                    Was(decision=decision, carriers=by, count=count)
                    for (decision, by), count in counts.most_common()
                ),
                changes=tuple(change for _, _, change in members),
            )
        )
    return tuple(sorted(made, key=lambda g: (-len(g.changes), g.changes[0].seq)))


_SPEAKS = {"policy": ("rule", "requirement", "refusal"), "default": ("requirement",)}
"""Kinds of reason that carry a refusal `refused_by` another word than their own kind. What is
denied by default because a rule's requirement is unmet is told by that rule."""


def _carriers(verdict: Verdict) -> _Carriers:
    """What carried the decision: of a refusal only what came first in the order of judging."""
    said = [r for r in verdict.reasons if r.says is verdict.decision and r.binds]
    kinds = _SPEAKS.get(verdict.refused_by, (verdict.refused_by,))
    first = [r for r in said if r.kind in kinds] if verdict.refused_by else said
    return _distinct(first or said)


def _distinct(reasons: Iterable[Reason]) -> _Carriers:
    return tuple(dict.fromkeys(Carrier(kind=r.kind, id=r.id, where=r.where) for r in reasons))


def _change(
    line: Recorded, inputs: Inputs, before: Verdict, after: Verdict, terms: str = ""
) -> Change:
    return Change(
        seq=line.seq,
        at=line.at,
        proposal=inputs.proposal.id,
        incident=inputs.proposal.incident,
        action=say(inputs.proposal.action),
        old=before.decision,
        new=after.decision,
        old_because=before.because,
        new_because=after.because,
        terms=terms,
    )


def _essence(verdict: Verdict) -> object:
    """What must come out again: all that binds, and who said so. Wording and the names of
    folders may change."""
    return (
        verdict.decision,
        verdict.refused_by,
        verdict.obligations,
        verdict.verify_within_s,
        verdict.halts,
        {(r.kind, r.id, r.says, r.shadow) for r in verdict.reasons},
    )


def _lack(old: tuple[str, ...], new: tuple[str, ...]) -> str:
    """`lack job.gpus, which NEW reads`."""
    parts = []
    for names, who in (
        (set(old) & set(new), "both read"),
        (set(old) - set(new), "OLD reads"),
        (set(new) - set(old), "NEW reads"),
    ):
        if names:
            parts.append(f"{', '.join(sorted(names))}, which {who}")
    return "lack " + "; and ".join(parts)


def _loaded(files: Mapping[str, str], at: datetime) -> CheckedPolicy | None:
    """A set as the journal holds it; None when it does not load (any more)."""
    try:
        return load(files, at)
    except PolicyError:
        return None
