"""What the standing orders in policies/ say, hour by hour. Read it as the table it is."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from tests.core.policy_case import (
    DAY,
    DEAD,
    NIGHT,
    SHIPPED,
    UNCONFIRMED,
    UNKNOWN,
    Given,
    gang,
    nodes,
    past,
    shipped,
)

from watchkeeper.adapters.policy_files import read_policy_dir
from watchkeeper.core.action import (
    Action,
    CheckRun,
    GpuPowerCap,
    GpuQuarantine,
    GpuReset,
    JobRequeue,
    NodeCordon,
    NodeDrain,
    NodeReboot,
    NodeReplace,
    NodeRestart,
    NodeUncordon,
    NotifyPage,
    PoolScale,
    TicketOpen,
)
from watchkeeper.core.cluster import JobState, RayState
from watchkeeper.core.verdict import Autonomy, Orders
from watchkeeper.policy.check import report

X = {"subject": "x", "title": "t"}
N = {"node": "train-01", "incarnation": "inc-1"}
cordon, drain, restart = NodeCordon(**N), NodeDrain(**N), NodeRestart(**N)
check, uncordon, quarantine = CheckRun(**N), NodeUncordon(**N), GpuQuarantine(gpu=3, **N)
reset, reboot = GpuReset(gpu=3, **N), NodeReboot(**N)
cap = GpuPowerCap(gpu=3, watts=500.0, **N)
requeue = JobRequeue(job="g", attempt_id="g-a1")

alive = Given()
thin = Given(sources=1)
doubtful = Given(confidence=0.5)
approved = Given(approved=True)
approved_thin = Given(approved=True, sources=1, confidence=0.5)
fenced = Given(fenced=("train-01",))
fenced_approved = Given(fenced=("train-01",), approved=True)
dead = Given(nodes=nodes(train_01=DEAD), silent_s=4.0)
dead_fenced = dead.but(fenced=("train-01",), approved=True)
unconfirmed = Given(nodes=nodes(train_01=UNCONFIRMED), silent_s=5.0)
unconfirmed_long = unconfirmed.but(silent_s=400.0)
silent = Given(nodes=nodes(train_01=UNKNOWN), silent_s=60.0)
draining = Given(nodes=nodes(train_01={"ray_state": RayState.DRAINING}), fenced=("train-01",))
drained_yes = draining.but(approved=True)
fenced_doubtful = Given(fenced=("train-01",), sources=1, confidence=0.5)
busy = Given(fenced=("train-01",), jobs={"g": gang("g", "train-01")})
reserved = Given(nodes=nodes(train_01={"labels": {"reserved-for": "demo"}}))
stopped = Given(jobs={"g": gang("g", state=JobState.STOPPED)})
waiting = Given(pending_gpus=8.0, incident="")


def requeued(times: int) -> Given:
    done = tuple(
        past("job.requeue", node="", target="job:g", proposal=f"P-{i + 10}") for i in range(times)
    )
    return stopped.but(effects=done)


def scale(add: int) -> Action:
    return PoolScale(pool="train", add=add)


TABLE: list[tuple[str, Action, Given, str, str]] = [
    # what,                                   action, given,           by day, at night
    ("a dead node is brought back",           restart, dead,            "allow", "allow"),
    ("a drained and dead node is restarted",  restart, dead_fenced,     "allow", "allow"),
    ("a node dead to Ray alone waits",        restart, unconfirmed,     "deny", "deny"),
    ("dead to Ray and long silent",           restart, unconfirmed_long, "allow", "allow"),
    ("a silent node is not restarted",        restart, silent,          "deny", "deny"),
    ("a silent node is not drained",          drain, silent,            "deny", "deny"),
    ("a living, open node is not restarted",  restart, alive,           "deny", "deny"),
    ("a fenced node with work: not restarted", restart, busy,           "deny", "deny"),
    ("a fenced, empty node is restarted",     restart, fenced,          "allow", "allow"),
    ("a drained node is restarted",           restart, draining,        "allow", "allow"),
    ("a drained node, approved",              restart, drained_yes,    "allow", "allow"),
    ("cordon on strong evidence",             cordon, alive,            "allow", "allow"),
    ("cordon on one source",                  cordon, thin,             "allow", "allow"),
    ("cordon on low confidence",              cordon, doubtful,         "deny", "deny"),
    ("drain on strong evidence",              drain, alive,             "ask", "allow"),
    ("drain on one source",                   drain, thin,              "ask", "ask"),
    ("drain on low confidence",               drain, doubtful,          "ask", "ask"),
    ("drain, approved",                       drain, approved,          "allow", "allow"),
    ("drain, approved, on thin evidence",     drain, approved_thin,     "allow", "allow"),
    ("drain of a fenced, empty node",         drain, fenced,            "allow", "allow"),
    ("the same on low confidence",            drain, fenced_doubtful,   "ask", "ask"),
    ("drain of a fenced node that works",     drain, busy,              "ask", "allow"),
    ("reset of an idle GPU",                  reset, fenced,            "allow", "allow"),
    ("reset on low confidence",               reset, fenced_doubtful,   "ask", "ask"),
    ("reset of a GPU in use",                 reset, busy,              "deny", "deny"),
    ("reboot of a fenced, empty node",        reboot, fenced,           "allow", "allow"),
    ("reboot on low confidence",              reboot, fenced_doubtful,  "ask", "ask"),
    ("reboot of a node that works",           reboot, busy,             "deny", "deny"),
    ("a living, open node is not rebooted",   reboot, alive,            "deny", "deny"),
    ("a power cap",                           cap, alive,               "ask", "ask"),
    ("quarantine on strong evidence",         quarantine, alive,        "ask", "allow"),
    ("quarantine on one source",              quarantine, thin,         "ask", "ask"),
    ("a check on a fenced node",              check, fenced,            "allow", "allow"),
    ("a check on a dead node",                check, dead,              "deny", "deny"),
    ("a repaired node is given back",         uncordon, fenced,         "allow", "allow"),
    ("an approved repair ends",               uncordon, fenced_approved, "allow", "allow"),
    ("a stopped gang is requeued",            requeue, stopped,         "allow", "allow"),
    ("twice requeued, once more",             requeue, requeued(2),     "allow", "allow"),
    ("four times requeued, with a cause",     requeue, requeued(4),     "allow", "allow"),
    ("five times requeued: never",            requeue, requeued(5),     "deny", "deny"),
    ("one node more for a waiting gang",      scale(1), waiting,        "ask", "allow"),
    ("one node more for nobody",              scale(1), Given(),        "ask", "deny"),
    ("two nodes more",                        scale(2), waiting,        "ask", "ask"),
    ("a reserved node is left alone",         drain, reserved,          "deny", "deny"),
    ("also when somebody approved",           drain, reserved.but(approved=True), "deny", "deny"),
    ("replacing on strong evidence, no spare", NodeReplace(**N), fenced, "ask", "ask"),
    ("a ticket needs no rule",                TicketOpen(**X), alive, "allow", "allow"),
    ("nor does a page",                       NotifyPage(**X), alive, "allow", "allow"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "action", "given", "day", "night"), TABLE, ids=[r[0] for r in TABLE]
)
def test_the_shipped_orders_decide(
    what: str, action: Action, given: Given, day: str, night: str
) -> None:
    orders = shipped()
    asked = given.but(action=action)
    by_day, by_night = asked.judged(orders, DAY), asked.judged(orders, NIGHT)
    assert (by_day.decision.value, by_night.decision.value) == (day, night), (
        f"by day {by_day.because}; by night {by_night.because}"
    )


def test_one_approval_by_day_carries_the_whole_shown_plan() -> None:
    orders = shipped()
    steps = [
        approved.but(action=cordon),
        fenced_approved.but(action=drain),
        dead_fenced.but(action=restart),
        fenced_approved.but(action=check),
        fenced_approved.but(action=uncordon),
    ]
    assert [step.judged(orders, DAY).decision.value for step in steps] == ["allow"] * 5


def test_a_night_repair_of_a_broken_node_needs_nobody() -> None:
    orders = shipped()
    steps = [
        alive.but(action=cordon),
        fenced.but(action=drain),
        dead.but(action=restart, fenced=("train-01",)),
        fenced.but(action=check),
        fenced.but(action=uncordon),
    ]
    assert [step.judged(orders, NIGHT).decision.value for step in steps] == ["allow"] * 5


def test_an_ask_goes_to_oncall_for_two_hours_by_day_and_then_escalates() -> None:
    asks = alive.but(action=drain).judged(shipped(), DAY).obligations
    assert asks is not None
    assert (asks.quorum, asks.groups, asks.expires_s) == (1, ("oncall",), 7200.0)
    assert asks.on_timeout == "escalate"


def test_a_verdict_names_file_and_line_of_its_rule() -> None:
    verdict = dead.but(action=restart).judged(shipped(), NIGHT)
    file, _, line = verdict.reasons[0].where.partition(":")
    text = read_policy_dir(SHIPPED)[file].split("\n")[int(line) - 1]
    assert "bring-back-a-dead-node" in text
    assert verdict.verify_within_s == 180.0


def test_the_second_node_out_of_four_is_refused_by_the_limit_and_wakes_a_person() -> None:
    second = Given(nodes=nodes(train_03=DEAD), action=cordon)
    verdict = second.judged(shipped(), NIGHT)
    assert (verdict.decision.value, verdict.refused_by) == ("deny", "limit")
    assert "few-out-at-once" in verdict.alert


def test_the_seventh_restart_within_an_hour_is_refused_by_the_rate() -> None:
    done = tuple(
        past("node.restart", f"train-0{2 + i % 3}", proposal=f"P-{i + 10}") for i in range(6)
    )
    sixth = dead.but(action=restart, effects=done[:5]).judged(shipped(), NIGHT)
    seventh = dead.but(action=restart, effects=done).judged(shipped(), NIGHT)
    assert sixth.decision.value == "allow"
    assert (seventh.decision.value, seventh.refused_by) == ("deny", "limit")
    assert "few-restarts-an-hour" in seventh.alert


@pytest.mark.parametrize("day", range(7), ids=["mon", "tue", "wed", "thu", "fri", "sat", "sun"])
def test_every_hour_of_every_day_lies_in_exactly_one_window(day: int) -> None:
    orders = shipped()
    begin = datetime(2026, 3, 16, tzinfo=NIGHT.tzinfo) + timedelta(days=day)
    for half_hours in range(48):
        at = begin + timedelta(minutes=30 * half_hours)
        verdict = alive.but(action=drain).judged(orders, at)
        assert verdict.decision.value in ("ask", "allow"), f"{at}: {verdict.because}"


@pytest.mark.parametrize(
    ("dial", "wanted"), [("observe", "deny"), ("ask", "ask"), ("auto", "allow")]
)
def test_the_dial_caps_the_shipped_orders(dial: str, wanted: str) -> None:
    given = dead.but(action=restart, orders=Orders(autonomy=Autonomy(dial)))
    assert given.judged(shipped(), NIGHT).decision.value == wanted


def test_the_shipped_folder_is_sound_and_warns_of_nothing() -> None:
    text, sound = report(read_policy_dir(SHIPPED), NIGHT)
    assert sound
    assert "0 warnings" in text


def test_the_committed_json_schema_is_the_one_the_loader_reads_by() -> None:
    from watchkeeper.policy.schema import json_schema

    committed = json.loads((SHIPPED / "policy.schema.json").read_text())
    assert committed == json_schema(), (
        "run: python -m watchkeeper.policy.schema > policies/policy.schema.json"
    )


def test_the_shipped_files_satisfy_the_committed_schema() -> None:
    import jsonschema
    import yaml

    committed = json.loads((SHIPPED / "policy.schema.json").read_text())
    for name, text in read_policy_dir(SHIPPED).items():
        jsonschema.validate(yaml.load(text, yaml.BaseLoader), _texts_as_numbers(committed)), name


def _texts_as_numbers(schema: object) -> object:
    """BaseLoader reads every scalar as text, as our loader does; numbers then are text too."""
    if isinstance(schema, dict):
        if schema.get("type") in ("integer", "number"):
            return {"type": "string", "pattern": r"^[0-9.]+$"}
        return {key: _texts_as_numbers(value) for key, value in schema.items()}
    return [_texts_as_numbers(v) for v in schema] if isinstance(schema, list) else schema
