"""Pages and tickets: sent first, recorded after, so that they work when nothing else does."""

from __future__ import annotations

import contextlib
from typing import Any

from watchkeeper.control.record import Record
from watchkeeper.core.errors import JournalBroken
from watchkeeper.core.event import Kind
from watchkeeper.core.ports import Notifier


class Teller:
    """Wakes people and leaves work for them. Does not pass the gate; dedup is the notifier's."""

    def __init__(self, notifier: Notifier, record: Record) -> None:
        self._notifier = notifier
        self._record = record

    def page(
        self, key: str, title: str, body: str = "", subject: tuple[str, ...] = (), **more: Any
    ) -> bool:
        """Wake a person, once for each key. more: what else its line in the record says."""
        sent = self._notifier.page(key, title, body)
        if sent:
            self._write(Kind.PAGED, key, title, body, subject, more)
        return sent

    def ticket(
        self, key: str, title: str, body: str = "", subject: tuple[str, ...] = (), **more: Any
    ) -> bool:
        """Leave work for a person, once for each key."""
        sent = self._notifier.ticket(key, title, body)
        if sent:
            self._write(Kind.TICKETED, key, title, body, subject, more)
        return sent

    def settle(
        self, key: str, title: str, body: str = "", subject: tuple[str, ...] = (), **more: Any
    ) -> None:
        """Say that a ticket needs nobody any more; in the record in any case."""
        self._notifier.settle(key, title, body)
        self._write(Kind.SETTLED, key, title, body, subject, more)

    def _write(
        self,
        kind: Kind,
        key: str,
        title: str,
        body: str,
        subject: tuple[str, ...],
        more: dict[str, Any],
    ) -> None:
        with contextlib.suppress(JournalBroken):
            self._record.write(kind, subject, key=key, title=title, body=body, durable=True, **more)
