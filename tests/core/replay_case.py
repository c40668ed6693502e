"""Verdict events as the journal holds them, from situations of `policy_case`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import msgspec
from tests.core.policy_case import NIGHT, Given

from watchkeeper.core.event import GENESIS, Event, Kind
from watchkeeper.core.word import canonical, digest, plain
from watchkeeper.policy.judge import judge
from watchkeeper.policy.model import CheckedPolicy


def verdict_event(
    given: Given, policy: CheckedPolicy, *, seq: int = 1, proposal: str = "P-1", **facts: Any
) -> Event:
    """What control writes when it judges this at NIGHT plus `seq` minutes. `facts` are changed."""
    asked, impact, known, ledger = given.inputs()
    asked = msgspec.structs.replace(asked, id=proposal)
    known = known | {name.replace("__", "."): value for name, value in facts.items()}
    inputs = {
        "proposal": plain(asked),
        "impact": plain(impact),
        "facts": known,
        "ledger": plain(ledger),
        "orders": plain(given.orders),
        "policy_version": policy.version,
        "now": NIGHT.isoformat(),
    }
    verdict = judge(asked, impact, known, policy, ledger, given.orders, NIGHT)
    verdict = msgspec.structs.replace(verdict, input_digest=digest(inputs))
    data = {"proposal": proposal, "verdict": plain(verdict), "input": inputs}
    return as_event(data, seq)


def as_event(data: dict[str, Any], seq: int = 1, kind: Kind = Kind.VERDICT) -> Event:
    """One event as a reader decodes it."""
    at = NIGHT + timedelta(minutes=seq)
    event = Event(
        seq=seq,
        at=at,
        policy_at=NIGHT,
        steady=float(seq),
        kind=kind,
        subject=(),
        data=data,
        prev=GENESIS,
    )
    return msgspec.json.decode(canonical(event), type=Event)


def changed(event: Event, **input_parts: Any) -> Event:
    """The same event with other parts of its input; the digest is made to fit."""
    inputs = {**event.data["input"], **input_parts}
    verdict = {**event.data["verdict"], "input_digest": digest(inputs)}
    return msgspec.structs.replace(event, data={**event.data, "input": inputs, "verdict": verdict})


def without_fact(event: Event, *names: str) -> Event:
    facts = {k: v for k, v in event.data["input"]["facts"].items() if k not in names}
    return changed(event, facts=facts)


def events_of(given: Iterable[Given], policy: CheckedPolicy) -> list[Event]:
    return [verdict_event(one, policy, seq=i, proposal=f"P-{i}") for i, one in enumerate(given, 1)]
