"""How far a model is believed, by what came of its words: Brier score, reliability, and the choice
between rules and model for each class of incident.

Pure functions of `Scored` words. Falling trust sends a class back to the rules at once; rising
trust only drafts a change of policy, which a person merges.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt
from typing import NamedTuple

from watchkeeper.core.action import TRAITS
from watchkeeper.core.model import Scored
from watchkeeper_agents.models.settings import TrustSettings

RULES = "rules"
PLANNER = "planner"
SURE = 0.7
DAY_S = 86400.0


class Bin(NamedTuple):
    """One bar of a reliability plot: words said with about this confidence, and how often they
    came true."""

    said: float
    true: float
    of: int


class Standing(NamedTuple):
    """One agent, model and class of fault. low: the lower end of the 95 % interval of `true`
    (Wilson). brier: None of nothing."""

    agent: str
    model: str
    fault: str
    results: int
    true: float
    low: float
    brier: float | None
    seconds: float
    money: float


class Strategy(NamedTuple):
    """Who decides, `rules` or `model`, and why."""

    who: str
    why: str


def brier(scores: Sequence[Scored]) -> float | None:
    """Mean squared error of what was said with what happened (Brier 1950); 0 is perfect."""
    if not scores:
        return None
    return sum((s.confidence - s.happened) ** 2 for s in scores) / len(scores)


def reliability(scores: Iterable[Scored], bins: int = 10) -> tuple[Bin, ...]:
    """The bars of a reliability plot, empty ones left out."""
    kept: dict[int, list[Scored]] = {}
    for s in scores:
        kept.setdefault(min(bins - 1, int(s.confidence * bins)), []).append(s)
    return tuple(
        Bin(
            said=round(sum(s.confidence for s in group) / len(group), 4),
            true=round(sum(s.happened for s in group) / len(group), 4),
            of=len(group),
        )
        for _, group in sorted(kept.items())
    )


def standing(scores: Sequence[Scored], agent: str, model: str, fault: str) -> Standing:
    """These scores, all of one agent, model and class, in figures."""
    n = len(scores)
    true = sum(s.happened for s in scores) / n if n else 0.0
    return Standing(
        agent=agent,
        model=model,
        fault=fault,
        results=n,
        true=round(true, 4),
        low=round(_low(true, n), 4),
        brier=None if not n else round(brier(scores) or 0.0, 4),
        seconds=round(sum(s.took_s for s in scores) / n, 3) if n else 0.0,
        money=round(sum(s.cost for s in scores) / max(1, sum(s.happened for s in scores)), 6),
    )


def standings(
    scores: Iterable[Scored], now: float, settings: TrustSettings
) -> tuple[Standing, ...]:
    """Everybody's standing on every class, the rules' included."""
    groups: dict[tuple[str, str, str], list[Scored]] = {}
    for s in counting(scores, now, settings):
        groups.setdefault((s.agent, s.model, s.fault), []).append(s)
    return tuple(standing(group[-settings.newest :], *key) for key, group in sorted(groups.items()))


def strategy(
    scores: Iterable[Scored],
    agent: str,
    model: str,
    fault: str,
    now: float,
    settings: TrustSettings,
) -> Strategy:
    """Rules or model for this class of incident, on measured success, calibration, latency and
    cost. Deterministic: the same scores give the same answer. A model of which nothing is known
    yet may speak, since its word reaches no further than `Seat.hold_s`.
    """
    mine: list[Scored] = []
    rules: list[Scored] = []
    anywhere: list[Scored] = []
    for s in counting(scores, now, settings):
        if s.agent == agent and s.model == model:
            anywhere.append(s)
        if s.fault == fault and s.model == RULES and agent in (s.agent, PLANNER):
            rules.append(s)  # the rules let each of their steps go first themselves
        if s.agent == agent and s.fault == fault and s.model == model:
            mine.append(s)
    mine, rules = mine[-settings.newest :], rules[-settings.newest :]
    for words, where in ((mine, "on this class"), (anywhere, "on all classes")):
        last = words[-settings.wrong :]
        if len(last) == settings.wrong and all(_sure_and_wrong(s) for s in last):
            return Strategy(RULES, f"its last {settings.wrong} words {where} were sure and wrong")
    if len(mine) < settings.least:
        return Strategy("model", f"{len(mine)} results; {settings.least} are needed to judge it")
    own = standing(mine, agent, model, fault)
    if own.brier is not None and own.brier > settings.brier:
        return Strategy(RULES, f"its Brier score is {own.brier:.2f} over {own.results} results")
    if own.seconds > settings.seconds:
        return Strategy(RULES, f"its answers take {own.seconds:.0f} s on the mean")
    if own.money > settings.money:
        return Strategy(RULES, f"a success costs {own.money:.2f}")
    if len(rules) >= settings.least:
        theirs = standing(rules, agent, RULES, fault)
        if own.true < theirs.true - settings.behind:
            return Strategy(
                RULES, f"{own.true:.0%} of its steps worked, of the rules' {theirs.true:.0%}"
            )
    return Strategy("model", f"{own.true:.0%} of {own.results} came true, Brier {own.brier:.2f}")


class Promotion(NamedTuple):
    """A change of policy that a record speaks for: one more file of the folder, in shadow, its
    tests, and the same in force, to be replayed before anybody merges it."""

    name: str
    text: str
    tests: str
    enforced: str


def promotion(scores: Sequence[Scored], own: Standing, settings: TrustSettings) -> Promotion | None:
    """The change that this standing speaks for; None where it speaks for none. It begins in shadow:
    it is counted, and grants nothing until a person merges it and takes `mode: shadow` out.

    Wanted: twice as many results as a judgement needs, a Brier score below half of the bound, and
    95 % confidence that at least four of five come true; of each kind of action that it names as
    many results as a judgement needs, and the same confidence. What cannot be taken back and gives
    nothing back is never named. scores: those of the standing.
    """
    if own.agent == PLANNER:
        return None  # it asks for nothing itself
    if own.model == RULES or own.results < 2 * settings.least or own.brier is None:
        return None
    if own.brier > settings.brier / 2 or own.low < ENOUGH:
        return None
    kinds = [
        kind
        for kind, share, count in by_kind(scores)
        if count >= settings.least and _low(share, count) >= ENOUGH and _may_be_named(kind)
    ]
    if not kinds:
        return None
    ident = f"trust-{_slug(own.agent)}-on-{_slug(own.fault)}"
    model, listed = _quoted(own.model), ", ".join(kinds)
    when = (
        f'proposal.model == "{model}" && proposal.by == "agent:{_slug(own.agent)}" && '
        f'incident.class == "{own.fault}" && incident.confidence >= 0.9 && '
        "evidence.independent_sources >= 2"
    )
    head = (
        f"apiVersion: watchkeeper/v1\nkind: Policy\nmetadata: {{name: {ident}, owner: drafted}}\n"
    )
    rule = (
        "rules:\n"
        f"  - id: {ident}\n"
        "    effect: allow\n"
        "    mode: shadow\n"
        f"    actions: [{listed}]\n"
        f"    when: '{when}'\n"
        f"    reason: {own.results} results, {own.true:.0%} came true, Brier {own.brier:.3f}\n"
    )
    text = head + rule
    return Promotion(
        name=f"{ident}.yaml",
        text=text,
        tests=_tests(ident, own, kinds, model),
        enforced=text.replace("    mode: shadow\n", ""),
    )


ENOUGH = 0.8
"""The share that must come true, at the lower end of its 95 % interval."""


def by_kind(scores: Sequence[Scored]) -> tuple[tuple[str, float, int], ...]:
    """(kind of action, share that came true, how many) of these scores."""
    groups: dict[str, list[Scored]] = {}
    for s in scores:
        groups.setdefault(s.kind, []).append(s)
    return tuple(
        (kind, sum(s.happened for s in group) / len(group), len(group))
        for kind, group in sorted(groups.items())
    )


def _may_be_named(kind: str) -> bool:
    traits = TRAITS.get(kind)
    return traits is not None and (traits.recovers or traits.reversible or not traits.disruptive)


def _tests(ident: str, own: Standing, kinds: Sequence[str], model: str) -> str:
    """What the drafted rule must and must not speak of."""
    held = "evidence: {independent_sources: 2}"
    said = f"incident: {{class: {own.fault}, confidence: 0.95}}"
    by = f"by: agent:{_slug(own.agent)}"

    def case(name: str, given: str, expect: str) -> str:
        expected = f"expect: {{verdict: as-today, shadow: {expect}}}"
        return f"  - name: {name}\n    given: {{{given}}}\n    {expected}\n"

    told = [
        case(
            f"{kind} that it chose on strong evidence",
            f'proposal: {{action: {kind}, {by}, model: "{model}"}}, {said}, {held}',
            ident,
        )
        for kind in kinds
    ]
    action = f"proposal: {{action: {kinds[0]}, {by}"
    weak = "evidence: {independent_sources: 1}"
    told += [
        case("what rules chose is none of its business", f"{action}}}, {said}, {held}", "none"),
        case("nor is weak evidence", f'{action}, model: "{model}"}}, {said}, {weak}', "none"),
    ]
    return (
        "apiVersion: watchkeeper/v1\nkind: PolicyTest\n"
        f"metadata: {{name: {ident}, owner: drafted}}\nat: 2026-03-18T14:00 Etc/UTC\ntests:\n"
        + "".join(told)
    )


def _quoted(text: str) -> str:
    return "".join(c for c in text if c.isalnum() or c in " ._:/()-")


def _slug(text: str) -> str:
    """A name as rules and files may carry it; an agent behind MCP keeps its slash nowhere."""
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in text).strip("-").lower()


def _sure_and_wrong(s: Scored) -> bool:
    return not s.happened and s.confidence >= SURE


def counting(scores: Iterable[Scored], now: float, settings: TrustSettings) -> list[Scored]:
    """What is young enough to count, oldest first."""
    found = [s for s in scores if now - s.steady <= settings.days * DAY_S]
    return sorted(found, key=lambda s: s.steady)


def _low(share: float, count: int, z: float = 1.96) -> float:
    """The lower end of Wilson's 95 % interval of a share."""
    if not count:
        return 0.0
    centre = share + z * z / (2 * count)
    spread = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, (centre - spread) / (1 + z * z / count))
