"""What no policy can switch off: a table of small pure functions, judged before any rule.

Each invariant says why it refuses, in one sentence, or "" when it has nothing against. The ids
are those of docs/invariants.md, which also lists what holds elsewhere (at the effect, or because
of how the house is built).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from msgspec import Struct

from watchkeeper.core.action import REPAIRS, JobPlace, Traits, node_of, targets_of
from watchkeeper.core.action import TRAITS as KINDS
from watchkeeper.core.facts import Facts
from watchkeeper.core.floors import Floors
from watchkeeper.core.ledger import WEEK_S, LedgerView, PastEffect
from watchkeeper.core.proposal import Impact, Proposal
from watchkeeper.core.verdict import Decision, Orders, Reason
from watchkeeper.policy.kept import not_kept
from watchkeeper.policy.limits import takes_out

CEILING_PER_HOUR = 20
"""S3: disruptive effects in any hour, whatever the policy says."""

UNHEALTHY_SHARE_PERCENT = 20
"""S9: more of a pool than this turning unhealthy at once is a sensor's or a facility's fault."""

SILENCE_S = 300.0
"""S10: silence shorter than this proves nothing; network partitions heal within it."""

QUIET_AFTER_S = 60.0
"""S10: a node whose telemetry is older than this counts as silent."""

SLOW_S, SLOW_STEP_S = 900.0, 180.0
"""S23: for so long after an outage a repair begins in each such step only: what looks broken then
may only be late, and what was waiting would begin at once."""

SECOND_SOURCE = 2
REPAIRS_7D = 3
REQUEUES_24H = 5
GPUS_PER_REQUEUE = 1024
"""S19: a gang may be requeued once more a day for so many of its GPUs, since large gangs meet more
faults: Llama 3 (Table 5) had 419 unexpected stops in 54 days on 16,384 GPUs, 7.8 a day."""

LARGEST_GANG_GPUS = 1_000_000
"""S19: a gang that is said to be larger is not known, and gets no more."""

CAPPED = ("pool:", "rack:", "leaf:", "nvlink_domain:", "power_feed:", "zone:")
SERIAL = ("rack:", "leaf:", "nvlink_domain:")


class Case(Struct, frozen=True):
    """Everything an invariant may look at. past: the ledger's effects without this proposal's
    own; traits: of its action; floors: what the orders declare to be kept."""

    proposal: Proposal
    impact: Impact
    facts: Facts
    ledger: LedgerView
    orders: Orders
    past: tuple[PastEffect, ...]
    traits: Traits
    kind: str
    floors: Floors = Floors()


class Invariant(NamedTuple):
    """id: as in docs/invariants.md. says: the promise. check: why not, or "". on: the kinds of
    action that it can refuse. wakes: a refusal wakes a person. halts: a refusal halts the watch."""

    id: str
    says: str
    check: Callable[[Case], str]
    on: frozenset[str]
    wakes: bool = False
    halts: bool = False


def refusals(case: Case) -> tuple[tuple[Invariant, Reason], ...]:
    """Every invariant that refuses, with its reason; all are asked, so that a person sees all."""
    found = []
    for invariant in ASKED[case.kind]:
        why = invariant.check(case)
        if why:
            reason = Reason(kind="invariant", id=invariant.id, says=Decision.DENY, text=why)
            found.append((invariant, reason))
    return tuple(found)


def mass_unhealthy(ledger: LedgerView) -> str:
    """Why the fleet's health itself is in doubt (S9), or ""."""
    if not ledger.newly_unhealthy:
        return ""
    for pool, count in sorted(ledger.newly_unhealthy.items()):
        size = ledger.size.get(f"pool:{pool}", 0)
        if count > most_unhealthy(size):
            return (
                f"{count} of {size} nodes of {pool} turned unhealthy within 5 minutes; "
                f"more than {most_unhealthy(size)} at once points to a sensor or to the facility"
            )
    return ""


def most_unhealthy(pool_size: int) -> int:
    """How many nodes of a pool may turn unhealthy within 5 minutes before the watch halts."""
    return max(1, pool_size * UNHEALTHY_SHARE_PERCENT // 100)


def _s1(case: Case) -> str:
    match case.traits.scope:
        case "node" | "gpu":
            known = node_of(case.proposal.action) in case.impact.nodes
        case "pool":
            known = case.impact.pool_size > 0
        case "job":
            action = case.proposal.action
            known = case.facts.get("job.name") == getattr(action, "job", None)
            if isinstance(action, JobPlace):
                known = known and set(action.nodes) <= set(case.impact.nodes)
        case _:
            known = True
    if known:
        return ""
    return f"{', '.join(targets_of(case.proposal.action)) or 'its target'} is not in the inventory"


def _s2(case: Case) -> str:
    if not takes_out(case.impact) or not any(case.impact.domain_out.values()):
        return ""  # one node alone is never more than half
    for key, size in case.impact.domain_size.items():
        if size < 2 or not key.startswith(CAPPED):
            continue
        out = case.impact.domain_out.get(key, 0) + 1
        if out > max(1, size // 2):
            return f"{out} of the {size} nodes of {key} would be out: more than half"
    return ""


def _s3(case: Case) -> str:
    reaches = case.ledger.reaches_s
    if reaches is not None and reaches < 3600:
        return f"the ledger shows the fleet's last {reaches:.0f} s only, which counts as used"
    if len(case.past) < CEILING_PER_HOUR:
        return ""
    recent = len([e for e in case.past if e.age_s < 3600 and _disruptive(e.action)])
    if recent < CEILING_PER_HOUR:
        return ""
    return f"the ceiling of {CEILING_PER_HOUR} disruptive actions an hour is reached"


def _s4(case: Case) -> str:
    if not case.orders.stopped:
        return ""
    by = f" by {case.orders.stopped_by}" if case.orders.stopped_by else ""
    return f"the watch was stopped{by}; a person must resume it"


def _s4_held(case: Case) -> str:
    if not case.orders.holds:
        return ""  # by far the most verdicts; the gate shows those alone that bear on this one
    return f"{case.orders.holds[0].says}; a person may release it sooner"


def _s5(case: Case) -> str:
    if case.ledger.reconciled:
        return ""
    return "fences and jobs of this Ray session are not yet reconciled with the journal"


def _s7(case: Case) -> str:
    state, node = case.facts.get("node.ray_state"), node_of(case.proposal.action)
    if state in ("alive", "draining") and case.impact.jobs:
        return f"{node} is {state} and runs {', '.join(case.impact.jobs)}: drain it first"
    if state == "alive" and case.facts.get("node.fenced") is not True:
        return f"{node} is alive and not fenced: cordon and drain it first"
    return ""


def _s9(case: Case) -> str:
    why = mass_unhealthy(case.ledger)
    return "" if _a_person_recovers(case) else why


def _s9_halted(case: Case) -> str:
    if not case.ledger.halted or _a_person_recovers(case):
        return ""
    return f"the watch halted itself: {case.ledger.halted}"


def _s10(case: Case) -> str:
    facts, node = case.facts, node_of(case.proposal.action)
    state = facts.get("node.ray_state", "unknown")
    if state == "dead" and facts.get("node.process_gone") is True:
        return ""  # Ray and the provider agree: two sources, and nothing alive is touched
    silent = facts.get("node.silent_for")
    if type(silent) is not float and not isinstance(silent, int | float):
        silent = math.nan  # compares as neither short nor long: refused below
    if state in ("alive", "draining") and silent < QUIET_AFTER_S:
        return ""
    sources = facts.get("evidence.independent_sources", 0)
    enough = isinstance(sources, int) and sources >= SECOND_SOURCE
    if silent >= SILENCE_S and enough:
        return ""
    what = "is dead to Ray, and no one confirms it" if state == "dead" else "is silent or unknown"
    return (
        f"{node} {what}; acting needs {SILENCE_S:g} s of silence and {SECOND_SOURCE} sources "
        f"(now {sources})"
    )


def _s11(case: Case) -> str:
    if not case.floors.declared:
        return ""  # the half of S2 is the floor
    return not_kept(case.floors, case.proposal.action, case.impact, case.facts, case.ledger)


def _s13(case: Case) -> str:
    if case.facts.get("node.control_path") is False:
        return ""
    return f"{node_of(case.proposal.action)} carries the control path: the watch never touches it"


def _s19(case: Case) -> str:
    target = targets_of(case.proposal.action)[0]
    day = 86400.0
    done = sum(e.action == case.kind and e.target == target and e.age_s < day for e in case.past)
    gpus = case.facts.get("job.gpus")
    most = REQUEUES_24H
    if isinstance(gpus, int | float) and 0 <= gpus <= LARGEST_GANG_GPUS:
        most += int(gpus // GPUS_PER_REQUEUE)
    return f"{target} was requeued {done} times in 24 hours" if done >= most else ""


def _s20(case: Case) -> str:
    """Counts other incidents' repairs of this node, and repeats of this very step; the steps of
    one repair are one repair. Past the limit only a person may give the node back."""
    if case.kind == _GIVES_BACK and case.proposal.by.startswith("person:"):
        return ""
    node, incident = node_of(case.proposal.action), case.proposal.incident
    mine = [e for e in case.past if e.node == node and e.action in REPAIRS and e.age_s < WEEK_S]
    if len(mine) < REPAIRS_7D:
        return ""
    others = {e.incident or e.proposal for e in mine if not incident or e.incident != incident}
    again = sum(e.incident == incident and e.action == case.kind for e in mine) if incident else 0
    if len(others) + again < REPAIRS_7D:
        return ""
    return f"{node} was repaired {len(others) + again} times in 7 days: quarantine and a person"


def _s21(case: Case) -> str:
    if case.kind not in case.ledger.closed:
        return ""
    return f"the gate for {case.kind} is closed after a worse outcome; a person must open it"


def _s23(case: Case) -> str:
    back_s = case.ledger.back_s
    if back_s is None or back_s >= SLOW_S or _a_person_recovers(case):
        return ""
    begun = {
        e.incident or e.proposal for e in case.past if e.age_s <= back_s and _disruptive(e.action)
    }
    incident = case.proposal.incident
    if (incident and incident in begun) or len(begun) <= back_s // SLOW_STEP_S:
        return ""
    return (
        f"an outage ended {back_s:.0f} s ago: until {SLOW_S:g} s have passed, one repair begins in "
        f"each {SLOW_STEP_S:g} s"
    )


def _s27(case: Case) -> str:
    under_way = [e for e in case.past if e.open]
    if not under_way:
        return ""  # by far the most verdicts
    node, incident = node_of(case.proposal.action), case.proposal.incident
    targets = targets_of(case.proposal.action)
    keys = {k for k in case.impact.domain_size if k.startswith(SERIAL)}
    keys |= {f"job:{name}" for name in case.impact.jobs}
    for e in under_way:
        if e.action in KINDS and not KINDS[e.action].changes:
            continue
        on_it = (bool(node) and e.node == node) or e.target in targets
        if on_it and incident and e.incident == incident:
            continue  # the next step of the same repair
        if on_it:
            return f"{e.action} on {e.target} is still under way"
        shared = sorted(keys & set(e.domains))
        if shared and case.traits.disruptive and _disruptive(e.action):
            return f"{e.action} on {e.target} is under way in {shared[0]}: one at a time"
    return ""


def _s29(case: Case) -> str:
    there = case.facts.get("world")
    own = case.proposal.world
    return "" if own == there else f"evidence of the {own} world is no reason in the {there} world"


def _a_person_recovers(case: Case) -> bool:
    return case.proposal.by.startswith("person:") and case.traits.recovers


def _disruptive(kind: str) -> bool:
    return kind not in KINDS or KINDS[kind].disruptive


def _kinds(of: Callable[[Traits], bool]) -> frozenset[str]:
    """The kinds of action that are so, of those that change the cluster."""
    return frozenset([kind for kind, traits in KINDS.items() if traits.changes and of(traits)])


_GIVES_BACK = "node.uncordon"
_ALL = _kinds(lambda traits: traits.changes)
_DISRUPTIVE = _kinds(lambda traits: traits.disruptive)
_ON_NODES = _kinds(lambda traits: traits.scope in ("node", "gpu"))
_TAKES_OUT_OF_USE = {"node.cordon", "gpu.quarantine"}
"""What a limit of repairs that is reached asks for; so that limit never forbids it."""

INVARIANTS: tuple[Invariant, ...] = (
    Invariant("S1", "Targets are explicit and exist.", _s1, _ALL),
    Invariant("S2", "Never more than half of a domain is out by our doing.", _s2, _ALL),
    Invariant(
        "S3", "At most 20 disruptive actions start in an hour.", _s3, _DISRUPTIVE, wakes=True
    ),
    Invariant("S4", "Nothing changes while the watch is stopped.", _s4, _ALL),
    Invariant("S4", "What a person holds is left alone.", _s4_held, _DISRUPTIVE),
    Invariant("S5", "Nothing changes before a new Ray session is reconciled.", _s5, _ALL),
    Invariant("S7", "A node that is in use is not restarted.", _s7, frozenset({"node.restart"})),
    Invariant(
        "S9", "Too many unhealthy at once halts the watch.", _s9, _ALL, wakes=True, halts=True
    ),
    Invariant("S9", "A watch that halted itself does nothing.", _s9_halted, _ALL),
    Invariant("S10", "Silence is unknown, never dead.", _s10, _ON_NODES & _DISRUPTIVE),
    Invariant("S11", "Floors, spares, quorums and classes that are declared are kept.", _s11, _ALL),
    Invariant("S13", "The control path is never touched.", _s13, _ON_NODES),
    Invariant(
        "S19",
        "A job is requeued at most 5 times in 24 hours, and once more for each 1,024 GPUs.",
        _s19,
        frozenset({"job.requeue"}),
        wakes=True,
    ),
    Invariant(
        "S20",
        "A node is repaired at most 3 times in 7 days.",
        _s20,
        _ON_NODES & (_DISRUPTIVE | {_GIVES_BACK}) - _TAKES_OUT_OF_USE,
        wakes=True,
    ),
    Invariant("S21", "A kind of action that made things worse stays closed.", _s21, _ALL),
    Invariant("S23", "After an outage work resumes slowly.", _s23, _DISRUPTIVE),
    Invariant("S27", "One disruptive action at a time in a rack, leaf, NVLink or job.", _s27, _ALL),
    Invariant("S29", "Worlds never mix.", _s29, _ALL),
)
"""What is promised, in the order in which it is asked."""


def by_kind(invariants: tuple[Invariant, ...]) -> dict[str, tuple[Invariant, ...]]:
    """For each kind of action, those that can refuse it."""
    return {kind: tuple([i for i in invariants if kind in i.on]) for kind in KINDS}


ASKED = by_kind(INVARIANTS)
