"""A policy from a sentence, by templates and no model: the commonest wishes, each as one file of
orders with its tests. What fits no template is said to fit none. Pure; changes nothing."""

from __future__ import annotations

import re
from typing import NamedTuple

from watchkeeper.core.action import KINDS, TRAITS
from watchkeeper.policy.history.draft import AS_TODAY
from watchkeeper_agents.chat_times import numbers

FITS = (
    "never drain before 06:00",
    "never reboot anything on pool train at weekends",
    "ask before anything on pool train",
    "ask two people before replacing a node",
    "at most 3 drains an hour in a pool",
    "at most 2 nodes out at one time in a rack",
    "hands off nodes with the label reserved",
    "allow resetting GPUs at night",
)
"""Sentences that the templates read; shown where none fits."""


class Written(NamedTuple):
    """One file of orders and the file of its tests, as texts. name: of the orders, `x.yaml`."""

    name: str
    text: str
    tests: str


class Span(NamedTuple):
    """A window in words and as YAML; inside: a moment in it (for a test), outside: one out of it,
    or "" where there is none."""

    says: str
    yaml: str
    inside: str
    outside: str


_STEMS = {
    "drain": "node.drain", "reboot": "node.reboot", "restart": "node.restart",
    "replac": "node.replace", "cordon": "node.cordon", "fenc": "node.cordon",
    "uncordon": "node.uncordon", "reset": "gpu.reset", "quarantin": "gpu.quarantine",
    "requeu": "job.requeue", "preempt": "job.preempt", "scal": "pool.scale",
    "grow": "pool.scale", "reserving": "pool.reserve",
}  # fmt: skip
"""How a verb begins, whatever its form."""
_ANY = re.compile(
    r"\b(?:anything|everything|any(?: action| change)?|all actions|something|touch\w*)\b"
)
_VERB = re.compile(rf"\b({'|'.join(sorted(_STEMS, key=len, reverse=True))})\w*")
_CLOCK = r"([01]?\d|2[0-3])(?::([0-5]\d))?"
_BETWEEN = re.compile(rf"\b(?:between|from) {_CLOCK} (?:and|to|until) {_CLOCK}")
_BEFORE = re.compile(rf"\bbefore {_CLOCK}(?! (?:nodes?|people))")
_AFTER = re.compile(rf"\bafter {_CLOCK}")
_ALL_DAYS = "[mon, tue, wed, thu, fri, sat, sun]"
_POOL = re.compile(r"\b(?:pool ([\w.-]+)|the ([\w.-]+) pool)")
_RACK = re.compile(r"\brack ([\w.-]+)")
_NODE = re.compile(r"\bnode ([\w.-]+)")
_LABEL = re.compile(r"\blabel(?:l?ed)?(?: with)? [\"']?([\w./-]+)")
_DENY = re.compile(r"\b(?:never|no|not|don'?t|deny|forbid\w*|refuse\w*|hands off|leave)\b")
_ASK = re.compile(r"\bask\w*\b|\bapprov\w+|\bconfirm\w*|\bpermission\b")
_MOST = re.compile(r"\b(?:at most|no more than|never more than|max(?:imum)?|only) (\w+)\b")
_TWO = re.compile(r"\b(\w+) (?:people|persons|approvals|approvers)\b")
_ALLOW = re.compile(r"^(?:allows?|lets?|permits?|may|it may|the watch may)\b")


def written(sentence: str, zone: str, groups: tuple[str, ...]) -> Written | None:
    """The draft for this sentence, or None where no template fits. zone: of its windows. groups: of
    the policy's people; the first that is called oncall, or the first, is asked."""
    said = " ".join(sentence.lower().split()).strip(" .!")
    kinds = _kinds(said)
    span = _span(said, zone)
    if (most := _MOST.search(said)) and (count := numbers(most[1])):
        return _limit(said, kinds, count)
    scope = _scope(said)
    if scope is None:
        return None
    condition, given, place = scope
    if not kinds:
        return None
    ident = name_of(said)
    if _ALLOW.match(said):
        return _allow(said, ident, kinds, condition, given, place, span)
    if _ASK.search(said):
        return _ask(said, ident, kinds, condition, given, place, span, groups)
    if _DENY.search(said):
        return _deny(said, ident, kinds, condition, given, place, span)
    return None


def _kinds(said: str) -> tuple[str, ...]:
    found = [_STEMS[m] for m in _VERB.findall(said)]
    found += [kind for kind in KINDS if kind in said]
    if found:
        return tuple(dict.fromkeys(k for k in found if TRAITS[k].changes))
    if _ANY.search(said) or re.search(r"\bhands off\b|\bleave\b", said):
        return ("*",)
    return ()


def _scope(said: str) -> tuple[str, str, str] | None:
    """(condition, `given` of a test, in words) of what it is about; None where it names two."""
    found: list[tuple[str, str, str]] = []
    if pool := _POOL.search(said):
        name = pool[1] or pool[2]
        found.append((f'pool.name == "{name}"', f'pool: {{name: "{name}"}}', f"pool {name}"))
    if rack := _RACK.search(said):
        found.append(
            (f'node.rack == "{rack[1]}"', f'node: {{rack: "{rack[1]}"}}', f"rack {rack[1]}")
        )
    elif label := _LABEL.search(said):
        name = label[1]
        found.append(
            (f'"{name}" in node.labels', f'node: {{labels: {{"{name}": "yes"}}}}', f"label {name}")
        )
    elif (node := _NODE.search(said)) and node[1] not in ("at", "with", "on", "in", "before"):
        found.append(
            (f'node.name == "{node[1]}"', f'node: {{name: "{node[1]}"}}', f"node {node[1]}")
        )
    if len(found) > 1:
        return None
    return found[0] if found else ("", "", "")


def _span(said: str, zone: str) -> Span | None:
    """The window that is named, if one is."""

    def window(begin: str, end: str, says: str, inside: str, outside: str) -> Span:
        days = f"days: {_ALL_DAYS}"
        return Span(
            says,
            f'{{{days}, from: "{begin}", to: "{end}", tz: {zone}}}',
            f"2026-03-18T{inside} {zone}",
            f"2026-03-18T{outside} {zone}",
        )

    if found := _BETWEEN.search(said):
        begin, end = _clock(found[1], found[2]), _clock(found[3], found[4])
        if begin == end:
            return None
        return window(begin, end, f"between {begin} and {end}", begin, end)
    if found := _BEFORE.search(said):
        end = _clock(found[1], found[2])
        if end == "00:00":
            return None
        return window("00:00", end, f"before {end}", "00:00", end)
    if found := _AFTER.search(said):
        begin = _clock(found[1], found[2])
        if begin == "00:00":
            return None
        return window(begin, "24:00", f"after {begin}", begin, "00:00")
    if re.search(r"\bweekends?\b", said):
        yaml = f'{{days: [sat, sun], from: "00:00", to: "24:00", tz: {zone}}}'
        return Span("at weekends", yaml, f"2026-03-21T12:00 {zone}", f"2026-03-18T12:00 {zone}")
    if re.search(r"\b(?:at|by|during the|over) ?night|\bnightly\b|\bovernight\b", said):
        return window("22:00", "06:00", "at night", "23:00", "12:00")
    if re.search(r"\b(?:by day|in daytime|during the day|working hours|office hours)\b", said):
        return window("08:00", "18:00", "by day", "10:00", "20:00")
    return None


def _clock(hour: str, minute: str | None) -> str:
    return f"{int(hour):02d}:{minute or '00'}"


def name_of(sentence: str) -> str:
    """The name of the rule, and of its file, that a sentence becomes."""
    said = sentence.lower()
    words = [w for w in re.findall(r"[a-z0-9]+", said) if w not in ("a", "the", "me", "on", "of")]
    return "drafted-" + "-".join(words)[:48].rstrip("-")


def _head(ident: str, said: str) -> str:
    text = said.replace('"', "'")[:200]
    return (
        "# yaml-language-server: $schema=./policy.schema.json\n"
        "# Drafted from a sentence; nothing has taken it up. Read it before you put it in force.\n"
        "apiVersion: watchkeeper/v1\nkind: Policy\n"
        f'metadata: {{name: {ident}, owner: drafted, description: "{text}"}}\n'
    )


def _actions(kinds: tuple[str, ...], condition: str) -> str:
    if kinds == ("*",):
        return '["node.*", "gpu.*"]' if condition.startswith(("node.", '"')) else '["*"]'
    return f"[{', '.join(kinds)}]"


def _rule(
    ident: str,
    effect: str,
    kinds: tuple[str, ...],
    condition: str,
    span: Span | None,
    more: tuple[str, ...],
    reason: str,
) -> str:
    lines = [
        f"  - id: {ident}",
        f"    effect: {effect}",
        f"    actions: {_actions(kinds, condition)}",
    ]
    if span is not None:
        lines.append(f"    during: {ident}-hours")
    if condition:
        lines.append(f"    when: '{condition}'")
    lines += [f"    {line}" for line in more]
    lines.append(f'    reason: "{reason}"')
    windows = f"windows:\n  {ident}-hours: {span.yaml}\n" if span is not None else ""
    return windows + "rules:\n" + "\n".join(lines) + "\n"


def _case(name: str, kind: str, given: str, at: str, expect: str) -> str:
    when = f"    at: {at}\n" if at else ""
    facts = f"      {given}\n" if given else ""
    return (
        f"  - name: {name}\n{when}    given:\n      proposal: {{action: {kind}}}\n{facts}"
        f"    expect: {expect}\n"
    )


def _tests(ident: str, cases: list[str]) -> str:
    return (
        "# yaml-language-server: $schema=./policy-test.schema.json\n"
        "apiVersion: watchkeeper/v1\nkind: PolicyTest\n"
        f"metadata: {{name: {ident}, owner: drafted}}\n"
        "at: 2026-03-18T12:00 UTC\ntests:\n" + "".join(cases)
    )


def _one(kinds: tuple[str, ...]) -> str:
    """The kind of action that the tests try."""
    return "node.drain" if kinds == ("*",) else kinds[0]


def _where(place: str, span: Span | None) -> str:
    parts = [f"on {place}" if place else "", span.says if span is not None else ""]
    return " ".join(p for p in parts if p)


def _deny(
    said: str, ident: str, kinds: tuple[str, ...], condition: str, given: str, place: str,
    span: Span | None,
) -> Written:  # fmt: skip
    what = "Nothing is done" if kinds == ("*",) else f"No {', '.join(kinds)}"
    reason = f"{what} {_where(place, span)}".strip() + "."
    text = _head(ident, said) + _rule(ident, "deny", kinds, condition, span, (), reason)
    kind, at = _one(kinds), span.inside if span is not None else ""
    cases = [_case("it refuses what it names", kind, given, at, f"{{verdict: deny, by: {ident}}}")]
    return Written(f"{ident}.yaml", text, _tests(ident, cases))


def _ask(
    said: str, ident: str, kinds: tuple[str, ...], condition: str, given: str, place: str,
    span: Span | None, groups: tuple[str, ...],
) -> Written | None:  # fmt: skip
    if not groups:
        return None
    group = next((g for g in groups if g in said or g == "oncall"), groups[0])
    many = _TWO.search(said)
    quorum = (numbers(many[1]) or 1) if many else 1
    carried = "!incident.approved"
    whole = f"{carried} && {condition}" if condition else carried
    more = (
        f"approvals: {{quorum: {quorum}, from: [group:{group}], expires: 1h, "
        "on_timeout: escalate}",
    )
    reason = f"A person decides {_where(place, span)}".strip() + "."
    actions = kinds
    if kinds == ("*",) and condition.startswith(("node.", '"')):
        actions = ("node.*", "gpu.*")
    rule = _rule(ident, "ask", actions, whole, span, more, reason)
    rule = rule.replace("actions: [node.*, gpu.*]", 'actions: ["node.*", "gpu.*"]')
    kind, at = _one(kinds), span.inside if span is not None else ""
    cases = [_case("it asks before what it names", kind, given, at, "{verdict: ask}")]
    return Written(f"{ident}.yaml", _head(ident, said) + rule, _tests(ident, cases))


def _allow(
    said: str, ident: str, kinds: tuple[str, ...], condition: str, given: str, place: str,
    span: Span | None,
) -> Written | None:  # fmt: skip
    """What widens is drafted in shadow, on strong evidence, and where nothing runs: counted, never
    applied, until a person takes `mode: shadow` out."""
    if kinds == ("*",):
        return None
    nodes = all(k.startswith(("node.", "gpu.")) for k in kinds)
    whole = " && ".join(c for c in (condition, "impact.jobs == 0") if c)
    more = ["mode: shadow"]
    if nodes:
        more.append("require: {confidence: 0.9, independent_sources: 2}")
    reason = f"Allowed where nothing runs {_where(place, span)}".strip() + "."
    text = _head(ident, said) + _rule(ident, "allow", kinds, whole, span, tuple(more), reason)
    kind, at = _one(kinds), span.inside if span is not None else ""
    facts = given + "\n      " if given else ""
    facts += "impact: {jobs: 0}"
    if nodes:
        facts += "\n      incident: {confidence: 0.95}\n      evidence: {independent_sources: 2}"
    cases = [
        _case(
            "in shadow it would allow it",
            kind,
            facts,
            at,
            f"{{verdict: {AS_TODAY}, shadow: {ident}}}",
        )
    ]
    return Written(f"{ident}.yaml", text, _tests(ident, cases))


_PER = re.compile(r"\b(?:per|an?|each|every|in the|in an?|in one) (hour|day|week)\b")
_EACH = re.compile(
    r"\b(?:per|in an?|in each|in every|in one|of an?|each) (pool|rack|leaf|tenant|job)\b"
)


def _limit(said: str, kinds: tuple[str, ...], count: int) -> Written | None:
    each = _EACH.search(said)
    per = each[1] if each else "fleet"
    out = bool(re.search(r"\bnodes? (?:may be )?out\b|\bout at (?:once|one time)\b", said))
    span = _PER.search(said)
    listed = [k for k in kinds if k != "*"] or ["node.cordon", "node.drain", "node.reboot"]
    ident = name_of(said)
    if out:
        bound = f"max_out: {{count: {count}, percent: 50}}"
        listed = [k for k in listed if k.startswith("node.")] or listed
    elif span is not None:
        length = {"hour": "1h", "day": "24h", "week": "7d"}[span[1]]
        bound = f"rate: {{count: {count}, per: {length}}}"
    elif re.search(r"\b(?:at once|at one time|at a time|at the same time)\b", said):
        bound = f"concurrency: {count}"
    else:
        return None
    text = _head(ident, said) + (
        f"limits:\n  - id: {ident}\n    actions: [{', '.join(listed)}]\n    per: {per}\n"
        f'    {bound}\n    reason: "Beyond that a person looks first."\n'
    )
    cases = [
        _case("the first is within it", listed[0], "", "", f"{{verdict: {AS_TODAY}, limits: none}}")
    ]
    return Written(f"{ident}.yaml", text, _tests(ident, cases))
