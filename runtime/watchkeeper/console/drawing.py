"""How words and figures are drawn on a page: the templates' filters. Pure.

Text from the cluster is tamed first (`console.tame`); Jinja then escapes it. Nothing here reads a
clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from markupsafe import Markup, escape

from watchkeeper.console import plots as plots_module
from watchkeeper.console.chart import demand_chart
from watchkeeper.console.linked import linked, where_id
from watchkeeper.console.money import bar, burn_chart, money
from watchkeeper.console.tame import tame, tame_lines
from watchkeeper.console.together import alike
from watchkeeper.core.amend import fields_of
from watchkeeper.core.desk import Ask, Board, JobView, LimitView, NodeView, Person
from watchkeeper.core.incident import ATTACKER_WRITABLE, Signal, instruments
from watchkeeper.core.since import span as spoken

_NAMED = re.compile(r"[A-Za-z0-9_]+(?:[-.][A-Za-z0-9_]+)+")
FRESH_S = 15.0
"""Older readings are called stale on the page; whether Approve is off is the server's word."""
NEVER_BROKEN = 28
"""A name longer than this may break across lines: a page that scrolls sideways is worse."""
WORST_SHOWN = 12
"""Rows of the table on the first page; the fleet page has them all."""


def whole(text: object, cap: int = 600) -> Markup:
    """The text, tamed and escaped, with hyphenated names (nodes, jobs, rules) kept on one line."""
    drawn = str(escape(tame(text, cap)))
    return Markup(_NAMED.sub(_unbroken, drawn))  # noqa: S704 (escaped above)


def _unbroken(found: re.Match[str]) -> str:
    name = found.group()
    return f'<span class="nb">{name}</span>' if len(name) <= NEVER_BROKEN else name


def steps_line(ask: Ask) -> str:
    """`Cordon, drain within 60 s, restart, check, uncordon`: a node that every step shares is in
    the title already."""
    shared = ask.typed_name or next(iter(ask.shown.impact.nodes), "")
    steps = [tame(s, 160) for s in ask.steps]
    if shared and len(steps) > 1 and all(f" {shared}" in s for s in steps):
        steps = [s.replace(f" {shared}", "") for s in steps]
    return ", ".join([*steps[:1], *(s[:1].lower() + s[1:] for s in steps[1:])])


def barred(ask: Ask, person: Person | None) -> str:
    """Why this person may not approve, as far as the page can tell; the desk judges anyway."""
    if person is None:
        return "Sign in to answer"
    if any(a.person == person.name for a in ask.approvals):
        return "You approved this already"
    allowed = [g.removeprefix("group:") for g in ask.from_groups]
    if allowed and not set(allowed) & {g.removeprefix("group:") for g in person.groups}:
        return f"Only {' or '.join(allowed)} may answer"
    return ""


def to_ask(proposal: str) -> str:
    return f"/a/{quote(proposal, safe='')}"


def to_glass(proposal: str) -> str:
    return f"/break-glass/{quote(proposal, safe='')}"


def to_incident(incident: str) -> str:
    return f"/i/{quote(incident, safe='')}"


def to_node(name: str) -> str:
    return f"/nodes/{quote(name, safe='')}"


def fresh(board: Board) -> bool:
    """Are the readings young enough to decide on?"""
    age = board.last_reading_s
    return age is not None and age <= FRESH_S and not board.health.why_not_ready


def first_window(window: str) -> str:
    """The window that counts now, of all that the policy has."""
    return tame(window.partition("; ")[0], 90)


def when(at: datetime | None) -> str:
    """`2026-11-20 03:08:41 UTC`; what has no time says so."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if at else "time unknown"


def clock(at: datetime | None) -> str:
    """`03:08:41`, in UTC; for places where the date stands beside it."""
    return f"{at.astimezone(UTC):%H:%M:%S}" if at else "--:--:--"


def day(at: datetime) -> str:
    """`Friday 20 November 2026`, in UTC."""
    return f"{at.astimezone(UTC):%A} {at.astimezone(UTC).day} {at.astimezone(UTC):%B %Y}"


def iso(at: datetime | None) -> str:
    """For a `datetime` attribute."""
    return at.astimezone(UTC).isoformat(timespec="seconds") if at else ""


def span(seconds: float | None) -> str:
    """A duration as people say it, where it is known."""
    return "unknown" if seconds is None else spoken(seconds)


def seconds_left(ask: Ask, at: datetime) -> int:
    """Whole seconds until the question lapses; 0 when it has."""
    return max(0, int((ask.expires_at - at).total_seconds()))


def countdown(seconds: int) -> str:
    """`12:52 left`, or `1:02:09 left`; scripts keep this text ticking, the server decides."""
    if seconds <= 0:
        return "time is up"
    hours, rest = divmod(seconds, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{secs:02d} left" if hours else f"{minutes}:{secs:02d} left"


def ask_title(ask: Ask, at: datetime) -> str:
    """For the browser's tab: `12 min left: Cordon, drain and restart train-02?`"""
    title = tame(ask.title, 120)
    if ask.status.state != "waiting":
        return f"{STATUS_WORD.get(ask.status.state, ask.status.state)}: {title}"
    left = seconds_left(ask, at)
    return f"{span(left) if left else 'No time'} left: {title}"


def counted(title: str, waiting: int) -> str:
    """`(2) Watch`: the count of waiting questions before any page's title."""
    bare = re.sub(r"^\(\d+\) ", "", tame(title, 160))
    return f"({waiting}) {bare}" if waiting else bare


def num(value: float | None, digits: int = 0) -> str:
    """`2,048`; a figure that is not known is a dash with a word for screen readers elsewhere."""
    if value is None:
        return "—"
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if digits else text


def of_count(count: int, one: str, many: str = "") -> str:
    """`1 node`, `2 nodes`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def opening(text: str) -> str:
    """The same with a capital at its head; the rest stays as it is written."""
    return text[:1].upper() + text[1:]


def grouped(digest: str, groups: int = 3) -> str:
    """`9b2e 41c7 0d5a`: the start of a digest, for eyes."""
    return " ".join(digest[i : i + 4] for i in range(0, groups * 4, 4)).strip()


STATUS_WORD = {
    "approved": "Approved",
    "denied": "Denied",
    "not_now": "Put off",
    "expired": "Expired",
    "void": "Void",
    "done": "Done",
}
"""How a question that no longer waits is called."""


def status_word(state: str) -> str:
    return STATUS_WORD.get(state, state)


def signal_title(signal: Signal) -> str:
    """`XID 79 on gpu:train-02/3` as `XID 79: GPU 3 on train-02`."""
    what = signal.code.replace("xid.", "XID ").replace(".", " ").replace("_", " ")
    what = what[:1].upper() + what[1:]
    return f"{what}: {target_words(signal.target)}"


def target_words(target: str) -> str:
    """`gpu:a/3` as `GPU 3 on a`; `node:a` as `a`."""
    kind, colon, rest = target.partition(":")
    if not colon:
        return tame(target, 120)
    if kind == "gpu":
        node, _, index = rest.rpartition("/")
        return tame(f"GPU {index} on {node}", 120)
    return tame(rest, 120)


def counts(signal: Signal) -> bool:
    """May this evidence carry an action? A tenant's own words never do."""
    return signal.trust not in ATTACKER_WRITABLE


def agreement(evidence: tuple[Signal, ...]) -> str:
    """`3 sources agree`, counting instruments and never a tenant's words."""
    match instruments(evidence):
        case 0:
            return "No source counts"
        case 1:
            return "1 source"
        case n:
            return f"{n} sources agree"


def trusts(evidence: tuple[Signal, ...]) -> str:
    """Who vouches for what counts, once each: `kernel, ray, provider`."""
    return ", ".join(dict.fromkeys(s.trust.value for s in evidence if counts(s)))


def simulated_label(board: Board) -> str:
    """What the label on every page says; "" for a real cluster that reads real instruments."""
    world = board.health.world
    if world in ("lab", "twin"):
        return world
    return "some readings" if board.health.simulated else ""


def worst(nodes: tuple[NodeView, ...], shown: int = WORST_SHOWN) -> tuple[NodeView, ...]:
    """The head of the worst-first list: who needs a look, and the rest while there is room."""
    return tuple(sorted(nodes, key=lambda n: (n.rank, n.name)))[:shown]


def need_a_look(nodes: tuple[NodeView, ...]) -> int:
    """How many nodes are not simply healthy."""
    return sum(n.state != "healthy" for n in nodes)


_INCIDENT_TONE = {"open": "bad", "acting": "act", "verifying": "act", "resolved": "good"}
_STEP_TONE = {"bad": "bad", "good": "good", "act": "wait", "you": "wait"}


def incident_tone(state: str) -> str:
    """The colour of an incident's state word; escalated is a person's now."""
    return _INCIDENT_TONE.get(state, "you")


def step_tone(tone: str) -> str:
    """The class of a step in the timeline."""
    return _STEP_TONE.get(tone, "")


def step_mark(tone: str) -> str:
    """The shape of a step: a cross, a tick, a half moon for what asks, a dot for what was seen."""
    return _STEP_TONE.get(tone, "dot")


_STAGE = {
    "Saw": "signal",
    "Thinks": "hypothesis",
    "Allows": "decision",
    "Asks": "decision",
    "Refused": "decision",
    "Approval": "approval",
    "Does": "effect",
    "Did": "verification",
    "Failed": "verification",
    "In doubt": "verification",
    "Resolved": "end",
    "Escalated": "end",
}


def stage(title: str) -> str:
    """Which part of the story a step is; "" for one that is none of them."""
    return _STAGE.get(title.partition(":")[0], "")


def subject_link(subject: str) -> Markup:
    """An id in the journal, as a link where a page tells more."""
    name = tame(subject, 60)
    if subject.startswith("INC-"):
        return Markup('<a href="{}">{}</a>').format(to_incident(subject), name)
    return Markup('<span class="nb">{}</span>').format(name)


_SAID_IN = ("title", "text", "reason", "why", "seen", "because", "question", "name", "level", "by")


def in_short(data: dict[str, Any]) -> str:
    """The words of an event that a reader of the table wants first; "" when it has none."""
    found: list[str] = []
    for value in (data, *(v for v in data.values() if isinstance(v, dict))):
        found += [str(value[k]) for k in _SAID_IN if isinstance(value.get(k), str) and value[k]]
    return tame("; ".join(dict.fromkeys(found)), 300)


def state_word(node: NodeView) -> str:
    """`Failed.` before what is said of it; nothing where that begins with the word itself."""
    if not node.what:
        return node.state.capitalize()
    return "" if node.what.lower().startswith(node.state) else f"{node.state.capitalize()}."


MARKS = {
    "healthy": "ok",
    "suspect": "suspect",
    "failed": "failed",
    "dead": "failed",
    "draining": "cordoned",
    "cordoned": "cordoned",
    "checking": "cordoned",
    "hidden": "cordoned",
    "silent": "silent",
    "unknown": "silent",
    "ok": "ok",
}


def mark(state: str) -> Markup:
    """The shape of a state, the same as on the map; the word always stands beside it."""
    return Markup('<svg class="mk" aria-hidden="true"><use href="#m-{}"/></svg>').format(
        MARKS.get(state, "silent")
    )


def full(limit: LimitView) -> bool:
    """Is nothing left of this limit?"""
    return limit.limit > 0 and limit.used >= limit.limit


def requeue_line(job: JobView) -> str:
    """Whether the watch can submit it again, as a sentence after the one about its checkpoint."""
    said = job.requeue.strip().rstrip(".")
    if not said:
        return ""
    return f"{opening(said)}." if said == "can be requeued" else f"Cannot be requeued: {said}."


def in_block(nodes: tuple[NodeView, ...], domain: str, block: str | None) -> tuple[NodeView, ...]:
    """The nodes of one domain (`rack`, `nvlink_domain`, `pool`); all of them for None."""
    return nodes if block is None else tuple(n for n in nodes if getattr(n, domain) == block)


def seconds(value: float) -> timedelta:
    """To add to a time."""
    return timedelta(seconds=value)


def answered_on_card(ask: Ask) -> bool:
    """A harmless question may be answered on its card; one that wants a name typed may not."""
    return not ask.typed_name


def changeable(ask: Ask) -> bool:
    """Has it an argument that a person may change, and did nobody answer yet?"""
    return not ask.approvals and bool(fields_of(ask.shown.proposal))


def filters() -> dict[str, Callable[..., Any]]:
    """Every filter the templates use, by name."""
    shared: tuple[Callable[..., Any], ...] = (
        tame, tame_lines, whole, steps_line, barred, to_ask, to_glass, to_incident, to_node, fresh,
        first_window, when, clock, day, iso, span, seconds_left, countdown, ask_title, counted, num,
        of_count, opening, grouped, status_word, signal_title, target_words, counts, agreement,
        trusts, simulated_label, worst, need_a_look, mark, full, state_word,
        incident_tone, step_tone, step_mark, stage, subject_link, in_short, answered_on_card,
        demand_chart, requeue_line, in_block, seconds, alike, changeable, bar, burn_chart, money,
    )  # fmt: skip
    plots: tuple[Callable[..., Any], ...] = (
        linked,
        where_id,
        plots_module.spark,
        plots_module.fan,
        plots_module.calibration,
        plots_module.reliability,
    )
    named: dict[str, Callable[..., Any]] = {f.__name__: f for f in (*shared, *plots)}
    return named | {"trace_of": plots_module.trace}
