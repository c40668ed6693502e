"""The one generator of large policies for evals: many mixed rules, drawn by a seed.

A tenth of the rules match every kind of action, the rest are spread evenly over the kinds. Each
condition has three atoms; half of the rules share none of theirs with any other rule.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from watchkeeper.core.action import TRAITS

KINDS = tuple(kind for kind, traits in TRAITS.items() if traits.changes)
"""The kinds of action that a policy may name: 15."""

ONE_FOR_ALL = 10
"""One rule in so many matches every kind."""

SHARED_ATOMS = 8
"""So many ready-made atoms of a scope serve every rule of it that shares."""

HEAD = """\
apiVersion: watchkeeper/v1
kind: Policy
metadata: {name: eval, owner: eval}
people: {oncall: [ann, bob], platform: [cid]}
windows:
  day: {days: [mon, tue, wed, thu, fri, sat, sun], from: "06:00", to: "22:00", tz: Europe/Berlin}
  night: {days: [mon, tue, wed, thu, fri, sat, sun], from: "22:00", to: "06:00", tz: Europe/Berlin}
limits:
  - {id: few-out, actions: ["*"], per: pool, max_out: {count: 8, percent: 25}}
  - {id: few-in-a-rack, actions: ["node.*"], per: rack, max_out: {count: 2}}
  - {id: few-an-hour, actions: ["*"], per: fleet, rate: {count: 6, per: 1h}}
budgets:
  - {id: hours-a-day, actions: ["*"], per: fleet, every: 24h, gpu_hours: 500}
rules:
"""


class Atom(NamedTuple):
    """A comparison whose constant is drawn between two bounds; about half of them hold for most
    actions, so that neither every condition ends at its first atom nor every rule speaks."""

    text: str
    low: float
    high: float

    def drawn(self, rng: random.Random) -> str:
        """The comparison with a constant of its own: six digits, so that no two are alike."""
        return self.text.replace("?", f"{rng.uniform(self.low, self.high):.6f}")


_COMMON = (
    Atom("incident.confidence < ?", 0.2, 0.99),
    Atom("proposal.confidence < ?", 0.2, 0.99),
    Atom("impact.gpus > ?", 0.0, 12.0),
    Atom("impact.gpu_hours > ?", 0.0, 8.0),
    Atom('impact.checkpoint_age > duration("?s")', 0.0, 240.0),
    Atom('evidence.age > duration("?s")', 0.0, 120.0),
    Atom('proposal.by == "agent:remediation-?"', 0.0, 99.0),
    Atom('!(pool.name in ["train", "pool-?"])', 0.0, 99.0),
)
_NODE = (
    Atom('node.silent_for > duration("?s")', 0.0, 30.0),
    Atom("pool.power_kw > ?", 0.0, 900.0),
    Atom('node.rack == "rack-?"', 0.0, 99.0),
    Atom('node.name.startsWith("train-?")', 0.0, 99.0),
    Atom('!("label-?" in node.labels)', 0.0, 99.0),
)
_OWN: dict[str, tuple[Atom, ...]] = {
    "node": _NODE,
    "gpu": _NODE,
    "job": (
        Atom("job.gpus > ?", 0.0, 64.0),
        Atom('job.checkpoint_age > duration("?s")', 0.0, 240.0),
        Atom('tenant.name != "tenant-?"', 0.0, 99.0),
    ),
    "pool": (
        Atom("pool.pending_gpus > ?", 0.0, 64.0),
        Atom("forecast.p90_1h > ?", 0.0, 800.0),
        Atom('pool.name != "pool-?"', 0.0, 99.0),
    ),
}
_EFFECTS = ("deny", "deny", "ask", "allow")


def rules_of(count: int, seed: int, open_by_day: int | None = None) -> str:
    """A policy file of `count` rules, three limits and a budget; the same for the same seed.

    open_by_day: for each kind of action, at most so many of its rules are open by day; the rest
    wait for the night. None: no rule has a window.
    """
    drawer = _Drawer(random.Random(seed))  # noqa: S311  (a draw, no secret)
    for_all = count // ONE_FOR_ALL
    most = candidates_of(count)
    share = 1.0 if open_by_day is None else min(1.0, open_by_day / most)
    open_for_all = round(for_all * share)
    rows = [drawer.row(f"all-{i}", '"*"', "", night=i >= open_for_all) for i in range(for_all)]
    for at in range(count - for_all):
        kind, nth = KINDS[at % len(KINDS)], at // len(KINDS)
        night = open_by_day is not None and nth >= open_by_day - open_for_all
        rows.append(drawer.row(f"{kind.replace('.', '-')}-{nth}", kind, kind, night=night))
    return HEAD + "".join(rows)


def candidates_of(count: int) -> int:
    """The most rules that name one kind of action, of so many rules in all."""
    for_all = count // ONE_FOR_ALL
    return for_all + -(-(count - for_all) // len(KINDS))


class _Drawer:
    """Draws rules; every second one takes its atoms from those that are ready-made."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._shared = {
            scope: [a.drawn(rng) for a in rng.sample(self._atoms(scope), SHARED_ATOMS)]
            for scope in ("", *_OWN)
        }
        self._rows = 0
        self._said: set[str] = set()

    def row(self, name: str, actions: str, kind: str, *, night: bool) -> str:
        """One rule as a line of YAML."""
        self._rows += 1
        effect = self._rng.choice(_EFFECTS)
        during = "during: night, " if night else ""
        when = self._condition(TRAITS[kind].scope if kind else "", shares=self._rows % 2 == 0)
        return (
            f"  - {{id: {name}, effect: {effect}, actions: [{actions}], {during}"
            f"when: '{when}', reason: Drawn by the eval.}}\n"
        )

    def _condition(self, scope: str, *, shares: bool) -> str:
        """Three atoms, never the same three again."""
        while True:
            if shares:
                atoms = self._rng.sample(self._shared[scope], 3)
            else:
                atoms = [a.drawn(self._rng) for a in self._rng.sample(self._atoms(scope), 3)]
            shape = self._rng.choice(("{} && {} && {}", "{} && {} && {}", "{} && ({} || {})"))
            if (said := shape.format(*sorted(atoms))) not in self._said:
                self._said.add(said)
                return said

    @staticmethod
    def _atoms(scope: str) -> tuple[Atom, ...]:
        return (*_COMMON, *_OWN.get(scope, ()))
