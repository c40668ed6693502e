"""What pages are drawn with: strangers' text made harmless, figures and times in words."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.console import chart, drawing
from watchkeeper.core.desk import JobView, PoolView

AT = datetime(2026, 11, 22, 3, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("\x1b]0;owned\x07title", "title"),
        ("a\x00b\x07c\x7f", "abc"),
        ("evil\u202etxt.exe\u202c", "eviltxt.exe"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("two\n  lines\t here", "two lines here"),
        ("Käse 61 °C", "Käse 61 °C"),
    ],
    ids=["ansi", "c1", "title", "control", "bidi", "zero-width", "white-space", "plain"],
)
def test_text_of_the_cluster_is_tamed(raw: str, seen: str) -> None:
    assert drawing.tame(raw) == seen


@given(st.text(max_size=600), st.integers(min_value=1, max_value=200))
def test_tamed_text_is_capped_and_holds_nothing_hidden(raw: str, cap: int) -> None:
    for text in (drawing.tame(raw, cap), drawing.tame_lines(raw, cap)):
        assert len(text) <= cap
        assert not [
            c for c in text if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf", "Cs")
        ]


@given(st.text(alphabet="<>&\"'-ab.1\x1b[m", max_size=80))
def test_whole_text_never_opens_a_tag_of_its_own(raw: str) -> None:
    drawn = str(drawing.whole(raw))
    bare = drawn.replace('<span class="nb">', "").replace("</span>", "")
    assert "<" not in bare
    assert ">" not in bare


def test_names_stay_on_one_line_and_very_long_ones_may_break() -> None:
    assert '<span class="nb">train-h100-017</span>' in drawing.whole("Reboot train-h100-017?")
    assert "nb" not in drawing.whole("x-" * 40 + "x")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "unknown"),
        (0, "0 s"),
        (48.4, "48 s"),
        (600, "10 min"),
        (10_080, "2 h 48 min"),
        (7200, "2 h"),
        (273_600, "3 d 4 h"),
    ],
    ids=str,
)
def test_a_span_is_said_as_people_say_it(seconds: float | None, said: str) -> None:
    assert drawing.span(seconds) == said


def test_times_are_full_and_in_utc() -> None:
    east = AT.astimezone(timezone(timedelta(hours=2)))
    assert drawing.when(east) == "2026-11-22 03:12:30 UTC"
    assert drawing.clock(east) == "03:12:30"
    assert drawing.iso(east) == "2026-11-22T03:12:30+00:00"
    assert drawing.when(None) == "time unknown"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(772, "12:52 left"), (9, "0:09 left"), (3729, "1:02:09 left"), (0, "time is up")],
    ids=str,
)
def test_a_countdown_is_drawn_by_the_server(seconds: int, said: str) -> None:
    assert drawing.countdown(seconds) == said


@pytest.mark.parametrize(
    ("title", "waiting", "tab"),
    [("Watch", 2, "(2) Watch"), ("Watch", 0, "Watch"), ("(3) Watch", 2, "(2) Watch")],
    ids=["two", "none", "not-twice"],
)
def test_the_tab_carries_the_count_once(title: str, waiting: int, tab: str) -> None:
    assert drawing.counted(title, waiting) == tab


@pytest.mark.parametrize(
    ("requeue", "said"),
    [
        ("can be requeued", "Can be requeued."),
        (
            "Ray's job API keeps no entrypoint of it.",
            "Cannot be requeued: Ray's job API keeps no entrypoint of it.",
        ),
        ("", ""),
    ],
    ids=["can", "cannot", "unknown"],
)
def test_whether_a_gang_can_be_requeued_is_a_sentence(requeue: str, said: str) -> None:
    job = JobView(
        name="a", state="stopped", tenant="", gpus=8.0, nodes=(), attempt=1, step=None,
        checkpoint_step=None, checkpoint_age_s=None, requeue=requeue,
    )  # fmt: skip
    assert drawing.requeue_line(job) == said


def pool(**more: object) -> PoolView:
    start = AT.timestamp() - 3600
    fields: dict[str, object] = {
        "pool": "train<b>", "nodes": 4, "out": 1, "total_gpus": 32.0, "running_gpus": 24.0,
        "pending_gpus": 4.0, "waiting_jobs": 1, "forecast_method": "persistence",
        "forecast_why": "too little history", "horizons_s": (900.0, 3600.0), "p10": (20.0, 10.0),
        "p50": (28.0, 28.0), "p90": (36.0, 48.0),
        "history": tuple((start + 60.0 * i, 24.0, 4.0 if i < 50 else 20.0) for i in range(60)),
    }  # fmt: skip
    return PoolView(**(fields | more))  # type: ignore[arg-type]


def test_demand_is_drawn_and_said_without_style_or_script() -> None:
    drawn = str(chart.demand_chart(pool(), AT))
    assert drawn.count("<path") == 7  # base, limit, now, area, band, wanted, median
    assert 'aria-label="train&lt;b&gt;: 28 GPUs wanted now, 32 in the pool.' in drawn
    assert "style=" not in drawn
    assert "nan" not in drawn
    assert "now" in drawn
    assert "in 60 min" in drawn


def test_demand_without_history_and_forecast_draws_nothing() -> None:
    empty = pool(history=(), horizons_s=(), p10=(), p50=(), p90=())
    assert str(chart.demand_chart(empty, AT)) == ""


def test_a_forecast_with_a_missing_quantile_is_not_drawn_as_a_band() -> None:
    assert "fill-opacity" not in str(chart.demand_chart(pool(p90=()), AT))


def test_a_long_history_keeps_its_peak_and_stays_small() -> None:
    start = AT.timestamp() - 4000
    history = tuple((start + 10 * i, 1.0, 90.0 if i == 133 else 0.0) for i in range(400))
    drawn = str(chart.demand_chart(pool(history=history), AT))
    assert len(drawn) < 5000
    # The highest value is drawn 1/1.08 of the way up, whatever was left out around it.
    top = chart.TOP + (chart.HEIGHT - chart.BOTTOM - chart.TOP) * (1 - 1 / 1.08)
    assert f" {top:.1f}L" in drawn
