"""Costs as drawings: a bar for who held what, and a month's allowance as it is used up.

Pure: words in, SVG out, with presentation attributes only, so that a strict page may carry it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import date
from typing import NamedTuple

from markupsafe import Markup

from watchkeeper.console.chart import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
    path_of,
    stroked,
)
from watchkeeper.core.action import is_name
from watchkeeper.core.usage import HELD, IDLE, STRANDED, UNNAMED, Bill, Burn, CostLine

_TONES = {HELD: "var(--gpu-3)", UNNAMED: "var(--gpu-2)", IDLE: "var(--gpu-1)"}
_STRANDED_TONE = "var(--gpu-sus)"
_UNKNOWN_TONE = "var(--gpu-off)"


class Share(NamedTuple):
    """A tenant's part of a bill. part: of all GPU-hours of the bill."""

    tenant: str
    gpu_hours: float
    money: float | None
    part: float


def tenants(bill: Bill) -> tuple[Share, ...]:
    """What each tenant held over all pools, most first; "" for gangs that name none."""
    hours: defaultdict[str, float] = defaultdict(float)
    money: defaultdict[str, list[float | None]] = defaultdict(list)
    for line in bill.lines:
        if line.use == HELD:
            hours[line.tenant] += line.gpu_hours
            money[line.tenant].append(line.money)
    whole = sum(line.gpu_hours for line in bill.lines) or 1.0
    found = [Share(t, h, _sum(money[t]), h / whole) for t, h in hours.items()]
    return tuple(sorted(found, key=lambda s: (-s.gpu_hours, s.tenant)))


def of_uses(bill: Bill, uses: Collection[str]) -> CostLine:
    """All lines of these uses as one. Its money is None where that of a line is."""
    lines = [line for line in bill.lines if line.use in uses]
    return CostLine(
        pool="",
        use="",
        tenant="",
        gpu_hours=sum(line.gpu_hours for line in lines),
        money=_sum([line.money for line in lines]) if lines else 0.0,
    )


def _sum(parts: list[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def bar(part: float) -> Markup:
    """A share of one as a bar; the figure stands beside it, so it is no picture for a reader."""
    width = round(100 * min(1.0, max(0.0, part)), 1)
    return Markup(
        '<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        '<path d="M0 0H100V6H0Z" fill="var(--gpu-0)"/><path d="M0 0H{w:g}V6H0Z" '
        'fill="var(--gpu-3)"/></svg>'
    ).format(w=width)


def pool_bars(bill: Bill) -> tuple[tuple[str, Markup, str, bool], ...]:
    """(pool, its GPU-hours as one bar by use, the same in words, has it a plain name that a link
    may carry) of each pool."""
    found = []
    for pool in dict.fromkeys(line.pool for line in bill.lines):
        uses: defaultdict[str, float] = defaultdict(float)
        for line in bill.lines:
            if line.pool == pool:
                uses[line.use] += line.gpu_hours
        whole = sum(uses.values()) or 1.0
        parts, x, ordered = [], 0.0, sorted(uses, key=_order)
        for use in ordered:
            width = 100 * uses[use] / whole
            parts.append(
                Markup('<path d="M{x:.2f} 0h{w:.2f}V10H{x:.2f}Z" fill="{tone}"/>').format(
                    x=x, w=width, tone=_tone(use)
                )
            )
            x += width
        said = ", ".join(f"{use} {uses[use] / whole:.1%}" for use in ordered)
        drawn = Markup(
            '<svg class="bar wide-bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" '
            'aria-label="{said}">{body}</svg>'
        ).format(said=f"{pool}: {said}", body=Markup("").join(parts))
        found.append((pool, drawn, said, is_name(pool)))
    return tuple(found)


def _order(use: str) -> int:
    known = (HELD, UNNAMED, IDLE, *STRANDED)
    return known.index(use) if use in known else len(known)


def _tone(use: str) -> str:
    return _STRANDED_TONE if use in STRANDED else _TONES.get(use, _UNKNOWN_TONE)


def burn_chart(burn: Burn) -> Markup:
    """The month on one scale: used so far (line), where it leads (dashes and band), the allowance
    (dotted). Empty where what is used is unknown."""
    if burn.used is None or not burn.days:
        return Markup("")
    end = (burn.last - burn.first).days + 1
    top = max(burn.amount, burn.high or 0.0, burn.projected or 0.0, burn.used, 1e-9) * 1.08
    x, y = Scale(0.0, end, LEFT, WIDTH - RIGHT), Scale(0.0, top, HEIGHT - BOTTOM, TOP)
    past, total = [(x(0.0), y(0.0))], 0.0
    for i, (_, used, _) in enumerate(burn.days):
        total += used
        past.append((x(min(i + 1.0, end)), y(total)))
    now, here = past[-1]
    ahead = Markup("")
    if burn.projected is not None:
        ahead = _ahead(burn, (now, here), x(end), y)
    base, cap = y(0.0), y(burn.amount)
    axis = Markup(
        '<path d="M{l:g} {b:g}H{r:g}" stroke="var(--line)"/>'
        '<path d="M{l:g} {c:g}H{r:g}" stroke="var(--lamp)" stroke-dasharray="2 3"/>'
        '<text x="{l:g}" y="{y:g}">{first}</text>'
        '<text x="{r:g}" y="{y:g}" text-anchor="end">{last}</text>'
    ).format(
        l=LEFT, r=WIDTH - RIGHT, b=base, c=cap, y=HEIGHT - 6, first=_day(burn.first),
        last=_day(burn.last),
    )  # fmt: skip
    return Markup(
        '<svg class="demand" viewBox="0 0 {w:g} {h:g}" role="img" aria-label="{said}">{body}</svg>'
    ).format(
        w=WIDTH,
        h=HEIGHT,
        said=burn.says,
        body=Markup("").join([axis, ahead, stroked(past, "var(--ink-2)", 1.75)]),
    )


def _ahead(burn: Burn, here: tuple[float, float], end: float, y: Scale) -> Markup:
    assert burn.projected is not None
    band = Markup("")
    if burn.low is not None and burn.high is not None:
        corners = [here, (end, y(burn.high)), (end, y(burn.low))]
        band = Markup('<path d="{}Z" fill="var(--act)" fill-opacity=".22"/>').format(
            path_of(corners)
        )
    line = Markup(
        '<path d="{}" fill="none" stroke="var(--act)" stroke-width="1.75" stroke-dasharray="5 4"/>'
    ).format(path_of([here, (end, y(burn.projected))]))
    return band + line


def _day(day: date) -> str:
    return f"{day.day} {day:%b}"


def money(value: float | None, currency: str = "") -> str:
    """`1,152.00 USD`, or `unknown`."""
    return "unknown" if value is None else f"{value:,.2f} {currency}".rstrip()
