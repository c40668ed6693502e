"""The acting side of the twin: every kind of effect, how long it takes, and what it cures.

What cannot be done raises EffectFailed, and nothing happened. Who may order at all is asked in
`door`, whether it was deserved in `referee`.
"""

from __future__ import annotations

from collections.abc import Callable

from watchkeeper.core.action import (
    CheckRun,
    GpuPowerCap,
    GpuQuarantine,
    GpuReset,
    JobPreempt,
    JobRequeue,
    NodeCordon,
    NodeDrain,
    NodeReboot,
    NodeReplace,
    NodeRestart,
    NodeUncordon,
    PoolScale,
    kind_of,
    node_of,
)
from watchkeeper.core.cluster import CheckResult, JobState
from watchkeeper.core.errors import EffectFailed
from watchkeeper.core.ports import EffectOrder, Receipt
from watchkeeper.core.word import Word
from watchkeeper.twin.ailment import Ailment
from watchkeeper.twin.chance import Stream, uniform
from watchkeeper.twin.door import SERVES, Door
from watchkeeper.twin.energy import Paid
from watchkeeper.twin.gangs import Gang
from watchkeeper.twin.harm import Harm
from watchkeeper.twin.machines import Machines
from watchkeeper.twin.referee import Referee
from watchkeeper.twin.words import FaultLaw, Hurt, Scope
from watchkeeper.twin.work import FULL_WATTS, Work

CHECK_FINDS = 0.7
"""Chance that a short check of known arithmetic finds a GPU that computes wrong in silence; one
that it misses it misses always, and people must find it. Assumed."""
CHECK = 1
GROWS_BY = 0.1
"""The provider has this share of the fleet in stock, and no more. Assumed."""


class Durations(Word, frozen=True):
    """How long effects take, in seconds. reboot: 8 to 20 min, research figure. reset: 1 to 3 min.
    replace: 12 min of swap and 15 min of provisioning (cluster-autoscaler's deadline), assumed.
    check and provision fit the time in which the product's own traits expect to see them."""

    drain: float = 2.0
    restart: float = 60.0
    reboot: float = 540.0
    replace: float = 1620.0
    reset: float = 60.0
    check: float = 100.0
    provision: float = 270.0


class Effects:
    """Meets Actuator. done: every order that was carried out, in order."""

    name = "twin"

    def __init__(
        self, cluster: str, session: str, harm: Harm, paid: Paid, durations: Durations
    ) -> None:
        self.door = Door(cluster, session, harm.machines)
        self.harm, self.paid, self.takes = harm, paid, durations
        self.machines: Machines = harm.machines
        self.work: Work = harm.work
        self.checks: dict[str, CheckResult] = {}
        self.done: list[EffectOrder] = []
        self.referee = Referee(harm)
        self.stamp = 0
        self._busy: dict[int, float] = {}
        self._ordered = 0
        self._most = max(1, round(len(self.machines) * GROWS_BY))
        harm.busy = self.holds
        self.work.left = self._left

    @property
    def serves(self) -> frozenset[str]:
        return SERVES

    def holds(self, i: int) -> bool:
        """Whether an effect works on this node right now."""
        return self._busy.get(i, 0.0) > self.harm.clock.s

    def execute(self, order: EffectOrder) -> Receipt:
        """Begin one effect. Raises EffectFailed or LeaseLost."""
        if self.door.knows(order):
            return Receipt(provider=self.name, text="done before")
        self.door.admit(order)
        deed = self.referee.judge(order)
        self._act(order)
        self.door.remember(order)
        self.done.append(order)
        self.stamp += 1
        self.referee.note(deed)
        return Receipt(provider=self.name, text="simulated")

    def enforce(self, order: EffectOrder) -> Receipt:
        """A drain's deadline has passed: the raylet ends, and with it what still runs."""
        self.door.admit(order)
        i = self.machines.index[node_of(order.action)]
        if i in self.machines.draining:
            self._end(i)
        self.stamp += 1
        return Receipt(provider=self.name, text="ended")

    # What it does.

    def _act(self, order: EffectOrder) -> None:
        action = order.action
        match action:
            case NodeCordon(node=name):
                self._cordon(self.machines.index[name], order.token)
            case NodeUncordon(node=name):
                self._uncordon(self.machines.index[name])
            case NodeDrain(node=name, deadline_s=deadline_s):
                self._drain(self.machines.index[name], deadline_s)
            case NodeRestart(node=name):
                self._restart(self.machines.index[name], order.token)
            case NodeReboot(node=name):
                self._anew(self.machines.index[name], "node.reboot", order.token, self.takes.reboot)
            case NodeReplace(node=name):
                i = self.machines.index[name]
                self._anew(i, "node.replace", order.token, self.takes.replace)
            case GpuReset(node=name, gpu=gpu):
                self._reset(self.machines.index[name], gpu, order.token)
            case GpuQuarantine(node=name, gpu=gpu):
                self._hide(self.machines.index[name], gpu)
            case GpuPowerCap(node=name, gpu=gpu, watts=watts):
                self._cap(self.machines.index[name], gpu, watts)
            case CheckRun(node=name):
                self._run_check(self.machines.index[name], order.key)
            case JobRequeue():
                self._requeue(action)
            case JobPreempt(job=name, attempt_id=attempt, at_once=at_once):
                gang = self._attempt(name, attempt, JobState.RUNNING)
                if at_once:
                    self.work.stop(gang)
                else:
                    self.work.preempt(gang)
            case PoolScale(pool=pool, add=add):
                self._grow(pool, add)
            case _:
                raise EffectFailed(f"{kind_of(action)} is not served here")

    def _cordon(self, i: int, token: int) -> None:
        name = self.machines.names[i]
        if not self.machines.alive(i):
            raise EffectFailed(f"{name} is not alive: nothing can be fenced on it")
        if not self.machines.fenced(i):
            self.machines.fence(i, token)

    def _uncordon(self, i: int) -> None:
        if not self.machines.fenced(i):
            raise EffectFailed(f"{self.machines.names[i]} has no fence")
        self.machines.open(i)
        self.referee.back_in_service(i)
        self.work.fill()

    def _drain(self, i: int, deadline_s: float) -> None:
        if not self.machines.alive(i):
            raise EffectFailed(f"{self.machines.names[i]} is not alive: nothing can be drained")
        gang = self.work.on(i)
        self.machines.drain(i)
        if gang is None:
            self._left(i)
        else:
            self.work.stop_at_checkpoint(gang, self.harm.clock.s + deadline_s)

    def _left(self, i: int) -> None:
        """Nothing runs there any more: a drain is over in a moment."""
        if i in self.machines.draining:
            self._later(i, self.takes.drain, lambda: self._end(i), hold=False)

    def _end(self, i: int) -> None:
        if not self.machines.down(i):
            gang = self.work.on(i)
            self.machines.end(i, gone=True)
            if gang is not None:
                self.work.stop(gang, "drain")

    def _restart(self, i: int, token: int) -> None:
        if self.machines.alive(i):
            raise EffectFailed(f"{self.machines.names[i]} is alive: drain it first")
        self._anew(i, "node.restart", token, self.takes.restart)

    def _anew(self, i: int, kind: str, token: int, takes_s: float) -> None:
        """The raylet (or the host, or the machine) goes, and comes back behind our fence."""
        self._end(i)

        def back() -> None:
            if kind == "node.replace":
                self.harm.replaced.add(i)
                for key in [k for k in self.work.caps if k[0] == i]:
                    del self.work.caps[key]
            self.harm.cure([i], kind)
            if self.machines.down(i) and not self.harm.kept_down(i):
                self.machines.rise(i, token=token)

        self._later(i, takes_s, back)

    def _reset(self, i: int, gpu: int, token: int) -> None:
        if self.work.on(i) is not None:
            raise EffectFailed(f"{self.machines.names[i]} is in use: drain it first")
        was_alive = self.machines.alive(i)
        self._end(i)

        def over() -> None:
            self.harm.cure([i], "gpu.reset", gpu)
            if was_alive and self.machines.down(i) and not self.harm.kept_down(i):
                self.machines.rise(i, token=token)

        self._later(i, self.takes.reset, over)

    def _hide(self, i: int, gpu: int) -> None:
        word = self.machines.word(i)
        if not self.machines.alive(i) or self.work.on(i) is not None:
            raise EffectFailed(f"{word.name} is in use or not alive: GPU {gpu} cannot be hidden")
        if not 0 <= gpu < self.machines.gpus or gpu in word.hidden_gpus:
            raise EffectFailed(f"{word.name} shows no GPU {gpu}")
        self.machines.hide(i, gpu)
        self.harm.cure([i], "gpu.quarantine", gpu)

    def _cap(self, i: int, gpu: int, watts: float) -> None:
        if not self.machines.alive(i) or not 0 <= gpu < self.machines.gpus:
            raise EffectFailed(f"{self.machines.names[i]} has no GPU {gpu} that answers")
        self.work.cap(i, gpu, watts, FULL_WATTS)
        self.harm.cure([i], "gpu.power_cap", gpu)

    def _run_check(self, i: int, key: str) -> None:
        word = self.machines.word(i)
        idle = self.machines.fenced(i) or self.work.on(i) is None
        if not self.machines.alive(i) or not idle:
            raise EffectFailed(f"{word.name} is not alive and idle: it cannot be checked")
        life = word.incarnation
        self._say_check(word.name, life, key, None)

        def over() -> None:
            if self.machines.alive(i) and self.machines.word(i).incarnation == life:
                bad = [a for a in self.harm.ailments.on(i) if self.check_finds(a)]
                self._say_check(word.name, life, key, not bad)

        self._later(i, self.takes.check, over, hold=False)

    def check_finds(self, ailment: Ailment) -> bool:
        """Arithmetic that is wrong in silence is found or not, and then every time the same."""
        if shows_under_load(ailment.law):
            return True
        if ailment.law.hurts is not Hurt.TAINTS or ailment.law.scope is not Scope.GPU:
            return False
        seed = self.harm.spec.seed
        return uniform(seed, Stream.EFFECTS, CHECK, ailment.fault.id) < CHECK_FINDS

    def _say_check(self, name: str, life: str, key: str, passed: bool | None) -> None:
        detail = "" if passed is not False else "the workload did not finish as it should"
        began = self.harm.clock.now() if passed is None else self.checks[name].at
        result = CheckResult(name, life, key, passed, detail, began)
        self.checks = self.checks | {name: result}
        self.stamp += 1

    def _requeue(self, action: JobRequeue) -> None:
        gang = self._attempt(action.job, action.attempt_id, JobState.STOPPED)
        if action.before is not None:
            gang.go_back((action.before - self.harm.clock.start).total_seconds())
        self.work.requeue(gang)

    def _gang(self, name: str) -> Gang:
        gang = self.work.gangs.get(name)
        if gang is None:
            raise EffectFailed(f"there is no gang called {name}")
        return gang

    def _attempt(self, name: str, attempt: str, state: JobState) -> Gang:
        gang = self._gang(name)
        if attempt != f"{name}-a{gang.attempt}":
            raise EffectFailed(f"{name} is at attempt {gang.attempt} now")
        if gang.state is not state:
            raise EffectFailed(f"{name} is {gang.state.value}, not {state.value}")
        return gang

    def _grow(self, pool: str, add: int) -> None:
        if not any(self.machines.word(i).pool == pool for i in range(len(self.machines))):
            raise EffectFailed(f"there is no pool called {pool}")
        if self._ordered + add > self._most:
            raise EffectFailed(
                f"the provider has {self._most - self._ordered} nodes left, not {add}"
            )
        self._ordered += add

        def come() -> None:
            for _ in range(add):
                self.machines.grow(pool, f"rack-x{self._ordered:02d}")
                self.paid.add(self.harm.clock.s)
                self.work.grew()

        self._later(-1, self.takes.provision, come, hold=False)

    def _later(
        self, i: int, after_s: float, deed: Callable[[], None], *, hold: bool = True
    ) -> None:
        """Do it then; what holds a node begins once the last such effect on it is over."""
        now = self.harm.clock.s
        begin = max(now, self._busy.get(i, 0.0)) if hold else now
        if hold:
            self._busy[i] = begin + after_s

        def then() -> None:
            deed()
            self.stamp += 1

        self.harm.agenda.enter(begin + after_s, then)


def shows_under_load(law: FaultLaw) -> bool:
    """Whether a short real workload on the node alone would find this fault."""
    if law.scope in (Scope.JOB, Scope.STORAGE) or law.hurts is Hurt.NOTHING:
        return False
    return not (law.silent and law.hurts is Hurt.TAINTS)
