"""What the chat tells of the past and of what is written: the night, what was done, shadow rules,
what is left of each bound. Pure, from the first page and the newest lines of the log."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from watchkeeper.core.desk import Board, LogLine

EVENING, MORNING = 18, 8
MOST = 5
"""Lines quoted in one answer."""
_TELLS = ("Failed", "Refused", "Stopped", "Pages", "Did", "Does", "Approval", "Asks", "Saw")
"""What is quoted first."""
_COUNTED = {
    "Saw": ("thing was seen", "things were seen"),
    "Asks": ("question was asked", "questions were asked"),
    "Approval": ("answer was given", "answers were given"),
    "Does": ("act began", "acts began"),
    "Did": ("act was verified", "acts were verified"),
    "Failed": ("act failed", "acts failed"),
    "Refused": ("was refused", "were refused"),
    "Pages": ("page went out", "pages went out"),
}


def quote(line: LogLine, zone: tzinfo = UTC) -> str:
    """One line of the log, with where it stands."""
    where = f", {line.where}" if line.where else ""
    at, text = line.at.astimezone(zone), line.text.rstrip(".")
    return f"{at:%H:%M:%S} {line.kind}: {text} (line {line.seq}{where})."


def span_of(asked: str, at: datetime) -> tuple[datetime, datetime, str]:
    """The time that is asked about, and how it is called. at: now, in the policy's zone, whose
    midnight and evening are meant."""
    if found := re.search(r"last (\d{1,3}) ?(min|m\b|hour|h\b|day|d\b|week|w\b)", asked):
        unit, name = {
            "m": (60, "min"),
            "h": (3600, "h"),
            "d": (86400, "d"),
            "w": (604800, "weeks"),
        }[found[2][0]]
        return at - timedelta(seconds=int(found[1]) * unit), at, f"the last {found[1]} {name}"
    if "hour" in asked:
        return at - timedelta(hours=1), at, "the last hour"
    if "week" in asked:
        return at - timedelta(days=7), at, "the last 7 d"
    zone = at.tzname() if at.tzinfo is UTC else at.tzinfo
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    if "yesterday" in asked:
        return midnight - timedelta(days=1), midnight, "yesterday"
    if "today" in asked:
        return midnight, at, "today"
    begin = midnight + timedelta(hours=EVENING) - timedelta(days=1)
    end = min(at, midnight + timedelta(hours=MORNING))
    return (
        begin,
        end,
        f"the night, {begin:%d %b %H:%M} to {end:%d %b %H:%M} {zone}",
    )


def happened(asked: str, board: Board, log: Sequence[LogLine]) -> str:
    """How much of what there was, and the lines that matter most, oldest first."""
    zone = ZoneInfo(board.zone)
    begin, end, called = span_of(asked, board.at.astimezone(zone))
    lines = [x for x in log if begin <= x.at <= end and x.kind in _COUNTED]
    reaches = (
        f" My log begins at {log[0].at.astimezone(zone):%d %b %H:%M} {zone}."
        if log and log[0].at > begin
        else ""
    )
    if not lines:
        return f"In {called} the log tells of nothing.{reaches} The report has all of it: /report"
    counts = Counter(line.kind for line in lines)
    told = ", ".join(
        f"{counts[kind]} {words[counts[kind] > 1]}"
        for kind, words in _COUNTED.items()
        if counts[kind]
    )
    first = sorted(lines, key=lambda x: (x.tone != "bad", _TELLS.index(x.kind), -x.seq))[:MOST]
    quoted = " ".join(quote(line, zone) for line in sorted(first, key=lambda x: x.seq))
    return f"In {called}: {told}.{reaches} {quoted} The report has all of it: /report"


def who(subjects: set[str], words: set[str], log: Sequence[LogLine]) -> str:
    """Who answered a question, or stopped and resumed the watch: the lines that name them; ""
    where the question names neither. subjects: names that the record may know, in lower case."""
    if {"stopped", "resumed", "halted"} & words:
        found = [x for x in log if x.kind in ("Stopped", "Resumed", "Halted")]
    elif subjects:
        found = [
            x
            for x in log
            if x.kind in ("Approval", "Break-glass", "Reviewed")
            and {x.proposal.lower(), x.incident.lower()} & subjects
        ]
    else:
        return ""
    if not found:
        about = f" about {', '.join(sorted(subjects))}" if subjects else ""
        return f"The newest lines of the log name nobody{about}. `watchkeeper explain ID` has more."
    return " ".join(quote(line) for line in found[-MOST:])


def cost() -> str:
    """Where money is told: the first page and the log hold none."""
    return (
        "I hold no prices. What was spent, by pool and tenant, is on /costs; `watchkeeper cost` "
        "prints it."
    )


def shadow(board: Board) -> str:
    """What would be otherwise if the rules in shadow were enforced."""
    how = (
        " To try other files on the record: `watchkeeper policy diff`, or `watchkeeper policy "
        "simulate`. The rules are on /policy"
    )
    if not board.shadow:
        return f"No verdict would have been another one under the rules in shadow.{how}"
    total = sum(board.shadow.values())
    parts = ", ".join(
        f"{count} from {change.replace('_to_', ' to ')}" for change, count in board.shadow.items()
    )
    verdicts = "verdict" if total == 1 else "verdicts"
    return f"If the rules in shadow were enforced, {total} {verdicts} would differ: {parts}.{how}"


def left(board: Board) -> str:
    """What is left of each bound, the tightest first."""
    if not board.limits:
        return "The orders in force have no limit and no budget."
    tight = sorted(board.limits, key=lambda x: (x.limit - x.used) / x.limit if x.limit else 0)
    said = [
        f"{x.text}: {x.limit - x.used:g} left of {x.limit:g}{f' ({x.where})' if x.where else ''}."
        for x in tight[:MOST]
    ]
    rest = len(tight) - MOST
    return " ".join([*said, *([f"{rest} more are on /policy"] if rest > 0 else [])])


def waits_for_people(board: Board) -> str:
    """Questions that wait, the one that lapses first before the others."""
    if not board.waiting:
        last = f" The last answer: {board.last_decision}." if board.last_decision else ""
        return f"Nothing waits for a person.{last}"
    said = [
        f"{a.id}: {a.title} {len(a.approvals)} of {a.needs} approved; it lapses at "
        f"{a.expires_at:%H:%M} UTC. Rule {a.rule_where or a.rule}."
        for a in sorted(board.waiting, key=lambda a: a.expires_at)[:MOST]
    ]
    rest = len(board.waiting) - MOST
    return " ".join([*said, *([f"{rest} more wait."] if rest > 0 else [])])


def suggestions(board: Board) -> tuple[str, ...]:
    """Questions that can be answered now, the likeliest first: what a page offers to complete."""
    found = ["What is wrong?", "What waits for me?", "What happened last night?"]
    ill = sorted((n for n in board.nodes if n.state != "healthy"), key=lambda n: (n.rank, n.name))
    found += [f"Why {n.name}?" for n in ill[:6]]
    found += [f"Why does {j.name} wait?" for j in board.jobs if j.state == "waiting"][:6]
    found += [f"Why is {j.name} stopped?" for j in board.jobs if j.state == "stopped"][:6]
    found += [f"Why {a.id}?" for a in board.waiting[:6]]
    for pool in board.pools[:4]:
        found += [f"What will demand for {pool.pool} be at 09:00?"]
    found += [
        "What did you do today?",
        "What is left of the budgets?",
        "What would the rules in shadow change?",
        "Who waits in line?",
        "What was planned, and what was needed?",
    ]
    return tuple(dict.fromkeys(found))
