"""Floors of pools, quorums and classes of priority, from YAML to their words (S11).

What can never be kept, or would forbid every action for ever without saying so, is a mistake of
the orders and told as one.
"""

from __future__ import annotations

from collections.abc import Mapping

from watchkeeper.core.floors import ClassFloor, Floors, PoolFloor, Quorum
from watchkeeper.core.money import CapacityOrder, order_for
from watchkeeper.policy.sections import Documents, told_once

LEAST_MEMBERS = 3
"""Of two members more than half are both: none could ever be taken out, whatever it ails."""


def floors_in(documents: Documents, capacity: Mapping[str, CapacityOrder]) -> Floors:
    """All that is declared, held against what `capacity` says of each pool's size."""
    return Floors(
        pools=_pools(documents, capacity),
        quorums=_quorums(documents),
        classes=_classes(documents),
    )


def _pools(documents: Documents, capacity: Mapping[str, CapacityOrder]) -> dict[str, PoolFloor]:
    found: dict[str, PoolFloor] = {}
    for reader, pool, spec in told_once(documents, "floors", "the floor of"):
        where = f"{reader.file}:{spec.mark.line}"
        if not spec.wrote("nodes_at_least", "spares_at_least"):
            said = "a floor has `nodes_at_least`, `spares_at_least` or both"
            reader.problem(spec.mark, said, pool)
            continue
        floor = PoolFloor(
            pool=pool,
            nodes=int(spec.of("nodes_at_least", 0)),
            spares=int(spec.of("spares_at_least", 0)),
            where=where,
        )
        order = order_for(capacity, pool)
        most = order.nodes_at_most if order is not None else None
        if order is not None and most is not None and max(floor.nodes, floor.spares) > most:
            said = (
                f"{max(floor.nodes, floor.spares)} nodes can never be kept in {pool!r}: "
                f"`capacity` lets it have {most} at most ({order.where})"
            )
            reader.problem(spec.mark, said, pool)
        found[pool] = floor
    return found


def _quorums(documents: Documents) -> tuple[Quorum, ...]:
    found: dict[str, Quorum] = {}
    for reader, name, spec in told_once(documents, "quorums", "the quorum"):
        members = tuple(item.value for item in spec.value)
        if len(set(members)) < len(members):
            said = f"the quorum {name!r} names a node twice"
            reader.problem(spec.mark, said, name)
        elif len(members) < LEAST_MEMBERS:
            said = (
                f"a quorum has {LEAST_MEMBERS} members or more: of {len(members)} none could "
                "ever be taken out; a rule with `effect: deny` says that plainly"
            )
            reader.problem(spec.mark, said, name)
        else:
            where = f"{reader.file}:{spec.mark.line}"
            found[name] = Quorum(name=name, members=members, where=where)
    return tuple(found.values())


def _classes(documents: Documents) -> tuple[ClassFloor, ...]:
    found: dict[str, ClassFloor] = {}
    for reader, name, spec in told_once(documents, "classes", "the class"):
        found[name] = ClassFloor(
            name=name,
            priority=int(spec.of("priority_at_least", 0)),
            gpus=float(spec.of("gpus_at_least", 0.0)),
            where=f"{reader.file}:{spec.mark.line}",
        )
    return tuple(found.values())
