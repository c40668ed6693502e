"""What was done before, as a verdict sees it. A fold of the journal, never of Redis."""

from watchkeeper.core.word import Word


class PastEffect(Word, frozen=True):
    """One effect that was started: what, on what, how long ago on the steady clock.

    domains holds `pool:x`, `rack:y`, `leaf:z`, `tenant:t`, `job:j` as they were then.
    open: started and not yet finished.
    """

    action: str
    target: str
    age_s: float
    node: str = ""
    incident: str = ""
    domains: tuple[str, ...] = ()
    open: bool = False
    proposal: str = ""


class LedgerView(Word, frozen=True):
    """Everything that a verdict may know of the past and of the state of the fleet's health.

    effects: the last 7 days, newest first, bounded. out: nodes out now per domain key
    (`fleet`, `pool:x`, `rack:y`, `leaf:z`). size: nodes per domain key. newly_unhealthy: nodes
    of each pool that turned unhealthy within 5 minutes (S9). closed: kinds of action whose gate
    is closed after a worse outcome. halted: reason the watch halted itself, or "".
    reconciled: fences and jobs of this GCS session were reconciled with the journal.
    approved: answers that count for this very proposal and are unspent.
    """

    effects: tuple[PastEffect, ...] = ()
    out: dict[str, int] = {}
    size: dict[str, int] = {}
    newly_unhealthy: dict[str, int] = {}
    closed: tuple[str, ...] = ()
    halted: str = ""
    reconciled: bool = True
