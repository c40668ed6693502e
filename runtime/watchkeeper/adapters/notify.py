"""Pages and tickets: a log file, and a webhook where one is given. Asked by the watch.

Works when stopped, without Redis and without a journal: it depends on nothing of the house but a
clock. Never blocks a turn; a log that cannot be written falls back to stderr.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
import urllib.request
from collections import OrderedDict, deque
from pathlib import Path
from urllib.parse import urlsplit

from watchkeeper.core.clock import Clock
from watchkeeper.core.errors import UsageError
from watchkeeper.core.tame import harmless_json, tame, tame_lines

PAGES_PER_HOUR = 30
TICKETS_PER_HOUR = 130
WEBHOOK_TIMEOUT_S = 3.0
_HOUR_S = 3600.0
_REMEMBER = 10_000
_TAIL_BYTES = 1024 * 1024
_TEXT = 4000


class Notify:
    """Meets core.ports.Notifier. Keys sent before a restart are known from the log."""

    def __init__(
        self,
        log_path: Path,
        webhook: str | None,
        clock: Clock,
        *,
        pages_per_hour: int = PAGES_PER_HOUR,
    ) -> None:
        """webhook gets each notice as JSON by POST. Raises UsageError when it is no http URL."""
        if webhook is not None and urlsplit(webhook).scheme not in ("http", "https"):
            raise UsageError(f"{webhook!r} is no webhook: write http://... or https://...")
        self._path = log_path
        self._webhook = webhook
        self._clock = clock
        self._lock = threading.Lock()
        self._limits = {"page": pages_per_hour, "ticket": TICKETS_PER_HOUR}
        self._sent_at: dict[str, deque[float]] = {"page": deque(), "ticket": deque()}
        self._holding = {"page": False, "ticket": False}
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._outbox: queue.Queue[dict[str, str] | None] = queue.Queue(maxsize=1000)
        self._poster: threading.Thread | None = None
        self._remember_log()

    def page(self, key: str, title: str, body: str) -> bool:
        return self._notify("page", key, title, body)

    def ticket(self, key: str, title: str, body: str) -> bool:
        return self._notify("ticket", key, title, body)

    def settle(self, key: str, title: str, body: str) -> bool:
        """Not limited: there are no more of them than tickets."""
        with self._lock:
            if ("settled", key) in self._known:
                return False
            self._know("settled", key)
        self._send("settled", key, title, body)
        return True

    def close(self, timeout_s: float = WEBHOOK_TIMEOUT_S + 1.0) -> None:
        """Let the webhook finish what is waiting, for at most this long."""
        if self._poster is not None and self._poster.is_alive():
            with contextlib.suppress(queue.Full):
                self._outbox.put_nowait(None)
            self._poster.join(timeout_s)

    def _notify(self, kind: str, key: str, title: str, body: str) -> bool:
        with self._lock:
            if (kind, key) in self._known:
                return False
            now, sent = self._clock.steady(), self._sent_at[kind]
            while sent and now - sent[0] >= _HOUR_S:
                sent.popleft()
            if len(sent) >= self._limits[kind]:
                self._tell_held_back(kind)
                return False  # not remembered: it may go out when there is room again
            sent.append(now)
            self._holding[kind] = False
            self._know(kind, key)
        self._send(kind, key, title, body)
        return True

    def _tell_held_back(self, kind: str) -> None:
        """Once each time the limit is reached."""
        if self._holding[kind]:
            return
        self._holding[kind] = True
        limit = self._limits[kind]
        self._send(
            kind,
            f"held-back-{kind}-{self._clock.now().isoformat()}",
            f"More {kind}s were held back",
            f"{limit} {kind}s went out within an hour, which is the limit. Look at the watch "
            f"itself: `watchkeeper status`.",
        )

    def _send(self, kind: str, key: str, title: str, body: str) -> None:
        notice = {
            "at": self._clock.now().isoformat(),
            "kind": kind,
            "key": key,
            "title": tame(title, _TEXT),
            "body": tame_lines(body, _TEXT),
        }
        self._log(notice)
        if self._webhook is None:
            return
        if self._poster is None:
            self._poster = threading.Thread(target=self._post_all, name="webhook", daemon=True)
            self._poster.start()
        try:
            self._outbox.put_nowait(notice)
        except queue.Full:
            self._log({**notice, "kind": "webhook.failed", "body": "The webhook is too slow."})

    def _log(self, notice: dict[str, str]) -> None:
        line = harmless_json(json.dumps(notice, ensure_ascii=False)) + "\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            fd = os.open(self._path, flags, 0o600)
            try:
                data = line.encode(errors="replace")
                if os.write(fd, data) != len(data):
                    raise OSError("the disk took only a part of the line")
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as err:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(f"watchkeeper: {self._path} cannot be written ({err}): {line}")
                sys.stderr.flush()

    def _post_all(self) -> None:
        assert self._webhook is not None
        while (notice := self._outbox.get()) is not None:
            request = urllib.request.Request(  # noqa: S310  (http and https only, see __init__)
                self._webhook,
                data=json.dumps(notice).encode(),
                headers={"Content-Type": "application/json", "User-Agent": "watchkeeper"},
                method="POST",
            )
            try:
                with urllib.request.urlopen(request, timeout=WEBHOOK_TIMEOUT_S) as answer:  # noqa: S310
                    answer.read(1024)
            except (OSError, ValueError) as err:
                self._log({**notice, "kind": "webhook.failed", "body": f"{err}"[:_TEXT]})

    def _know(self, kind: str, key: str) -> None:
        self._known[(kind, key)] = None
        if len(self._known) > _REMEMBER:
            self._known.popitem(last=False)

    def _remember_log(self) -> None:
        """Keys of the newest notices on file: a restart wakes nobody twice."""
        try:
            with self._path.open("rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - _TAIL_BYTES))
                lines = log.read().split(b"\n")
        except OSError:
            return
        for line in lines:
            try:
                notice = json.loads(line)
                if notice["kind"] in (*self._limits, "settled"):
                    self._know(notice["kind"], str(notice["key"]))
            except (ValueError, KeyError, TypeError):
                continue  # torn, or not ours
