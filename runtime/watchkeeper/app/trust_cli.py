"""`watchkeeper trust`: how far each model is believed, by what came of its words; and the change of
policy that a good record speaks for, with its evidence, as a draft for a person."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from watchkeeper.app import door
from watchkeeper.app.printing import Output, OutputOption, say, show
from watchkeeper.app.settings import Home
from watchkeeper.core.errors import UsageError
from watchkeeper.core.tame import harmless

if TYPE_CHECKING:
    from collections.abc import Mapping

    from watchkeeper.core.event import Event


def trust(
    output: OutputOption = Output.TABLE,
    drafts: Annotated[
        bool, typer.Option("--drafts", help="The changes of policy that records speak for")
    ] = False,
    policies: Annotated[
        Path | None,
        typer.Option(help="The folder a draft would go into; else the orders in force"),
    ] = None,
    since: Annotated[str, typer.Option(help="How far back a draft is replayed")] = "30d",
    write: Annotated[
        Path | None, typer.Option(help="Write each draft and its tests into this folder")
    ] = None,
) -> None:
    """How far models are believed, by what came of their words."""
    home = Home.find()
    found = door.ask(home.socket, "trust")
    if drafts:
        told = [drafted(d, home, policies, since) for d in found["drafts"]]
        say("\n".join(harmless_lines(t[name]) for t in told for name in t) if told else NONE)
        if write is not None:
            _written(told, write)
        return
    show(output, found, table(found))


NONE = "# No record speaks for a change of policy yet."


def drafted(
    draft: Mapping[str, str], home: Home, policies: Path | None, since: str
) -> dict[str, str]:
    """File name -> text: the draft with its evidence at its head, and its tests. Raises UsageError,
    JournalBroken."""
    from watchkeeper.adapters.journal_reading import checked
    from watchkeeper.adapters.policy_files import read_policy_dir, read_test_dir
    from watchkeeper.app.policy_diff import span
    from watchkeeper.policy.history.draft import FileDraft, as_comment, tried

    back, period = span(since)
    events = list(checked(home.journal / "journal.jsonl").events())
    orders = read_policy_dir(policies) if policies is not None else in_force(events)
    tests = read_test_dir(policies) if policies is not None else {}
    until = events[-1].policy_at if events else datetime.now(UTC)
    whole = FileDraft(**draft)
    found = tried(orders, tests, whole, events, since=until - back, until=until)
    head = (
        f"# {whole.name}: drafted from measured trust. Nothing has changed yet. Read it, put it\n"
    )
    head += (
        "# and its tests into the policy's folder, and take `mode: shadow` out when you agree.\n"
    )
    return {
        whole.name: f"{head}{as_comment(found, period)}{whole.text}",
        whole.tests_name: found.own_tests or whole.tests,
    }


def in_force(events: list[Event]) -> dict[str, str]:
    """The orders that the watch loaded last, from its journal. Raises UsageError: none."""
    from watchkeeper.core.event import Kind

    for event in reversed(events):
        files = event.data.get("files")
        if event.kind is Kind.POLICY_LOADED and isinstance(files, dict) and files:
            return {str(name): str(text) for name, text in files.items()}
    raise UsageError("The journal holds no orders. Name their folder with --policies.")


def harmless_lines(text: str) -> str:
    return "\n".join(map(harmless, text.splitlines()))


def _written(told: list[dict[str, str]], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for files in told:
            for name, text in files.items():
                (folder / name).write_text(text, "utf-8")
                say(f"# Written: {folder / name}")
    except OSError as err:
        raise UsageError(f"The drafts cannot be written to {folder}: {err.strerror}.") from err


def table(found: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [f"{found['calls']} calls of models, {found['tokens']} tokens, cost {found['cost']:g}."]
    for view in found["trust"]:
        for s in view["classes"]:
            who = f" Decides: {s['decides']}; {s['why']}." if s["why"] else ""
            draft = f" Speaks for {s['draft']}." if s["draft"] else ""
            lines.append(
                f"{view['agent']} on {s['fault']}, {view['model']}: {s['true']:.0%} of "
                f"{s['results']} came true (at least {s['low']:.0%} at 95 %), Brier "
                f"{s['brier']:.3f}, {s['seconds']:.1f} s.{who}{draft}"
            )
        lines += [
            f"  {k['kind']}: {k['true']:.0%} of {k['results']}, Brier {k['brier']:.3f}"
            for k in view["kinds"]
        ]
    return "\n".join(map(harmless, lines))
