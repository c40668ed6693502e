"""What pages show beyond the board, over a real watch: its policy, its agents, its forecasts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from world import ASKING, DAY, Answer, Kind, Story

from watchkeeper.control.agents_seen import agents_of
from watchkeeper.core.cells import Grouping, Shade
from watchkeeper.core.errors import Refused
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.model import ModelCall
from watchkeeper.core.views import AgentView
from watchkeeper.core.word import plain

Tell = Callable[..., Story]


def repaired(story: Story) -> Story:
    """A GPU falls off the bus, a person says yes, and it is mended."""
    story.cluster.run("llm", ("train-01", "train-02"))
    story.turns(2)
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: story.desk.asks())
    story.answer(Answer.APPROVE)
    story.until(story.quiet)
    return story


def agent(story: Story, name: str = "agent:remediation") -> AgentView:
    return next(a for a in story.desk.agents() if a.name == name)


def test_an_agent_is_shown_with_what_came_of_what_it_asked_for(tell: Tell) -> None:
    story = repaired(tell(hour=DAY, policies=ASKING))
    seen = agent(story)
    assert seen.asked == 1
    assert seen.approved == 1
    assert seen.recovered == seen.ended == len(story.done())
    assert seen.brier is not None
    assert sum(b.ended for b in seen.bins) == seen.ended
    assert {k.kind for k in seen.kinds} == set(story.done())
    assert "It thought by rules." in seen.cost
    assert seen.last
    assert agent(story, "agent:planner").proposed == 0


def test_what_a_model_cost_is_told_of_the_agent_that_asked_it() -> None:
    call = ModelCall(
        agent="remediation", model="small", about="INC-1", prompt="p", asked="x",
        ended="answered", steady=0.0, tokens_in=900, tokens_out=100, cost=0.002,
    )  # fmt: skip
    seen = next(a for a in agents_of((), (), (call, call)) if a.name == "agent:remediation")
    assert "It asked small 2 times of late, 2 answered: 2,000 tokens, 0.0040" in seen.cost


def test_policy_is_shown_with_its_windows_and_what_is_left_of_its_bounds(tell: Tell) -> None:
    story = tell(hour=DAY)
    story.turns(1)
    seen = story.desk.policy()
    assert {w.name: w.open for w in seen.windows} == {"day": True, "night": False}
    assert all(r.where.startswith("policies/") for r in seen.rules)
    by_night = [r for r in seen.rules if r.during == ("night",)]
    assert by_night
    assert not any(r.open for r in by_night)
    assert seen.limits
    assert all(limit.used <= limit.limit for limit in seen.limits)


def test_the_map_needs_a_look_first_and_then_says_what_the_board_says(tell: Tell) -> None:
    story = tell(hour=DAY)
    with pytest.raises(Refused, match="not read yet"):
        story.desk.cells(Shade.HEALTH, Grouping.RACK)
    story.turns(2)
    drawn = story.desk.cells(Shade.HEALTH, Grouping.RACK)
    assert drawn is story.desk.cells(Shade.HEALTH, Grouping.RACK), "made once for each look"
    assert len(drawn.g) == sum(len(n.gpus) for n in story.desk.board().nodes)
    trace = story.desk.trace("train-01")
    assert trace is not None
    assert len(trace.utilization) == 8
    assert story.desk.trace("nobody") is None


def test_a_forecast_is_held_to_what_came_an_hour_later(tell: Tell) -> None:
    story = tell(hour=DAY)
    story.turns(1)
    for low, high in ((10.0, 14.0), (20.0, 24.0)):
        forecast = Forecast(
            pool="train", made_at=story.clock.now(), method="persistence", why="",
            horizons_s=(3600.0,), quantiles=(0.1, 0.5, 0.9),
            values=((low, (low + high) / 2, high),), history_s=60.0,
        )  # fmt: skip
        story.record.write(Kind.FORECAST, ("pool:train",), forecast=plain(forecast))
    came = (DAY + timedelta(seconds=3600) + timedelta(seconds=61)).timestamp()
    story.mirror.demand_series = lambda pool: [(came, 11.0, 1.0)]  # type: ignore[method-assign]
    assert [f.held for f in story.desk.fans()] == [()], "nothing of it has come"
    story.clock.pass_s(3700.0)
    (fan,) = story.desk.fans()
    assert [f.came for f in fan.held] == [12.0, 12.0]
    assert (fan.inside, fan.known) == (1, 2)


def test_without_a_way_to_the_file_the_page_says_how_to_verify(tell: Tell) -> None:
    with pytest.raises(Refused, match="journal verify"):
        tell(hour=DAY).desk.verify()
