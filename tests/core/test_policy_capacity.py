"""Allowances, service levels, quotas and power feeds in a policy: read exactly, and told where
wrong."""

from __future__ import annotations

import pytest
from tests.core.policy_case import policy

from watchkeeper.core.errors import PolicyError
from watchkeeper.core.money import Allowance, CapacityOrder, FeedOrder, QuotaOrder

ALLOW = '  - {id: anything, effect: allow, actions: ["*"]}\n'
WHOLE = """\
allowances:
  - {id: research, tenant: research, gpu_hours: 40000, when_used_up: hold}
  - {id: all, money: 250000 USD, tz: Europe/Berlin, warn_at: 75}
  - {id: power, pool: train, energy_kwh: 90000}
capacity:
  train: {service_level: 95, spot_at_most: 30, nodes_at_most: 64}
quotas:
  nlp: {gpus: 64, gpus_at_most: 96, weight: 2}
  vision: {gpus: 8}
power_feeds:
  feed-a: {limit_kw: 96, act_at: 90, least_watts: 300}
"""


def test_what_is_written_is_what_is_read() -> None:
    read = policy(ALLOW, rest=WHOLE)
    research, everything, power = read.allowances
    assert (research.measure, research.amount, research.tenant) == ("gpu_hours", 40000, "research")
    assert (research.tz, research.warn_share, research.unit) == ("UTC", 0.8, "GPU-hours")
    assert (everything.measure, everything.amount, everything.unit) == ("money", 250000, "USD")
    assert (everything.tz, everything.warn_share) == ("Europe/Berlin", 0.75)
    assert (power.pool, power.amount, power.unit) == ("train", 90000, "kWh")
    assert isinstance(research, Allowance)
    assert "t.yaml:" in research.where
    told = read.capacity["train"]
    assert told == CapacityOrder(
        pool="train", service_level=0.95, spot_share=0.3, nodes_at_most=64, where=told.where
    )
    assert [a.holds for a in read.allowances] == [True, False, False]
    nlp, vision = read.quotas
    assert nlp == QuotaOrder(tenant="nlp", gpus=64, gpus_at_most=96, weight=2, where=nlp.where)
    assert (vision.gpus, vision.gpus_at_most, vision.weight) == (8, None, 1)
    feed = read.feeds["feed-a"]
    assert feed == FeedOrder(
        feed="feed-a", limit_w=96_000, act_share=0.9, least_w=300, where=feed.where
    )


def test_they_change_the_version_and_no_verdict() -> None:
    bare, more = policy(ALLOW), policy(ALLOW, rest=WHOLE)
    assert bare.version != more.version
    assert (bare.budgets_for, bare.limits_for) == (more.budgets_for, more.limits_for)


@pytest.mark.parametrize(
    ("tail", "said"),
    [
        (
            "allowances: [{id: a, money: 5 USD, when_used_up: hold}]",
            "only GPU-hours hold gangs back",
        ),
        ("quotas: {nlp: {gpus: 8, gpus_at_most: 4}}", "it is not below `gpus`"),
        ("allowances: [{id: a}]", "an allowance has one of `gpu_hours`, `money` and `energy_kwh`"),
        (
            "allowances: [{id: a, gpu_hours: 5, money: 5 USD}]",
            "an allowance has one of `gpu_hours`, `money` and `energy_kwh`",
        ),
        (
            "allowances: [{id: a, gpu_hours: 5}, {id: a, gpu_hours: 6}]",
            "the allowance 'a' is defined twice",
        ),
        (
            "allowances: [{id: a, energy_kwh: 5, tenant: t}]",
            "energy is measured by pool, and not by tenant",
        ),
        ("allowances: [{id: a, gpu_hours: 5, tz: Europe/Berln}]", "Did you mean 'Europe/Berlin'?"),
        ("capacity: {train: {spot_at_most: 5}}", "lacks the key 'service_level'"),
        ("capacity: {train: {service_level: 100}}", "must be a number from 50 to 99"),
        ("power_feeds: {a: {act_at: 90}}", "lacks the key 'limit_kw'"),
        ("power_feeds: {a: {limit_kw: 0}}", "must be a number from 0.1"),
    ],
)
def test_a_mistake_is_told(tail: str, said: str) -> None:
    with pytest.raises(PolicyError) as refused:
        policy(ALLOW, rest=f"{tail}\n")
    assert said in str(refused.value)
