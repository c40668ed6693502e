"""What a policy file may hold, declared once: the loader reads by it, and editors complete by it.

`json_schema` gives the same declarations as JSON Schema; it is committed beside the policies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from watchkeeper.core.action import KINDS
from watchkeeper.core.roles import BINDABLE

API_VERSION = "watchkeeper/v1"
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ENFORCEMENT = ("advisory", "soft", "hard")
BREAK_GLASS = "break-glass"
"""The group of people who may lift what is soft."""

SCOPES = ("fleet", "pool", "rack", "leaf", "tenant", "job")
FAMILIES = tuple(dict.fromkeys(f"{kind.partition('.')[0]}.*" for kind in KINDS))[:4]
"""`node.*` and so on: every kind of one family. Kinds of actions only, never targets."""

WORD = r"[A-Za-z][A-Za-z0-9_]{0,62}"
"""A name that can stand in a condition, as in `var.confirmed`."""

NAME = r"[A-Za-z][A-Za-z0-9_-]{0,62}"
POOL = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?"
"""The name of a pool or a power feed, as the inventory has it."""

DEPLOYMENT = r"default|[A-Za-z0-9_.-]{1,120}/[A-Za-z0-9_.-]{1,120}"

PERSON = r"[A-Za-z0-9](?:[A-Za-z0-9._@:+-]{0,126}[A-Za-z0-9])?"


@dataclass(frozen=True, slots=True)
class Leaf:
    """One scalar. kind: text, whole, number, duration, clock, date, money, condition."""

    says: str
    kind: str = "text"
    pattern: str = ""
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Many:
    """A list of at least one; with `or_one`, a single item may stand for the list."""

    says: str
    item: Leaf | Record
    or_one: bool = False


@dataclass(frozen=True, slots=True)
class Named:
    """A mapping from names that the author chooses."""

    says: str
    value: Leaf | Many | Record
    key: str = NAME


@dataclass(frozen=True, slots=True)
class Record:
    """A mapping with known keys."""

    says: str
    fields: dict[str, Spec]
    required: tuple[str, ...] = ()


Spec: TypeAlias = Leaf | Many | Named | Record

_ACTIONS = Many(
    'kinds of action; "*" means every kind that changes the cluster',
    Leaf("a kind of action", choices=("*", *FAMILIES, *KINDS)),
)
_PEOPLE = Named(
    "groups of people who may be asked; a person's name is also their login",
    Many("who is in the group", Leaf("a person", pattern=PERSON)),
)
_ROLES = Record(
    "which groups hold which role at the console; without it every group is viewer, operator and "
    "approver. The group `break-glass` holds the role of that name",
    {
        role.value: Many(f"groups that hold the role {role}", Leaf("a group", pattern=NAME))
        for role in BINDABLE
    },
)
_WINDOW = Record(
    "a span of local time that comes back on the given days",
    {
        "days": Many("the days on which it opens", Leaf("a day", choices=DAYS)),
        "from": Leaf("when it opens, local time", kind="clock"),
        "to": Leaf(
            "when it closes; before `from` means on the next day; the same time is refused",
            kind="clock",
        ),
        "tz": Leaf("an IANA zone, such as Europe/Berlin", pattern=r"[A-Za-z0-9_+/-]{1,64}"),
        "holidays": Leaf(
            "a country, or country-region, whose public holidays keep it shut",
            pattern=r"[A-Z]{2}(-[A-Z0-9]{1,3})?",
        ),
        "first": Leaf("the first day on which it may open, such as 2026-12-18", kind="date"),
        "last": Leaf("the last day on which it may open", kind="date"),
    },
    required=("days", "from", "to", "tz"),
)
_ENFORCEMENT = Leaf(
    "advisory: said and not applied; soft: break-glass may lift it; hard (default): nobody may",
    choices=ENFORCEMENT,
)
_MODE = Leaf("shadow: recorded, never applied", choices=("enforce", "shadow"))
_LIMIT = Record(
    "a bound over all matching actions together; an action beyond it is refused whole",
    {
        "id": Leaf("its name in every verdict", pattern=NAME),
        "actions": _ACTIONS,
        "per": Leaf("what is counted apart", choices=SCOPES),
        "max_out": Record(
            "how many nodes may be out at once, those out already included; the smaller wins",
            {
                "count": Leaf("nodes", kind="whole", least=0, most=100_000),
                "percent": Leaf(
                    "of the nodes; rounds down, to at least 1 unless 0",
                    kind="number",
                    least=0,
                    most=100,
                ),
            },
        ),
        "rate": Record(
            "how many such actions may start within a time",
            {
                "count": Leaf("actions", kind="whole", least=0, most=100_000),
                "per": Leaf("the time, such as 1h; at most 31d", kind="duration"),
            },
            required=("count", "per"),
        ),
        "concurrency": Leaf(
            "how many such actions may be under way at once", kind="whole", least=0, most=100_000
        ),
        "enforcement": _ENFORCEMENT,
        "mode": _MODE,
        "reason": Leaf("a sentence for whoever is refused"),
    },
    required=("id", "actions", "per"),
)
_BUDGET = Record(
    "what may be spent in a time that moves along; an action beyond it is refused whole",
    {
        "id": Leaf("its name in every verdict", pattern=NAME),
        "actions": _ACTIONS,
        "per": Leaf("what is counted apart; fleet where it is left out", choices=SCOPES),
        "every": Leaf("the time looked back over, at most 31d", kind="duration"),
        "disruptions": Leaf(
            "disruptive actions; the steps of one incident count once",
            kind="whole",
            least=0,
            most=100_000,
        ),
        "gpu_hours": Leaf("GPU-hours lost", kind="number", least=0, most=100_000_000),
        "money": Leaf("an amount, such as 500 USD; needs `prices`", kind="money"),
        "enforcement": _ENFORCEMENT,
        "mode": _MODE,
        "reason": Leaf("a sentence for whoever is refused"),
    },
    required=("id", "every"),
)
_ALLOWANCE = Record(
    "what may be used in a calendar month; measured and projected by `watchkeeper cost`",
    {
        "id": Leaf("its name in every report", pattern=NAME),
        "tenant": Leaf("counts this tenant alone"),
        "pool": Leaf("counts this pool alone", pattern=POOL),
        "gpu_hours": Leaf("GPU-hours held", kind="number", least=0, most=100_000_000),
        "money": Leaf("an amount, such as 40000 USD; needs a price book", kind="money"),
        "energy_kwh": Leaf("kWh drawn by GPUs", kind="number", least=0, most=100_000_000),
        "tz": Leaf("the IANA zone of the month; UTC where it is left out"),
        "warn_at": Leaf("percent at which people are told", kind="number", least=1, most=100),
        "when_used_up": Leaf(
            "tell (default): it is told; hold: gangs that it covers wait for the next month",
            choices=("tell", "hold"),
        ),
        "reason": Leaf("a sentence for whoever asks why"),
    },
    required=("id",),
)
_CAPACITY = Record(
    "how large the pool should be",
    {
        "service_level": Leaf(
            "percent of the time in which the demand that is forecast must fit",
            kind="number",
            least=50,
            most=99.9,
        ),
        "spot_at_most": Leaf(
            "percent of the planned nodes that may be spot; none where it is left out",
            kind="number",
            least=0,
            most=100,
        ),
        "nodes_at_most": Leaf("nodes in all", kind="whole", least=0, most=100_000),
    },
    required=("service_level",),
)
_FLOOR = Record(
    "what is kept of the pool, whatever a rule, the dial or a person says (S11)",
    {
        "nodes_at_least": Leaf(
            "nodes that stay in service: alive and not fenced", kind="whole", least=0, most=100_000
        ),
        "spares_at_least": Leaf(
            "nodes that stay free for work: in service, every GPU free",
            kind="whole",
            least=0,
            most=100_000,
        ),
    },
)
_CLASS = Record(
    "gangs of a priority and above, of which preemption leaves so much running (S11)",
    {
        "priority_at_least": Leaf(
            "the lowest priority that is part of it", kind="whole", least=0, most=1_000_000
        ),
        "gpus_at_least": Leaf("GPUs that go on running", kind="number", least=0, most=1_000_000),
    },
    required=("priority_at_least", "gpus_at_least"),
)
_QUOTA = Record(
    "what a tenant is promised, over the whole fleet",
    {
        "gpus": Leaf("GPUs that are its own at any time", kind="number", least=0, most=1_000_000),
        "gpus_at_most": Leaf(
            "GPUs with what it borrows; as many as are free where it is left out",
            kind="number",
            least=0,
            most=1_000_000,
        ),
        "weight": Leaf(
            "its share of what is left over; 1 where it is left out",
            kind="number",
            least=0.01,
            most=1000,
        ),
    },
    required=("gpus",),
)
_SERVING = Record(
    "what a deployment of a model server promises",
    {
        "latency": Leaf("at most, such as 500ms or 2s", kind="duration"),
        "percentile": Leaf(
            "of its answers: 50, 95 (default) or 99", kind="whole", least=50, most=99
        ),
        "ready_after": Leaf(
            "from asking for a node to the first answer of a replica there; 10m where left out",
            kind="duration",
        ),
        "replicas_at_least": Leaf("that always run; 1 if left out", kind="whole", most=10_000),
        "service_level": Leaf(
            "percent of the time in which the rate that is forecast must fit; 95 if left out",
            kind="number",
            least=50,
            most=99.9,
        ),
    },
    required=("latency",),
)
_FEED = Record(
    "what the feed may carry",
    {
        "limit_kw": Leaf("power of all GPUs on it, kW", kind="number", least=0.1, most=100_000),
        "act_at": Leaf("percent of it at which GPUs are capped", kind="number", least=10, most=100),
        "least_watts": Leaf("no GPU is capped below this", kind="number", least=1, most=10_000),
        "full_watts": Leaf(
            "what a GPU may draw uncapped: caps go back to it when the feed has room; without it a "
            "person takes them back",
            kind="number",
            least=1,
            most=10_000,
        ),
    },
    required=("limit_kw",),
)
_EXCEPTION = Record(
    "lifts exactly one rule, for a time, in somebody's name",
    {
        "id": Leaf("its name in every verdict", pattern=NAME),
        "rule": Leaf("the rule that it lifts, an ask or a deny", pattern=NAME),
        "actions": _ACTIONS,
        "when": Leaf("lifts it only where this CEL condition holds", kind="condition"),
        "owner": Leaf("who answers for it"),
        "ticket": Leaf("where it was agreed"),
        "until": Leaf("the last day (UTC) on which it holds", kind="date"),
        "reason": Leaf("a sentence for whoever asks why"),
    },
    required=("id", "rule", "owner", "ticket", "until", "reason"),
)
_RULE = Record(
    "what may happen, by whom it must be approved, or what never may",
    {
        "id": Leaf("its name in every verdict", pattern=NAME),
        "effect": Leaf("what it says when it matches", choices=("allow", "ask", "deny")),
        "actions": _ACTIONS,
        "during": Many(
            "windows; open while any of them is open",
            Leaf("a window", pattern=NAME),
            or_one=True,
        ),
        "when": Leaf("a CEL condition over declared facts", kind="condition"),
        "require": Record(
            "what must hold as well; an allow without it does not match, an ask without it denies",
            {
                "checkpoint_age": Leaf("oldest checkpoint of a gang it stops", kind="duration"),
                "verify_within": Leaf("when telemetry must show the effect", kind="duration"),
                "confidence": Leaf("least confidence", kind="number", least=0, most=1),
                "independent_sources": Leaf(
                    "different instruments that agree", kind="whole", least=0, most=100
                ),
            },
        ),
        "approvals": Record(
            "whom to ask, how many of them, and until when",
            {
                "quorum": Leaf("how many people", kind="whole", least=1, most=20),
                "from": Many("groups", Leaf("group:NAME", pattern=rf"(group:)?{NAME}")),
                "expires": Leaf("how long the question stands", kind="duration"),
                "on_timeout": Leaf("what silence means", choices=("escalate", "deny")),
                "escalate": Record(
                    "who else is called, and may answer, when nobody has answered for a while",
                    {
                        "after": Leaf("how long after the question", kind="duration"),
                        "to": Many("groups", Leaf("group:NAME", pattern=rf"(group:)?{NAME}")),
                    },
                    required=("after", "to"),
                ),
            },
        ),
        "enforcement": _ENFORCEMENT,
        "mode": _MODE,
        "until": Leaf("the last day (UTC) on which it is in force", kind="date"),
        "reason": Leaf("a sentence for whoever is asked or refused"),
    },
    required=("id", "effect", "actions"),
)
_METADATA = Record(
    "what the file is",
    {
        "name": Leaf("its name", pattern=NAME),
        "owner": Leaf("who answers for it"),
        "description": Leaf("what it is for"),
    },
    required=("name",),
)
_HEAD: dict[str, Spec] = {
    "apiVersion": Leaf("the version of this language", choices=(API_VERSION,)),
    "kind": Leaf("what the file holds", choices=("Policy", "People")),
    "metadata": _METADATA,
}
POLICY = Record(
    "standing orders",
    {
        **_HEAD,
        "people": _PEOPLE,
        "variables": Named(
            "parts of conditions, used as `var.NAME`, shared by all files",
            Leaf("a CEL expression over declared facts", kind="condition"),
            key=WORD,
        ),
        "lists": Named(
            "lists of words, used as `list.NAME` in conditions, shared by all files",
            Many("the words", Leaf("a word")),
            key=WORD,
        ),
        "prices": Named(
            "what one GPU-hour costs, by pool; `default` stands for every other pool",
            Leaf("an amount, such as 2.10 USD", kind="money"),
        ),
        "windows": Named("named spans of time, shared by all files", _WINDOW),
        "limits": Many("bounds", _LIMIT),
        "budgets": Many("what may be spent", _BUDGET),
        "allowances": Many("what may be used in a calendar month", _ALLOWANCE),
        "capacity": Named("how large each pool should be", _CAPACITY, key=POOL),
        "floors": Named(
            "what is kept of each pool (S11); `default` stands for every other pool",
            _FLOOR,
            key=POOL,
        ),
        "quorums": Named(
            "groups of nodes of which more than half stay in service (S11)",
            Many("its members", Leaf("the name of a node", pattern=POOL)),
        ),
        "classes": Named("classes of priority that preemption leaves running (S11)", _CLASS),
        "quotas": Named("what each tenant is promised, in the line of gangs", _QUOTA),
        "serving": Named(
            "latency that each deployment promises, by application/deployment, or `default`",
            _SERVING,
            key=DEPLOYMENT,
        ),
        "power_feeds": Named("what each power feed may carry", _FEED, key=POOL),
        "rules": Many("rules; the strictest of those that match decides", _RULE),
        "exceptions": Many("dated exceptions from rules", _EXCEPTION),
        "exceptions_at_most": Leaf(
            "how far ahead the end of an exception may lie, such as 90d", kind="duration"
        ),
    },
    required=("apiVersion", "kind", "metadata"),
)
PEOPLE = Record(
    "who may be asked, shared by all policies",
    {**_HEAD, "people": _PEOPLE, "roles": _ROLES},
    required=("apiVersion", "kind", "metadata", "people"),
)

DURATION = r"([0-9]+(ms|[smhdw]))+"
CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00"
MONEY = r"[0-9]{1,12}(\.[0-9]{1,4})? [A-Z]{3}"
DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"


def json_schema() -> dict[str, Any]:
    """The declarations as JSON Schema (draft 2020-12), for completion in editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Watchkeeper policy",
        "type": "object",
        "properties": {"kind": {"enum": ["Policy", "People"]}},
        "required": ["kind"],
        "if": {"properties": {"kind": {"const": "People"}}},
        "then": _schema_of(PEOPLE),
        "else": _schema_of(POLICY),
    }


def _schema_of(spec: Spec) -> dict[str, Any]:
    match spec:
        case Leaf():
            return {"description": spec.says, **_leaf_schema(spec)}
        case Many():
            item = _schema_of(spec.item)
            many = {"type": "array", "minItems": 1, "items": item}
            shape = {"anyOf": [item, many]} if spec.or_one else many
            return {"description": spec.says, **shape}
        case Named():
            return {
                "description": spec.says,
                "type": "object",
                "propertyNames": {"pattern": f"^({spec.key})$"},
                "additionalProperties": _schema_of(spec.value),
            }
        case Record():
            return {
                "description": spec.says,
                "type": "object",
                "properties": {key: _schema_of(value) for key, value in spec.fields.items()},
                "required": list(spec.required),
                "additionalProperties": False,
            }


def _leaf_schema(leaf: Leaf) -> dict[str, Any]:
    if leaf.choices:
        return {"enum": list(leaf.choices)}
    bounds = {"minimum": leaf.least, "maximum": leaf.most}
    match leaf.kind:
        case "whole":
            return {"type": "integer", **{k: v for k, v in bounds.items() if v is not None}}
        case "number":
            return {"type": "number", **{k: v for k, v in bounds.items() if v is not None}}
    patterns = {"duration": DURATION, "clock": CLOCK, "date": DATE, "money": MONEY}
    pattern = leaf.pattern or patterns.get(leaf.kind, "")
    return {"type": "string", **({"pattern": f"^({pattern})$"} if pattern else {})}


if __name__ == "__main__":
    import json
    import sys

    # python -m watchkeeper.policy.schema > policies/policy.schema.json
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
