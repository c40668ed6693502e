"""The whole tool belt: read the briefing, simulate an action on it, draft a Proposal.

There is nothing else. None of it changes anything, and none of it leaves the process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from watchkeeper.core.action import Action, say
from watchkeeper.core.cluster import Node, PoolDemand
from watchkeeper.core.crew import Briefing, Draft, StepResult
from watchkeeper.core.facts import SERVICE_LEVEL, quantile_at
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.impact import out_by_domain, simulate
from watchkeeper.core.incident import Incident
from watchkeeper.core.money import order_for
from watchkeeper.core.proposal import Effect, Impact
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.placement.line import Line, line_of
from watchkeeper.placement.running import Terms
from watchkeeper.placement.share import shares_of
from watchkeeper.remedy.plan import RemedySettings, RemedyView
from watchkeeper.remedy.precondition import unmet
from watchkeeper.remedy.spares import kept_back, sizes
from watchkeeper.remedy.verify import expected_effect
from watchkeeper_agents.reserve import wanted

MOST_EVIDENCE = 32
"""Signals cited by one Draft, newest kept."""


@dataclass(frozen=True, eq=False, slots=True)
class Tools:
    """Read, simulate and draft over one briefing."""

    briefing: Briefing
    remedy: RemedySettings = field(default_factory=RemedySettings)

    @property
    def snapshot(self) -> Snapshot:
        return self.briefing.snapshot

    # Read.

    def incident(self, ident: str) -> Incident | None:
        return _incidents(self.briefing).get(ident)

    def node(self, name: str) -> Node | None:
        return self.snapshot.nodes.get(name)

    def demand(self, pool: str) -> PoolDemand | None:
        return next((d for d in self.snapshot.state.demand if d.pool == pool), None)

    def forecast(self, pool: str) -> Forecast | None:
        return self.briefing.forecasts.get(pool)

    def service_level(self, pool: str) -> float:
        """The quantile of demand that the pool should hold, as policy says."""
        order = order_for(self.briefing.capacity, pool)
        return SERVICE_LEVEL if order is None else order.service_level

    def room_to_grow(self, pool: str) -> int:
        """Nodes that policy lets the pool still get; plenty where it sets no bound."""
        order = order_for(self.briefing.capacity, pool)
        if order is None or order.nodes_at_most is None:
            return 1000
        return max(0, order.nodes_at_most - sizes(self.snapshot.nodes)[pool])

    def line(self, terms: Terms) -> Line | None:
        """Who may start now and who finds no room, over the whole fleet; None where nobody
        waits."""
        return _line(self.briefing, terms)

    def serves(self, kind: str) -> bool:
        """Whether a provider here carries out this kind of action."""
        return kind in self.briefing.serves

    def view(self, attempts: tuple[StepResult, ...], incident: str = "") -> RemedyView:
        """What the repair ladder of one incident looks at."""
        repaired = self.briefing.repaired
        return RemedyView(
            snapshot=self.snapshot,
            serves=self.briefing.serves,
            checked=self.briefing.checked,
            attempts=attempts,
            settings=self.remedy,
            repairs_7d={node: len(ids - {incident}) for node, ids in repaired.items()},
            held_back=wanted(self.briefing),
            denied={
                job: says
                for (kind, job), says in self.briefing.denied.items()
                if kind == "job.requeue"
            },
            down=self.briefing.down,
        )

    def out(self, key: str) -> int:
        """Nodes out of service in one domain (`pool:train`, `rack:r1`)."""
        return out_by_domain(self.snapshot)[0].get(key, 0)

    def out_around(self, name: str) -> tuple[tuple[str, int], ...]:
        """The same for each domain of a node."""
        node = self.node(name)
        keys = () if node is None else (f"{k}:{v}" for k, v in sorted(node.domains().items()))
        return tuple((key, self.out(key)) for key in keys)

    # Simulate.

    def impact(self, action: Action) -> Impact:
        """The blast radius, on this snapshot."""
        return simulate(self.snapshot, action)

    def unmet(self, action: Action) -> str:
        """Why the action cannot work now; "" when it can."""
        return unmet(action, self.snapshot)

    # Draft.

    def draft(
        self,
        incident: Incident,
        action: Action,
        *,
        by: str,
        reason: str,
        rung: str,
        effect: Effect | None = None,
        plan: tuple[Action, ...] = (),
        if_ignored: str = "",
    ) -> Draft:
        """A Proposal to be: judged elsewhere, by nobody who can write one."""
        return Draft(
            thread=incident.id,
            action=action,
            by=by,
            reason=reason,
            confidence=incident.confidence,
            effect=effect or expected_effect(action, self.view(())),
            incident=incident.id,
            evidence=tuple(s.id for s in incident.signals[-MOST_EVIDENCE:]),
            plan=plan,
            rung=rung,
            if_ignored=if_ignored,
        )

    def propose(
        self,
        thread: str,
        action: Action,
        *,
        by: str,
        reason: str,
        rung: str,
        if_ignored: str,
        confidence: float = 1.0,
        evidence: tuple[str, ...] = (),
    ) -> Draft:
        """The same of a thread that is about no incident."""
        return Draft(
            thread=thread,
            action=action,
            by=by,
            reason=reason,
            confidence=confidence,
            effect=expected_effect(action, self.view(())),
            evidence=evidence,
            rung=rung,
            if_ignored=if_ignored,
        )


@lru_cache(maxsize=1)
def _line(briefing: Briefing, terms: Terms) -> Line | None:
    """Once for each briefing: nodes under an open incident are avoided, and in large pools those
    that must stand ready for repairs are kept."""
    snapshot = briefing.snapshot
    suspects = frozenset(i.node for i in briefing.incidents if i.is_open and i.node)
    spares = kept_back(snapshot, briefing.repaired, suspects)
    now = snapshot.at.timestamp()
    shares = shares_of(briefing.quotas, briefing.used, now, briefing.used_up)
    return line_of(snapshot, suspects, spares, shares, terms)


@lru_cache(maxsize=1)
def _incidents(briefing: Briefing) -> dict[str, Incident]:
    """By id, once for each briefing: every thread asks several times."""
    return {incident.id: incident for incident in briefing.incidents}


def in_words(impact: Impact, action: Action) -> str:
    """The blast radius in one sentence, for whoever must decide."""
    if not impact.gpus and not impact.jobs:
        return f"{say(action)} stops no running work."
    said = f"{say(action)} takes {impact.gpus:g} GPUs"
    if impact.pool_size:
        said += (
            f" and leaves {impact.pool_out_after} of {impact.pool_size} nodes of {impact.pool} out"
        )
    if not impact.jobs:
        return f"{said}; no running gang stops."
    age = impact.checkpoint_age_s
    saved = "with no checkpoint known" if age is None else f"with a checkpoint {span(age)} old"
    return f"{said}; it stops {', '.join(impact.jobs)}, {saved}."


def outlook(forecast: Forecast | None, pool_gpus: float) -> str:
    """The forecast in one sentence, with its method; "" when it says nothing about an hour."""
    if forecast is None:
        return ""
    middle, high = quantile_at(forecast, 3600.0, 0.5), quantile_at(forecast, 3600.0, 0.9)
    if middle is None or high is None:
        return ""
    return (
        f"The forecast ({forecast.method}) sees {middle:.0f} GPUs wanted in 1 h, "
        f"{high:.0f} at the 90 % quantile; the pool has {pool_gpus:g}."
    )


def span(seconds: float) -> str:
    """A time as people say it: `90 s`, `12 min`."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
