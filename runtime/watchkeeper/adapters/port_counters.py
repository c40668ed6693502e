"""The host's fabric ports, as the kernel counts them: links that fell, symbol errors, ports gone.

Asked by the collector. Reads /sys/class/infiniband once a minute, InfiniBand and RoCE alike, and
tells of a counter for as long as it is over its threshold. A port that never was up since we
began, or that was switched off, is nobody's fault. A file that cannot be read is Unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from watchkeeper.core.clock import Clock
from watchkeeper.core.fault import READ_EVERY_S
from watchkeeper.core.incident import Trust
from watchkeeper.core.sources import Finding
from watchkeeper.health.counters import fault_of_counter, rise

SOURCE = "ib-counters"
SYSFS = Path("/sys/class/infiniband")
_ACTIVE, _DISABLED = "4:", "3:"
"""How the files `state` and `phys_state` begin for a port in use, and for one that was switched
off."""


@dataclass(frozen=True, slots=True)
class _Port:
    """One reading. None is Unknown. up: it was active once since we began."""

    at: float
    up: bool
    active: bool | None
    link_downed: int | None
    symbol_errors: int | None


class PortCounters:
    """Meets SignalSource."""

    def __init__(self, clock: Clock, root: Path = SYSFS) -> None:
        self._clock = clock
        self._root = root
        self._due_at = float("-inf")
        self._last: dict[str, _Port] = {}

    def drain(self) -> tuple[Finding, ...]:
        now = self._clock.steady()
        if now < self._due_at:
            return ()
        self._due_at = now + READ_EVERY_S
        ports = {f"{p.parts[-3]} port {p.name}": p for p in sorted(self._root.glob("*/ports/*"))}
        found = [f for name, place in ports.items() for f in self._told(name, place, now)]
        for name, before in self._last.items():
            if name not in ports and before.up:
                found.append(_finding("nic.down", 1.0, f"{name}: the host has lost it"))
        return tuple(found)

    def _told(self, name: str, place: Path, now: float) -> Iterator[Finding]:
        before = self._last.get(name)
        if _text(place / "phys_state").startswith(_DISABLED):
            self._last.pop(name, None)
            return
        state = _text(place / "state")
        active = state.startswith(_ACTIVE) if state else None
        port = _Port(
            at=now,
            up=bool(active) or (before is not None and before.up),
            active=active,
            link_downed=_number(place / "counters" / "link_downed"),
            symbol_errors=_number(place / "counters" / "symbol_error"),
        )
        self._last[name] = port
        if before is None:
            return
        fell = rise(before.link_downed, port.link_downed)
        if port.up and (fell or port.active is False):
            yield _finding("ib.link_down", float(max(fell, 1)), f"{name}: {state or 'fell'}")
        rate = rise(before.symbol_errors, port.symbol_errors) * 3600.0 / (now - before.at)
        if fault_of_counter("ib.symbol_errors", rate) is not None:
            yield _finding("ib.symbol_errors", rate, f"{name}: {rate:.0f} symbol errors an hour")


def _finding(code: str, value: float, raw: str) -> Finding:
    return Finding(code=code, source=SOURCE, trust=Trust.DRIVER, value=value, raw=raw)


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isascii() and text.isdigit() else None
