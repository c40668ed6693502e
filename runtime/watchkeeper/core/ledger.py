"""What was done before, as a verdict sees it. A fold of the journal, never of Redis."""

from watchkeeper.core.word import Word

WEEK_S = 7 * 86400.0


class PastEffect(Word, frozen=True):
    """One effect that was started: what, on what, how long ago on the steady clock.

    domains holds `pool:x`, `rack:y`, `leaf:z`, `tenant:t`, `job:j` as they were then.
    open: started and not yet finished. gpu_hours and money: what it was expected to cost when
    it was proposed; money is 0 where the policy has no prices.
    """

    action: str
    target: str
    age_s: float
    node: str = ""
    incident: str = ""
    domains: tuple[str, ...] = ()
    open: bool = False
    proposal: str = ""
    gpu_hours: float = 0.0
    money: float = 0.0


class LedgerView(Word, frozen=True):
    """Everything that a verdict may know of the past and of the state of the fleet's health.

    effects: newest first. Of the last 31 days all that share a target, node or incident with the
    proposal and all that are under way; what only shares a domain with it, and the newest of the
    rest, as far back as anything counts them. near_s: kind of domain (`pool`, `rack`, `tenant`)
    -> how far back what shares one is complete; a kind that is not named is so all the way.
    reaches_s: how far back the whole fleet is; None when nothing was left out. thin_s: kind of
    action -> how far back the fleet's is complete, for kinds that neither disturb nor were counted
    and of which more was done than is shown. lifted: soft rules that a person lifted for this
    proposal.

    out: nodes out now per domain key (`fleet`, `pool:x`, `rack:y`, `leaf:z`). size: nodes per
    domain key. Where the orders declare floors (S11), of `spare:x` the free nodes that the action
    takes and all of them, the members of `quorum:x`, and in size the running GPUs of `class:x`.
    newly_unhealthy: nodes of each pool that turned unhealthy within 5 minutes (S9).
    closed: kinds of action whose gate is closed after a worse outcome. halted: reason the watch
    halted itself, or "".
    reconciled: fences and jobs of this GCS session were reconciled with the journal.
    back_s: seconds since the watch, or Ray under it, was back after an outage; None where there was
    none of late.
    """

    effects: tuple[PastEffect, ...] = ()
    out: dict[str, int] = {}
    size: dict[str, int] = {}
    newly_unhealthy: dict[str, int] = {}
    closed: tuple[str, ...] = ()
    halted: str = ""
    reconciled: bool = True
    reaches_s: float | None = None
    lifted: tuple[str, ...] = ()
    near_s: dict[str, float] = {}
    thin_s: dict[str, float] = {}
    back_s: float | None = None
