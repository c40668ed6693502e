"""The morning report: what the watch saw, did and did not do, and why, from its journal.

Pure: the same events, books, policy and moment give the same report. Asked by the desk for the
page, and by `watchkeeper report`.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from watchkeeper.control.books import Books
from watchkeeper.control.report_bounds import Series, endings, limits, missed
from watchkeeper.control.report_done import Deed, deeds, did
from watchkeeper.control.report_night import Night
from watchkeeper.control.report_seen import marks, saw, waits
from watchkeeper.control.report_undone import did_not
from watchkeeper.control.report_unsure import unsure
from watchkeeper.control.report_words import count, first_up
from watchkeeper.core.report import Item, Report, Section
from watchkeeper.core.verdict import Answer
from watchkeeper.policy.model import CheckedPolicy

MOST_ITEMS = 40
"""Of one section; the journal has the rest, and the section says how many that are."""
EVENING = time(18, 0)
"""The report begins on the evening before, unless told."""
NO_ZONE = "UTC"


def report(
    night: Night,
    books: Books,
    policy: CheckedPolicy | None,
    *,
    steady: float | None = None,
    demand: Series | None = None,
    watched: bool = True,
    cluster: str = "",
    world: str = "",
) -> Report:
    """The report of a night (see `night_of`), whose `until` is now.

    books: the fold of the whole journal up to now. policy: the one in force, or None where it is
    not known. steady: now on the ledger's clock; None reckons it from the last event. demand:
    what demand came, or None where that is not known. watched: a watch runs now. cluster and
    world: where the journal does not say.
    """
    if steady is None:
        away = (night.until - night.last_at).total_seconds() if night.last_at else 0.0
        steady = night.last_steady + max(0.0, away)
    found = deeds(night, books)
    known = next((i.world.value for i in reversed(books.incidents.values())), "")
    world = night.world or world or known
    return Report(
        cluster=night.cluster or cluster,
        world=world,
        simulated=_simulated(night, world),
        since=night.since,
        until=night.until,
        zone=night.zone.key,
        headline=_headline(night, books, found, watched=watched),
        figures=_figures(night, books, found),
        sections=_sections(night, books, found, demand, watched=watched),
        marks=marks(night, books),
        limits=limits(policy, books, steady) if policy else None,
        endings=endings(policy, night.until) if policy else None,
        policy_version=books.policy_version,
        first_seq=night.first_seq,
        last_seq=night.last_seq,
        head=night.head,
    )


def _sections(
    night: Night, books: Books, found: list[Deed], demand: Series | None, *, watched: bool
) -> tuple[Section, ...]:
    told = (
        ("waits", "Waits for you", "Nothing waits for you.", waits(night, books)),
        ("did", "What it did", "It did nothing.", did(night, books)),
        (
            "did_not",
            "What it did not do, and why",
            "Nothing was refused, and nothing lapsed.",
            did_not(night, books),
        ),
        ("saw", "What it saw", "No incident, and nothing else.", saw(night, books)),
        (
            "missed",
            "How its forecasts held",
            "No forecast was made in this time.",
            missed(night, demand),
        ),
        (
            "unsure",
            "What it is unsure of",
            "Nothing that the record tells.",
            unsure(night, books, found, watched=watched),
        ),
    )
    return tuple(_section(*one) for one in told)


def zone_of(policy: CheckedPolicy | None) -> ZoneInfo:
    """The zone that most windows of the policy are written in; UTC without any."""
    zones = [w.zone.key for w in policy.windows.values()] if policy else []
    best = max(sorted(set(zones)), key=zones.count, default=NO_ZONE)
    return ZoneInfo(best)


def last_evening(now: datetime, zone: ZoneInfo) -> datetime:
    """Yesterday at 18:00 in the zone: where the report begins unless told."""
    yesterday = now.astimezone(zone).date() - timedelta(days=1)
    return datetime.combine(yesterday, EVENING, zone).astimezone(now.tzinfo)


def _simulated(night: Night, world: str) -> bool:
    """Anything but a real cluster whose every signal was real; unknown counts as simulated."""
    return world != "real" or any(
        s.simulated for incident in night.incidents.values() for s in incident.signals
    )


_WORST_FIRST = {"bad": 0, "you": 1, "act": 2}


def _section(ident: str, title: str, empty: str, items: list[Item]) -> Section:
    """Where not all find room, what went well is left out first; the order stays."""
    if len(items) > MOST_ITEMS:
        ranked = sorted(range(len(items)), key=lambda i: _WORST_FIRST.get(items[i].tone, 3))
        kept = sorted(ranked[:MOST_ITEMS])
        left_out, items = len(items) - MOST_ITEMS, [items[i] for i in kept]
    else:
        left_out = 0
    return Section(
        id=ident,
        title=title,
        empty=empty,
        items=tuple(items),
        left_out=left_out,
    )


def _headline(night: Night, books: Books, found: list[Deed], *, watched: bool) -> tuple[str, ...]:
    """How it was, the worst first."""
    said = []
    if books.orders.stopped:
        said.append(f"The watch is stopped, by {books.orders.stopped_by}.")
    elif books.halted:
        said.append("The watch has halted itself and needs a person.")
    elif not watched:
        said.append("No watch runs now.")
    fresh = [i for ident in night.opened if (i := night.incident(ident, books)) is not None]
    ends = [i.state.value for i in fresh]
    resolved, handed = ends.count("resolved"), ends.count("escalated")
    if not fresh:
        said.append("Nothing fell ill.")
    else:
        parts = [f"{resolved} resolved"] if resolved else []
        parts += [f"{handed} handed to a person"] if handed else []
        parts += [f"{len(ends) - resolved - handed} open"] if len(ends) > resolved + handed else []
        said.append(f"{count(len(fresh), 'incident')}: {', '.join(parts)}.")
    badly = sum(d.went_badly for d in found)
    if found:
        well = "none of them went wrong" if not badly else f"{badly} of them went wrong"
        said.append(f"{count(len(found), 'action')}, {well}.")
    waiting = len([f for f in books.waiting() if f.question is not None])
    said.append(
        f"{first_up(count(waiting, 'question'))} {'waits' if waiting == 1 else 'wait'} for you."
        if waiting
        else "No question waits."
    )
    return tuple(said)


def _figures(night: Night, books: Books, found: list[Deed]) -> tuple[tuple[str, str], ...]:
    yes = sum(a.answer is Answer.APPROVE for _, a in night.answers)
    pages = sum(t.page for t in night.told)
    known = [night.known_impact(d.proposal.id, books) for d in found]
    expected = sum(impact.gpu_hours for impact in known if impact is not None)
    least = "at least " if None in known else ""  # reckoned before all that is held
    return (
        ("Incidents", f"{len(night.opened):,}"),
        ("Actions", f"{len(found):,}"),
        ("Questions", f"{len(night.asked):,}"),
        ("Approved", f"{yes:,}"),
        ("Pages", f"{pages:,}"),
        ("Expected cost", f"{least}{expected:,.1f} GPU-h"),
    )
