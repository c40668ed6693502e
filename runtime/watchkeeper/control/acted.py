"""The effects of the past as columns, and by what they touch, kept from one verdict to the next.

Asked by `past` for each verdict. A month of a large fleet leaves thousands of effects, and hardly
one of them changes between two verdicts: what has ended stays as it is, so only those under way
and those begun since are read again.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable
from itertools import takewhile
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from watchkeeper.control.life import State
from watchkeeper.control.papers import File
from watchkeeper.core.action import kind_of, node_of, targets_of
from watchkeeper.core.ledger import PastEffect

if TYPE_CHECKING:
    from watchkeeper.control.books import Books

MOST_VOID = 1000
"""So many void rows are borne before the columns are made anew without them (ours)."""


class Acted:
    """Every effect that was started, one a row, oldest first. Who reads holds `lock`, since doors
    ask from threads of their own, and calls `catch_up` first.

    started: steady seconds. open: under way. void: nothing was done, as the second look stopped
    it; or the books have let go of it.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._begin()

    def _begin(self) -> None:
        self._read_at = -1
        self._idents: list[str] = []
        self._row_of: dict[str, int] = {}
        self._under_way: list[int] = []
        self._words: list[PastEffect | None] = []
        self._sharing: dict[str, list[int]] = defaultdict(list)
        self.started: npt.NDArray[np.float64] = np.zeros(0)
        self.open: npt.NDArray[np.bool_] = np.zeros(0, dtype=bool)
        self.void: npt.NDArray[np.bool_] = np.zeros(0, dtype=bool)

    def catch_up(self, books: Books) -> None:
        """Read what changed in the books since the last call."""
        if self._read_at == books.files.changes:
            return
        self._read_at = books.files.changes
        new = list(takewhile(lambda ident: ident not in self._row_of, reversed(books.acted)))
        if len(self._row_of) + len(new) != len(books.acted):
            self._let_go(books)
        if np.count_nonzero(self.void) > MOST_VOID:
            self._begin()
            self.catch_up(books)
            return
        before, self._under_way = self._under_way, []
        for row in before:
            self._read(row, books.files.get(self._idents[row]))
        if new:
            self._add([(ident, books.files.get(ident)) for ident in reversed(new)])

    def _let_go(self, books: Books) -> None:
        """Of those that the books keep no more."""
        for ident in [ident for ident in self._row_of if ident not in books.acted]:
            self.void[self._row_of.pop(ident)] = True

    def _add(self, new: list[tuple[str, File | None]]) -> None:
        first, none = len(self._idents), np.zeros(len(new), dtype=bool)
        begun = [f.effect.started_steady if f and f.effect else 0.0 for _, f in new]
        self.started = np.concatenate((self.started, begun))
        self.open, self.void = np.concatenate((self.open, none)), np.concatenate((self.void, none))
        for row, (ident, file) in enumerate(new, first):
            self._idents.append(ident)
            self._row_of[ident] = row
            word = _past_effect(file) if file is not None else None
            self._words.append(word)
            for key in _touches(word) if word is not None else ():
                self._sharing[key].append(row)
            self._read(row, file)

    def _read(self, row: int, file: File | None) -> None:
        """What of an effect can still change."""
        done = file is not None and file.effect is not None and file.state is not State.REFUSED
        self.void[row] = not done
        self.open[row] = done and file is not None and file.in_hand
        if self.open[row]:
            self._under_way.append(row)

    def row_of(self, proposal: str) -> list[int]:
        """The effect of this Proposal: one row, or none."""
        row = self._row_of.get(proposal)
        return [] if row is None else [row]

    def sharing(self, keys: Iterable[str]) -> npt.NDArray[np.intp]:
        """The rows that name any of these: a domain's key, or one of the keys below."""
        return np.array([row for key in keys for row in self._sharing.get(key, ())], dtype=np.intp)

    def ages(self, steady: float) -> npt.NDArray[np.float64]:
        """Seconds since each was started. By the steady clock alone: a wall clock that is set
        refills no budget (S28)."""
        return np.maximum(0.0, steady - self.started).round(3)

    def words(self, rows: Iterable[int], steady: float) -> list[PastEffect]:
        """These as rates and budgets count them at this moment."""
        ages, told = self.ages(steady), []
        for row in rows:
            word = self._words[row]
            assert word is not None, "a row without a word is void"
            age_s = float(ages[row])
            told.append(msgspec.structs.replace(word, age_s=age_s, open=bool(self.open[row])))
        return told


def of_target(target: str) -> str:
    """The key of effects on this target."""
    return f"target={target}"


def of_node(node: str) -> str:
    """The key of effects on this node, or on a part of it."""
    return f"node={node}"


def of_incident(incident: str) -> str:
    """The key of effects for this incident."""
    return f"incident={incident}"


def _touches(word: PastEffect) -> set[str]:
    own = (of_target(word.target), of_node(word.node), of_incident(word.incident))
    return {*own, *word.domains}


def _past_effect(file: File) -> PastEffect | None:
    """The word of an effect, but for its age and whether it is under way."""
    if file.effect is None:
        return None
    return PastEffect(
        action=kind_of(file.action),
        target=targets_of(file.action)[0],
        age_s=0.0,
        node=node_of(file.action),
        incident=file.proposal.incident,
        domains=file.effect.domains,
        proposal=file.proposal.id,
        gpu_hours=file.impact.gpu_hours,
        money=file.impact.money or 0.0,
    )
