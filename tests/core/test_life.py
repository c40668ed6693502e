"""The life of a Proposal, drawn: every pair that is listed, and every other pair refused."""

import itertools

import pytest

from watchkeeper.control.life import BUSY, IN_HAND, TABLE, State, Step, advance
from watchkeeper.core.errors import Bug

DRAWN = """
made     --allowed-->     cleared
made     --asked-->       asking
made     --denied-->      denied
made     --voided-->      void
denied   --lifted-->      made
asking   --lifted-->      made
asking   --quorum-->      cleared
asking   --turned_down--> turned_down
asking   --put_off-->     put_off
asking   --expired-->     expired
asking   --voided-->      void
cleared  --voided-->      void
cleared  --expired-->     expired
cleared  --refused-->     refused
cleared  --started-->     started
started  --refused-->     refused
started  --failed-->      failed
started  --issued-->      issued
started  --recovered-->   recovered
started  --worse-->       worse
started  --in_doubt-->    in_doubt
issued   --recovered-->   recovered
issued   --worse-->       worse
issued   --failed-->      failed
issued   --in_doubt-->    in_doubt
"""
ARROWS = {
    (State(line.split()[0]), Step(line.split()[1].strip("->"))): State(line.split()[2])
    for line in DRAWN.strip().splitlines()
}
OTHERS = [pair for pair in itertools.product(State, Step) if pair not in ARROWS]


@pytest.mark.parametrize(("pair", "to"), ARROWS.items(), ids=lambda v: "-".join(v) if v else "")
def test_it_moves_as_drawn(pair: tuple[State, Step], to: State) -> None:
    assert advance(*pair) is to


def test_the_drawing_is_the_whole_table() -> None:
    assert ARROWS == TABLE


@pytest.mark.parametrize("pair", OTHERS, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def test_every_other_pair_is_refused(pair: tuple[State, Step]) -> None:
    with pytest.raises(Bug, match=f"that is {pair[0]} cannot become {pair[1]}"):
        advance(*pair)


def test_what_is_busy_can_still_move_and_what_has_ended_only_by_break_glass() -> None:
    assert {state for state, step in TABLE if step is not Step.LIFTED} == BUSY


def test_an_effect_may_be_under_way_only_from_started_on() -> None:
    assert {State.STARTED, State.ISSUED} == IN_HAND
    into = {state for (state, _), to in TABLE.items() if to is State.STARTED}
    assert into == {State.CLEARED}, "nothing starts that was not cleared"


def test_nothing_that_was_started_can_be_started_again() -> None:
    after = {State.STARTED}
    for _ in State:
        after |= {to for (state, _), to in TABLE.items() if state in after}
    assert not {State.MADE, State.ASKING, State.CLEARED} & after
