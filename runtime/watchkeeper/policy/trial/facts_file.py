"""A file of facts as a test file of one case, for `policy explain`: what would be said of this?

    action: node.drain
    at: 2026-03-18T02:30 Europe/Berlin
    facts: {incident.confidence: 0.95, evidence.independent_sources: 2}

JSON is read as well. Works on the tree, so that a mistake is told where the author wrote it.
"""

from __future__ import annotations

import re
from datetime import datetime

from watchkeeper.core.facts import FACTS, NEVER_S
from watchkeeper.policy.reader import Reader
from watchkeeper.policy.schema import API_VERSION
from watchkeeper.policy.trial.case_schema import UNKNOWN
from watchkeeper.policy.yaml_text import Mapping, Mark, Scalar, Sequence, Tree

KEYS = ("action", "at", "facts")


def keys_of(tree: Tree) -> dict[str, Tree]:
    """The keys of a file and what stands there; none where it is no mapping."""
    return {key.text: value for key, value in tree.items} if isinstance(tree, Mapping) else {}


def as_tests(tree: Mapping, reader: Reader, at: datetime) -> Mapping | None:
    """The tree of a test file with this case alone; None after a reported mistake. `at` stands
    where the file has none."""
    top, sound = keys_of(tree), True
    for key, _ in tree.items:
        if key.text not in KEYS:
            said = f"a file of facts has no key {key.text!r}; it has: {', '.join(KEYS)}."
            reader.problem(key.mark, said, key.text, KEYS)
            sound = False
    facts, action = top.get("facts"), top.get("action")
    if action is None:
        reader.problem(tree.mark, "a file of facts says what is asked for: `action: node.drain`")
    if not isinstance(facts, Mapping):
        mark = facts.mark if facts else tree.mark
        reader.problem(mark, "`facts` holds facts by name: `facts: {incident.confidence: 0.9}`")
    if action is None or not isinstance(facts, Mapping) or not sound:
        return None
    moment = top.get("at") or _word(at.isoformat(timespec="minutes"))
    case = _mapping(3, name=_word("facts"), given=_given(facts, action))
    return _mapping(
        1,
        apiVersion=_word(API_VERSION),
        kind=_word("PolicyTest"),
        metadata=_mapping(2, name=_word("facts")),
        at=moment,
        tests=Sequence(tree.mark, (case,)),
    )


def _given(facts: Mapping, action: Tree) -> Mapping:
    """Dotted facts as sections. What the action settles itself (`action.…`) is passed over."""
    sections: dict[str, list[tuple[Scalar, Tree]]] = {"proposal": [(_word("action"), action)]}
    whole: list[tuple[Scalar, Tree]] = []
    for key, value in facts.items:
        section, _, name = key.text.partition(".")
        if section == "action":
            continue
        if not name:
            whole.append((key, value))
            continue
        inner = Scalar(key.mark, name, key.style, key.last_line)
        sections.setdefault(section, []).append((inner, _in_words(key.text, value)))
    for number, (section, items) in enumerate(sections.items(), 5):
        first = items[-1][0]
        key = Scalar(first.mark, section, "", first.last_line)
        whole.append((key, Mapping(Mark(0, number), tuple(items))))
    return Mapping(Mark(0, 4), tuple(whole))


def _in_words(name: str, value: Tree) -> Tree:
    """A bare number for a duration is seconds, as the journal has it."""
    fact = FACTS.get(name)
    if fact is None or fact.type != "duration" or not isinstance(value, Scalar) or value.style:
        return value
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", value.text):
        return value
    seconds = float(value.text)
    text = UNKNOWN if seconds >= NEVER_S else f"{round(seconds * 1000)}ms"
    return Scalar(value.mark, text, "", value.last_line)


def _word(text: str) -> Scalar:
    return Scalar(Mark(1, 1), text, "", 1)


def _mapping(number: int, **items: Tree) -> Mapping:
    """A mapping that the author did not write: on line 0, where no other is."""
    return Mapping(Mark(0, number), tuple((_word(key), value) for key, value in items.items()))
