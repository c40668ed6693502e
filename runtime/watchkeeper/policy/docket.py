"""The rules of one kind of action, laid out at load so that a verdict asks few of them.

Rules that wait for the same windows stand together: while those are shut, the judge passes them
by. Of the others, an index tells which hold; what it cannot tell goes to CEL in one program.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from watchkeeper.policy.expr import batch
from watchkeeper.policy.index import index
from watchkeeper.policy.model import Docket, Listed, Part, Rule


def docket(kind: str, rules: Iterable[Rule]) -> Docket:
    """The docket of one kind, from the rules of a whole policy."""
    own = [rule for rule in rules if kind in rule.actions]
    by_windows: dict[frozenset[str], list[Listed]] = {}
    for place, rule in enumerate(own):
        by_windows.setdefault(frozenset(rule.during), []).append(Listed(place, rule))
    return Docket(
        parts=tuple(_part(listed) for listed in by_windows.values()),
        waits=tuple(sorted({name for rule in own for name in rule.during})),
    )


def _part(listed: Sequence[Listed]) -> Part:
    plain, indexed, asked = [], [], []
    clauses, conditions = [], []
    for entry in listed:
        when = entry.rule.when
        if when is None:
            plain.append(entry)
        elif when.clauses is not None:
            indexed.append(entry)
            clauses.append(when.clauses)
        else:
            asked.append(entry)
            conditions.append(when)
    return Part(
        during=listed[0].rule.during,
        plain=tuple(plain),
        indexed=tuple(indexed),
        index=index(clauses),
        asked=tuple(asked),
        batch=batch(tuple(conditions)),
    )
