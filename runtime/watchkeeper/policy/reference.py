"""The tables of docs/policy/reference.md, from the declarations that the loader reads by.

Asked by `make schema`, and by a test that keeps the page in step. Between
`<!-- table: NAME -->` and `<!-- /table -->` a page holds what is generated; the prose around it is
written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from watchkeeper.core.action import KINDS, TRAITS, Traits
from watchkeeper.core.facts import FACTS, NEVER_S, Fact
from watchkeeper.policy import cost, expr, invariants, yaml_text
from watchkeeper.policy.limits import span
from watchkeeper.policy.proof import abstract
from watchkeeper.policy.read_bounds import LOOKS_BACK_S
from watchkeeper.policy.read_rules import LONGEST_EXCEPTION_S
from watchkeeper.policy.schema import PEOPLE, POLICY, Leaf, Many, Named, Record, Spec
from watchkeeper.policy.trial.case_schema import TEST_FILE

_TABLE = re.compile(
    r"(?P<head><!-- table: (?P<name>[\w.]+) -->\n).*?(?P<tail><!-- /table -->)", re.S
)


def filled(page: str) -> str:
    """The page with every table made anew. Raises KeyError for a table that there is not."""
    return _TABLE.sub(lambda m: f"{m['head']}{TABLES[m['name']]()}\n{m['tail']}", page)


def rows(header: tuple[str, ...], body: Iterable[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [header, tuple("---" for _ in header), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def facts() -> str:
    """Every declared fact."""
    return rows(
        ("fact", "type", "of", "meaning", "when not known"),
        ((f"`{n}`", f.type, _scopes(f), _meaning(n, f), _unknown(f)) for n, f in FACTS.items()),
    )


def actions() -> str:
    """Every kind of action, with what it is."""
    return rows(
        ("action", "facts of", "is", "undone by", "must show within"),
        (
            (
                f"`{kind}`",
                TRAITS[kind].scope,
                _traits(TRAITS[kind]),
                f"`{TRAITS[kind].undo}`" if TRAITS[kind].undo else "",
                span(TRAITS[kind].verify_s) if TRAITS[kind].changes else "",
            )
            for kind in KINDS
        ),
    )


def policy_keys() -> str:
    """Every key of a policy file, with its path."""
    return _keys(POLICY)


def people_keys() -> str:
    """Every key of a file of people."""
    return _keys(PEOPLE)


def test_keys() -> str:
    """Every key of a test file but the facts, which the table of facts has."""
    return _keys(TEST_FILE, skip=frozenset(FACTS))


def bounds() -> str:
    """What the language itself bounds."""
    return rows(
        ("what", "at most"),
        (
            ("a condition as you write it", f"{expr.MAX_LENGTH:,} characters"),
            ("a condition with its variables and lists written out", _characters()),
            ("what a condition may cost to decide, as estimated when it is loaded", _steps()),
            ("entries of a list or map that a condition sees", f"{expr.MAX_ITEMS:,}"),
            ("text of one fact that a condition sees", f"{expr.MAX_CHARACTERS:,} characters"),
            ("one policy file", f"{yaml_text.MAX_CHARS:,} characters"),
            ("values in one file, with aliases written out", f"{yaml_text.MAX_NODES:,}"),
            ("levels of one file", f"{yaml_text.MAX_DEPTH}"),
            ("the time that a rate or budget looks back over", span(LOOKS_BACK_S)),
            ("how far ahead the end of an exception may lie", span(LONGEST_EXCEPTION_S)),
            ("disruptive actions in an hour, built in (S3)", f"{invariants.CEILING_PER_HOUR}"),
            ("conditions (atoms) that a proof tells apart", f"{abstract.MOST_ATOMS}"),
        ),
    )


def _characters() -> str:
    return f"{expr.MAX_EXPANDED:,} characters"


def _steps() -> str:
    return f"{cost.MAX_COST:,.0f} steps"


def built_in() -> str:
    """What is judged before any rule."""
    said: dict[str, list[str]] = {}
    for invariant in invariants.INVARIANTS:
        said.setdefault(invariant.id, []).append(invariant.says)
    return rows(("id", "promise"), ((ident, " ".join(texts)) for ident, texts in said.items()))


def _scopes(fact: Fact) -> str:
    return "all" if len(fact.scopes) == 5 else ", ".join(fact.scopes)


def _meaning(name: str, fact: Fact) -> str:
    return fact.says or name.replace(".", " ").replace("_", " ")


def _unknown(fact: Fact) -> str:
    match fact.unknown:
        case bool():
            return str(fact.unknown).lower()
        case "":
            return '""'
        case dict():
            return "empty"
        case list():
            return '`[""]`'
        case float() if fact.type == "duration":
            return "ten years" if fact.unknown == NEVER_S else f"{fact.unknown:g} s"
        case int() | float():
            return f"{fact.unknown:,}"
    return str(fact.unknown)


def _traits(traits: Traits) -> str:
    words = (
        ("changes nothing", not traits.changes),
        ("disruptive", traits.disruptive),
        ("recovers", traits.recovers),
        ("reversible", traits.reversible),
        ("irreversible", traits.irreversible),
    )
    return ", ".join(word for word, holds in words if holds)


def _keys(record: Record, *, skip: frozenset[str] = frozenset()) -> str:
    return rows(
        ("key", "is", "meaning"),
        (
            (f"`{path}`{'' if not needed else ' (must)'}", _is(spec), spec.says)
            for path, spec, needed in _walk(record, "")
            if path.removeprefix("given.").removeprefix("tests[].given.") not in skip
            and not path.startswith("tests[].given.")
        ),
    )


def _walk(record: Record, path: str) -> Iterator[tuple[str, Spec, bool]]:
    """Every key below a record: its path, what it holds, and must it be there?"""
    for key, spec in record.fields.items():
        here = f"{path}{key}"
        yield here, spec, key in record.required
        match spec:
            case Record():
                yield from _walk(spec, f"{here}.")
            case Many(item=Record() as item):
                yield from _walk(item, f"{here}[].")
            case Named(value=Record() as value):
                yield from _walk(value, f"{here}.NAME.")
            case _:
                pass


_KINDS = {
    "text": "text",
    "whole": "whole number",
    "number": "number",
    "duration": "duration, `90s` `15m` `1h30m` `7d`",
    "clock": 'time of day, `"22:00"`',
    "date": "date, `2026-12-18`",
    "money": "amount, `500 USD`",
    "condition": "condition (CEL)",
}


def _is(spec: Spec) -> str:
    match spec:
        case Leaf(choices=choices) if choices:
            short = choices if len(choices) < 8 else ()
            return " ".join(f"`{c}`" for c in short) or "one of the kinds of action"
        case Leaf():
            return _KINDS[spec.kind] + _between(spec)
        case Many(item=Record()):
            return "list of the following"
        case Many(item=item):
            return f"{'one or a list' if spec.or_one else 'list'}: {_is(item)}"
        case Named(value=Record()):
            return "by name: the following"
        case Named(value=value):
            return f"by name: {_is(value)}"
        case Record():
            return "the following"


def _between(leaf: Leaf) -> str:
    if leaf.least is None or leaf.most is None:
        return ""
    return f", {leaf.least:g} to {leaf.most:,.0f}"


TABLES: dict[str, Callable[[], str]] = {
    "facts": facts,
    "actions": actions,
    "policy": policy_keys,
    "people": people_keys,
    "test": test_keys,
    "bounds": bounds,
    "built_in": built_in,
}
"""By the name that a page gives."""


if __name__ == "__main__":
    import sys

    # python -m watchkeeper.policy.reference < docs/policy/reference.md
    sys.stdout.write(filled(sys.stdin.read()))
