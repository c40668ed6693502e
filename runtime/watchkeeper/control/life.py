"""The life of one Proposal, as one table: (state, event) -> state.

Every other pair is refused. The stored truth is the journal; a state is the fold of its events.
"""

from enum import StrEnum

from watchkeeper.core.errors import Bug


class State(StrEnum):
    """Where a Proposal stands."""

    MADE = "made"
    DENIED = "denied"
    ASKING = "asking"
    CLEARED = "cleared"
    STARTED = "started"
    ISSUED = "issued"
    RECOVERED = "recovered"
    WORSE = "worse"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"
    REFUSED = "refused"
    TURNED_DOWN = "turned_down"
    PUT_OFF = "put_off"
    EXPIRED = "expired"
    VOID = "void"


class Step(StrEnum):
    """What can happen to it."""

    ALLOWED = "allowed"
    ASKED = "asked"
    DENIED = "denied"
    QUORUM = "quorum"
    TURNED_DOWN = "turned_down"
    PUT_OFF = "put_off"
    EXPIRED = "expired"
    VOIDED = "voided"
    STARTED = "started"
    ISSUED = "issued"
    REFUSED = "refused"
    FAILED = "failed"
    RECOVERED = "recovered"
    WORSE = "worse"
    IN_DOUBT = "in_doubt"
    LIFTED = "lifted"


TABLE: dict[tuple[State, Step], State] = {
    (State.MADE, Step.ALLOWED): State.CLEARED,
    (State.MADE, Step.ASKED): State.ASKING,
    (State.MADE, Step.DENIED): State.DENIED,
    (State.MADE, Step.VOIDED): State.VOID,
    # A person broke the glass: it is judged again, without the soft rules that were lifted.
    (State.DENIED, Step.LIFTED): State.MADE,
    (State.ASKING, Step.LIFTED): State.MADE,
    (State.ASKING, Step.QUORUM): State.CLEARED,
    (State.ASKING, Step.TURNED_DOWN): State.TURNED_DOWN,
    (State.ASKING, Step.PUT_OFF): State.PUT_OFF,
    (State.ASKING, Step.EXPIRED): State.EXPIRED,
    (State.ASKING, Step.VOIDED): State.VOID,
    (State.CLEARED, Step.VOIDED): State.VOID,
    (State.CLEARED, Step.EXPIRED): State.EXPIRED,
    (State.CLEARED, Step.REFUSED): State.REFUSED,
    (State.CLEARED, Step.STARTED): State.STARTED,
    # Judged again right before the effect, after *started* was made durable.
    (State.STARTED, Step.REFUSED): State.REFUSED,
    (State.STARTED, Step.FAILED): State.FAILED,
    (State.STARTED, Step.ISSUED): State.ISSUED,
    # After a crash, or a provider's time-out, only observation moves it on.
    (State.STARTED, Step.RECOVERED): State.RECOVERED,
    (State.STARTED, Step.WORSE): State.WORSE,
    (State.STARTED, Step.IN_DOUBT): State.IN_DOUBT,
    (State.ISSUED, Step.RECOVERED): State.RECOVERED,
    (State.ISSUED, Step.WORSE): State.WORSE,
    (State.ISSUED, Step.FAILED): State.FAILED,
    (State.ISSUED, Step.IN_DOUBT): State.IN_DOUBT,
}

BUSY = frozenset({State.MADE, State.ASKING, State.CLEARED, State.STARTED, State.ISSUED})
"""States in which a thread's last Proposal still waits, runs or is being verified."""

IN_HAND = frozenset({State.STARTED, State.ISSUED})
"""States in which an effect may be under way."""

BADLY = frozenset({State.FAILED, State.IN_DOUBT, State.WORSE})
"""States of an effect that ended, and not as it was meant to."""


def advance(state: State, step: Step) -> State:
    """The next state. Raises Bug for a pair that the table does not hold."""
    try:
        return TABLE[state, step]
    except KeyError:
        raise Bug(f"a proposal that is {state} cannot become {step}") from None
