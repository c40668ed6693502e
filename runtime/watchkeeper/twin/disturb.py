"""Noise at play: what is seen goes wrong while nothing is broken.

It changes readings and lines, never what is true; but a boot is a boot: a node without work that
says link-down at boot has really started anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TypeVar

from watchkeeper.core.cluster import World
from watchkeeper.core.incident import Signal, Trust
from watchkeeper.twin.chance import Stream, stream
from watchkeeper.twin.frame import Panel
from watchkeeper.twin.harm import Harm
from watchkeeper.twin.machines import NEVER
from watchkeeper.twin.noise import INSTRUCTIONS
from watchkeeper.twin.symptoms import line, target, told
from watchkeeper.twin.words import Noise, NoiseKind, TwinSpec

K = TypeVar("K")
V = TypeVar("V")
POLL_S = 10.0
"""Boots are told on these seconds: what polls a link sees it down in one of them."""
STALE_CODE = "xid.79"
"""What old news says of a node that never had any. Assumed."""


class Disturbance:
    """Plays every Noise. outages: how many hold the store of telemetry right now. outages_from_s:
    when they begin, freezes_s: when readings begin and cease to stand still, and deaf_s: when half
    of the nodes begin and cease to be unheard, for a driver that skips quiet ticks."""

    def __init__(self, spec: TwinSpec, harm: Harm, panel: Panel) -> None:
        self.spec, self.harm, self.panel = spec, harm, panel
        self.clock, self.agenda = harm.clock, harm.agenda
        self.machines, self.wire = harm.machines, harm.wire
        self.outages = 0
        self.outages_from_s: list[float] = []
        self.freezes_s: list[float] = []
        self.deaf_s: list[float] = []

    def play(self, noises: Iterable[Noise]) -> None:
        """Enter all of it on the agenda."""
        for noise in noises:
            self.agenda.enter(noise.at_s, partial(self._begin, noise))
            if noise.kind is NoiseKind.MONITORING_OUTAGE:
                self.outages_from_s.append(noise.at_s)
            elif noise.kind is NoiseKind.FROZEN_SENSOR:
                self.freezes_s += (noise.at_s, noise.ends_s)
            elif noise.kind is NoiseKind.HALF_MISSING:
                self.deaf_s += (noise.at_s, noise.ends_s)

    def _begin(self, noise: Noise) -> None:
        match noise.kind:
            case NoiseKind.BOOT_STORM:
                self._boots(noise)
            case NoiseKind.STALE_EVENTS:
                self._old_news(noise)
            case NoiseKind.TENANT_PRINTS | NoiseKind.INSTRUCTIONS_IN_LOG:
                self._job_log(noise)
            case NoiseKind.APPLICATION_CODES:
                for node in noise.nodes:
                    self._say(noise, f"xid.{int(noise.value)}", node)
            case _:
                self._switch(noise, on=True)
                self.agenda.enter(noise.ends_s, partial(self._switch, noise, on=False))

    def _switch(self, noise: Noise, *, on: bool) -> None:
        """What lasts: readings and the way of the lines."""
        panel, names = self.panel, self.machines.names
        if noise.kind is NoiseKind.MONITORING_OUTAGE:
            self.outages += 1 if on else -1
        for i in noise.nodes:
            match noise.kind:
                case NoiseKind.DUPLICATES:
                    _set(self.wire.copies, names[i], int(noise.value) if on else None)
                case NoiseKind.FROZEN_SENSOR if on:
                    panel.freeze(i)
                case NoiseKind.FROZEN_SENSOR:
                    panel.frozen.pop(i, None)
                case NoiseKind.UNIT_CHANGE:
                    _set(panel.scale, i, noise.value if on else None)
                case NoiseKind.CLOCK_SKEW:
                    _set(panel.skew, i, noise.value if on else None)
                    _set(self.wire.skew, names[i], noise.value if on else None)
                case NoiseKind.HALF_MISSING:
                    panel.deaf[i] = self.clock.s if on else NEVER
                case _:
                    pass
        panel.changed()

    def _boots(self, noise: Noise) -> None:
        chance = stream(self.spec.seed, Stream.NOISE, 3, noise.id)
        polls = max(1, int((noise.ends_s - noise.at_s) // POLL_S))
        at_poll: dict[int, list[int]] = {}
        for node, poll in zip(
            noise.nodes, chance.integers(0, polls, len(noise.nodes)).tolist(), strict=True
        ):
            at_poll.setdefault(poll, []).append(node)
        for poll, nodes in sorted(at_poll.items()):
            self.agenda.enter(noise.at_s + poll * POLL_S, partial(self._boot, noise, nodes))

    def _boot(self, noise: Noise, nodes: list[int]) -> None:
        for i in nodes:
            if not self.machines.alive(i):
                continue
            idle = self.harm.work.holder[i] is None and not self.machines.fenced(i)
            if idle and not self.harm.busy(i):
                self.machines.rise(i, token=None)
            self._say(noise, "ib.link_down", i)

    def _old_news(self, noise: Noise) -> None:
        """A store replays what it held back: true once, and long over."""
        for i in noise.nodes:
            before = [f for f in self.harm.played if i in f.nodes]
            codes = [c for f in reversed(before) for c in self.harm.laws[f.law].shows if told(c)]
            code = next((c for c in codes if not c.startswith("gang.")), STALE_CODE)
            self._say(noise, code, i, ago_s=noise.value, life="")

    def _say(
        self, noise: Noise, code: str, i: int, *, ago_s: float = 0.0, life: str | None = None
    ) -> None:
        whom = target(code, self.machines.names[i], noise.id % self.machines.gpus, "")
        lives = self.machines.word(i).incarnation if life is None else life
        ident = f"S-noise-{noise.id}-{i}"
        self.wire.say(line(self.clock, ident, code, whom, skew_s=-ago_s, life=lives))

    def _job_log(self, noise: Noise) -> None:
        """A tenant writes; whoever believes it is fooled."""
        for i in noise.nodes:
            name = self.machines.names[i]
            gang = self.harm.work.holder[i]
            if noise.kind is NoiseKind.TENANT_PRINTS:
                code = f"xid.{int(noise.value)}"
                raw = f"NVRM: Xid (PCI:0000:10:00): {int(noise.value)}, GPU has fallen off the bus."
                whom = f"gpu:{name}/0"
            else:
                code, raw = "job.log", INSTRUCTIONS[int(noise.value) % len(INSTRUCTIONS)]
                whom = f"job:{gang.name}" if gang else f"node:{name}"
            self.wire.say(
                Signal(
                    id=f"S-noise-{noise.id}-{i}",
                    code=code,
                    target=whom,
                    at=self.clock.now(),
                    source="job-log",
                    trust=Trust.JOB_LOG,
                    world=World.TWIN,
                    simulated=True,
                    raw=raw,
                )
            )


def _set(table: dict[K, V], key: K, value: V | None) -> None:
    """Set, or with None take away."""
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
