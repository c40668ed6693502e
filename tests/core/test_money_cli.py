"""`cost`, `capacity` and `what-if` from the command line: files in, figures out, unknown said."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.core.capacity_case import T0, record
from typer.testing import CliRunner

from watchkeeper.adapters.journal_file import FileJournal
from watchkeeper.adapters.system_clock import SystemClock
from watchkeeper.app import cli
from watchkeeper.capacity.span import hours_of
from watchkeeper.core.errors import PolicyError, UsageError, WatchkeeperError
from watchkeeper.core.event import Kind
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.word import plain

ROOT = Path(__file__).parents[2]
EXAMPLE = str(ROOT / "prices" / "example.yaml")
ORDERS = str(ROOT / "prices" / "example-orders")
NOW = T0 + timedelta(hours=50)
POLICY = """\
apiVersion: watchkeeper/v1
kind: Policy
metadata: {name: t}
capacity: {default: {service_level: 90}}
allowances: [{id: red, tenant: red, gpu_hours: 1000}]
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose watch ran for two days, loaded orders, and made a forecast."""
    journal = FileJournal(tmp_path / "journal", SystemClock())
    journal.append(Kind.WATCH_STARTED, (), {"world": "lab", "text": ""})
    journal.append(Kind.POLICY_LOADED, ("v",), {"version": "v", "files": {"p/t.yaml": POLICY}})
    for hour in range(0, 48, 12):
        usage = record(hour, hours=12, tenants={"red": 96.0}, uses={"idle": 24.0, "out": 72.0})
        journal.append(Kind.METERED, ("usage",), {"usage": plain(usage)})
    forecast = Forecast(
        pool="train",
        made_at=NOW - timedelta(minutes=90),
        method="persistence",
        why="",
        horizons_s=(3600.0, 4 * 3600.0),
        quantiles=(0.1, 0.5, 0.9),
        values=((4.0, 8.0, 12.0), (8.0, 16.0, 24.0)),
        history_s=0.0,
    )
    journal.append(Kind.FORECAST, ("pool:train",), {"forecast": plain(forecast)}, durable=True)
    journal.close()
    monkeypatch.setenv("WATCHKEEPER_HOME", str(tmp_path))
    monkeypatch.delenv("WATCHKEEPER_PRICES", raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


def typed(*words: str) -> str:
    done = CliRunner().invoke(cli.app, [*words, "--at", NOW.isoformat()], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def answered(*words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(typed(*words, "-o", "json"))
    return found


def refused(*words: str) -> str:
    with pytest.raises(WatchkeeperError) as why:
        typed(*words)
    return str(why.value)


def test_cost_says_who_held_what_and_what_it_came_to(home: Path) -> None:
    text = typed("cost", "--prices", EXAMPLE)
    assert "example bd1bd52789c1: Example figures, not a price list." in text
    assert [line.split()[:5] for line in text.splitlines() if line.startswith("train")] == [
        ["train", "held", "red", "384.0", "576.00"],
        ["train", "out", "288.0", "432.00", "on"],
        ["train", "idle", "96.0", "144.00", "free,"],
    ]
    assert "Stranded (paid for, of no use to anybody): 288.0 GPU-hours." in text
    assert "All of it: 1,152.00 USD." in text
    assert "red: 384 of 1,000 GPU-hours used (38%). At this pace 5,952 by 31 March" in text


def test_without_a_price_book_hours_are_told_and_money_is_unknown(home: Path) -> None:
    text = typed("cost", "--since", "3d")
    assert "There is no price book, so every cost is unknown. Name one with --prices." in text
    assert "All of it: unknown." in text
    found = answered("cost", "--since", "3d")
    assert found["bill"]["money"] is None
    assert [line["money"] for line in found["bill"]["lines"]] == [None] * 3
    assert found["bill"]["unknown_h"] == 24.0
    assert found["world"] == "lab"


def test_the_orders_given_stand_before_those_that_were_loaded(home: Path) -> None:
    found = answered("cost", "--prices", EXAMPLE, "--policies", ORDERS)
    told = {burn["id"]: burn["used"] for burn in found["burns"]}
    assert told == {"all-money": 1152.0, "research-hours": 0.0, "energy": 0.0}


def test_two_prices_for_one_pool_are_told(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "orders"
    folder.mkdir()
    (folder / "o.yaml").write_text(f"{POLICY}prices: {{train: 2.10 USD, serve: 1.10 USD}}\n")
    notes = answered("cost", "--prices", EXAMPLE, "--policies", str(folder))["bill"]["notes"]
    said = "The orders value a GPU-hour of train at 2.1 USD; the price book says 1.5 USD."
    assert [note for note in notes if "value" in note] == [said]


def test_a_plan_is_made_from_the_journals_forecast_orders_and_nodes(home: Path) -> None:
    found = answered("capacity", "--pool", "train", "--prices", EXAMPLE)
    # 480 GPU-hours in service of 48 h watched: 10 GPUs, one node. Of 4 h one is gone.
    assert (found["have"], found["hours"], found["service_level"]) == (1, 3, 0.9)
    assert found["wanted"] == [16.0, 20.0, 24.0]
    assert found["proved"]
    assert found["forecast"] == "persistence"
    text = typed("capacity", "--pool", "train", "--prices", EXAMPLE)
    assert "Prices: example" in text


def test_what_if_compares_with_and_without(home: Path) -> None:
    found = answered("what-if", "--pool", "train", "--add", "2", "--prices", EXAMPLE)
    assert (found["have"], found["hours"], found["full_before"], found["full_after"]) == (
        1,
        3,
        3,
        0,
    )
    assert found["short_after"] == 0.0 < found["short_before"]
    assert "2 nodes more in train for 3 h" in typed(
        "what-if", "--pool", "train", "--add", "2", "--gpus-per-node", "8"
    )


def test_what_is_missing_is_named(home: Path, tmp_path: Path) -> None:
    assert "There is no price book" in refused("capacity", "--pool", "train", "--have", "1")
    assert "no forecast for serve (pools with one: train)" in refused(
        "capacity", "--pool", "serve", "--prices", EXAMPLE
    )
    assert "--gpus-per-node" in refused("what-if", "--pool", "train", "--add", "1")
    assert "nothing was metered in it yet. Say it with --have" in refused(
        "capacity",
        "--pool",
        "serve",
        "--prices",
        EXAMPLE,
        "--forecast",
        _forecast(tmp_path, "serve"),
    )
    assert "There is no journal at" in refused("cost", "--journal", str(tmp_path / "none"))


def _forecast(folder: Path, pool: str, rows: str = "0,4,8\n1,4,8\n") -> str:
    file = folder / "f.csv"
    body = "".join(f"{pool},{row}\n" for row in rows.splitlines())
    file.write_text(f"pool,hour,0.5,0.9\n{body}")
    return str(file)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("0,4,x\n", "is not a forecast: could not convert string to float: 'x'"),
        ("1,4,8\n", "must hold the hours 0, 1, 2, ... of train"),
        ("", "must hold the hours 0, 1, 2, ... of train"),
        ("0,4,nan\n", "its cells be finite"),
    ],
)
def test_a_forecast_file_is_read_strictly(home: Path, rows: str, said: str) -> None:
    file = _forecast(home, "train", rows)
    found = refused(
        "what-if",
        "--pool",
        "train",
        "--add",
        "1",
        "--forecast",
        file,
        "--have",
        "1",
        "--gpus-per-node",
        "8",
    )
    assert said in found


def test_a_forecast_that_is_over_is_no_forecast(home: Path) -> None:
    late = (NOW + timedelta(hours=9)).isoformat()
    with pytest.raises(UsageError, match="says nothing about a whole hour from now on"):
        CliRunner().invoke(
            cli.app,
            ["capacity", "--pool", "train", "--prices", EXAMPLE, "--at", late],
            catch_exceptions=False,
        )


def test_a_price_book_with_a_mistake_is_refused_with_its_place(home: Path) -> None:
    file = home / "prices.yaml"
    file.write_text("apiVersion: watchkeeper/v1\nkind: PriceBok\n")
    with pytest.raises(PolicyError, match=r"prices.yaml:2:7: .*Did you mean 'PriceBook'"):
        typed("cost", "--prices", str(file))


AT = datetime(2026, 3, 4, 13, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("begin", "end", "zone", "now", "expected"),
    [
        pytest.param("", "", "UTC", AT, (0, None), id="all that is forecast"),
        pytest.param("22:00", "06:00", "UTC", AT, (8, 8), id="tonight, over midnight"),
        pytest.param("22:00", "06:00", "Europe/Berlin", AT, (7, 8), id="tonight, there"),
        pytest.param("12:00", "16:00", "UTC", AT, (0, 3), id="open now: what is left of it"),
        pytest.param(
            "22:00", "06:00", "UTC", AT.replace(hour=3), (0, 3), id="open since yesterday"
        ),
        pytest.param("10:00", "12:00", "UTC", AT, (20, 2), id="over for today: tomorrow"),
        pytest.param("", "16:00", "UTC", AT, (0, 3), id="from now on"),
        pytest.param("16:00", "", "UTC", AT, (2, None), id="until the end of the forecast"),
    ],
)
def test_a_span_of_clock_times_is_counted_in_hours_from_now(
    begin: str, end: str, zone: str, now: datetime, expected: tuple[int, int | None]
) -> None:
    assert hours_of(begin, end, zone, now) == expected


def test_a_span_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="is no span of time"):
        hours_of("25:00", "", "UTC", AT)
    with pytest.raises(ValueError, match="is no span of time"):
        hours_of("22:00", "", "Europe/Nowhere", AT)
