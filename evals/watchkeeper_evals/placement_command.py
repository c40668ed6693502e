"""What `watchkeeper eval placement` runs, for the job list or for gangs with topology."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple

from watchkeeper.core.errors import UsageError
from watchkeeper_evals.placement_eval import placement_eval, table
from watchkeeper_evals.placement_gangs import NODES


class Asked(NamedTuple):
    """The options, as given."""

    nodes: Path
    jobs: Path | None = None
    seeds: int = 10
    load: float = 1.3
    first_seed: int = 42
    against: Path | None = None
    topology: bool = False
    workloads: int = 15_000
    most: int = NODES


def run(asked: Asked, *, as_json: bool) -> str:
    """What to print on standard output. Raises UsageError and Malformed."""
    if asked.topology:
        from watchkeeper_evals.placement_topology import topology_eval, topology_table

        found = topology_eval(
            asked.nodes, asked.workloads, asked.seeds, asked.first_seed, _tell, asked.most
        )
        return json.dumps(found, indent=2) if as_json else topology_table(found)
    if asked.jobs is None:
        raise UsageError("Give --jobs JOBS.csv, or --topology for gangs over synthetic racks.")
    found = placement_eval(
        asked.nodes,
        asked.jobs,
        asked.seeds,
        asked.load,
        asked.first_seed,
        asked.against,
        progress=_tell,
    )
    return json.dumps(found, indent=2) if as_json else table(found)


def _tell(said: str) -> None:
    print(said, file=sys.stderr, flush=True)
