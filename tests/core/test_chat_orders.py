"""The grammar of orders: what each sentence means over a small fleet, what it does not mean, and
the policies that templates write from a sentence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.core.test_crew_chat import facts, job

from watchkeeper.adapters.policy_files import read_policy_dir
from watchkeeper.app.policy_draft import draft
from watchkeeper.core.chat import Dialled, Drafted, Elsewhere, Halted, Held, Ordered
from watchkeeper.core.desk import Board
from watchkeeper.core.errors import UsageError
from watchkeeper.core.verdict import Autonomy
from watchkeeper_agents.chat_orders import named_in, offered, order_of
from watchkeeper_agents.chat_times import until_of
from watchkeeper_agents.models.grounded import grounded
from watchkeeper_agents.policy_drafts import FITS
from watchkeeper_evals.guard_corpus import entries

AT = datetime(2026, 11, 18, 22, 30, tzinfo=UTC)  # a Wednesday, 23:30 in Berlin


def board() -> Board:
    seen = facts(jobs=(job("llm", "stopped"),)).board
    return msgspec.structs.replace(seen, at=AT, zone="Europe/Berlin")


def step(kind: str, *targets: str, **more: Any) -> Ordered:
    return Ordered(kind=kind, targets=targets, **more)


NODE = board().nodes[0].name
OTHER = board().nodes[1].name
JOB = board().jobs[0].name
POOL = board().pools[0].pool


@pytest.mark.parametrize(
    ("text", "order"),
    [
        (f"cordon {NODE}", step("node.cordon", NODE)),
        (f"Please CORDON {NODE.upper()} now!", step("node.cordon", NODE)),
        (f"can you drain node {NODE} and {OTHER}?", step("node.drain", NODE, OTHER)),
        (f"put node {NODE} back", step("node.uncordon", NODE)),
        (f"put {NODE} back into service", step("node.uncordon", NODE)),
        (f"requeue {JOB}", step("job.requeue", JOB)),
        (f"reset gpu 3 on {NODE}", step("gpu.reset", NODE, gpu=3)),
        (f"two more nodes for {POOL} tonight", step("pool.scale", POOL, add=2, tonight=True)),
        (f"scale {POOL} by 3", step("pool.scale", POOL, add=3)),
        ("dial down to ask", Dialled(level=Autonomy.ASK)),
        ("stop everything", Halted()),
        ("draft a policy that never drains", Drafted(sentence="never drains")),
    ],
)
def test_a_sentence_gives_one_order(text: str, order: object) -> None:
    assert order_of(text, board()) == order


@pytest.mark.parametrize(
    "text",
    [
        f"why did you drain {NODE}?",
        "what is wrong?",
        f"is {NODE} cordoned?",
        "",
        "hello",
        "the stop was pressed by whom",
    ],
)
def test_a_question_is_no_order(text: str) -> None:
    assert order_of(text, board()) is None


@pytest.mark.parametrize(
    "text",
    [
        "cordon nobody-1",
        "drain *",
        f"drain {NODE} unless it is busy",
        f"cordon {NODE}; reboot {OTHER}x",
        "resume",
        "approve P-7",
        "allow everything",
        "release H-1",
        f"leave {NODE} alone until further notice",
        f"leave {NODE} alone until the cows come home",
        "hold it",
    ],
)
def test_what_is_wider_or_half_understood_is_told_and_not_done(text: str) -> None:
    assert isinstance(order_of(text, board()), Elsewhere)


@pytest.mark.parametrize(
    ("words", "until"),
    [
        ("until 07:00", datetime(2026, 11, 19, 6, 0, tzinfo=UTC)),
        ("until 7am", datetime(2026, 11, 19, 6, 0, tzinfo=UTC)),
        ("until 23:45", datetime(2026, 11, 18, 22, 45, tzinfo=UTC)),
        ("until 07:00 utc", datetime(2026, 11, 19, 7, 0, tzinfo=UTC)),
        ("until tomorrow 09:00", datetime(2026, 11, 19, 8, 0, tzinfo=UTC)),
        ("until monday", datetime(2026, 11, 23, 6, 0, tzinfo=UTC)),
        ("tonight", datetime(2026, 11, 19, 6, 0, tzinfo=UTC)),
        ("for two hours", AT + timedelta(hours=2)),
        ("for 30 min", AT + timedelta(minutes=30)),
        ("", AT + timedelta(hours=12)),
    ],
)
def test_a_time_is_read_in_the_zone_of_the_orders(words: str, until: datetime) -> None:
    order = order_of(f"leave {NODE} alone {words}", board())
    assert isinstance(order, Held)
    assert order.until == until


def test_a_name_that_is_nearly_right_is_asked_back_and_not_guessed() -> None:
    order = order_of(f"drain {NODE}x", board())
    assert isinstance(order, Elsewhere)
    assert f"Did you mean {NODE}" in order.says


def test_a_time_that_is_not_understood_is_none() -> None:
    assert until_of("pool x until doomsday", board())[0] is None


def test_s22_of_the_guards_corpus_the_word_stop_alone_is_an_order() -> None:
    texts = [e["text"] for e in entries() if e.get("kind") == "text"]
    assert len(texts) > 150
    found = {t: o for t in texts if (o := order_of(t, board())) is not None}
    assert {t for t, o in found.items() if not isinstance(o, Elsewhere)} == {"stop"}
    assert found["stop"] == Halted(), "it narrows, whoever types it"


def test_what_is_offered_is_understood() -> None:
    for text in offered(board()):
        found = order_of(text, board())
        assert found is not None, text
        assert not isinstance(found, Elsewhere), text


def test_names_in_a_sentence_are_those_that_the_record_knows() -> None:
    assert named_in(f"is {NODE} or nobody-9 in inc-4?", board()) == (NODE, "INC-4")


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("train-02 is cordoned. It has 8 GPUs.", "train-02 is cordoned. It has 8 GPUs."),
        ("It has 9 GPUs. train-02 is cordoned.", "train-02 is cordoned."),
        ("Eight GPUs are there.", "Eight GPUs are there."),
        ("Nine GPUs are there.", ""),
        ("Half of them are broken.", ""),
        ("Please approve P-7.", ""),
        ("**train-02** is `cordoned`.", "train-02 is cordoned."),
    ],
)
def test_words_rest_on_the_record_or_are_struck_out(words: str, kept: str) -> None:
    assert grounded(words, "train-02 is cordoned and has 8 GPUs. P-7 waits.", "") == kept


@pytest.mark.parametrize("sentence", FITS)
def test_each_template_writes_a_policy_that_is_sound_beside_the_shipped_orders(
    sentence: str,
) -> None:
    made = draft(
        sentence,
        read_policy_dir(Path("policies")),
        {},
        (),
        until=datetime(2026, 11, 22, tzinfo=UTC),
    )
    assert made.sound, (made.check, made.tested, made.text)
    assert made.check.startswith("The policy is sound")
    assert "effect: allow" not in made.text or "mode: shadow" in made.text


@pytest.mark.parametrize(
    "sentence", ["make it nice", "drain", "never", "ask", "\x1b[31m", "x" * 9000]
)
def test_what_fits_no_template_is_said_to(sentence: str) -> None:
    with pytest.raises(UsageError, match="No template fits"):
        draft(sentence, {}, {}, (), until=AT)
