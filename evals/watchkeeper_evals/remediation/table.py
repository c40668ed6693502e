"""The figures of an evaluation as lines for people. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from watchkeeper_evals.remediation.figures import Figures


def table(found: Figures) -> str:
    """The figures for people: one line for each controller, then the targets."""
    rows: list[tuple[str, dict[str, Any] | None]] = [
        *found["baselines"].items(),
        ("watchkeeper", found["watchkeeper"]),
        ("oracle", found["oracle"]),
    ]
    head = ("SIMULATED", "ettr", "lost GPU-h", "to faults", "false/actions", "MTTR p50", "p99")
    lines = [f"{head[0]:<16}" + "".join(f"{h:>14}" for h in head[1:])]
    for name, told in rows:
        if told is None:
            continue
        times = told["mttr_s"]
        cells = (
            f"{told['ettr']:.5f}",
            f"{told['lost_gpu_hours']:,.0f}",
            f"{told['lost_to_faults_gpu_hours']:,.0f}",
            f"{told['false_actions']}/{told['actions']}",
            *(f"{times[p]:,.0f} s" if times[p] is not None else "-" for p in ("p50", "p99")),
        )
        lines.append(f"{name:<16}" + "".join(f"{cell:>14}" for cell in cells))
    lines.append("")
    lines += [_target(row) for row in found["targets"]]
    lines += ["", *_what_else(found)]
    lines += [
        f"{found['nodes']} nodes x {found['gpus_per_node']} GPUs, {found['days']:g} days, "
        f"{seeds_said(found['seeds'])}; commit {found['commit'] or 'unknown'}; "
        f"{found['wall_s']:g} s, {found['spread']}. All of it is simulated.",
    ]
    return "\n".join(lines)


def _what_else(found: Figures) -> list[str]:
    lines = []
    if found["invariants"]:
        kept = found["invariants"]
        lines.append(
            f"{kept['violations']} promises broken at {kept['effects_checked']:,} effects in"
            f" {found['cluster_days']:g} cluster-days."
        )
    if found["noise_only"]:
        loud = sum(found["noise"].values())
        lines.append(
            f"Nothing broke in {found['node_days']:,.0f} node-days of {loud:,} disturbances."
        )
    if found["seeds_trained_on"]:
        lines.append(f"The thresholds were tuned on {seeds_said(found['seeds_trained_on'])}.")
    if found["missing"]:
        lines.append(f"{len(found['missing'])} runs of these seeds are missing.")
    return lines


def seeds_said(seeds: Sequence[int]) -> str:
    """Seeds for people: `seed 3`, `seeds 101 to 120`, or one by one where there are gaps."""
    if not seeds:
        return "no seeds"
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return "seeds " + ", ".join(str(seed) for seed in seeds)


def _target(row: Figures) -> str:
    asked = f">= {row['at_least']:g}" if "at_least" in row else f"<= {row['at_most']:.3g}"
    figure = "-" if row["figure"] is None else f"{row['figure']:.4g}"
    oracle = f"; the oracle: {row['oracle']:.4g}" if row.get("oracle") is not None else ""
    if row.get("reachable") is False:
        oracle += ", so nobody can"
    said = {True: "met", False: "NOT MET", None: "-"}[row["met"]]
    return f"{row['what']:<40} {figure:>9}  {asked:<9} {said}{oracle}"
