"""A journal file to read from, checked first: a whole journal from its beginning, an export that
begins later only within itself. For those who judge the past; nothing here writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from watchkeeper.adapters.journal_file import chain_hash, read_events, verify
from watchkeeper.core.errors import JournalBroken, UsageError
from watchkeeper.core.event import GENESIS, Event


@dataclass(frozen=True, slots=True)
class Reading:
    """A journal whose lines hold together. caution: what could not be verified, or ""."""

    path: Path
    first: int
    last: int
    caution: str = ""

    def events(self) -> Iterator[Event]:
        """The events that were checked, oldest first; not those written since."""
        for event in read_events(self.path):
            if event.seq > self.last:
                return
            yield event


def checked(path: Path) -> Reading:
    """Check a journal, or an export of one, line by line.

    Raises UsageError when there is no such file, JournalBroken (with the line) when it does not
    hold. A part of a journal cannot be verified from the beginning; the Reading says so.
    """
    if not path.is_file():
        raise UsageError(f"There is no journal file at {path}.")
    first = next(read_events(path), None)
    if first is None:
        return Reading(path, 0, 0, "The journal holds no events.")
    if first.seq == 1 and first.prev == GENESIS:
        found = verify(path)
        if found.problem:
            raise JournalBroken(f"The journal {path} does not hold: {found.problem}.")
        return Reading(path, 1, found.head_seq)
    last = _check_part(path, first)
    caution = (
        f"{path.name} begins with event {first.seq}: its lines hold together, but they could not "
        "be verified from the beginning."
    )
    return Reading(path, first.seq, last, caution)


def _check_part(path: Path, first: Event) -> int:
    """Each line follows the one before it and is as it was written. The last sequence number."""
    seq, prev = first.seq - 1, first.prev
    for number, event in enumerate(read_events(path), start=1):
        where = f"line {number} (event {event.seq})"
        if event.seq != seq + 1 or event.prev != prev:
            raise JournalBroken(
                f"The journal {path} does not hold: {where} does not follow the line before it."
            )
        if chain_hash(event) != event.hash:
            raise JournalBroken(
                f"The journal {path} does not hold: {where} was changed after it was written."
            )
        seq, prev = event.seq, event.hash
    return seq
