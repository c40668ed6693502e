"""What a `*_test.yaml` file may hold, declared once: read by it, and completed by it in editors.

`given` has one key for every declared fact, so a new fact can be given in a test at once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from watchkeeper.core.action import KINDS
from watchkeeper.core.cluster import World
from watchkeeper.core.facts import FACTS, Fact
from watchkeeper.core.verdict import Autonomy, Decision
from watchkeeper.policy.schema import API_VERSION, NAME, Leaf, Many, Named, Record, Spec
from watchkeeper.policy.schema import _schema_of as schema_of

UNKNOWN = "unknown"
"""Given for any fact: it then has the value that stands for Unknown, and lets least happen."""

NONE = "none"
"""Expected for any list: nothing of the kind spoke."""

REFUSERS = ("invariant", "policy", "limit", "budget", "dial", "error", "default")
LISTS = ("rules", "limits", "budgets", "shadow", "advice", "excepted", "liftable", "by")
"""Keys of `expect` that hold ids."""

MOMENT = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?"
    r"(Z|[+-][0-9]{2}:[0-9]{2}| +[A-Za-z][A-Za-z0-9_+/-]*)"
)
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?"
DOMAIN = r"fleet|(pool|rack|leaf|nvlink_domain|power_feed|zone):[A-Za-z0-9._-]+"
PLAIN = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?"

_MOST = 1_000_000
_YES_NO = ("true", "false")


def leaf_of(name: str) -> Leaf:
    """How the value of a fact that is no map and no list is written."""
    fact = FACTS[name]
    says = fact.says or f"the fact {name}"
    match fact.type:
        case "bool":
            return Leaf(says, choices=_YES_NO)
        case "int":
            return Leaf(says, kind="whole", least=0, most=_MOST)
        case "double":
            most = 1 if name.endswith("confidence") else _MOST
            return Leaf(says, kind="number", least=0, most=most)
        case "duration":
            return Leaf(says, kind="duration")
    return Leaf(says, choices=fact.values)


def _fact(name: str, fact: Fact) -> Spec:
    """Read as plain text first, since `unknown` may stand for any value."""
    if fact.type == "map":
        return Named(fact.says, Leaf("a text"), key=LABEL)
    if fact.type == "list":
        return Many(f"{fact.says}; or the word none", Leaf("a word"), or_one=True)
    return Leaf(fact.says or f"the fact {name}")


def _count(says: str, least: int = 0) -> Leaf:
    return Leaf(says, kind="whole", least=least, most=_MOST)


def _ids(says: str) -> Many:
    return Many(f"{says}; or the word none", Leaf("an id", pattern=NAME), or_one=True)


_MORE: dict[str, dict[str, Spec]] = {
    "proposal": {
        "action": Leaf("the kind of action that is asked for", choices=KINDS),
        "world": Leaf("the world of its evidence", choices=tuple(w.value for w in World)),
    },
    "job": {"tenant": Leaf("whose it is")},
}
"""What is no fact, and yet says what the case is."""

_EFFECT = Record(
    "something that was started before",
    {
        "action": Leaf("what was done", choices=KINDS),
        "ago": Leaf("how long ago it was started", kind="duration"),
        "node": Leaf("the node it was done to; another one where not given", pattern=PLAIN),
        "job": Leaf("the job it was done to, or stopped", pattern=PLAIN),
        "pool": Leaf("its pool; that of this proposal where not given", pattern=PLAIN),
        "rack": Leaf("its rack", pattern=PLAIN),
        "leaf": Leaf("its leaf switch", pattern=PLAIN),
        "tenant": Leaf("whose work it stopped"),
        "incident": Leaf("`this` for that of this proposal; else another, its own by default"),
        "open": Leaf("is it still under way?", choices=_YES_NO),
        "gpu_hours": Leaf("what it cost in GPU-hours", kind="number", least=0, most=_MOST),
        "money": Leaf("what it cost", kind="number", least=0, most=_MOST),
        "times": _count("so many of the same", least=1),
    },
    required=("action", "ago"),
)
_LEDGER = Record(
    "what was done before, and how the fleet is",
    {
        "effects": Many("what was started before", _EFFECT),
        "out": Named("nodes out now, by domain: `pool:train: 1`", _count("nodes"), key=DOMAIN),
        "size": Named("nodes in all, by domain: `pool:train: 20`", _count("nodes"), key=DOMAIN),
        "newly_unhealthy": Named(
            "nodes of a pool that turned unhealthy within 5 minutes", _count("nodes"), key=PLAIN
        ),
        "closed": Many(
            "kinds of action whose gate is closed", Leaf("a kind", choices=KINDS), or_one=True
        ),
        "halted": Leaf("why the watch halted itself"),
        "reconciled": Leaf("is this Ray session reconciled?", choices=_YES_NO),
        "lifted": Many(
            "soft rules or limits that a person lifted", Leaf("an id", pattern=NAME), or_one=True
        ),
    },
)
_ORDERS = Record(
    "the operator's dial and the stop",
    {
        "autonomy": Leaf("where the dial stands", choices=tuple(a.value for a in Autonomy)),
        "stopped": Leaf("is the watch stopped?", choices=_YES_NO),
    },
)


def _sections() -> dict[str, Spec]:
    found: dict[str, dict[str, Spec]] = {}
    for name, fact in FACTS.items():
        section, _, key = name.partition(".")
        if key and section != "action":  # which follows from `proposal.action`
            found.setdefault(section, {})[key] = _fact(name, fact)
    for section, more in _MORE.items():
        for key, spec in more.items():
            found[section].setdefault(key, spec)
    says = "facts; what is not given is as in a quiet, healthy cluster"
    sections: dict[str, Spec] = {name: Record(says, keys) for name, keys in found.items()}
    return {**sections, "world": _fact("world", FACTS["world"])}


GIVEN = Record("what is the case", {**_sections(), "ledger": _LEDGER, "orders": _ORDERS})
OBLIGATIONS = Record(
    "what the ask demands",
    {
        "quorum": Leaf("how many people", kind="whole", least=1, most=20),
        "groups": Many("who may answer", Leaf("a group", pattern=rf"(group:)?{NAME}")),
        "expires": Leaf("how long the question stands", kind="duration"),
        "on_timeout": Leaf("what silence means", choices=("escalate", "deny")),
        "escalate_after": Leaf("when others are called", kind="duration"),
        "escalate_to": Many("who is called then", Leaf("a group", pattern=rf"(group:)?{NAME}")),
    },
)
_DECISIONS = tuple(d.value for d in Decision)
EXPECT = Record(
    "what must come out; only what is named is compared",
    {
        "verdict": Leaf("the final decision", choices=_DECISIONS),
        "rules": _ids("the rules that decided among the rules: the strictest of those that match"),
        "limits": _ids("the limits that refused"),
        "budgets": _ids("the budgets that refused"),
        "shadow": _ids("the shadow rules that would have spoken"),
        "advice": _ids("the advisory rules that spoke"),
        "excepted": _ids("the rules that an exception or a person lifted"),
        "liftable": _ids("the soft rules, limits and budgets that break-glass could lift"),
        "obligations": OBLIGATIONS,
        "verify_within": Leaf("by when telemetry must show the effect", kind="duration"),
        "would_be": Leaf("the decision if shadow rules were enforced", choices=_DECISIONS),
        "refused_by": Leaf("what said no first", choices=REFUSERS),
        "by": _ids("ids among what said no: of rules, limits, budgets or invariants such as S20"),
        "halts": Leaf("does the watch halt itself?", choices=_YES_NO),
    },
    required=("verdict",),
)
_AT = Leaf(
    "a moment and its zone: 2026-03-18T02:30 Europe/Berlin, 2026-03-18T01:30Z or …+01:00",
    pattern=MOMENT,
)
TEST = Record(
    "one case and what must come out",
    {"name": Leaf("one sentence"), "at": _AT, "given": GIVEN, "expect": EXPECT},
    required=("name", "expect"),
)
TEST_FILE = Record(
    "tests of a policy",
    {
        "apiVersion": Leaf("the version of this language", choices=(API_VERSION,)),
        "kind": Leaf("what the file holds", choices=("PolicyTest",)),
        "metadata": Record(
            "what the file is",
            {
                "name": Leaf("its name", pattern=NAME),
                "owner": Leaf("who answers for it"),
                "description": Leaf("what it is for"),
            },
            required=("name",),
        ),
        "at": _AT,
        "given": GIVEN,
        "tests": Many("the cases", TEST),
    },
    required=("apiVersion", "kind", "metadata", "tests"),
)

CASE_FILE = replace(
    TEST_FILE,
    fields={**TEST_FILE.fields, "tests": Many("the cases", replace(TEST, required=("name",)))},
)
"""A test file to be explained and not run: a case need not say what it expects."""


def test_schema() -> dict[str, Any]:
    """The declarations as JSON Schema (draft 2020-12), for completion in editors."""
    schema: dict[str, Any] = schema_of(TEST_FILE)
    given = schema_of(GIVEN)
    for name, fact in FACTS.items():
        section, _, key = name.partition(".")
        if fact.type in ("map", "list") or section == "action":
            continue
        holder = given["properties"][section]["properties"] if key else given["properties"]
        typed = schema_of(leaf_of(name))
        holder[key or section] = {
            "description": typed.pop("description"),
            "anyOf": [typed, {"const": UNKNOWN}],
        }
    schema["properties"]["given"] = {"$ref": "#/$defs/given"}
    schema["properties"]["tests"]["items"]["properties"]["given"] = {"$ref": "#/$defs/given"}
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Watchkeeper policy test",
    }
    found: dict[str, Any] = _with_booleans({**head, **schema, "$defs": {"given": given}})
    return found


def _with_booleans(schema: Any) -> Any:
    """Our reader sees words; an editor sees `true` as a boolean."""
    if isinstance(schema, list):
        return [_with_booleans(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _with_booleans(value) for key, value in schema.items()}
    if found.get("enum") == list(_YES_NO):
        del found["enum"]
        found["type"] = "boolean"
    return found


if __name__ == "__main__":
    import json
    import sys

    # python -m watchkeeper.policy.trial.case_schema > policies/policy-test.schema.json
    sys.stdout.write(json.dumps(test_schema(), indent=2) + "\n")
