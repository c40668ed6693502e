"""Mistakes in policy files: every one is reported, with its place, its text and the right word."""

# ruff: noqa: E501  (the table reads best one case a line)

from __future__ import annotations

import pytest
from tests.core.policy_case import HEAD, NIGHT, PEOPLE, policy

from watchkeeper.core.errors import PolicyError, Problem
from watchkeeper.core.verdict import Decision
from watchkeeper.policy.check import report
from watchkeeper.policy.load import CHANGING, load

NIGHT_WINDOW = 'windows:\n  night: {days: [mon], from: "22:00", to: "06:00", tz: Europe/Berlin}\n'
RULE = "rules:\n  - {id: a, effect: allow, actions: [node.drain]}\n"
BODY = HEAD + PEOPLE


def problems(text: str, name: str = "policies/t.yaml") -> tuple[Problem, ...]:
    with pytest.raises(PolicyError) as caught:
        load({name: text}, NIGHT)
    return caught.value.problems


def rule(tail: str) -> str:
    return BODY + f"rules:\n  - id: a\n    effect: allow\n    actions: [node.drain]\n{tail}"


# what, text, line, column, a piece of the message, the nearest valid word
MISTAKES: list[tuple[str, str, int, int, str, str]] = [
    ("an unknown key", rule("    durring: night\n"), 9, 5, "no key 'durring'", "during"),
    ("a duplicate key", rule("    effect: deny\n"), 9, 5, "stands twice; first on line 7", ""),
    ("a kind that is none", BODY + "rules:\n  - {id: a, effect: allow, actions: [node.drian]}\n", 6, 38, "cannot be 'node.drian'", "node.drain"),
    ("an effect that is none", BODY + "rules:\n  - {id: a, effect: alow, actions: [node.drain]}\n", 6, 21, "not 'alow'", "allow"),
    ("an unknown window", NIGHT_WINDOW.join([BODY, ""]) + "rules:\n  - {id: a, effect: allow, actions: [node.drain], during: nite}\n", 8, 59, "no window is called 'nite'", "night"),
    ("an unknown group", BODY + "rules:\n  - {id: a, effect: ask, actions: [node.drain], approvals: {from: [group:onkall]}}\n", 6, 68, "no group is called 'onkall'", "oncall"),
    ("an unknown fact", rule("    when: node.pol == 'x'\n"), 9, 11, "'node.pol' is not a declared fact", "node.pool"),
    ("an unknown fact in a quoted text", rule("    when: 'node.pol == \"x\"'\n"), 9, 12, "is not a declared fact", "node.pool"),
    ("an unknown fact in a block", rule("    when: |\n      node.pool == 'x' &&\n        node.gpu > 3\n"), 11, 9, "'node.gpu' is not a declared fact", "node.gpus"),
    ("a whole number beside a double", rule("    when: incident.confidence > 1\n"), 9, 31, "write 1.0", ""),
    ("a bare duration", rule("    when: node.silent_for > 5m\n"), 9, 30, 'duration("5m")', ""),
    ("a duration that is none", rule("    when: node.silent_for > duration('5 min')\n"), 9, 38, "duration(", ""),
    ("a zone that is none", rule("    when: now.getHours('Europe/Berln') < 5\n"), 9, 24, "Invalid timezone", ""),
    ("a condition that is no yes or no", rule("    when: node.gpus\n"), 9, 11, "type int", ""),
    ("a condition that never matches", rule("    when: 'false'\n"), 9, 12, "always false", ""),
    ("an index without a guard", rule("    when: node.labels['a'] == 'b'\n"), 9, 22, '"a" in node.labels', ""),
    ("a condition that does not parse", rule("    when: node.gpus >\n"), 9, 22, "Syntax error", ""),
    ("a fact that one action lacks", BODY + "rules:\n  - {id: a, effect: allow, actions: [node.drain, pool.scale], when: node.gpus > 1}\n", 6, 69, "not a fact of pool.scale", ""),
    ("require on a deny", BODY + "rules:\n  - {id: a, effect: deny, actions: [node.drain], require: {confidence: 0.5}}\n", 6, 59, "deny rule takes no `require`", ""),
    ("approvals on an allow", rule("    approvals: {quorum: 1}\n"), 9, 16, "belongs to `effect: ask`", ""),
    ("a number in quotes", rule('    require: {confidence: "0.5"}\n'), 9, 27, "without quotes", ""),
    ("a confidence above one", rule("    require: {confidence: 80}\n"), 9, 27, "from 0 to 1", ""),
    ("a duration without a unit", rule("    require: {verify_within: 20}\n"), 9, 30, "such as 15m", ""),
    ("an empty value", rule("    reason:\n"), 9, 12, "must not be empty", ""),
    ("an empty list", BODY + "rules:\n  - {id: a, effect: allow, actions: []}\n", 6, 37, "must not be empty", ""),
    ("a missing key", BODY + "rules:\n  - {effect: allow, actions: [node.drain]}\n", 6, 5, "lacks the key 'id'", ""),
    ("a wildcard inside a name", BODY + "rules:\n  - {id: a, effect: allow, actions: ['node.d*']}\n", 6, 38, "cannot be 'node.d*'", "node.*"),
    ("a zone misspelt", BODY + NIGHT_WINDOW.replace("Berlin", "Berln") + RULE, 6, 56, "not an IANA time zone", "Europe/Berlin"),
    ("a window that never opens", BODY + NIGHT_WINDOW.replace("06:00", "22:00") + RULE, 6, 30, "never opens", ""),
    ("a time that is none", BODY + NIGHT_WINDOW.replace("22:00", "25:00") + RULE, 6, 30, "must be a time", ""),
    ("a day that is none", BODY + NIGHT_WINDOW.replace("mon", "mo") + RULE, 6, 18, "not 'mo'", "mon"),
    ("a holiday calendar that is none", BODY + NIGHT_WINDOW.replace("tz:", "holidays: ZZ, tz:") + RULE, 6, 62, "no holiday calendar 'ZZ'", ""),
    ("a limit without a bound", BODY + "limits:\n  - {id: l, actions: [node.drain], per: pool}\n" + RULE, 6, 5, "`max_out`, `rate` or `concurrency`", ""),
    ("a percentage of a tenant", BODY + "limits:\n  - {id: l, actions: [node.drain], per: tenant, max_out: {percent: 5}}\n" + RULE, 6, 58, "has none; use `count`", ""),
    ("a rate over more than the ledger", BODY + "limits:\n  - {id: l, actions: [node.drain], per: pool, rate: {count: 1, per: 32d}}\n" + RULE, 6, 53, "at most 31d", ""),
    ("a quorum that nobody can meet", BODY + "rules:\n  - {id: a, effect: ask, actions: [node.drain], approvals: {quorum: 3, from: [oncall]}}\n", 6, 1, "asks 3 of 2 people", ""),
    ("two rules of one name", BODY + RULE + "  - {id: a, effect: deny, actions: [node.cordon]}\n", 7, 5, "defined twice; first at policies/t.yaml:6", ""),
    ("two rules that say the same", BODY + RULE + "  - {id: b, effect: allow, actions: [node.drain]}\n", 7, 1, "says the same as 'a'", ""),
    ("a rule behind a wall", BODY + RULE + '  - {id: b, effect: deny, actions: ["node.*"]}\n', 6, 1, "can never decide: 'b' always denies", ""),
    ("a rule behind a wall of its own size", BODY + RULE + "  - {id: b, effect: deny, actions: [node.drain]}\n", 6, 1, "can never decide: 'b' always denies", ""),
    ("a budget of nothing", BODY + "budgets: [{id: x, every: 1d}]\n" + RULE, 5, 11, "a budget has one of", ""),
    ("an exception without an end", BODY + "exceptions: [{id: x, rule: a, owner: o, ticket: t, reason: r}]\n" + RULE, 5, 14, "lacks the key 'until'", ""),
    ("an allow that enforces", rule("    enforcement: soft\n"), 9, 18, "belongs to an ask or a deny", ""),
    ("a kind of file that is none", BODY.replace("kind: Policy", "kind: Polici") + RULE, 2, 7, "not 'Polici'", "Policy"),
    ("another version of the language", BODY.replace("keeper/v1", "keeper/v2") + RULE, 1, 13, "one of watchkeeper/v1", "watchkeeper/v1"),
    ("an empty file", "", 1, 1, "the file is empty", ""),
    ("a list where keys belong", "- a\n", 1, 1, "must have keys and values", ""),
    ("no YAML at all", "a: b: c\n", 1, 5, "not YAML", ""),
    ("a tab for indentation", "a:\n\tb: 1\n", 2, 1, "not YAML", ""),
    ("a control character", "a: \x00\n", 1, 4, "not YAML", ""),
    ("two documents in one file", HEAD + "---\na: 1\n", 4, 1, "one document", ""),
    ("a tag that makes objects", "a: !!python/object:os.system {}\n", 1, 4, "not allowed", ""),
    ("an anchor that is not there", "a: *b\n", 1, 4, "no anchor &b", ""),
    ("an anchor that holds itself", "a: &a [*a]\n", 1, 8, "no anchor &a", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "column", "piece", "nearest"),
    [row[1:] for row in MISTAKES],
    ids=[row[0] for row in MISTAKES],
)
def test_a_mistake_is_reported_with_its_place_and_the_nearest_word(
    text: str, line: int, column: int, piece: str, nearest: str
) -> None:
    found = problems(text)
    assert any(
        (p.line, p.column) == (line, column) and piece in p.message and p.suggestion == nearest
        for p in found
    ), "\n".join(map(str, found))


def test_every_mistake_of_every_file_is_reported_at_once_in_order() -> None:
    bad = BODY + "rules:\n  - {id: a, effect: alow, actions: [node.drian], whn: x}\n"
    with pytest.raises(PolicyError) as caught:
        load({"policies/b.yaml": bad, "policies/a.yaml": bad.replace("oncall", "others")}, NIGHT)
    places = [(p.file, p.line, p.column) for p in caught.value.problems]
    assert [p for p, *_ in places] == ["policies/a.yaml"] * 3 + ["policies/b.yaml"] * 4
    assert places == sorted(places)
    assert caught.value.exit_code == 3


def test_an_alias_bomb_and_a_deep_nest_are_refused_before_they_grow() -> None:
    ten = ", ".join(["*{0}"] * 10)
    rows = ["a: &a [" + ", ".join("x" * 10) + "]"]
    rows += [f"{b}: &{b} [{ten.format(a)}]" for a, b in zip("abcdef", "bcdefg", strict=True)]
    assert "aliases written out" in problems("\n".join(rows))[0].message
    for deep in ("[" * 100_000, "[" * 100_000 + "]" * 100_000, "{a: " * 50_000):
        assert "nested deeper" in problems(deep)[0].message


def test_a_file_of_a_megabyte_is_refused_unread() -> None:
    assert "at most" in problems("# " + "x" * 1_000_001)[0].message


def test_a_folder_without_files_is_no_policy() -> None:
    with pytest.raises(PolicyError, match="no policy files"):
        load({}, NIGHT)


def test_plain_scalars_are_text_so_no_and_times_mean_what_they_say() -> None:
    text = BODY.replace("oncall: [ann, bob]", "no: [yes, 1e3]") + RULE
    checked = load({"policies/t.yaml": text.replace("platform", "on")}, NIGHT)
    assert checked.people == {"no": ("yes", "1e3"), "on": ("cid",)}


def test_an_anchor_may_be_reused() -> None:
    checked = policy(
        "  - {id: a, effect: allow, actions: &acts [node.drain], during: w}\n"
        "  - {id: b, effect: ask, actions: *acts}\n",
        rest="windows: {w: {days: [mon], from: 06:00, to: 07:00, tz: UTC}}\n",
    )
    assert [r.actions for r in checked.rules] == [frozenset({"node.drain"})] * 2


def test_people_may_stand_in_a_file_of_their_own() -> None:
    own = "apiVersion: watchkeeper/v1\nkind: People\nmetadata: {name: p}\npeople: {ops: [kim]}\n"
    checked = load({"policies/p.yaml": own, "policies/t.yaml": HEAD + RULE}, NIGHT)
    assert checked.people == {"ops": ("kim",)}
    assert "rules" in problems(own + RULE)[0].message


def test_star_means_what_changes_the_cluster_and_a_family_means_its_kinds() -> None:
    star, family = policy(
        '  - {id: a, effect: deny, actions: ["*"], during: w}\n'
        '  - {id: b, effect: ask, actions: ["gpu.*"]}\n',
        rest="windows: {w: {days: [mon], from: 06:00, to: 07:00, tz: UTC}}\n",
    ).rules
    assert star.actions == frozenset(CHANGING)
    assert not star.actions & {"ticket.open", "notify.page"}
    assert family.actions == {"gpu.reset", "gpu.quarantine", "gpu.power_cap"}


def test_the_version_is_of_what_is_meant_not_of_comments_or_file_order() -> None:
    a, b = HEAD + RULE, HEAD + RULE.replace("id: a", "id: b").replace("drain", "cordon")
    one = load({"policies/a.yaml": a, "policies/b.yaml": b}, NIGHT)
    two = load({"policies/b.yaml": "# hello\n" + b, "policies/a.yaml": a}, NIGHT)
    other = load(
        {"policies/a.yaml": a, "policies/b.yaml": b.replace("allow", "ask") + PEOPLE}, NIGHT
    )
    assert one.version == two.version != other.version
    assert len(one.version) == 12
    assert one.sources == {"policies/a.yaml": a, "policies/b.yaml": b}


def test_what_is_odd_but_allowed_is_a_warning() -> None:
    checked = policy(
        "  - {id: old, effect: allow, actions: [node.drain], until: 2026-01-31}\n"
        "  - {id: x, effect: ask, actions: [node.cordon], approvals: {from: [oncall]}}\n"
        "  - {id: y, effect: ask, actions: [node.cordon], approvals: {from: [platform]}}\n",
        rest=NIGHT_WINDOW
        + "limits:\n  - {id: l, actions: [job.requeue], per: pool, max_out: {count: 1}}\n",
    )
    said = "\n".join(map(str, checked.warnings))
    for piece in ("nobody can answer", "no rule uses", "never bind"):
        assert piece in said
    assert "is over since 2026-02-01" in str(checked.over[0])


def test_a_rule_lapses_after_its_last_day() -> None:
    (rule,) = policy("  - {id: a, effect: allow, actions: [node.drain], until: 2026-12-01}\n").rules
    assert rule.until is not None
    assert rule.until.isoformat() == "2026-12-02T00:00:00+00:00"
    assert rule.effect is Decision.ALLOW


def test_check_prints_the_line_and_points_at_the_word() -> None:
    text, sound = report({"policies/t.yaml": rule("    durring: night\n")}, NIGHT)
    assert not sound
    assert "policies/t.yaml:9:5: " in text
    assert "Did you mean 'during'?" in text
    assert "        durring: night\n        ^" in text
    assert text.endswith("1 problem in 1 file.")


def test_five_hundred_rules_of_one_action_load() -> None:
    rows = "".join(
        f"  - id: r{i}\n    effect: allow\n    actions: [node.drain]\n"
        f"    when: node.gpus > {i} && node.pool == 'p{i}'\n"
        for i in range(500)
    )
    assert len(policy(rows).rules) == 500


@pytest.mark.parametrize(
    ("when", "said", "meant"),
    [
        ("action.kind != 'node.restrat'", "action.kind is never 'node.restrat'", "node.restart"),
        ("'Dead' == node.ray_state", "it is one of alive, draining, dead, unknown", "dead"),
        ("world == 'labb'", "world is never 'labb': it is one of real, lab, twin", "lab"),
        ("incident.class in ['node_lost', 'node_lots']", "never 'node_lots'", "node_lost"),
    ],
)
def test_a_word_that_a_fact_can_never_be_is_refused_with_the_nearest(
    when: str, said: str, meant: str
) -> None:
    (found,) = problems(rule(f'    when: "{when}"\n'))
    assert said in found.message
    assert found.suggestion == meant


def test_the_word_for_not_known_and_every_declared_word_are_taken() -> None:
    from watchkeeper.core.facts import FACTS

    for name, fact in FACTS.items():
        if fact.values:
            for word in (*fact.values, fact.unknown):
                load({"policies/t.yaml": rule(f"    when: {name} == '{word}'\n")}, NIGHT)


def test_a_word_in_a_list_that_the_fact_can_never_be_is_refused_where_the_list_is_used() -> None:
    text = rule("    when: incident.class in list.c\n") + "lists: {c: [node_lots]}\n"
    (found,) = problems(text)
    assert "incident.class is never 'node_lots'" in found.message


def test_a_flaw_in_a_variable_is_told_once_and_at_the_variable() -> None:
    text = (
        BODY
        + "variables:\n  dead: node.ray_state == 'ded'\n  old: evidence.age > duration('1d')\n"
        + "  both: var.dead && var.old\nrules:\n"
        + "".join(
            f"  - {{id: r{i}, effect: allow, actions: [node.drain], when: var.both || {i} > 3}}\n"
            for i in range(2)
        )
    )
    assert [(p.line, p.column) for p in problems(text)] == [(6, 27), (7, 32)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            BODY
            + NIGHT_WINDOW.replace("06:00", "22:00")
            + rule("    during: night\n")[len(BODY) :],
            "never opens",
        ),
        (
            BODY + NIGHT_WINDOW.replace("06:00", "6") + rule("    during: night\n")[len(BODY) :],
            "must be a time",
        ),
        (rule("    when: var.x\n") + "variables: {x: [a]}\n", "must be a single value"),
        (
            HEAD + "people: {oncall: []}\nrules:\n  - {id: a, effect: ask, actions: [node.drain],"
            " approvals: {from: [group:oncall]}}\n",
            "must not be empty",
        ),
        (
            RULE.join([BODY, ""]).replace("allow", "alow")
            + "exceptions:\n  - {id: e, rule: a, owner: o, ticket: t, until: 2026-04-01, reason: r}\n",
            "must be one of allow",
        ),
        (
            RULE.join(
                [BODY, "prices: {default: 5USD}\nbudgets: [{id: b, every: 1d, money: 5 USD}]\n"]
            ),
            "amount",
        ),
        (
            RULE.join(
                [BODY, "prices: {default: 5 USD}\nbudgets: [{id: b, every: 1d, money: 5}]\n"]
            ),
            "amount",
        ),
        (
            RULE.join(
                [
                    BODY,
                    "limits: [{id: l, per: pool, actions: [node.drain], max_out: {percent: 150}}]\n",
                ]
            ),
            "'percent' must",
        ),
        (
            RULE.join(
                [BODY, "limits: [{id: l, per: pool, actions: [node.drain], concurrency: x}]\n"]
            ),
            "'concurrency' must",
        ),
    ],
)
def test_one_mistake_is_told_once_and_nothing_that_follows_from_it(text: str, said: str) -> None:
    (found,) = problems(text)
    assert said in found.message


def test_names_are_not_called_unknown_while_a_file_that_may_define_them_cannot_be_read() -> None:
    with pytest.raises(PolicyError) as caught:
        load({"p/a.yaml": rule("    during: night\n"), "p/b.yaml": "windows: [\n"}, NIGHT)
    assert {p.file for p in caught.value.problems} == {"p/b.yaml"}


@pytest.mark.parametrize(
    ("when", "column", "said"),
    [
        ("node.gpus > 3 and impact.jobs == 0", 25, "write && and not and"),
        ("impact.jobs == 0 OR node.fenced", 28, "write || and not OR"),
        ("not node.fenced", 11, "write ! and not not"),
        ("node.gpus = 3", 21, "write == and not ="),
        ("node.gpus <> 3", 21, "write != and not <>"),
        ("node.fenced & node.gpus > 3", 23, "write && and not &"),
        ("node.pool in ('a', 'b')", 24, 'in ["a", "b"]'),
        ("node.pool.beginsWith('x')", 21, "write startsWith"),
        ("len(node.pool) > 3", 11, "write size"),
        ("node.pool.startswith('x')", 21, "Did you mean 'startsWith'?"),
        ("evidence.age > duration('20min')", 35, 'write it in h, m or s, such as duration("20m")'),
        ("evidence.age > duration('1d')", 35, 'or duration("24h")'),
        ("!node.fenced", 11, "a text that begins with ! stands in quotes"),
        ("*node.fenced", 16, "a text that begins with * stands in quotes"),
        ("node.rack == 'a: b'", 26, 'a text that holds ": " stands in quotes'),
        ("'a' in node.labels", 15, "stands in quotes as a whole"),
    ],
)
def test_a_slip_is_told_by_what_to_write(when: str, column: int, said: str) -> None:
    (found,) = problems(rule(f"    when: {when}\n"))
    assert said in str(found)
    assert (found.line, found.column) == (9, column)


def test_words_inside_texts_are_no_slips() -> None:
    (found,) = problems(rule("    when: node.rack == 'a and b = c' )\n"))
    assert "write" not in found.message
