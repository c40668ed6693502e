"""Allowances, service levels, quotas, latency goals and power feeds, from YAML to their words.

These are measured and planned by, and quotas order the line; they refuse no action. What refuses
an action is a budget.
"""

from __future__ import annotations

from watchkeeper.core.money import MEASURES, Allowance, CapacityOrder, FeedOrder, QuotaOrder
from watchkeeper.core.serving import PERCENTILES, ServeOrder
from watchkeeper.policy.reader import At, Reader, zones
from watchkeeper.policy.sections import Documents, told_once


def allowances_in(documents: Documents) -> tuple[Allowance, ...]:
    """Every allowance, in the order of the files."""
    found: dict[str, Allowance] = {}
    for reader, top in documents:
        for spec in top.each("allowances"):
            ident = spec.of("id", f"{reader.file}:{spec.mark.line}")
            if ident in found:
                said = f"the allowance {ident!r} is defined twice; first at {found[ident].where}"
                reader.problem(spec.mark, said, ident)
                continue
            if spec.wrote(*MEASURES) != 1:
                said = "an allowance has one of `gpu_hours`, `money` and `energy_kwh`"
                reader.problem(spec.mark, said, ident)
                continue
            if spec.wrote("energy_kwh", "tenant") == 2:
                said = "energy is measured by pool, and not by tenant"
                reader.problem(spec.mark, said, "tenant")
            if spec.of("when_used_up", "tell") == "hold" and not spec.get("gpu_hours"):
                said = "only GPU-hours hold gangs back: the orders know no prices of a month"
                reader.problem(spec.mark, said, "when_used_up")
            found[ident] = _allowance(reader, spec, ident)
    return tuple(found.values())


def _allowance(reader: Reader, spec: At, ident: str) -> Allowance:
    measure = next((m for m in MEASURES if spec.get(m)), MEASURES[0])
    amount = spec.of(measure, 0.0)
    zone = spec.get("tz")
    if zone is not None and zone.value not in zones():
        said = f"{zone.value!r} is not an IANA time zone"
        reader.problem(zone.mark, said, zone.value, zones())
    return Allowance(
        id=ident,
        measure=measure,
        amount=amount.amount if measure == "money" and amount else float(amount),
        currency=amount.currency if measure == "money" and amount else "",
        tenant=spec.of("tenant", ""),
        pool=spec.of("pool", ""),
        tz=zone.value if zone else "UTC",
        warn_share=spec.of("warn_at", 80.0) / 100,
        where=f"{reader.file}:{spec.mark.line}",
        holds=spec.of("when_used_up", "tell") == "hold",
    )


def capacity_in(documents: Documents) -> dict[str, CapacityOrder]:
    """What is said of each pool's size; `default` stands for every other pool."""
    found: dict[str, CapacityOrder] = {}
    for reader, pool, spec in told_once(documents, "capacity", "the capacity of"):
        found[pool] = CapacityOrder(
            pool=pool,
            service_level=spec.of("service_level", 0.0) / 100,
            spot_share=spec.of("spot_at_most", 0.0) / 100,
            nodes_at_most=spec.of("nodes_at_most"),
            where=f"{reader.file}:{spec.mark.line}",
        )
    return found


def quotas_in(documents: Documents) -> tuple[QuotaOrder, ...]:
    """What each tenant is promised, in the order of the files."""
    found: dict[str, QuotaOrder] = {}
    for reader, tenant, spec in told_once(documents, "quotas", "the quota of"):
        own, most = float(spec.of("gpus", 0.0)), spec.of("gpus_at_most")
        if most is not None and most < own:
            said = "`gpus_at_most` counts what is borrowed too, so it is not below `gpus`"
            reader.problem(spec.mark, said, tenant)
            continue
        found[tenant] = QuotaOrder(
            tenant=tenant,
            gpus=own,
            gpus_at_most=None if most is None else float(most),
            weight=float(spec.of("weight", 1.0)),
            where=f"{reader.file}:{spec.mark.line}",
        )
    return tuple(found.values())


def serving_in(documents: Documents) -> dict[str, ServeOrder]:
    """What each deployment promises; `default` stands for every other."""
    found: dict[str, ServeOrder] = {}
    for reader, name, spec in told_once(documents, "serving", "the goal of"):
        percentile = int(spec.of("percentile", 95))
        if percentile not in PERCENTILES:
            said = f"{percentile} is not measured; {', '.join(map(str, PERCENTILES))} are"
            reader.problem(spec.mark, said, str(percentile))
            continue
        found[name] = ServeOrder(
            name=name,
            latency_s=spec.of("latency", 0.0),
            percentile=percentile,
            start_s=spec.of("ready_after", 600.0),
            least=int(spec.of("replicas_at_least", 1)),
            level=spec.of("service_level", 95.0) / 100,
            where=f"{reader.file}:{spec.mark.line}",
        )
    return found


def feeds_in(documents: Documents) -> dict[str, FeedOrder]:
    """What each power feed may carry."""
    found: dict[str, FeedOrder] = {}
    for reader, feed, spec in told_once(documents, "power_feeds", "the power feed"):
        found[feed] = FeedOrder(
            feed=feed,
            limit_w=spec.of("limit_kw", 0.0) * 1000,
            act_share=spec.of("act_at", 95.0) / 100,
            least_w=spec.of("least_watts", 200.0),
            full_w=spec.of("full_watts"),
            where=f"{reader.file}:{spec.mark.line}",
        )
    return found
