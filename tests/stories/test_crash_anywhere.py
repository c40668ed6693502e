"""The watch is killed at every boundary of record and effect in turn, and started again from its
journal: before and after each line, each fsync, each call of a provider. With `power` the lines
that no fsync had covered are lost too.

Whatever the point: no effect happens twice, no answer that a person was told is taken gets lost,
and the story ends as it would have. CI plays every twelfth point and all around an effect;
WATCHKEEPER_SEEDS, where it is set, plays each.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.stories.world import DAY, NIGHT, Answer, Kind, Story

from watchkeeper.adapters.journal_file import verify
from watchkeeper.control.turn import turn
from watchkeeper.core.action import kind_of, traits_of

EVERY = int(os.environ.get("WATCHKEEPER_SEEDS", "0")) > 0
TURNS = 600
QUIET_TURNS = 45
"""90 s in which nothing is open or under way: longer than the watch takes to notice a gang."""


class Crash(BaseException):
    """The process is gone. Not an Exception: nothing in it may live on."""


@dataclass
class Doom:
    """Counts boundaries and kills at one of them. power: what was not made durable is lost."""

    at: int
    power: bool = False
    passed: list[str] = field(default_factory=list)
    durable: int = 0
    struck: str = ""

    def here(self, where: str) -> None:
        self.passed.append(where)
        if len(self.passed) == self.at:
            self.struck = where
            raise Crash(where)

    def around(self, what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            name = f"{what}:{_name(args)}"
            self.here(f"before {name}")
            result = call(*args, **kwargs)
            if what == "fsync":
                self.durable = self.story.journal.path.stat().st_size
            self.here(f"after {name}")
            return result

        return wrapped

    def arm(self, story: Story) -> None:
        self.story = story
        journal, cluster = story.journal, story.cluster
        self.durable = journal.path.stat().st_size
        journal.append = self.around("line", journal.append)
        journal._sync = self.around("fsync", journal._sync)
        cluster.execute = self.around("effect", cluster.execute)
        cluster.enforce = self.around("force", cluster.enforce)

    def restart(self) -> None:
        """kill -9, or the mains: what is left is the file (up to the last fsync) and the world."""
        story, journal = self.story, self.story.journal
        for name in ("append", "_sync"):
            delattr(journal, name)
        for name in ("execute", "enforce"):
            delattr(story.cluster, name)
        if self.power:
            journal._sync = lambda _head: None
            journal.close()
            with journal.path.open("r+b") as file:
                file.truncate(self.durable)
            story._start("auto")
        else:
            story.crash_and_start()


def _name(args: tuple[Any, ...]) -> str:
    first = args[0] if args else ""
    if isinstance(first, Kind):
        return first.value
    return kind_of(first.action) if hasattr(first, "action") else "journal"


class Plot:
    """One story: what befalls the cluster, and a person who says yes to what is asked."""

    def __init__(self, home: Path, name: str) -> None:
        by_day = name.endswith("by day")
        self.name = name
        self.story = Story(home, hour=DAY if by_day else NIGHT, pools={"train": 8})
        self.story.cluster.run("llm", ("train-01", "train-02"))
        self.story.turns(2)
        self.taken: set[str] = set()

    def befall(self) -> None:
        if self.name.startswith("a node is lost"):
            self.story.cluster.lose("train-02")
        else:
            self.story.cluster.xid("train-02", 3, 79)

    def live(self, doom: Doom) -> bool:
        """Turns until all is quiet, through the crash. False when it never is."""
        doom.arm(self.story)
        self.befall()
        quiet = 0
        for _ in range(TURNS):
            try:
                self._answer()
                turn(self.story.watch)
            except Crash:
                doom.restart()
                continue
            self.story.clock.pass_s(2.0)
            quiet = quiet + 1 if self.story.quiet() and not self.story.desk.asks() else 0
            if quiet >= QUIET_TURNS:
                break
        doom.at = 0
        return quiet >= QUIET_TURNS

    def _answer(self) -> None:
        for ask in self.story.desk.asks():
            self.story.answer(Answer.APPROVE)
            self.taken.add(ask.id)  # only now has the person been told so

    def end(self) -> dict[str, Any]:
        """What the cluster and the record come to, without ids, times and names of lives."""
        cluster = self.story.cluster
        return {
            "nodes": {n.name: n.ray_state.value for n in cluster.nodes.values()},
            "fences": sorted(cluster.fences),
            "jobs": {j.name: (j.state.value, j.attempt) for j in cluster.jobs.values()},
            "ill": sorted(cluster.lost_gpus),
            "incidents": sorted(
                {i.state.value for i in self.story.record.books.incidents.values()}
            ),
        }

    def done(self) -> list[tuple[str, str, str]]:
        """(kind, target, life) of each destructive effect that reached the cluster."""
        return [
            (kind_of(a), str(getattr(a, "node", "") or a.job), str(_life(a)))
            for a in (order.action for order in self.story.cluster.effects)
            if traits_of(a).disruptive or kind_of(a) == "job.requeue"
        ]


def _life(action: Any) -> str:
    return getattr(action, "incarnation", "") or action.attempt_id


STORIES = ("a node is lost by night", "a GPU falls off the bus by night", "an XID 79 by day")


def whole(home: Path, name: str) -> tuple[Plot, Doom]:
    """The story without a crash, and every boundary that it passes."""
    plot, doom = Plot(home, name), Doom(at=0)
    assert plot.live(doom)
    plot.story.journal.close()
    return plot, doom


def points(passed: list[str]) -> list[int]:
    """Which boundaries to die at: all, or every twelfth and all around effects."""
    return [
        n
        for n, where in enumerate(passed, start=1)
        if EVERY or n % 12 == 0 or "effect" in where or "force" in where or "answered" in where
    ]


@pytest.mark.timeout(0 if EVERY else 180)
@pytest.mark.parametrize("power", [False, True], ids=["killed", "power lost"])
@pytest.mark.parametrize("name", STORIES)
def test_s14_s18_s26_a_crash_at_any_boundary_repeats_nothing_loses_no_yes_and_converges(
    tmp_path: Path, name: str, power: bool
) -> None:
    calm, passed = whole(tmp_path / "calm", name)
    assert calm.done(), "the story acts, or it proves nothing"
    ends: Counter[str] = Counter()
    wrong: list[str] = []
    for at in points(passed.passed):
        plot, doom = Plot(tmp_path / f"at{at}", name), Doom(at=at, power=power)
        ended = plot.live(doom)
        found = _wrong(plot, calm, ends) if ended else [f"it never ended\n{plot.story.log()}"]
        wrong += [f"{at} {doom.struck}: {text}" for text in found]
        plot.story.journal.close()
    print(f"{name}, power={power}: {len(passed.passed)} boundaries, ends {dict(ends)}")
    assert not wrong, "\n".join(wrong)


def _wrong(plot: Plot, calm: Plot, ends: Counter[str]) -> list[str]:
    story, done = plot.story, plot.done()
    found = [f"{what} {n} times" for what, n in Counter(done).items() if n > 1]
    keys = Counter(o.key for o in story.cluster.effects)
    found += [f"key {key} {n} times" for key, n in keys.items() if n > 1]
    if problem := verify(story.journal.path).problem:
        found.append(problem)
    answered = {e.data["approval"]["proposal"] for e in story.events(Kind.ANSWERED)}
    found += [f"the yes to {ident} is lost" for ident in sorted(plot.taken - answered)]
    if plot.end() == calm.end():
        ends["the same"] += 1
    elif story.notifier.pages:
        ends["a person was called"] += 1
    else:
        found.append(f"another end, and nobody was called: {plot.end()}")
    return found


def test_every_kind_of_boundary_is_among_those_that_are_tried(tmp_path: Path) -> None:
    seen: set[str] = set()
    for n, name in enumerate(STORIES):
        _, doom = whole(tmp_path / str(n), name)
        seen |= {doom.passed[k - 1] for k in points(doom.passed)}
    for what in ("node.cordon", "node.drain", "node.restart", "node.uncordon", "job.requeue"):
        assert {f"before effect:{what}", f"after effect:{what}"} <= seen
    assert {"before line:approval.answered", "after line:approval.answered"} <= seen or any(
        "answered" in where for where in seen
    )
    assert any(where.startswith("before fsync") for where in seen)
