"""`policy draft`: reads a folder and a journal, asks `policy_draft`, and says how to end."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from watchkeeper.app.policy_draft import Writer, as_text, draft
from watchkeeper.app.settings import Home
from watchkeeper.core.word import plain


class Drafted(NamedTuple):
    """The draft as plain values and as text; sound: it loads, and its own tests hold."""

    value: dict[str, Any]
    text: str
    sound: bool


def draft_it(
    sentence: str,
    policies: Path,
    *,
    since: str,
    journal: Path | None,
    models: str,
    at: datetime,
) -> Drafted:
    """Raises UsageError where nothing fits, PolicyError where the folder does not load,
    JournalBroken when the journal does not hold."""
    from watchkeeper.adapters.journal_reading import checked
    from watchkeeper.adapters.policy_files import read_policy_dir, read_test_dir
    from watchkeeper.app.policy_diff import span

    back, period = span(since)
    path = journal or Home.find().journal / "journal.jsonl"
    events = list(checked(path).events()) if journal is not None or path.is_file() else []
    writer, by = _writer(models)
    made = draft(
        sentence,
        read_policy_dir(policies),
        read_test_dir(policies),
        events,
        until=at,
        since=back,
        period=period,
        writer=writer,
        by=by,
    )
    return Drafted(plain(made), as_text(made), made.sound)


def _writer(models: str) -> tuple[Writer | None, str]:
    """The model in the chat's seat, where a file of models names one."""
    if not models:
        return None, ""
    from watchkeeper.app.chat_models import writer_of

    return writer_of(Path(models))
