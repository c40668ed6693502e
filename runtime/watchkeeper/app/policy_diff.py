"""`policy diff`: reads two folders and a journal, asks `policy.history`, and says how to end."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from watchkeeper.app.settings import Home
from watchkeeper.core.errors import PolicyError, UsageError
from watchkeeper.core.word import plain

if TYPE_CHECKING:
    from watchkeeper.policy.history.comparison import Comparison
    from watchkeeper.policy.model import CheckedPolicy


class FailOn(StrEnum):
    """Which changes end the command with exit code 1."""

    NEVER = "never"
    WIDENED = "widened"
    NARROWED = "narrowed"
    ANY = "any"


class Answered(NamedTuple):
    """The whole answer as plain values, as text, and whether the command fails."""

    value: dict[str, Any]
    text: str
    fails: bool


def diff(
    old: Path,
    new: Path,
    *,
    journal: Path | None,
    since: str,
    at: datetime,
    fail_on: FailOn,
    examples: int,
) -> Answered:
    """Replay the journal's verdicts since then under both folders.

    Raises PolicyError when a folder does not load, JournalBroken when the journal does not hold,
    UsageError for what is not there.
    """
    from watchkeeper.adapters.journal_reading import checked
    from watchkeeper.policy.history.compare import compare
    from watchkeeper.policy.history.compare_text import as_text

    back, period = span(since)
    before, after = _loaded("OLD", old, at), _loaded("NEW", new, at)
    reading = checked(journal or Home.find().journal / "journal.jsonl")
    found = compare(reading.events(), before, after, since=at - back, until=at)
    text = as_text(
        found,
        old=str(old),
        new=str(new),
        since=period,
        examples=examples,
        caution=reading.caution,
    )
    if fail_on is not FailOn.NEVER and found.judged and not found.replayed:
        text += (
            f"\n--fail-on {fail_on.value}: exit code 1. There are decisions, and none could be "
            "replayed,\nso no change can be ruled out."
        )
    value = {"old": str(old), "new": str(new), "caution": reading.caution, **plain(found)}
    return Answered(value, text, fails(found, fail_on))


def span(text: str) -> tuple[timedelta, str]:
    """How far back `30d` (or `12h`, `90m`, `2w`) is, and in words. Raises UsageError."""
    match = re.fullmatch(r"([0-9]{1,5})([mhdw])", text)
    if match is None or int(match[1]) == 0:
        raise UsageError(f"--since {text!r} is not a length of time. Write it as 30d, 12h or 90m.")
    number = int(match[1])
    unit = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}[match[2]]
    return timedelta(**{unit: number}), f"{number} {unit}" if number > 1 else unit[:-1]


def _loaded(name: str, folder: Path, at: datetime) -> CheckedPolicy:
    from watchkeeper.adapters.policy_files import read_policy_dir
    from watchkeeper.policy.load import load

    try:
        return load(read_policy_dir(folder), at)
    except PolicyError as err:
        raise DoesNotLoad(name, folder, err) from err


class DoesNotLoad(PolicyError):
    """One of two folders does not load; the message says which."""

    def __init__(self, name: str, folder: Path, err: PolicyError) -> None:
        super().__init__(err.problems)
        self.args = (f"{name} ({folder}) does not load:\n{err}",)


def fails(found: Comparison, fail_on: FailOn) -> bool:
    """Where there were decisions and none could be replayed, nothing is known, which is no pass."""
    if fail_on is not FailOn.NEVER and found.judged and not found.replayed:
        return True
    match fail_on:
        case FailOn.NEVER:
            return False
        case FailOn.WIDENED:
            return found.widened > 0
        case FailOn.NARROWED:
            return found.narrowed > 0
        case FailOn.ANY:
            return found.changed > 0
