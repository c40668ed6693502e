"""`watchkeeper report` and `watchkeeper postmortem`: asked of the running watch, else of the
journal that it left."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from watchkeeper.app.door import ask_watch
from watchkeeper.app.printing import say
from watchkeeper.app.settings import Home
from watchkeeper.core.errors import NotRunning, PolicyError, UsageError
from watchkeeper.core.event import Event
from watchkeeper.core.report import Postmortem, Report
from watchkeeper.core.since import since as since_of
from watchkeeper.core.word import Word, parse

if TYPE_CHECKING:
    from watchkeeper.control.books import Books
    from watchkeeper.policy.model import CheckedPolicy


WITHIN_S = 60.0
"""A long journal is read whole."""
W = TypeVar("W", bound=Word)


class Form(StrEnum):
    """How it is written."""

    MD = "md"
    HTML = "html"
    JSON = "json"


FormOption = Annotated[Form, typer.Option("--format", help="md, html or json")]
ToOption = Annotated[Path | None, typer.Option(help="File to write; else standard output")]
JournalOption = Annotated[
    Path | None,
    typer.Option(help="A journal or an export to read; else the running watch, or what it left"),
]


def add_report_commands(app: typer.Typer) -> None:
    """Add both commands to the command line."""
    app.command("report")(report)
    app.command("postmortem")(postmortem)


def report(
    since: Annotated[
        str, typer.Option(help="12h, 2d, or a moment; else yesterday at 18:00 in the policy's zone")
    ] = "",
    form: FormOption = Form.MD,
    to: ToOption = None,
    journal: JournalOption = None,
) -> None:
    """What the watch saw, did, did not do and why; what waits; what it is unsure of."""
    from watchkeeper.console.report_text import as_html, as_json, as_markdown

    if since:
        since_of(since)  # a slip is told before anything is read
    told = _asked(Report, journal, "report", since=since) or _report_of(journal, since)
    match form:
        case Form.MD:
            _put(as_markdown(told), to)
        case Form.HTML:
            _put(as_html(told), to)
        case Form.JSON:
            _put(as_json(told), to)


def postmortem(
    incident: Annotated[str, typer.Argument(metavar="INCIDENT", help="Such as INC-3")],
    form: FormOption = Form.MD,
    to: ToOption = None,
    journal: JournalOption = None,
) -> None:
    """One incident as one timeline, from its first signal to what verified its end."""
    from watchkeeper.console.report_text import as_json, postmortem_html, postmortem_markdown

    told = _asked(Postmortem, journal, "postmortem", incident=incident)
    told = told or _postmortem_of(journal, incident)
    match form:
        case Form.MD:
            _put(postmortem_markdown(told), to)
        case Form.HTML:
            _put(postmortem_html(told), to)
        case Form.JSON:
            _put(as_json(told), to)


def _asked(kind: type[W], journal: Path | None, call: str, **args: Any) -> W | None:
    """The running watch's answer; None where a journal is named, none runs, or it knows nothing."""
    if journal is not None:
        return None
    try:
        answer = ask_watch(call, within_s=WITHIN_S, **args)
    except NotRunning:
        return None
    return None if answer is None else parse(answer, kind, "the watch's answer")


def _report_of(journal: Path | None, since: str) -> Report:
    """The report that the journal alone gives. Of a named file it ends with its last event; of the
    home's own, now."""
    from watchkeeper.control.books import Books
    from watchkeeper.control.report import report as told_of
    from watchkeeper.control.report import zone_of
    from watchkeeper.control.report_night import night_of
    from watchkeeper.control.reporting import begin_of, check_span

    events, books = _events(journal), Books()
    last: Event | None = None
    for event in events():
        books.apply(event)
        last = event
    if last is None:
        raise UsageError("The journal holds no events, so there is nothing to report.")
    now = last.at if journal else max(datetime.now(UTC), last.at)  # a twin's clock may be ahead
    policy = _policy_of(books, now)
    zone = zone_of(policy)
    begin = check_span(begin_of(since_of(since) if since else None, now, zone), now)
    return told_of(night_of(events(), begin, now, zone), books, policy, watched=bool(journal))


def _policy_of(books: Books, now: datetime) -> CheckedPolicy | None:
    """The journal's own policy; None where it has none, or one that does not load any more."""
    from watchkeeper.policy.load import load

    try:
        return load(books.policy_files, now) if books.policy_files else None
    except PolicyError:
        return None


def _postmortem_of(journal: Path | None, incident: str) -> Postmortem:
    from watchkeeper.control.books import Books
    from watchkeeper.control.postmortem import postmortem as told_of
    from watchkeeper.control.report import zone_of

    events, books = _events(journal), Books()
    for event in events():
        books.apply(event)
    now = datetime.now(UTC)
    zone = zone_of(_policy_of(books, now))
    found = told_of(incident, events(), now=now, zone=zone)
    if found is None:
        known = ", ".join(list(books.incidents)[-5:]) or "none"
        raise UsageError(f"The journal has no incident {incident!r}. Its latest are: {known}.")
    return found


def _events(journal: Path | None) -> Callable[[], Any]:
    """Reads the events anew with each call; the file is checked first. Raises UsageError,
    JournalBroken."""
    from watchkeeper.adapters.journal_reading import checked

    reading = checked(journal or Home.find().journal / "journal.jsonl")
    if reading.caution:
        typer.echo(f"watchkeeper: {reading.caution}", err=True)
    return reading.events


def _put(text: str, to: Path | None) -> None:
    if to is None:
        say(text.rstrip("\n"))
        return
    try:
        to.write_text(text, encoding="utf-8")
    except OSError as err:
        raise UsageError(f"{to} cannot be written: {err.strerror}.") from err
    say(f"Written to {to}.")
