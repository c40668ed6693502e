"""The running watch's side of the report: hands it journal, books and demand, and keeps what people
say of it as eval cases. The desk asks; nothing here acts on the cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from watchkeeper.control.postmortem import postmortem
from watchkeeper.control.report import last_evening, report, zone_of
from watchkeeper.control.report_night import Night, night_of
from watchkeeper.control.story import events_of
from watchkeeper.control.watch import Watch
from watchkeeper.core.desk import Person
from watchkeeper.core.errors import ClusterUnavailable, Refused, UsageError
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.ports import CaseStore
from watchkeeper.core.report import EvalCase, Item, Judgement, Postmortem, Report
from watchkeeper.core.word import digest

LONGEST = timedelta(days=31)
NEAR = 10_000
"""Lines of the journal that are tried first: they are in memory, and nearly always enough."""
MOST_NOTE = 500
OPEN_FOR = timedelta(days=1)
"""So long a page with a report may have been open when somebody judges it."""


def check_span(since: datetime, now: datetime) -> datetime:
    """Refuse what no report can begin with. Raises UsageError."""
    if since >= now:
        raise UsageError("The report must begin before now.")
    if now - since > LONGEST:
        raise UsageError(f"The report reaches back {LONGEST.days} days at most.")
    return since


def begin_of(since: datetime | timedelta | None, now: datetime, zone: ZoneInfo) -> datetime:
    """The moment that a report begins with. Raises UsageError."""
    if isinstance(since, timedelta):
        return now - min(since, LONGEST + timedelta(days=1))  # which `check_span` then refuses
    return since or last_evening(now, zone)


class Reporter:
    """Reports over one running watch."""

    def __init__(self, watch: Watch, cases: CaseStore | None) -> None:
        self._watch = watch
        self._cases = cases

    def report(self, since: datetime | timedelta | None = None) -> Report:
        """See `core.desk.Desk.report`."""
        now, zone = self._watch.clock.now(), zone_of(self._watch.policies.current())
        return self._report(begin_of(since, now, zone), now)

    def _report(self, since: datetime, until: datetime) -> Report:
        watch = self._watch
        policy = watch.policies.current()
        check_span(since, until)
        night = night_of(self._events(since), since, until, zone_of(policy))
        demand = self._demand(night)  # asks Redis: not under the lock that the turn needs
        with watch.record.lock:
            return report(
                night,
                watch.record.books,
                policy,
                steady=watch.clock.steady(),
                demand=demand,
                cluster=watch.latest.state.cluster if watch.latest else "",
                world=watch.world.value,
            )

    def _events(self, since: datetime) -> Iterable[Event]:
        """The journal from a day before `since` on, or all of it."""
        journal = self._watch.record.journal
        near = list(journal.events(max(0, journal.head[0] - NEAR)))
        reaches = near and (near[0].seq == 1 or near[0].at < since - timedelta(days=1))
        return near if reaches else journal.events()

    def _demand(self, night: Night) -> dict[str, list[tuple[float, float, float]]] | None:
        """What came, of all that was foreseen; None where Redis does not answer."""
        with contextlib.suppress(ClusterUnavailable):
            return {pool: list(self._watch.mirror.demand_series(pool)) for pool in night.forecasts}
        return None

    def postmortem(self, incident: str) -> Postmortem | None:
        """See `core.desk.Desk.postmortem`."""
        watch = self._watch
        return postmortem(
            incident,
            events_of(watch.record.journal, incident),
            now=watch.clock.now(),
            zone=zone_of(watch.policies.current()),
            cluster=watch.latest.state.cluster if watch.latest else "",
            world=watch.world.value,
        )

    def judge(
        self,
        key: str,
        shown: str,
        person: Person,
        *,
        useful: bool,
        since: datetime,
        until: datetime,
        note: str,
    ) -> Judgement:
        """See `core.desk.Desk.judge`. shown: digest of the item as it was shown."""
        now = self._watch.clock.now()
        if self._cases is None:
            raise Refused("This watch keeps no eval cases.")
        if not now - OPEN_FOR <= until <= now:
            raise Refused("This page is too old. Load the report again, and judge that.")
        told = self._report(since, until)
        item = told.item(key)
        if item is None or digest(item) != shown:
            raise Refused("The report has changed since you opened it. Read it again.")
        judgement = Judgement(
            key=key,
            digest=shown,
            useful=useful,
            person=person.name,
            at=now,
            note=note.strip()[:MOST_NOTE],
        )
        self._cases.add(case_of(judgement, item, told, self._events(since)))
        return judgement

    def judged(self, person: Person) -> tuple[Judgement, ...]:
        return self._cases.judged(person.name) if self._cases else ()


def case_of(judgement: Judgement, item: Item, told: Report, events: Iterable[Event]) -> EvalCase:
    """The case that a judgement makes, with the newest decision that the item rests on."""
    data: dict[str, Any] = {}
    decision = None
    for event in events:
        if event.kind is Kind.VERDICT and _rests_on(item, event):
            decision, data = event.seq, event.data
    return EvalCase(
        judgement=judgement,
        item=item,
        cluster=told.cluster,
        world=told.world,
        since=told.since,
        until=told.until,
        policy_version=told.policy_version,
        journal_head=told.head,
        decision=decision,
        verdict=data.get("verdict"),
        input=data.get("input"),
    )


def _rests_on(item: Item, verdict: Event) -> bool:
    if item.proposal or item.incident:
        return (item.proposal or item.incident) in verdict.subject
    return verdict.seq in item.seqs
