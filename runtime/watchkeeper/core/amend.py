"""A person changes what is asked: which arguments may change, to what, and whether that is less.

Pure. The fields come from the action's own schema; targets are no fields, because another target is
another question. Judging a change, and asking it, is the desk's.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from watchkeeper.core.action import Action, kind_of, say, targets_of
from watchkeeper.core.errors import Malformed
from watchkeeper.core.proposal import Impact, Proposal
from watchkeeper.core.verdict import Verdict
from watchkeeper.core.word import Word

STEPS = "steps"
"""The field that says after which step to end: every plan may be cut short."""


class Argument(Word, frozen=True):
    """One argument that a person may change. milder: `more` or `less` of it harms less.

    low and high: what the schema takes, in `unit`; both 0 for a yes or no.
    """

    label: str
    unit: str
    low: float
    high: float
    milder: str


ARGUMENTS: dict[tuple[str, str], Argument] = {
    ("node.drain", "deadline_s"): Argument("Time to finish work", "s", 0, 86400, "more"),
    ("gpu.power_cap", "watts"): Argument("Power cap", "W", 1, 10_000, "more"),
    ("pool.scale", "add"): Argument("Nodes to add", "nodes", 1, 1000, "less"),
    ("pool.reserve", "nodes"): Argument("Nodes to hold", "nodes", 1, 1000, "less"),
    ("job.preempt", "at_once"): Argument("End it now, without a checkpoint", "", 0, 0, "less"),
}
"""What may be changed, by kind and field."""

FIXED = frozenset({
    "node", "incarnation", "gpu", "job", "attempt_id", "for_job", "pool", "subject", "title",
    "body", "workers", "before", "begin", "until", "tenant",
})  # fmt: skip
"""Fields that name a target, or follow from evidence: never a person's to type. `nodes` of a place
is one of them too; a contract test holds every field of every action against these two tables."""


class Field(Word, frozen=True):
    """One field of the form. name: `0.deadline_s` (step and argument), or `steps`. value: as it
    stands. kind: `number`, `whole`, `choice` (of `options`: value and label)."""

    name: str
    label: str
    kind: str
    value: str
    unit: str = ""
    low: float = 0.0
    high: float = 0.0
    milder: str = ""
    options: tuple[tuple[str, str], ...] = ()


class Amendment(Word, frozen=True):
    """A change as policy sees it, before anybody asked for it. Nothing of it is recorded.

    narrows: it is less than what was asked, so it stays the requester's question; else it becomes
    its author's own, and somebody else must approve. digest: of the steps and of the question that
    they were drawn from; asking carries it back. says: what asking for it would mean, in words.
    """

    proposal: str
    steps: tuple[str, ...]
    narrows: bool
    by: str
    impact: Impact
    blast: str
    if_approved: str
    verdict: Verdict
    digest: str
    says: str

    @property
    def may_be_asked(self) -> bool:
        return self.verdict.decision.value != "deny"


def steps_of(proposal: Proposal) -> tuple[Action, ...]:
    """What is asked for, and what would follow."""
    return (proposal.action, *proposal.plan)


def fields_of(proposal: Proposal) -> tuple[Field, ...]:
    """The form for one proposal; () where nothing of it can be changed."""
    steps = steps_of(proposal)
    found = [
        _field(i, step, name, about)
        for i, step in enumerate(steps)
        for (kind, name), about in ARGUMENTS.items()
        if kind == kind_of(step)
    ]
    if len(steps) > 1:
        options = tuple((str(i + 1), f"{i + 1}. {say(step)}") for i, step in enumerate(steps))
        found.append(
            Field(STEPS, "End after step", "choice", str(len(steps)), milder="less",
                  options=options)
        )  # fmt: skip
    return tuple(found)


def _field(i: int, step: Action, name: str, about: Argument) -> Field:
    value = getattr(step, name)
    label = about.label
    if isinstance(value, bool):
        options = (("no", "no"), ("yes", "yes"))
        said = "yes" if value else "no"
        return Field(f"{i}.{name}", label, "choice", said, milder=about.milder, options=options)
    kind = "whole" if isinstance(value, int) else "number"
    return Field(
        f"{i}.{name}", label, kind, f"{value:g}", about.unit, about.low, about.high, about.milder
    )


def amended(proposal: Proposal, given: Mapping[str, str]) -> tuple[Action, ...]:
    """The steps with what a person gave; what they left out stays. Raises Malformed: an unknown
    field, a value that the schema refuses, or nothing changed."""
    steps = list(steps_of(proposal))
    known = {f.name: f for f in fields_of(proposal)}
    for name in given:
        if name not in known:
            raise Malformed(f"{name[:60]} is no argument that can be changed here.")
    for name, text in given.items():
        if name != STEPS:
            index, _, argument = name.partition(".")
            steps[int(index)] = _with(steps[int(index)], argument, known[name], text.strip())
    if STEPS in given:
        steps = steps[: _whole(given[STEPS].strip(), known[STEPS], 1, len(steps))]
    if tuple(steps) == steps_of(proposal):
        raise Malformed("Nothing is changed: these are the values that are asked already.")
    return tuple(steps)


def narrows(old: tuple[Action, ...], new: tuple[Action, ...]) -> bool:
    """Is the new less than the old in everything: no step that was not there, none harsher?"""
    if not new or len(new) > len(old):
        return False
    return all(_milder(before, after) for before, after in zip(old, new, strict=False))


def _milder(before: Action, after: Action) -> bool:
    if type(before) is not type(after):
        return False
    for field in msgspec.structs.fields(type(before)):
        was, now = getattr(before, field.name), getattr(after, field.name)
        if was == now:
            continue
        about = ARGUMENTS.get((kind_of(before), field.name))
        if about is None or (now > was) is not (about.milder == "more"):
            return False
    return True


def no_harsher(shown: Action, action: Action) -> bool:
    """Is this step what was shown, or less? The same kind and targets; an incarnation may have
    passed meanwhile, and is judged elsewhere."""
    kind = kind_of(action)
    if (kind, targets_of(action)) != (kind_of(shown), targets_of(shown)):
        return False
    return all(
        now == was or (now > was) is (about.milder == "more")
        for (of, name), about in ARGUMENTS.items()
        if of == kind and ((was := getattr(shown, name)), (now := getattr(action, name)))
    )


def as_shown(action: Action, shown: Action) -> Action:
    """The action with the arguments of a step that was shown for the same targets; the very same
    object where they agree."""
    kind = kind_of(action)
    given = {name: getattr(shown, name) for of, name in ARGUMENTS if of == kind}
    if all(getattr(action, name) == value for name, value in given.items()):
        return action
    return msgspec.structs.replace(action, **given)


def _with(step: Action, argument: str, field: Field, text: str) -> Action:
    value: object
    if field.kind == "choice":
        if text not in ("yes", "no"):
            raise Malformed(f"{field.label}: say yes or no.")
        value = text == "yes"
    elif field.kind == "whole":
        value = _whole(text, field, field.low, field.high)
    else:
        value = _number(text, field, field.low, field.high)
    try:
        # Through the schema, not around it: whatever the action itself refuses is refused here.
        raw = {**msgspec.to_builtins(step), argument: value}
        return msgspec.convert(raw, type(step))
    except ValueError as err:
        raise Malformed(f"{field.label}: {err}.") from err


def _whole(text: str, field: Field, low: float, high: float) -> int:
    number = _number(text, field, low, high)
    if number != int(number):
        raise Malformed(f"{field.label}: a whole number, not {text[:40]}.")
    return int(number)


def _number(text: str, field: Field, low: float, high: float) -> float:
    try:
        value = float(text) if len(text) <= 20 else float("nan")
    except ValueError:
        value = float("nan")
    if not low <= value <= high:  # and what is no number
        unit = f" {field.unit}" if field.unit else ""
        raise Malformed(f"{field.label}: a number from {low:g} to {high:g}{unit}.")
    return value
