"""The chat answers from the record and grants nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from watchkeeper.core.desk import Board, Health, JobView, LimitView, LogLine, NodeView, PoolView
from watchkeeper.core.verdict import Autonomy, Orders
from watchkeeper_agents.chat import ChatFacts, answer, answer_from
from watchkeeper_agents.chat_past import suggestions

AT = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)


def node(name: str, state: str = "healthy", **over: Any) -> NodeView:
    return NodeView(
        **{
            "name": name, "pool": "train", "rack": "r1", "nvlink_domain": "", "state": state,
            "what": "", "rank": 9 if state == "healthy" else 1, "incarnation": "i",
            "control_path": False, "silent_s": 1.0, "jobs": (), "gpus": (), "simulated": True,
            "gpu_source": "simulated", **over,
        }
    )  # fmt: skip


def job(name: str, state: str, **over: Any) -> JobView:
    return JobView(
        **{
            "name": name, "state": state, "tenant": "", "gpus": 16.0, "nodes": (), "attempt": 1,
            "step": None, "checkpoint_step": None, "checkpoint_age_s": None, "requeue": "", **over,
        }
    )  # fmt: skip


def pool(**over: Any) -> PoolView:
    return PoolView(
        **{
            "pool": "train", "nodes": 4, "out": 1, "total_gpus": 32.0, "running_gpus": 24.0,
            "pending_gpus": 0.0, "waiting_jobs": 0, "forecast_method": "persistence",
            "forecast_why": "A history of 10 min is too short.",
            "horizons_s": (3600.0, 7200.0), "p10": (20.0, 18.0), "p50": (24.0, 25.0),
            "p90": (28.0, 31.0), **over,
        }
    )  # fmt: skip


def line(seq: int, kind: str, text: str, **over: Any) -> LogLine:
    return LogLine(**{"seq": seq, "at": AT, "kind": kind, "tone": "", "text": text, **over})


def facts(log: tuple[LogLine, ...] = (), **over: Any) -> ChatFacts:
    health = Health(
        ready=True, cluster="lab-x", world="lab", nodes=2, gpus=16, redis="ok",
        policy_version="v1", journal_seq=1, journal_head="h", simulated=True, stopped=False,
    )  # fmt: skip
    board = Board(
        **{
            "at": AT, "health": health, "orders": Orders(autonomy=Autonomy.AUTO),
            "last_reading_s": 2.0, "gpus_reporting": 16, "gpus_total": 16, "window": "",
            "policy_loaded_at": None, "policy_error": "", "waiting": (), "last_decision": "",
            "nodes": (node("train-01"), node("train-02")), "jobs": (), "pools": (pool(),),
            "limits": (), "sources": {}, "halted": "", "lab_time": "", **over,
        }
    )  # fmt: skip
    return ChatFacts(board, log)


def test_nothing_wrong_is_said_with_the_age_of_the_reading() -> None:
    assert answer("What is wrong?", facts()) == (
        "Nothing that we can see: all 2 nodes are healthy. The last reading is 2 s old."
    )


def test_what_is_wrong_names_stop_nodes_gangs_and_queues() -> None:
    seen = facts(
        nodes=(
            node("train-01"),
            node("train-02", "dead", what="the raylet died", incident="INC-1"),
        ),
        jobs=(job("llm", "stopped"),),
        pools=(pool(pending_gpus=16.0),),
        orders=Orders(autonomy=Autonomy.AUTO, stopped=True, stopped_by="ann", stop_reason="drill"),
        halted="S9: 2 of 2 nodes",
    )
    assert answer("what's wrong", seen) == (
        "The watch is stopped by ann. Reason: drill. The watch halted itself: S9: 2 of 2 nodes. "
        "train-02 is dead: the raylet died (INC-1). GPU values there are simulated. "
        "Stopped gangs: llm. 16 GPUs wait in train. The last reading is 2 s old."
    )


def test_why_quotes_the_log_with_line_and_rule() -> None:
    log = (
        line(7, "Saw", "train-02 is lost", incident="INC-1"),
        line(8, "Refused", "Restart train-02.", incident="INC-1", where="policies/day.yaml:12"),
        line(9, "You asked", "why train-02?"),
        line(10, "Saw", "train-03 is lost", incident="INC-2"),
    )
    assert answer("Why was train-02 not restarted?", facts(log)) == (
        "12:30:00 Saw: train-02 is lost (line 7). "
        "12:30:00 Refused: Restart train-02 (line 8, policies/day.yaml:12)."
    )
    assert answer("why INC-2?", facts(log)) == "12:30:00 Saw: train-03 is lost (line 10)."


def test_why_a_job_waits_tells_the_pool_and_quotes_the_scheduler() -> None:
    log = (line(3, "Thinks", "big needs 2 places with 8 free GPUs; none is free."),)
    said = answer(
        "why does big wait?",
        facts(log, jobs=(job("big", "waiting"),), pools=(pool(pending_gpus=16.0),)),
    )
    assert said == (
        "big waits for 16 GPUs. train has 4 nodes, 1 of them out; 8 of 32 GPUs are not in use; "
        "16 are waited for. 12:30:00 Thinks: big needs 2 places with 8 free GPUs; none is free "
        "(line 3)."
    )


@pytest.mark.parametrize(
    ("question", "part"),
    [
        ("demand in 2 hours", "at 14:30 UTC, 2 h ahead, 25 are expected (18 to 31 in 8 of 10"),
        ("demand at 13:30?", "at 13:30 UTC, 1 h ahead, 24 are expected"),
        ("what is the demand of train", "1 h ahead"),
        ("forecast for tomorrow", "reaches no further than 2 h"),
    ],
)
def test_demand_is_told_for_the_moment_asked_with_its_method(question: str, part: str) -> None:
    said = answer(question, facts())
    assert part in said
    assert "Method: persistence. A history of 10 min is too short." in said


def test_demand_without_a_forecast_says_so() -> None:
    seen = facts(pools=(pool(horizons_s=(), p10=(), p50=(), p90=()),))
    assert "there is no forecast yet" in answer("demand", seen)


@pytest.mark.parametrize(
    "order", ["approve P-7", "Please restart train-02", "stop", "deny everything", "drain train-01"]
)
def test_an_order_is_not_carried_out_and_the_way_to_give_it_is_told(order: str) -> None:
    assert answer(order, facts()).startswith("I do not understand this order, and nothing was done")


@pytest.mark.parametrize("asked", ["", "   ", "sing a song", "why?", "🤷"])
def test_what_it_cannot_answer_it_says_and_offers_what_it_can(asked: str) -> None:
    assert "I can answer from the record" in answer(asked, facts())


def test_one_node_and_one_gang_are_described() -> None:
    seen = facts(jobs=(job("llm", "running", step=41, checkpoint_step=40, nodes=("train-01",)),))
    assert answer("how is train-01", seen) == "train-01 is healthy."
    assert answer("how is llm", seen) == (
        "llm is running, attempt 1, 16 GPUs on train-01, at step 41; "
        "its last checkpoint is step 40."
    )


def test_the_desk_asks_in_its_own_shape() -> None:
    seen = facts()
    assert answer_from("status", seen.board, seen.log) == answer("status", seen)


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("What happened last night?", "1 thing was seen, 1 act failed."),
        ("what happened in the last 3 hours", "In the last 3 h"),
        ("What did you do today?", "1 act was verified"),
        ("what happened yesterday?", "1 thing was seen, 1 act failed"),
        ("what would this policy change?", "3 verdicts would differ: 3 from allow to deny."),
        ("What would the rules in shadow change?", "watchkeeper policy diff"),
        (
            "What is left of the budgets?",
            "node restarts in 1 h: 1 left of 2 (policies/limits.yaml:8)",
        ),
        ("What waits for me?", "Nothing waits for a person."),
        ("why does my job wait?", "wide waits for 32 GPUs."),
    ],
)
def test_the_past_and_what_is_written_are_answered_too(question: str, says: str) -> None:
    night = AT.replace(hour=2)
    log = (
        line(3, "Saw", "XID 79 on train-02.", at=AT - timedelta(hours=15)),
        line(4, "Failed", "Restart of train-02 failed.", tone="bad", at=AT - timedelta(hours=14)),
        line(5, "Saw", "train-03 is gone.", at=night),
        line(6, "Failed", "The first check failed.", tone="bad", at=night),
        line(7, "Did", "The second check passed.", tone="good", at=AT - timedelta(hours=1)),
    )
    if "night" in question:
        log = log[2:4]
    bound = LimitView(
        id="r", text="node restarts in 1 h", used=1.0, limit=2.0, where="policies/limits.yaml:8"
    )
    waits = job("wide", "waiting", why_waits="wide waits for 32 GPUs.")
    known = facts(log, shadow={"allow_to_deny": 3}, limits=(bound,), jobs=(waits,))
    assert says in answer(question, known)


def test_how_far_the_log_reaches_is_said_where_it_is_not_far_enough() -> None:
    known = facts((line(9, "Saw", "XID 79.", at=AT.replace(hour=7)),))
    assert "My log begins at" in answer("what happened last night?", known)


def test_each_suggestion_has_an_answer_of_its_own() -> None:
    board = facts(
        nodes=(node("train-02", "failed", what="XID 79"),),
        jobs=(job("wide", "waiting"), job("llm", "stopped")),
        pools=(pool(),),
    ).board
    offered = suggestions(board)
    assert "Why train-02?" in offered
    assert "Why does wide wait?" in offered
    for question in offered:
        said = answer(question, ChatFacts(board, ()))
        assert "I can answer from the record" not in said, question


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("who denied P-11?", "12:30:00 Approval: bob denied Drain train-02 (line 4)."),
        ("Who answered INC-2", "bob denied Drain train-02"),
        ("who approved P-12?", "name nobody about p-12"),
        ("who stopped the watch?", "Stopped: ann stopped the watch"),
        ("how much did it cost last week?", "is on /costs; `watchkeeper cost` prints it."),
        ("what happened last week?", "In the last 7 d: 1 answer was given."),
        ("what happened in the last 2 weeks?", "In the last 2 weeks: 1 answer was given."),
    ],
)
def test_who_decided_and_what_it_cost_are_not_taken_for_the_night(question: str, says: str) -> None:
    log = (
        line(4, "Approval", "bob denied Drain train-02.", proposal="P-11", incident="INC-2"),
        line(5, "Stopped", "ann stopped the watch."),
    )
    assert says in answer(question, facts(log))


def test_the_night_is_that_of_the_policy_s_zone_as_in_the_report() -> None:
    late = line(4, "Saw", "train-02 is lost.", at=AT.replace(day=3, hour=17, minute=10))
    said = answer("what happened last night?", facts((late,), zone="Europe/Berlin"))
    assert "the night, 03 Mar 18:00 to 04 Mar 08:00 Europe/Berlin: 1 thing was seen" in said
    assert "18:10:00 Saw" in said


@pytest.mark.parametrize("asked", ["colourless green ideas sleep", "xyzzy?", "is it tuesday"])
def test_what_is_not_understood_is_said_to_be_so_before_what_can_be_asked(asked: str) -> None:
    assert answer(asked, facts()).startswith("I did not understand that. I can answer")


@pytest.mark.parametrize("asked", ["help", "what can you answer?"])
def test_who_asks_what_can_be_asked_is_only_told(asked: str) -> None:
    assert answer(asked, facts()).startswith("I can answer from the record")
