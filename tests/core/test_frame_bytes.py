"""Samples as bytes, and many of them as columns."""

# ruff: noqa: E501  (tables read best one case a line)

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.core.cluster import World
from watchkeeper.core.errors import Malformed
from watchkeeper.core.sample_bytes import MAX_GPUS, FleetColumns, encode
from watchkeeper.core.sources import Sample
from watchkeeper.core.telemetry import GPU_FIELDS, HOST_FIELDS

NOW = 1_000_000.0
TEMPERATURE = GPU_FIELDS.index("temperature_celsius")


def sample(node: str = "n1", at: float = NOW, gpus: int = 2, value: float = 50.0, **more: object) -> Sample:  # fmt: skip
    return Sample(
        node=node,
        at=at,
        world=more.pop("world", World.LAB),  # type: ignore[arg-type]
        gpu=np.full((gpus, len(GPU_FIELDS)), value, np.float32),
        host=np.full(len(HOST_FIELDS), value / 2, np.float32),
        **more,  # type: ignore[arg-type]
    )


def columns() -> FleetColumns:
    return FleetColumns(World.LAB)


def test_what_was_read_comes_back_as_columns() -> None:
    fleet = columns()
    done = fleet.store(
        [
            encode(sample("a", gpus=2, value=61.5, vendor="nvidia")),
            encode(sample("b", NOW - 3, gpus=4, value=40.0, vendor="simulated", simulated=True)),
        ],
        NOW,
    )
    frame = fleet.frame()
    assert (done.stored, done.refused, done.late) == (2, 0, 0)
    assert frame.gpu.shape == (2, 4, len(GPU_FIELDS))
    assert frame.gpu[frame.row["a"], :2, TEMPERATURE].tolist() == [61.5, 61.5]
    assert np.isnan(frame.gpu[frame.row["a"], 2:]).all()  # fewer GPUs: the rest is Unknown
    assert frame.host[frame.row["b"]].tolist() == [20.0] * len(HOST_FIELDS)
    assert frame.last_read("b") == NOW - 3
    assert dict(zip(frame.nodes, frame.simulated.tolist(), strict=True)) == {"a": False, "b": True}
    assert dict(zip(frame.nodes, frame.vendor, strict=True)) == {"a": "nvidia", "b": "simulated"}


def test_an_older_or_repeated_reading_changes_nothing_and_is_counted_late() -> None:
    fleet = columns()
    fleet.store([encode(sample(value=1.0))], NOW)
    done = fleet.store([encode(sample(at=NOW - 1, value=9.0)), encode(sample(value=9.0))], NOW)
    assert (done.stored, done.refused, done.late) == (0, 0, 2)
    assert fleet.frame().gpu[0, 0, 0] == 1.0


def test_of_two_readings_in_one_batch_the_newer_stays_whatever_the_order() -> None:
    fleet = columns()
    fleet.store([encode(sample(at=NOW, value=2.0)), encode(sample(at=NOW - 5, value=1.0))], NOW)
    assert fleet.frame().gpu[0, 0, 0] == 2.0


def test_a_frame_given_out_never_changes() -> None:
    fleet = columns()
    fleet.store([encode(sample(value=1.0))], NOW)
    first = fleet.frame()
    fleet.store([encode(sample(at=NOW + 1, value=2.0)), encode(sample("z"))], NOW + 1)
    assert first.gpu[0, 0, 0] == 1.0
    assert first.nodes == ("n1",)
    assert dict(first.row) == {"n1": 0}


def test_a_gpu_that_went_away_leaves_no_old_values_behind() -> None:
    fleet = columns()
    fleet.store([encode(sample(gpus=4))], NOW)
    fleet.store([encode(sample(at=NOW + 1, gpus=3))], NOW + 1)
    assert np.isnan(fleet.frame().gpu[0, 3]).all()


def test_infinity_is_unknown() -> None:
    fleet = columns()
    fleet.store([encode(sample(value=float("inf")))], NOW)
    assert np.isnan(fleet.frame().gpu).all()


_GOOD = encode(sample("good"))


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"", id="empty"),
        pytest.param(_GOOD[:23], id="shorter than its header"),
        pytest.param(_GOOD[:-1], id="cut"),
        pytest.param(_GOOD + b"x", id="too long"),
        pytest.param(b"XX" + _GOOD[2:], id="another magic"),
        pytest.param(_GOOD[:2] + b"\x07" + _GOOD[3:], id="another schema"),
        pytest.param(_GOOD[:3] + b"\xff" + _GOOD[4:], id="255 GPUs"),
        pytest.param(_GOOD[:6] + b"\x63" + _GOOD[7:], id="unknown trust"),
        pytest.param(_GOOD[:8] + b"\x63" + _GOOD[9:], id="unknown vendor"),
        pytest.param(_GOOD[:16] + struct.pack("<d", float("nan")) + _GOOD[24:], id="no time"),
        pytest.param(_GOOD[:16] + struct.pack("<d", float("inf")) + _GOOD[24:], id="the end of time"),
        pytest.param(encode(sample(at=NOW + 61)), id="more than 60 s ahead"),
        pytest.param(_GOOD[:-4] + b"\xff\xfe\xfd\xfc", id="a name that is not UTF-8"),
        pytest.param(_GOOD[:-4] + b"a\nbc", id="a name with a newline"),
        pytest.param("text", id="not bytes"),
    ],
)  # fmt: skip
def test_a_malformed_message_is_refused_and_counted_beside_good_ones(message: bytes) -> None:
    fleet = columns()
    done = fleet.store([_GOOD, message, encode(sample("other"))], NOW)
    assert (done.stored, done.refused) == (2, 1)
    assert set(fleet.frame().nodes) == {"good", "other"}


def test_s29_a_sample_of_another_world_is_refused() -> None:
    fleet = FleetColumns(World.REAL)
    done = fleet.store([encode(sample(world=World.LAB))], NOW)
    assert (done.stored, done.refused) == (0, 1)
    assert fleet.frame().nodes == ()


def test_a_sample_that_does_not_fit_cannot_be_encoded() -> None:
    with pytest.raises(Malformed, match="GPU columns"):
        encode(sample(gpus=MAX_GPUS + 1))
    with pytest.raises(Malformed, match="no node name"):
        encode(sample(node="a\x00b"))


@given(st.lists(st.one_of(st.binary(max_size=64), st.binary(max_size=900).map(lambda b: b"WK\x01" + b))))  # fmt: skip
def test_no_bytes_break_the_frame(messages: list[bytes]) -> None:
    fleet = columns()
    done = fleet.store(messages, NOW)
    assert done.stored + done.refused + done.late == len(messages)
    assert len(fleet.frame().nodes) <= done.stored


@given(at=st.integers(0, len(_GOOD) - 1), to=st.integers(0, 255))
def test_one_flipped_byte_never_does_more_than_change_that_node(at: int, to: int) -> None:
    broken = _GOOD[:at] + bytes([to]) + _GOOD[at + 1 :]
    fleet = columns()
    done = fleet.store([encode(sample("other", value=7.0)), broken], NOW)
    assert done.stored + done.refused + done.late == 2
    frame = fleet.frame()
    assert (frame.gpu[frame.row["other"], :2] == 7.0).all()
