"""How fast is a verdict, and how long does a large policy take to load? `watchkeeper eval policy`
and `make bench` ask.

Cold: each verdict on facts, an impact and a ledger that were never judged before, and in a minute
of its own, so that nothing is remembered. Warm: the same inputs over and over.
Both over the folder as it stands, and with windows that shut all but 32 rules of each kind.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from watchkeeper.core.verdict import Autonomy, Orders, Verdict
from watchkeeper.policy import expr
from watchkeeper.policy.judge import judge
from watchkeeper.policy.load import load
from watchkeeper.policy.model import CheckedPolicy
from watchkeeper.policy.windows import stand_at
from watchkeeper_evals.policy_cases import Case, Cases
from watchkeeper_evals.policy_rules import KINDS, rules_of

Figures = dict[str, Any]

FEW = 32
"""Candidate rules up to which the budget of a verdict holds as it is written."""

P50_US, P99_US, FURTHER_US, LOAD_MS = 50.0, 300.0, 2.0, 300.0
"""The budgets: a verdict at up to `FEW` candidates, each further candidate, and a load."""

ROUNDS = 5
"""Each figure is the median of so many rounds: a neighbour's burst spoils one, not the figure."""

NOON = datetime(2026, 11, 18, 11, tzinfo=UTC)
"""Noon in Berlin, where the windows of the rules are."""

AUTO = Orders(autonomy=Autonomy.AUTO)


def policy_eval(
    rules: int = 500,
    seed: int = 1,
    verdicts: int = 600,
    progress: Callable[[str], None] = lambda _: None,
) -> Figures:
    """Every figure of one run. verdicts: in each of the rounds. Times in µs or ms, as named."""
    load_1m = os.getloadavg()[0]
    progress(f"loading {rules} rules ...")
    load_ms, reload_ms = _load_times(rules_of(rules, seed))
    runs = [_Run(rules_of(rules, seed), seed), _Run(rules_of(rules, seed, open_by_day=FEW), seed)]
    for nth in range(ROUNDS):  # in turn, so that both meet the machine in the same state
        for run in runs:
            progress(f"round {nth + 1} of {ROUNDS}: judging with {run.candidates[-1]} candidates")
            run.judge_many(verdicts)
    whole, few = (run.figures() for run in runs)
    found = {
        "load_ms": load_ms,
        "verdict_us": whole["cold_us"],
        "rules": rules,
        "candidates": whole["candidates"],
        "reload_ms": reload_ms,
        **{name: whole[name] for name in ("warm_us", "spoke", "decisions")},
        f"at_most_{FEW}": few,
        "us_per_further_candidate": _per_further(whole, few),
        "verdicts": verdicts * ROUNDS,
        "seed": seed,
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "load_1m": round(load_1m, 2),
            "loop_ns": _loop_ns(),
        },
    }
    return {**found, "budgets": [budget._asdict() for budget in budgets_of(found)]}


class Budget(NamedTuple):
    """One figure beside what it may be. unit: `ms` or `µs`."""

    what: str
    figure: float
    budget: float
    unit: str
    met: bool


def budgets_of(found: Figures) -> Iterator[Budget]:
    """Each budget of the product against the figures of a run; cold figures, never warm ones."""
    few, whole = found[f"at_most_{FEW}"], found["candidates"]["max"]
    at_few = f"{few['candidates']['max']} candidates"
    rows = [
        (f"load {found['rules']} rules", found["load_ms"], LOAD_MS, "ms"),
        (f"verdict p50, {at_few}", few["cold_us"]["p50"], P50_US, "µs"),
        (f"verdict p99, {at_few}", few["cold_us"]["p99"], P99_US, "µs"),
    ]
    if whole > FEW:
        further = (whole - FEW) * FURTHER_US
        cold, each = found["verdict_us"], found["us_per_further_candidate"]
        rows += [
            (f"verdict p50, {whole} candidates", cold["p50"], P50_US + further, "µs"),
            (f"verdict p99, {whole} candidates", cold["p99"], P99_US + further, "µs"),
            ("each further candidate", each, FURTHER_US, "µs"),
        ]
    return (Budget(*row, met=row[1] <= row[2]) for row in rows)


def table(found: Figures) -> str:
    """The figures for people: one line each, the budget beside it."""
    rows = [Budget(**row) for row in found["budgets"]]
    width = max(len(row.what) for row in rows)
    lines = [f"{'':<{width}}  {'measured':>12}  {'budget':>12}"]
    for row in rows:
        said = "met" if row.met else "NOT MET"
        figure, budget = f"{row.figure:g} {row.unit}", f"{row.budget:g} {row.unit}"
        lines.append(f"{row.what:<{width}}  {figure:>12}  {budget:>12}  {said}")
    warm, machine = found["warm_us"], found["machine"]
    lines += [
        "",
        f"Cold figures: inputs never judged before, nothing remembered. Warm, over all candidates: "
        f"p50 {warm['p50']:g} µs, p99 {warm['p99']:g} µs.",
        f"{found['verdicts']} verdicts over {found['rules']} rules, seed {found['seed']}; "
        f"{machine['cores']} cores, load {machine['load_1m']:g}, Python {machine['python']}, "
        f"{machine['loop_ns']:g} ns a pass of an empty loop. A busy machine is slower.",
    ]
    return "\n".join(lines)


def _loop_ns() -> float:
    """One pass of an empty Python loop, best of 5: tells a slow or busy machine from slow code."""
    passes, taken = 100_000, []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(passes):
            pass
        taken.append((time.perf_counter() - began) / passes * 1e9)
    return round(min(taken), 1)


def _per_further(whole: Figures, few: Figures) -> float | None:
    more = whole["candidates"]["max"] - few["candidates"]["max"]
    if more <= 0:
        return None
    further: float = (whole["cold_us"]["p50"] - few["cold_us"]["p50"]) / more
    return round(further, 3)


def _load_times(text: str) -> tuple[float, float]:
    """A load with nothing remembered, and a reload of the same text; ms, the CEL library loaded."""
    load({"eval.yaml": rules_of(10, seed=0)}, NOON)
    fresh: list[float] = []
    again: list[float] = []
    for _ in range(ROUNDS):
        forget()
        for times in (fresh, again):
            began = time.perf_counter()
            load({"eval.yaml": text}, NOON)
            times.append((time.perf_counter() - began) * 1e3)
    return round(statistics.median(fresh), 1), round(statistics.median(again), 1)


def forget() -> None:
    """Empty what is remembered of compiled conditions, as in a process that just started."""
    for remembered in (expr.compile_condition, expr.compile_part, expr.literal_fault):
        remembered.cache_clear()


class _Run:
    """Cold and warm verdicts over one folder, by rounds. candidates: of each kind, in order."""

    def __init__(self, text: str, seed: int) -> None:
        self._policy, self._cases = load({"eval.yaml": text}, NOON), Cases(seed)
        self.candidates = sorted(_candidates(self._policy, kind, NOON) for kind in KINDS)
        self._cold: list[list[float]] = []
        self._warm: list[list[float]] = []
        self._spoke: list[int] = []
        self._decisions: Counter[str] = Counter()

    def judge_many(self, count: int) -> None:
        """One round."""
        self._cold.append(list(_cold(self._policy, self._cases, count, self._seen)))
        self._warm.append(list(_warm(self._policy, self._cases, count)))

    def figures(self) -> Figures:
        """Over the rounds so far."""
        return {
            "candidates": {"p50": statistics.median(self.candidates), "max": self.candidates[-1]},
            "cold_us": _percentiles(self._cold),
            "warm_us": _percentiles(self._warm),
            "spoke": {"p50": statistics.median(self._spoke), "max": max(self._spoke)},
            "decisions": dict(sorted(self._decisions.items())),
        }

    def _seen(self, verdict: Verdict) -> None:
        self._spoke.append(sum(1 for reason in verdict.reasons if reason.where))
        self._decisions[verdict.decision.value] += 1


def _candidates(policy: CheckedPolicy, kind: str, at: datetime) -> int:
    """Rules that name the kind and wait for no window."""
    shut = stand_at(policy, at).shut
    return sum(not (r.during and shut.issuperset(r.during)) for r in policy.rules_for[kind])


def _cold(
    policy: CheckedPolicy, cases: Cases, count: int, seen: Callable[[Verdict], None]
) -> Iterator[float]:
    drawn = [cases.draw(KINDS[i % len(KINDS)]) for i in range(count)]  # no part of what is timed
    for i, case in enumerate(drawn):
        at = NOON + timedelta(days=i // 240, minutes=i % 240)  # a minute of its own, by day
        began = time.perf_counter()
        verdict = _judged(case, policy, at)
        yield time.perf_counter() - began
        seen(verdict)


def _warm(policy: CheckedPolicy, cases: Cases, count: int) -> Iterator[float]:
    each = count // len(KINDS) + 1
    for kind in KINDS:
        case = cases.draw(kind)
        _judged(case, policy, NOON)
        for _ in range(each):
            began = time.perf_counter()
            _judged(case, policy, NOON)
            yield time.perf_counter() - began


def _judged(case: Case, policy: CheckedPolicy, at: datetime) -> Verdict:
    return judge(case.proposal, case.impact, case.facts, policy, case.ledger, AUTO, at)


def _percentiles(rounds: Iterable[list[float]]) -> dict[str, float]:
    """p50 and p99 in µs: of each round, and of the rounds the median."""
    cuts = [statistics.quantiles(times, n=100, method="inclusive") for times in rounds]
    return {
        name: round(statistics.median(cut[at] for cut in cuts) * 1e6, 1)
        for name, at in (("p50", 49), ("p99", 98))
    }
