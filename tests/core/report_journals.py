"""Two kept journals, and what is told of them. `answered` and `nobody`: after who answers.

Each is a night of a twin of 48 nodes under the shipped orders, made by `make`; everything in them
is simulated. They are kept, and not played anew, so that the reports of them stay word for word
the same whatever the crew learns.
"""

from __future__ import annotations

import functools
import gzip
from pathlib import Path

import msgspec

from watchkeeper.control.books import Books
from watchkeeper.control.postmortem import postmortem
from watchkeeper.control.report import last_evening, report, zone_of
from watchkeeper.control.report_night import night_of
from watchkeeper.core.event import Event
from watchkeeper.core.report import Postmortem, Report
from watchkeeper.policy.load import load

KEPT = Path(__file__).parents[1] / "golden" / "report"
NIGHTS = {"answered": "INC-5", "nobody": "INC-7"}
"""Each journal, and the incident that is told of it."""


@functools.cache
def events(name: str) -> tuple[Event, ...]:
    lines = gzip.decompress((KEPT / f"{name}.jsonl.gz").read_bytes()).splitlines()
    return tuple(msgspec.json.decode(line, type=Event) for line in lines)


@functools.cache
def books(name: str) -> Books:
    found = Books()
    for event in events(name):
        found.apply(event)
    return found


def told(name: str) -> Report:
    """The report of a kept journal, at the moment of its last event."""
    now, held = events(name)[-1].at, books(name)
    policy = load(held.policy_files, now)
    zone = zone_of(policy)
    return report(night_of(events(name), last_evening(now, zone), now, zone), held, policy)


def after(name: str) -> Postmortem:
    """The postmortem of the incident that is told of it."""
    now = events(name)[-1].at
    zone = zone_of(load(books(name).policy_files, now))
    found = postmortem(NIGHTS[name], events(name), now=now, zone=zone)
    assert found is not None
    return found


def make(folder: Path) -> None:
    """Play both nights anew into a folder: for whoever replaces the kept ones."""
    from watchkeeper.adapters.policy_files import read_policy_dir
    from watchkeeper.app.twin_people import People
    from watchkeeper.app.twin_run import TwinRun
    from watchkeeper.health.sense import REAL
    from watchkeeper.twin.words import TwinSpec

    orders = read_policy_dir(Path(__file__).parents[2] / "policies")
    for name, seed, hours, faults, noise in (
        ("answered", 3, 12, 60.0, 3.0),
        ("nobody", 12, 10, 70.0, 4.0),
    ):
        spec = TwinSpec(
            seed=seed,
            nodes=48,
            days=hours / 24,
            gang_nodes=(16, 8),
            acceleration=faults,
            noise_level=noise,
        )
        home = folder / name
        home.mkdir(parents=True)
        TwinRun(
            spec,
            orders,
            skip=True,
            crew=None,
            people=People(spec, present=name == "answered", on_call=None),
            crash_at=None,
            sense=REAL,
            keep_lines=False,
            cluster=None,
        ).play(home)
        journal = (home / "journal" / "journal.jsonl").read_bytes()
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(journal, 9, mtime=0))


__all__ = ["KEPT", "NIGHTS", "after", "books", "events", "make", "told"]
