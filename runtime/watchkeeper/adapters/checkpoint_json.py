"""What a checkpoint looks like as bytes: plain JSON, checked on the way in and on the way out.

Used by the Redis saver only. Nothing here can bring an object of any class to life, except
LangGraph's own Interrupt, which holds one plain value and an id.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT
from langgraph.types import Interrupt

from watchkeeper.core.errors import Malformed

MAX_BYTES = 1 << 20
"""Largest checkpoint or write that is accepted, in bytes: threads hold ids and reasons."""


_DEPTH = 32


class StoredCheckpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One checkpoint as stored."""

    checkpoint: CheckpointBody
    metadata: dict[str, Any]
    parent: str | None = None


class CheckpointBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """LangGraph's Checkpoint, spelled out so that a malformed one is seen on load."""

    v: int
    id: str
    ts: str
    channel_values: dict[str, Any]
    channel_versions: dict[str, int]
    versions_seen: dict[str, dict[str, int]]
    updated_channels: list[str] | None = None


class StoredWrite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One pending write of one task."""

    task: str
    index: int
    channel: str
    path: str
    value: Any


class _Interrupt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    value: Any
    id: str


class StrictJson:
    """LangGraph's serializer protocol, for plain JSON values and nothing else."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """`("json", bytes)`. Raises Malformed for anything that is not plain JSON."""
        require_plain(obj)
        return "json", msgspec.json.encode(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The value again. Raises Malformed for another type tag or broken JSON."""
        kind, raw = data
        if kind != "json":
            raise Malformed(f"a checkpoint value is tagged {kind!r}; only json is ever loaded")
        try:
            return msgspec.json.decode(raw)
        except msgspec.DecodeError as err:
            raise Malformed(f"a checkpoint value is not JSON: {err}") from err


def require_plain(value: Any, where: str = "value", depth: int = 0) -> None:
    """Raise Malformed, naming the place, unless `value` is JSON as it stands.

    Tuples, numbers that are not finite, keys that are not text and objects of any class are
    refused: they would come back as something else, or would need code to come back at all.
    """
    if depth > _DEPTH:
        raise Malformed(f"{where} is nested deeper than {_DEPTH} levels")
    kind = type(value)
    if value is None or kind in (str, bool, int):
        return
    if kind is float and math.isfinite(value):
        return
    if kind is list:
        for i, item in enumerate(value):
            require_plain(item, f"{where}[{i}]", depth + 1)
        return
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise Malformed(f"{where} has a key that is not text: {key!r}")
            require_plain(item, f"{where}.{key}", depth + 1)
        return
    raise Malformed(
        f"{where} is a {kind.__name__} and cannot be kept in a checkpoint; "
        "use text, finite numbers, lists and dicts with text keys"
    )


def encode(value: dict[str, Any], what: str) -> bytes:
    """The bytes of one stored record. Raises Malformed when it is not plain JSON or too large."""
    require_plain(value, what)
    try:
        body = msgspec.json.encode(value)
    except UnicodeEncodeError as err:
        raise Malformed(f"{what} holds text that is not Unicode: {err}") from err
    if len(body) > MAX_BYTES:
        raise Malformed(f"{what} is {len(body)} bytes in one checkpoint; the most is {MAX_BYTES}")
    return body


def outward(channel: str, value: Any) -> Any:
    """Two things LangGraph itself writes are no plain data: interrupts and errors."""
    if channel == INTERRUPT:
        return [{"value": i.value, "id": i.id} for i in value]
    if channel == ERROR:
        return f"{type(value).__name__}: {value}"
    return value


def inward(channel: str, value: Any) -> Any:
    """The value as LangGraph wrote it. Raises msgspec.ValidationError for a malformed interrupt."""
    if channel == INTERRUPT:
        parts = msgspec.convert(value, list[_Interrupt])
        return tuple(Interrupt(value=p.value, id=p.id) for p in parts)
    return value
