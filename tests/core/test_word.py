"""One word, one written form: what is digested, what is refused."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchkeeper.core.cluster import Fence, Node, RayState
from watchkeeper.core.errors import Malformed
from watchkeeper.core.word import Word, canonical, digest, parse, plain, utc


class Pair(Word, frozen=True):
    """Two fields, declared out of order."""

    b: int
    a: dict[str, int] = {}


def test_the_written_form_has_sorted_keys_and_no_spaces() -> None:
    assert canonical(Pair(b=1, a={"y": 2, "x": 1})) == b'{"a":{"x":1,"y":2},"b":1}'


def test_the_order_in_which_it_was_built_does_not_change_a_digest() -> None:
    assert digest(Pair(b=1, a={"y": 2, "x": 1})) == digest(Pair(a={"x": 1, "y": 2}, b=1))


def test_any_change_changes_the_digest() -> None:
    assert len({digest(Pair(b=b, a={"x": x})) for b in range(4) for x in range(4)}) == 16


def test_a_word_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Pair(b=1).b = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'{"b":1,"c":2}', "unknown field `c`"),
        (b"{}", "missing required field `b`"),
        (b'{"b":"1"}', r"Expected `int`, got `str` - at `\$.b`"),
        (b'{"b":1', "truncated"),
        (b'{"b":1,"a":{"\xff":1}}', "utf-8"),
        (b"", "truncated"),
    ],
)
def test_what_does_not_fit_is_refused_and_says_what_and_where(text: bytes, says: str) -> None:
    with pytest.raises(Malformed, match=f"a pair is not a valid Pair: .*{says}"):
        parse(text, Pair, "a pair")


def test_absurd_nesting_is_malformed_not_a_crash() -> None:
    class Anything(Word, frozen=True):
        data: dict[str, object]

    with pytest.raises(Malformed):
        parse(b'{"data":' + b'{"x":' * 100_000 + b"1" + b"}" * 100_001, Anything)


def test_plain_dicts_are_parsed_as_strictly_as_text() -> None:
    assert parse({"b": 1}, Pair) == Pair(b=1)
    with pytest.raises(Malformed, match="unknown field"):
        parse({"b": 1, "z": 0}, Pair)


def test_times_are_aware_and_utc() -> None:
    assert utc(0.0) == datetime(1970, 1, 1, tzinfo=UTC)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(
    name=st.text(min_size=1, max_size=20),
    gpus=st.floats(0, 1e6),
    labels=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3),
    hidden=st.lists(st.integers(0, 15), max_size=3).map(tuple),
)
def test_a_word_survives_being_written_and_read(
    name: str, gpus: float, labels: dict[str, str], hidden: tuple[int, ...]
) -> None:
    node = Node(
        name=name,
        incarnation="x",
        pool="train",
        ray_state=RayState.ALIVE,
        ray_state_since=utc(1.5e9),
        gpus=8,
        gpus_free=gpus,
        labels=labels,
        hidden_gpus=hidden,
    )
    assert parse(canonical(node), Node) == node
    assert parse(plain(node), Node) == node
    assert digest(parse(canonical(node), Node)) == digest(node)


def test_a_fence_is_sealed_when_it_holds_every_gpu_it_wants() -> None:
    held = [Fence(name="f", node="a", token=1, held=h, wanted=8).sealed for h in (0, 7, 8)]
    assert held == [False, False, True]
