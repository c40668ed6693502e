"""The index and CEL give the same answer, for conditions and facts of every shape."""

from __future__ import annotations

from typing import Any

from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from tests.properties.test_cel_agrees import compiled, facts_drawn, instants, truths

from watchkeeper.core.facts import FACTS, Facts
from watchkeeper.policy.expr import Condition, activate, evaluate
from watchkeeper.policy.index import index

NUMBERS = ["-1.5", "0.0", "0.5", "3.0", "1e300"]
WHOLES = ["-3", "0", "1", "8", "9223372036854775807"]
TIMES = ["0s", "30s", "1.5s", "0.000001s", "0.0000001s", "5m", "1h", "1h30m", "-5m"]
TEXTS = ["", "a", "alive", "train", "train-01", "ß", "agent:remediation"]
CALLS = ["startsWith", "endsWith", "contains"]

pick = st.sampled_from


def of(kind: str) -> st.SearchStrategy[str]:
    return pick(
        [name for name, fact in FACTS.items() if fact.type == kind and "node" in fact.scopes]
    )


def compared(kind: str, values: list[str]) -> st.SearchStrategy[str]:
    """A fact and a written value, on either side."""
    sides = st.tuples(of(kind), pick(["<", "<=", ">", ">=", "==", "!="]), pick(values))
    return st.one_of(
        sides.map(lambda x: f"{x[0]} {x[1]} {x[2]}"), sides.map(lambda x: f"{x[2]} {x[1]} {x[0]}")
    )


text = pick(TEXTS).map(lambda said: f'"{said}"')
atoms = st.one_of(
    compared("double", NUMBERS),
    compared("int", WHOLES),
    compared("duration", [f'duration("{time}")' for time in TIMES]),
    compared("string", [f'"{said}"' for said in TEXTS]),
    of("bool"),
    st.tuples(of("bool"), pick(["==", "!="]), pick(["true", "false"])).map(" ".join),
    st.tuples(of("string"), st.lists(text, min_size=1, max_size=3)).map(
        lambda x: f"{x[0]} in [{', '.join(x[1])}]"
    ),
    st.tuples(of("int"), pick(["[1, 8]", "[0]"])).map(" in ".join),
    st.tuples(text, pick(["node.labels", "impact.tenants"])).map(" in ".join),
    st.tuples(of("string"), pick(CALLS), text).map(lambda x: f"{x[0]}.{x[1]}({x[2]})"),
    pick(["true", "false", "now.getHours() > 11", "size(node.name) > 3"]),
)
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, pick(["&&", "||"]), inner).map(lambda x: f"({x[0]} {x[1]} {x[2]})"),
        inner.map(lambda said: f"!({said})"),
    ),
    max_leaves=6,
)
STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    pick(["", "a\0", "x" * 300, "x" * 1100, "\ud800", "ß", "train-01"]),
    pick([{}, {"a": "\0"}, {"a": 1}, {f"k{i}": "v" for i in range(70)}, ["\0"], [1], ["a"] * 70]),
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(conditions, min_size=1, max_size=6),
    facts_drawn,
    st.dictionaries(pick(sorted(FACTS)), STRANGE, max_size=2),
    instants,
)
@example(["!(impact.gpus < 1.0)"], {"impact.gpus": 1.0}, {"impact.gpus": float("nan")}, None)
def test_what_the_index_tells_is_what_cel_says(
    drawn: list[str], facts: Facts, strange: dict[str, Any], now: Any
) -> None:
    agree(drawn, {**facts, **strange}, now)


@settings(max_examples=100, deadline=None)
@given(st.lists(truths(2), min_size=1, max_size=4), facts_drawn, instants)
def test_of_conditions_of_any_shape_it_tells_those_it_can(
    drawn: list[str], facts: Facts, now: Any
) -> None:
    agree(drawn, facts, now)


def agree(drawn: list[str], facts: dict[str, Any], now: Any) -> None:
    every = [compiled(text) for text in drawn]
    told: list[Condition] = [c for c in every if c.clauses is not None]
    event(f"told: {len(told) > 0}")
    held = index(c.clauses for c in told if c.clauses is not None).holding(facts)
    event(f"answered: {held is not None}")
    if held is None:
        return  # the judge asks CEL, rule by rule
    names = frozenset[str]().union(*(c.names for c in told))
    activation = activate(facts, names, now)
    answers = [evaluate(c, activation) for c in told]
    assert [a.error for a in answers] == [""] * len(told), drawn
    assert sorted(held) == [at for at, a in enumerate(answers) if a.holds], drawn


def test_most_plain_conditions_are_told_by_the_index() -> None:
    shapes = [
        "node.gpus > 4",
        'node.ray_state == "dead" && node.process_gone',
        '!incident.approved && !(node.ray_state == "dead" && node.process_gone)',
        'node.pool in ["train", "serve"] || proposal.by.startsWith("person:")',
        '"reserved-for" in node.labels',
        'evidence.age < duration("5m")',
        "0.5 <= incident.confidence",
    ]
    assert [shape for shape in shapes if compiled(shape).clauses is None] == []


def test_what_needs_more_than_logic_is_left_to_cel() -> None:
    shapes = [
        'node.labels["a"] == "b"',
        "node.gpus / 2 > 1",
        "now.getHours() < 6",
        "node.fenced ? true : false",
        'node.name.matches("a|b")',
        "node.gpus > node.repairs_7d",
        'evidence.age < duration("1h30m")',
    ]
    assert [shape for shape in shapes if compiled(shape).clauses is not None] == []
