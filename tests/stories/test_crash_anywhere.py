"""The watch is killed at every boundary of record and effect in turn, and started again from its
journal: before and after each line, each fsync, each call of a provider, each page and ticket, each
copy for readers, each touch of the latch, each write of a crew's thread. With `power` the lines
that no fsync had covered are lost too.

Whatever the point: no effect happens twice, no answer that a person was told is taken gets lost,
and the story ends as it would have. CI plays every 48th and all around an effect;
WATCHKEEPER_SEEDS, where it is set, plays each.
"""

from __future__ import annotations

import ast
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from tests.stories.world import ALICE, DAY, NIGHT, Answer, Kind, Story

from watchkeeper.adapters.journal_file import verify
from watchkeeper.control import turn as turn_module
from watchkeeper.control.turn import turn
from watchkeeper.core import ports
from watchkeeper.core.action import kind_of, traits_of
from watchkeeper_agents.crew import LangGraphCrew

CONTROL = Path(turn_module.__file__).parent

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
    savers: tuple[Any, ...] = ()
    wrapped: list[tuple[Any, str]] = field(default_factory=list)

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
        self.wrapped = []
        for thing, name, what in (
            (journal, "append", "line"),
            (journal, "_sync", "fsync"),
            (cluster, "execute", "effect"),
            (cluster, "enforce", "force"),
            (story.notifier, "page", "call"),
            (story.notifier, "ticket", "call"),
            (story.mirror, "publish", "copy"),
            (story.mirror, "record_demand", "copy"),
            (story.stop_file, "set", "latch"),
            (story.stop_file, "clear", "latch"),
            *((saver, n, "thread") for saver in self.savers for n in _SAVES),
        ):
            setattr(thing, name, self.around(what, getattr(thing, name)))
            self.wrapped.append((thing, name))

    def restart(self) -> None:
        """kill -9, or the mains: what is left is the file (up to the last fsync) and the world."""
        story, journal = self.story, self.story.journal
        for thing, name in self.wrapped:
            delattr(thing, name)
        if self.power:
            journal._sync = lambda _head: None
            journal.close()
            with journal.path.open("r+b") as file:
                file.truncate(self.durable)
            story._start("auto")
        else:
            story.crash_and_start()


_SAVES = ("put", "put_writes", "delete_thread")


def _name(args: tuple[Any, ...]) -> str:
    first = args[0] if args else ""
    if isinstance(first, str):
        return first.partition(":")[0] or "latch"
    if isinstance(first, Kind):
        return first.value
    return kind_of(first.action) if hasattr(first, "action") else "journal"


class Plot:
    """One story: what befalls the cluster, and a person who says yes to what is asked."""

    def __init__(self, home: Path, name: str) -> None:
        by_day = name.endswith("by day")
        self.name = name
        self.saver = InMemorySaver()  # as Redis keeps it: it outlives the watch
        crew = self._real_crew if "the real crew" in name else None
        self.story = Story(home, hour=DAY if by_day else NIGHT, pools={"train": 8}, crew=crew)
        self.stopped = self.resumed = "and a stop" not in name
        self.seen_stopped = False
        self.story.cluster.run("llm", ("train-01", "train-02"))
        self.story.turns(2)
        self.taken: set[str] = set()

    def _real_crew(self) -> LangGraphCrew:
        return LangGraphCrew(saver=self.saver)

    def befall(self) -> None:
        if self.name.startswith("a node is lost"):
            self.story.cluster.lose("train-02")
        else:
            self.story.cluster.xid("train-02", 3, 79)

    def live(self, doom: Doom) -> bool:
        """Turns until all is quiet, through the crash. False when it never is."""
        doom.savers = (self.saver,) if "the real crew" in self.name else ()
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
            still = self.story.quiet() and not self.story.desk.asks() and self.resumed
            quiet = quiet + 1 if still else 0
            if quiet >= QUIET_TURNS:
                break
        doom.at = 0
        return quiet >= QUIET_TURNS

    def _answer(self) -> None:
        if self.story.done() and not self.stopped:
            self.story.desk.stop(ALICE, "let me look")
            self.stopped = True  # only now does the person know that it is
        elif self.stopped and not self.resumed:
            stopped = self.story.record.books.orders.stopped
            if self.seen_stopped and stopped:
                self.story.desk.resume(ALICE, "go on")
            self.resumed = self.seen_stopped  # or it was, before the watch died
            self.seen_stopped = stopped
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


STORIES = (
    "a node is lost by night",
    "a GPU falls off the bus by night, and a stop",
    "an XID 79 by day",
    "a node is lost by night, with the real crew",
)


def whole(home: Path, name: str) -> tuple[Plot, Doom]:
    """The story without a crash, and every boundary that it passes."""
    plot, doom = Plot(home, name), Doom(at=0)
    assert plot.live(doom)
    plot.story.journal.close()
    return plot, doom


_ALWAYS = ("effect", "force", "answered", "call:", "latch:", "line:orders.")


def points(passed: list[str]) -> list[int]:
    """Which boundaries to die at: all; or every 48th, the first copy, some of a thread, and all
    around what people and the cluster see."""
    of = {
        what: [n for n, where in enumerate(passed, start=1) if f"{what}:" in where]
        for what in ("thread", "copy")
    }
    some = {*of["copy"][:2], *of["thread"][::48], *of["thread"][1::48]}
    return [
        n
        for n, where in enumerate(passed, start=1)
        if EVERY or n % 48 == 0 or n in some or any(word in where for word in _ALWAYS)
    ]


@pytest.fixture(autouse=True)
def _no_wait_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What power would lose is known by `Doom.durable`; a thousand plays need not wait for it."""
    monkeypatch.setattr(os, "fsync", lambda _fd: None)


TOLD = [
    (name, power)
    for name in STORIES
    for power in (False, True)
    if EVERY or not (power and "real crew" in name)
]


@pytest.mark.timeout(0 if EVERY else 180)
@pytest.mark.parametrize(
    ("name", "power"), TOLD, ids=[f"{n}, {'power lost' if p else 'killed'}" for n, p in TOLD]
)
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
    assert {"before line:approval.answered", "after line:approval.answered"} <= seen
    for what in ("fsync:", "latch:", "call:", "copy:", "thread:", "line:orders."):
        assert any(where.startswith(f"before {what}") for where in seen), what
        assert any(where.startswith(f"after {what}") for where in seen), what


PORTS: dict[type, tuple[set[str], set[str]]] = {
    ports.ClusterReader: (set(), {"read"}),
    ports.TelemetrySource: (set(), {"read"}),
    ports.Actuator: ({"execute", "enforce"}, {"name", "serves"}),
    ports.Notifier: ({"page", "ticket", "settle"}, set()),
    ports.JournalStore: ({"append", "sync"}, {"events", "about", "head"}),
    ports.StopFile: ({"set", "clear"}, {"is_set", "who"}),
    ports.Mirror: (
        {"publish", "record_demand"},
        {"lost", "demand_series", "served", "publish_event"},
    ),
    ports.CaseStore: (set(), {"add", "judged"}),
    ports.Rehearsal: (set(), {"rehearse"}),
}
"""Each port of control: what of it changes the world (a boundary), and what does not. The journal
calls publish_event itself, after its line; sync is the fsync. A case is added while a person's
request is answered, never in a turn, and nothing in the watch reads it. A rehearsal plays a twin of
its own."""


def test_the_list_of_boundaries_is_whole() -> None:
    """A new door to the world must be put on one of the two lists, and so among the boundaries."""
    found = {
        kind: {n for n in vars(kind) if not n.startswith("_")}
        for kind in vars(ports).values()
        if getattr(kind, "_is_protocol", False) and kind.__module__ == ports.__name__
    }
    assert found == {kind: writes | reads for kind, (writes, reads) in PORTS.items()}


def test_control_reaches_the_world_by_its_ports_alone() -> None:
    """No file, socket or process of its own: what is written, is written through a port."""
    doors = {"os", "io", "socket", "subprocess", "shutil", "redis", "ray", "sqlite3", "tempfile"}
    for path in sorted(CONTROL.glob("*.py")):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None) or "", *(a.name for a in node.names)]
                assert not {n.partition(".")[0] for n in names} & doors, (path.name, names)
            if isinstance(node, ast.Call):
                called = getattr(node.func, "id", getattr(node.func, "attr", ""))
                assert called not in ("open", "write_text", "write_bytes", "unlink"), path.name
