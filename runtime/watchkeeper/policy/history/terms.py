"""Is one verdict looser than another? Decision first, then what an ask demands and a no permits.

Whatever cannot be told apart counts as looser: a reviewer looks at it once too often.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from watchkeeper.core.verdict import Decision, Obligations, Verdict

People = Mapping[str, tuple[str, ...]]
"""Group to members, as a CheckedPolicy has it."""


class Difference(NamedTuple):
    """How two verdicts differ. what: a Section's, or "" for not at all. text: the obligations
    that differ, in words, when the decision does not."""

    what: str = ""
    wider: bool = False
    narrower: bool = False
    text: str = ""


class _Terms(NamedTuple):
    """Differences of obligations, in words, by their direction."""

    weaker: list[str]
    stronger: list[str]


def difference(old: Verdict, new: Verdict, old_people: People, new_people: People) -> Difference:
    """Hold the new verdict against the old one, for the same proposal at the same moment."""
    if old.decision is not new.decision:
        wider = new.decision.strictness < old.decision.strictness
        past = {"allow": "allowed", "ask": "asked", "deny": "denied"}[new.decision.value]
        return Difference(f"newly_{past}", wider, not wider)
    if old.obligations is not None and new.obligations is not None:
        terms = _of_asks(old.obligations, new.obligations, old_people, new_people)
        if terms.weaker or terms.stronger:
            text = "; ".join([*terms.weaker, *terms.stronger])
            what = "ask_loosened" if terms.weaker else "ask_tightened"
            return Difference(what, bool(terms.weaker), not terms.weaker, text)
    if new.decision is Decision.DENY and bool(old.liftable) != bool(new.liftable):
        if new.liftable:
            text = f"break-glass may lift {', '.join(new.liftable)}"
            return Difference("deny_softened", wider=True, text=text)
        text = f"break-glass could lift {', '.join(old.liftable)}, and no longer can"
        return Difference("deny_hardened", narrower=True, text=text)
    if old.verify_within_s != new.verify_within_s:
        text = f"verified within {_s(old.verify_within_s)} -> {_s(new.verify_within_s)}"
        return Difference("verify_changed", text=text)
    return Difference()


def _of_asks(old: Obligations, new: Obligations, before: People, after: People) -> _Terms:
    weaker: list[str] = []
    stronger: list[str] = []

    def told(text: str, *, is_weaker: bool) -> None:
        (weaker if is_weaker else stronger).append(text)

    if old.quorum != new.quorum:
        text = f"{old.quorum} -> {new.quorum} approvals"
        told(text, is_weaker=new.quorum < old.quorum)
    _of_who("answered by", old.groups, new.groups, before, after, weaker, stronger)
    _of_who("escalated to", old.escalate_to, new.escalate_to, before, after, weaker, stronger)
    if old.expires_s != new.expires_s:
        text = f"open for {_s(old.expires_s)} -> {_s(new.expires_s)}"
        told(text, is_weaker=new.expires_s > old.expires_s)
    if old.on_timeout != new.on_timeout:
        text = f"on timeout {old.on_timeout} -> {new.on_timeout}"
        told(text, is_weaker=new.on_timeout != "deny")
    if old.escalate_after_s != new.escalate_after_s:
        text = f"escalated after {_s(old.escalate_after_s)} -> {_s(new.escalate_after_s)}"
        never = float("inf")  # more people may answer the sooner it is escalated
        told(text, is_weaker=_or(new.escalate_after_s, never) < _or(old.escalate_after_s, never))
    others = (n for n in Obligations.__struct_fields__ if n not in _KNOWN)
    weaker += [
        f"{name} {getattr(old, name)} -> {getattr(new, name)}"
        for name in others
        if getattr(old, name) != getattr(new, name)
    ]
    return _Terms(weaker, stronger)


_KNOWN = frozenset(
    {"quorum", "groups", "expires_s", "on_timeout", "escalate_after_s", "escalate_to"}
)


def _of_who(
    verb: str,
    old: tuple[str, ...],
    new: tuple[str, ...],
    before: People,
    after: People,
    weaker: list[str],
    stronger: list[str],
) -> None:
    """Groups, and who is in them: a name added to a group may answer what it could not."""
    were, are = _members(old, before), _members(new, after)
    gained = sorted((set(new) - set(old)) | (are - were))
    lost = sorted((set(old) - set(new)) | (were - are))
    if gained:
        weaker.append(f"{verb} {', '.join(gained)} as well")
    if lost:
        stronger.append(f"no longer {verb} {', '.join(lost)}")


def _members(groups: tuple[str, ...], people: People) -> set[str]:
    return {person for group in groups for person in people.get(group, ())}


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def _s(seconds: float | None) -> str:
    if seconds is None:
        return "no time"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
