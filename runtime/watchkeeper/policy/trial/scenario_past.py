"""The ledger of a test: what was done before, how many nodes are out, and of how many.

Counts agree with the facts: a repair that `node.repairs_7d` counts is an effect in the ledger, and
a target that is dead is out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from watchkeeper.core.action import TRAITS, Action, node_of, targets_of
from watchkeeper.core.facts import FACTS, repairs_of
from watchkeeper.core.ledger import LedgerView, PastEffect

INCIDENT = "INC-1"
"""The incident of the proposal under test; `incident: this` in a ledger."""

PROPOSAL = "P-1"

DAY_S = 86400.0
_SIZES = {"rack": 10, "leaf": 20, "nvlink_domain": 1}
"""Nodes of a domain that a test does not size; of other kinds it is the whole fleet."""

_POOL = 20


class Flaw(NamedTuple):
    """Why there can be no such case: the dotted name at fault, and a sentence."""

    key: str
    message: str


class Counts(NamedTuple):
    """Nodes out, and nodes in all, by domain key; the target counts where it is out."""

    out: dict[str, int]
    size: dict[str, int]


def counts(
    domains: tuple[str, ...], given: Mapping[str, Any], pool_size: int, *, target_out: bool
) -> Counts | Flaw:
    """Counts for the target's domains and for all that the test names."""
    said_out: dict[str, int] = given.get("ledger.out", {})
    said_size: dict[str, int] = given.get("ledger.size", {})
    pool = next((key for key in domains if key.startswith("pool:")), "")
    for fact, key, said in (("pool.size", pool, said_size), ("pool.out", pool, said_out)):
        if fact in given and key in said and given[fact] != said[key]:
            return Flaw(fact, f"{fact} is {given[fact]}, and the ledger says {said[key]} of {key}")
    size = _sizes(domains, given, pool_size, pool)
    out = dict.fromkeys(domains, int(target_out)) | said_out
    if pool and "pool.out" in given and given["pool.out"] != FACTS["pool.out"].unknown:
        out[pool] = given["pool.out"]
    out.setdefault("fleet", max(_sums(out).values(), default=0))
    for key, number in out.items():
        name = "pool.out" if key == pool and "pool.out" in given else "ledger.out"
        if key in size and number > size[key]:
            more = f"{number} nodes of {key} are out, and it has {size[key]}"
            return Flaw(name, f"{more}; give its size under `ledger: {{size: …}}`")
        if target_out and number < 1 and key in (*domains, "fleet"):
            return Flaw(name, f"the node itself is out, so at least 1 node of {key} is")
    return Counts({key: number for key, number in out.items() if number}, size)


def _sizes(
    domains: tuple[str, ...], given: Mapping[str, Any], pool_size: int, pool: str
) -> dict[str, int]:
    said: dict[str, int] = given.get("ledger.size", {})
    size = {f"pool:{name}": _POOL for name in given.get("ledger.newly_unhealthy", {})}
    if pool and pool_size:
        size[pool] = pool_size
    size |= said
    pools = sum(number for key, number in size.items() if key.startswith("pool:"))
    size.setdefault("fleet", pools or _POOL)
    for key in (*domains, *given.get("ledger.out", {})):
        kind = key.partition(":")[0]
        if kind == "pool":
            continue
        most = _SIZES.get(kind, size["fleet"])
        size.setdefault(key, min(most, size["fleet"]))
    return size


def _sums(out: Mapping[str, int]) -> dict[str, int]:
    """Nodes out by kind of domain: the fleet has at least as many out as any kind together."""
    sums: dict[str, int] = {}
    for key, number in out.items():
        kind = key.partition(":")[0]
        sums[kind] = sums.get(kind, 0) + number
    return sums


def past_effects(
    action: Action, given: Mapping[str, Any], domains: tuple[str, ...]
) -> tuple[PastEffect, ...] | Flaw:
    """The effects of the ledger, newest first, with those that a given count speaks of."""
    effects = [
        effect
        for i, written in enumerate(given.get("ledger.effects", ()))
        for effect in _effects(written, i, action, domains)
    ]
    node, job = node_of(action), str(getattr(action, "job", ""))
    seen = LedgerView(effects=tuple(effects))
    for fact, kind, counted, within_s in (
        ("node.repairs_7d", "node.drain", repairs_of(seen, node), 7 * DAY_S),
        ("job.requeues_24h", "job.requeue", requeues_of(seen, job), DAY_S),
    ):
        number = given.get(fact, counted)
        if number == FACTS[fact].unknown:
            continue
        if number < counted:
            return Flaw(fact, f"{fact} is {number}, and the ledger holds {counted} of them")
        for i in range(min(number - counted, 1000)):  # evenly over the time that is counted
            age = (i + 1) * within_s / (number - counted + 1)
            past = {"action": kind, "ago": age, "node": node, "job": job}
            effects += _effects(past, f"{fact}-{i}", action, domains)
    return tuple(sorted(effects, key=lambda e: e.age_s))


def requeues_of(ledger: LedgerView, job: str) -> int:
    """Requeues of a job within 24 hours, as core.facts counts them."""
    return sum(
        e.action == "job.requeue" and e.target == f"job:{job}" and e.age_s <= DAY_S
        for e in ledger.effects
    )


def _effects(
    written: Mapping[str, Any], ident: object, action: Action, domains: tuple[str, ...]
) -> list[PastEffect]:
    """One written effect, as often as it says. Its pool is the target's where it names none; the
    other domains of the target are its own only when it was done to the target."""
    kind = written["action"]
    scope = TRAITS[kind].scope
    on_node = scope in ("node", "gpu")
    node = written.get("node", "another-node") if on_node else ""
    job = written.get("job", "another-job" if scope == "job" else "")
    pool = written.get("pool") or next((d[5:] for d in domains if d.startswith("pool:")), "")
    target = {"job": f"job:{job}", "pool": f"pool:{pool}", "watch": "cluster"}.get(
        scope, f"node:{node}"
    )
    if scope == "gpu":
        target = targets_of(action)[0] if node == node_of(action) else f"gpu:{node}/0"
    same = on_node and node == node_of(action)
    keys = [f"{key}:{written[key]}" for key in ("rack", "leaf", "tenant") if key in written]
    keys += [f"pool:{pool}", *([f"job:{job}"] if job else []), *(domains if same else ())]
    named = written.get("incident")
    incident = INCIDENT if named == "this" else named
    return [
        PastEffect(
            action=kind,
            target=target,
            age_s=float(written["ago"]),
            node=node,
            incident=incident or f"INC-past-{ident}-{i}",
            domains=tuple(dict.fromkeys(keys)),
            open=written.get("open") == "true",
            proposal=f"P-past-{ident}-{i}",
            gpu_hours=float(written.get("gpu_hours", 0.0)),
            money=float(written.get("money", 0.0)),
        )
        for i in range(written.get("times", 1))
    ]
