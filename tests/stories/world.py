"""A whole watch over a cluster in memory: real turn, gate, executor, journal and policy; a clock
that moves when told; a crew that climbs the real ladders without a graph.

`Story` is the verbs that the specifications are written in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from watchkeeper.adapters.journal_file import FileJournal
from watchkeeper.adapters.policy_files import read_policy_dir
from watchkeeper.adapters.stop_file import FileStop
from watchkeeper.control.desk import WatchDesk
from watchkeeper.control.execute import Executor
from watchkeeper.control.look import Looker
from watchkeeper.control.papers import File
from watchkeeper.control.policy_shelf import Shelf, Source
from watchkeeper.control.record import Record
from watchkeeper.control.tell import Teller
from watchkeeper.control.turn import turn
from watchkeeper.control.watch import Watch
from watchkeeper.core.action import kind_of
from watchkeeper.core.cluster import ClusterState, World
from watchkeeper.core.crew import Briefing, Conclusion, CrewReply, Draft, StepResult
from watchkeeper.core.desk import Ask, Person
from watchkeeper.core.errors import ClusterUnavailable
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.verdict import Answer
from watchkeeper.health.sense import LAB
from watchkeeper.remedy.ladder import next_steps
from watchkeeper.remedy.plan import Done, Escalate, RemedySettings, RemedyView, Steps
from watchkeeper.remedy.verify import expected_effect
from watchkeeper.twin.memory import CountingIds, ManualClock, MemoryCluster
from watchkeeper_agents.chat_orders import order_of

POLICIES = Path(__file__).parents[2] / "policies"
ASKING = {name: text for name, text in read_policy_dir(POLICIES).items() if "people" in name} | {
    "policies/asking.yaml": """apiVersion: watchkeeper/v1
kind: Policy
metadata: {name: asking, owner: nobody}
rules:
  - {id: after-a-yes, effect: allow, actions: ["*"], when: incident.approved}
  - id: ask-first
    effect: ask
    actions: ["*"]
    when: "!incident.approved"
    approvals: {quorum: 1, from: [group:oncall], expires: 15m, on_timeout: escalate}
"""
}
"""Orders by which one person on call is asked before anything, and nothing else is said: stories
about answers need a question, whatever the shipped orders ask."""
NIGHT = datetime(2026, 11, 18, 1, 30, tzinfo=UTC)
DAY = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
ALICE = Person(name="primary", groups=("oncall",))
BEN = Person(name="secondary", groups=("oncall",))


class LadderCrew:
    """The real ladders without a graph: what the remediation agent would ask for."""

    def __init__(self) -> None:
        self.heard: dict[str, list[StepResult]] = {}
        self.asleep: set[str] = set()

    def ask(self, briefing: Briefing) -> CrewReply:
        for result in briefing.results:
            self.heard.setdefault(result.thread, []).append(result)
        drafts: list[Draft] = []
        ends: list[Conclusion] = []
        for incident in briefing.incidents:
            heard = self.heard.get(incident.id, [])
            if heard and heard[-1].kind == "outcome":
                self.asleep.discard(incident.id)  # a person had it done after all
            if incident.id in briefing.busy or incident.id in self.asleep:
                continue
            if heard and heard[-1].kind != "outcome" and heard[-1].value in ("deny", "not_now"):
                self.asleep.add(incident.id)
                continue
            view = RemedyView(
                snapshot=briefing.snapshot,
                serves=briefing.serves,
                checked=briefing.checked,
                attempts=tuple(briefing.history.get(incident.id, ())),
                settings=RemedySettings(settle_s=6.0, drain_deadline_s=20.0),
            )
            plan = next_steps(incident, view)
            match plan:
                case Steps():
                    step = plan.next
                    drafts.append(
                        Draft(
                            thread=incident.id,
                            action=step.action,
                            by="agent:remediation",
                            reason=step.reason,
                            confidence=incident.confidence,
                            effect=expected_effect(step.action, view),
                            incident=incident.id,
                            evidence=tuple(s.id for s in incident.signals),
                            plan=plan.rest,
                            rung=step.rung,
                        )
                    )
                case Done():
                    ends.append(Conclusion(thread=incident.id, end="resolved", why=plan.why))
                case Escalate():
                    ends.append(Conclusion(thread=incident.id, end="escalated", why=plan.why))
                case _:
                    pass
        return CrewReply(drafts=tuple(drafts), conclusions=tuple(ends))


@dataclass
class MemoryNotifier:
    """Remembers every page and ticket; dedup by key like the real one."""

    pages: list[tuple[str, str, str]] = field(default_factory=list)
    tickets: list[tuple[str, str, str]] = field(default_factory=list)
    settled: list[tuple[str, str, str]] = field(default_factory=list)

    def page(self, key: str, title: str, body: str) -> bool:
        return self._tell(self.pages, key, title, body)

    def ticket(self, key: str, title: str, body: str) -> bool:
        return self._tell(self.tickets, key, title, body)

    def settle(self, key: str, title: str, body: str) -> bool:
        return self._tell(self.settled, key, title, body)

    def _tell(self, told: list[tuple[str, str, str]], key: str, title: str, body: str) -> bool:
        if any(k == key for k, _, _ in told):
            return False
        told.append((key, title, body))
        return True


class MemoryMirror:
    """Copies that can be lost, as with FLUSHALL."""

    def __init__(self) -> None:
        self.copies: dict[str, bytes] = {}
        self.down = ""

    def lost(self) -> bool:
        self._reach()
        return "epoch" not in self.copies and bool(self.copies.setdefault("epoch", b"1"))

    def publish(self, name: str, value: bytes) -> None:
        self._reach()
        self.copies[name] = value

    def publish_event(self, event: Event) -> None:
        self._reach()

    def record_demand(self, state: ClusterState) -> None:
        self._reach()

    def demand_series(self, pool: str) -> list[tuple[float, float, float]]:
        self._reach()
        return []

    def served(self, name: str) -> list[tuple[float, ...]]:
        self._reach()
        return []

    def flushall(self) -> None:
        self.copies.clear()

    def _reach(self) -> None:
        if self.down:
            raise ClusterUnavailable(self.down)


class NoForecasts:
    def collect(self, state: ClusterState, at: datetime) -> tuple[Forecast, ...]:
        return ()


class Story:
    """One watch over one in-memory cluster, and the verbs to tell a story with."""

    def __init__(
        self,
        home: Path,
        *,
        hour: datetime = NIGHT,
        pools: dict[str, int] | None = None,
        policies: dict[str, str] | None = None,
        autonomy: str = "auto",
        cluster: MemoryCluster | None = None,
        crew: object | None = None,
    ) -> None:
        self.home = home
        self.policy_files = policies or read_policy_dir(POLICIES)
        self.policy_tests: dict[str, str] = {}
        self.clock = cluster.clock if cluster else ManualClock(hour)
        self.cluster = cluster or MemoryCluster.of(
            self.clock, pools or {"train": 4}, world=World.LAB
        )
        self.notifier = MemoryNotifier()
        self.mirror = MemoryMirror()
        self._make_crew = crew
        self._start(autonomy)
        self.clock.pass_s(60.0)  # every node is past its boot

    def _start(self, autonomy: str) -> None:
        self.journal = FileJournal(self.home / "journal", self.clock)
        self.record = Record(self.journal)
        self.ids = CountingIds()
        for prefix, number in self.record.books.ids.items():
            self.ids.resume(prefix, number)
        self.stop_file = FileStop(self.home / "STOP", self.clock)
        looker = Looker(self.cluster, self.cluster.telemetry(), self.clock)
        source = Source(
            lambda: (self.policy_files, self.policy_tests),
            lambda: str(sorted((self.policy_files | self.policy_tests).items())),
        )
        shelf = Shelf(source, self.clock.policy_now(), self.record.books.policy_files)
        executor = Executor(
            record=self.record,
            actuators=dict.fromkeys(self.cluster.serves, self.cluster),
            stop=self.stop_file,
            look=looker.look,
            policy=shelf.current,
            clock=self.clock,
        )
        self.watch = Watch(
            record=self.record,
            looker=looker,
            crew=self._make_crew() if callable(self._make_crew) else LadderCrew(),
            executor=executor,
            teller=Teller(self.notifier, self.record),
            mirror=self.mirror,
            stop=self.stop_file,
            policies=shelf,
            forecaster=NoForecasts(),
            clock=self.clock,
            ids=self.ids,
            world=self.cluster.world,
            sense=LAB,
        )
        self.desk = WatchDesk(
            self.watch,
            waiter=self.journal,
            wake=lambda: None,
            answerer=lambda question, board, log: f"heard: {question}",
            redis_name="memory",
            reader=order_of,
        )
        if self.record.books.orders.autonomy.value != autonomy:
            self.record.write(Kind.AUTONOMY, by="story", level=autonomy)

    # What happens.

    def turns(self, count: int = 1, every_s: float = 1.0) -> None:
        for _ in range(count):
            turn(self.watch)
            self.clock.pass_s(every_s)

    def until(self, seen: object, *, within: int = 200, every_s: float = 1.0) -> None:
        """Turns until `seen()` holds; fails with the log if it never does."""
        assert callable(seen)
        for _ in range(within):
            turn(self.watch)
            if seen():
                return
            self.clock.pass_s(every_s)
        raise AssertionError("it never came to pass; the log says:\n" + self.log())

    def crash_and_start(self) -> None:
        """kill -9 and a new process: only journal, latch and cluster survive."""
        autonomy = self.record.books.orders.autonomy.value
        self.journal.close()
        self._start(autonomy)

    def answer(self, answer: Answer, person: Person = ALICE, **wrong: str) -> Ask:
        ask = self.desk.asks()[0]
        return self.desk.answer(
            ask.id,
            answer,
            person,
            digest=wrong.get("digest", ask.digest),
            nonce=wrong.get("nonce", ask.nonce),
        )

    # What was seen.

    def done(self) -> list[str]:
        """Kinds of the effects that really reached the cluster, in order."""
        return [kind_of(order.action) for order in self.cluster.effects]

    def log(self) -> str:
        return "\n".join(f"{x.kind:<10} {x.text}" for x in self.desk.log(limit=1000))

    def events(self, kind: Kind) -> list[Event]:
        return [e for e in self.journal.events() if e.kind is kind]

    def files(self) -> list[File]:
        return list(self.record.books.files.values())

    def quiet(self) -> bool:
        """No open incident and nothing in hand."""
        books = self.record.books
        return not books.open_incidents() and not books.in_hand()

    def paged(self, words: str) -> bool:
        return any(words in f"{title} {body}" for _, title, body in self.notifier.pages)


__all__ = ["ALICE", "ASKING", "BEN", "DAY", "NIGHT", "Answer", "Kind", "Story", "timedelta"]
