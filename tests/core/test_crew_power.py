"""The crew and a power feed near its limit: caps for the least important work, node by node, and
back again; never on a guess, and never in silence where nothing can be done."""

from __future__ import annotations

import msgspec
import pytest
from tests.core.capacity_case import gang, node, seen

from watchkeeper.core.action import GpuPowerCap
from watchkeeper.core.crew import Briefing, CrewReply, StepResult
from watchkeeper.core.money import FeedOrder
from watchkeeper.core.telemetry import GPU_FIELDS, Snapshot
from watchkeeper_agents.crew import LangGraphCrew

FEED = FeedOrder(feed="f", limit_w=10_000.0, act_share=0.9, least_w=300.0, full_w=600.0)
LIMIT = GPU_FIELDS.index("power_limit_watts")
POWER = GPU_FIELDS.index("power_watts")
CAPS = frozenset({"gpu.power_cap"})


def world(steady: float = 100.0, *, low: float = 600.0) -> Snapshot:
    """Two nodes with a gang each, 600 W a GPU; the less important one draws `low`."""
    found = seen(
        steady,
        node("a", free=0, power_feed="f"),
        node("b", free=0, power_feed="f"),
        gang("vip", "t", 8, "a", priority=9),
        gang("low", "t", 8, "b"),
        watts=600.0,
    )
    found.frame.gpu[found.frame.row["b"], :, POWER] = low
    found.frame.gpu[:, :, LIMIT] = 700.0
    return found


def told(
    snapshot: Snapshot,
    *,
    serves: frozenset[str] = CAPS,
    results: tuple[StepResult, ...] = (),
    busy: frozenset[str] = frozenset(),
    history: dict[str, tuple[StepResult, ...]] | None = None,
    feeds: tuple[FeedOrder, ...] = (FEED,),
) -> Briefing:
    return Briefing(
        snapshot=snapshot,
        incidents=(),
        forecasts={},
        results=results,
        busy=busy,
        serves=serves,
        checked={},
        history=history or {},
        feeds={order.feed: order for order in feeds},
    )


def drafts(reply: CrewReply) -> list[tuple[str, int, float]]:
    found = []
    for draft in reply.drafts:
        assert isinstance(draft.action, GpuPowerCap)
        found.append((draft.action.node, draft.action.gpu, draft.action.watts))
    return found


def recovered(gpu: int, watts: float) -> StepResult:
    action = GpuPowerCap(node="b", incarnation="inc-b", gpu=gpu, watts=watts)
    return StepResult(
        thread=f"power:b/{gpu}", proposal=f"P-{gpu}", action=action, kind="outcome",
        value="recovered",
    )  # fmt: skip


def test_one_gpu_of_the_least_important_gangs_node_is_capped_first() -> None:
    reply = LangGraphCrew().ask(told(world()))
    assert drafts(reply) == [("b", 0, 500.0)]
    (draft,) = reply.drafts
    assert draft.by == "agent:scheduler"
    assert draft.effect.predicate == "gpu.capped"
    assert "The feed f carries 9,600 W of 10,000 W" in draft.reason
    assert "This slows low." in draft.reason


def test_the_next_follows_once_the_one_before_it_is_seen() -> None:
    crew = LangGraphCrew()
    crew.ask(told(world()))
    assert drafts(crew.ask(told(world(101.0), busy=frozenset({"power:b/0"})))) == []
    after = world(102.0)
    row = after.frame.row["b"]
    after.frame.gpu[row, 0, POWER] = after.frame.gpu[row, 0, LIMIT] = 500.0
    reply = crew.ask(told(after, results=(recovered(0, 500.0),)))
    assert drafts(reply) == [("b", 1, 500.0)]


def test_where_policy_names_no_feed_nothing_is_asked() -> None:
    assert LangGraphCrew().ask(told(world(), feeds=())) == CrewReply()


def test_a_silent_node_on_the_feed_and_nobody_is_slowed() -> None:
    dark = world()
    dark.frame.gpu[dark.frame.row["a"], 3, POWER] = float("nan")
    assert drafts(LangGraphCrew().ask(told(dark))) == []


def test_where_no_provider_caps_it_is_told_once() -> None:
    crew = LangGraphCrew()
    first = crew.ask(told(world(), serves=frozenset()))
    said = "The feed f is near its limit, and no provider here can cap a GPU."
    assert [t.text for t in first.thoughts] == [said]
    assert first.drafts == ()
    assert crew.ask(told(world(130.0), serves=frozenset())).thoughts == ()


def test_our_cap_is_taken_back_when_the_feed_has_room_and_nobody_elses() -> None:
    calm = world(low=200.0)  # 6,400 W
    calm.frame.gpu[calm.frame.row["b"], :, LIMIT] = 500.0
    ours = {"power:b/0": (recovered(0, 500.0),)}
    assert drafts(LangGraphCrew().ask(told(calm, history=ours))) == [("b", 0, 600.0)]
    assert drafts(LangGraphCrew().ask(told(calm))) == []


@pytest.mark.parametrize(
    ("kind", "value", "refused_by"),
    [
        pytest.param("verdict", "deny", "policy", id="no rule allows it"),
        pytest.param("verdict", "deny", "limit", id="a limit is reached"),
        pytest.param("answer", "deny", "", id="a person said no"),
        pytest.param("answer", "expired", "", id="nobody answered"),
    ],
)
def test_a_refused_cap_is_not_asked_again_while_nothing_changed(
    kind: str, value: str, refused_by: str
) -> None:
    crew = LangGraphCrew()
    crew.ask(told(world()))
    refused = msgspec.structs.replace(
        recovered(0, 500.0), kind=kind, value=value, refused_by=refused_by, says="no rule"
    )
    for at, results in ((101.0, (refused,)), (111.0, ()), (141.0, ())):
        reply = crew.ask(told(world(at), results=results))
        assert all(d.thread != "power:b/0" for d in reply.drafts)
