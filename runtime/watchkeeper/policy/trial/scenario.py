"""What a test gives, made into what a verdict is asked about: proposal, impact, facts, ledger.

Whatever is not given is as in `QUIET`: a healthy cluster in which nothing else happens, so that no
invariant refuses by accident. What is granted on evidence (confidence, sources, an approval, a
checkpoint, a confirmation) is never assumed: it stays Unknown until it is given.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from watchkeeper.core.action import TRAITS, Action, node_of, parse_action
from watchkeeper.core.cluster import World
from watchkeeper.core.errors import Malformed
from watchkeeper.core.facts import FACTS, Facts, FactValue, repairs_of
from watchkeeper.core.ledger import LedgerView
from watchkeeper.core.proposal import Effect, Impact, Proposal
from watchkeeper.core.verdict import Autonomy, Orders
from watchkeeper.policy.model import Prices
from watchkeeper.policy.trial.scenario_impact import (
    INCARNATION,
    Given,
    domains_of,
    gpus_added,
    is_out,
    tenant_of,
    touched,
)
from watchkeeper.policy.trial.scenario_past import (
    INCIDENT,
    PROPOSAL,
    Flaw,
    counts,
    past_effects,
    requeues_of,
)

QUIET: dict[str, FactValue] = {
    "world": "lab",
    "proposal.by": "agent:remediation",
    "proposal.model": "",
    "evidence.label": "kernel",
    "pool.name": "workers",
    "pool.size": 20,
    "node.name": "node-01",
    "node.rack": "rack-1",
    "node.leaf": "leaf-1",
    "node.ray_state": "alive",
    "node.control_path": False,
    "node.gpus": 8,
    "node.silent_for": 1.0,
    "gpu.index": 0,
    "job.name": "job-1",
    "job.gpus": 8.0,
}
"""Facts of a quiet, healthy cluster. Those not named here follow from the rest (`impact.*`, counts
of the ledger, `node.pool`, `pool.out`), or are Unknown until a test gives them."""


class Scenario(NamedTuple):
    """Everything that `judge` takes, but policy and time."""

    proposal: Proposal
    impact: Impact
    facts: Facts
    ledger: LedgerView
    orders: Orders


def build(kind: str, given: Given, at: datetime, prices: Prices) -> Scenario | Flaw:
    """The case that a test describes, at the policy's prices, or why there can be no such case."""
    base: Given = {**QUIET, **given}
    pool = _pool(kind, given, base)
    if isinstance(pool, Flaw):
        return pool
    if given.get("job.tenant", tenant_of(given)) != tenant_of(given):
        return Flaw("job.tenant", f"the job is of {tenant_of(given)!r}, as `tenant.name` says")
    base = {**base, "pool.name": pool, "node.pool": pool, "tenant.name": tenant_of(given)}
    if kind == "pool.scale" and "scale.add" not in given:
        return Flaw("proposal.action", "pool.scale needs to know how many: `scale: {add: 1}`")
    try:
        action = _action(kind, base)
    except Malformed as err:
        return Flaw("proposal.action", str(err).split(" The kinds are")[0])
    ledger = _ledger(action, base, given, at)
    if isinstance(ledger, Flaw):
        return ledger
    impact = touched(action, base, given, ledger, prices, at)
    facts = _facts(kind, base, given, impact, ledger)
    proposal = Proposal(
        id=PROPOSAL,
        action=action,
        by=str(facts["proposal.by"]),
        reason="a policy test asks",
        at=at,
        world=World(str(given.get("proposal.world") or facts["world"] or "lab")),
        effect=Effect(predicate="none", within_s=60.0),
        generation="test",
        confidence=float(base.get("proposal.confidence", 0.0)),
        incident=INCIDENT,
    )
    stopped = bool(given.get("orders.stopped", False))
    autonomy = Autonomy(given.get("orders.autonomy", "auto"))
    return Scenario(proposal, impact, facts, ledger, Orders(autonomy=autonomy, stopped=stopped))


def _pool(kind: str, given: Given, base: Given) -> str | Flaw:
    """The pool of the case, by either of its names."""
    named, of_node = given.get("pool.name"), given.get("node.pool")
    if TRAITS[kind].scope not in ("node", "gpu"):
        return str(base["pool.name"])
    if named is not None and of_node is not None and named != of_node:
        return Flaw("node.pool", f"the node is in {of_node!r}, and `pool.name` says {named!r}")
    return str(of_node if of_node is not None else base["pool.name"])


def _action(kind: str, base: Given) -> Action:
    """The action on the target that the facts name. Raises Malformed."""
    scope = TRAITS[kind].scope
    written: dict[str, object] = {"kind": kind}
    if scope in ("node", "gpu"):
        written |= {"node": base["node.name"], "incarnation": INCARNATION}
    if scope == "gpu":
        written["gpu"] = base["gpu.index"]
    if scope == "job":
        written |= {"job": base["job.name"], "attempt_id": "attempt-1"}
    if scope == "pool":
        written["pool"] = base["pool.name"]
    if scope == "watch":
        written |= {"subject": "cluster", "title": "a policy test"}
    more: dict[str, dict[str, object]] = {
        "gpu.power_cap": {"watts": 300.0},
        "job.place": {"nodes": [base["node.name"]]},
        "pool.scale": {"add": base.get("scale.add")},
        "pool.reserve": {"nodes": base.get("reserve.nodes", 1)},
    }
    return parse_action(written | more.get(kind, {}))


def _ledger(action: Action, base: Given, given: Given, at: datetime) -> LedgerView | Flaw:
    domains = domains_of(action, base, at)
    out = bool(node_of(action)) and is_out(base)
    counted = counts(domains, given, int(base["pool.size"]), target_out=out)
    if isinstance(counted, Flaw):
        return counted
    effects = past_effects(action, given, domains)
    if isinstance(effects, Flaw):
        return effects
    return LedgerView(
        effects=effects,
        out=counted.out,
        size=counted.size,
        newly_unhealthy=dict(given.get("ledger.newly_unhealthy", {})),
        closed=tuple(given.get("ledger.closed", ())),
        halted=given.get("ledger.halted", ""),
        reconciled=given.get("ledger.reconciled", True),
        lifted=tuple(given.get("ledger.lifted", ())),
    )


def _facts(kind: str, base: Given, given: Given, impact: Impact, ledger: LedgerView) -> Facts:
    """Every fact of the action's scope: given, or following from the rest, or quiet, or Unknown."""
    traits = TRAITS[kind]
    pool = f"pool:{base['pool.name']}"
    follows: Facts = {
        "action.kind": kind,
        "action.disruptive": traits.disruptive,
        "action.recovers": traits.recovers,
        "incident.attempts": sum(e.incident == INCIDENT for e in ledger.effects),
        "impact.jobs": len(impact.jobs),
        "impact.gpus": impact.gpus,
        "impact.gpu_hours": impact.gpu_hours,
        "node.repairs_7d": repairs_of(ledger, str(base["node.name"])),
        "job.requeues_24h": requeues_of(ledger, str(base["job.name"])),
        "tenant.name": base["tenant.name"],
        "scale.gpus": gpus_added(base),
    }
    follows |= _of_stopped(impact, given)
    if pool in ledger.size:
        follows |= {"pool.size": ledger.size[pool], "pool.out": ledger.out.get(pool, 0)}
    known = {**base, **follows, **given}
    scope = traits.scope
    return {n: known.get(n, f.unknown) for n, f in FACTS.items() if scope in f.scopes}


def _of_stopped(impact: Impact, given: Given) -> Facts:
    """What is known of the gangs that it stops; of those that are only counted, nothing is."""
    known: Facts = {} if impact.money is None else {"impact.money": impact.money}
    if not impact.jobs:
        return {
            **known,
            "impact.checkpoint_age": 0.0,
            "impact.priority": 0,
            "impact.tenants": [],
        }
    if impact.checkpoint_age_s is not None:
        known["impact.checkpoint_age"] = impact.checkpoint_age_s
    if len(impact.jobs) == 1 and "job.priority" in given:
        known["impact.priority"] = given["job.priority"]
    if len(impact.jobs) == 1 and impact.tenants:
        known["impact.tenants"] = list(impact.tenants)
    return known
