"""The policy pages say what the code does: every YAML in them loads, every fact is listed."""

from __future__ import annotations

import re
from pathlib import Path

from tests.core.policy_case import NIGHT

from watchkeeper.core.facts import FACTS, NEVER_S, Fact
from watchkeeper.policy.check import report

PAGE = Path(__file__).parents[2] / "docs" / "policy.md"


def facts_table() -> str:
    """The table of facts as docs/policy.md must hold it."""
    rows = ["| fact | type | of | meaning | when not known |", "|---|---|---|---|---|"]
    for name, fact in FACTS.items():
        scopes = "all" if len(fact.scopes) == 5 else ", ".join(fact.scopes)
        meaning = fact.says or name.replace(".", " ").replace("_", " ")
        rows.append(f"| `{name}` | {fact.type} | {scopes} | {meaning} | {_unknown(fact)} |")
    return "\n".join(rows)


def _unknown(fact: Fact) -> str:
    match fact.unknown:
        case bool():
            return str(fact.unknown).lower()
        case "":
            return '""'
        case dict():
            return "empty"
        case float() if fact.type == "duration":
            return "ten years" if fact.unknown == NEVER_S else f"{fact.unknown:g} s"
        case int() | float():
            return f"{fact.unknown:,}"
    return str(fact.unknown)


def test_every_yaml_in_the_page_loads() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        text, sound = report({"docs/policy.md": block}, NIGHT)
        assert sound, text


def test_every_fact_is_listed_as_it_is_declared() -> None:
    listed = re.search(r"<!-- facts.*?-->\n(.*?)\n<!-- /facts -->", PAGE.read_text(), re.DOTALL)
    assert listed
    assert listed[1] == facts_table()


def test_every_key_of_the_language_is_explained() -> None:
    from watchkeeper.policy.schema import POLICY, Many, Record

    text = PAGE.read_text()
    rules, limits = POLICY.fields["rules"], POLICY.fields["limits"]
    for spec in (rules, limits):
        assert isinstance(spec, Many)
        assert isinstance(spec.item, Record)
        for key in spec.item.fields:
            assert f"`{key}" in text or f"{key}:" in text, key
