"""ONE TURN of the watch. Start reading here.

Everything that this product does to a cluster happens in `turn`, in this order. Each step is a
function of its own; what may act is behind `act`, and it looks and judges again before it does.
"""

from __future__ import annotations

from watchkeeper.control.adrift import look_after
from watchkeeper.control.amend import ask_what_was_amended
from watchkeeper.control.barred import tell_if_barred
from watchkeeper.control.brief import ask_the_crew, conclude
from watchkeeper.control.halting import halt_if_too_many_are_ill
from watchkeeper.control.keep import end_stale_questions, keep_orders, know_the_session, publish
from watchkeeper.control.metering import meter
from watchkeeper.control.propose import (
    act,
    ask_people_if_told_to,
    judge_it,
    judge_what_was_lifted,
    propose,
)
from watchkeeper.control.reserving import propose_what_people_wish
from watchkeeper.control.think import say_blind, think
from watchkeeper.control.verify import verify
from watchkeeper.control.watch import Watch


def turn(watch: Watch) -> None:
    """Look, think, ask the crew, judge, ask people, act, verify, record. Once."""
    snapshot = watch.looker.look()
    if snapshot is None:
        say_blind(watch)
        return
    keep_orders(watch)
    know_the_session(watch, snapshot)
    think(watch, snapshot)
    halt_if_too_many_are_ill(watch, snapshot)
    verify(watch.record, watch.executor, watch.teller, snapshot)
    look_after(watch.record, watch.executor, watch.teller, snapshot)
    end_stale_questions(watch, snapshot)
    judge_what_was_lifted(watch, snapshot)
    ask_what_was_amended(watch, snapshot)
    propose_what_people_wish(watch, snapshot)
    reply = ask_the_crew(watch, snapshot)
    for draft in reply.drafts:
        proposal = propose(watch, snapshot, draft)
        if proposal is not None:
            verdict = judge_it(watch, snapshot, proposal)
            ask_people_if_told_to(watch, snapshot, proposal, verdict)
            tell_if_barred(watch, proposal, verdict)
    conclude(watch, reply)
    act(watch, snapshot)
    meter(watch, snapshot)
    watch.traces.take(snapshot)
    publish(watch, snapshot)
