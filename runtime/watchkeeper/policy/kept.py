"""S11: would what the orders declare to be kept still be there once this is done?

Asked by `invariants` for each proposal, at its verdict and again right before the effect. What is
out already counts, and what was not counted is not taken for kept. Pure.
"""

from __future__ import annotations

from watchkeeper.core.action import Action, JobPreempt, kind_of, node_of
from watchkeeper.core.facts import Facts
from watchkeeper.core.floors import USES_SPARES, ClassFloor, Floors, PoolFloor, Quorum
from watchkeeper.core.ledger import LedgerView
from watchkeeper.core.proposal import Impact
from watchkeeper.policy.limits import takes_out


def not_kept(
    floors: Floors, action: Action, impact: Impact, facts: Facts, ledger: LedgerView
) -> str:
    """The first thing that would be below what is declared, in a sentence; "" where nothing is."""
    floor = floors.of_pool(impact.pool)
    said = [_of_pool(floor, kind_of(action), impact, ledger)] if floor is not None else []
    if takes_out(impact):
        said += [_of_quorum(quorum, ledger) for quorum in floors.of_node(node_of(action))]
    if isinstance(action, JobPreempt):
        said += [_of_class(each, facts, ledger) for each in floors.classes]
    return next((why for why in said if why), "")


def _of_pool(floor: PoolFloor, kind: str, impact: Impact, ledger: LedgerView) -> str:
    """Nodes in service, and those of them that are free."""
    left = impact.pool_size - impact.pool_out_after
    if takes_out(impact) and left < floor.nodes:
        return (
            f"{left} of the {impact.pool_size} nodes of {impact.pool} would be in service, and "
            f"{floor.nodes} are kept ({floor.where})"
        )
    if not floor.spares or not (takes_out(impact) or kind in USES_SPARES):
        return ""
    taken, free = ledger.out.get(floor.key), ledger.size.get(floor.key)
    if taken is None or free is None:
        return f"how many nodes of {impact.pool} are free is not known ({floor.where})"
    if not taken or free - taken >= floor.spares:
        return ""
    return (
        f"{max(0, free - taken)} free nodes of {impact.pool} would be left, and {floor.spares} "
        f"are kept ({floor.where})"
    )


def _of_quorum(quorum: Quorum, ledger: LedgerView) -> str:
    out = ledger.out.get(quorum.key)
    if out is None:
        return f"how many members of {quorum.name} are out is not known ({quorum.where})"
    left = len(quorum.members) - out - 1
    if left >= quorum.majority:
        return ""
    return (
        f"{max(0, left)} of the {len(quorum.members)} members of {quorum.name} would be in "
        f"service, and {quorum.majority} are a majority ({quorum.where})"
    )


def _of_class(each: ClassFloor, facts: Facts, ledger: LedgerView) -> str:
    priority, gpus = facts.get("job.priority"), facts.get("job.gpus")
    runs = ledger.size.get(each.key)
    if runs is None or not isinstance(priority, int) or not isinstance(gpus, int | float):
        return f"what of the class {each.name} runs is not known ({each.where})"
    left = runs - gpus if gpus >= 0 else -1.0  # NaN is no number of GPUs
    if priority < each.priority or left >= each.gpus:
        return ""
    return (
        f"{max(0.0, left):g} GPUs of the class {each.name} would go on running, and "
        f"{each.gpus:g} are kept ({each.where})"
    )
