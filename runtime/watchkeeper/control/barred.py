"""A repair that a hold, or a freeze of the orders, keeps from beginning: who is told, and when that
is over. One ticket for each incident, and never a page, since people asked for it.

A freeze is a rule that refuses while a window is open, or until a date. Every other refusal has its
own ways to people (an escalation, a question, the log).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from watchkeeper.control import hush
from watchkeeper.control.holding import in_force
from watchkeeper.control.life import State
from watchkeeper.control.papers import Bar, File
from watchkeeper.core.action import say
from watchkeeper.core.hold import Hold
from watchkeeper.core.proposal import Proposal
from watchkeeper.core.verdict import Decision, Verdict
from watchkeeper.core.word import plain
from watchkeeper.policy import windows
from watchkeeper.policy.model import CheckedPolicy, Rule

if TYPE_CHECKING:
    from watchkeeper.control.watch import Watch

_BEGUN = frozenset(State) - {State.MADE, State.DENIED, State.VOID}
"""States of a Proposal that nothing keeps from being asked, or done."""


def tell_if_barred(watch: Watch, proposal: Proposal, verdict: Verdict) -> None:
    """Leave a ticket when a hold or a freeze refuses what an open incident needs, once for as long
    as that lasts."""
    books = watch.record.books
    incident = books.incidents.get(proposal.incident)
    if verdict.decision is not Decision.DENY or proposal.incident in books.barred:
        return
    if incident is None or not incident.is_open:
        return
    file = books.files[proposal.id]
    if hold := _hold_of(verdict, file, in_force(books, watch.clock)):
        bar = Bar(incident.id, proposal.id, file.thread, hold=hold.id)
        why = f"{hold.says}. `watchkeeper release {hold.id}` ends it sooner."
    elif rule := _freeze_of(verdict, watch.policies.current()):
        bar = Bar(incident.id, proposal.id, file.thread, rule=rule.id)
        why = _of_a_freeze(watch, rule, proposal, verdict)
    else:
        return
    after = ", then ".join(say(a) for a in (proposal.action, *proposal.plan))
    hush.call(
        watch,
        hush.BARRED,
        bar.key,
        f"{incident.id} waits: {say(proposal.action)} is held back. {why}",
        f"{incident.title.rstrip('.')}. What would be done after: {after}. "
        f"{_link(watch, incident.id)}".rstrip(),
        (incident.id, proposal.id),
        about=incident.id,
        bar=plain(bar),
    )


def _hold_of(verdict: Verdict, file: File, holds: Iterable[Hold]) -> Hold | None:
    """The hold that the verdict was given under, where one refused."""
    if not any(r.kind == "invariant" and r.id == "S4" for r in verdict.reasons):
        return None
    return next((hold for hold in holds if hold.id in file.under), None)


def _freeze_of(verdict: Verdict, policy: CheckedPolicy | None) -> Rule | None:
    """The rule that refused for a time, where rules alone refused."""
    if policy is None or verdict.refused_by != "policy":
        return None
    spoke = {r.id for r in verdict.reasons if r.says is Decision.DENY and r.kind == "rule"}
    return next((r for r in policy.rules if r.id in spoke and r.binds and _for_a_time(r)), None)


def _for_a_time(rule: Rule) -> bool:
    return rule.effect is Decision.DENY and (bool(rule.during) or rule.until is not None)


def _of_a_freeze(watch: Watch, rule: Rule, proposal: Proposal, verdict: Verdict) -> str:
    """Which order, until when, and who may lift it."""
    policy, at = watch.policies.current(), watch.clock.policy_now()
    known = policy.windows if policy is not None else {}
    until = [windows.say(known[name], at) for name in rule.during if name in known]
    if rule.until is not None:
        until.append(f"until {rule.until:%Y-%m-%d %H:%M} UTC")
    reason = f" {rule.reason.rstrip('.')}." if rule.reason else ""
    lift = ""
    if rule.id in verdict.liftable:
        lift = f" `watchkeeper break-glass {proposal.id}` may lift it."
    return f"By order {rule.id}, {rule.where} ({'; '.join(until)}).{reason}{lift}"


def _link(watch: Watch, incident: str) -> str:
    return f"{watch.console_url}/i/{incident}" if watch.console_url else ""


def settle_bars(watch: Watch) -> None:
    """A step of the turn: say under the same key that what held a repair back is over."""
    for bar in list(watch.record.books.barred.values()):
        if over := _over(watch, bar):
            watch.teller.settle(
                bar.key,
                f"{bar.incident} is held back no longer: {over}",
                subject=(bar.incident, bar.proposal),
                incident=bar.incident,
            )


def _over(watch: Watch, bar: Bar) -> str:
    """Why the bar stands no longer, or ""."""
    books = watch.record.books
    incident = books.incidents.get(bar.incident)
    if incident is None or not incident.is_open:
        return "the incident is closed."
    if bar.hold:
        stands = any(hold.id == bar.hold for hold in in_force(books, watch.clock))
        return "" if stands else f"{bar.hold} has ended. Policy is asked again."
    rule = _rule(watch, bar.rule)
    if rule is None:
        return f"{bar.rule} is in the orders no longer. Policy is asked again."
    if over := _ran_out(watch, rule):
        return f"{over}. Policy is asked again."
    last = books.last_of_thread(bar.thread)
    if last is not None and last.state in _BEGUN:
        return f"{last.proposal.id} goes on: {say(last.action)}."
    return ""


def _rule(watch: Watch, ident: str) -> Rule | None:
    policy = watch.policies.current()
    rules = policy.rules if policy is not None else ()
    return next((r for r in rules if r.id == ident and _for_a_time(r)), None)


def _ran_out(watch: Watch, rule: Rule) -> str:
    """What of the rule's time is over, or ""."""
    policy, at = watch.policies.current(), watch.clock.policy_now()
    if rule.until is not None and at >= rule.until:
        return f"{rule.id} has lapsed"
    known = policy.windows if policy is not None else {}
    if rule.during and not any(windows.is_open(known[n], at) for n in rule.during if n in known):
        return f"{' and '.join(rule.during)} is over"
    return ""
