"""`watchkeeper policy …`: what a policy author types. Each command reads files, asks one room."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from watchkeeper.app.printing import say
from watchkeeper.core.errors import UsageError

policy_app = typer.Typer(help="Write standing orders that you can trust.", no_args_is_help=True)

PoliciesOption = Annotated[Path, typer.Option(help="Directory of standing orders")]
AtOption = Annotated[str, typer.Option(help="As of this moment, ISO 8601; default now")]
POLICIES = Path("policies")


def moment(at: str) -> datetime:
    """The moment that `--at` names; now where it is not given. A time without a zone is UTC."""
    try:
        found = datetime.fromisoformat(at) if at else datetime.now(UTC)
    except ValueError:
        raise UsageError(f"--at {at!r} is not a time. Write it as 2026-12-24T02:30.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@policy_app.command("check")
def check(policies: PoliciesOption = POLICIES, at: AtOption = "") -> None:
    """Find every mistake of every file, with file:line:column."""
    from watchkeeper.adapters.policy_files import read_policy_dir
    from watchkeeper.policy.check import report

    text, good = report(read_policy_dir(policies), moment(at))
    say(text)
    if not good:
        raise typer.Exit(3)
