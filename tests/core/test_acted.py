"""The effects of the past are kept from verdict to verdict as columns: they say what a plain walk
over the books says, whatever began, ended or was let go of in between."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.test_ledger import DAY_S, HEAD, NEAR, OPEN, Past, far

from watchkeeper.control import acted, folding
from watchkeeper.control.acted import Acted
from watchkeeper.control.books import Books
from watchkeeper.control.folding import LEDGER_S
from watchkeeper.control.life import State
from watchkeeper.control.past import ledger_of, past_effects
from watchkeeper.core.event import Kind
from watchkeeper.core.impact import simulate
from watchkeeper.policy.load import load

COUNTS = "budgets: [{id: b, actions: [node.drain], per: rack, every: 7d, disruptions: 9}]\n"
Said = tuple[str, str, float, bool, tuple[str, ...]]

BEGIN = st.tuples(
    st.just("begin"),
    st.integers(1, 6),
    st.sampled_from(["", "recovered", "failed", "refused"]),
    st.sampled_from([("pool:far",), ("pool:train",), ("pool:far", "rack:train-r1"), ()]),
)
STEPS = st.lists(
    BEGIN
    | st.tuples(st.just("end"), st.integers(0, 9))
    | st.tuples(st.just("pass"), st.sampled_from([0.25, 3600.0, DAY_S, 20 * DAY_S]))
    | st.tuples(st.just("let go"), st.integers(0, 9))
    | st.tuples(st.just("look")),
    max_size=25,
)


def plainly(books: Books, steady: float) -> list[Said]:
    """The same, one file after another."""
    found = []
    for ident in reversed(books.acted):
        file = books.files[ident]
        if file.effect is None or file.state is State.REFUSED:
            continue
        age_s = steady - file.effect.started_steady
        if file.in_hand or age_s <= LEDGER_S:
            target = f"node:{getattr(file.action, 'node', '')}"
            found.append((ident, target, round(age_s, 3), file.in_hand, file.effect.domains))
    return found


def do(told: Past, step: tuple[object, ...]) -> None:
    books, files = told.books, told.books.files
    match step:
        case ("begin", int(node), str(ends), tuple(domains)):
            told.effect(far(node), ends=ends, domains=domains)  # type: ignore[arg-type]
        case ("pass", float(seconds)):
            told.clock.pass_s(seconds)
        case ("end", int(i)) if under_way := [f for f in files.values() if f.in_hand]:
            ident = under_way[i % len(under_way)].proposal.id
            told._write(Kind.EFFECT_FINISHED, proposal=ident, result="in_doubt")
        case ("let go", int(i)) if ended := [f for f in files.values() if not f.busy]:
            proposal = ended[i % len(ended)].proposal
            del files[proposal.id]
            folding._let_go(books, proposal)
        case _:
            past_effects(books, told.clock.steady())


@pytest.fixture(scope="module")
def few_void_rows() -> Iterator[None]:
    """So that the columns are made anew now and then."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(acted, "MOST_VOID", 2)
        yield


@pytest.mark.usefixtures("few_void_rows")
@settings(max_examples=30, deadline=None)
@given(steps=STEPS)
def test_what_is_kept_is_what_a_walk_over_the_books_finds(steps: list[tuple[object, ...]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        told = Past(patch)
        for step in steps:
            do(told, step)
            steady = told.clock.steady()
            kept = past_effects(told.books, steady)
            said = [(e.proposal, e.target, e.age_s, e.open, e.domains) for e in kept]
            assert said == plainly(told.books, steady)


@pytest.mark.usefixtures("few_void_rows")
@settings(max_examples=10, deadline=None)
@given(steps=STEPS)
def test_a_verdict_is_shown_the_same_of_kept_columns_as_of_new_ones(
    steps: list[tuple[object, ...]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        told = Past(patch)
        snapshot, mine = told.snapshot(), told.proposal(NEAR)
        policy = load({"policies/p.yaml": HEAD + COUNTS + OPEN}, told.clock.policy_now())
        impact = simulate(snapshot, NEAR)
        for step in steps:
            do(told, step)
            kept = ledger_of(told.books, snapshot, mine, impact, policy)
            told.books.effects, before = Acted(), told.books.effects
            assert ledger_of(told.books, snapshot, mine, impact, policy) == kept
            told.books.effects = before
