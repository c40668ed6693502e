"""The crew with its threads in a real Redis: killed, flushed and stopped under it."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from tests.core.crew_stage import DEAD, briefing, lost, many, told

from watchkeeper.adapters.redis_checkpoints import RedisCheckpoints
from watchkeeper.adapters.redis_server import find_server, start
from watchkeeper_agents.crew import LangGraphCrew

pytestmark = pytest.mark.redis


def crew_on(url: str) -> LangGraphCrew:
    return LangGraphCrew(saver=RedisCheckpoints(url, "lab-x"))


def test_a_new_process_resumes_the_thread_that_the_killed_one_parked(
    redis_url: str, redis_client: redis.Redis
) -> None:
    first = crew_on(redis_url).ask(briefing(DEAD, lost("train-02")))
    assert not [t for t in first.thoughts if t.thread == "crew"]
    assert redis_client.exists("wk:lab-x:ckpt:c:INC-1")

    no = told(first.drafts[0], "answer", "deny", says="Not tonight.")
    reply = crew_on(redis_url).ask(briefing(DEAD, lost("train-02"), results=(no,)))
    assert [c.end for c in reply.conclusions] == ["escalated"]


def test_flushall_in_the_middle_repeats_nothing_that_the_journal_knows(
    redis_url: str, redis_client: redis.Redis
) -> None:
    crew = crew_on(redis_url)
    (draft,) = crew.ask(briefing(DEAD, lost("train-02"))).drafts
    redis_client.flushall()
    failed = told(draft, "outcome", "failed", says="did not come back")
    reply = crew.ask(briefing(DEAD, lost("train-02"), results=(failed,)))
    assert [c.end for c in reply.conclusions] == ["escalated"]
    redis_client.flushall()
    again = crew.ask(briefing(DEAD, lost("train-02"), history={"INC-1": (failed,)}))
    assert not again.drafts


def test_redis_stopped_under_the_crew_costs_a_thought_and_no_turn(tmp_path: Path) -> None:
    server = start(tmp_path, find_server())
    crew = crew_on(server.url)
    (draft,) = crew.ask(briefing(DEAD, lost("train-02"))).drafts
    server.stop()
    not_now = told(draft, "answer", "not_now")
    reply = crew.ask(briefing(DEAD, lost("train-02"), results=(not_now,)))
    assert [c.end for c in reply.conclusions] == ["waiting"]
    assert "It goes on in memory." in reply.thoughts[-1].text


def test_every_thread_is_kept_as_json_that_reads_back(
    redis_url: str, redis_client: redis.Redis
) -> None:
    crew = crew_on(redis_url)
    seen, incidents = many(20)
    crew.ask(briefing(seen, *incidents))
    saver = RedisCheckpoints(redis_url, "lab-x")
    assert len(saver.threads()) == 20
    assert all(saver.get_tuple({"configurable": {"thread_id": t}}) for t in saver.threads())
