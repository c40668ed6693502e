"""How a report and a postmortem are drawn: their dates, the line of the night, and the words for
stages. Pure; the filters of their templates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

from watchkeeper.console.tame import tame
from watchkeeper.core.report import Item, Judgement, Mark, Moment, Report
from watchkeeper.core.word import digest

WIDTH, LEFT, RIGHT = 720.0, 20.0, 20.0
MOST_MARKS = 60
LABELLED = 3
MOST_HOURS = 24 * 32
"""A report is no longer than that."""
_FILL = {"bad": "var(--danger)", "you": "var(--lamp)", "act": "var(--act)"}


def zoned(at: datetime, zone: str) -> datetime:
    return at.astimezone(ZoneInfo(zone))


def hm(at: datetime | None, zone: str) -> str:
    """`03:22`, in the report's zone."""
    return f"{zoned(at, zone):%H:%M}" if at else ""


def hms(at: datetime, zone: str) -> str:
    return f"{zoned(at, zone):%H:%M:%S}"


def day_hm(at: datetime, zone: str) -> str:
    """`5 January 03:22`."""
    local = zoned(at, zone)
    return f"{local.day} {local:%B %H:%M}"


def title_of(report: Report) -> str:
    """`Night of 4 to 5 January 2026`, or the days it spans."""
    first, last = zoned(report.since, report.zone), zoned(report.until, report.zone)
    end = f"{last.day} {last:%B %Y}"
    if first.date() == last.date():
        return end
    begin = f"{first.day}" if first.month == last.month else f"{first.day} {first:%B}"
    one_night = last.date() - first.date() == timedelta(days=1)
    return f"Night of {begin} to {end}" if one_night else f"{begin} to {end}"


def span_of(report: Report) -> str:
    """`4 January 18:00 to 5 January 07:00 Europe/Berlin`."""
    first, last = day_hm(report.since, report.zone), day_hm(report.until, report.zone)
    return f"{first} to {last} {report.zone}"


def simulated_words(world: str) -> str:
    """What the label says of where the data came from."""
    return {
        "twin": "Simulated data: twin",
        "lab": "Simulated data: lab",
        "real": "Some readings are simulated",
    }.get(world, "The world of this data is not known")


def figure(value: float) -> str:
    """A number without needless digits."""
    return f"{value:,.1f}".rstrip("0").rstrip(".")


def item_digest(item: Item) -> str:
    """What a judgement of this item carries."""
    return digest(item)


def said_of(item: Item, judged: tuple[Judgement, ...]) -> str:
    """What this person said of the item as it stands: `useful`, `wrong`, or ""."""
    own = [j for j in judged if j.key == item.key and j.digest == digest(item)]
    return ("useful" if own[-1].useful else "wrong") if own else ""


def anchor(key: str) -> str:
    """An id for the item on its page; keys hold characters that an address does not like."""
    return f"i-{digest(key)[:12]}"


def stage_tone(moment: Moment) -> str:
    """The class of a moment in the timeline."""
    return {"bad": "bad", "good": "good", "act": "wait", "you": "wait"}.get(moment.tone, "")


def strip(report: Report, *, narrow: bool = False) -> Markup:
    """The night on one line: a bar for each incident, a stroke for each stop or halt. Empty where
    nothing happened. narrow: for a phone."""
    if not report.marks:
        return Markup("")
    width = 360.0 if narrow else WIDTH
    left = 8.0 if narrow else LEFT
    whole = max(1.0, (report.until - report.since).total_seconds())

    def x(at: datetime) -> float:
        share = min(1.0, max(0.0, (at - report.since).total_seconds() / whole))
        return left + share * (width - 2 * left)

    shown = report.marks[:MOST_MARKS]
    parts = [
        Markup('<path d="M{a:g} 40H{b:g}" stroke="var(--edge)" stroke-width="1.5"/>').format(
            a=left, b=width - left
        ),
        *_hours(report, x, 4 if narrow else 8),
        *(_bar(mark, x) for mark in shown),
        *_labels(shown, x, width),
    ]
    return Markup(
        '<svg class="strip {kind}" viewBox="0 0 {w:g} 68" role="img" aria-label="{said}">'
        "{body}</svg>"
    ).format(
        kind="narrow" if narrow else "wide",
        w=width,
        said=strip_words(report),
        body=Markup("").join(parts),
    )


def strip_words(report: Report) -> str:
    """The line in words, for whoever does not see it."""
    told = [
        f"{tame(m.label, 40)} {_spoken(m.at, report)}"
        + (f" to {_spoken(m.until, report)}" if m.until else "")
        for m in report.marks[:12]
    ]
    rest = len(report.marks) - 12
    more = f", and {rest} more" if rest > 0 else ""
    return f"The time on one line: {'; '.join(told)}{more}"


def _spoken(at: datetime, report: Report) -> str:
    return f"{zoned(at, report.zone):%H:%M}"


def _hours(report: Report, x: Callable[[datetime], float], most: int) -> list[Markup]:
    """Ticks at whole hours, no more than fit."""
    first = zoned(report.since, report.zone).replace(minute=0, second=0, microsecond=0)
    hours = min(MOST_HOURS, max(1, int((report.until - report.since) / timedelta(hours=1))))
    step = next((s for s in (1, 2, 3, 6, 12, 24, 48, 168) if hours / s <= most), 168)
    ticks = []
    for i in range(hours + 2):
        at = first + timedelta(hours=i)
        if at < report.since or at > report.until or at.hour % min(step, 24):
            continue
        if step > 24 and (at.date() - first.date()).days % (step // 24):
            continue
        text = f"{at:%H}" if step < 24 else f"{at.day}.{at.month}."
        ticks.append(
            Markup(
                '<path d="M{x:.1f} 40v6" stroke="var(--edge)"/>'
                '<text x="{x:.1f}" y="62" text-anchor="middle">{text}</text>'
            ).format(x=x(at), text=text)
        )
    return ticks


def _bar(mark: Mark, x: Callable[[datetime], float]) -> Markup:
    fill = _FILL.get(mark.tone, "var(--ink-2)")
    if mark.until is None:
        return Markup('<path d="M{x:.1f} 30v20" stroke="{fill}" stroke-width="2"/>').format(
            x=x(mark.at), fill=fill
        )
    tall = mark.tone in _FILL
    return Markup(
        '<rect x="{x:.1f}" y="{y:g}" width="{w:.1f}" height="{h:g}" rx="2" fill="{fill}"/>'
    ).format(
        x=x(mark.at),
        y=31 if tall else 35,
        w=max(3.0, x(mark.until) - x(mark.at)),
        h=18 if tall else 10,
        fill=fill,
    )


def _labels(marks: tuple[Mark, ...], x: Callable[[datetime], float], width: float) -> list[Markup]:
    """Names above the worst and the longest, as far as they do not cover one another."""
    ranked = sorted(
        marks,
        key=lambda m: (m.tone not in _FILL, -((m.until or m.at) - m.at).total_seconds(), m.at),
    )
    taken: list[tuple[float, float]] = []
    drawn = []
    for mark in ranked[: LABELLED * 2]:
        label = tame(mark.label, 22)
        middle = (x(mark.at) + x(mark.until or mark.at)) / 2
        half = len(label) * 3.2
        middle = min(max(middle, half + 2), width - half - 2)
        if any(middle - half < b and a < middle + half for a, b in taken):
            continue
        taken.append((middle - half, middle + half))
        drawn.append(
            Markup('<text x="{x:.1f}" y="22" text-anchor="middle">{label}</text>').format(
                x=middle, label=escape(label)
            )
        )
        if len(drawn) == LABELLED:
            break
    return drawn


def report_filters() -> dict[str, Callable[..., Any]]:
    """Every filter of the report's and the postmortem's templates, by name."""
    shared: tuple[Callable[..., Any], ...] = (
        hm, hms, day_hm, span_of, simulated_words, figure, item_digest, said_of, anchor,
        stage_tone, strip,
    )  # fmt: skip
    return {f.__name__: f for f in shared} | {"report_title": title_of}
