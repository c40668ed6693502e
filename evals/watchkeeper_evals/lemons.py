"""Trains the model that tells lemons from nodes with bad luck, and says how good it is.

`python -m watchkeeper_evals.lemons --train 11-16 --test 21-23 --write PATH` plays whole fleets with
the real watch, takes each node's history from the record (what the watch itself can see, and
nothing else), and fits a logistic regression on it. The truth, which nodes were drawn as lemons,
labels the rows and is seen by nobody else. Everything it reports is simulated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from watchkeeper.adapters.policy_files import read_policy_dir
from watchkeeper.app.twin_people import People
from watchkeeper.app.twin_run import TwinRun
from watchkeeper.core.errors import UsageError
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.incident import Incident
from watchkeeper.core.word import parse
from watchkeeper.health.lemons import FEATURES, History, Model, histories, score, vectors
from watchkeeper.health.sense import REAL
from watchkeeper.twin.cluster import TwinCluster
from watchkeeper.twin.faults import node_rates
from watchkeeper.twin.words import TwinSpec
from watchkeeper_evals.remediation.bounds import share
from watchkeeper_evals.remediation.setup import gang_nodes

DAYS = (14.0, 21.0, 28.0)
"""A node is looked at on each of these days of a run. Held-out figures are of the last."""
LEAST_PRECISION = 0.85
"""Of those called lemons so many must be: Meta RSC reports above 85 %."""
LEAST_SEEDS = 3
STRENGTH = 0.1
"""Inverse strength of the L2 penalty: lemons are few, and counts go together."""
BINS = (0.0, 0.02, 0.1, 0.3, 0.6, 1.0)
Told = Callable[[str], None]


class Row(NamedTuple):
    """One node on one day of one run."""

    seed: int
    day: float
    history: History
    lemon: bool


class Recorded(TwinRun):
    """A run that keeps what the record says of incidents, as it stood on each of the days."""

    def __init__(self, spec: TwinSpec, orders: dict[str, str], cluster: TwinCluster) -> None:
        super().__init__(
            spec,
            orders,
            skip=True,
            crew=None,
            people=People(spec),
            crash_at=None,
            sense=REAL,
            keep_lines=False,
            cluster=cluster,
        )
        self.latest: dict[str, dict[str, Any]] = {}
        self.days: dict[float, tuple[list[dict[str, Any]], set[int]]] = {}
        self._spec_, self._twin = spec, cluster

    def _start(self, home: Path) -> Any:
        parts = super()._start(home)
        parts.journal.listen(self.note)
        return parts

    def note(self, event: Event) -> None:
        """Take in one event of the journal."""
        self.close_days((event.at - self._spec_.start).total_seconds() / 86400.0)
        if event.kind in (Kind.INCIDENT_OPENED, Kind.INCIDENT_CHANGED, Kind.INCIDENT_CLOSED):
            incident = event.data["incident"]
            self.latest[incident["id"]] = incident

    def close_days(self, now_days: float) -> None:
        """Keep the record as it stood on each day that is over."""
        for day in DAYS:
            if day <= now_days and day not in self.days:
                self.days[day] = (list(self.latest.values()), set(self._twin.harm.replaced))


def rows_of(seed: int, nodes: int, policies: Path) -> list[Row]:
    """Play one fleet for four weeks, and give every node's history on each of the days. A lemon
    that was replaced is left out from then on: its history is of two machines."""
    spec = TwinSpec(seed=seed, nodes=nodes, days=DAYS[-1], gang_nodes=gang_nodes(nodes))
    cluster = TwinCluster.of(spec)
    run = Recorded(spec, read_policy_dir(policies), cluster)
    with tempfile.TemporaryDirectory(prefix="watchkeeper-lemons-") as home:
        run.play(Path(home))
    run.close_days(DAYS[-1])
    drawn = node_rates(spec).lemon
    names = cluster.machines.names[:nodes]
    widths = {gang.name: gang.width for gang in cluster.work.gangs.values()}
    rows: list[Row] = []
    for day, (incidents, replaced) in sorted(run.days.items()):
        known = [parse(i, Incident) for i in incidents]
        now = spec.start + timedelta(days=day)
        found = {h.node: h for h in histories(known, now, gang_nodes=widths, nodes=names)}
        rows += [
            Row(seed, day, found[name], bool(drawn[i]))
            for i, name in enumerate(names)
            if not (drawn[i] and i in replaced)
        ]
    return rows


class Line(NamedTuple):
    """A calibrated logistic regression, folded into one set of coefficients on standardised
    features."""

    weights: NDArray[np.float64]
    bias: float

    def of(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores, 0 to 1."""
        return np.asarray(1.0 / (1.0 + np.exp(-(z @ self.weights + self.bias))))


def line(z: NDArray[np.float64], y: NDArray[np.bool_], seeds: NDArray[np.int64]) -> Line:
    """Fit, and calibrate by Platt's sigmoid on predictions for seeds that were left out. More
    trouble never makes a node look better: what would weigh below 0 is left out, and fitted anew.
    """
    weights, kept = np.zeros(z.shape[1]), np.arange(z.shape[1])
    while True:
        own, bias = _platt(z[:, kept], y, seeds)
        if (own >= 0).all() or len(kept) == 1:
            weights[kept] = np.maximum(own, 0.0)
            return Line(weights, bias)
        kept = kept[own >= 0] if (own >= 0).any() else kept[[int(own.argmax())]]


def _platt(
    z: NDArray[np.float64], y: NDArray[np.bool_], seeds: NDArray[np.int64]
) -> tuple[NDArray[np.float64], float]:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    folds = list(GroupKFold(n_splits=len(set(seeds.tolist()))).split(z, y, seeds))
    base = LogisticRegression(C=STRENGTH, max_iter=2000)
    sure = CalibratedClassifierCV(base, method="sigmoid", cv=folds, ensemble=False).fit(z, y)
    inner = sure.calibrated_classifiers_[0]
    platt = inner.calibrators[0]
    bias = -platt.a_ * float(inner.estimator.intercept_[0]) - platt.b_
    return np.asarray(-platt.a_ * inner.estimator.coef_[0], np.float64), float(bias)


def fit(rows: Sequence[Row], provenance: dict[str, str]) -> Model:
    """The model of these rows. Its threshold is chosen on scores of seeds left out. Raises
    UsageError where fewer than three seeds have a lemon: each is left out once."""
    x, y = vectors([r.history for r in rows]), np.array([r.lemon for r in rows], np.bool_)
    seeds = np.array([r.seed for r in rows])
    if sum(bool(y[seeds == s].any()) for s in set(seeds.tolist())) < LEAST_SEEDS:
        raise UsageError(f"{LEAST_SEEDS} training seeds need a lemon; take more nodes or seeds")
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    z = (x - mean) / scale
    honest = np.zeros(len(y))
    for seed in sorted(set(seeds.tolist())):
        rest = seeds != seed
        honest[~rest] = line(z[rest], y[rest], seeds[rest]).of(z[~rest])
    whole = line(z, y, seeds)
    return Model(
        features=FEATURES,
        weights=tuple(round(float(w), 4) for w in whole.weights),
        bias=round(whole.bias, 4),
        mean=tuple(round(float(m), 5) for m in mean),
        scale=tuple(round(float(s), 5) for s in scale),
        threshold=round(threshold(honest, y), 4),
        provenance=provenance,
    )


def threshold(sure: NDArray[np.float64], is_lemon: NDArray[np.bool_]) -> float:
    """The lowest score above which precision is still what it must be, on predictions for seeds
    that the model was not fitted on; 0.5 where there is none."""
    best = 0.5
    for at in np.unique(np.round(sure, 3))[::-1]:
        called = sure >= at
        if 0 < at < 1 and called.any() and is_lemon[called].mean() >= LEAST_PRECISION:
            best = float(at)
    return min(max(best, 0.01), 0.99)


def figures(rows: Sequence[Row], model: Model) -> dict[str, Any]:
    """How good the model is on these rows, with denominators and 95 % bounds."""
    scored = {x.node: x for x in score([_named(r) for r in rows], model)}
    sure = np.array([scored[_named(r).node].score for r in rows])
    truth = np.array([r.lemon for r in rows])
    called = sure >= model.threshold
    right = int((called & truth).sum())
    base = float(truth.mean())
    bins = []
    for low, high in pairwise(BINS):
        inside = (sure >= low) & ((sure < high) | (high == BINS[-1]))
        if inside.any():
            bins.append(
                {
                    "from": low,
                    "to": high,
                    "nodes": int(inside.sum()),
                    "said": round(float(sure[inside].mean()), 4),
                    "were": round(float(truth[inside].mean()), 4),
                }
            )
    return {
        "nodes": len(rows),
        "lemons": int(truth.sum()),
        "called": int(called.sum()),
        "precision": share(right, int(called.sum())),
        "recall": share(right, int(truth.sum())),
        "brier": round(float(np.mean((sure - truth) ** 2)), 5),
        "brier_of_the_base_rate": round(base * (1 - base), 5),
        "reliability": bins,
    }


def _named(row: Row) -> History:
    """Nodes of different seeds have the same names."""
    from msgspec.structs import replace

    return replace(row.history, node=f"{row.seed}/{row.day:g}/{row.history.node}")


def train(
    train_seeds: Sequence[int], test_seeds: Sequence[int], nodes: int, policies: Path, tell: Told
) -> tuple[Model, dict[str, Any]]:
    """Play all seeds, fit on the first and measure on the others."""
    rows: dict[int, list[Row]] = {}
    for seed in (*train_seeds, *test_seeds):
        rows[seed] = rows_of(seed, nodes, policies)
        last = [r for r in rows[seed] if r.day == DAYS[-1]]
        tell(f"seed {seed}: {sum(r.lemon for r in last)} lemons of {len(last)} nodes")
    fitted = fit(
        [r for seed in train_seeds for r in rows[seed]],
        {
            "status": "trained on simulated histories; not measured on a real fleet",
            "world": "twin",
            "trained_on": f"seeds {_span(train_seeds)}, {nodes} nodes, days {_span(DAYS)}",
            "commit": _commit(),
            "method": "logistic regression, Platt's sigmoid across seeds, scikit-learn",
            "features_from": "published lemon detection at Meta RSC (HPCA 2025)",
        },
    )
    held_out = [r for seed in test_seeds for r in rows[seed] if r.day == DAYS[-1]]
    found = figures(held_out, fitted)
    found |= {"simulated": True, "test_seeds": list(test_seeds), "train_seeds": list(train_seeds)}
    held = f"{found['lemons']} lemons of {found['nodes']} nodes"
    said = {
        "held_out": f"seeds {_span(test_seeds)}: {held}",
        "precision": json.dumps(found["precision"]),
        "recall": json.dumps(found["recall"]),
        "brier": f"{found['brier']} (base rate {found['brier_of_the_base_rate']})",
    }
    from msgspec.structs import replace

    return replace(fitted, provenance={**fitted.provenance, **said}), found


def _span(numbers: Sequence[float]) -> str:
    return ", ".join(f"{n:g}" for n in numbers)


def _commit() -> str:
    try:
        told = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.strip()


def _seeds(text: str) -> tuple[int, ...]:
    first, _, last = text.partition("-")
    return tuple(range(int(first), int(last or first) + 1))


def main() -> None:
    """The command line. Prints one JSON object; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=_seeds, default=(11, 12, 13, 14, 15, 16))
    parser.add_argument("--test", type=_seeds, default=(21, 22, 23))
    parser.add_argument("--nodes", type=int, default=512)
    parser.add_argument("--policies", type=Path, default=Path("policies"))
    parser.add_argument("--write", type=Path, help="where to put the model's JSON")
    asked = parser.parse_args()
    model, found = train(
        asked.train, asked.test, asked.nodes, asked.policies, lambda s: print(s, file=sys.stderr)
    )
    if asked.write:
        asked.write.write_bytes(as_json(model))
    print(json.dumps(found, indent=2))


def as_json(model: Model) -> bytes:
    """The file that ships: one line for each field."""
    import msgspec

    fields = msgspec.to_builtins(model)
    lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in fields.items())
    return f"{{\n{lines}\n}}\n".encode()


if __name__ == "__main__":
    main()
