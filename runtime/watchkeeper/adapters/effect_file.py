"""What a provider was already asked to do: a file, so that one started anew does not do it twice.

One line before an effect and one after. The same key never acts twice; a fencing token lower than
the highest seen for its target is refused (S6).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from watchkeeper.core.errors import EffectFailed, EffectInDoubt, LeaseLost


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    target: str
    token: int
    state: str
    text: str = ""


class Effects:
    """A provider's memory of effects, in one append-only file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._last: dict[str, _Line] = {}
        self._highest: dict[str, int] = {}
        if path.exists():
            for raw in path.read_bytes().splitlines():
                try:
                    self._take(msgspec.json.decode(raw, type=_Line))
                except msgspec.MsgspecError:
                    continue  # a torn last line: its effect is then in doubt or was never begun

    def once(self, key: str, target: str, token: int, act: Callable[[], str]) -> str:
        """Run `act` at most once for this key; returns its text, now or as it was then.

        Raises EffectFailed, EffectInDoubt, LeaseLost.
        """
        with self._lock:
            self._refuse(key, target, token)
            earlier = self._last.get(key)
            if earlier is not None:
                return _again(earlier)
            line = _Line(key=key, target=target, token=token, state="begun")
            self._append(line)
        try:
            text = act()
        except EffectFailed as err:
            self._append(msgspec.structs.replace(line, state="failed", text=str(err)))
            raise
        self._append(msgspec.structs.replace(line, state="done", text=text))
        return text

    def _refuse(self, key: str, target: str, token: int) -> None:
        if not key:
            raise EffectFailed("An effect needs an idempotency key; nothing was done.")
        highest = self._highest.get(target, 0)
        if token < highest:
            raise LeaseLost(
                f"{target} was already touched under fencing token {highest}; this order carries "
                f"{token}."
            )

    def _take(self, line: _Line) -> None:
        self._last[line.key] = line
        self._highest[line.target] = max(line.token, self._highest.get(line.target, 0))

    def _append(self, line: _Line) -> None:
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._take(line)


def _again(line: _Line) -> str:
    if line.state == "done":
        return f"{line.text} (already done under this key)"
    if line.state == "failed":
        raise EffectFailed(line.text)
    raise EffectInDoubt(f"An effect under key {line.key} was begun and never told how it ended.")


def text_of(request: dict[str, Any], name: str) -> str:
    """A text argument of a request. Raises EffectFailed when it is missing or not text."""
    value = request.get(name, "")
    if not isinstance(value, str):
        raise EffectFailed(f"{name} must be text.")
    return value


def number_of(request: dict[str, Any], name: str, default: int | None = None) -> int:
    """A whole-number argument of a request. Raises EffectFailed when it is none."""
    value = request.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise EffectFailed(f"{name} must be a whole number.")
    return value
