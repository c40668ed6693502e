"""`eval placement` on a made-up fleet: its contract, its arrivals, and its errors."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from watchkeeper.core.errors import Malformed, UsageError
from watchkeeper.placement.words import Piece
from watchkeeper_evals.placement_command import Asked, run
from watchkeeper_evals.placement_eval import arrivals, compared
from watchkeeper_evals.placement_gangs import KINDS, racked
from watchkeeper_evals.placement_read import read_machines, read_pieces
from watchkeeper_evals.placement_topology import topology_eval

NODES = "sn,cpu_milli,memory_mib,gpu,model\n" + "".join(
    f"n{n},{64_000 if n % 3 else 96_000},393216,8,{'A' if n % 2 else 'B'}\n" for n in range(24)
)
JOBS = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n" + "".join(
    f"j{n},{cpu},{8 * 1024},{gpus},{milli},{spec}\n"
    for n, (cpu, gpus, milli, spec) in enumerate(
        [(8_000, 1, 1000, ""), (4_000, 1, 470, ""), (12_000, 1, 810, "A|B"), (16_000, 0, 0, ""),
         (2_000, 1, 190, "A"), (64_000, 8, 1000, "")] * 5
    )
)  # fmt: skip


@pytest.fixture
def lists(tmp_path: Path) -> tuple[Path, Path]:
    nodes, jobs = tmp_path / "nodes.csv", tmp_path / "jobs.csv.gz"
    nodes.write_text(NODES)
    with gzip.open(jobs, "wt") as file:
        file.write(JOBS)
    return nodes, jobs


def test_it_prints_what_its_contract_says(
    lists: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    said = run(Asked(*lists, seeds=2, first_seed=7), as_json=True)
    found = json.loads(said)
    assert set(found["unallocated_pct"]) == {"mean", "sd"}
    assert set(found["decision_ms"]) >= {"p50", "p99"}
    assert set(found["baselines"]) == {"best_fit", "first_fit", "random"}
    for figure in (found, *found["baselines"].values()):
        assert 0 < figure["unallocated_pct"]["mean"] < 50
    assert (found["seeds"], found["jobs"]) == (2, 30)
    assert set(found["per_seed"]["engine"]) == {"7", "8"}
    said_beside = capsys.readouterr()
    assert said_beside.out == ""
    assert said_beside.err.count("seed") == 2


def test_the_same_seeds_give_the_same_figures(lists: tuple[Path, Path]) -> None:
    one, two = (json.loads(run(Asked(*lists, seeds=1), as_json=True)) for _ in range(2))
    assert one["unallocated_pct"] == two["unallocated_pct"]
    assert one["baselines"] == two["baselines"]


def test_jobs_are_shuffled_then_cloned_until_the_load_is_reached() -> None:
    pieces = [Piece(gpus=1, cpu_milli=n) for n in range(10)]
    order = arrivals(pieces, 3, 1.3, 20_000)
    assert sorted(order[:10]) == list(range(10))
    assert len(order) == 26
    assert order != arrivals(pieces, 4, 1.3, 20_000)
    assert len(arrivals(pieces, 3, 0.25, 20_000)) == 5, "a list that is too long is cut"


def test_no_rule_looks_at_names_or_at_what_is_still_to_come(lists: tuple[Path, Path]) -> None:
    """A list that goes on differently later is placed the same until then."""
    from watchkeeper.placement.engine import Engine
    from watchkeeper.placement.fleet import Fleet
    from watchkeeper.placement.words import Gang

    machines, pieces = read_machines(lists[0]), read_pieces(lists[1])
    rows = []
    for tail, prefix in ((0, "a"), (5, "zz")):
        engine = Engine(Fleet(machines))
        order = [*range(20), *[tail] * 10]
        for nth, at in enumerate(order):
            gang = Gang(f"{prefix}{nth}", pieces[at])
            engine.hear(gang)
            engine.place(gang)
        rows.append([engine.placed[f"{prefix}{nth}"].rows for nth in range(20)])
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("sn,gpu\nn0,8\n", ":1: no column cpu_milli, memory_mib, model", id="columns"),
        pytest.param(NODES.replace("n1,", "n0,", 1), ":3: sn must be a name", id="a name twice"),
        pytest.param(NODES.replace("393216", "-1", 1), ":2: memory_mib must be", id="negative"),
        pytest.param(NODES.replace("393216", "nan", 1), ":2: memory_mib must be", id="no number"),
        pytest.param(NODES.replace("393216", "much", 1), ":2: memory_mib must be", id="a word"),
        pytest.param(NODES.replace("393216", "1.5", 1), ":2: memory_mib must be", id="half a MiB"),
        pytest.param(NODES.replace(",8,", ",0,"), "no node has a GPU", id="no GPU at all"),
        pytest.param(NODES.splitlines()[0], "no node has a GPU", id="no node at all"),
    ],
)  # fmt: skip
def test_a_bad_node_list_is_named_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "nodes.csv"
    path.write_text(text)
    with pytest.raises(Malformed, match=says):
        read_machines(path)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        pytest.param("j,1000,1,2,500,", "gpu_milli must be 1000", id="slices of two GPUs"),
        pytest.param("j,1000,1,1,0,", "gpu_milli must be within", id="an empty slice"),
        pytest.param("j,1000,1,1,1500,", "within 0..1000", id="more than one of one GPU"),
        pytest.param("j,1000,1,,1000,", "num_gpu must be a number", id="nothing said"),
    ],
)
def test_a_bad_job_list_is_named_with_its_line(tmp_path: Path, row: str, says: str) -> None:
    path = tmp_path / "jobs.csv"
    path.write_text(JOBS.splitlines()[0] + "\n" + row + "\n")
    with pytest.raises(Malformed, match=says):
        read_pieces(path)


def test_a_list_that_is_no_list_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a file"):
        read_machines(tmp_path / "none.csv")
    broken = tmp_path / "broken.csv.gz"
    broken.write_bytes(b"not gzip at all")
    with pytest.raises(Malformed, match="cannot be read"):
        read_pieces(broken)
    with pytest.raises(UsageError, match="--jobs"):
        run(Asked(broken), as_json=True)


def test_a_list_without_gpu_models_accepts_every_model(tmp_path: Path) -> None:
    path = tmp_path / "jobs.csv"
    path.write_text("name,cpu_milli,memory_mib,num_gpu,gpu_milli\nj,1000.0,1,1,1000\n")
    assert read_pieces(path) == [Piece(gpus=1, cpu_milli=1000, memory_mib=1)]


@pytest.mark.parametrize(
    ("ours", "published", "verdict"),
    [
        pytest.param(4.2, 4.6, "better", id="clearly less is left"),
        pytest.param(4.4, 4.6, "level", id="within what two simulators differ by"),
        pytest.param(4.8, 4.6, "level", id="either way"),
        pytest.param(5.2, 4.6, "loss", id="more is left"),
    ],
)
def test_a_margin_is_called_what_it_is(ours: float, published: float, verdict: str) -> None:
    found = compared(ours, published)
    assert found["verdict"] == verdict
    assert ("reason" in found) is (verdict == "loss")


def test_gangs_over_racks_are_measured_beside_simpler_rules(lists: tuple[Path, Path]) -> None:
    found = topology_eval(lists[0], workloads=60, seeds=1, first_seed=1)
    for row in (found, *found["baselines"].values()):
        assert row["admissions_per_s"] > 0
        assert 0 <= row["cross_rack_pct"] <= 100
        assert row["wait_s"]["mean"] >= 0
    assert "synthetic" in found["simulated"]
    assert found["victims"]["asked"] >= 1
    assert "victims" not in found["baselines"]["best_fit"]


def test_made_up_racks_hold_the_largest_machines(lists: tuple[Path, Path]) -> None:
    machines = racked(read_machines(lists[0]))
    assert len({m.nvlink_domain for m in machines}) == 3
    assert np.isclose(sum(kind.share for kind in KINDS), 1.0)
