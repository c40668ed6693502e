"""What one evaluation is asked to play, and the twin that each seed of it gives."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from watchkeeper.core.word import Word
from watchkeeper.twin.cluster import TwinCluster
from watchkeeper.twin.faults import draw_faults
from watchkeeper.twin.laws import laws as every_law
from watchkeeper.twin.noise import draw_noise
from watchkeeper.twin.topology import build
from watchkeeper.twin.words import TwinSpec

GANG_SHARES = (1 / 4, 1 / 8, 1 / 16, 1 / 16, 1 / 32, 1 / 32, 1 / 32, 1 / 32)
"""Width of each large gang as a share of the fleet; every other node runs a gang of its own. The
mix is assumed: one run that fills a quarter, and a long tail, as training fleets report it."""


class FaultRow(NamedTuple):
    """One row of a fault trace. node: index; lasts_s: how long it lasts unless it is mended."""

    at_s: float
    node: int
    law: str
    lasts_s: float


class Setup(Word, frozen=True):
    """One evaluation: fleet, length, seeds, noise. trace: rows that replace the drawn faults; None
    draws them. orders: the texts of the policy folder by file name, in their order."""

    nodes: int
    gpus_per_node: int = 8
    days: float = 14.0
    seeds: int = 3
    first_seed: int = 1
    noise_only: bool = False
    trace: tuple[FaultRow, ...] | None = None
    orders: tuple[tuple[str, str], ...] = ()
    policies: str = "policies"
    tick_s: float = 10.0

    @property
    def every_seed(self) -> tuple[int, ...]:
        return tuple(range(self.first_seed, self.first_seed + self.seeds))

    def spec(self, seed: int) -> TwinSpec:
        """The twin of one seed."""
        return TwinSpec(
            seed=seed,
            nodes=self.nodes,
            gpus_per_node=self.gpus_per_node,
            days=self.days,
            gang_nodes=gang_nodes(self.nodes),
            tick_s=self.tick_s,
            faults=not self.noise_only,
        )

    def with_trace(self, rows: tuple[FaultRow, ...]) -> Setup:
        """The same with these faults in place of drawn ones."""
        return replace(self, trace=rows)


def gang_nodes(nodes: int) -> tuple[int, ...]:
    """Widths of the large gangs of a fleet of this size; none narrower than two nodes."""
    return tuple(width for share in GANG_SHARES if (width := int(nodes * share)) >= 2)


def cluster_of(setup: Setup, seed: int) -> TwinCluster:
    """A fresh twin of one seed: the same faults and noise each time it is asked."""
    from watchkeeper_evals.remediation.trace import faults_of  # laws only where a trace is given

    spec, laws = setup.spec(seed), every_law()
    if setup.trace is None:
        faults = draw_faults(spec, laws)
    else:
        faults = faults_of(setup.trace, spec)
    return TwinCluster(spec, build(spec), faults, draw_noise(spec), laws)
