"""Where in the journal's file a line begins, and which lines name a thing: so that a page about one
incident reads its lines, and not the journal of a year.

In memory: eight bytes for each line, and eight for each name in it. The journal keeps it; nobody
writes it down.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from heapq import merge
from pathlib import Path

from watchkeeper.core.event import Event

_NUMBER = "Q"


class JournalIndex:
    """The lines of one journal by number, from 1, in the order in which they were written."""

    def __init__(self) -> None:
        self._begins: array[int] = array(_NUMBER)
        self._named: dict[str, array[int]] = {}
        self._end = 0

    def add(self, event: Event, size: int) -> None:
        """The next line, of `size` bytes. A part of a thing (`INC-3/gangs`) names the thing."""
        self._begins.append(self._end)
        self._end += size
        for name in {subject.partition("/")[0] for subject in event.subject}:
            self._named.setdefault(name, array(_NUMBER)).append(len(self._begins))

    def begin(self, number: int) -> int:
        """The byte that this line begins at; the end of the file where there is no such line."""
        return self._begins[number - 1] if number <= len(self._begins) else self._end

    def naming(self, names: Iterable[str]) -> dict[int, int]:
        """Number -> first byte of each line that names one of these, oldest first."""
        found = merge(*(self._named.get(name, ()) for name in set(names)))
        return {number: self.begin(number) for number in found}


def lines_at(path: Path, begins: dict[int, int]) -> Iterator[tuple[int, bytes]]:
    """The lines that begin at these bytes, with their numbers. Raises OSError."""
    with path.open("rb") as file:
        for number, begin in begins.items():
            file.seek(begin)
            yield number, file.readline()


def lines_from(path: Path, number: int, begin: int) -> Iterator[tuple[int, bytes]]:
    """This line, which begins at byte `begin`, and all that follow, with their numbers. Raises
    OSError."""
    with path.open("rb") as file:
        file.seek(begin)
        yield from enumerate(file, start=number)
