"""What the senses say of a snapshot, and what they do not say."""

from datetime import timedelta

import pytest
from tests.core import sick_cluster as c

from watchkeeper.core.cluster import JobState, PoolDemand, RayState
from watchkeeper.core.telemetry import SourceState
from watchkeeper.health.sense import LAB, Sightings, debounce, sense

NAN = float("nan")


def codes(snapshot) -> list[tuple[str, str]]:
    return [(s.code, s.target) for s in sense(snapshot, LAB)]


short = PoolDemand(
    pool="train", total_gpus=32, running_gpus=16, pending_gpus=16, waiting_jobs=1, fits_nowhere=True
)
stopped = c.job("g", state=JobState.STOPPED, state_since=c.ago(20))
TABLE = {
    "a healthy cluster says nothing": (c.snapshot(), []),
    "a dead node, with the provider's word": (
        c.snapshot(c.dead("w1")),
        [("node.dead", "node:w1"), ("node.process_gone", "node:w1")],
    ),
    "a dead node without a provider's word": (
        c.snapshot(c.dead("w1", process_gone=None)),
        [("node.dead", "node:w1")],
    ),
    "a silent node": (c.snapshot(silent={"w2": 16}), [("node.silent", "node:w2")]),
    "a short silence is nothing": (c.snapshot(silent={"w2": 14}), []),
    "a node that never spoke": (c.snapshot(silent={"w2": NAN}), [("node.silent", "node:w2")]),
    "a young node that never spoke has time": (
        c.snapshot(c.reborn("w2"), silent={"w2": NAN}),
        [],
    ),
    "a head without a collector is not silent": (
        c.snapshot(c.node("w2", control_path=True), silent={"w2": NAN}),
        [],
    ),
    "a node that Ray does not know": (
        c.snapshot(c.node("w1", ray_state=RayState.UNKNOWN, ray_state_since=c.ago(30))),
        [("node.unknown", "node:w1")],
    ),
    "a lost GPU": (c.snapshot(lost=[("w1", 3)]), [("gpu.lost", "gpu:w1/3")]),
    "a lost GPU in an old reading is Unknown": (
        c.snapshot(lost=[("w1", 3)], silent={"w1": 16}),
        [("node.silent", "node:w1")],
    ),
    "a GPU that we hid is not lost": (
        c.snapshot(c.node("w1", hidden_gpus=(3,)), lost=[("w1", 3)]),
        [],
    ),
    "a GPU may be late at boot": (c.snapshot(c.reborn("w1"), lost=[("w1", 3)]), []),
    "a gang that stopped": (c.snapshot(jobs=[stopped]), [("job.stopped", "job:g")]),
    "a gang that stopped just now may belong to a node": (
        c.snapshot(jobs=[c.renamed(stopped, state_since=c.ago(2))]),
        [],
    ),
    "a pool that no gang fits": (
        c.snapshot(demand=(short,)),
        [("capacity.short", "pool:train")],
    ),
    "a lost telemetry store makes no node silent": (
        c.snapshot(
            silent={"w1": 99, "w2": 99}, sources={"telemetry": SourceState("telemetry", 99.0)}
        ),
        [("source.lost", "source:telemetry")],
    ),
    "a lost Ray says nothing about nodes": (
        c.snapshot(c.dead("w1"), sources={"ray": SourceState("ray", None, "refused")}),
        [("source.lost", "source:ray")],
    ),
}


@pytest.mark.parametrize("case", TABLE.values(), ids=TABLE)
def test_sense(case):
    snapshot, expected = case
    assert codes(snapshot) == expected


def test_the_same_fact_on_a_later_turn_is_the_same_signal():
    def turn(seconds: float):
        at = c.NOW + timedelta(seconds=seconds)
        return sense(
            c.snapshot(
                c.dead("w1"), lost=[("w2", 1)], silent={"w3": 60 + seconds}, jobs=[stopped], at=at
            ),
            LAB,
        )

    assert [s.id for s in turn(0)] == [s.id for s in turn(500)]
    assert len(turn(0)) == 5


def test_one_reading_of_a_lost_gpu_is_held_back_until_a_second_one():
    def turn(seconds: float, lost):
        at = c.NOW + timedelta(seconds=seconds)
        return sense(c.snapshot(lost=lost, at=at), LAB), at

    signals, at = turn(0, [("w1", 3)])
    passed, seen = debounce(signals, Sightings(), at)
    assert passed == ()
    assert debounce(signals, seen, at)[0] == ()  # the same reading again is still one
    again, later = turn(5, [("w1", 3)])
    assert [s.code for s in debounce(again, seen, later)[0]] == ["gpu.lost"]
    _, forgotten = debounce((), seen, later)
    assert debounce(again, forgotten, later)[0] == ()  # a gap begins anew


def test_what_ray_says_is_never_held_back():
    snapshot = c.snapshot(c.dead("w1"))
    signals = sense(snapshot, LAB)
    assert debounce(signals, Sightings(), snapshot.at)[0] == signals
