"""Work spread by a process of its own: results come, and its death is no death of ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from watchkeeper.adapters.apart_fanout import ApartFanout
from watchkeeper.core.errors import ClusterUnavailable
from watchkeeper.core.fanout import Fanout


class Loop:
    """A Fanout that is a plain loop."""

    says = "a loop"

    def map(
        self, function: Callable[[Any], Any], items: Sequence[Any]
    ) -> Iterator[tuple[int, Any]]:
        return ((i, function(item)) for i, item in enumerate(items))


def loop() -> Fanout:
    return Loop()


def of_whom(item: int) -> tuple[int, int]:
    if item == 13:
        os._exit(7)  # as a Ray driver does when its GCS goes
    if item == 14:
        raise ValueError("fourteen")
    return item, os.getpid()


def test_results_come_from_another_process() -> None:
    found = dict(ApartFanout(loop, "over there").map(of_whom, [1, 2]))
    assert [found[i][0] for i in (0, 1)] == [1, 2]
    assert os.getpid() not in {pid for _, pid in found.values()}


@pytest.mark.parametrize(
    ("item", "says"),
    [(13, "over there ended before all was done"), (14, "ValueError: fourteen")],
    ids=["it dies", "it fails"],
)
def test_what_ends_the_other_process_is_told_and_ends_nothing_here(item: int, says: str) -> None:
    results = ApartFanout(loop, "over there").map(of_whom, [1, item])
    assert next(results)[1][0] == 1
    with pytest.raises(ClusterUnavailable, match=says):
        next(results)
