"""Costs of the simulated morning: half a month of made-up usage, billed by the product's own hand.

Every figure is invented for the pictures and tests of the console.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import cache

import numpy as np

from watchkeeper.capacity.ahead import from_quantiles
from watchkeeper.capacity.plan import plan
from watchkeeper.capacity.what_if import what_if
from watchkeeper.control.spending import costs_of
from watchkeeper.core.capacity import CapacityPlan, WhatIf
from watchkeeper.core.cluster import World
from watchkeeper.core.money import Allowance, CapacityOrder, Offer, PoolPrice, PriceBook
from watchkeeper.core.usage import Costs, UsageRecord
from watchkeeper.policy.load import load

BOOK = PriceBook(
    name="made-up",
    description="Made up for the tests of the console.",
    currency="USD",
    pools={
        "train": PoolPrice(
            gpus_per_node=8,
            gpu_hour=1.5,
            offers={
                "on_demand": Offer(gpu_hour=3.0, nodes_at_most=4, at_least_h=4),
                "burst": Offer(gpu_hour=4.5, nodes_at_most=8),
            },
        )
    },
    first=date(2020, 1, 1),
    last=date(2039, 12, 31),
)
TENANTS = {"vision": 0.45, "language": 0.3, "": 0.05}
POLICY = """\
apiVersion: watchkeeper/v1
kind: Policy
metadata: {name: t}
allowances:
  - {id: all-money, money: 30000 USD}
  - {id: vision-hours, tenant: vision, gpu_hours: 8000}
  - {id: energy, energy_kwh: 9000}
"""


def records(at: datetime) -> list[UsageRecord]:
    """One record for each day of the month so far."""
    first = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    found = []
    for day in range(max(1, (at - first).days)):
        busy = 32 * 24 * (0.9 + 0.1 * (-1) ** day)
        tenants = {tenant: busy * share for tenant, share in TENANTS.items()}
        held = sum(tenants.values())
        found.append(
            UsageRecord(
                first=first + timedelta(days=day),
                last=first + timedelta(days=day + 1),
                known_s=86400.0,
                gpu_hours={"train": {"held": held, "out": 24.0, "idle": 32 * 24 - held - 24.0}},
                tenants={"train": tenants},
                energy_kwh={"train": held * 0.4},
                world=World.LAB,
                simulated=True,
            )
        )
    return found


@cache
def costs(at: datetime) -> Costs:
    """Bill and allowances of the last 30 days."""
    policy = load({"t.yaml": POLICY}, at)
    assert isinstance(policy.allowances[0], Allowance)
    return costs_of(records(at), policy, BOOK, at, timedelta(days=30), "lab")


_DEMAND = from_quantiles(
    "train",
    (0.1, 0.5, 0.9),
    np.array([[20.0, 28.0 + hour, 36.0 + 2 * hour] for hour in range(8)]),
    "persistence",
)


def a_what_if(add: int) -> WhatIf:
    return what_if(_DEMAND, add, 4, 8, BOOK, service_level=0.9)


@cache
def a_plan() -> CapacityPlan:
    found = plan(_DEMAND, CapacityOrder(pool="train", service_level=0.9), BOOK, 4)
    assert isinstance(found, CapacityPlan)
    return found
