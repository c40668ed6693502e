"""ONE TURN of the watch. Start reading here.

Everything that this product does to a cluster happens in `turn`, in this order. Each step is a
function of its own; what may act is behind `act`, and it looks and judges again before it does.
"""

from __future__ import annotations

from watchkeeper.control import steps
from watchkeeper.control.verify import verify
from watchkeeper.control.watch import Watch


def turn(watch: Watch) -> None:
    """Look, think, ask the crew, judge, ask people, act, verify, record. Once."""
    snapshot = watch.looker.look()
    if snapshot is None:
        steps.say_blind(watch)
        return
    steps.keep_orders(watch)
    steps.know_the_session(watch, snapshot)
    steps.think(watch, snapshot)
    steps.halt_if_too_many_are_ill(watch, snapshot)
    verify(watch.record, watch.executor, watch.teller, snapshot)
    steps.end_stale_questions(watch, snapshot)
    reply = steps.ask_the_crew(watch, snapshot)
    for draft in reply.drafts:
        proposal = steps.propose(watch, snapshot, draft)
        if proposal is not None:
            verdict = steps.judge_it(watch, snapshot, proposal)
            steps.ask_people_if_told_to(watch, snapshot, proposal, verdict)
    steps.conclude(watch, reply)
    steps.act(watch, snapshot)
    steps.publish(watch, snapshot)
