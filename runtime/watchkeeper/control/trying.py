"""What a changed file of orders would do: checked, tested and replayed beside those in force.

Asked by people who write orders, from the desk. It takes nothing up: only the folder is loaded."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Iterable
from datetime import timedelta

from watchkeeper.control.watch import Watch
from watchkeeper.core.errors import Malformed, PolicyError, Refused, UsageError
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.views import TriedOrders
from watchkeeper.policy.history.compare_text import as_text
from watchkeeper.policy.history.draft import FileDraft, tried

PERIOD = timedelta(days=30)
NEAR_LINES = 50_000
"""Lines of the journal that are looked through, from its end."""

MOST_REPLAYED = 300
"""Decisions that are judged again, the newest: each is judged twice, beside a watch that works."""

LONGEST = 48 * 1024
EXAMPLES = 5
_FILE = re.compile(r"[a-z0-9][a-z0-9._-]{0,80}\.yaml")


class Trying:
    """Tries one change at a time."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._busy = threading.Lock()

    def files(self) -> dict[str, str]:
        """The orders in force: file name -> text."""
        policy = self._watch.policies.current()
        return dict(policy.sources) if policy is not None else {}

    def orders(self, file: str, text: str) -> TriedOrders:
        """Hold one file's new text against the orders in force. Raises Malformed for what is no
        file of orders, and Refused where there is no policy, or another change is being tried."""
        text = text.replace("\r\n", "\n")
        if len(text) > LONGEST or not text.strip():
            raise Malformed(f"A file of orders has between 1 and {LONGEST} characters.")
        before = self._watch.policies.current()
        if before is None:
            raise Refused("No policy is in force, so there is nothing to hold a change against.")
        known = dict(before.sources)
        name = _named(file, known)
        if not self._busy.acquire(blocking=False):
            raise Refused("Another change is being tried just now. Try again in a moment.")
        try:
            return self._tried(FileDraft(name=name, text=text), known)
        finally:
            self._busy.release()

    def _tried(self, draft: FileDraft, known: dict[str, str]) -> TriedOrders:
        now, new = self._watch.clock.now(), draft.name not in known
        try:
            tests, why = dict(self._watch.policies.tests()), ""
        except (PolicyError, UsageError) as err:
            tests, why = {}, str(err)
        found = tried(known, tests, draft, self._decisions(), since=now - PERIOD, until=now)
        replay = found.found
        if replay is None:
            return TriedOrders(file=draft.name, new=new, sound=False, check=found.check)
        period = f"{PERIOD.days} days"
        said = f"this {'new file' if new else 'change'}"
        return TriedOrders(
            file=draft.name,
            new=new,
            sound=found.sound and not why,
            check=found.check,
            tests=found.tests,
            passed=found.passed,
            problems=(why, *found.problems) if why else found.problems,
            judged=replay.judged,
            replayed=replay.replayed,
            unchanged=replay.unchanged,
            widened=replay.widened,
            narrowed=replay.narrowed,
            told=as_text(
                replay, old="the orders in force", new=said, since=period, examples=EXAMPLES
            ),
            period=period,
        )

    def _decisions(self) -> Iterable[Event]:
        """The newest decisions, and what loading and metering tell with them, oldest first."""
        journal = self._watch.record.journal
        kept: deque[Event] = deque(maxlen=MOST_REPLAYED)
        others: list[Event] = []
        for event in journal.events(max(0, journal.head[0] - NEAR_LINES)):
            if event.kind is Kind.VERDICT:
                kept.append(event)
            elif event.kind in (Kind.POLICY_LOADED, Kind.METERED):
                others.append(event)
        return sorted([*others, *kept], key=lambda event: event.seq)


def _named(file: str, known: dict[str, str]) -> str:
    """The file's name as the set has it; a new one goes beside the others."""
    name = file.strip()
    if name in known:
        return name
    if not _FILE.fullmatch(name) or name.endswith("_test.yaml"):
        raise Malformed(
            "Name the file as one of the folder, such as quiet-hours.yaml: small letters, digits, "
            "dot, dash and underscore. Tests are not orders."
        )
    folder = next(iter(known), "").rpartition("/")[0]
    return f"{folder}/{name}" if folder else name
