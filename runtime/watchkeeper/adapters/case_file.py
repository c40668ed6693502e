"""Eval cases that people made by judging what a report said: a file, one JSON object a line.

The only place where they are written. A line is added and made durable before the person is told
so; what is there is never changed. The newest line of a person on an item is what they say.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import msgspec

from watchkeeper.core.errors import JournalBroken, Refused
from watchkeeper.core.report import EvalCase, Judgement
from watchkeeper.core.word import canonical

MOST_BYTES = 64 * 1024 * 1024
"""A file that has grown so large takes no more: somebody should look at it first."""
MOST_LINE = 256 * 1024


class _Head(msgspec.Struct, frozen=True):
    """The part of a line that is remembered; the rest is for whoever runs the cases."""

    judgement: Judgement


_head = msgspec.json.Decoder(_Head).decode


class CaseFile:
    """Meets `core.ports.CaseStore`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._newest: dict[tuple[str, str, str], Judgement] = {}
        self._torn = False
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
            self._torn = not line.endswith(b"\n")  # a crash cut a write short
            try:
                self._remember(_head(line).judgement)
            except msgspec.MsgspecError:
                continue

    def add(self, case: EvalCase) -> bool:
        """Add one case, durably. False when this person had said just the same of this item as
        their last word. Raises Refused when it is too large, JournalBroken when the disk fails."""
        with self._lock:
            mine = self._newest.get(_key(case.judgement))
            if mine is not None and _said(mine) == _said(case.judgement):
                return False
            self._write(canonical(case) + b"\n")
            self._remember(case.judgement)
            return True

    def judged(self, person: str) -> tuple[Judgement, ...]:
        """The newest word of this person on each item, as it was shown."""
        with self._lock:
            return tuple(j for j in self._newest.values() if j.person == person)

    def _write(self, line: bytes) -> None:
        if len(line) > MOST_LINE:
            raise Refused(f"This case has {len(line)} bytes; {MOST_LINE} at most. Nothing is kept.")
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                before = os.fstat(fd).st_size
                if before > MOST_BYTES:
                    raise Refused(f"{self._path} is full. Move it aside, and judge again.")
                data = b"\n" + line if self._torn else line
                if os.write(fd, data) != len(data):
                    os.ftruncate(fd, before)
                    raise JournalBroken(f"{self._path}: no space is left. Nothing was kept.")
                os.fsync(fd)
                self._torn = False
            finally:
                os.close(fd)
        except OSError as err:
            raise JournalBroken(
                f"{self._path} cannot be written: {err.strerror}. Nothing was kept."
            ) from err

    def _remember(self, judgement: Judgement) -> None:
        self._newest[_key(judgement)] = judgement


def _key(judgement: Judgement) -> tuple[str, str, str]:
    return judgement.person, judgement.key, judgement.digest


def _said(judgement: Judgement) -> tuple[bool, str]:
    return judgement.useful, judgement.note
