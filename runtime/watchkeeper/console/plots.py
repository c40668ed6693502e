"""Small plots: an hour of one GPU, forecasts held to what came, confidence held to outcomes.

Pure: numbers in, SVG out, with presentation attributes only, so that a strict page may carry it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from watchkeeper.console.chart import Scale, path_of, stroked
from watchkeeper.core.views import AgentView, FanView, TrustKind

Point = tuple[float, float]
GAP_S = 150.0
"""Readings further apart than this are not joined: what was not read is not drawn."""


def spark(values: Sequence[float | None], ago_s: Sequence[float], high: float) -> Markup:
    """One row's last hour, 0 to high, without axes; "" for fewer than two readings."""
    x, y = Scale(-3600.0, 0.0, 0.0, 96.0), Scale(0.0, high, 19.0, 1.0)
    lines = _lines(values, ago_s, x, y)
    if not lines:
        return Markup("")
    body = Markup("").join(stroked(line, "var(--ink-2)", 1.25) for line in lines)
    return Markup(
        '<svg class="spark" viewBox="0 0 96 20" width="96" height="20" role="img" '
        'aria-label="{}">{}</svg>'
    ).format(in_words(values, "", "last hour"), body)


def trace(
    values: Sequence[float | None], ago_s: Sequence[float], name: str, unit: str, high: float
) -> Markup:
    """One measure of one GPU over the last hour, with its scale. Empty when nothing was read."""
    width, left, bottom, top = 520.0, 44.0, 110.0, 10.0
    known = [v for v in values if v is not None]
    if not known:
        return Markup("")
    high = max([high, *known])
    x, y = Scale(-3600.0, 0.0, left, width - 8), Scale(0.0, high, bottom, top)
    ticks = Markup("").join(
        Markup(
            '<path d="M{l:g} {y:g}H{r:g}" stroke="var(--line)"/>'
            '<text x="{e:g}" y="{t:g}" text-anchor="end">{v:g}</text>'
        ).format(l=left, r=width - 8, y=y(v), e=left - 6, t=y(v) + 4, v=round(v))
        for v in (0.0, high / 2, high)
    )
    times = Markup("").join(
        Markup('<text x="{:g}" y="{:g}" text-anchor="{}">{}</text>').format(
            x(-ago), bottom + 18, anchor, text
        )
        for ago, anchor, text in (
            (3600.0, "start", "60 min ago"),
            (1800.0, "middle", "30"),
            (0.0, "end", "now"),
        )
    )
    body = Markup("").join(
        stroked(line, "var(--act)", 1.75) for line in _lines(values, ago_s, x, y)
    )
    return Markup(
        '<svg class="demand near" viewBox="0 0 {w:g} 134" role="img" aria-label="{said}">'
        "{t}{h}{b}</svg>"
    ).format(w=width, said=in_words(values, unit, name), t=ticks, h=times, b=body)


def in_words(values: Sequence[float | None], unit: str, name: str) -> str:
    """The plot for whoever does not see it."""
    known = [v for v in values if v is not None]
    if not known:
        return f"{name}: nothing was read"
    u = f" {unit}" if unit else ""
    return f"{name}: now {known[-1]:g}{u}, between {min(known):g} and {max(known):g}"


def _lines(
    values: Sequence[float | None], ago_s: Sequence[float], x: Scale, y: Scale
) -> list[list[Point]]:
    """Stretches that were read without a gap."""
    lines: list[list[Point]] = []
    before: float | None = None
    for value, ago in zip(values, ago_s, strict=True):
        if value is None:
            before = None
            continue
        if before is None or before - ago > GAP_S:
            lines.append([])
        lines[-1].append((x(-ago), y(value)))
        before = ago
    return [line for line in lines if len(line) > 1]


def fan(view: FanView) -> Markup:
    """What was foreseen an hour before (band and middle), and what came (line; a cross where it
    left the band). Empty for fewer than two."""
    held = view.held
    if len(held) < 2:
        return Markup("")
    width, left, bottom, top = 720.0, 60.0, 190.0, 18.0
    first, last = held[0].at.timestamp(), held[-1].at.timestamp()
    came = [f.came for f in held if f.came is not None]
    high = max([1.0, *(f.high for f in held), *came]) * 1.08
    x, y = Scale(first, last, left, width - 8), Scale(0.0, high, bottom, top)
    at = [x(f.at.timestamp()) for f in held]
    upper = [(px, y(f.high)) for px, f in zip(at, held, strict=True)]
    lower = [(px, y(f.low)) for px, f in zip(at, held, strict=True)]
    middle = [(px, y(f.middle)) for px, f in zip(at, held, strict=True)]
    real = [(px, y(f.came)) for px, f in zip(at, held, strict=True) if f.came is not None]
    parts = [
        Markup('<path d="M{:g} {:g}H{:g}" stroke="var(--line)"/>').format(left, bottom, width - 8),
        Markup('<path d="{}Z" fill="var(--act)" fill-opacity=".22"/>').format(
            path_of([*upper, *reversed(lower)])
        ),
        stroked(middle, "var(--act)", 1.5),
        stroked(real, "var(--ink)", 1.75),
        *(
            _cross(px, y(f.came))
            for px, f in zip(at, held, strict=True)
            if f.came is not None and not f.low <= f.came <= f.high
        ),
        *(
            Markup('<text x="{:g}" y="{:g}" text-anchor="end">{:g}</text>').format(
                left - 8, y(v) + 5, round(v)
            )
            for v in (0.0, high / 2, high / 1.08)
        ),
        *(
            Markup('<text x="{:g}" y="{:g}" text-anchor="{}">{}</text>').format(
                px, bottom + 24, anchor, f"{f.at:%H:%M}"
            )
            for px, f, anchor in (
                (at[0], held[0], "start"),
                (at[len(at) // 2], held[len(at) // 2], "middle"),
                (at[-1], held[-1], "end"),
            )
        ),
    ]
    said = (
        f"{view.pool}: of {view.known} moments that have come, {view.inside} lay in the band "
        "foreseen an hour before"
    )
    return Markup(
        '<svg class="demand far" viewBox="0 0 {w:g} 222" role="img" aria-label="{said}">{b}</svg>'
    ).format(w=width, said=said, b=Markup("").join(parts))


def _cross(px: float, py: float) -> Markup:
    return Markup(
        '<path d="M{a:g} {b:g}l6 6m0 -6l-6 6" stroke="var(--danger)" stroke-width="1.5"/>'
    ).format(a=px - 3, b=py - 3)


def calibration(agent: AgentView) -> Markup:
    """Confidence against outcome: a dot for each bin, as large as it has cases; on the line is
    honest, below it too sure. Empty where nothing has ended."""
    bins = [b for b in agent.bins if b.ended]
    if not agent.ended:
        return Markup("")
    dots = (((b.low + b.high) / 2, b.recovered / b.ended, 3 + min(7.0, b.ended**0.5)) for b in bins)
    said = "; ".join(
        f"sure {b.low:g} to {b.high:g}: {b.recovered} of {b.ended} recovered" for b in bins
    )
    return _said_against_true(180.0, 34.0, 8.0, dots, said)


def reliability(kind: TrustKind, name: str) -> Markup:
    """What a model said against what came true, on one kind of action: a dot for each confidence,
    as large as it has words; on the dashes is honest, below them too sure. Empty for no words."""
    if not kind.bars:
        return Markup("")
    dots = ((b.said, b.true, 3 + min(6.0, b.of**0.5)) for b in kind.bars)
    told = "; ".join(f"said {b.said:.2f}: {b.true:.0%} of {b.of} came true" for b in kind.bars)
    return _said_against_true(150.0, 26.0, 10.0, dots, f"{name}, {kind.kind}: {told}")


def _said_against_true(
    size: float, left: float, gap: float, dots: Iterable[tuple[float, float, float]], said: str
) -> Markup:
    """A square of so many pixels with its diagonal. dots: (said, true), both 0 to 1, and radius.
    left, gap: pixels beside the axes. said: the same in words."""
    bottom, top, right = size - 30, 8.0, size - gap
    x, y = Scale(0.0, 1.0, left, right), Scale(0.0, 1.0, bottom, top)
    drawn = Markup("").join(
        Markup('<circle cx="{:g}" cy="{:g}" r="{:.1f}" fill="var(--ink-2)"/>').format(
            round(x(across), 1), round(y(up), 1), radius
        )
        for across, up, radius in dots
    )
    return Markup(
        '<svg class="demand cal" viewBox="0 0 {s:g} {h:g}" role="img" aria-label="{said}">'
        '<path d="M{l:g} {b:g}L{r:g} {t:g}" stroke="var(--edge)" stroke-dasharray="2 3"/>'
        '<path d="M{l:g} {t:g}V{b:g}H{r:g}" fill="none" stroke="var(--line)"/>'
        '<text x="{l:g}" y="{ty:g}">0</text>'
        '<text x="{r:g}" y="{ty:g}" text-anchor="end">sure</text>'
        '<text x="{e:g}" y="{t2:g}" text-anchor="end">1</text>{d}</svg>'
    ).format(
        s=size, h=size - 8, said=said, l=left, b=bottom, r=right, t=top, ty=bottom + 16,
        e=left - 6, t2=top + 8, d=drawn,
    )  # fmt: skip
