"""What every cluster behind the ports must keep to, whichever world it is.

A rig is one cluster and a way to act on it. The one in memory is always here; a real one joins by
being added to `RIGS`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import pytest

from watchkeeper.core.action import (
    REQUEUE_BEFORE,
    Action,
    CheckRun,
    NodeCordon,
    NodeRestart,
    NodeUncordon,
    kind_of,
)
from watchkeeper.core.cluster import ClusterState, RayState, World
from watchkeeper.core.errors import EffectFailed, LeaseLost, WatchkeeperError
from watchkeeper.core.ports import Actuator, ClusterReader, EffectOrder
from watchkeeper.twin.cluster import TwinCluster
from watchkeeper.twin.memory import ManualClock, MemoryCluster
from watchkeeper.twin.topology import build
from watchkeeper.twin.words import TwinSpec


class Rig(Protocol):
    """One cluster with a node `train-01` that may be broken, and a `train-02` that stays well."""

    reader: ClusterReader
    actuator: Actuator

    def lose(self, node: str) -> None:
        """The node's raylet dies, and the cluster comes to know it."""
        ...

    def until(self, fact: Callable[[ClusterState], object]) -> ClusterState:
        """The first reading in which `fact` holds."""
        ...


@dataclass
class MemoryRig:
    """The cluster in memory: what is true is true at once."""

    cluster: MemoryCluster = field(
        default_factory=lambda: MemoryCluster.of(ManualClock(), {"train": 2}, world=World.LAB)
    )

    @property
    def reader(self) -> ClusterReader:
        return self.cluster

    @property
    def actuator(self) -> Actuator:
        return self.cluster

    def lose(self, node: str) -> None:
        self.cluster.lose(node)

    def until(self, fact: Callable[[ClusterState], object]) -> ClusterState:
        state = self.cluster.read()
        assert fact(state)
        return state


def _two_free_nodes() -> TwinCluster:
    spec = TwinSpec(seed=1, nodes=2)
    names = ("train-01", "train-02")
    fleet = replace(
        build(spec),
        names=names,
        index={name: i for i, name in enumerate(names)},
        spare=np.ones(2, np.bool_),
    )
    return TwinCluster(spec, fleet, (), (), ())


@dataclass
class TwinRig:
    """The twin: what is asked for takes its time, and time passes when told."""

    reader: TwinCluster = field(default_factory=_two_free_nodes)

    @property
    def actuator(self) -> Actuator:
        return self.reader

    def lose(self, node: str) -> None:
        self.reader.machines.end(self.reader.machines.index[node], gone=True)

    def until(self, fact: Callable[[ClusterState], object]) -> ClusterState:
        for _ in range(120):
            state = self.reader.read()
            if fact(state):
                return state
            self.reader.advance(self.reader.clock.s + 10.0)
        raise AssertionError("it never came to pass within 20 minutes of the twin")


RIGS: dict[str, Callable[[], Rig]] = {"memory": MemoryRig, "twin": TwinRig}


@pytest.fixture(params=sorted(RIGS))
def rig(request: pytest.FixtureRequest) -> Rig:
    return RIGS[request.param]()


_numbers: Iterator[int] = itertools.count(1)


def order(rig: Rig, action: Action, **changes: object) -> EffectOrder:
    """A fresh order, right for this cluster but for the changes."""
    number = next(_numbers)
    state = rig.reader.read()
    fields: dict[str, object] = {
        "action": action,
        "key": f"key-{number}",
        "token": number,
        "session": state.session,
        "cluster": state.cluster,
    }
    return EffectOrder(**{**fields, **changes})  # type: ignore[arg-type]


def life(rig: Rig, node: str = "train-01") -> str:
    return rig.reader.read().nodes[node].incarnation


def cordon(rig: Rig) -> NodeCordon:
    return NodeCordon(node="train-01", incarnation=life(rig))


def test_what_is_read_names_session_cluster_and_world_and_every_node_under_its_name(
    rig: Rig,
) -> None:
    state = rig.reader.read()
    assert state.session
    assert state.cluster.startswith(f"{state.world.value}-")
    assert all(name == node.name for name, node in state.nodes.items())
    lives = [node.incarnation for node in state.nodes.values()]
    assert len(set(lives)) == len(lives)


def test_the_control_path_is_marked(rig: Rig) -> None:
    assert [n.name for n in rig.reader.read().nodes.values() if n.control_path] == ["head"]


def test_the_provider_says_which_kinds_it_serves(rig: Rig) -> None:
    assert {"node.cordon", "node.uncordon", "check.run"} <= rig.actuator.serves


def test_a_fence_is_reported_with_what_it_holds_and_is_gone_when_lifted(rig: Rig) -> None:
    receipt = rig.actuator.execute(order(rig, cordon(rig)))
    assert receipt.provider == rig.actuator.name
    fence = rig.until(lambda s: "train-01" in s.fences and s.fences["train-01"].sealed).fences[
        "train-01"
    ]
    assert (fence.node, fence.held, fence.wanted) == ("train-01", 8, 8)
    assert fence.name.startswith("wk-fence-train-01-")
    rig.actuator.execute(order(rig, NodeUncordon(node="train-01", incarnation=life(rig))))
    rig.until(lambda s: "train-01" not in s.fences and s.nodes["train-01"].gpus_free == 8)


def test_s18_the_same_key_acts_once(rig: Rig) -> None:
    first = order(rig, cordon(rig))
    rig.actuator.execute(first)
    before = rig.until(lambda s: "train-01" in s.fences).fences["train-01"].name
    rig.actuator.execute(order(rig, NodeUncordon(node="train-01", incarnation=life(rig))))
    rig.until(lambda s: "train-01" not in s.fences)
    rig.actuator.execute(first)
    assert "train-01" not in rig.reader.read().fences, f"{before} came back"


def test_s6_a_stale_fencing_token_is_refused_and_changes_nothing(rig: Rig) -> None:
    newer = order(rig, cordon(rig))
    rig.actuator.execute(newer)
    rig.until(lambda s: "train-01" in s.fences)
    late = NodeUncordon(node="train-01", incarnation=life(rig))
    with pytest.raises(LeaseLost):
        rig.actuator.execute(order(rig, late, token=newer.token - 1))
    assert "train-01" in rig.reader.read().fences


def test_s6_a_token_of_one_node_does_not_hold_back_another(rig: Rig) -> None:
    rig.actuator.execute(order(rig, cordon(rig), token=next(_numbers) + 100))
    other = NodeCordon(node="train-02", incarnation=life(rig, "train-02"))
    rig.actuator.execute(order(rig, other))
    rig.until(lambda s: "train-02" in s.fences)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"session": "another-session"}, id="session"),
        pytest.param({"cluster": "real-prod"}, id="cluster"),
    ],
)
def test_s29_an_order_for_another_session_or_cluster_is_refused(
    rig: Rig, wrong: dict[str, object]
) -> None:
    with pytest.raises(EffectFailed):
        rig.actuator.execute(order(rig, cordon(rig), **wrong))
    assert rig.reader.read().fences == {}


def test_an_order_for_another_incarnation_is_refused(rig: Rig) -> None:
    past = NodeCordon(node="train-01", incarnation="0" * 56)
    with pytest.raises(EffectFailed, match="train-01"):
        rig.actuator.execute(order(rig, past))
    assert rig.reader.read().fences == {}


@pytest.mark.parametrize("action", [NodeCordon, NodeUncordon, CheckRun], ids=lambda a: a.__name__)
def test_an_order_for_a_node_that_is_not_there_is_refused(
    rig: Rig, action: Callable[..., Action]
) -> None:
    with pytest.raises(WatchkeeperError):
        rig.actuator.execute(order(rig, action(node="stranger", incarnation="x")))


def test_a_refused_order_does_not_use_up_its_key(rig: Rig) -> None:
    wrong = order(rig, cordon(rig), session="another-session")
    with pytest.raises(EffectFailed):
        rig.actuator.execute(wrong)
    rig.actuator.execute(order(rig, cordon(rig), key=wrong.key))
    rig.until(lambda s: "train-01" in s.fences)


def test_a_lost_node_is_dead_to_ray_and_its_process_is_known_to_be_gone(rig: Rig) -> None:
    rig.lose("train-01")
    node = rig.until(lambda s: s.nodes["train-01"].ray_state is RayState.DEAD).nodes["train-01"]
    assert node.process_gone is True


def test_a_restart_gives_a_new_incarnation_under_the_old_name_behind_a_fence(rig: Rig) -> None:
    if "node.restart" not in rig.actuator.serves:
        pytest.skip("no provider here starts a raylet")
    rig.lose("train-01")
    rig.until(lambda s: s.nodes["train-01"].ray_state is RayState.DEAD)
    before = life(rig)
    restart = order(rig, NodeRestart(node="train-01", incarnation=before))
    rig.actuator.execute(restart)
    rig.until(lambda s: s.nodes["train-01"].ray_state is RayState.ALIVE)
    state = rig.until(lambda s: "train-01" in s.fences and s.fences["train-01"].sealed)
    assert state.nodes["train-01"].incarnation != before
    now = life(rig)
    rig.actuator.execute(restart)
    assert life(rig) == now, "the same key starts nothing twice"


def test_a_check_is_reported_for_the_incarnation_it_ran_on(rig: Rig) -> None:
    rig.actuator.execute(order(rig, cordon(rig)))
    rig.until(lambda s: "train-01" in s.fences and s.fences["train-01"].sealed)
    check = order(rig, CheckRun(node="train-01", incarnation=life(rig)))
    rig.actuator.execute(check)
    state = rig.until(lambda s: "train-01" in s.checks and s.checks["train-01"].passed is not None)
    result = state.checks["train-01"]
    assert (result.incarnation, result.key, result.passed) == (life(rig), check.key, True)


def test_each_served_kind_is_one_of_the_closed_set(rig: Rig) -> None:
    from watchkeeper.core.action import KINDS

    assert rig.actuator.serves - {REQUEUE_BEFORE} <= set(KINDS)
    assert kind_of(cordon(rig)) in rig.actuator.serves
