"""The watch writes down who held which GPUs, and a restart loses no more than the time it took."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from world import Story

from watchkeeper.app.money_source import from_events
from watchkeeper.capacity.meter import Meter
from watchkeeper.control.metering import end_metering
from watchkeeper.core.event import Kind
from watchkeeper.core.usage import UsageRecord

Tell = Callable[..., Story]


def records(story: Story) -> list[UsageRecord]:
    return [msgspec.convert(e.data["usage"], UsageRecord) for e in story.events(Kind.METERED)]


def test_each_quarter_of_an_hour_is_written_once_and_adds_up_to_every_gpu(tell: Tell) -> None:
    story = tell()
    story.watch.meter = Meter()
    story.turns(33, every_s=60.0)
    first, *more = records(story)
    assert 1 <= len(more) + 1 <= 3
    gpus = sum(n.gpus for n in story.watch.latest.nodes.values() if not n.control_path)  # type: ignore[union-attr]
    for record in (first, *more):
        whole = sum(sum(uses.values()) for uses in record.gpu_hours.values())
        assert whole == pytest.approx(gpus * record.known_s / 3600, abs=1e-3)


def test_a_watch_that_ends_writes_what_it_counted_and_says_nothing_of_its_absence(
    tell: Tell,
) -> None:
    story = tell()
    story.watch.meter = Meter()
    story.turns(5, every_s=30.0)
    end_metering(story.watch)
    assert [r.known_s for r in records(story)] == [120.0]
    story.clock.pass_s(3600.0)
    story.crash_and_start()
    story.watch.meter = Meter()
    story.turns(5, every_s=30.0)
    end_metering(story.watch)
    before, after = records(story)
    assert after.known_s == 120.0
    assert (after.first - before.last).total_seconds() >= 3600.0


def test_the_command_reads_what_the_watch_wrote(tell: Tell) -> None:
    story = tell()
    story.watch.meter = Meter()
    story.turns(5, every_s=30.0)
    end_metering(story.watch)
    assert from_events(story.journal.events()).usage == records(story)


def test_a_watch_without_a_meter_writes_nothing(tell: Tell) -> None:
    story = tell()
    story.turns(3, every_s=300.0)
    end_metering(story.watch)
    assert records(story) == []
