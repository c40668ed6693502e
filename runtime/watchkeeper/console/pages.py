"""Core words into HTML: one Jinja environment, strict about names and about text.

Decides nothing. Every text is escaped, and control and direction-changing characters are dropped,
so that a name from the cluster can neither run nor mislead the eye.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from watchkeeper.console.drawing import filters
from watchkeeper.console.report_view import report_filters
from watchkeeper.console.signatures import signature, waits_key
from watchkeeper.core.desk import Board, LogLine

STALE_AFTER_S = 15.0
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""Controls (ANSI escapes among them), zero-width, bidirectional and tag characters, separators of
lines; tab and newline stay."""


def visible(text: str) -> str:
    """Text without what cannot be seen."""
    return _UNSEEN.sub("", text)


def stale_because(board: Board) -> str:
    """Why Approve is off, as one label, or "" when it is on: nobody should agree to what was seen
    too long ago."""
    age = board.last_reading_s
    if not board.health.ready:
        why = board.health.why_not_ready.rstrip(".") or "the cluster was not read yet"
    elif age is None:
        why = "nothing was read yet"
    elif age > STALE_AFTER_S:
        why = f"the last reading is {age:.0f} s old"
    else:
        return ""
    return f"Approve is off: {why}"


@functools.cache
def _environment(folder: Path) -> Environment:
    """One for all consoles of a process: to compile the templates takes longer than to draw."""
    env = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    env.filters.update(filters())
    env.filters.update(signature=signature, waits_key=waits_key)
    env.filters.update(report_filters())
    return env


class Pages:
    """Renders templates; the only place that knows where they lie."""

    def __init__(self, folder: Path) -> None:
        self._env = _environment(folder)

    def render(self, template: str, **context: Any) -> str:
        # Over the whole page, so that no filter and no drawing can let one through.
        return visible(self._env.get_template(template).render(**context))

    def line(self, line: LogLine) -> str:
        """One entry of the log, as the event stream sends it."""
        return self.render("_line.html", line=line).strip()

    def state(self, board: Board) -> str:
        """The state line, as the event stream sends it."""
        return self.render("_state.html", board=board).strip()
