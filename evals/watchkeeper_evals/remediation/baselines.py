"""The simple controllers that the watch is held against.

`none`: Ray starts a failed gang again, a few times; all else waits for people's own repair times.
`restart_only`: besides, a dead node is started anew after 10 minutes. `threshold_rules`: besides,
error codes past a threshold take a node out and reboot it at once. None of them sees the truth.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from watchkeeper.core.action import (
    NodeCordon,
    NodeDrain,
    NodeReboot,
    NodeRestart,
    NodeUncordon,
)
from watchkeeper.core.cluster import JobState
from watchkeeper.core.incident import Signal, Trust, target_node
from watchkeeper.core.word import Word
from watchkeeper.twin.cluster import TwinCluster
from watchkeeper.twin.gangs import Gang
from watchkeeper.twin.words import DAY_S
from watchkeeper_evals.remediation.stage import A_MOMENT_S, Hands

RAY_TRIES = 3
"""Ray starts a failed gang again so often in a row; a whole checkpoint starts the count anew. Ray
Train's own default is 0: the baselines are given more than that. Assumed."""
RAY_TRIES_AFTER_S = 60.0
"""So long after it failed. Assumed."""
RESTART_AFTER_S = 600.0
"""restart_only: a dead node is started anew after this time."""
RESTART_TRIES = 3
"""restart_only: so often for one death, this long apart; then it is left to people. Assumed."""


class RayAlone:
    """Baseline `none`: what Ray does by itself."""

    def __init__(self, cluster: TwinCluster) -> None:
        self.cluster, self.hands = cluster, Hands(cluster)
        self._stamp = -1
        self._tries: dict[str, tuple[float, int]] = {}
        self._seen: dict[str, int] = {}

    def act(self) -> None:
        work = self.cluster.work
        if work.stamp == self._stamp:
            return
        self._stamp = work.stamp
        for gang in work.gangs.values():
            if gang.state is JobState.STOPPED and self._seen.get(gang.name) != gang.attempt:
                self._seen[gang.name] = gang.attempt
                self._try_again(gang)

    def _try_again(self, gang: Gang) -> None:
        kept, tries = self._tries.get(gang.name, (-1.0, 0))
        tries = tries + 1 if gang.kept <= kept else 1
        if tries > RAY_TRIES:
            return
        self._tries[gang.name] = (gang.kept, tries)
        attempt = gang.attempt

        def again() -> None:
            if gang.attempt == attempt:
                self.cluster.work.requeue(gang)

        self.hands.later(RAY_TRIES_AFTER_S, again)


class RestartOnly(RayAlone):
    """Baseline `restart_only`: and a node that is dead for 10 minutes is started anew."""

    def __init__(self, cluster: TwinCluster) -> None:
        super().__init__(cluster)
        self._machines_stamp = -1
        self._dead: set[tuple[int, str]] = set()

    def act(self) -> None:
        super().act()
        machines = self.cluster.machines
        if machines.stamp == self._machines_stamp:
            return
        self._machines_stamp = machines.stamp
        for i in np.flatnonzero(np.isfinite(machines.silent_s)).tolist():
            life = (i, self.hands.life(i))
            if machines.down(i) and life not in self._dead:
                self._dead.add(life)
                self._wait(*life)

    def _wait(self, i: int, life: str, tries: int = 1) -> None:
        if tries <= RESTART_TRIES:
            self.hands.later(RESTART_AFTER_S, lambda: self._start(i, life, tries))

    def _start(self, i: int, life: str, tries: int) -> None:
        if not self.cluster.machines.down(i) or self.hands.life(i) != life:
            return
        if not self.cluster.effects.holds(i):
            self._bring_back(i)
        self._wait(i, life, tries + 1)

    def _bring_back(self, i: int) -> None:
        name = self.cluster.machines.names[i]
        if self.hands.do(NodeRestart(node=name, incarnation=self.hands.life(i))):
            takes_s = self.cluster.effects.takes.restart
            self.hands.later(takes_s + A_MOMENT_S, lambda: self._give_back(i))

    def _give_back(self, i: int) -> None:
        machines = self.cluster.machines
        if machines.alive(i) and machines.fenced(i):
            self.hands.do(NodeUncordon(node=machines.names[i], incarnation=self.hands.life(i)))


FATAL = frozenset(
    {
        *(f"xid.{n}" for n in (48, 62, 64, 74, 79, 95, 109, 119, 120, 172)),
        "ecc.dbe",
        "ecc.remap_failure",
    }
)
MEMORY = frozenset({"xid.63", "xid.94", "ecc.remap_pending"})
LINKS = frozenset({"ib.link_down", "nic.down", "nvlink.errors", "pcie.width", "pcie.aer"})
CODE_SETS: dict[str, frozenset[str]] = {
    "fatal": FATAL,
    "fatal+memory": FATAL | MEMORY,
    "fatal+links": FATAL | LINKS,
    "all": FATAL | MEMORY | LINKS,
}


class Thresholds(Word, frozen=True):
    """The parameters of `threshold_rules`, tuned on training seeds (tuned.json names them).

    codes: a set of CODE_SETS. count: lines of these codes from one node within window_s. drain_s:
    how long running work may go on. most_reboots: of one node in 24 h; then it stays out for
    people. breaker: share of a pool that may be out or dead.
    """

    codes: str = "fatal"
    count: int = 1
    window_s: float = 600.0
    drain_s: float = 0.0
    most_reboots: int = 2
    breaker: float = 0.20


PEOPLE_LOOK_S = DAY_S
"""threshold_rules: a node that was rebooted too often is looked at by people and given back after
this time, if nobody has mended it before. Assumed."""


class ThresholdRules(RestartOnly):
    """Baseline `threshold_rules`: XID and ECC thresholds -> cordon, drain, reboot at once. A dead
    node is rebooted after 10 minutes. It reads the logs of kernel and driver, never a job's."""

    def __init__(self, cluster: TwinCluster, rules: Thresholds) -> None:
        super().__init__(cluster)
        self.rules, self._codes = rules, CODE_SETS[rules.codes]
        self._wire_stamp = -1
        self._lines: dict[int, deque[float]] = {}
        self._reboots: dict[int, list[float]] = {}
        self._out: set[int] = set()

    def act(self) -> None:
        super().act()
        wire = self.cluster.wire
        if wire.stamp == self._wire_stamp or self.cluster.disturbance.outages:
            return
        self._wire_stamp = wire.stamp
        for signal in wire.take():
            self._hear(signal)

    def _hear(self, signal: Signal) -> None:
        i = self.cluster.machines.index.get(target_node(signal.target), -1)
        by_instrument = signal.trust in (Trust.KERNEL, Trust.DRIVER)
        if i < 0 or not by_instrument or signal.code not in self._codes:
            return
        now = self.cluster.clock.s
        lines = self._lines.setdefault(i, deque())
        lines.append(now)
        while lines[0] < now - self.rules.window_s:
            lines.popleft()
        if len(lines) >= self.rules.count and i not in self._out and self._may(i):
            lines.clear()
            self._take_out(i)

    def _may(self, i: int) -> bool:
        machines = self.cluster.machines
        if not machines.alive(i) or self.cluster.effects.holds(i):
            return False
        pool = machines.word(i).pool
        size = len(self.cluster.fleet.in_pool(pool))
        most = max(1, int(self.rules.breaker * size))
        if len(self._out) + int(np.isfinite(machines.silent_s).sum()) < most:
            return True  # few are away of any pool
        silent = np.flatnonzero(np.isfinite(machines.silent_s)).tolist()
        away = self._out | {j for j in silent if machines.down(j)}
        return sum(machines.word(j).pool == pool for j in away) + 1 <= most

    def _take_out(self, i: int) -> None:
        self._out.add(i)
        name, life = self.cluster.machines.names[i], self.hands.life(i)
        self.hands.do(NodeCordon(node=name, incarnation=life))
        if self._worn_out(i):
            self.hands.later(PEOPLE_LOOK_S, lambda: self._back(i))
            return
        self.hands.do(NodeDrain(node=name, incarnation=life, deadline_s=self.rules.drain_s))
        if self.rules.drain_s <= 0:
            self._reboot(i)
        else:
            self._when_drained(i, life, self.cluster.clock.s + self.rules.drain_s)

    def _when_drained(self, i: int, life: str, by_s: float) -> None:
        if self.hands.life(i) != life:
            self._out.discard(i)
        elif self.cluster.machines.down(i) or self.cluster.clock.s >= by_s:
            self._reboot(i)
        else:
            left_s = by_s - self.cluster.clock.s
            self.hands.later(min(30.0, left_s), lambda: self._when_drained(i, life, by_s))

    def _worn_out(self, i: int) -> bool:
        since = self.cluster.clock.s - DAY_S
        return sum(at > since for at in self._reboots.get(i, ())) >= self.rules.most_reboots

    def _bring_back(self, i: int) -> None:
        if i not in self._out and not self._worn_out(i):
            self._out.add(i)
            self._reboot(i)

    def _reboot(self, i: int) -> None:
        self._reboots.setdefault(i, []).append(self.cluster.clock.s)
        machines = self.cluster.machines
        if not self.hands.do(NodeReboot(node=machines.names[i], incarnation=self.hands.life(i))):
            self._out.discard(i)
            return
        self.hands.later(self.cluster.effects.takes.reboot + A_MOMENT_S, lambda: self._back(i))

    def _back(self, i: int) -> None:
        self._out.discard(i)
        self._give_back(i)
