"""Limits, budgets and prices, from YAML to their checked form."""

from __future__ import annotations

from watchkeeper.policy.model import Budget, Limit, Prices
from watchkeeper.policy.sections import CHANGING, Documents, kinds_of

LOOKS_BACK_S = 31 * 86400.0
"""How far back the ledger goes: the longest period of a rate or budget."""


def limits_in(documents: Documents) -> list[Limit]:
    limits: dict[str, Limit] = {}
    for reader, top in documents:
        for spec in top.each("limits"):
            ident = spec.of("id", f"{reader.file}:{spec.mark.line}")
            if ident in limits:
                said = f"the limit {ident!r} is defined twice; first at {limits[ident].where}"
                reader.problem(spec.mark, said, ident)
                continue
            rate, out = spec.get("rate"), spec.get("max_out")
            if not spec.wrote("rate", "max_out", "concurrency"):
                reader.problem(spec.mark, "a limit needs `max_out`, `rate` or `concurrency`", ident)
            if out is not None and not out.wrote("count", "percent"):
                reader.problem(out.mark, "`max_out` needs `count` or `percent`")
            if out and spec.of("per") in ("tenant", "job") and out.get("percent"):
                said = "a percentage needs a size, and a tenant or job has none; use `count`"
                reader.problem(out.mark, said, "percent")
            if rate and rate.of("per", 0.0) > LOOKS_BACK_S:
                reader.problem(rate.mark, "the ledger looks back 31 days; `per` is at most 31d")
            limits[ident] = Limit(
                id=ident,
                actions=kinds_of(spec),
                per=spec.of("per", ""),
                where=f"{reader.file}:{spec.mark.line}",
                max_count=out.of("count") if out else None,
                max_percent=out.of("percent") if out else None,
                rate_count=rate.of("count") if rate else None,
                rate_per_s=rate.of("per", 0.0) if rate else 0.0,
                concurrency=spec.of("concurrency"),
                reason=spec.of("reason", ""),
                enforcement=spec.of("enforcement", "hard"),
                shadow=spec.of("mode") == "shadow",
            )
    return list(limits.values())


def prices_in(documents: Documents) -> Prices:
    currency = ""
    found: dict[str, float] = {}
    places: dict[str, str] = {}
    for reader, top in documents:
        for pool, price in top.of("prices", {}).items():
            if pool in found:
                said = f"the price of {pool!r} is written twice; first at {places[pool]}"
                reader.problem(price.mark, said, pool)
                continue
            currency = currency or price.value.currency
            if price.value.currency != currency:
                said = f"all prices are in one currency, and the first is in {currency}"
                reader.problem(price.mark, said, price.value.currency)
            found[pool] = price.value.amount
            places[pool] = f"{reader.file}:{price.mark.line}"
    return Prices(currency, found)


_SPENT = ("disruptions", "gpu_hours", "money")


def budgets_in(documents: Documents, prices: Prices) -> list[Budget]:
    budgets: dict[str, Budget] = {}
    priced = any(top.wrote("prices") for _, top in documents)  # if wrongly, that is told already
    for reader, top in documents:
        for spec in top.each("budgets"):
            ident = spec.of("id", f"{reader.file}:{spec.mark.line}")
            if ident in budgets:
                said = f"the budget {ident!r} is defined twice; first at {budgets[ident].where}"
                reader.problem(spec.mark, said, ident)
                continue
            if spec.wrote(*_SPENT) != 1:
                said = "a budget has one of `disruptions`, `gpu_hours` and `money`"
                reader.problem(spec.mark, said, ident)
            every, money = spec.get("every"), spec.get("money")
            if every and every.value > LOOKS_BACK_S:
                reader.problem(every.mark, "the ledger looks back 31 days; `every` is at most 31d")
            if (
                money
                and money.value.currency != prices.currency
                and (prices.currency or not priced)
            ):
                said = f"the prices are in {prices.currency}" if prices.currency else "no `prices`"
                reader.problem(money.mark, f"this budget cannot be counted: {said}", ident)
            budgets[ident] = Budget(
                id=ident,
                actions=kinds_of(spec) or frozenset(CHANGING),
                per=spec.of("per", "fleet"),
                every_s=spec.of("every", 0.0),
                where=f"{reader.file}:{spec.mark.line}",
                disruptions=spec.of("disruptions"),
                gpu_hours=spec.of("gpu_hours"),
                money=money.value.amount if money else None,
                currency=money.value.currency if money else "",
                reason=spec.of("reason", ""),
                enforcement=spec.of("enforcement", "hard"),
                shadow=spec.of("mode") == "shadow",
            )
    return list(budgets.values())
