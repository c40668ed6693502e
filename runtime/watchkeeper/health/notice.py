"""What does this turn say, held against what was seen before? Asked each turn, then `correlate`.

`sense` reads one snapshot; this adds what only time tells: a gang without steps, a node that dies
again and again, clocks that stay cut, a sensor that stands still. Pure: what it remembers comes in
and goes out as `Sightings`. Missing data adds nothing and forgets nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from watchkeeper.core.cluster import RayState
from watchkeeper.core.incident import Signal, Trust
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.word import utc
from watchkeeper.health.gang import watch_gangs
from watchkeeper.health.sense import REAL, SenseSettings, debounce, level_id, lost_sources, sense
from watchkeeper.health.sensors import watch_clocks, watch_sensors
from watchkeeper.health.sightings import Sightings
from watchkeeper.health.storage import starved

_NO_READINGS = frozenset({"telemetry", "redis"})


def notice(
    snapshot: Snapshot, before: Sightings, settings: SenseSettings = REAL
) -> tuple[tuple[Signal, ...], Sightings]:
    """Every fact that holds now, and what to remember. The same as `sense` and `debounce`
    together, and what takes memory besides."""
    blind = lost_sources(snapshot, settings)
    seen, heat = list(sense(snapshot, settings)), list[Signal]()
    sensors, cut = before.sensors, before.cut
    if not blind & _NO_READINGS:
        cut, heat = watch_clocks(snapshot, before.cut, settings)
        stuck, sensors = watch_sensors(snapshot, before.sensors, settings)
        seen += stuck
    passed, now = debounce(tuple(seen), before, snapshot.at)
    deaf = _deaf(before, snapshot.at.timestamp(), lost=bool(blind & _NO_READINGS))
    now = replace(now, looked=snapshot.at.timestamp(), cut=cut, sensors=sensors, deaf=deaf)
    found: list[Signal] = [*passed, *heat]
    if "ray" not in blind:
        gangs, pasts = watch_gangs(snapshot, replace(before, sensors=sensors), settings)
        stalled = [] if blind & _NO_READINGS else starved(snapshot, pasts)
        hungry = {name for _, names in stalled for name in names}
        found += [s for s in gangs if s.target.partition(":")[2] not in hungry]
        found += [signal for signal, _ in stalled]
        ours = _in_our_hands(snapshot, before)
        deaths, flaps = _flaps(snapshot, passed, replace(before, ours=ours), settings)
        now = replace(now, gangs=pasts, deaths=deaths, ours=ours)
        found += flaps
    return tuple(sorted(found, key=lambda s: (s.target, s.code))), now


def _deaf(before: Sightings, now: float, *, lost: bool) -> tuple[float, float]:
    """(since when, until when) the store of telemetry was last found not to answer."""
    began, ended = before.deaf
    if not lost:
        return began, ended
    on = ended == before.looked  # it was lost at the last look, too
    return (began if on else max(before.looked, 0.0) or now), now


def in_doubt(sightings: Sightings, at_s: float) -> bool:
    """Whether a later look at an unchanged cluster may say more than this one did: a driver of
    the clock that skips quiet stretches must not skip now. at_s: epoch seconds."""
    if sightings.seen or sightings.cut:
        return True
    return sightings.gangs.in_doubt(at_s)


OUR_DOING_S = 1800.0
"""A node that leaves so soon after our fence or a drain was on it, or after its raylet left behind
one, left because of what was done to it (ours)."""


def _in_our_hands(snapshot: Snapshot, before: Sightings) -> dict[str, float]:
    """Nodes that we, or who drains them, have in hand; a fence ends with the raylet behind it."""
    now = snapshot.at.timestamp()
    held = {name: at for name, at in before.ours.items() if now - at <= OUR_DOING_S}
    draining = (n.name for n in snapshot.not_alive if n.ray_state is RayState.DRAINING)
    held.update(dict.fromkeys((*snapshot.fences, *draining), now))
    return held


def _flaps(
    snapshot: Snapshot, passed: Iterable[Signal], before: Sightings, settings: SenseSettings
) -> tuple[dict[str, tuple[tuple[str, float], ...]], list[Signal]]:
    """Deaths that were not our doing, and the nodes that had too many."""
    oldest = snapshot.at.timestamp() - settings.flap_window_s
    deaths = dict(before.deaths)
    flaps: list[Signal] = []
    for signal in passed:
        if signal.code != "node.dead":
            continue
        name = signal.target.partition(":")[2]
        known = deaths.get(name, ())
        if name not in before.ours and all(life != signal.incarnation for life, _ in known):
            known = (*known, (signal.incarnation, signal.at.timestamp()))
            deaths[name] = known[-8:]
    for name, times in list(deaths.items()):
        kept = tuple((life, at) for life, at in times if at >= oldest)
        if not kept:
            del deaths[name]
            continue
        deaths[name] = kept
        if len(kept) >= settings.flap_deaths:
            flaps.append(_flap(snapshot, name, kept))
    return deaths, flaps


def _flap(snapshot: Snapshot, name: str, deaths: tuple[tuple[str, float], ...]) -> Signal:
    node = snapshot.nodes.get(name)
    life, at = deaths[-1]
    return Signal(
        id=level_id("node.flap", f"node:{name}", life, utc(at)),
        code="node.flap",
        target=f"node:{name}",
        at=utc(at),
        source="ray-history",
        trust=Trust.RAY,
        world=snapshot.world,
        value=float(len(deaths)),
        incarnation=life if node is None else node.incarnation,
    )
