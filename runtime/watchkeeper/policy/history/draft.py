"""A drafted change of policy with its evidence: is it sound, do tests hold, what would have been
decided otherwise over a journal, and what became of just that.

Asked by those who draft for a person to merge. Pure; loads nothing into a watch, grants nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from watchkeeper.core.errors import PolicyError
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.verdict import Answer, Decision
from watchkeeper.core.word import Word
from watchkeeper.policy.check import report
from watchkeeper.policy.history.compare import compare
from watchkeeper.policy.history.comparison import Comparison
from watchkeeper.policy.load import load
from watchkeeper.policy.model import CheckedPolicy
from watchkeeper.policy.trial.cases import failed, run

AS_TODAY = "as-today"
"""In the place of a verdict that a draft's test expects: what the orders say as they stand."""


class FileDraft(Word, frozen=True):
    """One more file of a policy folder, or another text of one, with its tests if it brings any;
    `AS_TODAY` may stand in them for a verdict. name: of the file, `x.yaml`. enforced: the same in
    force, where the text is in shadow; "" where it is in force as written."""

    name: str
    text: str
    tests: str = ""
    enforced: str = ""

    @property
    def tests_name(self) -> str:
        return f"{self.name.removesuffix('.yaml')}_test.yaml"


class Became(Word, frozen=True):
    """What came of the steps that would have been decided otherwise. Of each: how many."""

    recovered: int = 0
    failed: int = 0
    turned_down: int = 0
    not_taken: int = 0
    open: int = 0

    def says(self) -> str:
        """In words; only what there is."""
        told = {
            "recovered": self.recovered,
            "failed, made it worse or ended in doubt": self.failed,
            "turned down by a person": self.turned_down,
            "never carried out": self.not_taken,
            "still open": self.open,
        }
        return ", ".join(f"{n} {what}" for what, n in told.items() if n) or "none"


class Tried(Word, frozen=True):
    """A draft held against what there is. sound: it loads beside the orders and every test holds.
    check: what `policy check` prints. tests: of the folder and its own, and how many hold. found:
    the journal's decisions under the orders, and under them with the draft in force; None where it
    does not load. own_tests: the draft's own, with the verdicts of today. otherwise: proposals
    that would have been decided otherwise; became: of those.
    """

    sound: bool
    check: str
    tests: int
    passed: int
    problems: tuple[str, ...] = ()
    own_tests: str = ""
    found: Comparison | None = None
    otherwise: int = 0
    became: Became = Became()


def tried(
    orders: Mapping[str, str],
    tests: Mapping[str, str],
    draft: FileDraft,
    events: Iterable[Event],
    *,
    since: datetime,
    until: datetime,
) -> Tried:
    """Try a draft beside these orders (file name -> text) and over these events."""
    beside = {**orders, draft.name: draft.text}
    check, sound = report(beside, until, tests)
    if not sound:
        return Tried(sound=False, check=check, tests=0, passed=0, problems=(check,))
    try:
        before = load(orders, until)
        after = load({**orders, draft.name: draft.enforced or draft.text}, until)
    except PolicyError as err:
        return Tried(sound=False, check=check, tests=0, passed=0, problems=(str(err),))
    policy = load(beside, until)
    own = _as_today(policy, draft) if draft.tests else ""
    results = run(policy, {**tests, draft.tests_name: own} if own else tests)
    wrong = failed(results)
    kept = list(events)
    found = compare(kept, before, after, since=since, until=until)
    names = {c.proposal for section in found.sections for c in section.changes}
    return Tried(
        sound=not wrong,
        check=check,
        tests=len(results.results),
        passed=len(results.results) - len(results.failures),
        problems=tuple(map(str, wrong)),
        own_tests=own,
        found=found,
        otherwise=len(names),
        became=became(kept, names),
    )


def _as_today(beside: CheckedPolicy, draft: FileDraft) -> str:
    """The draft's tests with the verdicts that the orders give beside it: in shadow, those that
    they give without it."""
    parts = draft.tests.split(AS_TODAY)
    told = run(beside, {draft.tests_name: draft.tests.replace(AS_TODAY, Decision.ALLOW.value)})
    verdicts = [r.verdict.decision.value for r in told.results]
    if len(verdicts) != len(parts) - 1:
        return draft.tests
    return "".join(f"{p}{v}" for p, v in zip(parts, (*verdicts, ""), strict=True))


_ENDS = {"recovered": "recovered", "refused": "not_taken"}


def became(events: Iterable[Event], proposals: Iterable[str]) -> Became:
    """How these proposals ended, by the journal."""
    ended = dict.fromkeys(proposals, "open")
    for event in events:
        name = next((n for n in event.subject if n in ended), "")
        if not name:
            continue
        data = event.data
        match event.kind:
            case Kind.EFFECT_FINISHED:
                ended[name] = _ENDS.get(str(data.get("result")), "failed")
            case Kind.ANSWERED if _of(data, "approval", "answer") == Answer.DENY.value:
                ended[name] = "turned_down"
            case Kind.WITHDRAWN | Kind.APPROVAL_EXPIRED | Kind.APPROVAL_VOID:
                ended[name] = "not_taken"
            case Kind.VERDICT if _of(data, "verdict", "decision") == Decision.DENY.value:
                ended[name] = "not_taken"
            case _:
                pass
    return Became(**Counter(ended.values()))


def _of(data: Mapping[str, Any], word: str, field: str) -> str:
    found = data.get(word)
    return str(found.get(field, "")) if isinstance(found, dict) else ""


def as_comment(found: Tried, period: str) -> str:
    """The evidence as comment lines for the head of a drafted file."""
    lines = [f"Checked: {'sound' if found.sound else 'NOT sound'} beside the orders in force."]
    lines.append(f"Tested: {found.passed} of {found.tests} tests hold, its own among them.")
    lines += [f"  {p}" for p in found.problems[:8]]
    return "".join(f"# {line}\n" for line in (*lines, *replay_lines(found, period)))


def replay_lines(found: Tried, period: str) -> list[str]:
    """What would have been decided otherwise in this time, and what became of it."""
    told = found.found
    if told is None:
        return ["Not replayed, since it does not load."]
    if not told.judged:
        return [f"Not replayed: there are no decisions in the last {period}."]
    counts = ", ".join(f"{len(s.changes)} {s.what.replace('_', ' ')}" for s in told.sections)
    return [
        f"Replayed as if it were in force: {told.replayed} of {told.judged} decisions of the "
        f"last {period}, for {told.proposals} proposals.",
        *(f"  {u.count} could not be replayed: {u.why}" for u in told.unreplayed[:4]),
        f"Decided otherwise: {counts or 'none'}; {told.unchanged} as before. In all "
        f"{told.widened} wider, {told.narrowed} narrower.",
        f"What became of these {found.otherwise} proposals: {found.became.says()}.",
        *(
            f"  event {c.seq}, {c.proposal}, {c.action}: {c.old.value} -> {c.new.value}"
            for s in told.sections
            for c in s.changes[:3]
        ),
    ]
