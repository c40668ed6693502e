"""Plots as inline SVG: bars, stacked bars and one night's timeline. No scripts, no libraries.

Colours are CSS variables of the page, so that dark and light both read. Every plot has a title and
a description for who cannot see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, LEFT, RIGHT, ROW = 900, 180, 96, 34


class Bar(NamedTuple):
    """One bar. low and high: its 95 % bound, if there is one. says: its figure in words. dots: the
    single values that it is the whole of, each with what it says."""

    name: str
    value: float
    says: str
    low: float | None = None
    high: float | None = None
    strong: bool = False
    dots: tuple[tuple[float, str], ...] = ()


def bars(title: str, told: str, rows: Sequence[Bar], begin: float, end: float) -> str:
    """Horizontal bars from `begin` to `end` on the value axis, with their bounds as whiskers."""
    at = _scale(begin, end)
    drawn = []
    for n, bar in enumerate(rows):
        y = 8 + n * ROW
        kind = "bar strong" if bar.strong else "bar"
        drawn.append(_text(LEFT - 10, y + 17, bar.name, "end"))
        drawn.append(_rect(LEFT, y, at(bar.value) - LEFT, 22, kind, f"{bar.name}: {bar.says}"))
        if bar.low is not None and bar.high is not None:
            x, z = at(bar.low), at(bar.high)
            ends = f"M{x:.1f} {y + 6}v10M{z:.1f} {y + 6}v10"
            drawn.append(f'<path class="bound" d="M{x:.1f} {y + 11}H{z:.1f}{ends}"/>')
        drawn += [_dot(at(value), y + 11, says) for value, says in bar.dots]
        drawn.append(_text(WIDTH - RIGHT + 8, y + 17, bar.says))
    height = 8 + len(rows) * ROW
    ticks = [begin + (end - begin) * k / 5 for k in range(6)]
    drawn += [_text(at(t), height + 14, f"{t:.4g}", "middle", "tick") for t in ticks]
    return _svg(title, told, height + 22, drawn)


class Stack(NamedTuple):
    """One stacked bar: (cause, GPU-hours), in the order in which they are drawn."""

    name: str
    parts: tuple[tuple[str, float], ...]

    @property
    def whole(self) -> float:
        return sum(value for _, value in self.parts)


def stacks(title: str, told: str, rows: Sequence[Stack], unit: str) -> str:
    """Stacked horizontal bars over one scale, and a key."""
    at = _scale(0.0, max((row.whole for row in rows), default=0.0) or 1.0)
    causes = list(dict.fromkeys(cause for row in rows for cause, _ in row.parts))
    drawn = []
    for n, row in enumerate(rows):
        y, x, sum_ = 8 + n * ROW, float(LEFT), 0.0
        drawn.append(_text(LEFT - 10, y + 17, row.name, "end"))
        for cause, value in row.parts:
            sum_ += value
            wide = at(sum_) - x
            says = f"{row.name}, {cause}: {value:,.0f} {unit}"
            drawn.append(_rect(x, y, wide, 22, f"c{causes.index(cause) % 10}", says))
            x += wide
        drawn.append(_text(WIDTH - RIGHT + 8, y + 17, f"{row.whole:,.0f}"))
    height = 14 + len(rows) * ROW
    for k, cause in enumerate(causes):
        x, y = LEFT + (k % 5) * 128, height + (k // 5) * 20
        drawn.append(_rect(x, y, 12, 12, f"c{k % 10}", cause))
        drawn.append(_text(x + 18, y + 11, cause))
    return _svg(title, told, height + 20 * -(-len(causes) // 5) + 4, drawn)


class Mark(NamedTuple):
    """Something that happened at one moment of a lane."""

    at: float
    says: str
    false: bool = False


class Lane(NamedTuple):
    """One line of a timeline: the spans in which something lasted, and marks upon it."""

    name: str
    spans: tuple[tuple[float, float, str], ...]
    marks: tuple[Mark, ...]


def timeline(
    title: str, told: str, lanes: Sequence[Lane], ticks: Sequence[tuple[float, str]]
) -> str:
    """Lanes over shares 0 to 1 of the time shown; ticks: (share, label)."""
    at, row = _scale(0.0, 1.0), 24
    height = 10 + len(lanes) * row
    drawn = [f'<path class="grid" d="M{at(share):.1f} 4V{height}"/>' for share, _ in ticks]
    for n, lane in enumerate(lanes):
        y = 8 + n * row
        drawn.append(_text(LEFT - 10, y + 13, lane.name, "end"))
        for begin, end, says in lane.spans:
            drawn.append(_rect(at(begin), y + 3, max(2.0, at(end) - at(begin)), 11, "span", says))
        for mark in lane.marks:
            kind = "mark false" if mark.false else "mark"
            x = at(mark.at)
            drawn.append(
                f'<path class="{kind}" d="M{x:.1f} {y}l5 9l-5 9l-5 -9z">'
                f"<title>{escape(mark.says)}</title></path>"
            )
    drawn += [_text(at(share), height + 16, label, "middle", "tick") for share, label in ticks]
    return _svg(title, told, height + 24, drawn)


class _scale:  # noqa: N801  it is a function with two numbers in it
    def __init__(self, begin: float, end: float) -> None:
        self.begin, self.per = begin, (WIDTH - LEFT - RIGHT) / ((end - begin) or 1.0)

    def __call__(self, value: float) -> float:
        return min(WIDTH - RIGHT, max(float(LEFT), LEFT + (value - self.begin) * self.per))


def _rect(x: float, y: float, wide: float, high: float, kind: str, says: str) -> str:
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(0.0, wide):.1f}" '
        f'height="{high:g}"><title>{escape(says)}</title></rect>'
    )


def _dot(x: float, y: float, says: str) -> str:
    return (
        f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{escape(says)}</title>'
        "</circle>"
    )


def _text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    cls = f' class="{kind}"' if kind else ""
    return f'<text{cls} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _svg(title: str, told: str, height: float, drawn: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title><desc>{escape(told)}</desc>{''.join(drawn)}</svg>"
    )
