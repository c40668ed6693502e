"""Every run of an evaluation -> one JSON object. Pure: the same runs give the same figures.

ETTR is pooled: useful over allocated GPU-hours of all seeds. Rates stand beside their denominators
and 95 % bounds; what a target asks stands beside what even the oracle reaches.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from watchkeeper.twin.words import HOUR_S
from watchkeeper_evals.remediation import bounds
from watchkeeper_evals.remediation.runs import BASELINES, ORACLE, WATCH, Fate, SeedRun
from watchkeeper_evals.remediation.setup import Setup
from watchkeeper_evals.remediation.tuning import training_seeds

Figures = dict[str, Any]
MENDED = ("effect", "people")
"""What counts as repaired: the rest went away by itself, or lasts."""
ENOUGH_NODE_DAYS = 100_000


def figures(setup: Setup, runs: Sequence[SeedRun], wall_s: float, about: Figures) -> Figures:
    """The whole answer. runs: any controllers; what was not played is null. about: what is said of
    the machine and the commit."""
    by = _by_controller(runs)
    watch, oracle = by.get(WATCH), by.get(ORACLE)
    told = _totals(watch) if watch else {}
    seeds = sorted({run.seed for run in runs})
    found: Figures = {
        "ettr": told.get("ettr"),
        "ettr_oracle": _ettr(oracle) if oracle else None,
        "baselines": {name: _totals(by[name]) for name in BASELINES if name in by},
        **_of_the_watch(watch),
        "mttr_s": told["mttr_s"] | {"by_class": told["mttr_by_class"]} if told else None,
        "lost_gpu_hours": told.get("lost_gpu_hours"),
        "invariant_violations": sum(len(r.violations) for r in watch) if watch else None,
        "sim_gpu_hours": setup.nodes * setup.gpus_per_node * setup.days * 24 * len(seeds),
        "wall_s": round(wall_s, 1),
        "ettr_seeds": told.get("ettr_seeds"),
        "ettr_over_oracle": _ratio(watch, oracle),
        "invariants": _invariants(setup, watch),
        "watchkeeper": told or None,
        "oracle": _totals(oracle) if oracle else None,
        "targets": noise_targets(setup, watch) if setup.noise_only else targets(by),
        "per_seed": [_of_seed(run) for run in runs],
        "missing": [
            {"seed": seed, "controller": name}
            for seed in seeds
            for name in by
            if not any(run.seed == seed for run in by[name])
        ],
        **_of_setup(setup, runs, seeds),
        **about,
    }
    return found


def _by_controller(runs: Iterable[SeedRun]) -> dict[str, list[SeedRun]]:
    by: dict[str, list[SeedRun]] = defaultdict(list)
    for run in runs:
        by[run.controller].append(run)
    return dict(by)


def _of_setup(setup: Setup, runs: Sequence[SeedRun], seeds: list[int]) -> Figures:
    trained = sorted({*seeds} & {*training_seeds()})
    noise: Counter[str] = Counter()
    for run in {run.seed: run for run in runs}.values():
        noise.update(run.noise)
    return {
        "simulated": True,
        "nodes": setup.nodes,
        "gpus_per_node": setup.gpus_per_node,
        "days": setup.days,
        "seeds": seeds,
        "seeds_trained_on": trained,
        "node_days": setup.nodes * setup.days * len(seeds),
        "cluster_days": setup.days * len(seeds),
        "noise_only": setup.noise_only,
        "noise": dict(sorted(noise.items())),
        "fault_trace_rows": None if setup.trace is None else len(setup.trace),
        "gang_nodes": list(setup.spec(setup.first_seed).gang_nodes),
        "policies": setup.policies,
        "cadence": sorted({r.cadence.split(";")[0] for r in runs if r.cadence}),
        "tick_s": setup.tick_s,
        "bounds": "95 %, two-sided: shares Clopper-Pearson, counts over exposure exact Poisson, "
        "means over seeds Student's t; `upper95` is the one-sided bound (rule of three at zero)",
    }


def _invariants(setup: Setup, watch: Sequence[SeedRun] | None) -> Figures | None:
    """Promises broken, of all effects at which they were looked at, and by day of a cluster."""
    if not watch:
        return None
    count = sum(len(run.violations) for run in watch)
    checked = sum(run.effects_checked for run in watch)
    return {
        "violations": count,
        "effects_checked": checked,
        "per_effect": bounds.share(min(count, checked), checked),
        "per_cluster_day": bounds.per(count, setup.days * len(watch), "cluster-day"),
        "broken": [v for run in watch for v in run.violations][:50],
    }


# One controller over all its seeds.


def _totals(runs: Sequence[SeedRun]) -> Figures:
    allocated = sum(r.tally.allocated for r in runs)
    lost = sum(r.lost for r in runs)
    lost_by_cause: Counter[str] = Counter()
    for run in runs:
        lost_by_cause.update(run.tally.lost)
    fates = [fate for run in runs for fate in run.fates]
    return {
        "ettr": _ettr(runs),
        "lost_gpu_hours": round(lost, 1),
        "ettr_seeds": bounds.mean([r.tally.ettr for r in runs]),
        "useful_gpu_hours": round(allocated - lost, 1),
        "allocated_gpu_hours": round(allocated, 1),
        "lost_to_faults_gpu_hours": round(sum(r.lost_to_faults for r in runs), 1),
        "lost_by_cause": {cause: round(h, 1) for cause, h in sorted(lost_by_cause.items())},
        "mttr_s": _percentiles([f.lasted_s for f in fates if f.ended_by in MENDED]),
        "mttr_by_class": _mttr_by_class(fates),
        "faults": _faults(fates),
        **_false(runs),
        "effects": dict(sorted(sum((Counter(r.effects) for r in runs), Counter()).items())),
        "kwh": round(sum(r.tally.kwh for r in runs)),
        "money": round(sum(r.tally.money for r in runs)),
        "wall_s": round(sum(r.wall_s for r in runs), 1),
        "rss_mb": max((r.rss_mb for r in runs), default=0.0),
        "seeds": len(runs),
    }


def _ettr(runs: Sequence[SeedRun]) -> float:
    allocated = sum(r.tally.allocated for r in runs)
    return sum(r.tally.useful for r in runs) / allocated if allocated else 1.0


def _ratio(watch: Sequence[SeedRun] | None, oracle: Sequence[SeedRun] | None) -> Figures | None:
    """Over the seeds that both have played."""
    watch, oracle = _both(watch or (), oracle or ())
    if not watch:
        return None
    each = [r.tally.ettr / o.tally.ettr for r, o in zip(watch, oracle, strict=True)]
    return {"pooled": _ettr(watch) / _ettr(oracle), **bounds.mean(each)}


def _both(
    some: Sequence[SeedRun], others: Sequence[SeedRun]
) -> tuple[list[SeedRun], list[SeedRun]]:
    """The runs of the seeds that both have, in the same order."""
    left, right = ({run.seed: run for run in runs} for runs in (some, others))
    seeds = sorted(left.keys() & right.keys())
    return [left[seed] for seed in seeds], [right[seed] for seed in seeds]


def _faults(fates: Sequence[Fate]) -> Figures:
    ended = Counter(fate.ended_by for fate in fates)
    return {
        "hurting": len(fates),
        "curable": sum(fate.curable for fate in fates),
        "ended_by": {how: ended.get(how, 0) for how in ("effect", "itself", "people", "open")},
    }


def _percentiles(times: Sequence[float]) -> Figures:
    if not times:
        return {"p50": None, "p99": None, "of": 0}
    p50, p99 = np.percentile(np.asarray(times), (50, 99))
    return {"p50": round(float(p50), 1), "p99": round(float(p99), 1), "of": len(times)}


def _mttr_by_class(fates: Sequence[Fate]) -> Figures:
    classes: dict[str, list[Fate]] = defaultdict(list)
    for fate in fates:
        classes[fate.law].append(fate)
    return {
        law: {
            **_percentiles([f.lasted_s for f in each if f.ended_by in MENDED]),
            "faults": len(each),
            "curable": each[0].curable,
            "ended_by": dict(sorted(Counter(f.ended_by for f in each).items())),
            "node_hours": round(sum(f.lasted_s * len(f.nodes) for f in each) / HOUR_S, 1),
        }
        for law, each in sorted(classes.items())
    }


def _false(runs: Sequence[SeedRun]) -> Figures:
    """False actions, whole, by the kind of action and by the class that deserved them."""
    deeds = [deed for run in runs for deed in run.deeds]
    false = [deed for deed in deeds if not deed.law]
    kinds, classes = Counter(d.kind for d in deeds), Counter(_class(d) for d in deeds)
    false_kinds, false_classes = Counter(d.kind for d in false), Counter(_class(d) for d in false)
    return {
        "actions": len(deeds),
        "false_actions": len(false),
        "false_action_rate": bounds.share(len(false), len(deeds)),
        "false_just_lapsed": sum(bool(d.lapsed) for d in false),
        "false_by_kind": {k: bounds.share(false_kinds[k], n) for k, n in sorted(kinds.items())},
        "false_by_class": {
            k: bounds.share(false_classes[k], n) for k, n in sorted(classes.items())
        },
    }


def _class(deed: Any) -> str:
    return str(deed.law or deed.lapsed or "nothing was there")


# The watch alone.


def _of_the_watch(runs: Sequence[SeedRun] | None) -> Figures:
    if not runs:
        names = ("false_actions", "false_action_rate", "actions", "asked", "escalated")
        return dict.fromkeys((*names, "asked_night"))
    false, kinds = _false(runs), Counter[str]()
    for run in runs:
        kinds.update(run.escalated)
    curable = [fate for run in runs for fate in run.fates if fate.curable]
    could_be_told = sum(not fate.hidden for fate in curable)
    gpu_hours = sum(r.tally.allocated for r in runs)
    return {
        "false_actions": false["false_actions"],
        "false_action_rate": false["false_action_rate"]["rate"],
        "actions": false["actions"],
        "asked": sum(r.asked for r in runs),
        "escalated": sum(kinds.values()),
        "asked_night": sum(r.asked_night for r in runs),
        "answered": sum(r.answered for r in runs),
        "false_action_bound": false["false_action_rate"],
        "false_by_class": false["false_by_class"],
        "false_deeds": _some_deeds(runs),
        "actions_per_gpu_hour": bounds.per(false["actions"], gpu_hours, "allocated GPU-hour"),
        "curable_faults": len(curable),
        "hidden_faults": len(curable) - could_be_told,
        "escalated_by_truth": {k: kinds[k] for k in ("curable", "hidden", "person", "nothing")},
        "escalated_as": _sum(r.escalated_as for r in runs),
        "escalated_per_400_curable": _per_400(kinds["curable"] + kinds["hidden"], len(curable)),
        "escalated_per_400_told": _per_400(kinds["curable"], could_be_told),
        "halts": sum(r.halts for r in runs),
        "pages": sum(r.pages for r in runs),
        "verdicts": _sum(r.verdicts for r in runs),
        "refused_by": _sum(r.refused_by for r in runs),
        "turns": sum(r.turns for r in runs),
    }


def _per_400(count: int, faults: int) -> Figures:
    bound = bounds.share(min(count, faults), faults)
    return {
        "count": count,
        "of": faults,
        "rate": 400 * count / faults if faults else None,
        "low95": 400 * bound["low95"],
        "high95": 400 * bound["high95"],
    }


def _some_deeds(runs: Sequence[SeedRun]) -> list[Figures]:
    """The first false actions, so that each can be looked up in a run of its seed."""
    return [
        {"seed": run.seed, "at_s": round(deed.at_s, 1), "kind": deed.kind, "target": deed.target}
        for run in runs
        for deed in run.deeds
        if not deed.law
    ][:50]


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total.most_common())


def _of_seed(run: SeedRun) -> Figures:
    false = sum(not deed.law for deed in run.deeds)
    return {
        "seed": run.seed,
        "controller": run.controller,
        "ettr": run.tally.ettr,
        "lost_gpu_hours": round(run.lost, 1),
        "lost_to_faults_gpu_hours": round(run.lost_to_faults, 1),
        "lost_by_cause": {cause: round(h, 1) for cause, h in run.tally.lost.items()},
        "faults": len(run.fates),
        "actions": len(run.deeds),
        "false_actions": false,
        "asked": run.asked,
        "asked_night": run.asked_night,
        "escalated": sum(run.escalated.values()),
        "escalated_curable": run.escalated.get("curable", 0),
        "escalated_hidden": run.escalated.get("hidden", 0),
        "curable_faults": sum(fate.curable for fate in run.fates),
        "mttr_s": _percentiles([f.lasted_s for f in run.fates if f.ended_by in MENDED]),
        "invariant_violations": len(run.violations),
        "effects_checked": run.effects_checked,
        "trace_hash": run.trace_hash,
        "turns": run.turns,
        "wall_s": run.wall_s,
        "rss_mb": run.rss_mb,
        "commit": run.commit,
    }


# What was asked for.


def targets(by: dict[str, list[SeedRun]]) -> list[Figures]:
    """Each target beside the figure, and beside what the oracle reaches on the same seeds: a bound
    that even it does not reach is none that a controller can (`reachable`)."""
    watch, oracle = _both(by.get(WATCH, ()), by.get(ORACLE, ()))
    if not watch:
        return []
    ratio = _ettr(watch) / _ettr(oracle)
    rows: list[Figures] = [
        {"what": "ettr / ettr_oracle", "figure": ratio, "at_least": 0.985, "oracle": 1.0},
    ]
    for name, most in (("threshold_rules", 1 / 3), ("none", 1 / 5)):
        for what, lost in (("lost_gpu_hours", _lost), ("lost_to_faults", _lost_to_faults)):
            mine, base = _both(watch, by.get(name, ()))
            knew, _ = _both(oracle, mine)
            if mine:
                rows.append(
                    {
                        "what": f"{what} / {name}",
                        "figure": _part(lost(mine), lost(base)),
                        "at_most": most,
                        "oracle": _part(lost(knew), lost(base)),
                    }
                )
    seen = _of_the_watch(watch)
    rows += [
        {
            "what": "escalations per 400 curable faults",
            "figure": seen["escalated_per_400_curable"]["rate"],
            "at_most": 3.0,
        },
        {
            "what": "the same without corruption that no check finds",
            "figure": seen["escalated_per_400_told"]["rate"],
            "at_most": 3.0,
        },
        {
            "what": "false-action rate, upper 95 % bound",
            "figure": seen["false_action_bound"]["high95"],
            "at_most": 0.01,
        },
    ]
    return [row | {"met": _met(row), "reachable": _reachable(row)} for row in rows]


def noise_targets(setup: Setup, watch: Sequence[SeedRun] | None) -> list[Figures]:
    """Where nothing breaks: no disruptive action in enough node-days, and what could still be true
    of the rate."""
    if not watch:
        return []
    acts = sum(len(run.deeds) for run in watch)
    node_days = setup.nodes * setup.days * len(watch)
    upper = bounds.per(acts, node_days, "node-day")["upper95"]
    rows: list[Figures] = [
        {"what": "disruptive actions, nothing broken", "figure": acts, "at_most": 0},
        {"what": "node-days of noise alone", "figure": node_days, "at_least": ENOUGH_NODE_DAYS},
        {"what": "actions per node-day, upper 95 % bound", "figure": upper, "at_most": 1e-4},
    ]
    return [row | {"met": _met(row)} for row in rows]


def _part(lost: float, whole: float) -> float | None:
    """None where the baseline lost next to nothing: no ratio can be told from that."""
    return lost / whole if whole >= 1.0 else None


def _reachable(row: Figures) -> bool | None:
    if row.get("oracle") is None:
        return None
    return _met(row | {"figure": row["oracle"]})


def _met(row: Figures) -> bool | None:
    if row["figure"] is None:
        return None
    if "at_least" in row:
        return bool(row["figure"] >= row["at_least"])
    return bool(row["figure"] <= row["at_most"])


def _lost(runs: Sequence[SeedRun]) -> float:
    return sum(r.lost for r in runs)


def _lost_to_faults(runs: Sequence[SeedRun]) -> float:
    return sum(r.lost_to_faults for r in runs)
