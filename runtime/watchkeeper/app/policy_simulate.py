"""`policy simulate`: what these orders would do in nights of a twin; beside others, if asked.

Everything it prints is simulated. It reads folders, plays `twin_run`, and says what was counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from watchkeeper.adapters.policy_files import read_policy_dir
from watchkeeper.app.twin_run import Played, play
from watchkeeper.app.twin_spec import spec_of
from watchkeeper.core.word import plain

NIGHT_FROM, NIGHT_H = 22, 8.0
FIRST_DAY = datetime(2026, 1, 5)  # noqa: DTZ001  the zone is the caller's
TZ = "Europe/Berlin"


class Simulated(NamedTuple):
    """The whole answer as plain values and as text."""

    value: dict[str, Any]
    text: str


class Wanted(NamedTuple):
    """What to play. days: whole days in one piece; None: nights from 22:00 to 06:00 by themselves.
    acceleration: on every fault rate."""

    nights: int
    days: float | None
    nodes: int
    seeds: tuple[int, ...]
    acceleration: float = 1.0


Told = Callable[[str], None]


def simulate(policies: Path, against: Path | None, wanted: Wanted, tell: Told) -> Simulated:
    """Play every night under both folders. tell: gets a line of progress now and then.

    Raises PolicyError when a folder does not load, UsageError for what is not there.
    """
    folders = [policies, *([against] if against is not None else [])]
    orders = [read_policy_dir(folder) for folder in folders]
    runs = [
        _play_all(files, str(folder), wanted, tell) for files, folder in _pairs(orders, folders)
    ]
    columns = [_counted(found) for found in runs]
    value = {
        "simulated": True,
        "world": "twin",
        "nodes": wanted.nodes,
        "seeds": list(wanted.seeds),
        "nights": None if wanted.days is not None else wanted.nights,
        "days": wanted.days,
        "acceleration": wanted.acceleration,
        "orders": [
            {"policies": str(folder), **column}
            for folder, column in zip(folders, columns, strict=True)
        ],
    }
    return Simulated(value, _text(folders, columns, wanted))


def _pairs(
    orders: Sequence[Mapping[str, str]], folders: Sequence[Path]
) -> list[tuple[Mapping[str, str], Path]]:
    return list(zip(orders, folders, strict=True))


def _play_all(files: Mapping[str, str], name: str, wanted: Wanted, tell: Told) -> list[Played]:
    stretches = [None] if wanted.days is not None else list(range(wanted.nights))
    found = []
    for seed in wanted.seeds:
        for k, night in enumerate(stretches):
            what = f"{name}: seed {seed}" + ("" if night is None else f", night {k + 1}")
            spec = spec_of(
                wanted.nodes,
                seed if night is None else seed * 1000 + k,
                wanted.days if wanted.days is not None else NIGHT_H / 24,
                start=_start(k if night is not None else 0, whole=night is None),
                acceleration=wanted.acceleration,
            )

            def progress(share: float, turns: int, what: str = what) -> None:
                tell(f"{what}: {share:.0%} played, {turns} turns")

            found.append(play(spec, files, progress=progress))
            tell(f"{what}: {found[-1].cadence}")
    return found


def _start(night: int, *, whole: bool) -> datetime:
    hour = 0 if whole else NIGHT_FROM
    local = FIRST_DAY.replace(hour=hour, tzinfo=ZoneInfo(TZ)) + timedelta(days=night)
    return local.astimezone(UTC)


def _counted(runs: Sequence[Played]) -> dict[str, Any]:
    """What the runs come to, summed."""
    lost: Counter[str] = Counter()
    for run in runs:
        lost.update(run.tally.lost)
    allocated = sum(run.tally.allocated for run in runs)
    useful = sum(run.tally.useful for run in runs)
    return {
        "faults": sum(run.faults for run in runs),
        "done_alone": _sum(r.effects for r in runs),
        "verdicts": _sum(r.verdicts for r in runs),
        "refused_by": _sum(r.refused_by for r in runs),
        "asked": sum(r.asks for r in runs),
        "asked_at_night": sum(r.asked_night for r in runs),
        "pages": sum(r.pages for r in runs),
        "escalated": _sum(r.escalations for r in runs),
        "false_actions": sum(r.false_actions.false for r in runs),
        "disruptive_actions": sum(r.false_actions.taken for r in runs),
        "false_by_class": _of_by_class(runs),
        "gpu_hours": round(allocated, 1),
        "lost_gpu_hours": round(allocated - useful, 1),
        "lost_by_cause": {k: round(v, 1) for k, v in lost.items() if round(v, 1) > 0},
        "ettr": round(useful / allocated, 5) if allocated else 1.0,
        "broken_promises": [plain(v._asdict()) for r in runs for v in r.violations],
        "trace": [r.trace_hash for r in runs],
    }


def _of_by_class(runs: Sequence[Played]) -> dict[str, dict[str, int]]:
    """Class of true fault ("none": no fault) -> how many actions were false, of how many."""
    false: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    for run in runs:
        for name, (wrong, count) in run.false_actions.by_class.items():
            false[name] += wrong
            taken[name] += count
    return {name: {"false": false[name], "of": taken[name]} for name in sorted(taken)}


def _sum(counts: Any) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total.most_common())


_ROWS: tuple[tuple[str, str], ...] = (
    ("Faults that happened", "faults"),
    ("Effects carried out", "done_alone"),
    ("Proposals judged", "verdicts"),
    ("Refused by", "refused_by"),
    ("Questions to people", "asked"),
    ("  of them at night", "asked_at_night"),
    ("Pages", "pages"),
    ("Left to a person, by class", "escalated"),
    ("Disruptive actions", "disruptive_actions"),
    ("  of them false", "false_actions"),
    ("GPU-hours of gangs", "gpu_hours"),
    ("  of them lost", "lost_gpu_hours"),
    ("Lost by cause", "lost_by_cause"),
    ("ETTR (useful of all)", "ettr"),
    ("Promises broken", "broken_promises"),
)


def _text(folders: Sequence[Path], columns: Sequence[dict[str, Any]], wanted: Wanted) -> str:
    what = (
        f"{wanted.days:g} days"
        if wanted.days is not None
        else f"nights from 22 to 06: {wanted.nights}"
    )
    head = (
        f"Simulated: a twin of {wanted.nodes} nodes, {what}, seeds "
        f"{', '.join(map(str, wanted.seeds))}. Nothing real was touched."
    )
    if wanted.acceleration != 1:
        head += f" Faults come {wanted.acceleration:g} times as often as published."
    lines = [head]
    for folder, column in zip(folders, columns, strict=True):
        lines += ["", f"Orders: {folder} (simulated)"] if len(columns) == 1 else []
        if len(columns) > 1:
            break
        lines += [f"  {label:<28} {_cell(column[key])}" for label, key in _ROWS]
    if len(columns) > 1:
        width = max(28, *(len(str(f)) + 2 for f in folders))
        lines += ["", " " * 30 + "".join(f"{f!s:<{width}}" for f in folders).rstrip()]
        for label, key in _ROWS:
            lines += _side_by_side(label, [column[key] for column in columns], width)
    return "\n".join(lines)


def _side_by_side(label: str, values: list[Any], width: int) -> list[str]:
    if not any(isinstance(v, dict) for v in values):
        cells = "".join(f"{_cell(v):<{width}}" for v in values)
        return [f"  {label:<28}{cells}".rstrip()]
    names = dict.fromkeys(name for v in values for name in v)
    rows = [f"  {label}"] if names else [f"  {label:<28}none"]
    for name in names:
        cells = "".join(f"{v.get(name, 0)!s:<{width}}" for v in values)
        rows.append(f"    {name:<26}{cells}".rstrip())
    return rows


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items()) or "none"
    if isinstance(value, list):
        return str(len(value))
    return str(value)
