"""A snapshot becomes a fleet that can be asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from watchkeeper.core.cluster import ClusterState, Fence, Job, JobState, Node, RayState, World
from watchkeeper.core.telemetry import FleetFrame, Snapshot
from watchkeeper.placement.inventory import MODEL_LABEL, gang_of, take_stock
from watchkeeper.placement.preempt import preempt
from watchkeeper.placement.words import Gang, Piece

AT = datetime(2026, 11, 20, 1, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)


def node(name: str, free: float = 8, state: RayState = RayState.ALIVE, **more: object) -> Node:
    return Node(
        name=name,
        incarnation=f"ray-{name}",
        pool="train",
        ray_state=state,
        ray_state_since=AT,
        gpus=8,
        gpus_free=free,
        rack="r0",
        **more,  # type: ignore[arg-type]
    )


def job(name: str, state: JobState = JobState.RUNNING, **more: object) -> Job:
    return Job(
        name=name,
        attempt_id=f"{name}-1",
        state=state,
        state_since=AT - 3 * HOUR,
        **more,  # type: ignore[arg-type]
    )


def snapshot(nodes: list[Node], jobs: list[Job] = [], fences: list[str] = []) -> Snapshot:  # noqa: B006
    state = ClusterState(
        session="s",
        cluster="c",
        world=World.TWIN,
        read_at=AT,
        nodes={n.name: n for n in nodes},
        jobs={j.name: j for j in jobs},
        fences={
            name: Fence(name=f"wk-fence-{name}-1", node=name, token=1, held=8, wanted=8)
            for name in fences
        },
    )
    return Snapshot(at=AT, steady=0.0, state=state, frame=FleetFrame.empty(), sources={})


def test_what_runs_holds_its_nodes_and_what_waits_can_be_asked_about() -> None:
    running = job("run", gpus=16, nodes=("n0", "n1"), checkpoint_at=AT - HOUR, tenant="red")
    waiting = job("wait", JobState.WAITING, gpus=16, pending_gpus=16, pending_bundle_gpus=8)
    stock = take_stock(snapshot([node("n0", 0), node("n1", 0), node("n2")], [running, waiting]))
    assert stock.running["run"].placement.rows == (0, 1)
    assert stock.running["run"].unsaved_s(AT.timestamp()) == 3600
    gang = stock.waiting["wait"]
    assert (gang.count, gang.piece) == (2, Piece(gpus=8))
    assert not stock.engine.fits(gang)
    urgent = Gang("urgent", Piece(gpus=8), 2, priority=1)
    found = preempt(stock.engine, urgent, stock.running.values(), AT.timestamp())
    assert found is not None
    assert [v.name for v in found.victims] == ["run"]


def test_nodes_that_take_no_work_are_closed() -> None:
    nodes = [
        node("dead", state=RayState.DEAD),
        node("fenced"),
        node("head", control_path=True),
        node("ill"),
        node("unknown", state=RayState.UNKNOWN),
        node("well"),
    ]
    stock = take_stock(snapshot(nodes, fences=["fenced"]), suspects=["ill", "gone-since"])
    fleet = stock.engine.fleet
    assert "head" not in fleet.row
    usable = fleet.may(Gang("a", Piece(gpus=1)))
    assert [fleet.names[row] for row in usable.nonzero()[0]] == ["well"]


def test_gpus_in_use_by_nobody_we_know_are_not_handed_out() -> None:
    stock = take_stock(snapshot([node("n0", 2.5)]))
    assert stock.engine.fleet.milli.tolist() == [2500]
    assert stock.engine.fits(Gang("a", Piece(gpus=2)))
    assert not stock.engine.fits(Gang("a", Piece(gpus=3)))
    urgent = Gang("a", Piece(gpus=8), priority=9)
    assert preempt(stock.engine, urgent, stock.running.values(), AT.timestamp()) is None


def test_a_job_that_claims_more_than_its_node_has_does_not_break_the_count() -> None:
    stock = take_stock(
        snapshot(
            [node("n0", 0)], [job("a", gpus=8, nodes=("n0",)), job("b", gpus=8, nodes=("n0",))]
        )
    )
    assert stock.engine.fleet.milli.tolist() == [0]
    assert list(stock.running) == ["a"]


def test_gpu_models_come_from_rays_label() -> None:
    stock = take_stock(snapshot([node("n0", labels={MODEL_LABEL: "H100"})]))
    assert stock.engine.fits(Gang("a", Piece(gpus=1, models=frozenset({"H100"}))))
    assert not stock.engine.fits(Gang("a", Piece(gpus=1, models=frozenset({"A100"}))))


def test_work_that_does_not_say_how_it_is_cut_counts_as_one_piece() -> None:
    gang = gang_of(job("a", JobState.WAITING, gpus=4, pending_gpus=4))
    assert (gang.count, gang.piece.gpus) == (1, 4)
    half = gang_of(job("h", JobState.WAITING, gpus=1, pending_gpus=1, pending_bundle_gpus=0.5))
    assert (half.count, half.piece.milli) == (2, 500)


def test_where_cpu_is_not_told_small_work_goes_to_the_fullest_node() -> None:
    stock = take_stock(snapshot([node("n0"), node("n1", 3), node("n2", 6)]))
    placed = stock.engine.place(Gang("a", Piece(gpus=1)))
    assert placed is not None
    assert placed.rows == (1,)
    for n in range(12):
        gang = Gang(f"more{n}", Piece(gpus=1))
        stock.engine.hear(gang)
        assert stock.engine.place(gang) is not None
    assert stock.engine.fits(Gang("b", Piece(gpus=4))), (
        "the empty node stays whole as long as it can"
    )
