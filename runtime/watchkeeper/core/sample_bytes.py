"""One Sample as bytes, and many of them as columns.

Layout, little-endian: a header of 24 bytes (magic `WK`, schema, GPU count, name length, flags,
trust, world, vendor, 7 bytes of zero, time as f8), f4[G, 12] of GPU_FIELDS, f4[6] of HOST_FIELDS,
then the node's name in UTF-8. Bytes from outside are never trusted: what does not fit is refused
and counted. Never loops over GPUs, and over nodes only to slice.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from watchkeeper.core.cluster import World
from watchkeeper.core.errors import Malformed
from watchkeeper.core.incident import Trust
from watchkeeper.core.sources import Sample
from watchkeeper.core.telemetry import GPU_FIELDS, HOST_FIELDS, FleetFrame

MAX_GPUS = 32
"""GPUs of one node; one foreign message must not be able to widen the frame without bound."""
MAX_NAME = 200
MAX_NODES = 100_000
FUTURE_S = 60.0
"""A reading further ahead than this is refused: its clock is wrong, or it is a lie."""

_MAGIC = b"WK\x01"
_HEADER = struct.Struct("<3sBBBBBB7xd")
_HEAD = _HEADER.size
_WORLDS = tuple(World)
_TRUSTS = tuple(Trust)
_VENDORS = ("none", "nvidia", "amd", "intel", "simulated", "other")
_WORLD_CODE = {world: code for code, world in enumerate(_WORLDS)}
_TRUST_CODE = {trust: code for code, trust in enumerate(_TRUSTS)}
_VENDOR_CODE = {vendor: code for code, vendor in enumerate(_VENDORS)}
_SIMULATED = 1
_HEAD_DTYPE = np.dtype(
    {
        "names": ["m0", "m1", "m2", "gpus", "name", "flags", "trust", "world", "vendor", "at"],
        "formats": ["u1"] * 9 + ["<f8"],
        "offsets": [0, 1, 2, 3, 4, 5, 6, 7, 8, 16],
        "itemsize": _HEAD,
    }
)
_G, _H = len(GPU_FIELDS), len(HOST_FIELDS)


def encode(sample: Sample) -> bytes:
    """The bytes of one sample. Raises Malformed when its shape or name does not fit."""
    name = sample.node.encode()
    gpus = len(sample.gpu)
    if sample.gpu.shape != (gpus, _G) or gpus > MAX_GPUS or sample.host.shape != (_H,):
        raise Malformed(
            f"A sample of {sample.node!r} has GPU columns {sample.gpu.shape} and host columns "
            f"{sample.host.shape}; expected (0 to {MAX_GPUS}, {_G}) and ({_H},)."
        )
    if _name_of(name) is None:
        raise Malformed(f"{sample.node!r} is no node name: 1 to {MAX_NAME} printable bytes.")
    return b"".join(
        (
            _HEADER.pack(
                _MAGIC,
                gpus,
                len(name),
                _SIMULATED if sample.simulated else 0,
                _TRUST_CODE[sample.trust],
                _WORLD_CODE[sample.world],
                _VENDOR_CODE.get(sample.vendor, _VENDOR_CODE["other"]),
                sample.at,
            ),
            np.ascontiguousarray(sample.gpu, "<f4").tobytes(),
            np.ascontiguousarray(sample.host, "<f4").tobytes(),
            name,
        )
    )


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a batch. late: older than what is held already, harmless."""

    stored: int = 0
    refused: int = 0
    late: int = 0


@dataclass(slots=True)
class FleetColumns:
    """The latest reading of every node, growing as nodes appear. One owner, one thread."""

    world: World
    _names: list[str] = field(default_factory=list)
    _rows: dict[bytes, int] = field(default_factory=dict)
    _at: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    _gpu: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0, _G), np.float32))
    _host: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, _H), np.float32))
    _simulated: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    _vendor: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    _frame: FleetFrame | None = None
    _index: dict[str, int] = field(default_factory=dict)

    def store(self, messages: Sequence[bytes], now: float) -> Stored:
        """Put a batch of messages into the columns; `now` is epoch seconds. Never raises for
        what the messages hold."""
        whole = [m for m in messages if type(m) is bytes and len(m) >= _HEAD]
        if not whole:
            return Stored(refused=len(messages))
        sizes = np.fromiter(map(len, whole), np.int64, len(whole))
        starts = np.cumsum(sizes) - sizes
        # Gathering the headers from one join is half the cost of slicing each message.
        octets = np.frombuffer(b"".join(whole), np.uint8)
        heads = octets[starts[:, None] + np.arange(_HEAD)].view(_HEAD_DTYPE)[:, 0]
        good = self._plausible(heads, sizes, now)
        stored = late = 0
        # Oldest first, so that of two readings of one node in a batch the newer one stays.
        order = np.argsort(heads["at"], kind="stable")
        order = order[good[order]]
        for gpus in np.unique(heads["gpus"][order]):
            of_shape = order[heads["gpus"][order] == gpus]
            done, old = self._store_shape(
                [whole[i] for i in of_shape.tolist()], heads[of_shape], int(gpus)
            )
            stored, late = stored + done, late + old
        if stored:
            self._frame = None
        return Stored(stored, len(messages) - stored - late, late)

    def _plausible(
        self, heads: NDArray[np.void], sizes: NDArray[np.int64], now: float
    ) -> NDArray[np.bool_]:
        expected = _HEAD + 4 * (heads["gpus"].astype(np.int64) * _G + _H) + heads["name"]
        with np.errstate(invalid="ignore"):
            ok: NDArray[np.bool_] = (
                (heads["m0"] == _MAGIC[0])
                & (heads["m1"] == _MAGIC[1])
                & (heads["m2"] == _MAGIC[2])
                & (heads["gpus"] <= MAX_GPUS)
                & (heads["name"] > 0)
                & (heads["name"] <= MAX_NAME)
                & (heads["trust"] < len(_TRUSTS))
                & (heads["vendor"] < len(_VENDORS))
                & (heads["world"] == _WORLD_CODE[self.world])  # S29: worlds never mix
                & (sizes == expected)
                & (heads["at"] > 0)
                & (heads["at"] <= now + FUTURE_S)
            )
        return ok

    def _store_shape(
        self, batch: list[bytes], heads: NDArray[np.void], gpus: int
    ) -> tuple[int, int]:
        """Store messages that all have this many GPUs. Returns (stored, late)."""
        end = _HEAD + 4 * (gpus * _G + _H)
        rows = self._rows_for([m[end:] for m in batch])
        named = rows >= 0
        if not named.all():
            batch = [m for m, keep in zip(batch, named, strict=True) if keep]
            heads, rows = heads[named], rows[named]
        held = self._at[rows]
        newer = ~(heads["at"] <= held)  # NaN, never heard of, counts as older
        late = int(np.count_nonzero(~newer))
        if late:
            batch = [m for m, keep in zip(batch, newer, strict=True) if keep]
            heads, rows = heads[newer], rows[newer]
        if not batch:
            return 0, late
        body = np.frombuffer(b"".join([m[_HEAD:end] for m in batch]), "<f4")
        values = body.reshape(len(batch), gpus * _G + _H)
        if np.isinf(values).any():
            values = np.where(np.isinf(values), np.float32(np.nan), values)
        self._widen(gpus)
        self._at[rows] = heads["at"]
        self._gpu[rows, :gpus] = values[:, : gpus * _G].reshape(len(values), gpus, _G)
        self._gpu[rows, gpus:] = np.nan
        self._host[rows] = values[:, gpus * _G :]
        self._simulated[rows] = (heads["flags"] & _SIMULATED) != 0
        self._vendor[rows] = heads["vendor"]
        return len(batch), late

    def _rows_for(self, names: list[bytes]) -> NDArray[np.int64]:
        """Row of each name, making rows for new ones; -1 where the name is refused."""
        known = self._rows
        rows = list(map(known.get, names))
        if None in rows:
            rows = [self._add(name) for name in names]
            self._grow(len(self._names))
        return np.asarray(rows, np.int64)

    def _add(self, name: bytes) -> int:
        held = self._rows.get(name)
        if held is not None:
            return held
        text = _name_of(name)
        if text is None or len(self._names) >= MAX_NODES:
            return -1
        self._names.append(text)
        self._rows[name] = len(self._names) - 1
        return len(self._names) - 1

    def _grow(self, rows: int) -> None:
        have = len(self._at)
        if rows <= have:
            return
        more = max(rows, have + have // 2, 64) - have
        self._at = np.concatenate([self._at, np.full(more, np.nan)])
        gap = np.full((more, *self._gpu.shape[1:]), np.nan, np.float32)
        self._gpu = np.concatenate([self._gpu, gap])
        self._host = np.concatenate([self._host, np.full((more, _H), np.nan, np.float32)])
        self._simulated = np.concatenate([self._simulated, np.zeros(more, np.bool_)])
        self._vendor = np.concatenate([self._vendor, np.zeros(more, np.uint8)])

    def _widen(self, gpus: int) -> None:
        rows, width, _ = self._gpu.shape
        if gpus > width:
            gap = np.full((rows, gpus - width, _G), np.nan, np.float32)
            self._gpu = np.concatenate([self._gpu, gap], axis=1)

    def frame(self) -> FleetFrame:
        """The columns as they are now. A copy: later batches do not change it."""
        if self._frame is None:
            n = len(self._names)
            if len(self._index) != n:  # names are only ever added
                self._index = {name: i for i, name in enumerate(self._names)}
            self._frame = FleetFrame(
                nodes=tuple(self._names),
                read_at=self._at[:n].copy(),
                gpu=self._gpu[:n].copy(),
                host=self._host[:n].copy(),
                simulated=self._simulated[:n].copy(),
                vendor=tuple(map(_VENDORS.__getitem__, self._vendor[:n].tolist())),
                row=self._index,
            )
        return self._frame


def _name_of(raw: bytes) -> str | None:
    """The node's name, or None when it is empty, too long, not UTF-8 or not printable."""
    if not 0 < len(raw) <= MAX_NAME:
        return None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() and "/" not in text and text == text.strip() else None
