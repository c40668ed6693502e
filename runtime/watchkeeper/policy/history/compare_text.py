"""A comparison as `policy diff` prints it: what was replayed, what changed, by rule, with examples.

Plain text of at most 100 columns, without colours. Decides nothing.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable

from watchkeeper.policy.history.comparison import (
    Carrier,
    Change,
    Comparison,
    Group,
    Mismatch,
    Section,
    Was,
)

WIDTH = 100
MOST = 8
"""Groups of one section that are printed; the rest is counted."""

_TITLES = {
    "newly_allowed": "Newly allowed",
    "newly_asked": "Newly asked",
    "newly_denied": "Newly denied",
    "ask_loosened": "Still asked, on looser terms",
    "ask_tightened": "Still asked, on stricter terms",
    "deny_softened": "Still denied, but break-glass may now lift it",
    "deny_hardened": "Still denied, and break-glass may no longer lift it",
    "verify_changed": "Same decision, another time to verify",
}
_PAST = {"allow": "allowed", "ask": "asked", "deny": "denied"}


def as_text(
    found: Comparison, *, old: str, new: str, since: str, examples: int, caution: str = ""
) -> str:
    """The report. old and new: the folders; since: the period in words, such as
    `30 days`;
    caution: what could not be verified about the journal, or ""."""
    lines = _denominator(found, since)
    if caution:
        lines += _wrapped(caution)
    lines += ["", *_self_check(found), *_summary(found, old, new)]
    for section in found.sections:
        lines += ["", *_section(section, examples)]
    lines += _shadow(found, examples)
    return "\n".join([*lines, *_quotas(found)])


def _quotas(found: Comparison) -> list[str]:
    """Quotas refuse no action: what they would have meant is told by what was metered."""
    if not found.quotas:
        return []
    lines = ["", f"Quotas: {_n(len(found.quotas), 'tenant')} would be held to another share."]
    for one in found.quotas:
        said = f"{one.tenant}: {one.old} -> {one.new}."
        if one.stretches:
            said += (
                f" Of {_n(one.stretches, 'metered quarter')} of an hour it held more "
                f"than it may in {one.beyond_old} under OLD and {one.beyond_new} under NEW, and "
                f"borrowed in {one.borrowed_old} and {one.borrowed_new}."
            )
        else:
            said += " Nothing was metered in this time."
        lines += _wrapped(said, first="  ", rest="    ")
    return lines


def _denominator(found: Comparison, since: str) -> list[str]:
    span = f"{found.since:%Y-%m-%d} … {found.until:%Y-%m-%d}"
    if not found.judged:
        return [f"There are no decisions in the last {since} ({span}): nothing was compared."]
    head = (
        f"Replayed {found.replayed} of {_n(found.judged, 'decision')} of the last {since} ({span})"
    )
    if found.replayed:
        head += f", for {_n(found.proposals, 'proposal')}"
    left = found.judged - found.replayed
    if not left:
        return _wrapped(f"{head}.")
    lines = [*_wrapped(f"{head}."), f"{left} could not be replayed:"]
    for reason in found.unreplayed:
        why = f"{reason.why} (first: event {reason.first})"
        lines += _wrapped(why, first=f"{reason.count:>6}  ", rest=" " * 8)
    return lines


def _self_check(found: Comparison) -> list[str]:
    if not found.checked:
        if not found.replayed:
            return []
        said = "Neither set gave any of these verdicts, so the replay itself could not be checked."
        return _wrapped(said)
    if not found.mismatches:
        gave = _n(found.checked, "verdict")
        return [f"Self-check: these sets gave {gave} then, and give the same now."]
    differ = _n(len(found.mismatches), "replay")
    verb = "differs" if len(found.mismatches) == 1 else "differ"
    lines = _wrapped(
        f"CAUTION: {differ} of {found.checked} {verb} from what was recorded under the same "
        "policy: the code changed since, and what follows may come from that."
    )
    for one in found.mismatches[:3]:
        lines += _mismatch(one)
    return lines


def _mismatch(one: Mismatch) -> list[str]:
    head = [f"        {one.at:%Y-%m-%d %H:%M}Z  {one.proposal}, event {one.seq}"]
    for label, text in (("recorded: ", one.recorded), ("replayed: ", one.replayed)):
        head += _wrapped(text, first=" " * 10 + label, rest=" " * 20, most=2)
    return head


def _summary(found: Comparison, old: str, new: str) -> list[str]:
    sets = f"from {old} (version {found.old_version}) to {new} (version {found.new_version})"
    if not found.replayed:
        return _wrapped(f"Nothing can be said of the change {sets}.")
    if not found.changed:
        return _wrapped(f"Nothing changes {sets}: all {found.replayed} come out the same.")
    parts = [f"{found.widened} let more happen", f"{found.narrowed} let less happen"]
    neutral = found.changed - found.widened - found.narrowed
    if neutral:
        parts.append(f"{neutral} differ otherwise")
    changes = f"{_n(found.changed, 'decision')} {'changes' if found.changed == 1 else 'change'}"
    return _wrapped(f"{changes} {sets}: {', '.join(parts)}; {found.unchanged} unchanged.")


def _section(section: Section, examples: int) -> list[str]:
    changes = section.changes
    title = f"{_TITLES[section.what]}: {len(changes)}"
    if section.what.startswith("newly_"):
        were = Counter(_PAST[change.old.value] for change in changes)
        title += f" ({', '.join(f'{count} {past} before' for past, count in were.most_common())})"
    lines = [title, *(x for group in section.groups[:MOST] for x in _group(group, examples))]
    if rest := section.groups[MOST:]:
        left = sum(len(group.changes) for group in rest)
        lines.append(f"{left:>6}  by {_n(len(rest), 'other rule')}; -o json has them all")
    return lines


def _group(group: Group, examples: int) -> list[str]:
    lines = _wrapped(_by(group.carriers), first=f"{len(group.changes):>6}  ", rest=" " * 8, most=3)
    was = [
        _before(one) + (f" ({one.count})" if len(group.was) > 1 else "")
        for one in group.was
        if one.carriers != group.carriers
    ]
    if was:
        more = f"; and {len(was) - 3} others" if len(was) > 3 else ""
        said = f"before: {'; '.join(was[:3])}{more}"
        lines += _wrapped(said, first=" " * 8, rest=" " * 16, most=4)
    return [*lines, *_examples(group, examples)]


def _before(was: Was) -> str:
    past = _PAST[was.decision.value]
    if any(carrier.kind == "default" for carrier in was.carriers):
        return f"{past}, as no rule matched"
    return f"{past} by {_by(was.carriers)}"


def _examples(group: Group, most: int) -> list[str]:
    """The latest judgement of each of the first few proposals."""
    judged: dict[str, list[Change]] = {}
    for change in group.changes:
        judged.setdefault(change.proposal, []).append(change)
    shown = list(judged.values())[:most]
    return [line for changes in shown for line in _example(changes[-1], len(changes))]


def _example(change: Change, times: int) -> list[str]:
    parts = (change.action, change.incident, change.proposal)
    judged = f", judged {times} times" if times > 1 else ""
    head = f"{change.at:%Y-%m-%d %H:%M}Z  {'  '.join(part for part in parts if part)}{judged}"
    lines = _wrapped(head, first=" " * 8, rest=" " * 28, most=2)
    if change.terms:
        return lines + _wrapped(change.terms, first=" " * 10, rest=" " * 12, most=3)
    for label, decision, because in (
        ("old: ", change.old, change.old_because),
        ("new: ", change.new, change.new_because),
    ):
        said = f"{decision.value}, {because}"
        lines += _wrapped(said, first=" " * 10 + label, rest=" " * 15, most=2)
    return lines


def _shadow(found: Comparison, examples: int) -> list[str]:
    if not found.shadow and not found.shadow_old:
        return []
    would = sum(len(group.changes) for group in found.shadow)
    lines = [
        "",
        f"Shadow rules decide nothing. Enforced, they would change {would} of the decisions",
    ]
    lines[-1] += f" of NEW ({found.shadow_old} of OLD)."
    for group in found.shadow:
        ends = Counter(
            f"{change.old.value} -> {change.new.value}" for change in group.changes
        ).most_common()
        said = f"{_by(group.carriers)}: {', '.join(f'{count} {text}' for text, count in ends)}"
        lines += _wrapped(said, first=f"{len(group.changes):>6}  ", rest=" " * 8, most=3)
        lines += _examples(group, examples)
    return lines


def _by(carriers: Iterable[Carrier]) -> str:
    return " and ".join(str(carrier) for carrier in carriers) or "no rule"


def _n(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _wrapped(text: str, first: str = "", rest: str = "", most: int = 0) -> list[str]:
    """Lines of at most WIDTH columns; with `most`, what is left over ends in …"""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        max_lines=most or None,
        placeholder=" …",
        break_on_hyphens=False,
    )
