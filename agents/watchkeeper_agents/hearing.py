"""What a thread makes of the one result it was told: remember it, keep quiet for a while, or end.

Shared by the agents. Pure: steady seconds come in with the call.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from watchkeeper.core.action import say
from watchkeeper.core.crew import StepResult
from watchkeeper_agents.words import MOST_ATTEMPTS, CrewSettings, Memory, Move

HELD = "held"
"""Kind of the result that the planner itself gives to a Draft it held back."""

LONGEST_QUIET_S = 86400.0
"""No setting keeps a thread quiet for longer."""

NEEDS_A_PERSON = frozenset({"S16", "S19", "S20"})
"""Invariants that no waiting mends: two persons, spent budgets. A refusal because the watch had
halted is told as such, after a person has resumed it, and is no answer to the step."""


def hear(
    memory: Memory,
    result: StepResult | None,
    now: float,
    looks: str,
    settings: CrewSettings,
    *,
    called: bool = False,
) -> tuple[Memory, Move | None]:
    """Memory with the result in it; and the end of the thread, when the result is one.

    now: steady seconds. looks: the world as it is, so that a refusal lasts until it changes.
    called: people were called for a whole domain that is down. Its nodes that are out, and the
    steps that it costs, fill limits for as long as it lasts; then a limit is waited for.
    """
    if result is None or result.kind == HELD or _heard(memory, result):
        return memory, None
    memory = msgspec.structs.replace(
        memory,
        attempts=(*memory.attempts, result)[-MOST_ATTEMPTS:],
        quiet_until=None,
        quiet_why="",
        quiet_for="",
        quiet_out=(),
        quiet_under=(),
    )
    asked = say(result.action)
    match result.kind, result.value:
        case ("answer", "deny"):
            return memory, Move(
                end="escalated", why=f"A person said no to: {asked}. {result.says}".strip()
            )
        case ("answer", "expired"):
            return memory, Move(end="escalated", why=f"Nobody answered in time: {asked}?")
        case ("answer", "not_now"):
            again = _minutes(settings.not_now_s)
            why = f"A person said not now to: {asked}. It is asked again after {again}."
            return _quiet(memory, now + settings.not_now_s, why, ""), None
        case ("verdict", "deny"):
            return _refused(memory, result, asked, now, looks, settings, called=called)
        case ("outcome", "refused") | ("answer", "void"):
            count = memory.refusals + 1
            memory = msgspec.structs.replace(memory, refusals=count)
            if count < settings.refusals:
                return memory, None
            why = f"{asked} was refused {count} times at the last moment. {result.says}".strip()
            memory = msgspec.structs.replace(memory, refusals=0)
            return _quiet(memory, now + settings.refused_s, why, ""), None
        case _:
            return msgspec.structs.replace(memory, refusals=0), None


def first_silence(memory: Memory, result: StepResult | None) -> bool:
    """Did nobody answer just now, and for the first time in this thread? A repair's question is put
    once again: who slept through it is up in the morning. The second silence is a person's, and so
    is the first where the orders say that silence is a no."""
    if result is None or (result.kind, result.value) != ("answer", "expired"):
        return False
    if result.refused_by == "silence":
        return False
    return sum((r.kind, r.value) == ("answer", "expired") for r in memory.attempts) < 2


def _refused(
    memory: Memory,
    result: StepResult,
    asked: str,
    now: float,
    looks: str,
    settings: CrewSettings,
    *,
    called: bool = False,
) -> tuple[Memory, Move | None]:
    why = f"{asked} was refused: {result.says or result.refused_by}".rstrip(".") + "."
    stuck = NEEDS_A_PERSON & set(result.reason_ids) if result.refused_by == "invariant" else set()
    passes = called and result.refused_by == "limit"
    if (result.refused_by in ("limit", "budget", "error") and not passes) or stuck:
        return memory, Move(end="escalated", why=why)
    return _quiet(memory, now + settings.denied_s, why, looks, result.under), None


def hear_beside(
    memory: Memory, result: StepResult | None, now: float, looks: str, settings: CrewSettings
) -> tuple[Memory, str, tuple[str, ...]]:
    """For a thread that ends no incident: its memory, why it waits or "", and what it says of
    that. What would end an incident's own thread, such as a person's no, makes this one wait."""
    memory, over = hear(memory, result, now, looks, settings)
    if over is None:
        return memory, hushed(memory, now, looks), ()
    under = result.under if result is not None else ()
    return _quiet(memory, now + settings.denied_s, over.why, looks, under), over.why, (over.why,)


def hushed(memory: Memory, now: float, looks: str) -> str:
    """Why the thread asks for nothing now; "" when it may ask."""
    if memory.quiet_until is None or now >= memory.quiet_until:
        return ""
    if memory.quiet_until - now > LONGEST_QUIET_S:  # the steady clock began anew: a reboot
        return ""
    if memory.quiet_for and memory.quiet_for != looks:
        return ""
    return memory.quiet_why


def remember_out(
    memory: Memory, result: StepResult | None, out: tuple[tuple[str, int], ...]
) -> Memory:
    """After a refusal by policy or invariant: with what was out around its node, since that may be
    what refused it (S2, or a rule about how much of a pool is out)."""
    if result is None or (result.kind, result.value) != ("verdict", "deny"):
        return memory
    if memory.quiet_until is None or not memory.quiet_for:
        return memory
    return msgspec.structs.replace(memory, quiet_out=out)


def eased(memory: Memory, now: float, out: Callable[[str], int], settings: CrewSettings) -> bool:
    """Fewer are out in a domain of its node than when it was refused: asked now, the answer may be
    another. Not sooner than `eased_s` after the refusal, so that a pool that comes back node by
    node is not asked about at each."""
    if memory.quiet_until is None or not memory.quiet_out:
        return False
    if now < memory.quiet_until - settings.denied_s + settings.eased_s:
        return False
    return any(out(key) < count for key, count in memory.quiet_out)


def freed(memory: Memory, orders: frozenset[str]) -> bool:
    """Is an order gone that its step was refused under: a hold that was released, a policy or a
    dial that was changed? A new hold frees nothing."""
    return memory.quiet_until is not None and not orders.issuperset(memory.quiet_under)


def heard_out(memory: Memory) -> Memory:
    """The same memory, which keeps quiet no longer."""
    return _quiet(memory, None, "", "")


def _quiet(
    memory: Memory, until: float | None, why: str, looks: str, under: tuple[str, ...] = ()
) -> Memory:
    """Ask for nothing until then, or until the world looks otherwise ("": in any case), or one of
    the orders is gone that refused it."""
    return msgspec.structs.replace(
        memory,
        quiet_until=until,
        quiet_why=why,
        quiet_for=looks,
        quiet_out=(),
        quiet_under=under,
    )


def _heard(memory: Memory, result: StepResult) -> bool:
    """The journal may tell a result twice after a restart; it counts once."""
    return bool(result.proposal) and any(a.proposal == result.proposal for a in memory.attempts)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min"
