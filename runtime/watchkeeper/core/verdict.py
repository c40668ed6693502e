"""What is decided about a Proposal, by whom, and within which orders."""

from datetime import datetime
from enum import StrEnum

from watchkeeper.core.hold import Hold
from watchkeeper.core.word import Word


class Decision(StrEnum):
    """The three answers, from loosest to strictest."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"

    @property
    def strictness(self) -> int:
        return ("allow", "ask", "deny").index(self.value)


class Reason(Word, frozen=True):
    """One thing that spoke in a Verdict.

    kind: `rule`, `limit`, `budget`, `invariant`, `dial`, `default`, `error`, `requirement`,
    `refusal`; and what only informs: `advice` (an advisory rule), `exception` (a rule that a
    written exception lifts), `lifted` (a soft rule that a person lifted by break-glass).
    id: the rule's id or the invariant's number (`S9`). where: `policies/night.yaml:23`, or ""
    for built-ins. says: what it asked for. text: one sentence for people.
    """

    kind: str
    id: str
    says: Decision
    text: str
    where: str = ""
    shadow: bool = False

    @property
    def binds(self) -> bool:
        """Did it count for the decision, or does it only inform?"""
        return not self.shadow and self.kind not in ("advice", "exception", "lifted")


class Obligations(Word, frozen=True):
    """What an ask demands: how many people, of whom, until when.

    escalate_after_s: from then on `escalate_to` are called and may answer too; None: never.
    """

    quorum: int = 1
    groups: tuple[str, ...] = ()
    expires_s: float = 900.0
    on_timeout: str = "escalate"
    escalate_after_s: float | None = None
    escalate_to: tuple[str, ...] = ()


class Verdict(Word, frozen=True):
    """Allow, ask or deny; always with what said so.

    refused_by is "" for allow and ask; else `invariant`, `policy`, `limit`, `budget`, `dial`,
    `error`, `default`. liftable: the soft rules and limits that alone stand in the way, and that
    break-glass may lift. would_be: the decision if shadow rules were enforced, where it differs.
    input_digest is the digest of the exact inputs, journalled with it.
    """

    decision: Decision
    reasons: tuple[Reason, ...]
    policy_version: str
    obligations: Obligations | None = None
    verify_within_s: float | None = None
    refused_by: str = ""
    halts: bool = False
    alert: str = ""
    window: str = ""
    input_digest: str = ""
    liftable: tuple[str, ...] = ()
    would_be: Decision | None = None

    @property
    def because(self) -> str:
        """The reasons that carried the decision, in one line for people."""
        carried = [r for r in self.reasons if r.says is self.decision and r.binds]
        return "; ".join(f"{r.where or r.id}: {r.text}" for r in carried) or "no rule matches"


class Answer(StrEnum):
    """What a person can answer. Not now is neither: it is asked again later."""

    APPROVE = "approve"
    DENY = "deny"
    NOT_NOW = "not_now"


class Approval(Word, frozen=True):
    """A person's answer to one Proposal, bound to the digest of what was shown (S14, S15)."""

    id: str
    proposal: str
    answer: Answer
    person: str
    digest: str
    nonce: str
    at: datetime
    reason: str = ""
    door: str = ""


class Autonomy(StrEnum):
    """The operator's dial: it caps policy from above."""

    OBSERVE = "observe"
    ASK = "ask"
    AUTO = "auto"


class Orders(Word, frozen=True):
    """The dial, the stop latch, and what people hold. `halted` names what the watch halted itself
    for ("" = not); like a stop, only a person clears it. holds: for a verdict those alone that bear
    on its proposal. capped: for a verdict, why `autonomy` is lower than where the dial stands; ""
    where it is the dial's own."""

    autonomy: Autonomy
    stopped: bool = False
    stopped_by: str = ""
    stopped_at: datetime | None = None
    stop_reason: str = ""
    holds: tuple[Hold, ...] = ()
    capped: str = ""


class OutcomeKind(StrEnum):
    """What independent telemetry showed."""

    RECOVERED = "recovered"
    NOT_YET = "not_yet"
    WORSE = "worse"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"


class Outcome(Word, frozen=True):
    """The Effect held against later snapshots. `seen` is one sentence about what was seen."""

    kind: OutcomeKind
    seen: str
    evidence: tuple[str, ...] = ()
