"""What the pages show beyond the board: the map's cells, traces, policy, agents, forecasts held to
what came, and whether the journal holds. The desk asks; nothing here decides or acts."""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import msgspec

from watchkeeper.control.agents_seen import agents_of
from watchkeeper.control.cells import cells_of, layout_of
from watchkeeper.control.past import ledger_view
from watchkeeper.control.report_bounds import endings
from watchkeeper.control.watch import Watch
from watchkeeper.core.cells import FleetCells, FleetLayout, Grouping, Shade, Trace
from watchkeeper.core.desk import LimitView, LogLine
from watchkeeper.core.errors import ClusterUnavailable, Refused
from watchkeeper.core.event import Kind
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.since import span
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.verdict import Decision
from watchkeeper.core.views import (
    AgentView,
    FanView,
    Foreseen,
    JournalCheck,
    PolicyView,
    RuleView,
    WindowView,
)
from watchkeeper.policy.model import Approvals, CheckedPolicy, Rule
from watchkeeper.policy.usage import usage
from watchkeeper.policy.windows import is_open, say

AHEAD_S = 3600.0
NEAR_S = 300.0
FORECASTS = 288
"""Forecasts of one pool that are kept for the page."""
NEAR_LINES = 20_000
"""Lines of the journal that are read for them at first: no page waits for all of it."""

Verify = Callable[[], JournalCheck]


class Looking:
    """Reads over one running watch."""

    def __init__(self, watch: Watch, verify: Verify | None) -> None:
        self._watch = watch
        self._verify = verify
        self._verifying = threading.Lock()
        self._lock = threading.Lock()
        self._told = -1
        self._drawn: dict[tuple[Shade, Grouping], tuple[Snapshot, FleetCells]] = {}
        self._made: dict[str, deque[Forecast]] = defaultdict(lambda: deque(maxlen=FORECASTS))

    def layout(self, by: Grouping) -> FleetLayout:
        """Where everything stands on the map. Raises Refused before the first look."""
        return layout_of(self._snapshot(), by)

    def cells(self, shade: Shade, by: Grouping) -> FleetCells:
        """One reading of all cells. Raises Refused before the first look."""
        snapshot = self._snapshot()
        held = self._drawn.get((shade, by))
        if held is not None and held[0] is snapshot:
            return held[1]  # a hundred open pages ask for the same turn
        with self._watch.record.lock:
            books = self._watch.record.books
            incidents, forecasts = books.open_incidents(), dict(books.forecasts)
        drawn = cells_of(snapshot, incidents, forecasts, shade, by)
        self._drawn[shade, by] = (snapshot, drawn)
        return drawn

    def trace(self, node: str) -> Trace | None:
        """The last hour of one node; None where there is none of this name."""
        snapshot = self._watch.latest
        found = snapshot.nodes.get(node) if snapshot else None
        if found is None:
            return None
        gpus = found.gpus + len(found.hidden_gpus)
        return self._watch.traces.of(node, gpus, self._watch.clock.steady())

    def _snapshot(self) -> Snapshot:
        if self._watch.latest is None:
            raise Refused("The cluster was not read yet.")
        return self._watch.latest

    def policy(self) -> PolicyView:
        """The orders in force and what is left of their bounds."""
        watch, now = self._watch, self._watch.clock.policy_now()
        with watch.record.lock:
            books, policy, snapshot = watch.record.books, watch.policies.current(), watch.latest
            ledger = ledger_view(books, snapshot) if snapshot else None
            limits = usage(policy, ledger) if policy and ledger else ()
            return PolicyView(
                at=watch.clock.now(),
                version=policy.version if policy else "",
                loaded_at=books.policy_loaded_at,
                error=books.policy_error,
                warnings=tuple(str(w) for w in policy.warnings) if policy else (),
                files={name: text[:12] for name, text in sorted(books.policy_files.items())},
                windows=tuple(
                    WindowView(
                        name=w.name,
                        open=is_open(w, now),
                        says=say(w, now).partition(": ")[2],
                        where=w.where,
                    )
                    for w in sorted(policy.windows.values(), key=lambda w: w.name)
                )
                if policy
                else (),
                rules=tuple(_rule(r, policy, now) for r in policy.rules) if policy else (),
                limits=tuple(
                    LimitView(id=u.id, text=u.text, used=u.used, limit=u.limit, where=u.where)
                    for u in limits
                ),
                endings=endings(policy, now) if policy else (),
                shadow={c: n for (f, c), n in sorted(books.counts.items()) if f == "shadow"},
                people=dict(policy.people) if policy else {},
            )

    def agents(self, lines: Iterable[LogLine]) -> tuple[AgentView, ...]:
        """What each agent did, from the proposals in the books."""
        with self._watch.record.lock:
            files = tuple(self._watch.record.books.files.values())
            calls = tuple(self._watch.record.books.model_calls)
            trust = self._watch.believed(self._watch.record.books, self._watch.clock.steady())
        return agents_of(files, tuple(lines), calls, trust)

    def fans(self) -> tuple[FanView, ...]:
        """Each pool's forecasts of an hour ahead against what came."""
        with self._lock:
            self._read_forecasts()
            made = {pool: tuple(kept) for pool, kept in sorted(self._made.items())}
        return tuple(FanView(pool, AHEAD_S, self._held(pool, kept)) for pool, kept in made.items())

    def _read_forecasts(self) -> None:
        journal = self._watch.record.journal
        if self._told < 0:
            self._told = max(0, journal.head[0] - NEAR_LINES)
        for event in journal.events(self._told):
            self._told = event.seq
            if event.kind is Kind.FORECAST:
                forecast = msgspec.convert(event.data["forecast"], Forecast)
                self._made[forecast.pool].append(forecast)

    def _held(self, pool: str, made: tuple[Forecast, ...]) -> tuple[Foreseen, ...]:
        came: list[tuple[float, float]] = []
        with contextlib.suppress(ClusterUnavailable):
            series = self._watch.mirror.demand_series(pool)
            came = [(t, running + waiting) for t, running, waiting in series]
        now = self._watch.clock.now()
        found = [_foreseen(forecast, came) for forecast in made]
        return tuple(f for f in found if f is not None and f.at <= now)  # what has come

    def verify(self) -> JournalCheck:
        """Read the whole journal and check its chain. Raises Refused while another does."""
        if self._verify is None:
            raise Refused("This watch cannot read its journal's file; use `watchkeeper journal "
                          "verify` on its host.")  # fmt: skip
        if not self._verifying.acquire(blocking=False):
            raise Refused("The journal is being verified already. Ask again in a moment.")
        try:
            return self._verify()
        finally:
            self._verifying.release()


def _foreseen(forecast: Forecast, came: list[tuple[float, float]]) -> Foreseen | None:
    try:
        row = forecast.values[forecast.horizons_s.index(AHEAD_S)]
        low, middle, high = (row[forecast.quantiles.index(q)] for q in (0.1, 0.5, 0.9))
    except (ValueError, IndexError):
        return None
    at = forecast.made_at + timedelta(seconds=AHEAD_S)
    moment = at.timestamp()
    near = [wanted for t, wanted in came if abs(t - moment) <= NEAR_S]
    return Foreseen(at, low, middle, high, sum(near) / len(near) if near else None)


def _rule(rule: Rule, policy: CheckedPolicy, now: datetime) -> RuleView:
    windows = [policy.windows[name] for name in rule.during if name in policy.windows]
    return RuleView(
        id=rule.id,
        effect=rule.effect.value,
        actions=tuple(sorted(rule.actions)),
        where=rule.where,
        open=not rule.during or any(is_open(w, now) for w in windows),
        during=rule.during,
        when=rule.when.text if rule.when else "",
        who=_who(rule.approvals) if rule.effect is Decision.ASK else "",
        reason=rule.reason,
        enforcement=rule.enforcement,
        shadow=rule.shadow,
        until=rule.until,
        lifted_by=tuple(e.id for e in policy.exempt.get(rule.id, ())),
    )


def _who(duty: Approvals) -> str:
    groups = " or ".join(g.removeprefix("group:") for g in duty.groups) or "anybody who may answer"
    people = "1 person" if duty.quorum == 1 else f"{duty.quorum} people"
    return f"{people} of {groups}, within {span(duty.expires_s)}"
