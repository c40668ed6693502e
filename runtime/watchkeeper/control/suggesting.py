"""An assistant from outside suggests a step: it is judged like any other, and a person decides.

It signs as `agent:mcp/NAME`, has no account, and its suggestion never runs without an approval,
wherever the dial stands (`gate.orders_for`). What it may cite is an incident that there is.
"""

from __future__ import annotations

from collections.abc import Callable

from watchkeeper.control.gate import EXTERNAL
from watchkeeper.control.reserving import Wish, outcome_of
from watchkeeper.control.watch import Watch
from watchkeeper.core.action import Action, is_name, kind_of, say, traits_of
from watchkeeper.core.desk import Person
from watchkeeper.core.errors import Refused
from watchkeeper.remedy.precondition import unmet

MOST_AN_HOUR = 20
"""Suggestions of all assistants together: each may wake a person."""
MOST_REASON = 300


def suggest(
    watch: Watch,
    wake: Callable[[], None],
    name: str,
    action: Action,
    reason: str,
    incident: str = "",
) -> Wish:
    """Leave it for the turn and wait until it is judged. Raises Refused with what stands against
    it; then nothing was asked."""
    if not is_name(name):
        raise Refused("An assistant needs one plain name.")
    kind = kind_of(action)
    if not traits_of(action).changes or kind not in watch.serves:
        raise Refused(f"{kind} cannot be suggested here: no provider serves it.")
    with watch.record.lock:
        if watch.latest is None:
            raise Refused("The cluster was not read yet; wait for the first turn.")
        if why := unmet(action, watch.latest):
            raise Refused(f"{say(action)}: {why}")
        if incident and incident not in watch.record.books.incidents:
            raise Refused(f"There is no incident {incident}.")
        since = watch.clock.steady() - 3600.0
        asked = [
            f
            for f in watch.record.books.files.values()
            if f.proposal.by.startswith(EXTERNAL) and f.changed_steady >= since
        ]
        if len(asked) >= MOST_AN_HOUR:
            raise Refused(f"{MOST_AN_HOUR} suggestions came within the hour. Try again later.")
        if any(f.busy and f.action == action for f in asked):
            raise Refused("The same waits for an answer already.")
        said = " ".join(reason.split())[:MOST_REASON]
        text = f"An assistant ({name}) suggests it" + (f", saying: {said}" if said else ".")
        left = Wish(action, Person(name=name), text, by=f"{EXTERNAL}{name}", incident=incident)
        watch.wishes.append(left)
    wake()
    return outcome_of(watch, left)
