"""A step that was refused for what is out is asked again soon after that is back."""

from collections.abc import Callable

from world import NIGHT, Kind, Story

from watchkeeper.core.verdict import Decision
from watchkeeper_agents.crew import LangGraphCrew

Tell = Callable[..., Story]


def test_s2_a_fence_refused_because_others_are_out_stands_soon_after_they_are_back(
    tell: Tell,
) -> None:
    story = tell(hour=NIGHT, pools={"train": 40}, crew=LangGraphCrew)
    story.cluster.delay_s["node.restart"] = 40.0
    story.turns(2)
    story.cluster.lose("train-01")
    story.until(lambda: "node.restart" in story.done())
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: "S2" in refusals(story))
    refused = story.clock.steady()
    story.until(
        lambda: "node.cordon" in [k for k, n in acted(story) if n == "train-02"], within=120
    )
    assert story.clock.steady() - refused < 120.0
    assert refusals(story).count("S2") <= 3


def refusals(story: Story) -> list[str]:
    denied = [e.data["verdict"] for e in story.events(Kind.VERDICT)]
    denied = [v for v in denied if v["decision"] == Decision.DENY.value]
    return [r["id"] for v in denied for r in v["reasons"] if r["id"] == "S2"]


def acted(story: Story) -> list[tuple[str, str]]:
    return [
        (o.action.__struct_config__.tag, getattr(o.action, "node", ""))
        for o in story.cluster.effects
    ]
