"""Variables and lists: written once, meant in many conditions, and every fault placed where the
author wrote it."""

# ruff: noqa: E501  (tables read best one case a line)

from __future__ import annotations

import json

import pytest
from tests.core.policy_case import HEAD, NIGHT, PEOPLE, Given, nodes, policy

from watchkeeper.core.action import PoolScale
from watchkeeper.core.errors import PolicyError, Problem
from watchkeeper.core.verdict import Decision
from watchkeeper.policy.load import load
from watchkeeper.policy.reuse import as_literal, expand, uses_in, written_out

LONG = 16_384


def matches(condition: str, rest: str, given: Given | None = None) -> bool:
    """Does a rule with this condition match?"""
    rule = (
        f"  - id: a\n    effect: allow\n    actions: [node.drain]\n    when: |\n      {condition}\n"
    )
    return (given or Given()).judged(policy(rule, rest=rest)).decision is Decision.ALLOW


def problems(rest: str, condition: str = "", actions: str = "node.drain") -> list[Problem]:
    when = f"    when: {condition}\n" if condition else ""
    rule = f"rules:\n  - id: a\n    effect: allow\n    actions: [{actions}]\n{when}"
    with pytest.raises(PolicyError) as caught:
        load({"policies/t.yaml": HEAD + PEOPLE + rule + rest}, NIGHT)
    return list(caught.value.problems)


LABELS = 'variables: {mine: \'"a" in node.labels && node.labels["a"] in list.teams\'}\nlists: {teams: [blue, red]}\n'
BLUE = Given(nodes=nodes(train_01={"labels": {"a": "blue"}}))
GREEN = Given(nodes=nodes(train_01={"labels": {"a": "green"}}))


@pytest.mark.parametrize(
    ("condition", "rest", "given", "true"),
    [
        ("var.big", "variables: {big: node.gpus > 4}\n", Given(), True),
        ("!var.big", "variables: {big: node.gpus > 4}\n", Given(), False),
        ("var.n > 4", "variables: {n: node.gpus}\n", Given(), True),
        ("2 * var.n == 20", "variables: {n: node.gpus + 2}\n", Given(), True),
        ("var.a && node.gpus > 1", 'variables: {a: "false || true"}\n', Given(), True),
        ("node.pool in list.ours", "lists: {ours: [train, spot]}\n", Given(), True),
        ("node.pool in list.ours", "lists: {ours: [spot]}\n", Given(), False),
        ("list.ours.exists(x, x == node.pool)", "lists: {ours: [spot, train]}\n", Given(), True),
        ("size(list.ours) == 2", "lists: {ours: [spot, train]}\n", Given(), True),
        ("var.mine", LABELS, BLUE, True),
        ("var.mine", LABELS, GREEN, False),
        ("var.mine", LABELS, Given(), False),
        ("var.c", "variables: {c: var.b || var.a, b: var.a && false, a: node.gpus > 4}\n", Given(), True),
        ("var.a && node.gpus == 8", "variables: {a: 'node.gpus > 4 // big ones'}\n", Given(), True),
        ("node.gpus == 8 && var.a", "variables:\n  a: |\n    node.gpus > 4  // big\n    && true\n", Given(), True),
    ],
    ids=[
        "a condition", "its contrary", "a number", "its own brackets", "operators inside keep to themselves",
        "a list with it", "a list without it", "a list in a loop", "the size of a list",
        "a guard inside a variable", "a guard that fails", "a label that is not there",
        "variables in variables, in any order", "a comment inside ends with it", "several lines inside",
    ],
)  # fmt: skip
def test_a_name_means_what_it_stands_for(
    condition: str, rest: str, given: Given, true: bool
) -> None:
    assert matches(condition, rest, given) is true


@pytest.mark.parametrize(
    "text",
    [
        "'var.big' == node.pool",
        '"var.big" == node.pool',
        "'it''s' == 'x' || 'var.big' == node.pool",
        r"'\'var.big' == node.pool",
        r"r'\' == 'x' || '' == 'var.big'",
        r'r"\" == "x" || "" == "var.big"',
        "'''var.big''' == node.pool",
        '"""a "quoted" var.big""" == node.pool',
        r'"""\""" var.big""" == node.pool',
        "b'var.big' == b''",
        "true // var.big is meant another day",
        "node.var.big",
        "node_var.big",
        "myvar.big",
    ],
)
def test_what_stands_in_a_text_a_comment_or_another_name_is_no_use(text: str) -> None:
    assert list(uses_in(text)) == []
    assert expand(text, lambda _: "X").text == text


@pytest.mark.parametrize(
    ("text", "uses"),
    [
        ("var.a", ["var.a"]),
        ("!var.a&&(list.b)", ["var.a", "list.b"]),
        (r"r'\' == var.a", ["var.a"]),
        (r"'\\' == var.a", ["var.a"]),
        ("'x' // c\n&& var.a", ["var.a"]),
        ("'x'+var.a+'y'", ["var.a"]),
        ("list.b.exists(x, x == var.a)", ["list.b", "var.a"]),
    ],
)
def test_every_use_is_found_where_it_stands(text: str, uses: list[str]) -> None:
    found = list(uses_in(text))
    assert [text[u.at : u.end] for u in found] == uses


@pytest.mark.parametrize(
    "word", ["plain", 'a "quoted" one', "a\\b", "tab\there", "äöü", "\U0001f680"]
)
def test_a_word_of_a_list_is_that_word_and_no_code(word: str) -> None:
    rest = f"lists: {{ours: [{json.dumps(word, ensure_ascii=False)}]}}\n"
    given = Given(nodes=nodes(train_01={"labels": {"a": word}}))
    assert matches('"a" in node.labels && node.labels["a"] in list.ours', rest, given)
    assert not matches('"a" in node.labels && node.labels["a"] in list.ours', rest, GREEN)


def test_a_word_cannot_break_out_of_its_list() -> None:
    rest = """lists: {ours: ['x"] || true || "y" in ["y']}\n"""
    assert not matches("node.pool in list.ours", rest)


def test_an_offset_is_carried_back_to_what_the_author_wrote() -> None:
    text = "1 + var.a + list.b + 2"
    out = expand(text, lambda u: "(long text)" if u.what == "var" else "[]")
    assert out.text == "1 + (long text) + [] + 2"
    back = [out.origin_of(i) for i in range(len(out.text))]
    assert back == [*range(4), *[4] * 11, *range(9, 12), *[12] * 2, *range(18, 22)]


# Faults, and where they are told. The rule's `when` is on line 9, from column 11.

FAULTS = [
    ("an unknown variable", "variables: {big: node.gpus > 4}\n", "var.bigg && true", 9, 11, "no variable is called 'bigg'", "var.big"),
    ("an unknown list", "lists: {ours: [a]}\n", "node.pool in list.our", 9, 24, "no list is called 'our'", "list.ours"),
    ("in a quoted text", "variables: {big: node.gpus > 4}\n", '"true && var.bigg"', 9, 20, "no variable", "var.big"),
    ("in a block", "variables: {big: node.gpus > 4}\n", "|\n      var.big &&\n        var.bigg", 11, 9, "no variable", "var.big"),
    ("after a variable", "variables: {big: node.gpus > 4}\n", "var.big && node.pol == 'x'", 9, 22, "'node.pol' is not a declared fact", "node.pool"),
    ("after a list", "lists: {ours: [a, b, c]}\n", "node.pool in list.ours && node.gpu > 1", 9, 37, "'node.gpu' is not a declared fact", "node.gpus"),
    ("after a variable of several lines, in a block", "variables:\n  big: |\n    node.gpus > 4\n    && true\n", "|\n      var.big &&\n      node.pol == 'x'", 11, 7, "'node.pol'", "node.pool"),
    ("a wrong type through a variable", "variables: {n: node.gpus}\n", "var.n == 'x'", 9, 17, "does not take (int, string)", ""),
    ("a variable that is no condition", "variables: {n: node.gpus}\n", "var.n", 9, 11, "type int", ""),
    ("an index without a guard after a variable", "variables: {big: node.gpus > 4}\n", "var.big && node.labels['a'] == 'b'", 9, 33, '"a" in node.labels', ""),
    ("an index without a guard in a variable", "variables: {team: 'node.labels[\"a\"]'}\n", "true && var.team == 'b'", 9, 19, '"a" in node.labels', ""),
    ("in the variable itself", "variables: {big: node.gpuss > 4}\n", "", 9, 18, "'node.gpuss' is not a declared fact", "node.gpus"),
    ("a list of things that are no words", "lists: {ours: [[a]]}\n", "", 9, 16, "must be a single value", ""),
    ("a name that cannot stand in a condition", "variables: {big-one: node.gpus > 4}\n", "", 9, 13, "is not a plain name", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rest", "condition", "line", "column", "piece", "nearest"),
    [row[1:] for row in FAULTS],
    ids=[row[0] for row in FAULTS],
)
def test_a_fault_is_told_where_the_author_wrote_it(
    rest: str, condition: str, line: int, column: int, piece: str, nearest: str
) -> None:
    found = problems(rest, condition)
    assert any(
        (p.line, p.column) == (line, column) and piece in p.message and p.suggestion == nearest
        for p in found
    ), "\n".join(map(str, found))


def test_a_mistake_in_a_variable_is_told_once_however_often_it_is_used() -> None:
    found = problems("variables: {a: node.pol == 'x', b: var.a && true}\n", "var.a || var.b")
    assert [p.message for p in found] == ["'node.pol' is not a declared fact"]


def test_a_variable_with_an_unknown_name_inside_is_told_once() -> None:
    found = problems("variables: {a: var.c, b: '!var.a'}\n", "var.a || var.b")
    assert [p.message for p in found] == ["no variable is called 'c'"]


def test_a_rule_uses_through_a_variable_only_what_all_its_actions_have() -> None:
    found = problems(
        "variables: {big: node.gpus > 4}\n", "true && var.big", "node.drain, pool.scale"
    )
    assert [(p.line, p.column) for p in found] == [(9, 19)]
    assert "node.gpus is not a fact of pool.scale" in found[0].message


def test_a_variable_may_be_of_use_to_some_actions_only() -> None:
    rules = "  - {id: a, effect: allow, actions: [node.drain], when: var.big}\n  - {id: b, effect: allow, actions: [pool.scale], when: scale.add < 2}\n"
    checked = policy(rules, rest="variables: {big: node.gpus > 4}\n")
    assert Given().judged(checked).decision is Decision.ALLOW
    grow = Given(action=PoolScale(pool="train", add=1))
    assert grow.judged(checked).decision is Decision.ALLOW


def test_names_are_shared_by_all_files_and_written_once() -> None:
    rule = "rules:\n  - {id: a, effect: allow, actions: [node.drain], when: var.big}\n"
    both = {
        "policies/a.yaml": HEAD + PEOPLE + rule,
        "policies/b.yaml": HEAD + "variables: {big: node.gpus > 4}\n",
    }
    assert Given().judged(load(both, NIGHT)).decision is Decision.ALLOW
    for section in ("variables: {big: node.gpus > 4}\n", "lists: {big: [x]}\n"):
        twice = {n: HEAD + PEOPLE[: PEOPLE.index("people")] + section for n in ("a", "b")}
        with pytest.raises(PolicyError, match=r"'big' is defined twice; first at a:\d"):
            load(twice, NIGHT)


@pytest.mark.parametrize(
    ("variables", "circles"),
    [
        ({"a": "var.a"}, {"a"}),
        ({"a": "var.b", "b": "var.a"}, {"a", "b"}),
        ({"a": "var.b", "b": "var.c", "c": "var.a && true", "d": "true"}, {"a", "b", "c"}),
        ({"out": "var.a", "a": "var.b", "b": "var.a", "in": "true", "x": "var.in"}, {"a", "b"}),
        ({"a": "node.gpus > 4"}, set()),
    ],
    ids=["itself", "two", "three", "what only leads to a circle is none", "none"],
)
def test_a_circle_is_told_at_every_name_in_it_and_nowhere_else(
    variables: dict[str, str], circles: set[str]
) -> None:
    assert written_out(variables, {}, LONG).circles == circles
    rest = "variables:\n" + "".join(f"  {n}: '{t}'\n" for n, t in variables.items())
    if circles:
        found = problems(rest, f"var.{next(iter(variables))}")
        assert {p.offending for p in found} == circles
        assert all("stands for itself" in p.message for p in found)
    else:
        assert matches("var.a", rest)


def test_a_few_short_lines_cannot_fill_the_memory() -> None:
    rows = ["  v0: node.gpus > 4"] + [f"  v{i}: var.v{i - 1} && var.v{i - 1}" for i in range(1, 60)]
    found = problems("variables:\n" + "\n".join(rows) + "\n", "var.v59")
    assert len(found) == 1
    assert "is longer than 16384 characters once written out" in found[0].message


def test_a_list_too_long_to_stand_in_any_condition_is_told_at_the_list() -> None:
    words = ", ".join(f"word{i}" for i in range(3000))
    found = problems(f"lists: {{ours: [{words}]}}\n", "node.pool in list.ours")
    assert [(p.line, p.offending) for p in found] == [(10, "ours")]


@pytest.mark.parametrize("backwards", [False, True], ids=["inner first", "outer first"])
def test_a_long_chain_of_variables_is_no_trap(backwards: bool) -> None:
    rows = ["  v0: node.gpus > 4"] + [f"  v{i}: var.v{i - 1}" for i in range(1, 3000)]
    rows = rows[::-1] if backwards else rows
    found = problems("variables:\n" + "\n".join(rows) + "\n", "var.v2999")
    assert found, "too deep for a condition, and said so"
    assert all(p.message for p in found)


def test_the_words_of_a_list_are_written_as_the_language_writes_texts() -> None:
    assert as_literal(("a", 'b"c')) == '["a", "b\\"c"]'
    assert as_literal(()) == "[]"


def test_a_condition_may_be_no_longer_than_it_was_without_names() -> None:
    found = problems("variables: {a: node.gpus > 4}\n", " || ".join(["var.a"] * 250))
    assert "a condition may have 2048 characters" in found[0].message
