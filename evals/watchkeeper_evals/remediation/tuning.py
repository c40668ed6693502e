"""The parameters of `threshold_rules`, tuned on training seeds that no evaluation starts with.

`python -m watchkeeper_evals.remediation.tuning` tries every combination, keeps the best mean ETTR
and writes data/threshold_rules.json, which names seeds, fleet and what was tried.
"""

from __future__ import annotations

import itertools
import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from watchkeeper.twin.words import DAY_S
from watchkeeper_evals.remediation.baselines import ThresholdRules, Thresholds
from watchkeeper_evals.remediation.setup import Setup, cluster_of
from watchkeeper_evals.remediation.stage import play

TRAINING = Setup(nodes=2048, days=54.0, first_seed=900_001, seeds=3)
"""As large and as long as the published evaluation: rules tuned on less met no boot storm of the
whole fleet, took link codes for faults, and did worse than nothing here."""
# Sets with link codes are left out: in such a fleet a boot storm takes out a fifth of a pool
# with them (seed 1 of 2,048 nodes and 54 days: ETTR 0.878, against 0.945 without).
GRID: dict[str, tuple[Any, ...]] = {
    "codes": ("fatal", "fatal+memory"),
    "count": (1, 2),
    "drain_s": (0.0, 1800.0),
    "most_reboots": (2,),
}


@cache
def tuned() -> Thresholds:
    """The parameters that were found; they are part of the product's evidence."""
    text = files("watchkeeper_evals.remediation").joinpath("data", "threshold_rules.json")
    return msgspec.convert(json.loads(text.read_text("utf-8"))["rules"], Thresholds)


def score(rules: Thresholds, setup: Setup = TRAINING) -> float:
    """Mean ETTR over the training seeds."""
    total = 0.0
    for seed in setup.every_seed:
        cluster = cluster_of(setup, seed)
        play(cluster, ThresholdRules(cluster, rules), setup.days * DAY_S)
        total += cluster.tally().ettr
    return total / setup.seeds


def tune(setup: Setup = TRAINING) -> dict[str, Any]:
    """Every combination of GRID, the best first."""
    tried = []
    for values in itertools.product(*GRID.values()):
        rules = Thresholds(**dict(zip(GRID, values, strict=True)))
        tried.append((round(score(rules, setup), 6), msgspec.to_builtins(rules)))
        print(*tried[-1], flush=True)
    tried.sort(key=lambda pair: -pair[0])
    return {
        "rules": tried[0][1],
        "tuned_on": {
            "seeds": list(setup.every_seed),
            "nodes": setup.nodes,
            "days": setup.days,
            "by": "mean ETTR",
        },
        "tried": [{"ettr": ettr, **rules} for ettr, rules in tried],
    }


if __name__ == "__main__":
    found = json.dumps(tune(), indent=1)
    Path(str(files("watchkeeper_evals.remediation"))).joinpath(
        "data", "threshold_rules.json"
    ).write_text(found + "\n", "utf-8")
