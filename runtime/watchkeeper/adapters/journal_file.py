"""The journal as a file: append-only, hash-chained, one writer, durable before any effect.

Layout of the directory: `journal.jsonl` (one event a line), `journal.lock` (held by the one
writer; it also elects the one executor on a host), `journal.head` (sequence and hash of the last
durable line, so that a cut tail is noticed), `journal.torn-*` (half-written tails, set aside).

A line that could not be written, or not be made durable, is taken back: what `append` raised for
is not in the file, and the watch goes on by itself when the disk does.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from watchkeeper.adapters.journal_index import JournalIndex, lines_at, lines_from
from watchkeeper.core.clock import Clock
from watchkeeper.core.errors import AlreadyRunning, JournalBroken
from watchkeeper.core.event import GENESIS, Event, Kind
from watchkeeper.core.word import canonical

RECENT = 20_000
RECENT_BYTES = 32 * 2**20
"""Events kept in memory for readers, and the bytes of their lines: a verdict over a large fleet is
told with half a megabyte of what was done before. Older ones are read from the file."""

_decode = msgspec.json.Decoder(Event).decode
_UNREADABLE = (ValueError, RecursionError)
"""What a line that is no event may raise: msgspec's own errors, bad UTF-8, absurd nesting."""


def chain_hash(event: Event) -> str:
    """SHA-256 of the canonical line without its own hash."""
    return hashlib.sha256(canonical(msgspec.structs.replace(event, hash=""))).hexdigest()


def _sealed(event: Event) -> tuple[Event, bytes]:
    """The event with its hash, and its line. A verdict's line is large: it is written once, and the
    hash put in its place, which all keys that sort after `data` tell."""
    body = canonical(event)
    digest = hashlib.sha256(body).hexdigest()
    tail = canonical(msgspec.structs.replace(event, data={})).partition(_NO_DATA)[2]
    line = body[: -len(tail)] + tail.replace(_NO_HASH, b'"hash":"%s"' % digest.encode(), 1) + b"\n"
    return msgspec.structs.replace(event, hash=digest), line


_NO_DATA, _NO_HASH = b'"data":{}', b'"hash":""'


@dataclass(frozen=True, slots=True)
class Verified:
    """What a check of a journal file found. `problem` is "" when every line holds."""

    events: int
    head_seq: int
    head_hash: str
    problem: str = ""
    torn_bytes: int = 0


def _forget(_event: Event, _size: int) -> None:
    """For who only wants to know whether a journal holds."""


def verify(
    path: Path,
    expected_head: tuple[int, str] | None = None,
    keep: Callable[[Event, int], None] = _forget,
) -> Verified:
    """Check every line of a journal: form, sequence, chain, and that no tail is missing.

    `expected_head` is a head seen elsewhere (Redis, a page, a report): the journal must contain
    it. keep: is handed each event that held, with the bytes of its line, as it is read. Reads
    only; safe beside a running watch.
    """
    last = (0, GENESIS)
    seen: dict[int, str] = {}
    wanted = {h[0]: h[1] for h in (_head_file(path), expected_head) if h and h[0] > 0}
    count = 0
    for number, line in _lines(path):
        if not line.endswith(b"\n"):
            return _checked(count, last, wanted, seen, torn=len(line))
        problem, event = _check_line(number, line, last)
        if event is None:
            return Verified(count, *last, problem=problem)
        last = (event.seq, event.hash)
        if event.seq in wanted:
            seen[event.seq] = event.hash
        keep(event, len(line))
        count += 1
    return _checked(count, last, wanted, seen)


def _checked(
    count: int, last: tuple[int, str], wanted: dict[int, str], seen: dict[int, str], torn: int = 0
) -> Verified:
    for seq, digest in wanted.items():
        if seq > last[0]:
            return Verified(
                count,
                *last,
                problem=f"the tail is missing: it ends at event {last[0]}, and event {seq} "
                "was written before",
                torn_bytes=torn,
            )
        if seen.get(seq) != digest:
            return Verified(
                count,
                *last,
                problem=f"event {seq} is not the one that was written",
                torn_bytes=torn,
            )
    return Verified(count, *last, torn_bytes=torn)


def _check_line(number: int, line: bytes, last: tuple[int, str]) -> tuple[str, Event | None]:
    try:
        event = _decode(line)
    except _UNREADABLE as err:
        return f"line {number} is not an event ({err})", None
    if event.seq != last[0] + 1:
        return f"line {number} has sequence {event.seq} where {last[0] + 1} was due", None
    if event.prev != last[1]:
        return f"line {number} (event {event.seq}) does not follow the line before it", None
    # The bytes too: "1E5" for "1e5" reads the same, and is still not what was written.
    if chain_hash(event) != event.hash or canonical(event) + b"\n" != line:
        return f"line {number} (event {event.seq}) was changed after it was written", None
    return "", event


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            yield from enumerate(file, start=1)
    except FileNotFoundError:
        return
    except OSError as err:
        raise _unreadable(path, err) from err


def _unreadable(path: Path, err: OSError) -> JournalBroken:
    return JournalBroken(f"The journal {path} cannot be read: {err.strerror}.")


def _head_file(path: Path) -> tuple[int, str] | None:
    try:
        seq, _, digest = path.with_suffix(".head").read_text().strip().partition(" ")
        return int(seq), digest
    except (FileNotFoundError, ValueError):
        return None


def read_events(path: Path, after: int = 0) -> Iterator[Event]:
    """Events of a journal file with seq > after; stops at a torn tail. Raises JournalBroken."""
    return (event for event in _decoded(path, _lines(path)) if event.seq > after)


def _decoded(path: Path, lines: Iterable[tuple[int, bytes]]) -> Iterator[Event]:
    """These numbered lines as events, until one has no end."""
    for number, line in lines:
        if not line.endswith(b"\n"):
            return
        try:
            yield _decode(line)
        except _UNREADABLE as err:
            raise JournalBroken(f"{path}: line {number} is not an event: {err}") from err


class _Recent:
    """The newest events, for readers: few, and small together. The very newest is always there."""

    def __init__(self) -> None:
        self._held: deque[tuple[Event, int]] = deque()
        self._bytes = 0

    def add(self, event: Event, size: int) -> None:
        """size: of its line, in bytes."""
        self._held.append((event, size))
        self._bytes += size
        while len(self._held) > 1 and (len(self._held) > RECENT or self._bytes > RECENT_BYTES):
            self._bytes -= self._held.popleft()[1]

    def events(self) -> list[Event]:
        """Oldest first."""
        return [event for event, _ in self._held]


class FileJournal:
    """The single writer. Meets `core.ports.JournalStore`."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        """Open, lock and verify. Raises AlreadyRunning, JournalBroken."""
        self.path = directory / "journal.jsonl"
        self._clock = clock
        self._lock = threading.RLock()
        self._news = threading.Condition(self._lock)
        self._listeners: list[Callable[[Event], None]] = []
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_file = (directory / "journal.lock").open("a+")
        except OSError as err:
            raise JournalBroken(
                f"The journal in {directory} cannot be opened: {err.strerror}. "
                "Make the directory writable or set WATCHKEEPER_HOME."
            ) from err
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            raise AlreadyRunning(
                f"Another watch writes the journal in {directory}. Stop it, or set "
                "WATCHKEEPER_HOME to another directory."
            ) from err
        self._recent, self._index = _Recent(), JournalIndex()
        found = verify(self.path, keep=self._keep)
        if found.problem:
            raise JournalBroken(
                f"The journal {self.path} does not hold: {found.problem}. Nothing acts on a broken "
                "record. Keep the file, move it aside, and see docs/operate.md, 'A broken journal'."
            )
        self.set_aside = self._set_torn_tail_aside(found.torn_bytes)
        self._head = (found.head_seq, found.head_hash)
        try:
            self._file = io.FileIO(self.path, "a")
            self._head_fd = os.open(self.path.with_suffix(".head"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as err:
            raise JournalBroken(f"The journal {self.path} cannot be opened: {err}.") from err
        self._size = os.fstat(self._file.fileno()).st_size

    def _keep(self, event: Event, size: int) -> None:
        self._recent.add(event, size)
        self._index.add(event, size)

    def _set_torn_tail_aside(self, torn: int) -> str:
        """A line without its end is a write that a crash cut short: nothing acted on it."""
        if not torn:
            return ""
        data = self.path.read_bytes()
        aside = self.path.with_name(f"journal.torn-{len(data)}")
        aside.write_bytes(data[-torn:])
        with self.path.open("r+b") as file:
            file.truncate(len(data) - torn)
            os.fsync(file.fileno())
        return f"{torn} bytes of an unfinished line were set aside in {aside.name}"

    @property
    def head(self) -> tuple[int, str]:
        """Sequence and hash of the last line."""
        return self._head

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with each event, in order, right after it was appended."""
        self._listeners.append(listener)

    def append(
        self, kind: Kind, subject: tuple[str, ...], data: dict[str, Any], *, durable: bool = False
    ) -> Event:
        """Add one line. Raises JournalBroken; then the line is not part of the journal."""
        with self._lock:
            seq, prev = self._head
            event = Event(
                seq=seq + 1,
                at=self._clock.now(),
                policy_at=self._clock.policy_now(),
                steady=self._clock.steady(),
                kind=kind,
                subject=tuple(s for s in subject if s),
                data=data,
                prev=prev,
            )
            # The hash is taken of what a reader will decode, so floats and enums agree.
            event = _decode(canonical(event))
            event, line = _sealed(event)
            before = self._size
            self._write(line)
            if durable:
                self._make_durable(before, (event.seq, event.hash))
            self._head = (event.seq, event.hash)
            self._keep(event, len(line))
            for listener in self._listeners:
                listener(event)
            self._news.notify_all()
            return event

    def _write(self, line: bytes) -> None:
        try:
            self._take_back(self._size)  # what an earlier failure may have left behind
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # what a short write means
        except OSError as err:
            with contextlib.suppress(OSError):
                self._take_back(self._size)
            raise self._unwritable(err) from err
        self._size += len(line)

    def _make_durable(self, before: int, head: tuple[int, str]) -> None:
        """fsync, then note the head. When that fails, the line that began at `before` goes."""
        try:
            self._sync(head)
        except OSError as err:
            self._size = before
            with contextlib.suppress(OSError):
                self._take_back(before)
            raise self._unwritable(err) from err

    def _take_back(self, size: int) -> None:
        if os.fstat(self._file.fileno()).st_size > size:
            os.ftruncate(self._file.fileno(), size)

    def _unwritable(self, err: OSError) -> JournalBroken:
        return JournalBroken(
            f"The journal {self.path} cannot be written: {err.strerror or err}. Nothing acts "
            "until it can. Free space on its disk; the watch goes on by itself."
        )

    def _sync(self, head: tuple[int, str]) -> None:
        os.fsync(self._file.fileno())
        # In place and always as long: a full disk cannot empty it, as writing anew would.
        os.pwrite(self._head_fd, f"{head[0]:020d} {head[1]}\n".encode(), 0)

    def sync(self) -> None:
        """Make every line so far durable. Raises JournalBroken."""
        with self._lock:
            try:
                self._sync(self._head)
            except OSError as err:
                raise self._unwritable(err) from err

    def events(self, after: int = 0) -> Iterator[Event]:
        """Events with seq > after, oldest first; from memory when they are recent."""
        with self._lock:
            recent = self._recent.events()
            begin = self._index.begin(after + 1)
        if recent and recent[0].seq <= after + 1:
            yield from (e for e in recent if e.seq > after)
        else:
            # Our own file was verified: its lines are numbered as its events are.
            yield from self._read(lines_from(self.path, after + 1, begin))

    def about(self, names: Collection[str]) -> Iterator[Event]:
        """Events that name one of these things or a part of one (`INC-3/gangs`), oldest first.
        Reads their lines alone."""
        with self._lock:
            begins = self._index.naming(names)
        yield from self._read(lines_at(self.path, begins))

    def _read(self, lines: Iterable[tuple[int, bytes]]) -> Iterator[Event]:
        try:
            yield from _decoded(self.path, lines)
        except OSError as err:
            raise _unreadable(self.path, err) from err

    def wait(self, after: int, timeout_s: float) -> int:
        """Block until there is a line later than `after`, or the time is up."""
        with self._lock:
            self._news.wait_for(lambda: self._head[0] > after, timeout_s)
            return self._head[0]

    def close(self) -> None:
        """Make all durable and let another watch take over."""
        with contextlib.suppress(JournalBroken):
            self.sync()
        self._file.close()
        os.close(self._head_fd)
        self._lock_file.close()
