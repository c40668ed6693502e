"""`watchkeeper eval forecast`: its protocol, figures and page, on small synthetic series."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from watchkeeper.core.errors import Malformed, UsageError
from watchkeeper.core.since import seconds
from watchkeeper.demand.series import Series
from watchkeeper_evals.forecast_bounds import ratio_bound
from watchkeeper_evals.forecast_command import Asked, run, suite_table
from watchkeeper_evals.forecast_eval import LEVELS, Rules, play
from watchkeeper_evals.forecast_read import Columns, read_series, where_of
from watchkeeper_evals.forecast_suite import Item, suite
from watchkeeper_evals.forecast_traces import series_in, unseen

BEGIN = 1585699200  # 2020-04-01 00:00 UTC
QUIET: Any = lambda _: None  # noqa: E731


def written(path: Path, head: str, *rows: str) -> Path:
    text = "\n".join([head, *rows]) + "\n"
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt") as file:
        file.write(text)
    return path


def wave(hours: int, seed: int = 4) -> np.ndarray[Any, Any]:
    """Synthetic: a day's rhythm with noise that lasts."""
    hour = np.arange(hours)
    noise = np.convolve(np.random.default_rng(seed).normal(0, 4, hours + 7), np.ones(8) / 2)
    return np.maximum(90 + 40 * np.cos((hour % 24 - 14) / 24 * 2 * np.pi) + noise[7 : hours + 7], 0)


def hourly(tmp_path: Path, days: int) -> Path:
    rows = [f"{BEGIN + 3600 * i},{v:.3f}" for i, v in enumerate(wave(24 * days))]
    return written(tmp_path / "made_up.csv", "t,gpus", *rows)


@pytest.fixture
def only_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the members that take seconds to learn: what is tested here is the protocol."""
    from watchkeeper.demand.ladder import PLAIN_KINDS, able

    def few(series: Series, seed: int) -> Any:
        return [m for m in able(series, seed) if isinstance(m, PLAIN_KINDS)]

    monkeypatch.setattr("watchkeeper_evals.forecast_eval.able", few)


def test_ten_minute_flows_become_hourly_means_of_what_runs(tmp_path: Path) -> None:
    path = written(
        tmp_path / "flows.csv.gz",
        "time,start,end",
        *(f"2020-04-01 {h:02}:{m:02}:00,{1 + h},1" for h in (0, 1) for m in range(0, 60, 10)),
    )
    series = read_series(path, Columns("time", "start-end", cumulate=True), 3600.0)
    assert series.times.tolist() == [BEGIN + 3600, BEGIN + 7200]
    assert series.values.tolist() == [0.0, pytest.approx(3.5)]  # one GPU more every ten minutes
    assert series.tail[1] - series.values[1] == pytest.approx(2.5)


def test_one_of_several_series_in_a_file_is_chosen_and_gaps_stay_unknown(tmp_path: Path) -> None:
    path = written(
        tmp_path / "vcs.csv",
        "time,vc,gpus",
        "2020-04-01 00:00:00,a,1",
        "2020-04-01 00:00:00,b,9",
        "2020-04-01 01:00:00,b,",
        "2020-04-01 02:00:00,b,7",
    )
    series = read_series(path, Columns("time", "gpus", where_of(["vc=b"])), 3600.0)
    assert series.values.tolist() == pytest.approx([9.0, float("nan"), 7.0], nan_ok=True)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["yesterday,1"], "bad.csv:2: t must be a time like"),
        ([f"{BEGIN},many"], "bad.csv:2: gpus must be a number, not 'many'"),
        ([f"{BEGIN},1", f"{BEGIN},2"], "several rows have the same time: choose one series"),
        ([f"{BEGIN + 3600},1"], "shorter than one step"),
        ([], "no row to read"),
    ],
    ids=["no time", "no number", "two series", "too short", "empty"],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, rows: list[str], says: str) -> None:
    path = written(tmp_path / "bad.csv", "t,gpus", *rows)
    with pytest.raises(Malformed, match=says):
        read_series(path, Columns("t", "gpus"), 86400.0)


@pytest.mark.parametrize("text", ["", "24", "h", "-1h", "1y"])
def test_a_length_of_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        seconds(text)


def test_the_object_printed_is_the_one_of_the_contract(
    tmp_path: Path, only_plain: None, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = Asked(
        series=hourly(tmp_path, 16),
        time="t",
        value="gpus",
        horizon="6h",
        report=tmp_path / "page.html",
    )
    found = json.loads(run(asked, as_json=True))

    assert {"wql", "mase", "coverage80", "short_pct", "over_pct", "chosen", "origins"} <= set(found)
    assert found["origins"] == 7  # the last 40 % of 16 days, rounded up
    assert not found["judged"]
    for name in ("persistence", "seasonal_naive_24", "seasonal_naive_168"):
        assert found["baselines"][name]["wql"] > 0
    assert sum(found["chosen"]["shares"].values()) == pytest.approx(1.0, abs=0.01)
    assert [f["calibration"] for f in found["frontier"]] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert found["against_persistence"]["low95"] <= found["against_persistence"]["ratio"]
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") == 3
    assert "reported, not judged" in page
    assert "steps; every member" in capsys.readouterr().err
    assert "Loss against persistence" in run(asked, as_json=False)


def test_what_comes_after_the_last_origin_and_before_its_hours_changes_no_forecast(
    only_plain: None,
) -> None:
    values = wave(24 * 13 + 6)
    said = []
    for last in (values[-6:], values[-6:] + 500):
        seen = np.concatenate([values[:-6], last])
        times = BEGIN + 3600.0 * np.arange(1, len(seen) + 1)
        series = Series(times, seen, 3600.0, 3600.0 * len(seen), 0.0, np.full(len(seen), np.nan))
        played = play(series, Rules(horizon_s=6 * 3600.0, auto_ets=False), QUIET)
        assert played is not None
        assert series.times[played.panel.origins[played.rows[-1]]] % 86400 == 0
        said.append([played.engine[-1], *(b[-1] for b in played.baselines.values())])
    assert all(np.array_equal(a, b) for a, b in zip(*said, strict=True))


def test_a_history_without_a_whole_day_on_both_sides_abstains(tmp_path: Path) -> None:
    asked = Asked(series=hourly(tmp_path, 1), time="t", value="gpus")
    found = json.loads(run(asked, as_json=True))
    assert (found["wql"], found["origins"], found["chosen"]["method"]) == (None, 0, "abstains")
    assert run(asked, as_json=False).startswith("No forecast is judged here")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (Asked(), "Give --series"),
        (Asked(traces=Path("nowhere")), "is not a directory"),
        (Asked(series=Path("nowhere.csv"), value="x"), "is not a file"),
        (Asked(series=Path("x"), value="a-"), "is not a column"),
        (Asked(series=Path("x"), value="a", where=("vc",)), "COLUMN=TEXT"),
    ],
    ids=["nothing", "no folder", "no file", "no column", "no where"],
)
def test_a_wrong_question_says_what_to_give(asked: Asked, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        run(asked, as_json=True)


def test_a_better_model_has_a_ratio_below_one_and_its_interval_says_how_sure() -> None:
    chance = np.random.default_rng(1)
    came = chance.normal(100, 10, (40, 24))
    levels = np.array(LEVELS)
    good = np.repeat(100 + 10 * np.array([-1.6, -1.3, 0, 1.3, 1.6])[None, None], 40, axis=0)
    good, poor = np.repeat(good, 24, axis=1), np.full((40, 24, 5), 100.0)
    found = ratio_bound(came, good, poor, levels)
    assert found["low95"] < found["ratio"] < found["high95"] < 1.0
    assert ratio_bound(came, poor, poor, levels)["ratio"] == 1.0
    assert ratio_bound(poor[..., 0], good, poor, levels)["ratio"] is None


def test_over_several_series_short_ones_are_reported_and_not_judged(only_plain: None) -> None:
    def item(name: str, days: int, share: float) -> Item:
        times = BEGIN + 3600.0 * np.arange(1, 24 * days + 1)
        values = wave(24 * days)
        made = Series(times, values, 3600.0, 86400.0 * days, 0.0, np.full(len(values), np.nan))
        rules = Rules(horizon_s=6 * 3600.0, test_share=share, auto_ets=False)
        return Item(name, unseen(name), made, rules)

    class Plain:
        says = "here"

        def map(self, function: Any, items: Any) -> Any:
            return ((i, function(each)) for i, each in enumerate(items))

    told: list[str] = []
    items = [item("long", 26, 0.8), item("short", 8, 0.4), item("none", 1, 0.4)]
    found = suite(items, Plain(), told.append)
    assert (found["judged"]["series"], found["reported"]["series"]) == (1, 1)
    assert found["abstained"] == ["none"]
    assert found["judged"]["worst_series"] == "long"
    assert found["judged"]["median"] == found["judged"]["worst"] > 0
    assert [row["name"] for row in found["series"]] == ["long", "none", "short"]
    assert len(told) == 3
    assert "judged: 1 series" in suite_table(found)
    assert suite(items[:1], None, QUIET)["judged"] == found["judged"]


def test_known_traces_are_found_by_their_layout(tmp_path: Path) -> None:
    """Synthetic rows in the layouts of public traces."""
    venus, earth = tmp_path / "venus", tmp_path / "earth"
    venus.mkdir()
    earth.mkdir()
    times = [f"2020-04-0{d} {h:02}:00:00" for d in (1, 2) for h in range(24)]
    written(
        venus / "cluster_throughput.csv.gz",
        "time,submit_gpu_num,start_gpu_num,end_gpu_num",
        *(f"{t},3,2,{i % 5}" for i, t in enumerate(times)),
    )
    written(
        earth / "earth_vcs_10min.csv.gz",
        "time,vc,running_gpu_num,pending_gpu_num",
        *(f"{t},vcA,{i % 7},1" for i, t in enumerate(times)),
        *(f"{t},idle,0,0" for t in times),
    )
    written(
        tmp_path / "disaggregated_DLRM_trace.csv.gz",
        "role,app_name,gpu_request,cpu_request,creation_time,scheduled_time,deletion_time",
        *(f"HN,app_1,2,8,,{3600 * i},{3600 * i + 7200 + 900 * (i % 3)}" for i in range(700)),
    )
    written(
        tmp_path / "AzureLLMInferenceTrace_conv.csv.gz",
        "TIMESTAMP,ContextTokens",
        *(f"2023-11-16 18:{m:02}:{s:02}.1234567,9" for m in range(40) for s in (1, 30)),
    )
    found = {name: series for name, _, series in series_in(tmp_path, 3600.0)}
    assert set(found) == {
        "venus/running", "venus/demand", "earth/vcA/running", "earth/vcA/demand",
        "dlrm/HN/app_1", "dlrm/HN/all", "azure/AzureLLMInferenceTrace_conv",
    }  # fmt: skip
    assert found["dlrm/HN/app_1"].values[10] == pytest.approx(4.5, abs=0.6)
    assert np.nanmin(found["venus/demand"].values) == 0
    assert found["azure/AzureLLMInferenceTrace_conv"].step_s == 60.0
    with pytest.raises(UsageError, match="known layout"):
        list(series_in(earth.parent / "none", 3600.0))
