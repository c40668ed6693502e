"""One door to the record: append to the journal and fold into the books, in one breath."""

from __future__ import annotations

import threading
from typing import Any

from watchkeeper.control.books import Books
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.ports import JournalStore


class Record:
    """The journal and its fold, kept in step under one lock.

    The turn writes from its thread and doors answer from theirs; whoever reads the books to
    decide what to write holds `lock` over both.
    """

    def __init__(self, journal: JournalStore) -> None:
        self.journal = journal
        self.books = Books()
        self.lock = threading.RLock()
        for event in journal.events():
            self.books.apply(event)

    def write(
        self,
        kind: Kind,
        subject: tuple[str, ...] = (),
        *,
        durable: bool = False,
        **data: Any,
    ) -> Event:
        """Append one event and fold it in. Raises JournalBroken; then nothing has changed."""
        with self.lock:
            event = self.journal.append(kind, subject, data, durable=durable)
            self.books.apply(event)
            return event
