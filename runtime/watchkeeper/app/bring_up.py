"""What `up` checks before it starts anything, and the summary it prints."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from watchkeeper.app.lab_time import policy_offset
from watchkeeper.app.policy_source import policy_source
from watchkeeper.app.settings import Home, Settings
from watchkeeper.app.supervisor import Plan, Say, Supervisor
from watchkeeper.control.policy_shelf import take
from watchkeeper.policy.model import CheckedPolicy


def bring_up(home: Home, settings: Settings, *, nodes: int, gpus_per_node: int, say: Say) -> int:
    """Check policy and lab time, then hand over to the supervisor; returns the exit code."""
    policy = None
    if settings.policies:
        named = settings.policies
        settings = msgspec.structs.replace(
            settings,
            policies=str(Path(settings.policies).resolve()),
            policy_key=str(Path(settings.policy_key).resolve()) if settings.policy_key else "",
        )
        source = policy_source(settings)
        assert source is not None
        orders, tests = source.read()
        policy = take(orders, tests, datetime.now(UTC))
        signed = ", signed" if settings.policy_key else ""
        say(
            f"Policy: {policy.version}, {len(policy.rules)} rules from {named}{signed}; "
            f"{'its tests pass' if tests else 'it has no tests'}"
        )
    else:
        say("Policy: none given (--policies DIR). The watch observes only.")
    if settings.prices:
        from watchkeeper.app.money_source import read_prices  # late: it loads much

        book = read_prices(Path(settings.prices))
        assert book is not None
        say(f"Prices: {book.name} {book.version}, {book.first} to {book.last}. {book.description}")
    if settings.lab_time:
        zone = _zone_of(policy)
        offset = policy_offset(settings.lab_time, zone, datetime.now(UTC))
        settings = msgspec.structs.replace(settings, policy_offset_s=offset.total_seconds())
        say(f"Lab time: policy windows see {settings.lab_time} {zone}; all else is on real clocks")
    if settings.twin_nodes:
        say(
            f"Twin: {settings.twin_nodes} nodes x {settings.twin_gpus} GPUs, seed "
            f"{settings.twin_seed}, {settings.twin_speed:g} times real time. All of it is simulated"
        )
    lab = not settings.ray_address and not settings.twin_nodes
    plan = Plan(
        home=home,
        settings=settings,
        lab=lab,
        nodes=nodes,
        gpus_per_node=gpus_per_node,
        redis_url=settings.redis,
    )
    say(f"Home: {home.path}")
    return Supervisor(plan, say).run()


def _zone_of(policy: CheckedPolicy | None) -> str:
    """The zone of the policy's windows; UTC when it has none."""
    zones = [w.tz for w in policy.windows.values()] if policy else []
    return str(zones[0]) if zones else "UTC"
