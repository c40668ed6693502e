"""The books' cabinet: what is not over is found without looking at what is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.control.filed import Filed
from watchkeeper.core.once import once_for

KEYS = st.sampled_from("abcdef")
MOVES = st.lists(st.tuples(KEYS, st.one_of(st.none(), st.booleans())), max_size=40)


@given(MOVES)
def test_the_living_are_those_that_a_look_through_all_would_find_in_that_order(
    moves: list[tuple[str, bool | None]],
) -> None:
    filed: Filed[bool] = Filed(lambda lives: lives)
    for key, value in moves:
        before = filed.changes
        if value is None and key in filed:
            del filed[key]
        elif value is not None:
            filed[key] = value
        else:
            continue
        assert filed.changes == before + 1
        assert filed.living() == [v for v in filed.values() if v]
        assert list(filed._living) == [k for k, v in filed.items() if v]


def test_what_was_derived_is_kept_for_the_very_object_and_for_no_equal_one() -> None:
    asked: list[int] = []

    @once_for
    def count(of: list[int]) -> int:
        asked.append(len(of))
        return len(of)

    one, equal = [1, 2], [1, 2]
    assert [count(one), count(one), count(equal), count(one)] == [2, 2, 2, 2]
    assert len(asked) == 3
