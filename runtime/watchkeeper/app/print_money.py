"""Bills, burn-downs, plans and what-ifs as tables for the terminal; what is unknown says so."""

from __future__ import annotations

from itertools import groupby

from watchkeeper.app.print_tables import _printed, _table
from watchkeeper.core.capacity import CapacityPlan, WhatIf
from watchkeeper.core.usage import HELD, STRANDED, USES, Burn, Costs

UNKNOWN = "unknown"


def amount(value: float | None, digits: int = 2) -> str:
    """A figure with thousands apart, or `unknown`."""
    return UNKNOWN if value is None else f"{value:,.{digits}f}"


def cost_text(costs: Costs) -> str:
    """Who held what, what was idle and stranded, and how far the allowances reach."""
    bill = costs.bill
    simulated = "  GPU DATA SIMULATED" if costs.simulated else ""
    span = f"From {bill.first:%Y-%m-%d %H:%M} to {bill.last:%Y-%m-%d %H:%M} UTC"
    head = [
        f"{span}, {costs.world or UNKNOWN}{simulated}",
        f"Watched: {bill.known_h:,.1f} h. Not watched, so unknown: {bill.unknown_h:,.1f} h.",
        f"Prices: {costs.prices or 'none'}",
    ]
    unit = f"cost, {bill.currency}" if bill.currency else "cost"
    lines = _table("GPU-hours", "pool", "use", "tenant", "GPU-hours", unit, "what it is")
    for line in bill.lines:
        named = line.tenant or ("(names none)" if line.use == HELD else "")
        lines.add(
            line.pool,
            line.use,
            named,
            amount(line.gpu_hours, 1),
            amount(line.money),
            USES[line.use],
        )
    parts: list[object] = ["\n".join(head), lines]
    if bill.lines:
        stranded = [line for line in bill.lines if line.use in STRANDED]
        hours = sum(line.gpu_hours for line in stranded)
        parts.append(f"Stranded (paid for, of no use to anybody): {hours:,.1f} GPU-hours.")
        parts.append(f"All of it: {amount(bill.money)} {bill.currency}".rstrip() + ".")
        energy = f"Energy of the GPUs: {amount(bill.energy_kwh, 1)} kWh"
        if bill.energy_money is not None:
            energy += f", {bill.energy_money:,.2f} {bill.currency} beside the above"
        parts.append(f"{energy}.")
    parts += bill.notes
    if costs.burns:
        parts.append(_burns(costs.burns))
        parts += [burn.says for burn in costs.burns]
    return _printed(*parts)


def _burns(burns: tuple[Burn, ...]) -> object:
    table = _table("Allowances this month", "id", "used", "of", "unit", "by the end", "band")
    for burn in burns:
        band = "" if burn.low is None else f"{amount(burn.low, 0)} to {amount(burn.high, 0)}"
        table.add(
            burn.id,
            amount(burn.used, 0),
            amount(burn.amount, 0),
            burn.unit,
            amount(burn.projected, 0),
            band,
        )
    return table


def plan_text(plan: CapacityPlan) -> str:
    """The plan, hour by hour; hours that are alike are one row."""
    table = _table(
        "Nodes, from now on", "hour", "GPUs wanted", "on demand", "spot", "burst, if needed"
    )
    rows = list(zip(plan.on_demand, plan.spot, plan.burst, strict=True))
    for _, group in groupby(range(plan.hours), key=lambda hour: rows[hour]):
        hours = list(group)
        first, last = hours[0], hours[-1]
        span = f"{first}" if first == last else f"{first} to {last}"
        wanted = max(plan.wanted[hour] for hour in hours)
        table.add(span, amount(wanted, 1), *rows[first])
    proved = "proved" if plan.proved else "not proved"
    foot = f"Found by {plan.method}, {proved}. Forecast: {plan.forecast}. Prices: {plan.prices}."
    return _printed(plan.says, table, *plan.notes, foot)


def what_if_text(found: WhatIf) -> str:
    """Both outcomes, and what each kind of capacity would ask."""
    table = _table("", "", "as it is", "then")
    table.add("nodes", found.have, max(0, found.have + found.add))
    table.add(
        "GPU-hours that fit nowhere", amount(found.short_before, 1), amount(found.short_after, 1)
    )
    table.add(f"hours too full at {found.service_level:.0%}", found.full_before, found.full_after)
    parts: list[object] = [found.says, table]
    if found.prices:
        prices = _table("What the nodes would cost", "kind", found.currency, "")
        for price in found.prices:
            prices.add(price.kind.replace("_", "-"), amount(price.money), price.why)
        parts.append(prices)
    return _printed(*parts, *found.notes)
