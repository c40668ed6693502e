"""The correlator's book is kept from turn to turn: caught up with the incidents as they are now, it
finds the same as one that is made of them."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.core import sick_cluster as c

from watchkeeper.core.cluster import World
from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import Incident, IncidentState
from watchkeeper.health.book import Book, members

NODES, GANGS = ("w1", "w2", "w3"), ("g", "h")


@st.composite
def incidents(draw: st.DrawFn, ident: str) -> Incident:
    """An incident of a node, of a gang, or of a domain of nodes."""
    fault = draw(st.sampled_from([Fault.NODE_LOST, Fault.GPU_OFF_BUS, Fault.DOMAIN_DOWN]))
    of_domain = fault is Fault.DOMAIN_DOWN
    named = draw(st.sets(st.sampled_from(NODES))) if of_domain else ()
    return Incident(
        id=ident,
        target=f"rack:{ident}",
        fault=fault,
        title="t",
        state=draw(st.sampled_from(IncidentState)),
        opened_at=c.ago(draw(st.integers(1, 3))),
        updated_at=c.ago(0),
        world=World.TWIN,
        confidence=0.9,
        node="" if of_domain else draw(st.sampled_from(("", *NODES))),
        jobs=tuple(sorted(draw(st.sets(st.sampled_from(GANGS))))),
        signals=tuple(c.xid(79, f"{name}/1") for name in sorted(named)),
    )


@st.composite
def turns(draw: st.DrawFn) -> list[tuple[list[Incident], list[Incident]]]:
    """Turn by turn: the incidents as the record has them, and what the correlator writes."""
    now: dict[str, Incident] = {}
    played, ids = [], 0
    for _ in range(draw(st.integers(1, 5))):
        for ident in (
            draw(st.lists(st.sampled_from(sorted(now)), max_size=2, unique=True)) if now else ()
        ):
            match draw(st.sampled_from(["state", "anew", "forgotten"])):
                case "state":
                    state = draw(st.sampled_from(IncidentState))
                    now[ident] = replace(now[ident], state=state)
                case "anew":
                    now[ident] = draw(incidents(ident))
                case _ if len(now) > 1:
                    now = {i: was for i, was in now.items() if i != ident}
        before = list(now.values())
        written = []
        for _ in range(draw(st.integers(0, 3))):
            ids += 1
            again = draw(st.booleans()) and bool(now)
            ident = draw(st.sampled_from(sorted(now))) if again else f"INC-{ids}"
            written.append(draw(incidents(ident)))
            if draw(st.integers(0, 3)):  # what is the same but for its time is not recorded
                now[ident] = written[-1]
        played.append((before, written))
    return played


def found(book: Book) -> dict[str, Any]:
    return {
        "all": list(book.items()),
        "on": {name: book.on(name) for name in NODES},
        "of": {name: book.of_job(name) for name in GANGS},
        "domain": {name: book.domain_of(name) for name in NODES},
        "unresolved": book.unresolved(),
    }


@settings(max_examples=60, deadline=None)
@given(turns())
def test_a_kept_book_finds_what_a_new_one_finds(
    played: list[tuple[list[Incident], list[Incident]]],
) -> None:
    book = Book(())
    for before, written in played:
        book, new = book.caught_up(before), Book(before)
        assert found(book) == found(new)
        for incident in written:
            book.write(incident)
            new.write(incident)
        assert found(book) == found(new)


def test_a_book_in_which_only_states_changed_is_not_made_anew() -> None:
    ill = replace(_one(), state=IncidentState.OPEN)
    book = Book((ill,))
    well = replace(ill, state=IncidentState.RESOLVED)
    later = replace(_one(), id="INC-2")
    assert book.caught_up((well, later)) is book
    assert (book.unresolved(), members(ill)) == ([later], frozenset())


def _one() -> Incident:
    return Incident(
        id="INC-1", target="node:w1", fault=Fault.NODE_LOST, title="t", state=IncidentState.OPEN,
        opened_at=c.ago(1), updated_at=c.ago(0), world=World.TWIN, confidence=0.9, node="w1",
    )  # fmt: skip
